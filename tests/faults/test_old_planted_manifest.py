# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests that somebody with access to a volume plants, swaps or reads, with a real libvirtd and default settings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from shown import shown

VOLUMES = ("kvm_vol1", "kvm_vol2")
GUEST, NEIGHBOUR = "w1", "n1"
STRANGER = 1234
SECRET = "a-password-for-cloud-init"
SYSINFO = (
    "<sysinfo type='smbios'><oemStrings><entry>{secret}</entry></oemStrings></sysinfo><os><smbios mode='sysinfo'/>"
)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest on two volumes, of which the second is another guest's, too."""
    with Ground.beside("swapped") as found:
        found.guests.add_still(GUEST, *VOLUMES, running=False)
        found.guests.add_still(NEIGHBOUR, VOLUMES[1], running=False)
        with_secret = found.guests.domain(GUEST).XMLDesc(2).replace("<os>", SYSINFO.format(secret=SECRET), 1)
        found.guests.connection.defineXML(with_secret)
        yield found


def place(ground: Ground, volume: str, *, snapshot: str = "") -> Path:
    """Where a volume has the manifests, now or in a snapshot."""
    root = ground.volume(volume)
    return ground.seen((root / ".snapshot" / snapshot if snapshot else root) / ".kvmsnap")


def hashes(ground: Ground, guest: str = GUEST, *volumes: str) -> list[str]:
    images = (ground.guests.image(guest, volume) for volume in volumes or VOLUMES)
    return [hashlib.sha256(image.read_bytes()).hexdigest() for image in images]


def restore(ground: Ground, backup_id: str, *, check: bool = False, **options: Any) -> Any:
    asked = {"guests": [GUEST], "backup_id": backup_id, "stop": "destroy", **options}
    return ground.module("kvm_app_restore", check=check, **asked)


def lose_catalog(ground: Ground) -> None:
    shutil.rmtree(ground.seen(ground.catalog) / "backups")


def written_again(content: bytes, alter: Callable[[dict[str, Any]], None]) -> bytes:
    """A manifest that somebody altered, with a checksum that is right again."""
    record = json.loads(content)
    record.pop("checksum")
    alter(record)
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":")).encode("ascii")
    digest = f"sha256:{hashlib.sha256(canonical).hexdigest()}"
    return json.dumps({**record, "checksum": digest}, indent=1, sort_keys=True).encode("ascii") + b"\n"


def swap(ground: Ground, backup_id: str, alter: Callable[[dict[str, Any]], None]) -> None:
    """Make the snapshots of a backup anew as if somebody had altered its manifests just before, and set all hashes."""
    (backup,) = ground.module("kvm_backup_info", backup_id=backup_id)["backups"]
    carried = {
        volume: {path.name: path.read_bytes() for path in place(ground, volume, snapshot=backup_id).iterdir()}
        for volume in VOLUMES
    }
    refs = [{"svm": "svm1", "volume": volume} for volume in VOLUMES]
    removed = ground.module("ontap_snapshot", state="absent", name=backup_id, volumes=refs, owner="hv1")
    assert not removed.failed, removed.msg
    for volume, files in carried.items():
        live = place(ground, volume)
        live.mkdir(mode=0o700)
        changed: dict[str, str] = {}
        for name, content in files.items():
            if json.loads(content)["schema"] == "kvmsnap.manifest/1":
                files[name] = written_again(content, alter)
                changed[hashlib.sha256(content).hexdigest()] = hashlib.sha256(files[name]).hexdigest()
        for name, content in files.items():
            text = content.decode("ascii")
            for before, after in changed.items():
                text = text.replace(before, after)
            (live / name).write_text(text, encoding="ascii")
        ground.control.add_snapshot("svm1", volume, backup_id, comment=f"kvmsnap/hv1: {backup['comment']}")
        shutil.rmtree(live)


def planted_definition(record: dict[str, Any]) -> None:
    for guest in record["guests"]:
        guest["xml"] = guest["xml"].replace("<os>", "<title>planted</title><os>", 1)


def test_a_manifest_swapped_before_the_snapshot_is_not_believed_once_the_catalog_is_lost(ground: Ground) -> None:
    backup = "hv1-daily_20261121020000"
    ground.back_up(backup)
    swap(ground, backup, planted_definition)
    lose_catalog(ground)
    before = (hashes(ground), ground.guests.domain(GUEST).XMLDesc(2))
    looked = restore(ground, backup, check=True, definition="replace")
    done = restore(ground, backup, restore_id="swapped", definition="replace")
    with shown("11.8: a manifest swapped before the snapshot is believed", operation="restore"):
        assert "<title>planted" not in ground.guests.domain(GUEST).XMLDesc(2)
    assert (looked.failed, done.failed) == (True, True)
    assert "Failed to trust the manifests of backup" in done.msg
    assert "swapped or damaged before the snapshot was made" in looked.msg
    assert (hashes(ground), ground.guests.domain(GUEST).XMLDesc(2)) == before


def as_stranger(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    os.mkfifo(directory / "fifo")
    for path in (directory, directory / "fifo"):
        os.chown(path, STRANGER, STRANGER)


def open_to_all(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)


def as_link(directory: Path) -> None:
    directory.with_name("elsewhere").mkdir()
    directory.symlink_to("elsewhere")


PLANTED = {
    "of a stranger": (as_stranger, f"it belongs to uid {STRANGER}"),
    "open to all": (open_to_all, "others may write into it (mode 0777)"),
    "a link": (as_link, "it is a symbolic link"),
    "a file": (lambda directory: directory.write_bytes(b"mine"), "it is no directory"),
    "a fifo": (os.mkfifo, "it is no directory"),
}


def found_at(path: Path) -> tuple[int, int, list[str]]:
    """What is there: the inode, its mode, and the names in it."""
    state = path.lstat()
    return (state.st_ino, state.st_mode, sorted(os.listdir(path)) if path.is_dir() else [])


@pytest.mark.parametrize(("name", "plant", "reason"), [(name, *each) for name, each in PLANTED.items()], ids=PLANTED)
def test_a_directory_that_somebody_has_put_there_is_refused_before_the_hold(
    ground: Ground, name: str, plant: Callable[[Path], Any], reason: str
) -> None:
    backup = f"hv1-planted_2026112202000{list(PLANTED).index(name)}"
    directory = place(ground, VOLUMES[1])
    plant(directory)
    state = found_at(directory)
    asked = {"backup_id": backup, "owner": "hv1", "policy": "daily", **ground.discovered()}
    try:
        looked = ground.module("kvm_vm_backup", check=True, **asked)
        made = ground.module("kvm_vm_backup", **asked)
        with shown("11.8: a .kvmsnap directory of somebody else is used", operation="backup"):
            assert made.failed
        assert f".kvmsnap: {reason}" in made.msg
        assert "move it away, and run again" in made.msg
        assert backup not in {name for names in ground.snapshots().values() for name in names}
        assert not (ground.seen(ground.catalog) / "backups" / backup).exists()
        assert found_at(directory) == state
        # Only a write shows to whom a root-squashed export gives it; so a check cannot know a stranger there.
        assert looked.failed or (plant is as_stranger and f"belongs to uid {STRANGER}" in str(looked["notes"]))
    finally:
        for path in (directory, directory.with_name("elsewhere")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    for volume in VOLUMES:
        assert not place(ground, volume).exists()
    ground.back_up(backup)


def test_a_volume_carries_neither_other_guests_nor_what_may_be_secret(ground: Ground) -> None:
    backup = "hv1-daily_20261123020000"
    ground.back_up(backup)
    texts = {
        volume: b"".join(path.read_bytes() for path in place(ground, volume, snapshot=backup).iterdir()).decode("utf-8")
        for volume in VOLUMES
    }
    assert all(GUEST in text for text in texts.values())
    assert NEIGHBOUR in texts[VOLUMES[1]]
    with shown("11.8: every volume carries all guests' definitions with their secrets", operation="backup"):
        assert (SECRET in str(texts), f'"{NEIGHBOUR}"' in texts[VOLUMES[0]]) == (False, False)
    assert SECRET in (ground.seen(ground.catalog) / "backups" / backup / "manifest.json").read_text(encoding="utf-8")
    lose_catalog(ground)
    looked = restore(ground, backup, check=True)
    assert not looked.failed, looked.msg
    assert "sysinfo oemStrings may be secret and is not in the copy" in " ".join(looked["summary"])
