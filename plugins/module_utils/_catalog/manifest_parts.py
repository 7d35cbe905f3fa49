# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a backup's manifest each volume carries, and the backup put together again from such parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import (
    Manifest,
    ManifestError,
    SavedGuest,
    SavedVolume,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_secrets import without_secrets

_RUNS = ("running", "paused", "blocked", "pmsuspended")


def part_of(manifest: Manifest, volume: SavedVolume) -> Manifest:
    """Return what a volume carries: the guests that have a disk there, without what may be secret.

    Such a guest is there whole, with its disks on other volumes; so are the volumes of these. A guest on LUNs alone,
    none of whose volumes can carry it, rides in the first volume that can carry any.
    """
    carrying = [each.key for each in manifest.volumes if each.mount_point is not None]
    guests = tuple(
        _without_secrets(guest)
        for guest in manifest.guests
        if volume.key in _keys(guest) or (volume.key in carrying[:1] and _keys(guest).isdisjoint(carrying))
    )
    needed = {volume.key, *(key for guest in guests for key in _keys(guest))}
    volumes = tuple(each for each in manifest.volumes if each.key in needed)
    names = {(each.svm_uuid, each.volume) for each in volumes}
    groups = tuple(group for group in manifest.groups if any((group.svm_uuid, name) in names for name in group.volumes))
    return replace(manifest, guests=guests, volumes=volumes, groups=groups, unprotected=(), snapshot_comment=None)


@dataclass(frozen=True)
class Merged:
    """A backup out of its parts; ``notes`` say what was decided where two hosts have the same guest."""

    manifest: Manifest
    notes: tuple[str, ...] = ()


def merge(parts: Sequence[Manifest]) -> Merged:
    """Return the backup of all parts, of which there is at least one, with the fields of the first.

    A guest that several hosts define is that of the host on which it ran. Raises :class:`ManifestError` where the parts
    of one host contradict each other, or nothing tells which host's guest is meant.
    """
    first = parts[0]
    guests: dict[str, tuple[str, SavedGuest]] = {}
    notes: list[str] = []
    for part in parts:
        for guest in part.guests:
            known = guests.get(guest.uuid)
            if known is None or known[1] == guest:
                guests.setdefault(guest.uuid, (part.owner, guest))
                continue
            chosen = [each for each in (known, (part.owner, guest)) if each[1].state in _RUNS]
            if known[0] == part.owner or len(chosen) != 1:
                raise ManifestError(
                    f"Failed to put backup {first.backup_id} together: guest {guest.name} ({guest.uuid}) is another one"
                    f" in the manifest of {part.owner} than in that of {known[0]}, and nothing tells which is meant."
                    " Nothing was touched",
                    backup_id=first.backup_id,
                    guest=guest.name,
                )
            guests[guest.uuid] = chosen[0]
            notes.append(f"guest {guest.name} is taken from {chosen[0][0]}, where it ran")
    volumes = _unique(volume for part in parts for volume in part.volumes)
    groups = {group.uuid: group for part in parts for group in part.groups}
    found = tuple(guest for _owner, guest in guests.values())
    return Merged(replace(first, guests=found, volumes=volumes, groups=tuple(groups.values())), tuple(notes))


def _unique(volumes: Iterable[SavedVolume]) -> tuple[SavedVolume, ...]:
    found: dict[tuple[str, str], SavedVolume] = {}
    for volume in volumes:
        found.setdefault(volume.key, volume)
    return tuple(found.values())


def _keys(guest: SavedGuest) -> set[tuple[str, str]]:
    return {(disk.storage.svm_uuid, disk.storage.volume_uuid) for disk in guest.saved_disks if disk.storage}


def _without_secrets(guest: SavedGuest) -> SavedGuest:
    xml, left_out = without_secrets(guest.xml)
    return replace(guest, xml=xml, left_out=left_out)
