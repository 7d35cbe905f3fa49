# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host sees the files of a snapshot."""

from __future__ import annotations

from typing import Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.snapshot_copy import in_host_snapshot


@pytest.mark.parametrize(
    ("path", "mount_point", "place"),
    [
        ("/mnt/vol1/web1.img", "/mnt/vol1", "/mnt/vol1/.snapshot/s1/web1.img"),
        ("/mnt/vol1/a/b/web1.img", "/mnt/vol1", "/mnt/vol1/.snapshot/s1/a/b/web1.img"),
        ("/mnt/vol10/web1.img", "/mnt/vol1", None),
        ("/mnt/vol1", "/mnt/vol1", None),
        ("/mnt/vol1/web1.img", None, None),
        ("/dev/mapper/a", "/mnt/vol1", None),
    ],
)
def test_a_file_below_a_mount_point_is_in_its_snapshot(
    path: str, mount_point: Optional[str], place: Optional[str]
) -> None:
    assert in_host_snapshot(path, mount_point, "s1") == place
