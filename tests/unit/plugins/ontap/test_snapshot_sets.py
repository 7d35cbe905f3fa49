# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of snapshots on the simulated array: all or none, whatever goes wrong. The array is asked, not the call."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hurried import Hurry

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import snapshot_sets
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import (
    SnapshotSetError,
    Unanswered,
    ensure_absent,
    ensure_present,
    name_clones,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import (
    Refusal,
    SnapshotPlan,
    SnapshotRefusedError,
    SnapshotRequest,
    list_snapshots,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import (
    Volume,
    VolumeRef,
    find_volumes,
    list_volumes,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline, RetryPolicy
from ontapsim.testing import Running

ONE, TWO, THREE = VolumeRef("svm1", "kvm_vol1"), VolumeRef("svm1", "kvm_vol2"), VolumeRef("svm2", "kvm_vol3")
ALL = (ONE, TWO, THREE)
OURS = "kvmsnap/kvmsnap: nightly"
SHORT = 1.9
"""Seconds in which the array is not asked to wait for the job of a creation: its state is asked for."""
TOMORROW = (datetime.now(timezone.utc) + timedelta(days=1)).replace(microsecond=0)


@pytest.fixture
def clients(sim: Running) -> Iterator[list[Client]]:
    """A client of the least-privilege user; re-runs come quickly."""
    with logged_in(sim, Clock()) as client:
        yield [client]


@pytest.fixture
def hurried(sim: Running) -> Iterator[list[Client]]:
    """The same, on whose clock ten seconds of waiting for a late snapshot are half a one; jobs end at once."""
    sim.control.set_switches(job_seconds=0.0, job_queued_seconds=0.0)
    with logged_in(sim, Hurry(20.0).clock) as client:
        yield [client]


@pytest.fixture
def hasty(sim: Running) -> Iterator[list[Client]]:
    """The same, on whose clock they are a tenth of one."""
    with logged_in(sim, Hurry(100.0).clock) as client:
        yield [client]


@contextmanager
def logged_in(sim: Running, clock: Clock) -> Iterator[Client]:
    """Log in, and out at the end."""
    option = {"hostname": "127.0.0.1", "port": sim.port, "username": "kvmsnap", "password": "lab-Kvmsnap1"}
    controller = Controller.from_option({**option, "ca_path": sim.ca_pem})
    with connect(controller, policy=RetryPolicy(first_delay=0.01, max_delay=0.02), clock=clock) as client:
        sim.control.clear_requests()
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A snapshot name of the test's own."""
    return re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[-120:].strip("-")


def present(
    clients: list[Client], name: str, *, volumes: Sequence[VolumeRef] = ALL, seconds: float = 30.0, **options: Any
) -> Any:
    """Call ensure_present with the options of a user."""
    check_mode = options.pop("check_mode", False)
    wanted = SnapshotRequest.checked(**{"name": name, "comment": "nightly", **options})
    deadline = Deadline.after(seconds, clients[0].clock)
    return ensure_present(clients, volumes, wanted, check_mode=check_mode, deadline=deadline).as_result()


def absent(clients: list[Client], name: str, *, volumes: Sequence[VolumeRef] = ALL, **options: Any) -> Any:
    """Call ensure_absent with the options of a user."""
    check_mode = options.pop("check_mode", False)
    wanted = SnapshotRequest.checked(name=name, **options)
    found = ensure_absent(clients, volumes, wanted, check_mode=check_mode, deadline=Deadline.after(30.0))
    return found.as_result()


def having(sim: Running, name: str) -> list[str]:
    """Return the volumes on which the array has a snapshot."""
    return sorted(each["name"] for each in sim.control.volumes() if name in each["snapshots"])


def seen(clients: list[Client], name: str) -> dict[str, Any]:
    """Return the snapshots of a name as the array tells them, by volume."""
    volumes = list_volumes(clients[0], svms=["svm1", "svm2"])
    found = [(volume.name, each) for volume in volumes for each in list_snapshots(clients[0], volume)]
    return {volume: each for volume, each in found if each.name == name}


def changes(sim: Running) -> list[str]:
    """Return the methods of the requests that change something."""
    return [each["method"] for each in sim.control.requests() if each["method"] != "GET"]


def test_a_set_is_created_once(sim: Running, clients: list[Client], name: str) -> None:
    before = time.monotonic()
    result = present(clients, name, snapmirror_label="daily", expiry_time=TOMORROW.isoformat())
    after = time.monotonic()
    array = seen(clients, name)
    assert sorted(array) == ["kvm_vol1", "kvm_vol2", "kvm_vol3"]
    for told in result["snapshots"]:
        real = array[told["volume"]]
        assert (told["uuid"], told["comment"], told["snapmirror_label"]) == (real.uuid, OURS, "daily")
        assert (real.comment, real.snapmirror_label, real.expiry_time) == (OURS, "daily", TOMORROW)
        assert before <= told["absent_at"] <= told["requested_at"] < told["confirmed_at"] <= after
        least, most = told["array_ahead"]
        assert least <= time.time() - time.monotonic() <= most
        assert told["created"] is True
    assert result["changed"] is True
    assert result["diff"]["before"] == {"svm1:kvm_vol1": None, "svm1:kvm_vol2": None, "svm2:kvm_vol3": None}
    assert changes(sim) == ["POST"] * 3 + ["PATCH"] * 6
    again = present(clients, name, snapmirror_label="daily", expiry_time=TOMORROW.isoformat())
    assert (again["changed"], [each["created"] for each in again["snapshots"]]) == (False, [False] * 3)
    assert again["snapshots"][0]["requested_at"] is None
    assert again["diff"]["before"] == again["diff"]["after"]
    assert len(changes(sim)) == 9


def test_label_and_expiry_come_after_all_snapshots_exist(sim: Running, clients: list[Client], name: str) -> None:
    sim.control.add_fault("delay", match={"method": "POST", "count": 1}, seconds=0.3)
    present(clients, name, snapmirror_label="daily", expiry_time=TOMORROW.isoformat())
    bodies = [each["body"] for each in sim.control.requests() if each["method"] in ("POST", "PATCH")]
    kinds = ["name" if '"name"' in body else "label" if "snapmirror_label" in body else "expiry" for body in bodies]
    assert kinds == ["name"] * 3 + ["label"] * 3 + ["expiry"] * 3


def test_the_snapshots_are_asked_for_at_once(sim: Running, clients: list[Client], name: str) -> None:
    sim.control.add_fault("delay", match={"method": "POST"}, seconds=0.4)
    began = time.monotonic()
    result = present(clients, name)
    requested = [each["requested_at"] for each in result["snapshots"]]
    assert max(requested) - min(requested) < 0.2
    assert time.monotonic() - began < 1.1


def test_check_mode_changes_nothing(sim: Running, clients: list[Client], name: str) -> None:
    result = present(clients, name, check_mode=True, snapmirror_label="daily")
    assert (result["changed"], having(sim, name), changes(sim)) == (True, [], [])
    assert [each["created"] for each in result["snapshots"]] == [True] * 3
    assert result["snapshots"][0]["uuid"] is None
    assert result["diff"]["after"]["svm1:kvm_vol1"]["snapmirror_label"] == "daily"
    present(clients, name)
    sim.control.clear_requests()
    assert absent(clients, name, check_mode=True)["changed"] is True
    assert (having(sim, name), changes(sim)) == (["kvm_vol1", "kvm_vol2", "kvm_vol3"], [])


def test_a_set_is_modified(clients: list[Client], name: str) -> None:
    present(clients, name, snapmirror_label="daily")
    result = present(clients, name, comment="weekly", snapmirror_label="weekly")
    assert result["changed"] is True
    assert {each["comment"] for each in result["snapshots"]} == {"kvmsnap/kvmsnap: weekly"}
    assert {each.snapmirror_label for each in seen(clients, name).values()} == {"weekly"}
    assert result["diff"]["before"]["svm1:kvm_vol1"]["snapmirror_label"] == "daily"


def test_a_set_is_deleted_once(sim: Running, clients: list[Client], name: str) -> None:
    present(clients, name)
    assert absent(clients, name) == {
        "changed": True,
        "snapshots": [],
        "diff": {
            "before": {ref.svm + ":" + ref.volume: {
                "name": name, "comment": OURS, "snapmirror_label": None, "expiry_time": None} for ref in ALL},
            "after": {ref.svm + ":" + ref.volume: None for ref in ALL},
        },
    }  # fmt: skip
    assert having(sim, name) == []
    assert absent(clients, name)["changed"] is False


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("status", {"status": 400, "code": "524479", "message": "no space"}),
    ("job_fail", {"code": "524479", "message": "no space"}),
]


@pytest.mark.parametrize(("kind", "options"), FAULTS)
def test_a_set_that_fails_in_part_is_taken_back(
    sim: Running, clients: list[Client], name: str, kind: str, options: dict[str, Any]
) -> None:
    sim.control.add_snapshot("svm1", "kvm_vol1", f"{name}-neighbour")
    sim.control.add_fault(kind, match={"method": "POST", "path": uuid_of(sim, "kvm_vol2")}, **options)
    with pytest.raises(SnapshotSetError, match="svm1:kvm_vol2: no space") as caught:
        present(clients, name)
    assert having(sim, name) == []
    assert having(sim, f"{name}-neighbour") == ["kvm_vol1"]
    fields = caught.value.fields
    assert (fields["ontap_code"], fields["snapshot"], fields["left_behind"]) == ("524479", name, [])
    assert sorted(fields["removed"]) == ["svm1:kvm_vol1", "svm2:kvm_vol3"]
    assert [(each["volume"], each["ontap_code"]) for each in fields["failures"]] == [("kvm_vol2", "524479")]
    sim.control.clear_faults()
    assert present(clients, name)["changed"] is True


def test_what_a_failed_job_made_is_taken_back(sim: Running, clients: list[Client], name: str) -> None:
    match = {"method": "POST", "path": uuid_of(sim, "kvm_vol2")}
    sim.control.add_fault("job_fail", match=match, effect=True, code="524479", message="it broke off")
    with pytest.raises(SnapshotSetError, match="svm1:kvm_vol2: it broke off") as caught:
        present(clients, name)
    assert having(sim, name) == []
    assert sorted(caught.value.fields["removed"]) == ["svm1:kvm_vol1", "svm1:kvm_vol2", "svm2:kvm_vol3"]


def test_what_a_failed_job_met_is_left_alone(sim: Running, clients: list[Client], name: str) -> None:
    path = uuid_of(sim, "kvm_vol2")
    sim.control.add_fault(
        "job_fail", match={"method": "POST", "path": path}, code="525059", message="it already exists"
    )
    sim.control.add_fault("delay", match={"method": "POST", "path": path}, seconds=0.5)
    with pytest.raises(SnapshotSetError, match="already exists") as caught:
        in_the_middle(
            lambda: sim.control.add_snapshot("svm1", "kvm_vol2", name, comment=OURS),
            0.2,
            lambda: present(clients, name),
        )
    assert having(sim, name) == ["kvm_vol2"]
    assert "svm1:kvm_vol2" not in caught.value.fields["removed"]


def uuid_of(sim: Running, volume: str) -> str:
    """Return the uuid of a volume, as the array has it."""
    (uuid,) = [each["uuid"] for each in sim.control.volumes() if each["name"] == volume]
    return str(uuid)


def test_a_full_volume_takes_the_others_back(sim: Running, clients: list[Client], name: str) -> None:
    sim.control.change_volume("svm2", "kvm_vol3", full=True)
    try:
        with pytest.raises(SnapshotSetError, match="svm2:kvm_vol3: "):
            present(clients, name)
    finally:
        sim.control.change_volume("svm2", "kvm_vol3", full=False)
    assert having(sim, name) == []


def test_what_cannot_be_taken_back_is_named(sim: Running, clients: list[Client], name: str) -> None:
    sim.control.add_fault(
        "status", match={"method": "POST", "path": uuid_of(sim, "kvm_vol2")}, status=400, code="524479"
    )
    sim.control.add_fault(
        "status", match={"method": "DELETE", "path": uuid_of(sim, "kvm_vol1")}, status=400, code="524481"
    )
    with pytest.raises(SnapshotSetError, match="may be left, on svm1:kvm_vol1") as caught:
        present(clients, name)
    assert having(sim, name) == ["kvm_vol1"]
    assert [each["volume"] for each in caught.value.fields["left_behind"]] == ["kvm_vol1"]
    assert caught.value.fields["removed"] == ["svm2:kvm_vol3"]


@pytest.mark.parametrize("key", ["snapmirror_label", "expiry_time"])
def test_a_late_property_that_fails_takes_the_set_back(
    sim: Running, clients: list[Client], name: str, key: str
) -> None:
    path = uuid_of(sim, "kvm_vol3")
    after = 0 if key == "snapmirror_label" else 1
    fault = {"method": "PATCH", "path": path, "after": after}
    sim.control.add_fault("status", match=fault, status=400, code="1638554", message="it is refused")
    with pytest.raises(SnapshotSetError, match=f"Failed to set {key} of snapshot") as caught:
        present(clients, name, snapmirror_label="daily", expiry_time=TOMORROW.isoformat())
    removed = {label.split(":")[1] for label in caught.value.fields["removed"]}
    left = {each["volume"] for each in caught.value.fields["left_behind"]}
    assert removed | left == {"kvm_vol1", "kvm_vol2", "kvm_vol3"}
    assert set(having(sim, name)) == left
    assert left == (set() if key == "snapmirror_label" else {"kvm_vol1", "kvm_vol2"})


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_lost_answer_makes_no_second_snapshot(sim: Running, clients: list[Client], name: str, fault: str) -> None:
    sim.control.add_fault(fault, match={"method": "POST", "count": 2})
    result = present(clients, name)
    assert having(sim, name) == ["kvm_vol1", "kvm_vol2", "kvm_vol3"]
    assert [each["created"] for each in result["snapshots"]] == [True] * 3
    entries = [each for each in sim.control.journal() if each["snapshot"] == name]
    assert len(entries) == 3


def test_answers_that_stay_lost_leave_nothing(sim: Running, hurried: list[Client], name: str) -> None:
    sim.control.add_fault("drop_before", match={"method": "POST", "path": uuid_of(sim, "kvm_vol1")})
    with pytest.raises(SnapshotSetError, match="whether the change took effect is unknown"):
        present(hurried, name)
    assert having(sim, name) == []
    assert len([each for each in sim.control.requests() if each["method"] == "POST"]) == 4 + 2


def test_a_late_effect_of_a_lost_answer_is_taken_back(sim: Running, hurried: list[Client], name: str) -> None:
    path = uuid_of(sim, "kvm_vol1")
    sim.control.add_fault(
        "status", match={"method": "POST", "path": uuid_of(sim, "kvm_vol2")}, status=400, code="524479"
    )
    sim.control.add_fault("job_hang", match={"method": "POST", "path": path}, seconds=0.8, effect=True)
    with pytest.raises(SnapshotSetError, match="has not ended within the time allowed") as caught:
        present(hurried, name, seconds=SHORT)
    assert having(sim, name) == []
    assert "svm1:kvm_vol1" in caught.value.fields["removed"]


def test_a_snapshot_that_cannot_be_confirmed_is_taken_back(sim: Running, clients: list[Client], name: str) -> None:
    place = {"method": "GET", "path": f"{uuid_of(sim, 'kvm_vol2')}/snapshots", "after": 1, "count": 4}
    sim.control.add_fault("burst", match=place, status=503)
    with pytest.raises(SnapshotSetError, match="accepted, but cannot be looked at") as caught:
        present(clients, name)
    assert having(sim, name) == []
    assert sorted(caught.value.fields["removed"]) == ["svm1:kvm_vol1", "svm1:kvm_vol2", "svm2:kvm_vol3"]


def test_a_gone_job_is_settled_by_looking(sim: Running, clients: list[Client], name: str) -> None:
    sim.control.set_switches(job_keep_seconds=0.0)
    assert present(clients, name)["changed"] is True
    assert having(sim, name) == ["kvm_vol1", "kvm_vol2", "kvm_vol3"]
    assert changes(sim) == ["POST"] * 3


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_array_delays_a_set(sim: Running, clients: list[Client], name: str, status: int) -> None:
    sim.control.add_fault("burst", match={"count": 3}, status=status)
    sim.control.add_fault("burst", match={"method": "POST", "count": 3}, status=status)
    assert present(clients, name)["changed"] is True
    assert having(sim, name) == ["kvm_vol1", "kvm_vol2", "kvm_vol3"]


def test_two_runs_at_once_never_share_a_set(sim: Running, clients: list[Client], name: str) -> None:
    def intrude() -> None:
        sim.control.add_snapshot("svm1", "kvm_vol2", name, comment="kvmsnap/another: x")

    sim.control.add_fault("delay", match={"method": "POST", "path": uuid_of(sim, "kvm_vol2")}, seconds=0.5)
    with pytest.raises(SnapshotSetError, match="already exists") as caught:
        in_the_middle(intrude, 0.2, lambda: present(clients, name))
    assert caught.value.fields["ontap_code"] == "525059"
    assert having(sim, name) == ["kvm_vol2"]
    assert seen(clients, name)["kvm_vol2"].comment == "kvmsnap/another: x"


def in_the_middle(act: Callable[[], None], seconds: float, call: Callable[[], Any]) -> Any:
    """Do something while a call is under way."""
    import threading

    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        return call()
    finally:
        timer.join(10)


def test_a_foreign_snapshot_is_left_alone(sim: Running, clients: list[Client], name: str) -> None:
    sim.control.add_snapshot("svm1", "kvm_vol2", name, comment="by hand")
    for ensure in (present, absent):
        with pytest.raises(SnapshotRefusedError, match="'by hand'") as caught:
            ensure(clients, name)
        assert [each["volume"] for each in caught.value.fields["refusals"]] == ["kvm_vol2"]
    assert (having(sim, name), changes(sim)) == (["kvm_vol2"], [])
    assert present(clients, name, volumes=[TWO], allow_foreign=True, comment=None)["changed"] is False
    assert absent(clients, name, allow_foreign=True)["changed"] is True
    assert having(sim, name) == []


def test_another_owner_s_snapshot_is_foreign(sim: Running, clients: list[Client], name: str) -> None:
    present(clients, name, volumes=[ONE], owner="hv1")
    with pytest.raises(SnapshotRefusedError, match="owner 'hv2' did not make"):
        absent(clients, name, volumes=[ONE], owner="hv2")
    assert having(sim, name) == ["kvm_vol1"]


def test_a_set_is_not_completed_later(sim: Running, clients: list[Client], name: str) -> None:
    present(clients, name, volumes=[ONE])
    with pytest.raises(SnapshotRefusedError, match="exists already on svm1:kvm_vol1"):
        present(clients, name)
    assert having(sim, name) == ["kvm_vol1"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"owners": ["snapmirror", "file_clone_dependent"]}, "in use by file_clone_dependent, snapmirror"),
        ({"expiry_time": TOMORROW.isoformat()}, f"kept until {TOMORROW.date()}"),
        ({"snaplock_expiry_time": TOMORROW.isoformat()}, f"locked until {TOMORROW.date()}"),
    ],
)
@pytest.mark.parametrize("check_mode", [True, False])
def test_what_may_not_be_deleted_keeps_the_whole_set(
    sim: Running, clients: list[Client], name: str, values: dict[str, Any], said: str, check_mode: bool
) -> None:
    present(clients, name)
    sim.control.change_snapshot("svm1", "kvm_vol2", name, **values)
    sim.control.clear_requests()
    with pytest.raises(SnapshotRefusedError, match=said) as caught:
        absent(clients, name, check_mode=check_mode)
    assert (having(sim, name), changes(sim)) == (["kvm_vol1", "kvm_vol2", "kvm_vol3"], [])
    (refusal,) = caught.value.fields["refusals"]
    assert refusal["owners"] == sorted(values.get("owners", []))


def test_what_becomes_busy_meanwhile_is_told_like_what_was(sim: Running, clients: list[Client], name: str) -> None:
    present(clients, name)

    def use() -> None:
        sim.control.change_snapshot("svm1", "kvm_vol1", name, owners=["dump"])

    sim.control.add_fault("delay", match={"method": "DELETE"}, seconds=0.5)
    with pytest.raises(SnapshotSetError, match="svm1:kvm_vol1: the snapshot is busy, it is in use by dump"):
        in_the_middle(use, 0.2, lambda: absent(clients, name))
    assert having(sim, name) == ["kvm_vol1"]


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_lost_answer_to_a_deletion_is_settled(sim: Running, clients: list[Client], name: str, fault: str) -> None:
    present(clients, name)
    sim.control.add_fault(fault, match={"method": "DELETE", "count": 2})
    assert absent(clients, name)["changed"] is True
    assert having(sim, name) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [({"type": "dp"}, "dp volume"), ({"style": "flexgroup"}, "FlexGroup"), ({"state": "offline"}, "offline")],
)
def test_volumes_without_snapshots_are_refused_by_name(
    sim: Running, clients: list[Client], name: str, values: dict[str, Any], said: str
) -> None:
    sim.control.change_volume("svm1", "kvm_vol2", **values)
    try:
        with pytest.raises(SnapshotRefusedError, match=f"svm1:kvm_vol2: it is .*{said}"):
            present(clients, name)
    finally:
        sim.control.change_volume("svm1", "kvm_vol2", type="rw", style="flexvol", state="online")
    assert (having(sim, name), changes(sim)) == ([], [])


@pytest.mark.parametrize("bad", ["a b", "a/b", "", "x" * 256])
def test_a_bad_name_sends_nothing(sim: Running, clients: list[Client], bad: str) -> None:
    with pytest.raises(InputError, match="snapshot name"):
        present(clients, bad)
    assert sim.control.requests() == []


def test_a_name_that_only_the_array_refuses(sim: Running, clients: list[Client]) -> None:
    with pytest.raises(SnapshotSetError) as caught:
        present(clients, "snapmirror.x")
    assert caught.value.fields["ontap_code"] == "1638477"
    assert having(sim, "snapmirror.x") == []


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        (VolumeRef("svm1", "nowhere"), "find volume svm1:nowhere: no such volume"),
        (VolumeRef("svm2", "kvm_vol1"), "find volume svm2:kvm_vol1: no such volume"),
        (VolumeRef("svm9", "kvm_vol1"), "no such volume"),
        (VolumeRef("svm1", "kvm_vol1", uuid="00000000-0000-0000-0000-000000000000"), "it is another volume"),
        (VolumeRef("svm1", "kvm_vol1", controller="cluster9"), "at cluster9"),
        (VolumeRef("svm*", "kvm_vol1"), "no such volume"),
    ],
)
def test_a_volume_that_is_not_found(sim: Running, clients: list[Client], name: str, ref: VolumeRef, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        present(clients, name, volumes=[ONE, ref])
    assert having(sim, name) == []


def test_a_volume_that_is_named_twice_counts_once(sim: Running, clients: list[Client], name: str) -> None:
    uuid = uuid_of(sim, "kvm_vol1")
    named = VolumeRef("svm1", "kvm_vol1", uuid=uuid, controller=clients[0].name)
    found = find_volumes(clients, [ONE, TWO, named])
    assert [volume.name for _client, volume in found] == ["kvm_vol1", "kvm_vol2"]


def test_one_cluster_through_two_controllers_is_one(sim: Running, clients: list[Client], name: str) -> None:
    found = find_volumes([clients[0], clients[0]], [ONE, THREE])
    assert [volume.name for _client, volume in found] == ["kvm_vol1", "kvm_vol3"]
    assert len([each for each in sim.control.requests() if each["path"] == "/api/storage/volumes"]) == 2


class AnotherCluster:
    """A client's place on another cluster that has a volume of the same name."""

    name = "cluster2"


def test_the_same_name_on_two_systems_needs_more(clients: list[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import volumes

    twin = Volume(controller="cluster2", svm="svm1", svm_uuid="s2", name="kvm_vol1", uuid="twin")
    first = list_volumes(clients[0], svms=["svm1"], names=["kvm_vol1"])

    def both(client: Any, **_options: Any) -> list[Volume]:
        return first if client is clients[0] else [twin]

    monkeypatch.setattr(volumes, "list_volumes", both)
    systems: Any = [clients[0], AnotherCluster()]
    with pytest.raises(InputError, match="several systems have one"):
        find_volumes(systems, [ONE])
    for ref in (VolumeRef("svm1", "kvm_vol1", uuid="twin"), VolumeRef("svm1", "kvm_vol1", controller="cluster2")):
        ((_client, volume),) = find_volumes(systems, [ref])
        assert volume is twin


def test_the_clones_that_keep_a_snapshot_busy_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Volume(controller="c1", svm="svm1", svm_uuid="s1", name="kvm_vol1", uuid="v1")
    refusals = (Refusal(volume, "busy", owners=("volume_clone",)), Refusal(volume, "busy", owners=("dump",)))
    plan = SnapshotPlan("s1", (), refusals)
    clients: Any = {"v1": None}
    monkeypatch.setattr(snapshot_sets, "clones_of", lambda *_args, **_options: ["svm1:drill_a", "svm2:drill_b"])
    named = name_clones(plan, clients=clients, deadline=Deadline.after(1.0))
    assert [each.reason for each in named.refusals] == ["busy; the clones are svm1:drill_a, svm2:drill_b", "busy"]

    def fails(*_args: Any, **_options: Any) -> list[str]:
        raise OntapError("look", "no")

    monkeypatch.setattr(snapshot_sets, "clones_of", fails)
    assert name_clones(plan, clients=clients, deadline=Deadline.after(1.0)) == plan


def test_the_clones_are_asked_for_as_the_array_understands(clients: list[Client], name: str) -> None:
    from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import clones_of

    ((client, volume),) = find_volumes(clients, [ONE])
    assert clones_of(client, volume, name, deadline=Deadline.after(5.0)) == []


def test_a_snapshot_that_comes_late_is_removed_too(sim: Running, name: str) -> None:
    match = {"method": "POST", "path": uuid_of(sim, "kvm_vol2"), "count": 1}
    sim.control.add_fault("delay", match=match, seconds=1.2)
    with logged_in(sim, Hurry(5.0).clock) as client, pytest.raises(SnapshotSetError) as caught:
        present([client], name, seconds=0.8)
    assert "svm1:kvm_vol2" in caught.value.fields["removed"]
    assert having(sim, name) == []


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("status", [429, 503])
def test_an_overload_with_effect_makes_the_set(
    sim: Running, clients: list[Client], name: str, status: int, count: int
) -> None:
    place = {"method": "POST", "path": uuid_of(sim, "kvm_vol2"), "count": count}
    sim.control.add_fault("late", match=place, seconds=0, answer="error", status=status)
    result = present(clients, name)
    assert [each["created"] for each in result["snapshots"]] == [True] * 3
    assert having(sim, name) == ["kvm_vol1", "kvm_vol2", "kvm_vol3"]
    assert seen(clients, name)["kvm_vol2"].comment == OURS


def test_an_overload_whose_effect_comes_late_is_named(sim: Running, hasty: list[Client], name: str) -> None:
    place = {"method": "POST", "path": uuid_of(sim, "kvm_vol2")}
    sim.control.add_fault("late", match=place, seconds=60, answer="error", status=503)
    with pytest.raises(SnapshotSetError, match="may come to be later") as caught:
        present(hasty, name)
    assert having(sim, name) == []
    assert [each["volume"] for each in caught.value.fields["left_behind"]] == ["kvm_vol2"]
    sim.control.hasten()
    sim.control.settle()
    assert having(sim, name) == ["kvm_vol2"]


def test_a_job_that_ends_after_its_time_is_waited_for_and_taken_back(
    sim: Running, hurried: list[Client], name: str
) -> None:
    sim.control.add_fault("late", match={"method": "POST", "path": uuid_of(sim, "kvm_vol1")}, seconds=0.8)
    with pytest.raises(SnapshotSetError, match="has not ended within the time allowed") as caught:
        present(hurried, name, seconds=SHORT)
    assert caught.value.fields["left_behind"] == []
    assert sorted(caught.value.fields["removed"]) == ["svm1:kvm_vol1", "svm1:kvm_vol2", "svm2:kvm_vol3"]
    sim.control.settle()
    assert having(sim, name) == []


def test_a_job_that_does_not_end_is_named(sim: Running, hasty: list[Client], name: str) -> None:
    sim.control.set_switches(job_seconds=0.0, job_queued_seconds=0.0)
    sim.control.add_fault("job_hang", match={"method": "POST", "path": uuid_of(sim, "kvm_vol1")})
    with pytest.raises(SnapshotSetError, match="or its job has not ended") as caught:
        present(hasty, name, seconds=SHORT)
    assert [each["volume"] for each in caught.value.fields["left_behind"]] == ["kvm_vol1"]


def test_what_may_come_still_later_fails_the_removal(sim: Running, hasty: list[Client], name: str) -> None:
    place = {"method": "POST", "path": uuid_of(sim, "kvm_vol1")}
    sim.control.add_fault("late", match=place, seconds=60, answer="drop")
    wanted = SnapshotRequest.checked(name=name, comment="nightly")
    time_left = Deadline.after(60.0, hasty[0].clock)
    with pytest.raises(SnapshotSetError, match="What was made of the set is still there") as caught:
        ensure_present(hasty, ALL, wanted, check_mode=False, deadline=time_left, take_back=False)
    assert having(sim, name) == ["kvm_vol2", "kvm_vol3"]
    coming = [Unanswered.from_option(each) for each in caught.value.fields["unanswered"]]
    gone = SnapshotRequest.checked(name=name, comment="nightly", keep_foreign=True)
    with pytest.raises(SnapshotSetError, match="may come to be later"):
        ensure_absent(hasty, ALL, gone, check_mode=False, deadline=time_left, unanswered=coming)
    assert having(sim, name) == []
    sim.control.hasten()
    sim.control.settle()
    assert having(sim, name) == ["kvm_vol1"]
    result = ensure_absent(hasty, ALL, gone, check_mode=False, deadline=time_left, unanswered=coming).as_result()
    assert (result["changed"], having(sim, name)) == (True, [])
