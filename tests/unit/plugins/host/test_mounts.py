# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""mountinfo read, and the mount of a path found as the kernel finds it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import (
    Mount,
    NfsSource,
    mount_of,
    nfs_mounts,
    parse_mounts,
    read_mounts,
)

HOST = parse_mounts((Path(__file__).parent / "kvm-host.mountinfo").read_text(encoding="utf-8"))
BY_POINT = {mount.mount_point: mount for mount in HOST}


@pytest.mark.parametrize(
    ("path", "mount_point", "remote"),
    [
        ("/mnt/kvm_vol1/web1.img", "/mnt/kvm_vol1", "/kvm_vol1/web1.img"),
        ("/mnt/kvm_vol1", "/mnt/kvm_vol1", "/kvm_vol1"),
        ("/mnt/kvm_vol1/nested/a/b.img", "/mnt/kvm_vol1/nested", "/kvm_vol1/nested/a/b.img"),
        ("/mnt/kvm_vol1/nested2/a.img", "/mnt/kvm_vol1", "/kvm_vol1/nested2/a.img"),
        ("/mnt/kvm_vol2/db 1.qcow2", "/mnt/kvm_vol2", "/kvm_vol2/db 1.qcow2"),
        ("/mnt/sub dir/x.img", "/mnt/sub dir", "/kvm_vol1/dir with\ttab/x.img"),
        ("/mnt/six/a.img", "/mnt/six", "/kvm_vol1/a.img"),
        ("/srv/bound/a.img", "/srv/bound", "/kvm_vol1/images/a.img"),
        ("/mnt/root/kvm_vol1/a.img", "/mnt/root", "/kvm_vol1/a.img"),
        ("/mnt/kvm_vol1/new\nline ü ☃.img", "/mnt/kvm_vol1", "/kvm_vol1/new\nline ü ☃.img"),
        ("/mnt/kvm_vol10/a.img", "/", "/mnt/kvm_vol10/a.img"),
        ("/etc/hosts", "/", "/etc/hosts"),
        ("/mnt/bound/a.img", "/mnt/bound", "/srv/local/a.img"),
        # recorded from Linux: of a bind mount on NFS the directory is in the source, and the root field is "/"
        ("/lab/bound/a.img", "/lab/bound", "/kvm_vol1/sub/a.img"),
        ("/lab/kvm_vol1/nested/a.img", "/lab/kvm_vol1/nested", "/kvm_vol1/nested/a.img"),
        ("/lab/one", "/lab/one", "/kvm_vol2/one.img"),
    ],
)
def test_path_to_remote_path(path: str, mount_point: str, remote: str) -> None:
    mount = mount_of(HOST, path)
    assert mount is not None
    assert mount.mount_point == mount_point
    assert mount.remote_path(path) == remote


@pytest.mark.parametrize(
    ("mount_point", "source"),
    [
        ("/mnt/kvm_vol1", NfsSource("198.51.100.21", "/kvm_vol1", "198.51.100.21", "4.1", True)),
        ("/mnt/kvm_vol2", NfsSource("nas1", "/kvm_vol2", "198.51.100.21", "3", False)),
        ("/mnt/six", NfsSource("2001:db8::21", "/kvm_vol1", "2001:db8::21", "4.1", True)),
        ("/mnt/root", NfsSource("nas1", "/", "198.51.100.21", "4.1", True)),
        ("/mnt/v3lock", NfsSource("nas1", "/kvm_vol3", "198.51.100.22", "3", False)),
        ("/mnt/noaddr", NfsSource("nas2", "/vol", None, "3", True)),
        ("/srv/cifs", None),
        ("/", None),
    ],
)
def test_nfs_source(mount_point: str, source: NfsSource | None) -> None:
    assert BY_POINT[mount_point].nfs() == source


def test_nfs_mounts() -> None:
    assert [mount.mount_point for mount in nfs_mounts(HOST)] == [
        "/mnt/kvm_vol1",
        "/mnt/kvm_vol1/nested",
        "/mnt/kvm_vol2",
        "/mnt/sub dir",
        "/mnt/six",
        "/srv/bound",
        "/mnt/root",
        "/mnt/v3lock",
        "/mnt/noaddr",
        "/lab/kvm_vol1",
        "/lab/bound",
        "/lab/kvm_vol1/nested",
        "/lab/one",
    ]


@pytest.mark.parametrize("source", ["nas1", "nas1:vol", ":/vol", "[::1/vol", "[::1]:vol", "[]:/vol"])
def test_sources_that_are_none(source: str) -> None:
    assert Mount.from_line(f"1 0 0:1 / /m rw - nfs {source} rw").nfs() is None


def test_a_version_that_is_not_told() -> None:
    for fs_type, version in (("nfs", "3"), ("nfs4", "4")):
        source = Mount.from_line(f"1 0 0:1 / /m rw - {fs_type} s:/v rw").nfs()
        assert source is not None
        assert source.version == version


@pytest.mark.parametrize(
    "line",
    ["", "1 0 0:1 / /m rw", "1 0 0:1 / /m rw - nfs", "x 0 0:1 / /m rw - nfs s:/v rw", "1 0 0:1 / /m - nfs s:/v rw"],
)
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ValueError, match=r"mountinfo|invalid literal"):
        Mount.from_line(line)
    assert parse_mounts(f"{line}\n") == []


def test_names_with_separators_of_other_alphabets_stay_one_line() -> None:
    (mount,) = parse_mounts("1 0 0:1 / /m\u2028x\x85y\\012z rw - nfs s:/v\\134\\040 rw\n")
    assert mount.mount_point == "/m\u2028x\x85y\nz"
    assert mount.source == "s:/v\\ "


SHADOWED = """\
44 1 8:1 / / rw - ext4 /dev/sda1 rw
65 44 0:39 / /m/a rw - tmpfs first rw
66 65 0:40 / /m/a/b rw - tmpfs deep rw
67 44 0:41 / /m rw - tmpfs cover rw
68 67 0:42 / /m/a rw - tmpfs second rw
69 68 0:43 / /m/a rw - tmpfs third rw
"""


@pytest.mark.parametrize(
    ("path", "source"),
    [("/m/a/x", "third"), ("/m/a/b/x", "third"), ("/m/x", "cover"), ("/x", "/dev/sda1"), ("/mx", "/dev/sda1")],
)
def test_a_mount_that_another_covers_does_not_count(path: str, source: str) -> None:
    mount = mount_of(parse_mounts(SHADOWED), path)
    assert mount is not None
    assert mount.source == source


def test_a_root_above_a_root() -> None:
    mounts = parse_mounts("1 1 0:1 / / rw - rootfs rootfs rw\n2 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    mount = mount_of(mounts, "/etc")
    assert mount is not None
    assert mount.fs_type == "ext4"
    assert mount_of([], "/etc") is None


def test_the_kernel_says_the_same() -> None:
    """On the machine of the test: the mount found for a path is the one that the kernel opened it on."""
    mounts = read_mounts()
    for path in ("/", "/proc", "/sys", "/dev", "/tmp", str(Path(__file__).resolve())):
        opened = os.open(os.path.realpath(path), os.O_PATH)
        try:
            told = Path(f"/proc/self/fdinfo/{opened}").read_text(encoding="ascii")
        finally:
            os.close(opened)
        found = mount_of(mounts, os.path.realpath(path))
        match = re.search(r"mnt_id:\s*(\d+)", told)
        assert match is not None
        assert found is not None
        assert found.mount_id == int(match.group(1))
