# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is meant: the one that is named, or the newest that holds the guests and whose snapshots are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import catalog
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.info import locate, missing_volumes, snapshots_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

LATEST = "latest"


def chosen_backup(
    root: Path, wanted: str, *, guests: Sequence[str], clients: Sequence[Client], deadline: Deadline
) -> Manifest:
    """Return the backup; one that is named need not hold the guests.

    Raises :class:`InputError` when there is none that serves.
    """
    if wanted == LATEST:
        return _latest(root, guests, clients, deadline)
    found = catalog.load(root, wanted)
    if found is None:
        there = ", ".join(entry.backup_id for entry in catalog.entries(root)) or "none"
        raise InputError(f"There is no backup {wanted} in the catalog {root}; it holds {there}", backup_id=wanted)
    if not found.complete:
        raise InputError(f"Backup {wanted} was never completed and cannot be used; choose another", backup_id=wanted)
    return found


def _latest(root: Path, guests: Sequence[str], clients: Sequence[Client], deadline: Deadline) -> Manifest:
    serving = [
        entry.manifest
        for entry in catalog.entries(root)
        if entry.manifest is not None and entry.manifest.complete and all(map(entry.manifest.guest, guests))
    ]
    for manifest in sorted(serving, key=lambda each: each.created, reverse=True):
        places = locate(clients, manifest.volumes, deadline=deadline)
        if not missing_volumes(manifest, snapshots_of(places, manifest.volumes, deadline=deadline)):
            return manifest
    raise InputError(
        f"The catalog {root} has no backup that holds guest{'s' if len(guests) > 1 else ''} {', '.join(guests)} and"
        " whose snapshots are all there; nothing was touched",
        guests=list(guests),
    )
