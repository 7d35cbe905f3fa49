# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests, disks and snapshots as a restore finds them, and the plans that it makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import decide
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.checks import World
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskNow,
    GuestNow,
    RestorePlan,
    SnapshotNow,
)

SIZE = 1 << 26
VOLUMES = ("vol1", "vol2")


def backup() -> Manifest:
    started = samples.manifest(samples.guest(), samples.two_volume_guest(), volumes=VOLUMES)
    return samples.completed(
        started,
        holds=[samples.hold(), samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot(name) for name in VOLUMES],
        at="2026-11-21T02:00:03+00:00",
    )


def disk_now(target: str = "vda", place: dict[str, Any] | None = None, **changes: Any) -> DiskNow:
    storage = Storage.from_record(place or samples.storage())
    now = DiskNow(target, "raw", f"/mnt/{storage.volume}/{storage.path}", f"/mnt/{storage.volume}", SIZE, (), storage)
    return replace(now, **changes)


def web_now(*disks: DiskNow, **changes: Any) -> GuestNow:
    now = GuestNow("web1", samples.WEB, "running", False, True, disks or (disk_now(),))
    return replace(now, **changes)


def db_now(*disks: DiskNow, **changes: Any) -> GuestNow:
    both = (disk_now("vda", samples.storage("vol1", "db1.img")), disk_now("vdb", samples.storage("vol2", "db1.img")))
    return replace(GuestNow("db1", samples.DB, "running", False, True, disks or both), **changes)


SNAPSHOTS = {("svm1-uuid", f"{name}-uuid"): SnapshotNow(f"{name}-snap", None) for name in VOLUMES}
IN_SNAPSHOT = {
    ("svm1-uuid", "vol1-uuid", "web1.img"): SIZE,
    ("svm1-uuid", "vol1-uuid", "db1.img"): SIZE,
    ("svm1-uuid", "vol2-uuid", "db1.img"): SIZE,
}


def planned(wanted: list[str], *guests: GuestNow, **changes: Any) -> RestorePlan:
    asked: dict[str, Any] = {
        "snapshots": SNAPSHOTS,
        "sizes": IN_SNAPSHOT,
        "power": "as_was",
        "states_before": {},
        "names": {guest.name: guest.uuid for guest in guests},
    }
    world = World(guests={guest.uuid: guest for guest in guests}, **{**asked, **changes})
    return decide.restore_plan(backup(), world, wanted=wanted, restore_id="r1")


SERIAL = "81C91$QXsh5a"
LUN = {
    "uuid": "lun-1",
    "serial": SERIAL,
    "wwid": wwid_of(SERIAL),
    "size": SIZE,
    "os_type": "linux",
    "device": "/dev/mapper/mpatha",
}
LUN_PLACE = samples.storage("vol2", "luns/db1", kind="lun", mount_point=None, lun=LUN)
LUN_KEY = ("svm1-uuid", "vol2-uuid", "luns/db1")


def lun_now(**changes: Any) -> DiskNow:
    """The LUN as the discovery finds it."""
    place = Storage.from_record({**LUN_PLACE, "lun": {**LUN, **changes}})
    return DiskNow("vdb", "raw", "/dev/mapper/mpatha", None, int(changes.get("size", SIZE)), (), place)


def mixed(disk: DiskNow, **changes: Any) -> RestorePlan:
    """Plan the restore of a guest that boots from a file and has its data on a LUN."""
    boot = samples.disk(storage=samples.storage("vol1", "db1.img"))
    data = samples.disk("vdb", role="data", path="/dev/dm-3", source="/dev/mapper/mpatha", storage=LUN_PLACE)
    saved = samples.completed(
        samples.manifest(samples.guest("db1", samples.DB, disks=[boot, data]), volumes=VOLUMES),
        holds=[samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot(name) for name in VOLUMES],
        at="2026-11-21T02:00:03+00:00",
    )
    asked: dict[str, Any] = {
        "snapshots": SNAPSHOTS,
        "sizes": {("svm1-uuid", "vol1-uuid", "db1.img"): SIZE, LUN_KEY: SIZE},
        "power": "as_was",
        "states_before": {},
        "names": {"db1": samples.DB},
    }
    now = db_now(disk_now("vda", samples.storage("vol1", "db1.img")), disk)
    world = World(guests={now.uuid: now}, **{**asked, **changes})
    return decide.restore_plan(saved, world, wanted=["db1"], restore_id="r1")
