# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The areas of the REST API, one module each. A module's ``ROUTES`` name what it serves."""

from __future__ import annotations

from ..router import Route
from . import (
    cluster,
    ems,
    file_clone,
    files,
    group_snapshots,
    groups,
    igroups,
    jobs,
    licensing,
    lun_attributes,
    lun_change,
    lun_maps,
    luns,
    network,
    private_cli,
    restore,
    security,
    snapshots,
    svm,
    volumes,
)

ROUTES: list[Route] = [
    *cluster.ROUTES,
    *jobs.ROUTES,
    *licensing.ROUTES,
    *svm.ROUTES,
    *network.ROUTES,
    *volumes.ROUTES,
    *snapshots.ROUTES,
    *files.ROUTES,
    *file_clone.ROUTES,
    *luns.ROUTES,
    *lun_change.ROUTES,
    *lun_attributes.ROUTES,
    *lun_maps.ROUTES,
    *igroups.ROUTES,
    *groups.ROUTES,
    *group_snapshots.ROUTES,
    *private_cli.ROUTES,
    *security.ROUTES,
    *ems.ROUTES,
]

__all__ = ["ROUTES", "restore"]
