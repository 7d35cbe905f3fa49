# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a guest's file systems a freeze covers, from what its agent tells of them (guest-get-fsinfo). Pure.

Compared is by device: one that is mounted twice (bind mounts, btrfs subvolumes) counts once. What no freeze can hold
and nothing is lost by (vfat, ISO images, swap, which is no file system) does not count. What Windows freezes, Linux
does not: NTFS that is mounted below ``/`` is data that no freeze holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

FREEZABLE = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "gfs2", "jfs", "nilfs2", "ocfs2", "reiserfs", "ufs", "xfs"}
)
WINDOWS = frozenset({"ntfs", "refs"})
UNFREEZABLE_DATA = frozenset({"exfat", "fuseblk", "ntfs", "ntfs3", "refs", "zfs"})
"""Where guests keep data, and no freeze of the agent reaches; NTFS and ReFS only where the guest is not Windows."""


@dataclass(frozen=True)
class FileSystem:
    """One mount in a guest: ``device`` is the guest's name for it, ``disks`` are libvirt's targets, if known."""

    mountpoint: str
    device: str
    kind: str
    disks: tuple[str, ...] = ()

    @property
    def windows(self) -> bool:
        """Whether Windows has it mounted, at a drive's letter or nowhere."""
        return self.kind.lower() in WINDOWS and not self.mountpoint.startswith("/")

    @property
    def freezable(self) -> bool:
        """Whether a freeze can hold it."""
        return self.kind.lower() in FREEZABLE or self.windows

    @property
    def counts(self) -> bool:
        """Whether there is data on it."""
        return self.freezable or self.kind.lower() in UNFREEZABLE_DATA


@dataclass(frozen=True)
class Coverage:
    """What a freeze is to hold: how many devices, and why that is not all of the guest, in words; empty when it is."""

    devices: int
    missed: tuple[str, ...] = ()


def coverage(mounts: Sequence[FileSystem], *, saved: Iterable[str], chosen: Optional[Sequence[str]] = None) -> Coverage:
    """Compare what a freeze will hold with what the backup holds of the guest.

    ``saved`` are the targets of the disks in the backup, ``chosen`` the mount points to freeze, None for all. A file
    system on other disks alone does not count. Where the agent does not tell on which disks file systems are, disks
    are not compared.
    """
    disks = set(saved)
    frozen = [each for each in mounts if each.freezable and (chosen is None or each.mountpoint in chosen)]
    held = {each.device for each in frozen}
    uncovered = [
        each
        for each in mounts
        if each.counts and each.device not in held and (not each.disks or disks.intersection(each.disks))
    ]
    missed = [f"{each.mountpoint} ({each.kind}) is not frozen" for each in uncovered]
    if all(each.disks for each in mounts if each.freezable):
        covered = {disk for each in [*frozen, *uncovered] for disk in each.disks}
        missed.extend(f"disk {disk} has no file system that is frozen" for disk in sorted(disks - covered))
    return Coverage(len(held), tuple(missed))


def is_windows(mounts: Iterable[FileSystem]) -> Optional[bool]:
    """Tell by its file systems whether a guest is Windows, None when they do not say."""
    freezable = [each for each in mounts if each.freezable]
    return all(each.windows for each in freezable) if freezable else None
