# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore around power, with a real libvirtd: autostart, managed-save images, a kill, and who takes its place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from kvmground import Ground
from kvmground.ground import SVM
from kvmlab.process import wait_until

# On one file system with libvirt's managed-save images, as on a host.
CATALOG = "/var/lib/libvirt/kvmsnap"
OLDER, NEWER = "hv1-daily_20261121020000", "hv1-daily_20261122020000"
SHUTOFF, RUNNING, RESTORED = 5, 1, 3
VOLUME = "kvm_vol1"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host of its own with one guest and two backups of it."""
    with Ground.beside("power") as found:
        found.guests.add_still("p1", VOLUME)
        for name in (OLDER, NEWER):
            found.back_up(name, catalog_dir=CATALOG)
        yield found


def restored(ground: Ground, **options: Any) -> dict[str, Any]:
    """Restore the guest, and return the result of what must not fail."""
    outcome = ground.module("kvm_app_restore", **asked(**options))
    assert not outcome.failed, outcome.msg
    return outcome.result


def asked(**options: Any) -> dict[str, Any]:
    """Return the options of a restore; a guest without a system does not obey a shutdown."""
    return {"guests": ["p1"], "catalog_dir": CATALOG, "stop": "destroy", **options}


def content(ground: Ground) -> str:
    """Return the hash of the image."""
    return hashlib.sha256(ground.guests.image("p1", VOLUME).read_bytes()).hexdigest()


def changed(ground: Ground, data: bytes) -> str:
    """Write something into the image and return its hash."""
    with ground.guests.image("p1", VOLUME).open("r+b") as stream:
        stream.seek(4096)
        stream.write(data)
    return content(ground)


def test_a_managed_save_image_is_never_resumed_over_a_restored_disk_and_an_undo_resumes_it(ground: Ground) -> None:
    domain = ground.guests.domain("p1")
    domain.managedSave(0)
    image = ground.seen(Path("/var/lib/libvirt/qemu/save/p1.save"))
    before, memory = image.stat().st_ino, changed(ground, b"before the restore")
    restored(ground, restore_id="saved", power="running")
    assert not image.exists()
    assert not domain.hasManagedSaveImage(0)
    assert domain.state() == [RUNNING, 1], "it booted"
    assert content(ground) != memory
    (aside,) = ground.seen(Path(CATALOG, "restores", "saved.images")).iterdir()
    assert (aside.stat().st_ino, aside.stat().st_mode & 0o777) == (before, 0o600)
    restored(ground, restore_id="saved", state="undone")
    assert domain.state() == [RUNNING, RESTORED], "it went on with its memory from before"
    assert content(ground) == memory
    assert not aside.exists()


def test_a_killed_restore_leaves_a_guest_that_nothing_starts_and_another_takes_its_place(ground: Ground) -> None:
    domain = ground.guests.domain("p1")
    domain.setAutostart(1)
    before = changed(ground, b"before the kill")
    running = ground.begin("kvm_app_restore", **asked(backup_id=OLDER, restore_id="killed"))
    wait_until(lambda: content(ground) != before, seconds=60, what="a disk that was overwritten", pause=0.001)
    running.kill()
    assert not domain.isActive()
    assert not domain.autostart(), "the boot of the host would start a half-restored guest"
    backup = {"backup_id": "hv1-daily_20261123020000", "owner": "hv1", "catalog_dir": CATALOG, **ground.discovered()}
    refused = ground.module("kvm_vm_backup", **backup)
    assert "There is nothing to back up: p1 (guest-half-restored)" in refused.msg
    again = restored(ground, backup_id=OLDER, check=True)
    assert again["restore_id"] == "killed", "without an id it goes on"
    other = restored(ground, backup_id=NEWER, restore_id="other")
    assert any("restore killed from" in line for line in other["summary"])
    assert (domain.state()[0], domain.autostart()) == (RUNNING, 1)
    assert content(ground) != before
    refused = ground.module("kvm_app_restore", **asked(restore_id="killed"))
    assert "restore other took its place" in refused.msg
    restored(ground, restore_id="other", state="undone")
    assert (content(ground), domain.autostart()) == (before, 1)


def test_what_a_restore_kept_goes_in_time_and_an_undo_says_so(ground: Ground) -> None:
    domain = ground.guests.domain("p1")
    if domain.isActive():
        domain.destroy()
    domain.create()
    domain.managedSave(0)
    changed(ground, b"before the old restore")
    told = restored(ground, restore_id="old", power="off")
    safety = told["guests"][0]["safety"]
    restores = ground.seen(Path(CATALOG, "restores"))
    journal, images = restores / "old.json", restores / "old.images"
    now, snapshots = content(ground), ground.snapshots()[f"{SVM}:{VOLUME}"]
    assert (safety in snapshots, len(list(images.iterdir()))) == (True, 1)
    swept: dict[str, Any] = {"owner": "hv1", "catalog_dir": CATALOG}
    left_by_others = ground.module("kvm_leftovers", **swept)["leftovers"]
    assert {each["kind"] for each in left_by_others if each["action"]} <= {"lease", "file"}, "a lock of a killed run"
    assert not ground.module("kvm_leftovers", **swept)["changed"]
    assert (images.exists(), ground.snapshots()[f"{SVM}:{VOLUME}"]) == (True, snapshots)
    then = journal.stat().st_mtime - 31 * 86400
    os.utime(journal, (then, then))
    shown = ground.module("kvm_leftovers", check=True, **swept)
    assert shown["changed"]
    assert (images.exists(), ground.snapshots()[f"{SVM}:{VOLUME}"]) == (True, snapshots)
    assert ground.module("kvm_leftovers", **swept)["leftovers"] == shown["leftovers"]
    assert not ground.module("kvm_leftovers", **swept)["changed"]
    assert ground.snapshots()[f"{SVM}:{VOLUME}"] == [each for each in snapshots if each != safety]
    assert not images.exists()
    again = restored(ground, restore_id="old", power="off")
    assert (again["changed"], content(ground)) == (False, now)
    refused = ground.module("kvm_app_restore", **asked(restore_id="old", state="undone"))
    assert "its safety snapshot was removed at" in refused.msg
    assert content(ground) == now


def test_a_guest_with_a_block_job_is_refused(ground: Ground) -> None:
    domain = ground.guests.domain("p1")
    if not domain.isActive():
        domain.create()
    copy = f"<disk type='file'><driver type='raw'/><source file='{ground.volume(VOLUME)}/copy.img'/></disk>"
    domain.blockCopy("vda", copy, {"bandwidth": 1}, libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB)
    try:
        refused = ground.module("kvm_app_restore", **asked())
    finally:
        domain.blockJobAbort("vda", 0)
    assert [problem["code"] for problem in refused.result["problems"]] == ["guest-busy"]
    assert domain.isActive()
