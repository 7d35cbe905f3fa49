# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as the modules return them, for the tables of the backup's decisions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import plan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import (
    STARTED,
    Manifest,
    SavedGuest,
    SavedVolume,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import Hold

BACKUP = "hv1-daily_20261121020000"
WEB = "11111111-1111-4111-8111-111111111111"
DB = "22222222-2222-4222-8222-222222222222"


def storage(volume: str = "vol1", path: str = "web1.img", **changes: Any) -> dict[str, Any]:
    """A disk's place on the array."""
    place = {
        "kind": "nfs",
        "controller": "cluster1",
        "svm": "svm1",
        "svm_uuid": "svm1-uuid",
        "volume": volume,
        "volume_uuid": f"{volume}-uuid",
        "path": path,
        "mount_point": f"/mnt/{volume}",
    }
    return {**place, **changes}


def lun(**changes: Any) -> dict[str, Any]:
    """A LUN's identity as a discovery returns it."""
    values = {
        "uuid": "lun-uuid",
        "serial": "81C91$QXsh5a",
        "wwid": "3600a0980383143393124515873683561",
        "size": 1 << 26,
        "os_type": "linux",
        "device": "/dev/mapper/mpatha",
    }
    return {**values, **changes}


def disk(target: str = "vda", **changes: Any) -> dict[str, Any]:
    """A disk as a discovery returns it."""
    values = {
        "target": target,
        "role": "boot",
        "device": "disk",
        "source": "/mnt/vol1/web1.img",
        "path": "/mnt/vol1/web1.img",
        "format": "raw",
        "size": 1 << 26,
        "backing": [],
        "included": True,
        "reason": "",
        "storage": storage(),
    }
    return {**values, **changes}


def guest(name: str = "web1", uuid: str = WEB, **changes: Any) -> dict[str, Any]:
    """A guest as a discovery returns it."""
    values = {
        "name": name,
        "uuid": uuid,
        "state": "running",
        "os": "linux",
        "persistent": True,
        "autostart": False,
        "xml": "<domain/>",
        "nvram": None,
        "protected": True,
        "disks": [disk()],
    }
    return {**values, **changes}


def volume(name: str = "vol1", **changes: Any) -> dict[str, Any]:
    """A volume as a discovery returns it."""
    values = {
        "controller": "cluster1",
        "svm": "svm1",
        "svm_uuid": "svm1-uuid",
        "volume": name,
        "volume_uuid": f"{name}-uuid",
        "junction": f"/{name}",
        "mount_point": f"/mnt/{name}",
        "mount_path": "",
        "guests": ["web1"],
    }
    return {**values, **changes}


def two_volume_guest() -> dict[str, Any]:
    """A guest with a boot disk on vol1 and a data disk on vol2."""
    data = disk(
        "vdb", role="data", source="/mnt/vol2/db1.img", path="/mnt/vol2/db1.img", storage=storage("vol2", "db1.img")
    )
    boot = disk(storage=storage("vol1", "db1.img"), path="/mnt/vol1/db1.img", source="/mnt/vol1/db1.img")
    return guest("db1", DB, disks=[boot, data])


def hold(uuid: str = WEB, name: str = "web1", **changes: Any) -> dict[str, Any]:
    """What a resumed hold says of one guest; held from 10.0 to 12.0 s."""
    values = {
        "name": name,
        "uuid": uuid,
        "method": "agent",
        "held": True,
        "consistency": "filesystem-consistent",
        "reason": "",
        "freeze_sent": 9.5,
        "freeze_answered": 10.0,
        "thaw_sent": 12.0,
        "thaw_answered": 12.5,
        "held_seconds": 3.0,
        "wall_frozen": "2026-11-21T02:00:00+00:00",
        "wall_thawed": "2026-11-21T02:00:02+00:00",
    }
    return {**values, **changes}


def snapshot(name: str = "vol1", **changes: Any) -> dict[str, Any]:
    """A snapshot as ``ontap_snapshot`` returns it."""
    values = {
        "svm": "svm1",
        "svm_uuid": "svm1-uuid",
        "volume": name,
        "volume_uuid": f"{name}-uuid",
        "name": BACKUP,
        "uuid": f"{name}-snap",
        "create_time": "2026-11-21T02:00:01+00:00",
        "requested_at": 10.5,
        "confirmed_at": 11.5,
        "created": True,
    }
    return {**values, **changes}


def completed(
    started: Manifest, *, holds: Sequence[dict[str, Any]], snapshots: Sequence[dict[str, Any]], at: str, **more: Any
) -> Manifest:
    """A complete manifest, from records like those of :func:`hold` and :func:`snapshot`."""
    return plan.complete(
        started,
        holds=map(Hold.from_record, holds),
        snapshots=map(plan.MadeSnapshot.from_record, snapshots),
        at=at,
        **more,
    )


def manifest(*guests: dict[str, Any], volumes: tuple[str, ...] = ("vol1",)) -> Manifest:
    """A started manifest."""
    return Manifest(
        backup_id=BACKUP,
        phase=STARTED,
        owner="hv1",
        policy="daily",
        run_id="run",
        created="2026-11-21T02:00:00+00:00",
        completed=None,
        guests=tuple(SavedGuest.from_record(copy.deepcopy(item)) for item in guests or (guest(),)),
        volumes=tuple(SavedVolume.from_record(volume(name)) for name in volumes),
    )
