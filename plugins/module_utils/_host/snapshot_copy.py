# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host that mounts a volume sees the files of its snapshots. Pure."""

from __future__ import annotations

from typing import Optional


def in_host_snapshot(host_path: str, mount_point: Optional[str], snapshot: str) -> Optional[str]:
    """Return where a host sees a snapshot's copy of a file below its mount point, None when it is not below it."""
    inside = f"{mount_point}/"
    if mount_point is None or not host_path.startswith(inside):
        return None
    return f"{inside}.snapshot/{snapshot}/{host_path[len(inside) :]}"
