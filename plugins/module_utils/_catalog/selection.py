# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is meant: the one that is named, or the newest that holds the guests and whose snapshots are there.

One that is named need not be in the catalog of this host: its snapshots carry its manifest, or it is handed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import from_snapshots, store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.imported_backup import (
    BackupFrom,
    ImportedBackup,
    bring_in,
    imported_backup,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import (
    WHAT,
    Manifest,
    ManifestError,
    SavedGuest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import SIGNED, Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import (
    locate,
    missing_volumes,
    snapshots_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

LATEST = "latest"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Chosen:
    """A backup and where it came from.

    ``origin`` says how far its definitions are trusted. ``notes`` tell of an origin other than the catalog. ``lost``
    maps a guest's uuid to the kinds of its side files that were in a catalog which is gone. ``given``: it was handed
    over, and is not in the catalog before :meth:`keep`.
    """

    manifest: Manifest
    origin: Origin
    notes: tuple[str, ...] = ()
    lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    given: Optional[ImportedBackup] = None

    def notes_on(self, uuid: str, *, instead: str) -> tuple[str, ...]:
        """Return what there is to say of a guest; ``instead`` says what becomes of side files that are lost."""
        kinds = ", ".join(WHAT.get(kind, kind) for kind in self.lost.get(uuid, ()))
        return (*self.notes, f"{kinds}: kept in the catalog only, which is gone; {instead}") if kinds else self.notes

    @property
    def protection(self) -> dict[str, Any]:
        """Return what a result says of it: whether a lease keeps the backup from being deleted while it is read."""
        exposed = self._exposed()
        return {"leased": False, "warnings": [exposed]} if exposed else {"leased": True}

    def _exposed(self) -> str:
        """Return why the backup is not protected, nothing where it is."""
        manifest = self.manifest
        leased = self.given is not None and self.given.leased
        lost_here = self.origin is Origin.REBUILT and manifest.owner == os.uname().nodename
        if self.origin.owned or leased or lost_here:
            return ""
        return (
            f"Backup {manifest.backup_id} is not protected against deletion while it is read: it belongs to host"
            f" {manifest.owner}, and no lease in the catalog there is known"
        )

    def keep(self, root: Path) -> None:
        """Bring a backup that was handed over into the catalog; any other is there, or stays in its snapshots."""
        if self.given is not None:
            bring_in(root, self.given)


def chosen_backup(
    root: Path,
    wanted: str,
    *,
    guests: Sequence[str],
    clients: Sequence[Client],
    deadline: Deadline,
    trust: Trust,
    given: Optional[BackupFrom] = None,
) -> Chosen:
    """Return the backup; one that is named need not hold the guests. ``given`` was handed over.

    ``trust`` says what a manifest out of a snapshot must have. Raises :class:`InputError` when there is none that
    serves, and ``ManifestError`` for one that cannot be trusted.
    """
    if given:
        return _signed_enough(_given(root, wanted, given, guests), trust)
    if wanted == LATEST:
        return _signed_enough(_latest(root, guests, clients, deadline), trust)
    found = store.load(root, wanted)
    if found is None:
        return _out_of_snapshots(root, wanted, clients, deadline, trust)
    if not found.complete:
        raise InputError(f"Backup {wanted} was never completed and cannot be used; choose another", backup_id=wanted)
    return _signed_enough(Chosen(found, store.origin_of(root, wanted)), trust)


def _signed_enough(chosen: Chosen, trust: Trust) -> Chosen:
    """Return a backup of a catalog; one that this host did not write itself carries no signature."""
    if trust.require == SIGNED and not chosen.origin.trusted:
        raise ManifestError(
            f"Failed to trust backup {chosen.manifest.backup_id} ({chosen.origin.value}): manifest_require is"
            " signed, and only the manifests in snapshots are. Nothing was touched; use this host's own backups, or"
            " those out of their snapshots",
            backup_id=chosen.manifest.backup_id,
        )
    return chosen


def _given(root: Path, wanted: str, handed_over: BackupFrom, guests: Sequence[str]) -> Chosen:
    given = imported_backup(root, handed_over, guests=guests)
    name = given.manifest.backup_id
    if wanted not in (LATEST, name):
        raise InputError(f"backup_from holds backup {name}, not {wanted}; nothing was touched", backup_id=wanted)
    notes = ("the backup was handed over from the catalog of another host",)
    return Chosen(given.manifest, given.origin, notes, given=given)


def _latest(root: Path, guests: Sequence[str], clients: Sequence[Client], deadline: Deadline) -> Chosen:
    serving = [
        Chosen(entry.manifest, entry.origin)
        for entry in store.entries(root)
        if entry.manifest is not None
        and entry.origin is not None
        and entry.manifest.complete
        and all(map(entry.manifest.guest, guests))
    ]
    for chosen in sorted(serving, key=lambda each: each.manifest.created, reverse=True):
        manifest = chosen.manifest
        places = locate(clients, manifest.volumes, deadline=deadline)
        if not missing_volumes(manifest, snapshots_of(places, manifest.volumes, deadline=deadline)):
            return chosen
    raise InputError(
        f"The catalog {root} has no backup that holds guest{'s' if len(guests) > 1 else ''}"
        f" {', '.join(map(repr, guests))} and"
        f" whose snapshots are all there{_anew(guests)}; nothing was touched",
        guests=list(guests),
    )


def _anew(guests: Sequence[str]) -> str:
    """Return what may be meant by a uuid that no backup has."""
    if not any(map(_UUID.fullmatch, guests)):
        return ""
    return ". A guest that was defined anew has another uuid there: name the backup (kvm_restore_backup_id)"


def _out_of_snapshots(root: Path, wanted: str, clients: Sequence[Client], deadline: Deadline, trust: Trust) -> Chosen:
    """Return the backup as its snapshots carry it, without the side files that this catalog does not have."""
    found = from_snapshots.from_snapshots(wanted, clients=clients, deadline=deadline, trust=trust)
    if found.manifest is None:
        there = ", ".join(entry.backup_id for entry in store.entries(root)) or "none"
        silent = f" ({', '.join(found.silent)} did not answer)" if found.silent else ""
        raise InputError(
            f"There is no backup {wanted} in the catalog {root}; it holds {there}. No snapshot below an NFS mount of"
            f" this host has its manifest either{silent}; those of a backup of LUNs alone never have. Nothing was"
            " touched",
            backup_id=wanted,
        )
    directory = store.backup_directory(root, wanted)
    guests, lost = [], {}
    for guest in found.manifest.guests:
        kept = tuple(file for file in guest.files if (directory / file.stored_as).is_file())
        lost[guest.uuid] = tuple(file.kind for file in guest.files if file not in kept)
        guests.append(replace(guest, files=kept))
    origin = (
        f"the catalog does not have the backup: its manifest is the one in the snapshot of {', '.join(found.volumes)},"
        " and the level that it reached is unknown"
    )
    silent_notes = tuple(f"the mount {point} did not answer and was not looked at" for point in found.silent)
    return Chosen(
        replace(found.manifest, guests=tuple(guests)), Origin.REBUILT, (origin, *found.notes, *silent_notes), lost
    )


def guest_of(chosen: Chosen, wanted: str) -> SavedGuest:
    """Return a guest of the backup; raises :class:`InputError` when it does not hold it."""
    manifest = chosen.manifest
    saved = manifest.guest(wanted)
    if saved is None:
        known = ", ".join(each.name for each in manifest.guests) or "none"
        raise InputError(
            f"Guest {wanted!r} is not in backup {manifest.backup_id}, which holds {known}",
            backup_id=manifest.backup_id,
            guest=wanted,
        )
    return saved
