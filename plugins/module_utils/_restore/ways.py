# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan says of disks that cannot be restored by a rename, and of guests that nothing keeps from starting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_actor import hindrance
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.execute import TOGETHER
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
)


def with_ways(plan: RestorePlan, look: Callable[[str], Optional[str]] = hindrance) -> RestorePlan:
    """Return the plan with notes; ``look`` says why this host may not rename a file over a path; it changes nothing."""
    return replace(plan, guests=tuple(_noted(guest, look) for guest in plan.guests))


def _noted(guest: GuestRestore, look: Callable[[str], Optional[str]]) -> GuestRestore:
    in_place = [(disk, _reason(disk, look)) for disk in guest.disks if not disk.remove]
    notes = [f"disk {disk.target} is overwritten in place: {reason}" for disk, reason in in_place if reason]
    fenced = guest.may_be_absent or any(reason is None for _disk, reason in in_place)
    if notes and not fenced:
        notes.append(
            "not fenced: until all its disks are whole its autostart is off, and nothing else keeps anybody from"
            " starting it, here or on another host"
        )
    elif notes and len(in_place) >= TOGETHER:
        notes.append("until all its disks are whole another disk's file is moved aside, so that nobody can start it")
    return replace(guest, notes=(*guest.notes, *notes))


def _reason(disk: DiskRestore, look: Callable[[str], Optional[str]]) -> Optional[str]:
    if disk.storage.lun:
        return "it is a LUN"
    try:
        return look(disk.host_path)
    except KvmsnapError as exc:
        return exc.message
