# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs of their own out of snapshots of the simulated array: shown to one host alone, taken away when they are ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import lun_clone
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_clone import ForeignLunError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import LunNow, read_data
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import Igroup, lun_maps
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import RetryPolicy
from ontapsim.testing import Running

OWN = "iqn.2026-01.org.example:hv1"
PATH, COMMENT = "luns/kvmsnap-clone-1", "kvmsnap: disk vda of copy 1"
THEN, SINCE = b"then" * 1024, b"now!" * 1024


def igroup(name: str, *initiators: str) -> Igroup:
    return Igroup(f"{name}-uuid", name, "linux", initiators)


@pytest.mark.parametrize(
    ("groups", "own", "expected"),
    [
        ([], ["iqn:a"], None),
        ([igroup("a", "iqn:a")], ["iqn:a"], "a"),
        ([igroup("a", "IQN:A")], ["iqn:a"], "a"),
        ([igroup("fc", "20:00:00:25:b5:00:00:0a")], ["0x20000025b500000a"], "fc"),
        ([igroup("cluster", "iqn:a", "iqn:b")], ["iqn:a"], None),
        ([igroup("cluster", "iqn:a", "iqn:b"), igroup("a", "iqn:a")], ["iqn:a"], "a"),
        ([igroup("one", "p1"), igroup("both", "p1", "p2")], ["p1", "p2"], "both"),
        ([igroup("b", "iqn:a"), igroup("a", "iqn:a")], ["iqn:a"], "a"),
        ([igroup("empty")], ["iqn:a"], None),
        ([igroup("other", "iqn:b")], ["iqn:a"], None),
        ([igroup("a", "iqn:a")], [], None),
    ],
)
def test_only_an_igroup_of_this_host_alone_serves(groups: list[Igroup], own: list[str], expected: str | None) -> None:
    found = lun_clone.own_igroup(groups, own)
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    ("mapped", "expected"),
    [(["one-uuid"], "one"), (["both-uuid"], "both"), (["cluster-uuid"], "both"), ([], "both"), (["gone"], "both")],
)
def test_the_igroup_in_which_the_original_is_seen_comes_first(mapped: list[str], expected: str) -> None:
    groups = [igroup("both", "p1", "p2"), igroup("one", "iqn:a"), igroup("cluster", "iqn:a", "iqn:b")]
    found = lun_clone.own_igroup(groups, ["iqn:a", "p1", "p2"], preferred=mapped)
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    ("taken", "last", "expected"),
    [
        ([], 0, 1),
        ([0, 1, 2], 0, 3),
        ([], 7, 8),
        ([8, 9], 7, 10),
        ([], 254, 1),
        ([1, 2], 254, 3),
        ([], 4000, 191),
        (range(1, 255), 9, None),
        ([each for each in range(1, 255) if each != 5], 5, 5),
    ],
)
def test_a_number_is_given_again_as_late_as_possible(taken: list[int], last: int, expected: int | None) -> None:
    assert lun_clone.free_number(set(taken), last) == expected


@pytest.fixture
def client(sim: Running) -> Iterator[Client]:
    """A session of the administrator of the SVMs."""
    option = {"hostname": "127.0.0.1", "port": sim.port, "username": "admin", "password": "lab-Admin1"}
    controller = Controller.from_option({**option, "ca_path": sim.ca_pem})
    with connect(controller, policy=RetryPolicy(first_delay=0.01, max_delay=0.02)) as logged_in:
        yield logged_in


@pytest.fixture
def volume(sim: Running, client: Client) -> Iterator[Volume]:
    """The volume of a LUN that was written over since the snapshot ``then``; no clone is left behind."""
    path = sim.volume_root("svm1", "kvm_san1") / "luns" / "a"
    size = path.stat().st_size
    path.write_bytes(THEN.ljust(size, b"\0"))
    ((_client, found),) = find_volumes([client], [VolumeRef("svm1", "kvm_san1")])
    sim.control.add_snapshot("svm1", "kvm_san1", "then")
    path.write_bytes(SINCE.ljust(size, b"\0"))
    yield found
    for record in client.records("/storage/luns", {"location.volume.uuid": found.uuid}, fields=("uuid", "name")):
        if "clone" in record["name"]:
            client.delete(f"/storage/luns/{record['uuid']}", {"allow_delete_while_mapped": True})
    for record in client.records(f"/storage/volumes/{found.uuid}/snapshots", {"name": "then"}, fields=("uuid",)):
        client.delete(f"/storage/volumes/{found.uuid}/snapshots/{record['uuid']}")


def cloned(client: Client, volume: Volume) -> LunNow:
    return lun_clone.clone_lun(client, volume, snapshot="then", source="luns/a", path=PATH, comment=COMMENT)


def test_a_clone_is_made_shown_and_taken_away(client: Client, volume: Volume) -> None:
    assert lun_clone.find_clone(client, volume, PATH, comment=COMMENT) is None
    made = cloned(client, volume)
    (original,) = client.records("/storage/luns", {"name": "/vol/kvm_san1/luns/a"}, fields=("uuid", "serial_number"))
    assert made.serial != original["serial_number"]
    assert read_data(client, made, 0, length=len(THEN)) == THEN
    assert lun_maps(client, [made.uuid]) == []
    groups = lun_clone.list_igroups(client, "svm1")
    mine = lun_clone.own_igroup(groups, [OWN])
    assert mine is not None
    taken = lun_clone.numbers_taken(client, mine, groups)
    assert {1, 2} <= taken
    number = lun_clone.free_number(taken, 0)
    assert number is not None
    for _time in range(2):
        lun_clone.map_clone(client, volume, made, mine, number=number)
    (shown,) = lun_maps(client, [made.uuid])
    assert (shown.igroup, shown.logical_unit_number) == ("hv1", number)
    for _time in range(2):
        lun_clone.remove_clone(client, made)
    assert lun_clone.find_clone(client, volume, PATH, comment=COMMENT) is None


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize("path", ["/storage/luns$", "/san/lun-maps$"])
def test_a_lost_answer_makes_no_second_one(sim: Running, client: Client, volume: Volume, kind: str, path: str) -> None:
    sim.control.add_fault(kind, match={"method": "POST", "path": path, "count": 1})
    made = cloned(client, volume)
    (mine,) = [group for group in lun_clone.list_igroups(client, "svm1") if group.name == "hv1"]
    lun_clone.map_clone(client, volume, made, mine, number=77)
    names = [each["name"] for each in client.records("/storage/luns", {"location.volume.uuid": volume.uuid})]
    assert sorted(name for name in names if "clone" in name) == [f"/vol/kvm_san1/{PATH}"]
    assert len(lun_maps(client, [made.uuid])) == 1


def test_somebody_else_s_lun_of_that_name_is_never_used(client: Client, volume: Volume) -> None:
    cloned(client, volume)
    with pytest.raises(ForeignLunError, match="somebody else's"):
        lun_clone.find_clone(client, volume, PATH, comment="kvmsnap: disk vda of copy 2")


def test_what_is_not_in_the_snapshot_cannot_be_cloned(client: Client, volume: Volume) -> None:
    with pytest.raises(OntapError, match="clone LUN luns/none out of snapshot then"):
        lun_clone.clone_lun(client, volume, snapshot="then", source="luns/none", path=PATH, comment=COMMENT)
