# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of copies out of complete backups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.clone_record import CloneRecord
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.plan import (
    CloneWorld,
    NewClone,
    plan_clone,
)

UUID = "99999999-9999-4999-8999-999999999999"
VOL1, VOL2 = ("svm1-uuid", "vol1-uuid"), ("svm1-uuid", "vol2-uuid")
WANTED = NewClone("web1-copy", UUID, "drill", None, "2026-11-22T03:00:00+00:00", nvram="/nv/x.fd")


def complete(*guests: dict[str, Any], volumes: tuple[str, ...] = ("vol1",)) -> Manifest:
    """A manifest whose volumes have their snapshots."""
    started = samples.manifest(*guests, volumes=volumes)
    known = tuple(replace(volume, snapshot_uuid=f"{volume.volume}-snap") for volume in started.volumes)
    return started.completed_with(guests=started.guests, volumes=known, at="2026-11-21T02:01:00+00:00")


def planned(manifest: Manifest, **changes: Any) -> CloneRecord:
    how: dict[str, Any] = {
        "snapshots": {VOL1: "vol1-snap", VOL2: "vol2-snap"},
        "mounts": {VOL1: HostVolume("/mnt/vol1"), VOL2: HostVolume("/mnt/vol2")},
        "directories": {(VOL1, "guests/a")},
    }
    return plan_clone(manifest, manifest.guests[0], WANTED, CloneWorld(**{**how, **changes}))
