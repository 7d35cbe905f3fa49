# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to bring a disk back, by its size and by what is written on it, beside a copy of the same disk.

The guests are off. What is told of a disk is its overwrite alone; the run is that of the whole module, with the safety
snapshot and the comparison of sampled blocks. The copy is one by ``qemu-img convert`` out of the same snapshot, written
past the host's cache, since what the array restored is safe on it too.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kvmground import Ground
from kvmlab.progress import say

VOLUME = "kvm_vol1"
BACKUP = "bench-restore_0001"
MIB, GIB = 1024**2, 1024**3
ROUNDS = 9
COPIES = 3
WITHIN = 600
METHODS = ("file_clone", "sfsr_cli")
_CHANGED_AT = 4096


@dataclass(frozen=True)
class Disk:
    """A raw disk, sparse but for what is written at its beginning and at its end."""

    gib: int
    written_mib: int

    @classmethod
    def from_option(cls, text: str) -> Disk:
        """Read ``GIB:MIB``."""
        gib, mib = text.split(":")
        return cls(int(gib), int(mib))

    @property
    def guest(self) -> str:
        """The name of the guest that has it."""
        return f"r{self.gib}x{self.written_mib}"


DISKS = (Disk(1, 64), Disk(64, 64), Disk(64, 1024))


@dataclass(frozen=True)
class Restored:
    """One disk brought back in one way. Times are in seconds: the overwrite, the whole module, the copy."""

    disk_gib: int
    written_mib: int
    method: str
    seconds_p50: float
    run_seconds: float
    convert_seconds: float


def measure(ground: Ground, disks: Sequence[Disk], methods: Sequence[str] = METHODS) -> list[Restored]:
    """Return how long the disks take, each way several times and turn by turn, so that all have the same weather."""
    for disk in disks:
        say(f"a guest with a disk of {disk.gib} GiB, {disk.written_mib} MiB of it written")
        ground.guests.add_still(disk.guest, VOLUME, running=False)
        _write(ground.guests.image(disk.guest, VOLUME), disk)
    _back_up(ground, disks)
    found = []
    copies = {disk: _copied(ground, disk) for disk in disks}
    for method in methods:
        overwrites: dict[Disk, list[float]] = {disk: [] for disk in disks}
        runs: dict[Disk, list[float]] = {disk: [] for disk in disks}
        for turn in range(ROUNDS):
            for disk in disks:
                overwrite, run = _restored(ground, disk, method, f"bench_{method}_{turn}_{disk.guest}")
                overwrites[disk].append(overwrite)
                runs[disk].append(run)
        for disk in disks:
            found.append(
                Restored(
                    disk_gib=disk.gib,
                    written_mib=disk.written_mib,
                    method=method,
                    seconds_p50=round(statistics.median(overwrites[disk]), 4),
                    run_seconds=round(statistics.median(runs[disk]), 2),
                    convert_seconds=round(copies[disk], 2),
                )
            )
            say(f"    {found[-1]}")
    for disk in disks:
        ground.guests.remove(disk.guest)
    return found


def _write(image: Path, disk: Disk) -> None:
    """Give the image its size, and half of what is written at either end; no two blocks are alike."""
    half = disk.written_mib * MIB // 2
    with image.open("r+b") as stream:
        stream.truncate(disk.gib * GIB)
        for start in (0, disk.gib * GIB - half):
            stream.seek(start)
            for _block in range(half // MIB):
                stream.write(os.urandom(MIB))
        stream.flush()
        os.fsync(stream.fileno())


def _back_up(ground: Ground, disks: Sequence[Disk]) -> None:
    guests = [disk.guest for disk in disks]
    found = ground.module("kvm_vm_discover", guests=guests)
    asked = {key: found[key] for key in ("guests", "volumes", "problems")}
    made = ground.module("kvm_vm_backup", backup_id=BACKUP, owner="bench", **asked)
    if made.failed:
        raise SystemExit(f"the backup failed: {made.msg}")


def _restored(ground: Ground, disk: Disk, method: str, restore_id: str) -> tuple[float, float]:
    """Spoil the disk, restore it, see that it is as it was saved; return the seconds of the overwrite and of it all."""
    image = ground.guests.image(disk.guest, VOLUME)
    with image.open("r+b") as stream:
        stream.seek(_CHANGED_AT)
        stream.write(restore_id.encode())
        stream.flush()
        os.fsync(stream.fileno())
    done = ground.module(
        "kvm_app_restore",
        guests=[disk.guest],
        backup_id=BACKUP,
        restore_id=restore_id,
        method=method,
        within=WITHIN,
    )
    if done.failed:
        raise SystemExit(f"the restore by {method} failed: {done.msg}")
    if _begins(image) != _begins(ground.guests.image(disk.guest, VOLUME, snapshot=BACKUP)):
        raise SystemExit(f"{image} was not restored by {method}")
    (row,) = done["guests"][0]["disks"]
    return float(row["seconds"]), done.seconds


def _begins(image: Path) -> bytes:
    with image.open("rb") as stream:
        return stream.read(MIB)


def _copied(ground: Ground, disk: Disk) -> float:
    """Copy the disk out of the snapshot, several times; return the seconds that it takes, and leave no copy."""
    name = ground.guests.disk(disk.guest, VOLUME).name
    volume = ground.volume(VOLUME)
    source, target = volume / ".snapshot" / BACKUP / name, volume / "copy.img"
    took = []
    for _turn in range(COPIES):
        began = time.monotonic()
        ground.run(["qemu-img", "convert", "-t", "none", "-f", "raw", "-O", "raw", source, target], timeout=WITHIN)
        took.append(time.monotonic() - began)
        ground.seen(target).unlink()
    return statistics.median(took)
