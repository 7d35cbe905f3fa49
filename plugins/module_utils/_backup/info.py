# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups exist: the catalog on the host held against the snapshots on the array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import catalog
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.catalog import Entry
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Manifest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.summary import (
    backup_record,
    lines,
    unreadable_record,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, connected
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Snapshot, list_snapshots
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy

Key = tuple[str, str]


def read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of ``kvm_backup_info``; the array is asked once per volume, whatever the number of backups."""
    root = Path(options["catalog_dir"])
    found = [entry for entry in catalog.entries(root) if options["backup_id"] in (None, entry.backup_id)]
    if options["backup_id"] is not None:
        checked_id(options["backup_id"], what="backup_id")
    kept = [entry for entry in found if _holds(entry, options["guests"])]
    policy = RetryPolicy(retry_count=options["retry_count"])
    deadline = Deadline.after(options["timeout"])
    with connected(options["controllers"], policy=policy, deadline=deadline) as clients:
        snapshots = snapshots_of(clients, _volumes(kept), deadline=deadline)
    backups = [_record(entry, snapshots) for entry in kept]
    summary = [line for backup in backups for line in lines(backup)]
    return {"changed": False, "backups": backups, "summary": summary or ["There is no backup in this catalog."]}


def snapshots_of(
    clients: Sequence[Client], volumes: Iterable[SavedVolume], *, deadline: Deadline
) -> dict[Key, dict[str, Snapshot]]:
    """Return for each volume (SVM uuid, volume uuid) the snapshots it has, by name.

    A volume that is gone has none. Raises :class:`InputError` when a volume's controller was not given.
    """
    found: dict[Key, dict[str, Snapshot]] = {}
    for volume in volumes:
        client = client_of(clients, volume.controller)
        params = {"uuid": volume.volume_uuid, "svm.uuid": volume.svm_uuid}
        there = client.records("/storage/volumes", params, fields=("uuid",), deadline=deadline)
        listed = list_snapshots(client, as_volume(volume), deadline=deadline) if there else []
        found[volume.key] = {item.name: item for item in listed}
    return found


def as_volume(saved: SavedVolume) -> Volume:
    """Return what the ONTAP calls take for a volume of a manifest."""
    return Volume(saved.controller, saved.svm, saved.svm_uuid, saved.volume, saved.volume_uuid)


def client_of(clients: Sequence[Client], controller: str) -> Client:
    """Return the session with ``controller``; raises :class:`InputError` naming what was given instead."""
    for client in clients:
        if client.name == controller:
            return client
    given = ", ".join(client.name for client in clients)
    raise InputError(
        f"The backup lies on controller {controller}, which is not among the controllers given ({given})",
        controller=controller,
    )


def missing_volumes(manifest: Manifest, snapshots: Mapping[Key, Mapping[str, Snapshot]]) -> set[Key]:
    """Return the volumes whose snapshot of this backup is gone, or is another one of the same name. Pure."""
    return {
        volume.key
        for volume in manifest.volumes
        if volume.snapshot_uuid is None or snapshots.get(volume.key, {}).get(manifest.backup_id) != volume.snapshot_uuid
    }


def _holds(entry: Entry, guests: Sequence[str]) -> bool:
    if not guests or entry.manifest is None:
        return True
    return any(entry.manifest.guest(name) for name in guests)


def _volumes(entries: Iterable[Entry]) -> list[SavedVolume]:
    unique = {volume.key: volume for entry in entries if entry.manifest for volume in entry.manifest.volumes}
    return list(unique.values())


def _record(entry: Entry, snapshots: Mapping[Key, Mapping[str, Snapshot]]) -> dict[str, Any]:
    if entry.manifest is None:
        return unreadable_record(entry.backup_id, entry.error or "")
    return backup_record(entry.manifest, missing=missing_volumes(entry.manifest, snapshots))
