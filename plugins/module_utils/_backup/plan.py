# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a discovery to what a backup holds: which guests, which volumes, who is left out and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Optional, cast

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BackupScope
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.array_clock import Ahead, ahead_of, outside, window
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import (
    Manifest,
    SavedGuest,
    SavedVolume,
    Unprotected,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import Hold, Stamp, reached
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._guest_words import by_uuid, called
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import Asked, HoldRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import Row
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Taken, format_time

LOCKED = "guest-locked"


@dataclass(frozen=True)
class BackupPlan:
    """What one backup of one host is to hold."""

    guests: tuple[SavedGuest, ...]
    volumes: tuple[SavedVolume, ...]
    unprotected: tuple[Unprotected, ...]

    def holds(
        self,
        methods: Mapping[str, str],
        *,
        order: Sequence[Sequence[str]] = (),
        filesystems: Optional[Mapping[str, Sequence[str]]] = None,
    ) -> list[HoldRequest]:
        """Return how the guests are to be held.

        ``methods`` and ``filesystems`` map a guest's name or uuid to a method and to mount points (``*`` in the former
        stands for all others). ``order`` are groups of names or uuids, the first one held first; guests of no group
        come last. Raises :class:`InputError` for what names no guest of the backup, or one twice.
        """
        chosen = filesystems or {}
        self._known(methods, "quiesce")
        self._known(chosen, "filesystems")
        grouped = [word for group in order for word in group]
        self._known(grouped, "order")
        default = methods.get("*", "auto")
        method_of, mountpoints_of = by_uuid(methods, self.guests), by_uuid(chosen, self.guests)
        places = [{each.uuid for word in group for each in called(word, self.guests)} for group in order]
        holds = []
        for guest in self.guests:
            groups = [at for at, uuids in enumerate(places) if guest.uuid in uuids]
            if len(groups) > 1:
                raise InputError(f"Guest {guest.name} is in several groups of the order", guests=[guest.name])
            mountpoints = mountpoints_of.get(guest.uuid)
            holds.append(
                HoldRequest(
                    name=guest.name,
                    uuid=guest.uuid.lower(),
                    asked=cast(Asked, method_of.get(guest.uuid, default)),
                    disks=tuple(disk.target for disk in guest.saved_disks),
                    filesystems=tuple(mountpoints) if mountpoints else None,
                    order=groups[0] if groups else len(order),
                )
            )
        return holds

    def _known(self, words: Iterable[str], option: str) -> None:
        unknown = sorted(word for word in {*words} - {"*"} if not called(word, self.guests))
        if unknown:
            raise InputError(
                f"{option} names {', '.join(map(repr, unknown))}, which is no guest of this backup;"
                f" its guests are {', '.join(guest.name for guest in self.guests)}",
                option=option,
                guests=unknown,
            )


def backup_plan(scope: BackupScope) -> BackupPlan:
    """Decide from what ``kvm_vm_discover`` returned; raises :class:`InputError` when nothing can be protected.

    Only volumes that carry an included disk of a protected guest become part of the backup.
    """
    saved = tuple(guest.saved for guest in scope.guests if guest.saved is not None)
    missed = tuple(
        Unprotected(guest.name, guest.uuid, scope.reasons.get(guest.name, ()))
        for guest in scope.guests
        if guest.saved is None
    )
    if not saved:
        raise InputError(
            "There is nothing to back up: "
            + (
                "; ".join(f"{guest.name} ({', '.join(guest.problems) or 'not protected'})" for guest in missed)
                or "no guest matches"
            ),
            unprotected=[guest.name for guest in missed],
        )
    needed = {disk.storage.volume_key for guest in saved for disk in guest.saved_disks if disk.storage is not None}
    kept = tuple(item for item in scope.volumes if item.key in needed)
    lost = needed - {item.key for item in kept}
    if lost:
        raise KvmsnapError(f"The discovery names disks on volumes that it does not list: {sorted(lost)}")
    return BackupPlan(guests=saved, volumes=kept, unprotected=missed)


def without(started: Manifest, codes: Mapping[str, str]) -> Manifest:
    """Return a manifest without guests that cannot be saved after all; ``codes`` has a problem's code by their uuids.

    Raises :class:`KvmsnapError` when none is left.
    """
    kept = tuple(guest for guest in started.guests if guest.uuid not in codes)
    if not kept:
        named = ", ".join(f"{guest.name} ({codes[guest.uuid]})" for guest in started.guests)
        raise KvmsnapError(f"Failed to complete backup {started.backup_id}: no guest is left of {named}")
    gone = tuple(
        Unprotected(guest.name, guest.uuid, (codes[guest.uuid],)) for guest in started.guests if guest.uuid in codes
    )
    return replace(started, guests=kept, unprotected=(*started.unprotected, *gone))


@dataclass(frozen=True)
class MadeSnapshot:
    """A volume's snapshot as it came to be: ``created`` by this run, with the proof of when, on this host's clock."""

    key: tuple[str, str]
    uuid: str
    create_time: Optional[str]
    created: bool
    requested_at: Optional[float]
    confirmed_at: Optional[float]
    array_ahead: Optional[Ahead] = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> MadeSnapshot:
        """Read one of the ``snapshots`` that ``ontap_snapshot`` returns."""
        return cls(
            key=(str(record["svm_uuid"]), str(record["volume_uuid"])),
            uuid=str(record["uuid"]),
            create_time=record.get("create_time"),
            created=bool(record.get("created")),
            requested_at=record.get("requested_at"),
            confirmed_at=record.get("confirmed_at"),
            array_ahead=ahead_of(record.get("array_ahead")),
        )

    @classmethod
    def of(cls, taken: Taken) -> MadeSnapshot:
        """Return one that was taken in this process."""
        created = taken.snapshot.create_time
        return cls(
            key=(taken.volume.svm_uuid, taken.volume.uuid),
            uuid=taken.snapshot.uuid,
            create_time=format_time(created) if created else None,
            created=taken.created,
            requested_at=taken.requested_at,
            confirmed_at=taken.confirmed_at,
            array_ahead=taken.array_ahead,
        )


def hold_of(row: Row) -> Hold:
    """Return what a hold in this process came to for one guest."""
    return Hold(**{each.name: getattr(row, each.name) for each in fields(Hold)})


def complete(
    started: Manifest,
    *,
    holds: Iterable[Hold],
    snapshots: Iterable[MadeSnapshot],
    at: str,
    asked: Optional[str] = None,
    other_hosts: Optional[Mapping[str, Sequence[str]]] = None,
) -> Manifest:
    """Turn a started manifest into the complete one, from what the hold and the snapshots came to.

    The times of both are on this host's monotonic clock; ``at`` is ISO 8601, ``asked`` the level that was to be
    reached. ``other_hosts`` has the uuids of the guests that are active on each other host. A guest that another
    process worked on during the hold is left out. Raises :class:`KvmsnapError` when a volume has no snapshot, or no
    guest is left: then there is no backup.
    """
    made = {item.key: item for item in snapshots}
    missing = [item.label for item in started.volumes if item.key not in made]
    if missing:
        raise KvmsnapError(
            f"Failed to complete backup {started.backup_id}: no snapshot of {', '.join(missing)} was reported",
            volumes=missing,
        )
    older = [item.label for item in started.volumes if not made[item.key].created]
    if older:
        raise KvmsnapError(
            f"Failed to complete backup {started.backup_id}: {', '.join(older)} had the snapshot before this run",
            volumes=older,
        )
    volumes = tuple(_with_snapshot(item, made[item.key]) for item in started.volumes)
    stamps = {item.key: Stamp(item.label, item.requested_at, item.confirmed_at) for item in volumes}
    by_uuid = {hold.uuid: hold for hold in holds}
    started = without(started, {hold.uuid: LOCKED for hold in by_uuid.values() if hold.locked})
    guests = tuple(
        replace(
            guest,
            consistency=replace(
                reached(
                    by_uuid.get(guest.uuid),
                    [stamps[key] for key in _volume_keys(guest)],
                    [host for host, active in (other_hosts or {}).items() if guest.uuid in (active or ())],
                ),
                asked=asked,
            ),
        )
        for guest in started.guests
    )
    dated = tuple(
        replace(
            item,
            create_time_off=outside(
                item.create_time,
                made[item.key].array_ahead,
                window(stamps[item.key], _held_on(item.key, started, by_uuid)),
            ),
        )
        for item in volumes
    )
    return started.completed_with(guests=guests, volumes=dated, at=at)


def _held_on(key: tuple[str, str], started: Manifest, holds: Mapping[str, Hold]) -> list[Hold]:
    """Return the holds of the guests that have a disk on a volume."""
    return [holds[guest.uuid] for guest in started.guests if guest.uuid in holds and key in _volume_keys(guest)]


def _volume_keys(guest: SavedGuest) -> list[tuple[str, str]]:
    keys = [disk.storage.volume_key for disk in guest.saved_disks if disk.storage]
    return list(dict.fromkeys(keys))


def _with_snapshot(volume: SavedVolume, snapshot: MadeSnapshot) -> SavedVolume:
    return replace(
        volume,
        snapshot_uuid=snapshot.uuid,
        create_time=snapshot.create_time,
        requested_at=snapshot.requested_at,
        confirmed_at=snapshot.confirmed_at,
    )
