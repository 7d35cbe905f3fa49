# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore of some of a guest's disks: which of them are meant, and what becomes of the others. Pure.

The choice is kept as places on the array, which the journal carries: a run that goes on never writes other disks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedDisk, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

NOT_ASKED = "it was not asked for"
NOT_WRITTEN = "the restore that is undone did not overwrite it"


def choose(
    manifest: Manifest, *, guests: Sequence[str], wanted: Sequence[str], begun: Sequence[str], resumed: bool
) -> tuple[str, ...]:
    """Return the places (``svm:/vol/volume/path``) of the disks to restore, none for all disks of all guests.

    ``guests`` are names or uuids, ``wanted`` names disks by target, path on the host or place; ``begun`` is what this
    restore was begun for, when it is ``resumed``: without ``wanted`` that counts, and anything else is refused. Raises
    :class:`InputError`.
    """
    if not wanted:
        _refuse_others(manifest, guests, begun)
        return tuple(begun)
    found = _named(_only(manifest, guests), manifest.backup_id, wanted)
    if resumed and set(found) != set(begun):
        raise InputError(
            f"This restore was begun for {', '.join(begun) or 'all disks'}, not for {', '.join(found)}; give another"
            " restore_id. Nothing was touched",
            option="disks",
        )
    return found


def narrowed(manifest: Manifest, places: Collection[str], *, reason: str) -> Manifest:
    """Return the backup as if it held of each guest these disks only, and nothing beside them.

    Without ``places`` it stays whole.
    ``reason``, NOT_ASKED or NOT_WRITTEN, is what the plan says of the others.
    """
    if not places:
        return manifest
    guests = tuple(
        replace(guest, disks=tuple(_left_out(disk, places, reason) for disk in guest.disks), files=())
        for guest in manifest.guests
    )
    return replace(manifest, guests=guests)


def not_restored(disk: SavedDisk) -> str:
    """Return the sentence of the plan about a disk that is not written."""
    if disk.reason in (NOT_ASKED, NOT_WRITTEN):
        return f"disk {disk.target} stays as it is: {disk.reason}"
    return f"disk {disk.target} is not in the backup: {disk.reason}"


def mixture(guest: SavedGuest) -> list[str]:
    """Say that a guest of which only some disks are restored is of two points in time."""
    if not any(disk.reason == NOT_ASKED for disk in guest.disks):
        return []
    back = ", ".join(disk.target for disk in guest.saved_disks)
    return [f"only {back} of its disks is restored: the guest is then a mix of two points in time"]


def _only(manifest: Manifest, guests: Sequence[str]) -> SavedGuest:
    """Return the one guest whose disks are named: vdb of several guests would be several disks."""
    found = {guest.uuid: guest for guest in map(manifest.guest, guests) if guest is not None}
    if len(found) == 1 and all(manifest.guest(name) is not None for name in guests):
        return next(iter(found.values()))
    raise InputError(
        f"Disks can be named for one guest of backup {manifest.backup_id} at a time, not for {', '.join(guests)};"
        " nothing was touched",
        option="disks",
    )


def _named(guest: SavedGuest, backup_id: str, wanted: Sequence[str]) -> tuple[str, ...]:
    there = {disk.storage.label: disk for disk in guest.saved_disks if disk.storage is not None}
    names = {name: [place for place, disk in there.items() if _is(disk, place, name)] for name in wanted}
    faults = [name for name, places in names.items() if len(places) != 1]
    if faults:
        known = ", ".join(f"{disk.target} ({disk.source})" for disk in there.values()) or "none"
        raise InputError(
            f"Backup {backup_id} does not hold exactly one disk {', '.join(map(repr, faults))} of guest {guest.name};"
            f" it holds {known}. Nothing was touched",
            option="disks",
            guest=guest.name,
        )
    return tuple(dict.fromkeys(places[0] for places in names.values()))


def _is(disk: SavedDisk, place: str, name: str) -> bool:
    return name in (disk.target, disk.source, place)


def _refuse_others(manifest: Manifest, guests: Sequence[str], begun: Sequence[str]) -> None:
    """Refuse guests that a restore of single disks was not begun for."""
    if not begun:
        return
    for guest in filter(None, map(manifest.guest, guests)):
        if not any(disk.storage is not None and disk.storage.label in begun for disk in guest.saved_disks):
            raise InputError(
                f"This restore was begun for {', '.join(begun)}, none of which is a disk of guest {guest.name}; give"
                " another restore_id. Nothing was touched",
                option="guests",
                guest=guest.name,
            )


def _left_out(disk: SavedDisk, places: Collection[str], reason: str) -> SavedDisk:
    if not disk.included or disk.storage is None or disk.storage.label in places:
        return disk
    return replace(disk, included=False, reason=reason)
