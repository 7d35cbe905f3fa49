# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups exist: the catalog on the host held against the snapshots on the array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import Entry
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.summary import (
    backup_record,
    lines,
    unreadable_record,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import listed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess, Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import any_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Snapshot, list_snapshots
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

Key = tuple[str, str]
VOLUME_FIELDS = ("uuid", "name", "svm.uuid", "svm.name", "type", "state", "style")


@dataclass(frozen=True)
class PresenceRequest:
    """Which backups of a catalog are asked for: of one name, None for all, that hold any of the guests, empty for all.

    ``array`` has their snapshots.
    """

    root: Path
    backup_id: Optional[str]
    guests: tuple[str, ...]
    array: ArrayAccess

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PresenceRequest:
        """Read the options of ``kvm_backup_info``; raises :class:`InputError`."""
        backup_id = options["backup_id"]
        return cls(
            root=directory(options, "catalog_dir"),
            backup_id=None if backup_id is None else checked_id(backup_id, what="backup_id"),
            guests=tuple(listed(options["guests"])),
            array=ArrayAccess.from_options(options),
        )


def read(request: PresenceRequest) -> dict[str, Any]:
    """Return the result of ``kvm_backup_info``; the array is asked once per volume, whatever the number of backups."""
    found = [entry for entry in store.entries(request.root) if request.backup_id in (None, entry.backup_id)]
    kept = [entry for entry in found if _holds(entry, request.guests)]
    deadline = request.array.deadline()
    with request.array.connected(deadline) as clients:
        volumes = _volumes(kept)
        places = locate(clients, volumes, deadline=deadline)
        snapshots = snapshots_of(places, volumes, deadline=deadline)
    backups = [_record(entry, snapshots) for entry in kept]
    summary = [line for backup in backups for line in lines(backup)]
    return {"changed": False, "backups": backups, "summary": summary or ["There is no backup in this catalog."]}


@dataclass(frozen=True)
class Place:
    """A volume of a backup as the array has it now, perhaps renamed, and the session it is reached through."""

    client: Client
    volume: Volume


Places = Mapping[Key, Place]


def locate(clients: Sequence[Client], volumes: Iterable[SavedVolume], *, deadline: Deadline) -> dict[Key, Place]:
    """Return where each volume is, found by uuid: controllers, SVMs and volumes may have got other names since.

    A volume that no given controller has is left out. One call per controller (``GET /storage/volumes``).
    """
    wanted = {volume.key: volume.controller for volume in volumes}
    found: dict[Key, Place] = {}
    for client in clients if wanted else ():
        params = {"uuid": any_of(uuid for _svm, uuid in wanted)}
        for record in client.records("/storage/volumes", params, fields=VOLUME_FIELDS, deadline=deadline):
            volume = Volume.from_record(record, controller=client.name)
            key = (volume.svm_uuid, volume.uuid)
            if key in wanted and (key not in found or client.name == wanted[key]):
                found[key] = Place(client, volume)
    return found


def refs_of(clients: Sequence[Client], manifest: Manifest, *, deadline: Deadline) -> list[VolumeRef]:
    """Return the volumes that may have a backup's snapshot: its own, and the others of its groups that still are.

    :raises OntapError:
    """
    own = [VolumeRef(item.svm, item.volume, item.volume_uuid) for item in manifest.volumes]
    others = locate(clients, manifest.foreign, deadline=deadline).values()
    return own + [VolumeRef(each.volume.svm, each.volume.name, each.volume.uuid, each.client.name) for each in others]


def snapshots_of(
    places: Places, volumes: Iterable[SavedVolume], *, deadline: Deadline
) -> dict[Key, dict[str, Snapshot]]:
    """Return for each volume that is reached the snapshots it has, by name; one call per volume."""
    reached = {volume.key: places[volume.key] for volume in volumes if volume.key in places}
    return {
        key: {item.name: item for item in list_snapshots(place.client, place.volume, deadline=deadline)}
        for key, place in reached.items()
    }


def missing_volumes(manifest: Manifest, snapshots: Mapping[Key, Mapping[str, Snapshot]]) -> set[Key]:
    """Return the volumes whose snapshot of this backup is gone, or is another one of the same name. Pure."""
    missing = set()
    for volume in manifest.volumes:
        found = snapshots.get(volume.key, {}).get(manifest.backup_id)
        if found is None or found.uuid != volume.snapshot_uuid:
            missing.add(volume.key)
    return missing


def _holds(entry: Entry, guests: Sequence[str]) -> bool:
    if not guests or entry.manifest is None:
        return True
    return any(entry.manifest.guest(name) for name in guests)


def _volumes(entries: Iterable[Entry]) -> list[SavedVolume]:
    unique = {volume.key: volume for entry in entries if entry.manifest for volume in entry.manifest.volumes}
    return list(unique.values())


def _record(entry: Entry, snapshots: Mapping[Key, Mapping[str, Snapshot]]) -> dict[str, Any]:
    if entry.manifest is None or entry.origin is None:
        return unreadable_record(entry.backup_id, entry.error or "")
    return backup_record(entry.manifest, missing=missing_volumes(entry.manifest, snapshots), origin=entry.origin)
