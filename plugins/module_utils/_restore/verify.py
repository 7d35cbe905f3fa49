# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a restore compares what it wrote: decided with the plan, and refused before anything is touched if it cannot be.

Of a restore that is undone the tables of an image are not judged: a guest gets back what it had.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Places
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import unlicensed_methods
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    RestorePlan,
    refuse,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

FULL = "full"
_NO_CLONE = ("sfsr_cli", "sfsr")
_LOOK_BYTES = 512


def with_verification(
    plan: RestorePlan, *, verify: str, undo: bool, look: Callable[[DiskRestore], Optional[str]]
) -> RestorePlan:
    """Return the plan with how its disks are compared; ``look`` says why all of a disk cannot be compared.

    Raises :class:`RestoreRefusedError` when one is to be compared whole and cannot be.
    """
    faults = [
        problem_of(
            "full-verify-impossible",
            f"disk {disk.target} of guest {guest.name} cannot be compared whole: {reason}",
            guest=guest.name,
            disk=disk.target,
        )
        for guest in plan.guests
        for disk in guest.disks
        for reason in [look(disk) if verify == FULL and not disk.remove else None]
        if reason
    ]
    refuse(plan.backup_id, faults)
    guests = []
    for guest in plan.guests:
        disks = tuple(replace(disk, verify=verify, check_image=not undo) for disk in guest.disks)
        guests.append(replace(guest, disks=disks))
    return replace(plan, guests=tuple(guests))


def hindrance(disk: DiskRestore, *, method: str, places: Places, deadline: Deadline) -> Optional[str]:
    """Return why the snapshot's copy of a disk cannot be read from end to end, None when it seems that it can."""
    if disk.storage.lun is None:
        source = disk.host_source
        seen = source is not None and os.path.exists(source)
        return None if seen else f"this host does not see {source or 'the snapshot below a mount'}"
    if method in _NO_CLONE:
        return f"method {method} makes no temporary LUN, and no host sees the LUNs inside a snapshot"
    client = places[disk.storage.volume_key].client
    try:
        missing = lun_restore.lun_ways(unlicensed_methods(client, deadline=deadline))
        lun = lun_restore.read_lun(client, disk.storage.lun.uuid, deadline=deadline)
        if lun is not None:
            lun_restore.read_data(client, lun, 0, length=_LOOK_BYTES, deadline=deadline)
    except OntapError as exc:
        return f"the LUN's data cannot be read over REST ({exc.message})"
    return "without a FlexClone licence there is no temporary LUN to read" if "lun_clone" in missing else None
