# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is meant: the one that is named, or the newest that holds the guest and whose snapshots are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import catalog
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.info import locate, missing_volumes, snapshots_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Manifest, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

LATEST = "latest"


def chosen_backup(
    root: Path, wanted: str, *, guest: str, clients: Sequence[Client], deadline: Deadline
) -> tuple[Manifest, SavedGuest]:
    """Return the backup and the guest in it; raises :class:`InputError` when there is none that serves."""
    if wanted == LATEST:
        return _latest(root, guest, clients, deadline)
    found = catalog.load(root, wanted)
    if found is None:
        there = ", ".join(entry.backup_id for entry in catalog.entries(root)) or "none"
        raise InputError(f"There is no backup {wanted} in the catalog {root}; it holds {there}", backup_id=wanted)
    if not found.complete:
        raise InputError(f"Backup {wanted} was never completed and cannot be used; choose another", backup_id=wanted)
    saved = found.guest(guest)
    if saved is None:
        known = ", ".join(each.name for each in found.guests) or "none"
        raise InputError(f"Guest {guest} is not in backup {wanted}, which holds {known}", backup_id=wanted, guest=guest)
    return found, saved


def _latest(root: Path, guest: str, clients: Sequence[Client], deadline: Deadline) -> tuple[Manifest, SavedGuest]:
    complete = [entry.manifest for entry in catalog.entries(root) if entry.manifest and entry.manifest.complete]
    for manifest in sorted(complete, key=lambda each: each.created, reverse=True):
        saved = manifest.guest(guest)
        if saved is None:
            continue
        places = locate(clients, manifest.volumes, deadline=deadline)
        if not missing_volumes(manifest, snapshots_of(places, manifest.volumes, deadline=deadline)):
            return manifest, saved
    raise InputError(
        f"The catalog {root} has no backup that holds guest {guest} and whose snapshots are all there", guest=guest
    )
