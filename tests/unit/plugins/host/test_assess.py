# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests can be saved, by tables over what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Union

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.assess import FoundGuest, assess, drift, mapping_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.inspection import DiskObservation, Layer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import Mount, NfsSource
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import LunPlace
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import HostStorage, NfsPlace, Place, Stored
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DomainState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DiskXml, GuestXml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import MappingEntry
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity, wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of

MOUNT = Mount(1, 0, "0:1", "/", "/mnt", "nfs4", "s:/v", ())
SOURCE = NfsSource("s", "/v", "192.0.2.1", "4.1", True)
PLACES: dict[Place, Stored] = {}


def place(path: str, volume: str = "vol1") -> NfsPlace:
    """A file on a volume that the array knows."""
    found = NfsPlace(path, f"/{volume}{path}", MOUNT, SOURCE)
    PLACES[found] = HostStorage(
        "nfs", "c1", "svm1", "s1", volume, f"v-{volume}", path.lstrip("/"), "/mnt", "", f"/{volume}"
    )
    return found


def disk(target: str = "vda", *, at: Any = "/a.img", **more: Any) -> DiskObservation:
    """A disk; keywords of DiskXml and of DiskObservation may be mixed."""
    of_looked = {key: more.pop(key) for key in list(more) if key in DiskObservation.__dataclass_fields__}
    xml = DiskXml(
        target, more.pop("device", "disk"), "file", str(at), **{"role": "boot" if target == "vda" else "data", **more}
    )
    placed = place(at) if isinstance(at, str) else at
    return DiskObservation(xml, **{"placed": placed, "path": str(at), **of_looked})


def guest(name: str, **more: Any) -> Guest:
    agent = more.pop("agent", "connected")
    definition = GuestXml(name, f"u-{name}", "linux", None, agent, (), None, False)
    values = {
        "state": DomainState("running", "booted", 1),
        "persistent": True,
        "autostart": False,
        "managed_save": False,
        "source": "libvirt",
        **more,
    }
    return Guest(name=name, uuid=f"u-{name}", definition=definition, xml="<domain/>", **values)


def assessed(*pairs: tuple[Guest, Sequence[DiskObservation]], chosen: Sequence[str] = ()) -> list[FoundGuest]:
    names = {f"u-{name}" for name in chosen} or {owner.uuid for owner, _disks in pairs}
    return assess({owner.uuid: (owner, disks) for owner, disks in pairs}, PLACES, chosen=names)


def one(*disks: DiskObservation, **more: Any) -> FoundGuest:
    return assessed((guest("g", **more), disks))[0]


def codes(found: FoundGuest) -> list[Union[str, tuple[str, str]]]:
    return [(problem.code, problem.disk) if problem.disk else problem.code for problem in found.problems]


def test_a_guest_with_two_disks() -> None:
    found = one(disk("vdb", at="/data.qcow2"), disk("vda"))
    assert found.protected
    assert codes(found) == []
    assert [each.observed.disk.target for each in found.included] == ["vda", "vdb"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"agent": "none"}, ["no-agent"]),
        ({"agent": "disconnected"}, ["agent-disconnected"]),
        ({"agent": "disconnected", "state": DomainState("shutoff", "shutdown", None)}, []),
        ({"agent": "disconnected", "state": DomainState("unknown", "", None), "source": "config_dir"}, []),
        ({"autostart": True, "managed_save": True}, ["autostart", "managed-save"]),
        ({"persistent": False}, ["transient-guest"]),
    ],
)
def test_about_the_guest(more: dict[str, Any], expected: list[str]) -> None:
    found = one(disk(), **more)
    assert codes(found) == expected
    assert found.protected


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (disk(cache="unsafe"), "unsafe-cache"),
        (disk(transient=True), "transient-disk"),
        (disk(block_job="copy"), "block-job-active"),
        (disk(shareable=True), "shareable-disk"),
        (disk(notes=(problem_of("internal-snapshots", "two"),)), "internal-snapshots"),
        (disk(layers=(Layer("/base", place("/base"), ""),)), "backing-chain"),
    ],
)
def test_remarks_that_leave_a_disk_protected(observed: DiskObservation, expected: str) -> None:
    found = one(observed)
    assert codes(found) == [(expected, "vda")]
    assert found.protected


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (disk(at=problem_of("local-file", "it is local")), "local-file"),
        (disk(refusal=problem_of("image-unreadable", "no")), "image-unreadable"),
        (disk(refusal=problem_of("external-data-file", "no")), "external-data-file"),
        (disk(layers=(Layer("/b", problem_of("local-file", "local"), "1:2"),)), "backing-file-outside"),
        (disk(layers=(Layer("/b", place("/b", "vol9"), ""),)), "backing-file-outside"),
        (disk(at=problem_of("not-a-netapp-device", "it is none"), identity="device 253:0"), "not-a-netapp-device"),
    ],
)
def test_what_keeps_a_disk_from_being_saved(observed: DiskObservation, expected: str) -> None:
    found = one(observed, disk("vdb", at="/fine.img"))
    assert codes(found) == [(expected, "vda")]
    assert not found.protected
    assert [each.included for each in found.disks] == [False, True]
    assert found.disks[0].reason
    message = found.problems[0].message
    assert message.startswith("disk vda of guest g (")
    assert found.problems[0].remedy


def test_a_backing_file_on_another_volume_of_the_guest_is_its_own() -> None:
    layered = disk(layers=(Layer("/base", place("/base", "vol2"), ""),))
    found = one(layered, replace(disk("vdb"), placed=place("/b", "vol2")))
    assert codes(found) == [("backing-chain", "vda")]


def test_left_out_disks_are_recorded_and_no_problem() -> None:
    out = disk(
        "vdb", at=problem_of("local-file", "it is local"), skipped="left out by exclude_disks (vdb)", matched=("vdb",)
    )
    noted = disk(
        "vdc", at="/c.img", skipped="data", matched=("vdc",), notes=(problem_of("unknown-passed-through-device", "x"),)
    )
    found = one(disk(), out, noted)
    assert found.protected
    assert codes(found) == []
    assert [each.reason for each in found.disks] == ["", "left out by exclude_disks (vdb)", "data"]


def test_media() -> None:
    iso = disk("sda", device="cdrom", skipped="a medium", placed=None)
    empty = replace(iso, disk=replace(iso.disk, source=""))
    left_out = replace(iso, matched=("sda",))
    assert codes(one(disk(), iso)) == [("media-attached", "sda")]
    assert one(disk(), iso).protected
    assert codes(one(disk(), empty)) == []
    assert codes(one(disk(), left_out)) == []


def test_nothing_to_protect() -> None:
    assert codes(one()) == ["nothing-to-protect"]
    assert codes(one(disk(skipped="left out", matched=("vda",)))) == ["nothing-to-protect"]
    assert codes(one(disk(at=problem_of("local-file", "x")))) == [("local-file", "vda")]
    assert not one().protected


def test_one_image_in_two_guests() -> None:
    found = assessed((guest("a"), [disk()]), (guest("b"), [disk()]), chosen=["a"])
    assert [each.guest.name for each in found] == ["a"]
    assert codes(found[0]) == [("disk-used-by-several-guests", "vda")]
    assert "guest b (vda)" in found[0].problems[0].message


def test_one_image_twice_in_a_guest() -> None:
    assert codes(one(disk(), disk("vdb"))) == [
        ("disk-used-by-several-guests", "vda"),
        ("disk-used-by-several-guests", "vdb"),
    ]


def test_a_local_file_is_told_apart_by_its_identity() -> None:
    local = problem_of("local-file", "x")
    found = assessed((guest("a"), [disk(at=local, identity="8:1")]), (guest("b"), [disk(at=local, identity="8:1")]))
    assert codes(found[0]) == [("local-file", "vda")]


def test_hard_links_and_several_mounts_of_one_image() -> None:
    links = (guest("a"), [disk(at="/a.img", identity="0:9:7")]), (guest("b"), [disk(at="/b.img", identity="0:9:7")])
    mounts = (guest("a"), [disk(identity="0:9:7")]), (guest("b"), [disk(identity="0:10:7")])
    both = (guest("a"), [disk(identity="0:9:7")]), (guest("b"), [disk(identity="0:9:7")])
    for pairs in (links, mounts, both):
        found = assessed(*pairs)
        assert [codes(each) for each in found] == [[("disk-used-by-several-guests", "vda")]] * 2
        assert found[0].problems[0].message.endswith("its image is used by guest b (vda) too")


def test_a_hard_link_to_a_backing_file() -> None:
    first, second = (Layer(path, place(path), "0:9:7") for path in ("/golden.img", "/link.img"))
    found = assessed((guest("a"), [disk(layers=(first,))]), (guest("b"), [disk(at="/b.img", layers=(second,))]))
    assert [codes(each) for each in found] == [[("backing-chain", "vda"), ("backing-file-shared", "vda")]] * 2


def test_a_cluster_s_shared_disk() -> None:
    shared, not_shared = disk("vdb", at="/q.img", shareable=True), disk("vdb", at="/q.img")
    both = assessed((guest("a"), [disk(), shared]), (guest("b"), [disk(at="/b.img"), shared]))
    assert [codes(each) for each in both] == [[("shareable-disk", "vdb")]] * 2
    assert all(each.protected for each in both)
    half = assessed((guest("a"), [disk(), shared]), (guest("b"), [disk(at="/b.img"), not_shared]))
    assert codes(half[0]) == [("disk-used-by-several-guests", "vdb")]


def test_a_read_only_disk_of_several_guests_is_never_overwritten() -> None:
    seed = disk("vdb", at="/seed.img", readonly=True)
    found = assessed((guest("a"), [disk(), seed]), (guest("b"), [disk(at="/b.img"), seed]))
    for each in found:
        assert each.protected
        assert [one.included for one in each.disks] == [True, False]
        assert each.disks[1].reason.startswith("read-only, and used by other guests too")


def test_a_shared_backing_file_is_listed() -> None:
    base = Layer("/golden.img", place("/golden.img"), "")
    found = assessed(
        (guest("a"), [disk(at="/a.img", layers=(base,))]), (guest("b"), [disk(at="/b.img", layers=(base,))])
    )
    for each in found:
        assert codes(each) == [("backing-chain", "vda"), ("backing-file-shared", "vda")]
        assert each.protected
    assert "guest b (below vda)" in found[0].problems[1].message


def test_a_template_that_others_are_based_on_must_not_be_overwritten() -> None:
    base = Layer("/golden.img", place("/golden.img"), "")
    found = assessed((guest("template"), [disk(at="/golden.img")]), (guest("b"), [disk(at="/b.img", layers=(base,))]))
    assert codes(found[0]) == [("disk-used-by-several-guests", "vda")]
    assert not found[0].protected
    assert found[1].protected


def lun(target: str = "vda", *, name: str = "a", **more: Any) -> DiskObservation:
    """A disk on a LUN that the array knows."""
    serial = f"serial-{name}".ljust(12, "x")
    found = LunPlace(f"dm-{name}", f"/dev/mapper/{name}", name, wwid_of(serial), serial, 4096, ("sdb",))
    identity = LunIdentity(f"lun-{name}", serial, wwid_of(serial), 4096, "linux", found.device)
    PLACES[found] = HostStorage("lun", "c1", "svm1", "s1", "san1", "v-san1", f"luns/{name}", identity)
    return disk(target, at=found, device="lun", size=4096, **more)


def test_a_guest_on_luns_and_files() -> None:
    found = one(lun("vda"), lun("vdb", name="b"), disk("vdc", at="/c.img"))
    assert found.protected
    assert codes(found) == []
    assert [entry.path for entry in mapping_of([found])] == [
        "/vol/san1/luns/a",
        "/vol/san1/luns/b",
        "/vol/vol1/c.img",
    ]


def test_several_guests_on_one_lun() -> None:
    found = assessed((guest("a"), [lun()]), (guest("b"), [lun(identity="device 253:0")]))
    assert [codes(each) for each in found] == [[("lun-used-by-several-guests", "vda")]] * 2
    found = assessed((guest("a"), [lun(shareable=True)]), (guest("b"), [lun(shareable=True)]))
    assert [codes(each) for each in found] == [[("shareable-disk", "vda")]] * 2
    assert all(each.protected for each in found)


def test_what_the_array_says_of_a_lun_is_told_unless_it_is_left_out() -> None:
    observed, left_out = lun(), lun("vdb", name="b", skipped="left out")
    assert isinstance(observed.placed, LunPlace)
    assert isinstance(left_out.placed, LunPlace)
    note = problem_of("lun-mapped-elsewhere", "its LUN is mapped to other hosts too")
    owner = guest("g")
    (found,) = assess(
        {owner.uuid: (owner, [observed, left_out])},
        PLACES,
        chosen={owner.uuid},
        remarks={observed.placed: [note], left_out.placed: [note]},
    )
    assert codes(found) == [("lun-mapped-elsewhere", "vda")]
    assert found.protected


# The mapping


def test_mapping() -> None:
    found = assessed(
        (guest("b"), [disk("vdb", at="/b2.img"), disk("vda", at="/b.img")]),
        (guest("a"), [disk(at="/a.img"), disk("vdb", at=problem_of("local-file", "x"))]),
    )
    assert [entry.as_text() for entry in mapping_of(found)] == [
        "a:svm1:/vol/vol1/a.img",
        "b:svm1:/vol/vol1/b.img",
        "b:svm1:/vol/vol1/b2.img",
    ]


A, B = MappingEntry("a", "svm1", "/vol/v/a"), MappingEntry("b", "svm1", "/vol/v/b")
A2, MOVED = MappingEntry("a", "svm1", "/vol/v/a2"), MappingEntry("b", "svm1", "/vol/w/b")


@pytest.mark.parametrize(
    ("stored", "found", "expected"),
    [
        ([], [A, B], []),
        ([A, B], [A, B], []),
        ([B, A2, A], [A, A2, B], []),
        ([A, B], [A, MOVED], [("mapping-drift", "b")]),
        ([A], [A, A2, B], [("mapping-drift", "a"), ("mapping-drift", "b")]),
        ([A, B], [A], [("mapping-drift", "b")]),
        ([A, B, MappingEntry("gone", "s", "/vol/v/x")], [A, B], [("mapping-unknown-guest", "gone")]),
        ([A, B, MappingEntry("other", "s", "/vol/v/x")], [A, B], []),
    ],
)
def test_drift(stored: list[MappingEntry], found: list[MappingEntry], expected: list[tuple[str, str]]) -> None:
    problems = drift(stored, found, chosen=["a", "b"], known={"a", "b", "other"})
    assert [(problem.code, problem.guest) for problem in problems] == expected


def test_drift_names_both_places() -> None:
    (problem,) = drift([B], [MOVED], chosen=["b"], known={"b"})
    assert problem.message == ("guest b: the stored mapping says b:svm1:/vol/v/b, found was b:svm1:/vol/w/b")
