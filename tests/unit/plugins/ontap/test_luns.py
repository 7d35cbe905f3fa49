# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs: WWIDs and serials by tables, records as ONTAP writes them, look-ups by scripted answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import (
    Igroup,
    Lun,
    LunIdentity,
    LunMap,
    foreign_initiators,
    lun_by_path,
    lun_maps,
    luns_by_serial,
    seen_by,
    serial_of,
    wwid_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import RetryPolicy

SERIAL, WWID = "81C91$QXsh5a", "3600a0980383143393124515873683561"
RECORD: dict[str, Any] = {
    "uuid": "1cd8a442",
    "svm": {"name": "svm1", "uuid": "s1"},
    "name": "/vol/kvm_san1/luns/a",
    "location": {"logical_unit": "a", "volume": {"name": "kvm_san1", "uuid": "v1"}},
    "class": "regular",
    "enabled": True,
    "os_type": "linux",
    "serial_number": SERIAL,
    "space": {"size": 1073741824},
    "status": {"container_state": "online", "read_only": False, "state": "online"},
}
LUN = Lun.from_record(RECORD, controller="c1")
IDENTITY = {"uuid": "u", "serial": SERIAL, "wwid": WWID, "size": 4096, "os_type": "linux", "device": "/dev/mapper/a"}


@pytest.mark.parametrize(
    ("wwid", "serial"),
    [
        (WWID, SERIAL),
        ("3600a0980774f6a374e24515074354f4f", "wOj7N$QPt5OO"),
        ("naa.600a0980383143393124515873683561", SERIAL),
        ("3600A0980383143393124515873683561", SERIAL),
        ("3600a0980" + "2b2f3f5d24".ljust(24, "4"), "+/?]$DDDDDDD"),
        ("3600a0980003a5e1c000004d35cb3a7f2", None),
        ("3600a09803831433931245158736835", None),
        ("3600a09803831433931245158736835617a", None),
        ("3600a098038314339312451587368357f", None),
        ("3600a0980383143393124515873683520", None),
        ("360a98000486e2f65576f2f7a5a4f6a31", None),
        ("360080e50001b0bf60000a5b14ff8a1b2", None),
        ("mpatha", None),
        ("", None),
    ],
)
def test_a_wwid_tells_the_serial(wwid: str, serial: str | None) -> None:
    assert serial_of(wwid) == serial
    if serial:
        assert wwid_of(serial) == ("3" + wwid[4:] if wwid.startswith("naa.") else wwid.lower())


@pytest.mark.parametrize("serial", ["", "short", "thirteenchars", "with a blank", "no\nnewlines!", "ümlautümlaut"])
def test_what_is_no_serial(serial: str) -> None:
    with pytest.raises(ValueError, match="12 printable"):
        wwid_of(serial)


def test_a_record_as_ontap_writes_it() -> None:
    assert (
        Lun(
            controller="c1",
            svm="svm1",
            svm_uuid="s1",
            name="/vol/kvm_san1/luns/a",
            uuid="1cd8a442",
            serial=SERIAL,
            size=1 << 30,
            os_type="linux",
            volume="kvm_san1",
            volume_uuid="v1",
        )
        == LUN
    )
    assert (LUN.path, LUN.label) == ("luns/a", "svm1:/vol/kvm_san1/luns/a")
    assert LUN.identity(device="/dev/mapper/x") == LunIdentity(
        "1cd8a442", SERIAL, WWID, 1 << 30, "linux", "/dev/mapper/x"
    )


def test_a_lun_outside_of_volumes_has_no_path() -> None:
    lun = Lun.from_record({"uuid": "u", "name": "lun1"}, controller="c1")
    assert (lun.path, lun.volume) == ("", "")


def test_an_identity_comes_back_as_it_was() -> None:
    assert LunIdentity.from_record(IDENTITY).as_dict() == IDENTITY
    assert LunIdentity.from_record({**IDENTITY, "device": ""}).device == ""


@pytest.mark.parametrize(
    "change",
    [
        {"serial": "x"},
        {"wwid": "3600a0980774f6a374e24515074354f4f"},
        {"size": -1},
        {"size": "4096"},
        {"device": "/etc/passwd"},
        {"device": "/dev/../etc/passwd"},
        {"device": "mpatha"},
    ],
)
def test_an_identity_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        LunIdentity.from_record({**IDENTITY, **change})


def lun_map(*initiators: Any) -> LunMap:
    igroup = Igroup.from_record({"name": "hv1", "uuid": "i1", "initiators": list(initiators)})
    return LunMap("u", "n", igroup.name, igroup.uuid, 0, igroup.initiators)


def test_initiators_of_other_hosts() -> None:
    maps = [lun_map("iqn.2026-01.org.example:hv1", "50:0A:09:80:00:00:00:01"), lun_map({"name": "iqn.other"})]
    own = ["IQN.2026-01.org.example:hv1", "0x500a098000000001"]
    assert foreign_initiators(maps, own) == ("iqn.other",)
    assert foreign_initiators(maps, [*own, "iqn.other"]) == ()
    assert foreign_initiators([], own) == ()


# Look-ups, by scripted answers


@pytest.fixture
def stub(authority: Any, start_stub: Any) -> Any:
    return start_stub(authority.context("127.0.0.1"))


@pytest.fixture
def client(authority: Any, stub: Any) -> Iterator[Client]:
    controller = Controller.from_option(
        {"hostname": "127.0.0.1", "port": stub.port, "username": "u", "password": "p", "ca_path": authority.path}
    )
    with connect(controller, policy=RetryPolicy(retry_count=0)) as logged_in:
        stub.requests.clear()
        yield logged_in


class ByPath(dict[str, Any]):
    """Answers of a stub by path, whatever the query."""

    def get(self, target: str, default: Any = None) -> Any:
        return super().get(urlsplit(target).path, default)


def query(stub: Any, number: int) -> dict[str, list[str]]:
    return parse_qs(urlsplit(stub.requests[number][1]).query)


def test_luns_are_asked_for_by_quoted_serials(client: Client, stub: Any) -> None:
    stub.answers = ByPath({"/api/storage/luns": (200, {}, {"records": [RECORD]})})
    found = luns_by_serial([client, client], [SERIAL, 'a+b/c?d]e,f"'])
    assert {serial: [lun.uuid for lun in luns] for serial, luns in found.items()} == {SERIAL: ["1cd8a442"]}
    assert query(stub, 0)["serial_number"] == [f'"{SERIAL}"|{{a+b/c?d]e,f"}}']
    assert "%24QXsh5a" in stub.requests[0][1]
    assert len(stub.requests) == 2


def test_many_serials_make_several_requests(client: Client, stub: Any) -> None:
    stub.answers = ByPath({"/api/storage/luns": (200, {}, {"records": []})})
    assert luns_by_serial([client], [f"serial{number:06}" for number in range(120)]) == {}
    assert [len(query(stub, number)["serial_number"][0].split("|")) for number in range(3)] == [50, 50, 20]
    assert luns_by_serial([client], []) == {}
    assert len(stub.requests) == 3


def test_several_systems_may_know_a_serial(client: Client, stub: Any) -> None:
    twin = {**RECORD, "uuid": "twin"}
    stub.answers = ByPath({"/api/storage/luns": (200, {}, {"records": [RECORD, twin]})})
    assert [lun.uuid for lun in luns_by_serial([client], [SERIAL])[SERIAL]] == ["1cd8a442", "twin"]


def test_a_lun_by_its_path(client: Client, stub: Any) -> None:
    stub.answers = ByPath({"/api/storage/luns": (200, {}, {"records": [RECORD]})})
    assert lun_by_path(client, svm="svm1", name="/vol/kvm_san1/luns/a") == Lun.from_record(
        RECORD, controller=client.name
    )
    assert query(stub, 0)["name"] == ["/vol/kvm_san1/luns/a"]
    assert lun_by_path(client, svm="svm1", name="/vol/kvm_san1/luns/b") is None


def test_maps(client: Client, stub: Any) -> None:
    record = {
        "lun": {"uuid": "u1", "name": "/vol/v/a"},
        "igroup": {"uuid": "i1", "name": "hv1"},
        "logical_unit_number": 7,
    }
    stub.answers = ByPath({"/api/protocols/san/lun-maps": (200, {}, {"records": [record]})})
    assert lun_maps(client, ["u2", "u1"]) == [LunMap("u1", "/vol/v/a", "hv1", "i1", 7)]
    assert query(stub, 0)["lun.uuid"] == ["u1|u2"]
    assert lun_maps(client, []) == []


def test_the_igroups_tell_who_sees_a_lun(client: Client, stub: Any) -> None:
    groups = [
        {
            "uuid": "i1",
            "name": "cluster",
            "initiators": [{"name": "iqn.a"}, {"name": "iqn.b", "igroup": {"name": "b"}}],
        },
        {"uuid": "i2", "name": "empty"},
    ]
    stub.answers = ByPath({"/api/protocols/san/igroups": (200, {}, {"records": groups})})
    maps = [LunMap("u1", "/vol/v/a", name, uuid, 0) for name, uuid in (("cluster", "i1"), ("empty", "i2"), ("x", "i3"))]
    assert [each.initiators for each in seen_by(client, maps)] == [("iqn.a", "iqn.b"), (), ()]
    assert query(stub, 0)["uuid"] == ["i1|i2|i3"]
    assert (seen_by(client, []), len(stub.requests)) == ([], 1)


def test_a_missing_right_is_told(client: Client, stub: Any) -> None:
    denied: Any = (403, {}, {"error": {"code": "6", "message": "not authorized for that command"}})
    stub.answers = ByPath({"/api/storage/luns": denied, "/api/protocols/san/lun-maps": denied})
    with pytest.raises(OntapDeniedError, match="Failed to list LUNs at"):
        luns_by_serial([client], [SERIAL])
    with pytest.raises(OntapDeniedError, match="Failed to list the maps"):
        lun_maps(client, ["u1"])
    stub.answers = ByPath({"/api/protocols/san/igroups": denied})
    with pytest.raises(OntapDeniedError, match="Failed to list the igroups of LUNs"):
        seen_by(client, [LunMap("u1", "/vol/v/a", "hv1", "i1", 0)])
