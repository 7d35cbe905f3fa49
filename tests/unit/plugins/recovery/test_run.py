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
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal, store, volume_copies
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.safety_snapshots import comment_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import ensure_present
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Wanted
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef, list_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery import run, safety_removal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.run import RecoveryError, RecoveryRequest, recover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from kvmlab.process import wait_until
from ontapsim.testing import Running

pytest.importorskip("libvirt")

RUN = "0b1f6a5e-7d3c-4a51-9c80-2b6f7c1d9e11"
LONG_AGO = "2026-01-01T00:00:00+00:00"


class Host:
    """A host with a catalog and hold records of its own, whose array is the simulator."""

    def __init__(self, sim: Running, directory: Path, backup: str) -> None:
        self.sim, self.backup, self.owner = sim, backup, f"of-{backup}"
        self.catalog, self.holds = directory / "catalog", directory / "run" / "holds"
        self.mount = directory / "mnt"
        self.mount.mkdir()
        login = {"hostname": "127.0.0.1", "port": sim.port, "username": "kvmsnap", "password": "lab-Kvmsnap1"}
        self.controller = {**login, "ca_path": sim.ca_pem}

    def volumes(self) -> list[Volume]:
        with connect(Controller.from_option(self.controller), policy=RetryPolicy(0)) as client:
            return [each for each in list_volumes(client, svms=["svm1"]) if each.name in ("kvm_vol1", "kvm_vol2")]

    def manifest(self, **changes: Any) -> Manifest:
        volumes = tuple(
            SavedVolume(each.controller, each.svm, each.svm_uuid, each.name, each.uuid, mount_point=str(self.mount))
            for each in self.volumes()
        )
        started = replace(
            samples.manifest(), backup_id=self.backup, owner=self.owner, run_id=RUN, volumes=volumes, created=LONG_AGO
        )
        return replace(started, **changes)

    def start(self, **changes: Any) -> None:
        """Write a started manifest into the catalog, and into the volumes."""
        found = self.manifest(**changes)
        store.save(self.catalog, found, origin=Origin.OWN_RUN)
        copies = volume_copies.put_parts(found)
        volume_copies.put_index(found, copies.parts, owner=found.owner, run_id=RUN)
        assert copies.notes == ()

    def snapshot(self, *, comment: str = f"run {RUN}, 1 guests", volumes: tuple[str, ...] = ("kvm_vol1",)) -> None:
        wanted = Wanted.checked(name=self.backup, owner=self.owner, comment=comment)
        with connect(Controller.from_option(self.controller), policy=RetryPolicy(0)) as client:
            refs = [VolumeRef("svm1", name) for name in volumes]
            ensure_present([client], refs, wanted, check_mode=False, deadline=Deadline.after(30))

    def snapshots(self) -> list[str]:
        return sorted(each["name"] for each in self.sim.control.volumes() if self.backup in each["snapshots"])

    def restored(
        self, restore_id: str, *volumes: str, days: float = 31, done: bool = True, owner: str = "", on: str = ""
    ) -> Path:
        """Have a restore that ended so many days ago, with a safety snapshot and something set aside; its journal.

        ``owner`` is that of the backup, ``on`` the host that ran it; this host's without.
        """
        name = f"{self.owner}-safety-{restore_id}"
        comment = comment_of(restore_id, on or os.uname().nodename)
        wanted = Wanted.checked(name=name, owner=owner or self.owner, comment=comment)
        with connect(Controller.from_option(self.controller), policy=RetryPolicy(0)) as client:
            refs = [VolumeRef("svm1", each) for each in volumes]
            made = ensure_present([client], refs, wanted, check_mode=False, deadline=Deadline.after(30)).taken
        taken = tuple(map(restore_journal.SafetySnapshot.of, made))
        progress = restore_journal.GuestProgress("running", ("svm1:/vol/kvm_vol1/a",), written=True, done=done)
        known = restore_journal.Journal(
            restore_id, "b1", {"u1": progress}, (restore_journal.Safety(name, ("u1",), taken),)
        )
        restore_journal.save(self.catalog, known)
        for place in (
            restore_journal.kept_directory(self.catalog, restore_id),
            restore_journal.images_of(self.catalog, restore_id),
        ):
            place.mkdir(mode=0o700)
            (place / "u1.save").write_text("from before", encoding="ascii")
        path = self.catalog / "restores" / f"{restore_id}.json"
        self.age(path, days)
        return path

    @staticmethod
    def age(path: Path, days: float) -> None:
        """Let a file be written so many days ago."""
        then = time.time() - days * 86400
        os.utime(path, (then, then))

    def records(self) -> list[dict[str, Any]]:
        """The volumes, as a discovery tells of them."""
        return [asdict(each) for each in self.manifest().volumes]

    def safeties(self) -> dict[str, list[str]]:
        """The safety snapshots of this host, by volume."""
        found = {
            row["name"]: [each for each in row["snapshots"] if each.startswith(f"{self.owner}-safety-")]
            for row in self.sim.control.volumes()
        }
        return {volume: names for volume, names in found.items() if names}

    def copies(self) -> list[str]:
        return sorted(path.name for path in (self.mount / ".kvmsnap").glob("*"))

    def recover(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        options = {
            "controllers": [self.controller],
            "owner": self.owner,
            "volumes": [],
            "orphans": "keep",
            "safety_days": 30,
            "grace_period": 3600.0,
            "catalog_dir": str(self.catalog),
            "hold_dir": str(self.holds),
            "freeze_timeout": 20,
            "agent_ping_timeout": 5,
            "retry_count": 0,
            "timeout": 60,
            "uri": "test:///default",
        }
        return recover(RecoveryRequest.from_options({**options, **changes}), check=check)


@pytest.fixture
def host(sim: Running, tmp_path: Path, request: pytest.FixtureRequest) -> Host:
    """A host of the test's own, with a backup's name of its own."""
    return Host(sim, tmp_path, f"hv1-{abs(hash(request.node.name)) % 10**12}")


def told(result: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(item["kind"], item["action"]) for item in result["leftovers"]]


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
        ({}, {"volumes": [{"svm": "svm1"}]}, "Failed to read volumes: controller is missing"),
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
    wanted = Wanted.checked(name=host.backup, owner=host.owner, expiry_time=tomorrow)
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


@pytest.mark.parametrize("changes", [{"grace_period": -1.0}, {"owner": "../x"}, {"safety_days": -1}])
def test_bad_options(host: Host, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        host.recover(**changes)


def test_what_a_restore_kept_is_shown_then_removed_and_its_journal_stays(host: Host) -> None:
    old = host.restored("old", "kvm_vol1", "kvm_vol2")
    host.restored("young", "kvm_vol1", days=29)
    host.restored("broken", "kvm_vol2", done=False)
    before = (host.safeties(), sorted(path.name for path in old.parent.iterdir()))
    shown = host.recover(check=True)
    assert (shown["changed"], told(shown)) == (True, [("restore", None), ("safety", "removed")])
    assert shown["leftovers"][1]["name"] == "old"
    for word in ("31 days ago", "svm1:kvm_vol1, svm1:kvm_vol2", "old.files", "old.images"):
        assert word in shown["leftovers"][1]["message"]
    assert (host.safeties(), sorted(path.name for path in old.parent.iterdir())) == before
    assert host.recover() == shown
    assert host.safeties() == {"kvm_vol1": [f"{host.owner}-safety-young"], "kvm_vol2": [f"{host.owner}-safety-broken"]}
    left = {path.name for path in old.parent.iterdir()}
    assert left == set(before[1]) - {"old.files", "old.images"} | {".lock"}
    known = restore_journal.load(host.catalog, "old")
    assert known is not None
    assert (known.done("u1"), known.safeties) == (True, ())
    assert known.safety_removed.startswith(f"{datetime.now(timezone.utc):%Y-%m-%dT}")
    again = host.recover()
    assert (again["changed"], told(again)) == (False, [("restore", None)])


def test_nothing_that_was_kept_is_removed_when_it_is_to_be_kept_for_ever(host: Host) -> None:
    host.restored("old", "kvm_vol1", days=4000)
    assert host.recover(safety_days=0)["leftovers"] == []
    assert "kvm_vol1" in host.safeties()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"owners": ["snapmirror"]}, "busy, it is in use by snapmirror"),
        ({"expiry_time": "2099-01-01T00:00:00+00:00"}, "kept until 2099"),
        ({"comment": "kvmsnap/other: before restore other on hv1"}, "is not of it"),
    ],
    ids=["busy", "not expired", "another's"],
)
def test_a_safety_snapshot_that_must_stay_keeps_all_of_its_restore(
    host: Host, values: dict[str, Any], said: str
) -> None:
    path = host.restored("old", "kvm_vol1", "kvm_vol2")
    name = f"{host.owner}-safety-old"
    host.sim.control.change_snapshot("svm1", "kvm_vol2", name, **values)
    text = path.read_text(encoding="utf-8")
    result = host.recover()
    assert (result["changed"], told(result)) == (False, [("safety", None)])
    assert said in result["leftovers"][0]["message"]
    assert (host.safeties(), path.read_text(encoding="utf-8")) == ({"kvm_vol1": [name], "kvm_vol2": [name]}, text)
    assert (restore_journal.images_of(host.catalog, "old") / "u1.save").exists()
    host.sim.control.change_snapshot("svm1", "kvm_vol2", name, owners=[], expiry_time=None)


def test_another_snapshot_of_the_name_stays_and_hinders_nothing(host: Host) -> None:
    host.restored("old", "kvm_vol1", "kvm_vol2")
    name = f"{host.owner}-safety-old"
    with connect(Controller.from_option(host.controller), policy=RetryPolicy(0)) as client:
        wanted = Wanted.checked(name=name, owner=host.owner)
        ref = [VolumeRef("svm1", "kvm_vol2")]
        run.ensure_absent([client], ref, wanted, check_mode=False, deadline=Deadline.after(30))
    host.sim.control.add_snapshot("svm1", "kvm_vol2", name, comment="mine")
    assert told(host.recover()) == [("safety", "removed")]
    assert host.safeties() == {"kvm_vol2": [name]}


def test_nothing_that_was_kept_is_removed_while_a_restore_is_under_way_or_a_journal_cannot_be_read(host: Host) -> None:
    path = host.restored("old", "kvm_vol1")
    with restore_journal.alone(host.catalog):
        result = host.recover()
        assert told(result) == [("safety", None)]
        assert "a restore of this host is under way" in result["leftovers"][0]["message"]
    unread = path.with_name("r9.json")
    unread.write_text("{", encoding="ascii")
    result = host.recover()
    assert told(result) == [("restore", None), ("safety", None)]
    assert "what restore r9 needs is not known" in result["leftovers"][1]["message"]
    assert "kvm_vol1" in host.safeties()
    unread.unlink()
    assert told(host.recover()) == [("safety", "removed")]


def test_a_volume_that_no_controller_has_keeps_all_of_its_restore(host: Host) -> None:
    path = host.restored("old", "kvm_vol1")
    record = json.loads(path.read_text(encoding="utf-8"))
    record["safeties"][0]["snapshots"].append({**record["safeties"][0]["snapshots"][0], "volume_uuid": "gone"})
    path.write_text(json.dumps(record), encoding="utf-8")
    host.age(path, 31)
    result = host.recover()
    assert told(result) == [("safety", None)]
    assert "no controller that was given has svm1:kvm_vol1" in result["leftovers"][0]["message"]
    assert "kvm_vol1" in host.safeties()


def test_a_removal_that_was_killed_is_ended_by_the_next(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.restored("old", "kvm_vol1")

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(safety_removal, "_remove_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            host.recover()
    assert (host.safeties(), restore_journal.images_of(host.catalog, "old").is_dir()) == ({}, True)
    assert told(host.recover()) == [("safety", "removed")]
    assert not restore_journal.images_of(host.catalog, "old").exists()
    assert host.recover()["leftovers"] == []


def test_a_link_in_place_of_what_was_set_aside_leads_nowhere(host: Host, tmp_path: Path) -> None:
    host.restored("old", "kvm_vol1")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    images = restore_journal.images_of(host.catalog, "old")
    (images / "u1.save").unlink()
    images.rmdir()
    images.symlink_to(precious)
    assert told(host.recover()) == [("safety", "removed")]
    assert (precious / "file").exists()


def test_a_safety_snapshot_of_another_owner_s_backup_goes_with_the_restore_that_made_it(host: Host) -> None:
    host.restored("of-hv9", "kvm_vol1", "kvm_vol2", owner="hv9")
    assert told(host.recover()) == [("safety", "removed")]
    assert host.safeties() == {}


def test_a_safety_snapshot_that_another_host_took_before_restoring_this_one_s_backup_is_left_to_it(host: Host) -> None:
    host.restored("elsewhere", "kvm_vol1", on="another-host").unlink()
    host.sim.control.set_switches(clock_offset=31 * 86400)
    try:
        host.recover(volumes=host.records(), orphans="absent")
    finally:
        host.sim.control.reset_switches()
    assert host.safeties() == {"kvm_vol1": [f"{host.owner}-safety-elsewhere"]}


def test_a_safety_snapshot_that_a_killed_restore_asked_for_goes_when_that_has_ended(host: Host) -> None:
    host.restored("killed", "kvm_vol1", "kvm_vol2", days=0, done=False)
    known = restore_journal.load(host.catalog, "killed")
    assert known is not None
    asked = replace(known, safeties=(restore_journal.Safety(known.safeties[0].name, (), ()),))
    restore_journal.save(host.catalog, asked)
    assert told(host.recover(volumes=host.records())) == [("restore", None)], "it may yet go on"
    ended = {uuid: replace(progress, done=True) for uuid, progress in asked.guests.items()}
    restore_journal.save(host.catalog, replace(asked, guests=ended))
    assert host.recover(volumes=host.records(), safety_days=0)["leftovers"] == []
    result = host.recover(volumes=host.records())
    assert told(result) == [("snapshot", "removed")] * 2
    assert "made before restore killed, which ended without it" in result["leftovers"][0]["message"]
    assert host.safeties() == {}
    assert host.recover(volumes=host.records())["leftovers"] == []


def test_safety_snapshots_that_no_journal_knows_are_orphans_once_they_are_old(host: Host) -> None:
    path = host.restored("lost", "kvm_vol1")
    path.unlink()
    assert host.recover(volumes=host.records())["leftovers"] == [], "it is young"
    host.sim.control.set_switches(clock_offset=31 * 86400)
    try:
        result = host.recover(volumes=host.records())
        assert (result["changed"], told(result)) == (False, [("snapshot", None)])
        assert "before restore lost, and no journal knows it" in result["leftovers"][0]["message"]
        assert told(host.recover(volumes=host.records(), orphans="absent")) == [("snapshot", "removed")]
    finally:
        host.sim.control.reset_switches()
    assert host.safeties() == {}
