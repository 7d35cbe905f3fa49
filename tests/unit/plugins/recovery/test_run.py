# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What crashed backups left, on the simulated array and in a catalog: only what is dead and ours is taken back."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from recovery_host import RUN, Host, told

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal, store, volume_copies
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import ensure_present
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery import run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.run import RecoveryError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from kvmlab.process import wait_until

pytest.importorskip("libvirt")


def test_nothing_is_left(host: Host) -> None:
    assert host.recover() == {
        "changed": False,
        "leftovers": [],
        "summary": ["Nothing is left of any crash."],
        "diff": {"before": "", "after": ""},
    }


def test_a_half_made_backup_is_shown_then_taken_back_then_gone(host: Host) -> None:
    host.start()
    host.snapshot()
    shown = host.recover(check=True)
    assert (shown["changed"], told(shown)) == (True, [("backup", "taken back: snapshots, then manifest")])
    assert "its snapshot is on svm1:kvm_vol1" in shown["diff"]["before"]
    assert shown["diff"]["after"] == ""
    assert (host.snapshots(), host.copies()) == (["kvm_vol1"], sorted(volume_copies.names_of(host.manifest())))
    done = host.recover()
    assert done == shown
    assert (host.snapshots(), host.copies(), store.entries(host.catalog)) == ([], [], [])
    assert host.recover()["changed"] is False


def test_a_backup_that_may_be_under_way_is_left(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_booted", lambda: 0.0)
    host.start(created=(datetime.now(timezone.utc) - timedelta(minutes=5)).isoformat(timespec="seconds"))
    host.snapshot()
    result = host.recover()
    assert (result["changed"], told(result)) == (False, [("backup", None)])
    assert "may be under way still; it will count as a leftover in 3" in result["leftovers"][0]["message"]
    assert result["diff"]["before"] == result["diff"]["after"]
    assert host.snapshots() == ["kvm_vol1"]
    monkeypatch.setattr(run, "_booted", time.time)
    assert host.recover()["changed"] is True, "the host was booted since"
    assert host.snapshots() == []


def test_a_backup_of_the_future_is_taken_back_once_no_run_is_alive(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_booted", lambda: 0.0)
    host.start(created=(datetime.now(timezone.utc) + timedelta(days=1)).isoformat(timespec="seconds"))
    host.snapshot()
    assert told(host.recover()) == [("backup", None)]
    assert host.recover(grace_period=0.0)["changed"] is True
    assert (host.snapshots(), store.entries(host.catalog)) == ([], [])


def test_a_backup_whose_hold_lives_is_left(host: Host) -> None:
    host.start()
    host.holds.mkdir(mode=0o700, parents=True)
    with (host.holds / f"{host.backup}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert host.recover()["leftovers"] == []
    result = host.recover()
    assert [kind for kind, _remedy in told(result)] == ["hold", "backup"]


def test_locks_that_killed_processes_left_are_removed(host: Host) -> None:
    guest = host.holds.parent / "guests" / "5ec5b0a5-0b0e-4c7e-8a0e-1f5a3d1c2b01.lock"
    backup = host.catalog / "leases" / "hv1-daily_20261121020000.lock"
    for lock in (guest, backup):
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.touch(mode=0o600)
    with backup.open("w", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert [each["name"] for each in host.recover(check=True)["leftovers"]] == [str(guest)]
    assert told(host.recover()) == [("file", "removed")] * 2
    assert [lock for lock in (guest, backup) if lock.exists()] == []


def test_a_backup_in_its_turn_is_left(host: Host) -> None:
    host.start()
    host.snapshot()
    host.holds.mkdir(mode=0o700, parents=True)
    with (host.holds.parent / "backup.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert host.recover(orphans="absent")["leftovers"] == []
    assert host.recover()["changed"] is True


@pytest.mark.parametrize("comment", ["someone else's", "run 00000000-0000-4000-8000-000000000000, 1 guests"])
def test_a_snapshot_of_another_run_keeps_the_backup_from_being_taken_back(host: Host, comment: str) -> None:
    host.start()
    host.snapshot(comment=comment)
    result = host.recover()
    assert told(result) == [("backup", None)]
    assert "is not of this run" in result["leftovers"][0]["message"]
    assert host.snapshots() == ["kvm_vol1"]


def test_a_backup_is_taken_back_beside_a_snapshot_of_its_name_that_is_not_ours(host: Host) -> None:
    host.start()
    host.snapshot()
    host.sim.control.add_snapshot("svm1", "kvm_vol2", host.backup, comment="someone else's")
    assert told(host.recover()) == [("backup", "taken back: snapshots, then manifest")]
    assert (host.snapshots(), store.entries(host.catalog)) == (["kvm_vol2"], [])


def test_without_the_array_no_backup_is_looked_at(host: Host) -> None:
    host.start()
    host.snapshot()
    assert host.recover(controllers=[])["leftovers"] == []
    assert host.snapshots() == ["kvm_vol1"]


def test_a_volume_that_is_not_reached_keeps_the_backup(host: Host) -> None:
    gone = SavedVolume("cluster1", "svm1", "svm1-uuid", "gone", "gone-uuid")
    host.start(volumes=(*host.manifest().volumes, gone))
    host.snapshot()
    result = host.recover()
    assert told(result) == [("backup", None)]
    assert result["leftovers"][0]["message"].endswith("no controller that was given has svm1:gone")
    assert host.snapshots() == ["kvm_vol1"]


@pytest.mark.parametrize(
    ("login", "changes", "message"),
    [
        ({"password": "wrong"}, {}, "does not accept the user name or password"),
        ({"hostname": "https://cluster1"}, {}, "hostname must be a name or an address alone"),
        ({}, {"volumes": [{"svm": "svm1"}]}, "Failed to read volumes: its 'controller' is missing or is no text"),
    ],
)
def test_an_array_that_cannot_be_reached_fails_after_the_host_was_put_right(
    host: Host, login: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    host.holds.mkdir(mode=0o700, parents=True)
    stale = host.holds / "old.timer"
    stale.write_text("{", encoding="ascii")
    with pytest.raises(RecoveryError, match=message) as caught:
        host.recover(controllers=[{**host.controller, **login}], **changes)
    assert not stale.exists()
    assert caught.value.fields["changed"] is True
    assert [item["kind"] for item in caught.value.fields["leftovers"]] == ["hold", "backup"]


def test_a_snapshot_that_cannot_be_deleted_keeps_its_manifest(host: Host) -> None:
    host.start()
    host.snapshot()
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).isoformat(timespec="seconds")
    wanted = SnapshotRequest.checked(name=host.backup, owner=host.owner, expiry_time=tomorrow)
    with connect(Controller.from_option(host.controller), policy=RetryPolicy(0)) as client:
        ensure_present([client], [VolumeRef("svm1", "kvm_vol1")], wanted, check_mode=False, deadline=Deadline.after(30))
    with pytest.raises(RecoveryError, match="kept until"):
        host.recover()
    assert [entry.backup_id for entry in store.entries(host.catalog)] == [host.backup]


def test_snapshots_without_a_manifest_are_kept_unless_asked(host: Host) -> None:
    host.snapshot(volumes=("kvm_vol1", "kvm_vol2"))
    volumes = [
        {
            "svm_uuid": each.svm_uuid,
            "volume_uuid": each.uuid,
            "svm": each.svm,
            "volume": each.name,
            "controller": each.controller,
        }
        for each in host.volumes()
    ]
    assert host.recover()["leftovers"] == [], "no manifest and no option names their volumes"
    kept = host.recover(volumes=volumes)["leftovers"]
    assert [(item["kind"], item["action"]) for item in kept] == [("snapshot", None)]
    assert "svm1:kvm_vol1, svm1:kvm_vol2" in kept[0]["message"]
    assert host.recover(volumes=volumes, owner="hv2", orphans="absent")["leftovers"] == []
    assert host.snapshots() == ["kvm_vol1", "kvm_vol2"]
    assert host.recover(volumes=volumes, orphans="absent")["changed"] is True
    assert host.snapshots() == []


@contextmanager
def meanwhile(host: Host, method: str, path: str, **options: Any) -> Iterator[Future[dict[str, Any]]]:
    """Run a recovery, and let the block happen while the array keeps its first request of this kind waiting."""
    fault = host.sim.control.add_fault("delay", match={"method": method, "path": path, "count": 1}, seconds=1.0)
    try:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(host.recover, volumes=host.records(), **options)

            def waits() -> bool:
                return any(each["id"] == fault and each["hits"] for each in host.sim.control.faults())

            wait_until(waits, seconds=30, what=f"{method} {path}")
            yield running
            wait([running])
    finally:
        host.sim.control.clear_faults()


def test_a_backup_that_is_begun_while_the_array_is_asked_keeps_its_snapshots(host: Host) -> None:
    host.snapshot()
    begun = host.manifest(created=datetime.now(timezone.utc).isoformat(timespec="seconds"))
    with meanwhile(host, "GET", r"/snapshots$", orphans="absent") as running:
        store.save(host.catalog, begun, origin=Origin.OWN_RUN)
    assert told(running.result()) == []
    assert host.snapshots() == ["kvm_vol1"]


def test_a_backup_that_is_begun_while_others_are_removed_keeps_its_snapshots(host: Host) -> None:
    host.snapshot()
    host.backup = f"{host.backup}-2"
    host.snapshot()
    begun = host.manifest()
    with meanwhile(host, "DELETE", r"/snapshots/", orphans="absent") as running:
        store.save(host.catalog, begun, origin=Origin.OWN_RUN)
    with pytest.raises(RecoveryError, match=f"{host.backup}: the catalog has a manifest of it by now"):
        running.result()
    assert host.snapshots() == ["kvm_vol1"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"phase": "complete"}, "was completed meanwhile"), ({"run_id": RUN.replace("0", "1")}, "was begun anew")],
    ids=["completed", "begun anew"],
)
def test_a_backup_that_comes_to_life_is_not_taken_back(host: Host, changes: dict[str, Any], said: str) -> None:
    host.start()
    host.snapshot()
    first, host.backup = host.backup, f"{host.backup}-2"
    host.start()
    host.snapshot()
    with meanwhile(host, "DELETE", r"/snapshots/") as running:
        store.save(host.catalog, host.manifest(**changes), origin=Origin.OWN_RUN)
    with pytest.raises(RecoveryError, match=said):
        running.result()
    assert host.snapshots() == ["kvm_vol1"]
    assert [entry.backup_id for entry in store.entries(host.catalog)] == [host.backup], f"{first} is gone"


def test_a_backup_that_another_recovery_took_back_is_no_failure(host: Host) -> None:
    host.start()
    host.snapshot()
    host.backup = f"{host.backup}-2"
    host.start()
    with meanwhile(host, "DELETE", r"/snapshots/") as running:
        store.remove(host.catalog, host.backup)
    assert told(running.result()) == [("backup", "taken back: snapshots, then manifest")] * 2
    assert store.entries(host.catalog) == []


def test_snapshots_that_were_not_made_by_a_backup_are_never_orphans(host: Host) -> None:
    host.start()
    host.backup += "-by-hand"
    host.snapshot(comment="before the upgrade")
    host.recover(orphans="absent")
    assert host.snapshots() == ["kvm_vol1"]


def test_what_is_left_of_a_complete_backup(host: Host) -> None:
    host.start(phase="complete")
    host.snapshot()
    result = host.recover()
    assert told(result) == [("file", "removed")]
    assert (host.copies(), host.snapshots()) == ([], ["kvm_vol1"])
    assert [entry.backup_id for entry in store.entries(host.catalog)] == [host.backup]
    assert host.recover()["changed"] is False


def test_files_that_were_never_finished(host: Host) -> None:
    host.start(phase="complete")
    host.holds.mkdir(mode=0o700, parents=True)
    unfinished = [
        host.holds / ".h1.json.0123456789abcdef",
        host.catalog / "backups" / host.backup / ".manifest.json.0123456789abcdef",
    ]
    for path in [*unfinished, host.holds / ".hidden"]:
        path.write_text("x", encoding="ascii")
    assert {kind for kind, _remedy in told(host.recover())} == {"file"}
    assert all(path.exists() for path in unfinished), "they may be being written now"
    old = time.time() - 7200
    for path in unfinished:
        os.utime(path, (old, old))
    assert told(host.recover()) == [("file", "removed")] * 2
    assert [path.name for path in host.holds.iterdir()] == [".hidden"]


def test_broken_off_restores_and_unreadable_things_are_told(host: Host) -> None:
    broken = restore_journal.Journal(
        "r1",
        "b1",
        {"u1": restore_journal.GuestProgress("running"), "u2": restore_journal.GuestProgress("x", done=True)},
    )
    restore_journal.save(host.catalog, broken)
    restore_journal.save(host.catalog, replace(broken, restore_id="r2", guests={"u2": broken.guests["u2"]}))
    (host.catalog / "restores" / "r3.json").write_text("{", encoding="ascii")
    directory = host.catalog / "backups" / "b9"
    directory.mkdir(parents=True)
    (directory / "manifest.json").write_text(json.dumps({"schema": "x"}), encoding="ascii")
    result = host.recover()
    assert [(item["kind"], item["name"], item["action"]) for item in result["leftovers"]] == [
        ("restore", "r1", None),
        ("restore", "r3", None),
        ("backup", "b9", None),
    ]
    assert "before 1 of its guests were back" in result["leftovers"][0]["message"]
    assert result["changed"] is False


@pytest.mark.parametrize(
    "changes", [{"grace_period": -1.0}, {"owner": "../x"}, {"safety_days": -1}, {"safety_days": 999999}]
)
def test_bad_options(host: Host, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        host.recover(**changes)
