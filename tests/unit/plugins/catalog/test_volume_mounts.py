# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where this host has a volume mounted, and what of it."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import volume_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import parse_mounts

WHOLE, PART = HostVolume("/mnt/vol1"), HostVolume("/mnt/guests", "guests/a")


@pytest.mark.parametrize(
    ("volume", "inside", "on_host"),
    [
        (WHOLE, "web1.img", "/mnt/vol1/web1.img"),
        (WHOLE, "guests/a/web1.img", "/mnt/vol1/guests/a/web1.img"),
        (PART, "guests/a/web1.img", "/mnt/guests/web1.img"),
        (PART, "guests/a/b/web1.img", "/mnt/guests/b/web1.img"),
    ],
)
def test_a_path_of_the_volume_and_of_the_host_lead_to_one_another(
    volume: HostVolume, inside: str, on_host: str
) -> None:
    assert volume.on_host(inside) == on_host
    assert volume.inside(on_host) == inside


@pytest.mark.parametrize("path", ["web1.img", "guests/b/web1.img", "guests/abc/web1.img", "guests/a"])
def test_what_is_not_mounted_is_not_on_the_host(path: str) -> None:
    assert PART.on_host(path) is None


@pytest.mark.parametrize("path", ["/mnt/guests2/web1.img", "/mnt/web1.img", "/mnt/guests"])
def test_what_is_not_below_the_mount_is_not_in_the_volume(path: str) -> None:
    assert PART.inside(path) is None


def test_only_what_nfs_shows_now_is_a_mount_point_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
        "2 1 0:2 / /mnt/vol1 rw - nfs4 nas:/vol1 rw,vers=4.1,addr=198.51.100.21",
        "3 1 0:3 / /mnt/hidden rw - nfs4 nas:/vol2 rw,vers=4.1,addr=198.51.100.21",
        "4 1 8:2 / /mnt/hidden rw - ext4 /dev/sdb1 rw",
        "5 1 8:3 / /srv rw - xfs /dev/sdc1 rw",
    ]
    monkeypatch.setattr(volume_mounts, "read_mounts", lambda: parse_mounts("\n".join(lines) + "\n"))
    assert volume_mounts.nfs_points() == ["/mnt/vol1"]
