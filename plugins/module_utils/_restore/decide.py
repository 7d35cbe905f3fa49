# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore would overwrite by what, and the proof that both are what they claim. Pure: nothing is asked or done.

A disk is matched by its place on the array (SVM, volume and path), never by its order or its name in the guest; a LUN
there must be the LUN that was saved (uuid, serial, size, os_type). Every mismatch is collected and the whole restore
refused, with both values named, before anything is touched. The rules are in ``checks``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedDisk, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Place
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.checks import (
    DISK_CHECKS,
    GUEST_CHECKS,
    DiskCase,
    GuestCase,
    World,
    moved,
    problem_of_disk,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_selection import mixture, not_restored
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    ABSENT,
    DiskRestore,
    GuestNow,
    GuestRestore,
    RestorePlan,
    SnapshotNow,
    refuse,
)


@dataclass(frozen=True)
class _Decided:
    """What was decided about a guest, and why it must not be restored."""

    part: GuestRestore
    problems: tuple[Problem, ...]


def restore_plan(manifest: Manifest, world: World, *, wanted: Iterable[str], restore_id: str) -> RestorePlan:
    """Decide, or raise :class:`RestoreRefusedError` with every reason; ``wanted`` are names or uuids of guests."""
    problems: list[Problem] = []
    parts = []
    for name in wanted:
        found = _found(manifest, world, name)
        if isinstance(found, Problem):
            problems.append(found)
            continue
        decided = _decided(manifest, found)
        problems.extend(decided.problems)
        parts.append(decided.part)
    refuse(manifest.backup_id, problems)
    return RestorePlan(manifest.backup_id, restore_id, tuple(parts))


def _found(manifest: Manifest, world: World, name: str) -> Union[GuestCase, Problem]:
    """Return the guest that is meant, in the backup and on this host, or why there is none."""
    saved = manifest.guest(name)
    if saved is None:
        known = ", ".join(guest.name for guest in manifest.guests) or "none"
        what = f"Guest {name!r} is not in backup {manifest.backup_id}, which holds {known}"
        remedy = "Name one of these guests, or choose another backup."
        namesake = _namesake(manifest, world.names, name)
        return namesake or Problem("guest-not-in-backup", "error", what, remedy, guest=name)
    now = world.guests.get(saved.uuid)
    other = _other_of_the_name(world.names, saved, now.name if now else saved.name, name)
    if other is not None:
        return other
    if now is None:
        what = f"Guest {saved.name} ({saved.uuid}) is not defined on this host"
        remedy = "Run the restore on the host that defines the guest, or let this host define it (define_missing)."
        return Problem("guest-not-defined", "error", what, remedy, guest=saved.name)
    return GuestCase(saved, now, world)


def _decided(manifest: Manifest, case: GuestCase) -> _Decided:
    saved, now, world = case.saved, case.now, case.world
    problems = [problem for check in GUEST_CHECKS for problem in check(case)]
    disks = []
    for disk in saved.saved_disks:
        there = _disk_case(manifest, case, disk)
        if isinstance(there, Problem):
            problems.append(there)
            continue
        found = [problem for check in DISK_CHECKS for problem in check(there)]
        problems.extend(found)
        if not found and there.snapshot is not None:
            disks.append(_overwrite(there, there.snapshot))
    before = world.states_before.get(saved.uuid, now.state)
    part = GuestRestore(
        now.name,
        saved.uuid,
        now.state,
        ABSENT if now.forget else _state_after(before, world.power),
        tuple(disks),
        (*_notes(saved, now), *_disk_notes(disks, now, world.unseen)),
        now.managed_save,
        changes=now.changes,
        definition=now.definition,
        forget=now.forget,
        two_guests=now.two_guests,
    )
    return _Decided(part, tuple(problems))


def _disk_case(manifest: Manifest, case: GuestCase, disk: SavedDisk) -> Union[DiskCase, Problem]:
    """Return a disk of the backup with the one that lies in its place, or why there is none."""
    storage = disk.storage
    volume = manifest.volume_of(storage) if storage else None
    if storage is None or volume is None:
        what = "the backup does not say where it lies"
        return problem_of_disk("manifest-incomplete", case.saved, disk, what, "Choose another backup.")
    place = (storage.kind, *storage.key)
    here = (each for each in case.now.disks if each.storage and (each.storage.kind, *each.storage.key) == place)
    now = next(here, None)
    if now is None:
        return moved(case.saved, disk, storage, case.now)
    return DiskCase(
        backup_id=manifest.backup_id,
        guest=case,
        disk=disk,
        storage=storage,
        volume=volume,
        now=now,
        snapshot=case.world.snapshots.get(volume.key),
        remove=storage.label in case.world.created.get(case.saved.uuid, ()),
    )


def _overwrite(case: DiskCase, snapshot: SnapshotNow) -> DiskRestore:
    now = case.now
    return DiskRestore(
        target=now.target,
        format=case.disk.format,
        storage=replace(case.storage, lun=now.storage.lun) if now.storage else case.storage,
        host_path=now.host_path,
        mount_point=now.mount_point,
        snapshot=case.backup_id,
        snapshot_uuid=snapshot.uuid,
        snapshot_time=snapshot.create_time,
        size=case.disk.size,
        locks=now.locks,
        missing=now.missing,
        remove=case.remove,
    )


def _other_of_the_name(names_now: Mapping[str, str], saved: SavedGuest, name_now: str, asked: str) -> Optional[Problem]:
    """Return a problem when another guest of this host, by uuid, bears the name: whatever it is asked for by.

    A guest that is asked for by its uuid is that one, also when another one has its uuid for a name.
    """
    names = (each for each in (asked, name_now) if each.lower() != saved.uuid)
    name = next((each for each in names if names_now.get(each, saved.uuid) != saved.uuid), None)
    if name is None:
        return None
    return another_guest(name, uuid=names_now[name], saved=saved.uuid)


def _namesake(manifest: Manifest, names_now: Mapping[str, str], asked: str) -> Optional[Problem]:
    """Return a problem when a guest of this host is asked for by its uuid, and the backup has another of its name."""
    name = next((name for name, uuid in names_now.items() if uuid == asked.lower()), "")
    saved = manifest.guest(name)
    return another_guest(name, uuid=asked.lower(), saved=saved.uuid) if saved else None


def another_guest(name: str, *, uuid: str, saved: str) -> Problem:
    """Return the problem that a guest of this host is not the one of its name in the backup, with both ways on."""
    return problem_of(
        "guest-identity",
        f"Guest {name} is {uuid} on this host and was {saved} in the backup: another guest. The backup can be restored"
        f" under another name (kvm_restore_as); or, when {uuid} is that guest defined anew, into it"
        f" (kvm_restore_into_uuid={uuid}, into_uuid), after a look at the plan, which shows both",
        guest=name,
    )


def _state_after(before: str, power: str) -> str:
    if power == "running":
        return "running"
    if power == "off":
        return "shutoff"
    return before if before in ("running", "paused") else "shutoff"


def _notes(saved: SavedGuest, now: GuestNow) -> tuple[str, ...]:
    """Say what is not brought back: disks left out, disks that came later, a weak consistency."""
    notes = [*now.notes, *(not_restored(disk) for disk in saved.disks if not disk.included)]
    notes += mixture(saved)
    known = {disk.target for disk in saved.disks}
    notes += [
        f"disk {disk.target} came after the backup and stays as it is" for disk in now.disks if disk.target not in known
    ]
    if now.name != saved.name:
        notes.append(f"it was called {saved.name} at the time of the backup")
    if now.managed_save:
        notes.append("its managed-save image is moved aside, not resumed; an undo brings it back")
    if not now.persistent:
        notes.append("it is transient: libvirt keeps its definition until it runs again, and for good if it stays off")
    if saved.consistency is not None:
        notes.append(f"the backup is {saved.consistency.level}")
    return tuple(notes)


def _disk_notes(disks: Iterable[DiskRestore], now: GuestNow, unseen: Collection[Place]) -> list[str]:
    """Say what there is to say of the disks that are overwritten."""
    known = {disk.target: disk.notes for disk in now.disks}
    notes = [f"disk {disk.target}: {note}" for disk in disks for note in known.get(disk.target, ())]
    return notes + [
        f"disk {disk.target}: the account may not look into the snapshot; the LUN's size there is compared when it is"
        " restored"
        for disk in disks
        if disk.storage.key in unseen
    ]
