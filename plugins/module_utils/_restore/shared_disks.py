# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that guests share (``<shareable/>``): restored once, with all guests that use them off and restored, or not.

Pure. The guests that share a disk are one unit: all of them come back or none. The disk is overwritten as that of the
first of them (by uuid), so that a second run under the same restore id has it with the same guest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.assess import FoundGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Place, Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskNow,
    GuestNow,
    GuestRestore,
    RestorePlan,
    Sharer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.other_hosts import OtherUse

CODE: Code = "shareable-disk"
UNUSED_ELSEWHERE = (
    "Make sure that no guest of another host uses the disk, then say so with disks_unused_elsewhere=true."
)


def sharers_of(guests: Sequence[FoundGuest]) -> dict[tuple[str, str], tuple[Sharer, ...]]:
    """Return who shares each shareable disk, by the uuid of its guest and its target, among all guests of the host."""
    uses: dict[Place, list[Sharer]] = {}
    rows = [
        (found.guest, disk.observed.disk.target, disk.storage.key)
        for found in guests
        for disk in found.disks
        if disk.storage and disk.observed.disk.shareable
    ]
    for guest, target, place in rows:
        user = Sharer(guest.uuid, guest.name, target, active=guest.state.state != "shutoff")
        uses.setdefault(place, []).append(user)
    return {
        (guest.uuid, target): tuple(each for each in uses[place] if each.uuid != guest.uuid)
        for guest, target, place in rows
    }


def with_obstacles(
    guests: Mapping[str, GuestNow],
    *,
    restored: Collection[str],
    elsewhere: Sequence[OtherUse],
    unused_elsewhere: bool,
) -> dict[str, GuestNow]:
    """Return the guests (by uuid) with which of their disks must not be overwritten, since other guests use them.

    ``restored`` are the uuids of all guests of this restore, ``elsewhere`` the disks of other hosts' guests. A guest of
    the same uuid there is the same guest, and none that uses the disk, too. ``unused_elsewhere`` says that those guests
    which are off stay off; of one that is not off it says nothing.
    """
    uses: dict[Place, list[OtherUse]] = {}
    for use in elsewhere:
        if use.place is not None and use.uuid not in restored:
            uses.setdefault(use.place, []).append(use)
    return {
        uuid: replace(
            now,
            disks=tuple(
                _disk_with_obstacles(now, disk, restored, uses.get(_place(disk.storage), ()), unused_elsewhere)
                if disk.storage
                else disk
                for disk in now.disks
            ),
        )
        for uuid, now in guests.items()
    }


def once(
    plan: RestorePlan, manifest: Manifest, guests: Mapping[str, GuestNow], *, restored: Collection[str]
) -> RestorePlan:
    """Return the plan with each shared disk in the part of one guest, and with who shares with whom."""
    sharing = {
        (uuid, _place(disk.storage)): disk
        for uuid, now in guests.items()
        for disk in now.disks
        if disk.storage and disk.sharers
    }
    return replace(plan, guests=tuple(_part(part, manifest, sharing, restored) for part in plan.guests))


def units(parts: Sequence[GuestRestore]) -> list[tuple[GuestRestore, ...]]:
    """Return the guests that share a disk, directly or through others, two or more each time."""
    found: list[tuple[GuestRestore, ...]] = []
    seen: set[str] = set()
    for part in parts:
        together = {part.uuid}
        while True:
            more = {each.uuid for each in parts if together & {each.uuid, *each.shares}}
            more |= {uuid for each in parts if each.uuid in together for uuid in each.shares}
            if more <= together:
                break
            together |= more
        if part.uuid not in seen:
            unit = tuple(each for each in parts if each.uuid in together)
            seen |= {each.uuid for each in unit}
            if len(unit) > 1:
                found.append(unit)
    return found


def _disk_with_obstacles(
    now: GuestNow, disk: DiskNow, restored: Collection[str], others: Sequence[OtherUse], unused_elsewhere: bool
) -> DiskNow:
    what = f"disk {disk.target} of guest {now.name}"
    obstacles, notes = [], []
    missing = [each for each in disk.sharers if each.uuid not in restored]
    if missing:
        reason = f"it is shared with {_sharers_in_words(missing)}, which this restore does not bring back"
        together = ", ".join((now.name, *(each.name for each in disk.sharers)))
        remedy = f"Restore the guests that share it at once: {together}."
        obstacles.append(Problem(CODE, "error", f"{what}: {reason}", remedy, now.name, disk.target))
    active = [use for use in others if not use.off or use.below]
    if others:
        reason = f"it is used by {', '.join(map(str, active or others))}, too"
        notes.append(reason)
        if disk.shareable and not active and not unused_elsewhere:
            obstacles.append(Problem(CODE, "error", f"{what}: {reason}", UNUSED_ELSEWHERE, now.name, disk.target))
        elif active or not unused_elsewhere:
            obstacles.append(problem_of("disk-used-elsewhere", f"{what}: {reason}", guest=now.name, disk=disk.target))
    if disk.shareable and not disk.sharers and not others:
        notes.append("it is marked as shared, and no other guest that this restore knows of uses it")
    return replace(disk, obstacles=(*disk.obstacles, *obstacles), notes=(*disk.notes, *notes))


def _part(
    part: GuestRestore,
    manifest: Manifest,
    sharing: Mapping[tuple[str, Place], DiskNow],
    restored: Collection[str],
) -> GuestRestore:
    """Return a guest's part without the disks that come with another, each of the others once."""
    mine = {place: disk for (uuid, place), disk in sharing.items() if uuid == part.uuid}
    kept = {_place(disk.storage): disk for disk in part.disks}
    notes, shares = [], []
    for place, disk in mine.items():
        users = {part.uuid: part.name, **{each.uuid: each.name for each in disk.sharers if each.uuid in restored}}
        holding = [uuid for uuid in users if _holds(manifest, uuid, place)]
        if not holding:
            continue
        shares += [each.uuid for each in disk.sharers]
        if min(holding) == part.uuid:
            with_whom = f"disk {disk.target} is shared with {_sharers_in_words(disk.sharers)}"
            notes.append(f"{with_whom}: it is overwritten once, and all of them come back or none")
        else:
            kept.pop(place, None)
            notes.append(f"disk {disk.target} is shared with guest {users[min(holding)]} and comes back with it")
    return replace(
        part,
        disks=tuple(kept.values()),
        notes=(*part.notes, *notes),
        shares=tuple(dict.fromkeys(shares)),
    )


def _holds(manifest: Manifest, uuid: str, place: Place) -> bool:
    """Tell whether the backup holds the disk as one of this guest's."""
    saved = manifest.guest(uuid)
    return saved is not None and any(_place(disk.storage) == place for disk in saved.saved_disks)


def _sharers_in_words(users: Iterable[Sharer]) -> str:
    return ", ".join(f"guest {each.name} ({each.target})" for each in users)


def _place(storage: Optional[Storage]) -> Place:
    return storage.key if storage else ("", "", "")
