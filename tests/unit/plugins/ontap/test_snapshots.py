# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a set of snapshots is decided by tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import (
    Known,
    Snapshot,
    SnapshotRefusedError,
    SnapshotRequest,
    check_name,
    diff_of,
    parse_time,
    plan_absent,
    plan_present,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=timezone.utc)
LATER = NOW + timedelta(days=7)
OURS = Snapshot(uuid="u1", name="s1", create_time=NOW, comment="kvmsnap/kvmsnap: nightly", snapmirror_label="daily")
FOREIGN = replace(OURS, comment="kvmsnap/another: nightly")
ALONE = {"uuid": "v1", "name": "kvm_vol1", "svm": {"name": "svm1", "uuid": "s1"}}


def known(snapshot: Snapshot | None, *, number: int = 1, **change: Any) -> Known:
    """Return a volume and what it has."""
    volume = Volume.from_record({**ALONE, "uuid": f"v{number}", "name": f"kvm_vol{number}"}, controller="c1")
    return Known(replace(volume, **change), snapshot, asked_at=1.0)


@pytest.mark.parametrize(
    ("wanted", "snapshot", "action", "changes"),
    [
        (SnapshotRequest("s1"), None, "create", {}),
        (SnapshotRequest("s1", comment="x"), None, "create", {}),
        (SnapshotRequest("s1", snapmirror_label="daily"), None, "create", {"snapmirror_label": "daily"}),
        (
            SnapshotRequest("s1", snapmirror_label="daily", expiry_time=LATER),
            None,
            "create",
            {"snapmirror_label": "daily", "expiry_time": "2026-11-28T02:00:00+00:00"},
        ),
        (SnapshotRequest("s1"), OURS, "nothing", {}),
        (SnapshotRequest("s1", comment="nightly", snapmirror_label="daily"), OURS, "nothing", {}),
        (SnapshotRequest("s1", comment="weekly"), OURS, "modify", {"comment": "kvmsnap/kvmsnap: weekly"}),
        (SnapshotRequest("s1", snapmirror_label="weekly"), OURS, "modify", {"snapmirror_label": "weekly"}),
        (SnapshotRequest("s1", expiry_time=LATER), OURS, "modify", {"expiry_time": "2026-11-28T02:00:00+00:00"}),
        (
            SnapshotRequest("s1", expiry_time=LATER),
            replace(OURS, expiry_time=LATER.astimezone(timezone(timedelta(hours=-5)))),
            "nothing",
            {},
        ),
        (SnapshotRequest("s1", allow_foreign=True), FOREIGN, "nothing", {}),
        (SnapshotRequest("s1", allow_foreign=True, comment="x"), FOREIGN, "modify", {"comment": "kvmsnap/kvmsnap: x"}),
        (SnapshotRequest("s1", owner="another"), FOREIGN, "nothing", {}),
    ],
)
def test_what_makes_a_snapshot_present(
    wanted: SnapshotRequest, snapshot: Snapshot | None, action: str, changes: dict[str, Any]
) -> None:
    plan = plan_present(wanted, [known(snapshot)])
    assert [(step.action, dict(step.changes)) for step in plan.steps] == [(action, changes)]
    assert plan.refusals == ()
    assert plan.changed is (action != "nothing")


def test_where_all_are_to_be_new_our_own_is_refused_too() -> None:
    plan = plan_present(SnapshotRequest("s1", comment="x", only_new=True), [known(OURS), known(None, number=2)])
    assert [refusal.volume.name for refusal in plan.refusals] == ["kvm_vol1"]
    assert "is there already (its comment is" in plan.refusals[0].reason
    fresh = plan_present(SnapshotRequest("s1", only_new=True), [known(None), known(None, number=2)])
    assert ([step.action for step in fresh.steps], fresh.refusals) == (["create"] * 2, ())


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        ([known(FOREIGN)], ["did not make"]),
        ([known(replace(OURS, comment=""))], ["it has no comment"]),
        ([known(replace(OURS, comment="kvmsnap/kvmsnapper: x"))], ["did not make"]),
        ([known(None, type="dp"), known(None, number=2)], ["dp volume"]),
        ([known(None, style="flexgroup")], ["FlexGroup"]),
        ([known(None, state="offline"), known(FOREIGN, number=2)], ["offline", "did not make"]),
        ([known(OURS), known(None, number=2)], ["exists already on svm1:kvm_vol1"]),
    ],
)
def test_what_must_not_be_made_present(found: list[Known], reasons: list[str]) -> None:
    plan = plan_present(SnapshotRequest("s1"), found)
    assert len(plan.refusals) == len(reasons)
    assert all(reason in refusal.reason for reason, refusal in zip(reasons, plan.refusals))
    with pytest.raises(SnapshotRefusedError, match="Failed to create snapshot 's1': svm1:kvm_vol") as caught:
        plan.raise_refusals("create")
    assert len(caught.value.fields["refusals"]) == len(reasons)


@pytest.mark.parametrize(
    ("wanted", "snapshot", "action"),
    [
        (SnapshotRequest("s1"), None, "nothing"),
        (SnapshotRequest("s1"), OURS, "delete"),
        (SnapshotRequest("s1", allow_foreign=True), FOREIGN, "delete"),
        (SnapshotRequest("s1", keep_foreign=True), FOREIGN, "nothing"),
        (SnapshotRequest("s1", keep_foreign=True), OURS, "delete"),
        (SnapshotRequest("s1", keep_foreign=True, comment="of another run"), OURS, "nothing"),
        (SnapshotRequest("s1", keep_foreign=True, comment="nightly"), OURS, "delete"),
        (SnapshotRequest("s1"), replace(OURS, expiry_time=NOW), "delete"),
        (SnapshotRequest("s1"), replace(OURS, expiry_time=NOW - timedelta(days=1)), "delete"),
    ],
)
def test_what_makes_a_snapshot_absent(wanted: SnapshotRequest, snapshot: Snapshot | None, action: str) -> None:
    plan = plan_absent(wanted, [known(snapshot)], now=lambda _volume: NOW)
    assert [step.action for step in plan.steps] == [action]
    assert plan.refusals == ()


@pytest.mark.parametrize(
    ("snapshot", "reason", "owners", "kept"),
    [
        (FOREIGN, "did not make", (), None),
        (replace(OURS, owners=("snapmirror", "volume_clone")), "in use by snapmirror, volume_clone",
         ("snapmirror", "volume_clone"), None),
        (replace(OURS, expiry_time=LATER), "kept until 2026-11-28T02:00:00+00:00", (), LATER),
        (replace(OURS, snaplock_expiry_time=LATER), "locked until 2026-11-28T02:00:00+00:00", (), LATER),
    ],
)  # fmt: skip
def test_what_must_not_be_made_absent(
    snapshot: Snapshot, reason: str, owners: tuple[str, ...], kept: datetime | None
) -> None:
    plan = plan_absent(SnapshotRequest("s1"), [known(None, number=2), known(snapshot)], now=lambda _volume: NOW)
    (refusal,) = plan.refusals
    assert reason in refusal.reason
    assert (refusal.volume.name, refusal.owners, refusal.kept_until) == ("kvm_vol1", owners, kept)


def test_the_diff_tells_what_is_and_what_will_be() -> None:
    wanted = SnapshotRequest("s1", comment="new", snapmirror_label="daily", expiry_time=LATER)
    now = {"name": "s1", "comment": "kvmsnap/kvmsnap: nightly", "snapmirror_label": "daily", "expiry_time": None}
    then = {**now, "comment": "kvmsnap/kvmsnap: new", "expiry_time": "2026-11-28T02:00:00+00:00"}
    assert diff_of(plan_present(wanted, [known(OURS)]), wanted) == {
        "before": {"svm1:kvm_vol1": now},
        "after": {"svm1:kvm_vol1": then},
    }
    assert diff_of(plan_present(wanted, [known(None)]), wanted) == {
        "before": {"svm1:kvm_vol1": None},
        "after": {"svm1:kvm_vol1": then},
    }
    gone = plan_absent(wanted, [known(OURS)], now=lambda _volume: NOW)
    assert diff_of(gone, wanted) == {"before": {"svm1:kvm_vol1": now}, "after": {"svm1:kvm_vol1": None}}


@pytest.mark.parametrize("name", ["s1", "hv1-daily_20261121020000", "hourly.2026-11-21_0205", "a+b:c", "x" * 255])
def test_a_good_name(name: str) -> None:
    assert check_name(name, new=True) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    "name", ["", "x" * 256, "a/b", "..", ".", ".a", "-a", "a b", "a*", "a|b", "a,b", "ä", "a\n", "@a"]
)
def test_a_bad_name_for_a_new_snapshot(name: str) -> None:
    with pytest.raises(InputError, match="snapshot name"):
        check_name(name, new=True)


@pytest.mark.parametrize(("name", "good"), [("a b", True), ("ä", True), ("@GMT", True), ("a/b", False), ("..", False)])
def test_names_of_existing_snapshots_are_taken_as_they_are(name: str, good: bool) -> None:
    if good:
        assert check_name(name, new=False) is None  # type: ignore[func-returns-value]
        return
    with pytest.raises(InputError):
        check_name(name, new=False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"owner": ""}, "owner"),
        ({"owner": "a:b"}, "owner"),
        ({"owner": "a/b"}, "owner"),
        ({"comment": "two\nlines"}, "comment"),
        ({"comment": "x" * 250}, "comment"),
        ({"snapmirror_label": ""}, "snapmirror_label"),
        ({"snapmirror_label": "x" * 32}, "snapmirror_label"),
        ({"expiry_time": "tomorrow"}, "ISO 8601"),
        ({"expiry_time": "2026-11-28T02:00:00"}, "offset"),
        ({"expiry_time": ""}, "ISO 8601"),
    ],
)
def test_options_that_cannot_be_used(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SnapshotRequest.checked(name="s1", **given)


def test_options_that_can_be_used() -> None:
    wanted = SnapshotRequest.checked(
        name="s1", owner="hv1.example", comment="ü", expiry_time="2026-11-28T03:00:00.5+01:00"
    )
    assert wanted.stored_comment == "kvmsnap/hv1.example: ü"
    assert wanted.expiry_time == LATER
    assert SnapshotRequest.checked(name="s1").stored_comment == "kvmsnap/kvmsnap:"


@pytest.mark.parametrize("text", ["2026-11-21T02:00:00Z", "2026-11-21T03:00:00+01:00", "2026-11-20T21:00:00-05:00"])
def test_times_are_moments(text: str) -> None:
    assert parse_time(text, what="expiry_time") == NOW


def test_a_record_as_ontap_writes_it() -> None:
    record = {
        "uuid": "343b5227",
        "name": "ss1",
        "create_time": "2021-06-10T17:24:41-04:00",
        "comment": "123",
        "expiry_time": "2022-02-04T14:00:00-05:00",
        "snapmirror_label": "321",
        "snaplock_expiry_time": "2022-02-05T14:00:00-05:00",
        "owners": ["volume_clone"],
    }
    snapshot = Snapshot.from_record(record)
    assert snapshot.create_time == datetime(2021, 6, 10, 21, 24, 41, tzinfo=timezone.utc)
    assert snapshot.kept_until() == datetime(2022, 2, 5, 19, 0, tzinfo=timezone.utc)
    assert (snapshot.owners, snapshot.is_of("kvmsnap")) == (("volume_clone",), False)
