# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a backup down phase by phase: what is on disk after each, and what a check leaves of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import manifest_writer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest_writer import (
    ManifestRequest,
    TakenBackError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BackupScope, DiscoveredGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import GuestProgress, Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import guest_locks

THIRD = "33333333-3333-4333-8333-333333333333"


def options(root: Path, state: str, **changes: Any) -> dict[str, Any]:
    """The module's options for a backup of one guest."""
    return {
        "state": state,
        "backup_id": samples.BACKUP,
        "owner": "hv1",
        "policy": "daily",
        "guests": [samples.guest()],
        "volumes": [samples.volume(mount_point=None)],
        "problems": [],
        "quiesce": {},
        "order": [],
        "filesystems": {},
        "holds": [samples.hold()],
        "snapshots": [samples.snapshot()],
        "consistency": "crash-consistent",
        "other_hosts": {},
        "catalog_dir": str(root),
        "run_id": None,
        "hold_dir": str(root / "run" / "holds"),
        **changes,
    }


def write(options: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Do what the module does with its options."""
    return manifest_writer.write(ManifestRequest.from_options(options), check=check)


def phases(root: Path) -> list[str]:
    """What the catalog holds."""
    return [entry.manifest.phase if entry.manifest else "unreadable" for entry in store.entries(root)]


def test_started_then_complete_then_nothing_to_do(tmp_path: Path) -> None:
    started = write(options(tmp_path, "started"), check=False)
    assert phases(tmp_path) == ["started"]
    assert [hold["name"] for hold in started["plan"]["holds"]] == ["web1"]
    done = write(options(tmp_path, "complete"), check=False)
    assert phases(tmp_path) == ["complete"]
    assert done["guests_below_consistency"] == []
    again = write(options(tmp_path, "complete"), check=False)
    assert again["changed"] is False


def test_a_guest_that_another_host_has_active_is_not_offline(tmp_path: Path) -> None:
    off = samples.hold(method="none", held=False, consistency="offline", reason="shut off")
    write(options(tmp_path, "started"), check=False)
    said = {"hv2": [samples.DB], "hv3": ["", samples.WEB]}
    asked = options(tmp_path, "complete", holds=[off], consistency="offline", other_hosts=said)
    assert write(asked, check=True)["guests_below_consistency"] == ["web1"]
    assert write({**asked, "other_hosts": {"hv2": [samples.DB]}}, check=False)["guests_below_consistency"] == []


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    assert write(options(tmp_path / "catalog", "started"), check=True)["changed"] is True
    assert not (tmp_path / "catalog").exists()
    write(options(tmp_path, "started"), check=False)
    assert write(options(tmp_path, "complete"), check=True)["changed"] is True
    assert write(options(tmp_path, "absent"), check=True)["changed"] is True
    assert phases(tmp_path) == ["started"]


def test_a_backup_of_the_name_is_not_started_over(tmp_path: Path) -> None:
    write(options(tmp_path, "started"), check=False)
    with pytest.raises(InputError, match="already in the catalog"):
        write(options(tmp_path, "started"), check=False)


def test_a_started_backup_is_removed_and_a_complete_one_is_not(tmp_path: Path) -> None:
    write(options(tmp_path, "started"), check=False)
    assert write(options(tmp_path, "absent"), check=False)["changed"] is True
    assert write(options(tmp_path, "absent"), check=False)["changed"] is False
    write(options(tmp_path, "started"), check=False)
    write(options(tmp_path, "complete"), check=False)
    with pytest.raises(InputError, match="complete"):
        write(options(tmp_path, "absent"), check=False)
    assert phases(tmp_path) == ["complete"]


def test_an_unreadable_manifest_is_never_removed(tmp_path: Path) -> None:
    directory = store.backup_directory(tmp_path, samples.BACKUP)
    directory.mkdir(parents=True)
    (directory / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="unreadable"):
        write(options(tmp_path, "absent"), check=False)
    assert phases(tmp_path) == ["unreadable"]


def test_guests_below_the_level_asked_for_are_named(tmp_path: Path) -> None:
    write(options(tmp_path, "started"), check=False)
    done = write(options(tmp_path, "complete", consistency="application-consistent"), check=False)
    assert done["guests_below_consistency"] == ["web1"]


def test_completing_what_was_never_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never started"):
        write(options(tmp_path, "complete"), check=False)


def test_what_is_being_taken_back_cannot_be_completed(tmp_path: Path) -> None:
    mine = write(options(tmp_path, "started"), check=False)["run_id"]
    assert write(options(tmp_path, "withdrawn"), check=True)["changed"] is True
    write(options(tmp_path, "complete", run_id=mine), check=True)
    assert write(options(tmp_path, "withdrawn"), check=False)["changed"] is True
    assert write(options(tmp_path, "withdrawn"), check=False)["changed"] is False
    with pytest.raises(TakenBackError, match="another run of this backup_id has taken it back"):
        write(options(tmp_path, "complete", run_id=mine), check=False)
    assert phases(tmp_path) == ["started"]
    write(options(tmp_path, "absent"), check=False)
    assert phases(tmp_path) == []


def test_a_complete_backup_cannot_be_taken_back_any_more(tmp_path: Path) -> None:
    write(options(tmp_path, "started"), check=False)
    write(options(tmp_path, "complete"), check=False)
    with pytest.raises(InputError, match="complete: without its manifest"):
        write(options(tmp_path, "withdrawn"), check=False)
    assert not store.is_withdrawn(tmp_path, samples.BACKUP)


def test_the_backup_of_another_run_is_neither_completed_nor_removed(tmp_path: Path) -> None:
    old = write(options(tmp_path, "started"), check=False)["run_id"]
    write(options(tmp_path, "absent"), check=False)
    with pytest.raises(TakenBackError):
        write(options(tmp_path, "complete", run_id=old), check=False)
    new = write(options(tmp_path, "started"), check=False)["run_id"]
    with pytest.raises(TakenBackError):
        write(options(tmp_path, "complete", run_id=old), check=False)
    for state in ("withdrawn", "absent"):
        assert write(options(tmp_path, state, run_id=old), check=False)["changed"] is False
    assert write(options(tmp_path, "complete", run_id=new), check=False)["changed"] is True
    assert phases(tmp_path) == ["complete"]
    for state in ("withdrawn", "absent"):
        assert write(options(tmp_path, state, run_id=old), check=False)["changed"] is False
    with pytest.raises(TakenBackError):
        write(options(tmp_path, "complete", run_id=old), check=False)
    assert phases(tmp_path) == ["complete"]


def test_nothing_is_taken_back_of_a_backup_that_was_never_started(tmp_path: Path) -> None:
    for state in ("withdrawn", "absent"):
        assert write(options(tmp_path / "catalog", state), check=False)["changed"] is False
    assert not (tmp_path / "catalog").exists()


def test_of_two_runs_that_start_at_once_one_begins(tmp_path: Path) -> None:
    manifest, _plan = manifest_writer.planned(samples.BACKUP, BackupScope.from_options(options(tmp_path, "started")))
    write(options(tmp_path, "started"), check=False)
    with pytest.raises(InputError, match="already in the catalog"):
        manifest_writer.start(tmp_path, manifest, [DiscoveredGuest.from_record(samples.guest())], key=None)


def test_a_half_restored_guest_and_a_locked_one_are_left_out_and_what_was_said_of_them(tmp_path: Path) -> None:
    guests = [samples.guest(), samples.two_volume_guest(), samples.guest("third", THIRD)]
    volumes = [samples.volume(name, mount_point=None) for name in ("vol1", "vol2")]
    half = GuestProgress("running", ("svm1:/vol/vol1/web1.img",))
    journals.save(tmp_path, Journal("r1", "b1", {samples.WEB: half}))
    said = {
        "quiesce": {"web1": "none", "*": "suspend"},
        "order": [["web1"], ["db1", "third"]],
        "filesystems": {samples.DB: ["/srv"]},
    }
    asked = options(tmp_path, "started", guests=guests, volumes=volumes, **said)
    with guest_locks(tmp_path / "run" / "guests", [(samples.DB, "db1")], purpose="restore", identity="r2"):
        seen = [write(asked, check=check) for check in (True, False)]
    for each in seen:
        assert [hold["name"] for hold in each["plan"]["holds"]] == ["third"]
        assert [(guest["name"], guest["problems"]) for guest in each["plan"]["unprotected"]] == [
            ("web1", ["guest-half-restored"]),
            ("db1", ["guest-locked"]),
        ]
        assert [volume["volume"] for volume in each["plan"]["volumes"]] == ["vol1"]


def test_nothing_but_a_half_restored_guest_is_no_backup(tmp_path: Path) -> None:
    journals.save(tmp_path, Journal("r1", "b1", {samples.WEB: GuestProgress("running", ("d",))}))
    with pytest.raises(InputError, match=r"nothing to back up: web1 \(guest-half-restored\)"):
        write(options(tmp_path, "started"), check=False)
    journals.save(tmp_path, Journal("r1", "b1", {samples.WEB: GuestProgress("running", ("d",), written=True)}))
    assert write(options(tmp_path, "started"), check=False)["changed"]


def test_a_restore_that_began_after_the_hold_takes_no_guest_out_of_the_backup(tmp_path: Path) -> None:
    write(options(tmp_path, "started"), check=False)
    journals.save(tmp_path, Journal("r1", "b1", {samples.WEB: GuestProgress("running", ("d",))}))
    with guest_locks(tmp_path / "run" / "guests", [(samples.WEB, "web1")], purpose="restore", identity="r1"):
        write(options(tmp_path, "complete"), check=False)
    done = store.load(tmp_path, samples.BACKUP)
    assert done is not None
    assert [guest.name for guest in done.guests] == ["web1"]


def test_a_mark_that_a_removal_left_does_not_end_the_next_run(tmp_path: Path) -> None:
    write(options(tmp_path, "started"), check=False)
    store.withdraw(tmp_path, samples.BACKUP)
    (store.backup_directory(tmp_path, samples.BACKUP) / "manifest.json").unlink()
    write(options(tmp_path, "started"), check=False)
    write(options(tmp_path, "complete"), check=False)
    assert phases(tmp_path) == ["complete"]


@pytest.mark.parametrize("how", ["locked at the hold", "half restored since the start"])
def test_a_guest_that_was_taken_after_the_start_is_left_out_at_the_end(tmp_path: Path, how: str) -> None:
    guests = [samples.guest(), samples.guest("third", THIRD)]
    write(options(tmp_path, "started", guests=guests), check=False)
    web = samples.hold(locked=how.startswith("locked"), consistency="inconsistent")
    if how.startswith("half"):
        journals.save(tmp_path, Journal("r1", "b1", {samples.WEB: GuestProgress("running", ("d",))}))
    asked = options(tmp_path, "complete", holds=[web, samples.hold(THIRD, "third")])
    for check in (True, False):
        done = write(asked, check=check)
        assert [guest["name"] for guest in done["backup"]["guests"]] == ["third"]
        (left,) = done["backup"]["unprotected"]
        code = "guest-locked" if how.startswith("locked") else "guest-half-restored"
        assert (left["name"], left["problems"], done["guests_below_consistency"]) == ("web1", [code], [])
    assert phases(tmp_path) == ["complete"]


def test_no_guest_left_at_the_end_is_no_backup(tmp_path: Path) -> None:
    write(options(tmp_path, "started"), check=False)
    with pytest.raises(KvmsnapError, match=r"no guest is left of web1 \(guest-locked\)"):
        write(options(tmp_path, "complete", holds=[samples.hold(locked=True)]), check=False)
    assert phases(tmp_path) == ["started"]
