# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consistency groups of the simulated array: found, snapshotted in two phases, and their snapshots deleted as one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import groups
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import FencedError, OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.group_plan import GroupUse
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Known, SnapshotRequest, VolumeStep
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Found, VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from ontapsim.testclient import Api
from ontapsim.testing import Running

START, COMMIT = "/application/consistency-groups/[^/]+/snapshots$", "/application/consistency-groups/[^/]+/snapshots/.+"


@pytest.fixture
def client(sim: Running) -> Iterator[Client]:
    """A client of the least-privilege user; re-runs come quickly."""
    option = {"hostname": "127.0.0.1", "port": sim.port, "username": "kvmsnap", "password": "lab-Kvmsnap1"}
    controller = Controller.from_option({**option, "ca_path": sim.ca_pem})
    with connect(controller, policy=RetryPolicy(first_delay=0.01, max_delay=0.02)) as found:
        yield found


@pytest.fixture
def group(sim: Running) -> Iterator[str]:
    """The uuid of a group of kvm_vol1 and kvm_vol2."""
    api = Api(sim)
    members = [{"name": each, "provisioning_options": {"action": "add"}} for each in ("kvm_vol1", "kvm_vol2")]
    api.change("POST", groups.PATH, {"name": "cg1", "svm": {"name": "svm1"}, "volumes": members})
    (record,) = api.records(f"{groups.PATH}?name=cg1")
    yield record["uuid"]
    api.change("DELETE", f"{groups.PATH}/{record['uuid']}")


@pytest.fixture
def wanted(request: pytest.FixtureRequest) -> SnapshotRequest:
    """A snapshot with a name of the test's own."""
    return SnapshotRequest.checked(name=re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[-120:].strip("-"))


def left(seconds: float = 30.0) -> Deadline:
    return Deadline.after(seconds)


def found(client: Client, *names: str) -> list[Found]:
    """Volumes of svm1; kvm_vol3 is one of svm2, and in no group."""
    return find_volumes([client], [VolumeRef("svm2" if name == "kvm_vol3" else "svm1", name) for name in names])


def steps(client: Client, *names: str) -> list[VolumeStep]:
    return [VolumeStep(Known(volume, None), "create", {}) for _client, volume in found(client, *names)]


def use(client: Client) -> GroupUse:
    """The group, which takes the snapshot of kvm_vol1 for a backup."""
    volumes = found(client, "kvm_vol1")
    (seen,) = groups.look(volumes, "s1", deadline=left())
    return GroupUse(seen.group, tuple(volume for _client, volume in volumes))


def made(sim: Running, wanted: SnapshotRequest) -> list[str]:
    return sorted(each["name"] for each in sim.control.volumes() if wanted.name in each["snapshots"])


def test_a_group_is_found_with_what_else_it_holds(client: Client, group: str) -> None:
    (seen,) = groups.look(found(client, "kvm_vol1", "kvm_vol3"), "s1", deadline=left())
    assert (seen.group.uuid, seen.group.name, seen.taken) == (group, "cg1", False)
    assert [(each.volume.name, each.snapshot) for each in seen.foreign] == [("kvm_vol2", None)]
    assert groups.look(found(client, "kvm_vol3"), "s1", deadline=left()) == []


def test_its_snapshot_is_made_looked_at_and_deleted_as_one(
    sim: Running, client: Client, group: str, wanted: SnapshotRequest
) -> None:
    both = [volume.uuid for _client, volume in found(client, "kvm_vol1", "kvm_vol2")]
    taken = groups.create(client, use(client), steps(client, "kvm_vol1", "kvm_vol2"), wanted, deadline=left())
    assert [(each.volume.name, each.created) for each in taken] == [("kvm_vol1", True), ("kvm_vol2", True)]
    assert made(sim, wanted) == ["kvm_vol1", "kvm_vol2"]
    there = groups.snapshot_of(client, group, wanted.name, deadline=left())
    assert there is not None
    assert there.comment == wanted.stored_comment
    assert groups.snapshot_of(client, group, "another", deadline=left()) is None
    (whole,) = groups.whole_snapshots(client, both, wanted, deadline=left())
    assert (whole.uuid, whole.volumes) == (there.uuid, frozenset(both))
    assert groups.whole_snapshots(client, both[:1], wanted, deadline=left()) == [], "another volume has a part"
    foreign = replace(wanted, owner="somebody")
    assert groups.whole_snapshots(client, both, foreign, deadline=left()) == []
    for _each in range(2):
        groups.delete(client, whole, deadline=left())
        assert made(sim, wanted) == []


def test_no_fence_is_put_up_that_could_outlast_the_hold(
    sim: Running, client: Client, group: str, wanted: SnapshotRequest
) -> None:
    asked = use(client)
    sim.control.clear_requests()
    with pytest.raises(KvmsnapError, match=r"s are left of the hold, and its writes could be kept waiting for longer"):
        groups.create(client, asked, steps(client, "kvm_vol1"), wanted, deadline=left(1.0))
    assert [each for each in sim.control.requests() if each["method"] == "POST"] == []


def test_a_start_that_is_refused_makes_nothing(
    sim: Running, client: Client, group: str, wanted: SnapshotRequest
) -> None:
    sim.control.add_fault("status", match={"method": "POST", "path": START}, status=400, code="9", message="no")
    with pytest.raises(OntapError, match=f"create snapshot '{wanted.name}' of consistency group .*cg1.*no") as caught:
        groups.create(client, use(client), steps(client, "kvm_vol1"), wanted, deadline=left())
    assert not isinstance(caught.value, FencedError)
    assert made(sim, wanted) == []


def test_a_commit_that_fails_says_until_when_writes_may_wait(
    sim: Running, client: Client, group: str, wanted: SnapshotRequest
) -> None:
    sim.control.set_switches(fence_time_factor=1 / 100)
    sim.control.add_fault("status", match={"method": "PATCH", "path": COMMIT}, status=400, code="9", message="no")
    before = client.clock.monotonic()
    with pytest.raises(FencedError, match="no") as caught:
        groups.create(client, use(client), steps(client, "kvm_vol1"), wanted, deadline=left())
    assert before < caught.value.until < before + 60
    assert made(sim, wanted) == []
