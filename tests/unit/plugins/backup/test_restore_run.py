# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore and its undo from options to plan: single disks, and what lies on the host beside the disks."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import catalog, plan, restore_run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.firmware import Aside
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.journal import (
    GuestProgress,
    Journal,
    Safety,
    SafetySnapshot,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import SavedFile

VOLUMES = ("vol1", "vol2")
SAFETY = "hv1-safety_20261122020000"
SIZE = 1 << 26
SAVED, BEFORE = b"variables of the backup", b"variables from before"


def options(root: Path, **changes: Any) -> dict[str, Any]:
    asked = {
        "guests": ["db1"],
        "disks": [],
        "backup_id": samples.BACKUP,
        "restore_id": "r1",
        "undo": False,
        "catalog_dir": str(root),
        "config_dir": "/etc/libvirt/qemu",
        "controllers": [],
        "uri": "test:///default",
        "retry_count": 0,
        "timeout": 60,
        "method": "auto",
        "other_hosts_off": False,
        "other_hosts": {},
        "hosts_off": [],
        "power": "as_was",
    }
    return {**asked, **changes}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog with one backup of db1, which is off and has its UEFI variables in ``vars.fd``."""
    nvram = tmp_path / "vars.fd"
    nvram.write_bytes(b"variables of now")
    started = samples.manifest(samples.two_volume_guest(), volumes=VOLUMES)
    complete = plan.complete(
        started,
        holds=[samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot(name) for name in VOLUMES],
        at="2026-11-21T02:00:03+00:00",
    )
    file = SavedFile("nvram", str(nvram), "db.nvram", hashlib.sha256(SAVED).hexdigest())
    catalog.save(tmp_path, replace(complete, guests=(replace(complete.guests[0], files=(file,)),)))
    (catalog.backup_directory(tmp_path, samples.BACKUP) / "db.nvram").write_bytes(SAVED)
    now = {
        **samples.two_volume_guest(),
        "state": "shutoff",
        "managed_save": False,
        "nvram": str(nvram),
        "tpm": False,
    }
    for disk in now["disks"]:
        disk.update(readonly=False)
        disk["storage"].update(locks=True)
    monkeypatch.setattr(
        restore_run, "discover", lambda _asked: {"libvirt_available": True, "problems": [], "guests": [now]}
    )
    monkeypatch.setattr(restore_run, "connected", lambda *_args, **_more: nullcontext([]))
    monkeypatch.setattr(
        restore_run,
        "locate",
        lambda _clients, volumes, **_more: {
            volume.key: SimpleNamespace(client=None, volume=None) for volume in volumes
        },
    )
    names = (samples.BACKUP, SAFETY)
    monkeypatch.setattr(
        restore_run,
        "snapshots_of",
        lambda _places, volumes, **_more: {
            volume.key: {name: SimpleNamespace(uuid=snapshot_uuid(volume.volume, name)) for name in names}
            for volume in volumes
        },
    )
    monkeypatch.setattr(restore_run, "file_size", lambda *_args, **_more: SIZE)
    return tmp_path


def snapshot_uuid(volume: str, name: str) -> str:
    return f"{volume}-snap" if name == samples.BACKUP else f"{volume}-{name}"


def planned(result: dict[str, Any]) -> dict[str, Any]:
    (guest,) = result["plan"]["guests"]
    return {
        "disks": [(disk["target"], disk["snapshot"]) for disk in guest["disks"]],
        "files": [Path(file["source"]).read_bytes() for file in guest["files"]],
    }


def test_a_restore_takes_all_disks_and_the_saved_variables(root: Path) -> None:
    result = restore_run.run(options(root), check=True)
    assert planned(result) == {"disks": [("vda", samples.BACKUP), ("vdb", samples.BACKUP)], "files": [SAVED]}
    assert f"UEFI variables {root}/vars.fd: as in {root}/backups" in result["diff"]["after"]


def test_a_restore_of_one_disk_takes_nothing_else(root: Path) -> None:
    result = restore_run.run(options(root, disks=["vdb"]), check=True)
    assert planned(result) == {"disks": [("vdb", samples.BACKUP)], "files": []}
    assert "note: disk vda stays as it is: it was not asked for" in result["diff"]["after"]
    assert "a mix of two points in time" in result["diff"]["after"]


def written(root: Path, *, disks: tuple[str, ...] = ()) -> None:
    """Leave the journal of a restore that ended, and what it set aside."""
    kept = journals.kept_directory(root, "r1")
    kept.mkdir(parents=True)
    (kept / "db.nvram").write_bytes(BEFORE)
    aside = Aside("nvram", str(root / "vars.fd"), "db.nvram", hashlib.sha256(BEFORE).hexdigest())
    touched = disks or ("svm1:/vol/vol1/db1.img", "svm1:/vol/vol2/db1.img")
    snapshots = tuple(
        SafetySnapshot("svm1", "svm1-uuid", name, f"{name}-uuid", snapshot_uuid(name, SAFETY))
        for name in VOLUMES
        if any(f"/{name}/" in place for place in touched)
    )
    progress = GuestProgress("shutoff", touched, written=True, done=True, files=() if disks else (aside,))
    safety = Safety(SAFETY, (samples.DB,), snapshots)
    journals.save(root, Journal("r1", samples.BACKUP, {samples.DB: progress}, (safety,), disks))


def test_an_undo_takes_the_disks_and_the_variables_from_before(root: Path) -> None:
    written(root)
    result = restore_run.undo(options(root, undo=True), check=True)
    assert planned(result) == {"disks": [("vda", SAFETY), ("vdb", SAFETY)], "files": [BEFORE]}


def test_an_undo_of_one_disk_takes_no_other_and_needs_no_snapshot_of_the_other(root: Path) -> None:
    written(root, disks=("svm1:/vol/vol2/db1.img",))
    result = restore_run.undo(options(root, undo=True), check=True)
    assert planned(result) == {"disks": [("vdb", SAFETY)], "files": []}


def test_the_same_id_again_does_nothing_more(root: Path) -> None:
    written(root, disks=("svm1:/vol/vol2/db1.img",))
    assert restore_run.run(options(root, disks=["vdb"]), check=True)["changed"] is False
    assert restore_run.run(options(root), check=True)["changed"] is False
