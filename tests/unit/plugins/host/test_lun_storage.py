# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a device to its LUN on the array: the decision by tables, the questions by a client that answers as scripted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_storage import (
    lun_of,
    lun_storages,
    mapped_elsewhere,
    unfit_lun,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import LunPlace
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import HostStorage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.sanlun import Sanlun, SanlunLun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError, OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import Lun, LunIdentity, LunMap, wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

SERIAL = "81C91$QXsh5a"
WWID = wwid_of(SERIAL)
PLACE = LunPlace("dm-0", "/dev/mapper/mpatha", "mpatha", WWID, SERIAL, 4096, ("sdb", "sdc"), (SERIAL,))
UNTOLD = replace(PLACE, wwid="odd", serial=None, unresolved=problem_of("unresolvable-wwid", "it does not tell"))
LUN = Lun("c1", "svm1", "s1", "/vol/san1/luns/a", "l1", SERIAL, 4096, "linux", "san1", "v1")
VOLUME = Volume("c1", "svm1", "s1", "san1", "v1")
AGREES = SanlunLun("svm1", "/vol/san1/luns/a", "cDOT", "mpatha", WWID)
LIES = replace(AGREES, path="/vol/san1/luns/b")
ABSENT = Sanlun()
SEVEN = SanlunLun("filer1", "/vol/vol0/lun1", "7-Mode", "mpatha", "")


@pytest.mark.parametrize("entries", [[], [AGREES], [AGREES, AGREES]])
def test_a_lun_by_its_wwid(entries: list[SanlunLun]) -> None:
    found = lun_of(PLACE, [LUN], entries, volumes={"v1": VOLUME})
    assert found == HostStorage(
        kind="lun",
        controller="c1",
        svm="svm1",
        svm_uuid="s1",
        volume="san1",
        volume_uuid="v1",
        path="luns/a",
        mount_point=None,
        mount_path="",
        junction=None,
        lun=LunIdentity("l1", SERIAL, WWID, 4096, "linux", "/dev/mapper/mpatha"),
    )


@pytest.mark.parametrize(
    ("place", "found", "entries", "code", "said"),
    [
        (PLACE, [], [], "lun-not-found", SERIAL),
        (PLACE, [LUN, replace(LUN, uuid="l2", controller="c2")], [], "ambiguous-lun", "at c2"),
        (PLACE, [LUN], [LIES], "sanlun-disagrees", "svm1:/vol/san1/luns/a, by sanlun it is svm1:/vol/san1/luns/b"),
        (PLACE, [LUN], [AGREES, LIES], "sanlun-disagrees", "luns/b"),
        (PLACE, [LUN], [SEVEN], "seven-mode-lun", "filer1:/vol/vol0/lun1"),
        (PLACE, [replace(LUN, size=8192)], [], "lun-size-differs", "8192"),
        (PLACE, [replace(LUN, name="lun1", volume="")], [], "lun-outside-volume", "ASA r2"),
        (PLACE, [replace(LUN, volume_uuid="unknown")], [], "lun-outside-volume", "no volume"),
        (UNTOLD, [], [], "unresolvable-wwid", "does not tell"),
        (replace(UNTOLD, unresolved=None), [], [], "unresolvable-wwid", "mpatha"),
        (UNTOLD, [], [AGREES], "lun-not-found", "named svm1:/vol/san1/luns/a by sanlun"),
        (
            replace(UNTOLD, unit_serials=("another12345",)),
            [LUN],
            [replace(AGREES, wwid="")],
            "sanlun-unconfirmed",
            "an",
        ),
        (replace(UNTOLD, unit_serials=()), [LUN], [replace(AGREES, wwid="odd")], "sanlun-unconfirmed", "tells none"),
    ],
)
def test_luns_that_are_refused(
    place: LunPlace, found: Sequence[Lun], entries: Sequence[SanlunLun], code: str, said: str
) -> None:
    refusal = lun_of(place, found, entries, volumes={"v1": VOLUME})
    assert isinstance(refusal, Problem)
    assert refusal.code == code
    assert said in refusal.message


@pytest.mark.parametrize("place", [UNTOLD, replace(UNTOLD, unit_serials=())])
def test_sanlun_counts_when_the_device_confirms_the_serial(place: LunPlace) -> None:
    found = lun_of(place, [LUN], [AGREES], volumes={"v1": VOLUME})
    assert isinstance(found, HostStorage)
    assert found.lun is not None
    assert found.lun.wwid == WWID


@pytest.mark.parametrize(
    ("lun", "volume", "code"),
    [
        ({}, {}, None),
        ({"state": "offline", "enabled": False}, {}, "lun-offline"),
        ({"state": "nvfail"}, {}, "lun-offline"),
        ({"container_state": "aggregate_offline"}, {}, "lun-offline"),
        ({"read_only": True}, {}, "lun-read-only"),
        ({"lun_class": "vvol"}, {}, "unsupported-lun-class"),
        ({}, {"type": "dp"}, "volume-read-only"),
        ({"container_state": "volume_offline"}, {"state": "offline"}, "volume-offline"),
        ({}, {"style": "flexgroup"}, "flexgroup"),
        ({}, {"is_svm_root": True}, "volume-is-svm-root"),
    ],
)
def test_what_must_be_right_with_lun_and_volume(
    lun: dict[str, Any], volume: dict[str, Any], code: Optional[str]
) -> None:
    refusal = unfit_lun(replace(LUN, **lun), replace(VOLUME, **volume))
    assert (refusal.code if refusal else None) == code


def test_who_else_sees_it() -> None:
    maps = [LunMap("l1", "", "hv1", "i1", 0, ("iqn.hv1",)), LunMap("l1", "", "other", "i2", 4, ("iqn.a", "iqn.b"))]
    (note,) = mapped_elsewhere(maps, ["iqn.hv1"])
    assert note == problem_of("lun-mapped-elsewhere", "its LUN is mapped to other hosts too: iqn.a, iqn.b (other)")
    assert mapped_elsewhere(maps, ["iqn.hv1", "iqn.a", "iqn.b"]) == []
    assert mapped_elsewhere([], ["iqn.hv1"]) == []


def test_an_igroup_that_shows_no_initiators_may_hold_any() -> None:
    silent = [LunMap("l1", "", "cluster", "i3", 0), LunMap("l1", "", "empty", "i4", 0)]
    said = "its LUN is mapped to an igroup of which the array shows no initiators: cluster, empty"
    assert mapped_elsewhere(silent, ["iqn.hv1"]) == [problem_of("lun-maps-unknown", said)]
    both = mapped_elsewhere([*silent, LunMap("l1", "", "other", "i2", 4, ("iqn.a",))], ["iqn.hv1"])
    assert [note.code for note in both] == ["lun-mapped-elsewhere", "lun-maps-unknown"]


# Asking


class Array:
    """A client that answers look-ups of lists as scripted, or fails as scripted."""

    def __init__(self, name: str = "c1", **answers: Any) -> None:
        self.name = name
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers = {
            "/storage/luns": [lun_record(LUN)],
            "/storage/volumes": [{"uuid": "v1", "name": "san1", "svm": {"name": "svm1", "uuid": "s1"}}],
            "/protocols/san/lun-maps": [
                {"lun": {"uuid": "l1"}, "igroup": {"name": "other", "uuid": "i1", "initiators": []}}
            ],
            "/protocols/san/igroups": [
                {"uuid": "i1", "name": "other", "initiators": [{"name": "iqn.hv1"}, {"name": "iqn.b"}]}
            ],
            **{f"/{key.replace('__', '-').replace('_', '/')}": answer for key, answer in answers.items()},
        }

    def at_least(self, _version: Any) -> bool:
        return True

    def records(self, path: str, params: Any = None, **_how: Any) -> list[dict[str, Any]]:
        self.asked.append((path, dict(params)))
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


def lun_record(lun: Lun) -> dict[str, Any]:
    return {
        "uuid": lun.uuid,
        "name": lun.name,
        "svm": {"name": lun.svm, "uuid": lun.svm_uuid},
        "location": {"volume": {"name": lun.volume, "uuid": lun.volume_uuid}},
        "serial_number": lun.serial,
        "os_type": lun.os_type,
        "space": {"size": lun.size},
    }


def answers(*clients: Array, places: Sequence[LunPlace] = (PLACE,), sanlun: Sanlun = ABSENT) -> Any:
    return lun_storages(
        clients,  # type: ignore[arg-type]
        places,
        ask_sanlun=lambda: sanlun,
        initiators=["iqn.hv1"],
    )


def code_of(stored: Any) -> Optional[str]:
    return stored.code if isinstance(stored, Problem) else None


def test_without_luns_nobody_is_asked() -> None:
    array = Array()

    def never() -> Sanlun:
        raise AssertionError("sanlun was asked")

    found = lun_storages([array], [], ask_sanlun=never, initiators=[])  # type: ignore[list-item]
    assert (found.stored, found.remarks, found.sanlun, array.asked) == ({}, {}, None, [])


def test_one_call_each_for_luns_volumes_maps_and_igroups() -> None:
    array, other = Array(), Array("c2", storage_luns=[])
    found = answers(array, other, places=[PLACE, PLACE])
    assert code_of(found.stored[PLACE]) is None
    assert [note.code for note in found.remarks[PLACE]] == ["lun-mapped-elsewhere"]
    assert [path for path, _params in array.asked] == [
        "/storage/luns",
        "/storage/volumes",
        "/protocols/san/lun-maps",
        "/protocols/san/igroups",
    ]
    assert [path for path, _params in other.asked] == ["/storage/luns"]


def test_two_ways_to_one_system_are_not_ambiguous() -> None:
    assert code_of(answers(Array(), Array("svm-lif")).stored[PLACE]) is None


def test_the_same_serial_on_two_systems_is() -> None:
    second = Array("c2", storage_luns=[lun_record(replace(LUN, uuid="l9"))])
    assert code_of(answers(Array(), second).stored[PLACE]) == "ambiguous-lun"


DENIED = OntapDeniedError("list LUNs at c1", "not authorized for that command", ontap_code="6")


def test_a_role_without_the_right_keeps_luns_from_being_saved_and_nothing_else() -> None:
    found = answers(Array(storage_luns=DENIED))
    assert code_of(found.stored[PLACE]) == "luns-unreadable"
    assert "not authorized" in found.stored[PLACE].message
    assert code_of(answers(Array(storage_luns=DENIED), Array("c2")).stored[PLACE]) is None


def test_any_other_failure_stops_it() -> None:
    with pytest.raises(OntapError, match="went wrong"):
        answers(Array(storage_luns=OntapError("list", "it went wrong")))


def test_maps_that_cannot_be_read_are_remarked_on() -> None:
    for denied in ({"protocols_san_lun__maps": DENIED}, {"protocols_san_igroups": DENIED}):
        found = answers(Array(**denied))
        assert code_of(found.stored[PLACE]) is None
        assert [note.code for note in found.remarks[PLACE]] == ["lun-maps-unknown"]


def test_sanlun_leads_where_the_wwid_does_not() -> None:
    array = Array()
    found = answers(array, places=[UNTOLD], sanlun=Sanlun("/s", (AGREES,)))
    assert code_of(found.stored[UNTOLD]) is None
    assert array.asked[0] == ("/storage/luns", {"svm.name": "svm1", "name": "/vol/san1/luns/a"})
    assert code_of(answers(array, places=[UNTOLD]).stored[UNTOLD]) == "unresolvable-wwid"


def test_what_sanlun_failed_with_is_handed_on() -> None:
    assert answers(Array(), sanlun=Sanlun("/s", error="no")).sanlun == Sanlun("/s", error="no")
