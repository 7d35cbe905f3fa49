# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a freeze covers of a guest: a table of what its agent tells."""

from __future__ import annotations

from typing import Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import (
    Coverage,
    FileSystem,
    coverage,
    is_windows,
)

ROOT = FileSystem("/", "vda2", "ext4", ("vda",))
EFI = FileSystem("/boot/efi", "vda1", "vfat", ("vda",))
ISO = FileSystem("/media/cdrom", "sr0", "iso9660", ("sda",))
BIND = FileSystem("/srv/chroot", "vda2", "ext4", ("vda",))
SUBVOLUMES = (FileSystem("/", "vda3", "btrfs", ("vda",)), FileSystem("/home", "vda3", "btrfs", ("vda",)))
DATA = FileSystem("/srv", "dm-0", "xfs", ("vdb", "vdc"))
ZFS = FileSystem("/tank", "tank", "zfs", ("vdb",))
DRIVE = FileSystem("C:\\", "c", "NTFS", ("vda",))
REFS = FileSystem("D:\\", "d", "ReFS", ("vdb",))
STICK = FileSystem("E:\\", "e", "exFAT", ("vdb",))
SHARED = FileSystem("/mnt", "vdb1", "ntfs", ("vdb",))
NAMELESS = FileSystem("/", "vda2", "ext4")


@pytest.mark.parametrize(
    ("mounts", "saved", "chosen", "expected"),
    [
        ((ROOT,), ("vda",), None, Coverage(1)),
        ((ROOT, EFI, ISO, BIND), ("vda",), None, Coverage(1)),
        (SUBVOLUMES, ("vda",), None, Coverage(1)),
        ((ROOT, DATA), ("vda", "vdb", "vdc"), None, Coverage(2)),
        ((ROOT, ZFS), ("vda", "vdb"), None, Coverage(1, ("/tank (zfs) is not frozen",))),
        ((ROOT,), ("vda", "vdb"), None, Coverage(1, ("disk vdb has no file system that is frozen",))),
        ((EFI,), ("vda",), None, Coverage(0, ("disk vda has no file system that is frozen",))),
        ((ROOT, DATA), ("vda", "vdb", "vdc"), ("/srv",), Coverage(1, ("/ (ext4) is not frozen",))),
        ((ROOT, DATA), ("vdb", "vdc"), ("/srv",), Coverage(1)),
        ((ROOT, ZFS), ("vda",), None, Coverage(1)),
        ((DRIVE, REFS), ("vda", "vdb"), None, Coverage(2)),
        ((DRIVE, REFS), ("vda", "vdb"), ("C:\\",), Coverage(1, ("D:\\ (ReFS) is not frozen",))),
        ((DRIVE, STICK), ("vda", "vdb"), None, Coverage(1, ("E:\\ (exFAT) is not frozen",))),
        ((ROOT, SHARED), ("vda", "vdb"), None, Coverage(1, ("/mnt (ntfs) is not frozen",))),
        ((ROOT, SHARED), ("vda",), None, Coverage(1)),
        # the agent does not tell on which disks they are
        ((NAMELESS,), ("vda", "vdb"), None, Coverage(1)),
    ],
)
def test_coverage(
    mounts: tuple[FileSystem, ...], saved: tuple[str, ...], chosen: Optional[tuple[str, ...]], expected: Coverage
) -> None:
    assert coverage(mounts, saved=saved, chosen=chosen) == expected


@pytest.mark.parametrize("kind", ["exfat", "fuseblk", "ntfs", "ntfs3", "refs", "zfs"])
def test_data_beside_a_frozen_file_system_that_linux_cannot_freeze_is_noticed(kind: str) -> None:
    beside = FileSystem("/srv", "vda3", kind, ("vda",))
    assert coverage((ROOT, beside), saved=("vda",)) == Coverage(1, (f"/srv ({kind}) is not frozen",))


@pytest.mark.parametrize(
    ("mounts", "windows"),
    [
        ((ROOT, EFI), False),
        ((DRIVE, STICK), True),
        ((FileSystem("System Reserved", "s", "NTFS"), DRIVE), True),
        ((ROOT, SHARED), False),
        ((SHARED, EFI), None),
        ((EFI,), None),
        ((), None),
    ],
)
def test_the_file_systems_tell_the_system(mounts: tuple[FileSystem, ...], windows: Optional[bool]) -> None:
    assert is_windows(mounts) is windows
