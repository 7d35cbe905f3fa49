# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a freeze covers of a guest: a table of what its agent tells."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import (
    Coverage,
    FileSystem,
    coverage,
    is_windows,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once, max_workers

ROOT = FileSystem("/", "vda2", "ext4", ("vda",))
EFI = FileSystem("/boot/efi", "vda1", "vfat", ("vda",))
ISO = FileSystem("/media/cdrom", "sr0", "iso9660", ("sda",))
BIND = FileSystem("/srv/chroot", "vda2", "ext4", ("vda",))
SUBVOLUMES = (FileSystem("/", "vda3", "btrfs", ("vda",)), FileSystem("/home", "vda3", "btrfs", ("vda",)))
DATA = FileSystem("/srv", "dm-0", "xfs", ("vdb", "vdc"))
ZFS = FileSystem("/tank", "tank", "zfs", ("vdb",))
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
        # the agent does not tell on which disks they are
        ((NAMELESS,), ("vda", "vdb"), None, Coverage(1)),
    ],
)
def test_coverage(
    mounts: tuple[FileSystem, ...], saved: tuple[str, ...], chosen: Optional[tuple[str, ...]], expected: Coverage
) -> None:
    assert coverage(mounts, saved=saved, chosen=chosen) == expected


@pytest.mark.parametrize(
    ("mounts", "windows"),
    [((ROOT, EFI), False), ((FileSystem("C:\\", "c", "NTFS"),), True), ((EFI,), None), ((), None)],
)
def test_the_file_systems_tell_the_system(mounts: tuple[FileSystem, ...], windows: Optional[bool]) -> None:
    assert is_windows(mounts) is windows


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("", None),
        ("#max_workers = 20\n", None),
        ("max_workers = 7\n", 7),
        ("max_workers = 7\nmax_workers=40 # more\n", 40),
        ("prio_max_workers = 5\n", None),
    ],
)
def test_max_workers(text: str, workers: Optional[int]) -> None:
    assert max_workers(text) == workers


@pytest.mark.parametrize(("workers", "guests"), [(None, 16), (2, 1), (20, 16), (24, 20), (1000, 64)])
def test_how_many_guests_at_once(tmp_path: Path, workers: Optional[int], guests: int) -> None:
    if workers is not None:
        (tmp_path / "libvirtd.conf").write_text(f"max_workers = {workers}\n", encoding="utf-8")
    assert at_once(tmp_path, tmp_path) == guests
    (tmp_path / "virtqemud-sock").touch()
    assert at_once(tmp_path, tmp_path) == 16
