# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One snapshot of a volume of the simulated array: created, changed, deleted, looked at when an answer got lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError, OutcomeUnknownError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_calls import (
    confirmed,
    create_one,
    delete_one,
    modify_one,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import (
    Known,
    Snapshot,
    SnapshotRequest,
    VolumeStep,
    read_snapshot,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from ontapsim.testing import Running


@pytest.fixture
def client(sim: Running) -> Iterator[Client]:
    """A client of the least-privilege user; re-runs come quickly."""
    option = {"hostname": "127.0.0.1", "port": sim.port, "username": "kvmsnap", "password": "lab-Kvmsnap1"}
    controller = Controller.from_option({**option, "ca_path": sim.ca_pem})
    with connect(controller, policy=RetryPolicy(first_delay=0.01, max_delay=0.02)) as found:
        sim.control.clear_requests()
        yield found


@pytest.fixture
def volume(client: Client) -> Volume:
    """The volume kvm_vol1."""
    ((_client, found),) = find_volumes([client], [VolumeRef("svm1", "kvm_vol1")])
    return found


@pytest.fixture
def wanted(request: pytest.FixtureRequest) -> SnapshotRequest:
    """A snapshot with a name of the test's own."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[-120:].strip("-")
    return SnapshotRequest.checked(name=name, comment="nightly")


def left() -> Deadline:
    return Deadline.after(30.0)


def there(client: Client, volume: Volume, wanted: SnapshotRequest) -> Snapshot | None:
    return read_snapshot(client, volume, name=wanted.name, deadline=left())


def step(volume: Volume) -> VolumeStep:
    return VolumeStep(Known(volume, None, asked_at=1.0), "create", {})


def path_of(volume: Volume) -> str:
    return f"/storage/volumes/{volume.uuid}/snapshots"


def test_one_is_created_changed_and_deleted(client: Client, volume: Volume, wanted: SnapshotRequest) -> None:
    taken = create_one(client, step(volume), wanted, deadline=left())
    assert (taken.created, taken.absent_at, taken.snapshot) == (True, 1.0, there(client, volume, wanted))
    assert taken.snapshot.comment == wanted.stored_comment == "kvmsnap/kvmsnap: nightly"
    assert taken.requested_at is not None
    assert taken.confirmed_at is not None
    assert taken.requested_at < taken.confirmed_at
    modify_one(client, volume, taken.snapshot, {"snapmirror_label": "daily"}, deadline=left())
    changed = there(client, volume, wanted)
    assert changed == replace(taken.snapshot, snapmirror_label="daily")
    delete_one(client, volume, taken.snapshot, wanted, deadline=left())
    assert there(client, volume, wanted) is None
    delete_one(client, volume, taken.snapshot, wanted, deadline=left())


def test_one_whose_answer_got_lost_is_looked_at_and_not_made_twice(
    sim: Running, client: Client, volume: Volume, wanted: SnapshotRequest
) -> None:
    sim.control.add_fault("drop_after", match={"method": "POST", "path": path_of(volume), "count": 1})
    taken = create_one(client, step(volume), wanted, deadline=left())
    assert taken.snapshot == there(client, volume, wanted)
    assert [each["method"] for each in sim.control.requests()].count("POST") == 1
    delete_one(client, volume, taken.snapshot, wanted, deadline=left())


def test_a_creation_that_fails_names_the_snapshot(
    sim: Running, client: Client, volume: Volume, wanted: SnapshotRequest
) -> None:
    sim.control.add_fault(
        "status", match={"method": "POST", "path": path_of(volume)}, status=400, code="525062", message="too many"
    )
    with pytest.raises(
        OntapError, match=f"Failed to create snapshot '{wanted.name}' of svm1:kvm_vol1: .*too many"
    ) as caught:
        create_one(client, step(volume), wanted, deadline=left())
    assert (caught.value.code, caught.value.fields["snapshot"]) == ("525062", wanted.name)
    assert there(client, volume, wanted) is None


@pytest.mark.parametrize(("comment", "said"), [(None, "there is none"), ("theirs", "it is another one, with comment")])
def test_the_word_of_the_array_is_not_taken_for_it(
    sim: Running, client: Client, volume: Volume, wanted: SnapshotRequest, comment: str | None, said: str
) -> None:
    if comment is not None:
        sim.control.add_snapshot("svm1", "kvm_vol1", wanted.name, comment=comment)
    with pytest.raises(KvmsnapError, match=f"Failed to act: the array reported success, but of this name {said}"):
        confirmed(client, step(volume), wanted, requested_at=2.0, action="act", deadline=left())
    if comment is not None:
        found = there(client, volume, wanted)
        assert found is not None
        delete_one(client, volume, found, wanted, deadline=left())


def test_one_that_cannot_be_looked_at_may_be_there(
    sim: Running, client: Client, volume: Volume, wanted: SnapshotRequest
) -> None:
    sim.control.add_fault(
        "status", match={"method": "GET", "path": path_of(volume)}, status=400, code="9", message="not now"
    )
    with pytest.raises(OutcomeUnknownError, match=r"it was accepted, but cannot be looked at: .*not now") as caught:
        confirmed(client, step(volume), wanted, requested_at=2.0, action="act", deadline=left())
    assert caught.value.outcome.fate == "lost"


def test_a_change_that_the_array_refuses_names_what_was_to_be_set(
    client: Client, volume: Volume, wanted: SnapshotRequest
) -> None:
    taken = create_one(client, step(volume), wanted, deadline=left())
    with pytest.raises(OntapError, match=f"Failed to set color of snapshot '{wanted.name}' of svm1:kvm_vol1: "):
        modify_one(client, volume, taken.snapshot, {"color": "red"}, deadline=left())
    assert there(client, volume, wanted) == taken.snapshot
    delete_one(client, volume, taken.snapshot, wanted, deadline=left())


def test_one_that_is_kept_says_until_when(
    sim: Running, client: Client, volume: Volume, wanted: SnapshotRequest
) -> None:
    taken = create_one(client, step(volume), wanted, deadline=left())
    modify_one(client, volume, taken.snapshot, {"expiry_time": "2999-01-01T00:00:00+00:00"}, deadline=left())
    found = there(client, volume, wanted)
    assert found is not None
    assert found.expiry_time == datetime(2999, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(OntapError, match="the snapshot is kept until 2999-01-01T00:00:00"):
        delete_one(client, volume, found, wanted, deadline=left())
    sim.control.change_snapshot("svm1", "kvm_vol1", wanted.name, expiry_time=None)
    delete_one(client, volume, found, wanted, deadline=left())
    assert there(client, volume, wanted) is None
