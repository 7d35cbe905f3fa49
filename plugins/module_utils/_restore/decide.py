# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore would overwrite by what, and the proof that both are what they claim. Pure: nothing is asked or done.

A disk is matched by its place on the array (SVM, volume and path), never by its order or its name in the guest; a LUN
there must be the LUN that was saved (uuid, serial, size, os_type). Every mismatch is collected and the whole restore
refused, with both values named, before anything is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedDisk, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import backing_chain
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_selection import mixture, not_restored
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    ABSENT,
    DiskNow,
    DiskRestore,
    GuestNow,
    GuestRestore,
    RestorePlan,
    SnapshotNow,
    kind_of,
    refuse,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.swapped_disks import swapped


def restore_plan(
    manifest: Manifest,
    *,
    wanted: Iterable[str],
    guests: Mapping[str, GuestNow],
    snapshots: Mapping[tuple[str, str], SnapshotNow],
    sizes_in_snapshot: Mapping[tuple[str, str, str], Optional[int]],
    restore_id: str,
    power: str,
    states_before: Mapping[str, str],
    names_now: Mapping[str, str],
    unseen: Collection[tuple[str, str, str]] = (),
    created: Mapping[str, Collection[str]] = MappingProxyType({}),
    undoes: bool = False,
) -> RestorePlan:
    """Decide, or raise :class:`RestoreRefusedError` with every reason.

    ``guests`` maps uuid to what is now; ``snapshots`` maps (SVM uuid, volume uuid); ``sizes_in_snapshot`` maps (SVM
    uuid, volume uuid, path) to the file's size inside the snapshot in bytes, None when it is not there;
    ``states_before`` maps uuid to the state a guest had when an interrupted run of this restore first saw it;
    ``names_now`` maps the name of every guest of the host to its uuid; ``unseen`` are the LUNs whose size inside the
    snapshot nobody may ask for: what overwrites them compares it. ``created`` maps uuid to the places of disks that the
    restore which is undone made: they are removed. ``undoes``: what is brought back is from before a
    restore, and so are the targets that the guest gives its disks.
    """
    problems: list[Problem] = []
    parts = []
    for name in wanted:
        saved = manifest.guest(name)
        if saved is None:
            known = ", ".join(guest.name for guest in manifest.guests)
            namesake = _namesake(manifest, names_now, name)
            problems.append(
                namesake
                or Problem(
                    "guest-not-in-backup",
                    "error",
                    f"Guest {name} is not in backup {manifest.backup_id}, which holds {known}",
                    "Name one of these guests, or choose another backup.",
                    guest=name,
                )
            )
            continue
        now = guests.get(saved.uuid)
        other = _other_of_the_name(names_now, saved, now.name if now else saved.name, name)
        if other is not None:
            problems.append(other)
            continue
        if now is None:
            problems.append(
                Problem(
                    "guest-unknown",
                    "error",
                    f"Guest {saved.name} ({saved.uuid}) is not defined on this host",
                    "Run the restore on the host that defines the guest, or let this host define it (define_missing).",
                    guest=saved.name,
                )
            )
            continue
        problems.extend(_guest_problems(saved, now))
        if not undoes:
            problems.extend(swapped(saved, ((disk.target, disk.storage) for disk in now.disks if disk.storage)))
        disks = []
        for disk in saved.saved_disks:
            found, part = _disk(
                manifest,
                saved=saved,
                disk=disk,
                now=now,
                snapshots=snapshots,
                sizes=sizes_in_snapshot,
                unseen=unseen,
                remove=disk.storage is not None and disk.storage.label in created.get(saved.uuid, ()),
            )
            problems.extend(found)
            if part is not None:
                disks.append(part)
        before = states_before.get(saved.uuid, now.state)
        after = ABSENT if now.forget else _state_after(before, power)
        notes = (*_notes(saved, now), *_disk_notes(disks, now, unseen))
        parts.append(
            GuestRestore(
                now.name,
                saved.uuid,
                now.state,
                after,
                tuple(disks),
                notes,
                now.managed_save,
                changes=now.changes,
                definition=now.definition,
                forget=now.forget,
                two_guests=now.two_guests,
            )
        )
    refuse(manifest.backup_id, problems)
    return RestorePlan(manifest.backup_id, restore_id, tuple(parts))


def _other_of_the_name(names_now: Mapping[str, str], saved: SavedGuest, name_now: str, asked: str) -> Optional[Problem]:
    """Return a problem when another guest of this host, by uuid, bears the name: whatever it is asked for by."""
    name = next((each for each in (asked, name_now) if names_now.get(each, saved.uuid) != saved.uuid), None)
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


def _guest_problems(saved: SavedGuest, now: GuestNow) -> list[Problem]:
    problems = [*now.obstacles]
    if now.managed_save and now.save_hindrance:
        problems.append(
            Problem(
                "managed-save",
                "error",
                f"Guest {now.name} has a managed-save image that cannot be moved aside ({now.save_hindrance}): a start"
                " would resume old memory over the restored disk",
                f"Start and shut the guest down, or discard the image: virsh managedsave-remove {now.name}.",
                guest=now.name,
            )
        )
    if not saved.saved_disks:
        problems.append(
            Problem(
                "no-disk-saved",
                "error",
                f"The backup holds no disk of guest {saved.name}",
                "Choose another backup.",
                guest=saved.name,
            )
        )
    return problems


def _disk(
    manifest: Manifest,
    *,
    saved: SavedGuest,
    disk: SavedDisk,
    now: GuestNow,
    snapshots: Mapping[tuple[str, str], SnapshotNow],
    sizes: Mapping[tuple[str, str, str], Optional[int]],
    unseen: Collection[tuple[str, str, str]],
    remove: bool,
) -> tuple[list[Problem], Optional[DiskRestore]]:
    storage = disk.storage
    volume = manifest.volume_of(storage) if storage else None
    if storage is None or volume is None:
        return [
            _problem(
                "manifest-incomplete", saved, disk, "the backup does not say where it lies", "Choose another backup."
            )
        ], None
    current = next((item for item in now.disks if item.storage and _place(item.storage) == _place(storage)), None)
    if current is None:
        return [_moved(saved, disk, storage, now)], None
    problems = [*current.obstacles, *_identity(saved, disk, storage, current)]
    if current.format != disk.format:
        problems.append(
            _problem(
                "format-mismatch",
                saved,
                disk,
                f"its format is {current.format} now and was {disk.format} in the backup",
                "Put the guest's definition right, or restore from a backup of the present format.",
            )
        )
    chain = backing_chain.compared(now.name, disk, current)
    if chain is not None:
        problems.append(_problem(chain.code, saved, disk, chain.what, chain.remedy))
    if disk.size is not None and current.size is not None and disk.size != current.size:
        problems.append(
            _problem(
                "size-mismatch",
                saved,
                disk,
                f"its size is {current.size} bytes now and was {disk.size} in the backup",
                "Make sure that it is the same disk; resize it to what it was to go on.",
            )
        )
    snapshot = snapshots.get(volume.key)
    where = f"{storage.svm}:{storage.volume}"
    if snapshot is None:
        problems.append(
            _problem(
                "snapshot-missing",
                saved,
                disk,
                f"snapshot {manifest.backup_id} does not exist on {where}",
                "Choose another backup.",
            )
        )
        return problems, None
    if not _same_time(snapshot.create_time, volume.create_time):
        problems.append(
            _problem(
                "snapshot-replaced",
                saved,
                disk,
                f"snapshot {manifest.backup_id} on {where} was made at {snapshot.create_time}, in the backup at"
                f" {volume.create_time}",
                "It is not the snapshot of this backup; choose another backup.",
            )
        )
    if snapshot.uuid != volume.snapshot_uuid:
        problems.append(
            _problem(
                "snapshot-replaced",
                saved,
                disk,
                f"snapshot {manifest.backup_id} on {where} is {snapshot.uuid}, in the backup {volume.snapshot_uuid}",
                "It is not the snapshot of this backup; choose another backup.",
            )
        )
    key = (storage.svm_uuid, storage.volume_uuid, storage.path)
    if key not in unseen and not remove:
        problems.extend(_in_snapshot(manifest, saved, disk, storage, sizes.get(key)))
    if problems:
        return problems, None
    return [], DiskRestore(
        target=current.target,
        format=disk.format,
        storage=replace(storage, lun=current.storage.lun) if current.storage else storage,
        host_path=current.host_path,
        mount_point=current.mount_point,
        snapshot=manifest.backup_id,
        snapshot_uuid=snapshot.uuid,
        snapshot_time=snapshot.create_time,
        size=disk.size,
        locks=current.locks,
        missing=current.missing,
        remove=remove,
    )


def _same_time(now: Optional[str], then: Optional[str]) -> bool:
    """Tell whether two times are the same moment, also when one is not known or the array's time zone changed."""
    if now is None or then is None:
        return True
    try:
        return datetime.fromisoformat(now) == datetime.fromisoformat(then)
    except (TypeError, ValueError):
        return now == then


def _in_snapshot(
    manifest: Manifest, saved: SavedGuest, disk: SavedDisk, storage: Storage, size: Optional[int]
) -> list[Problem]:
    """Return what does not fit of what the snapshot holds; ``size`` is None when it holds nothing there."""
    if size is None:
        where = f"{storage.svm}:{storage.volume}"
        what = f"snapshot {manifest.backup_id} of {where} has no {kind_of(storage)} {storage.path}"
        return [_problem("file-not-in-snapshot", saved, disk, what, "Choose another backup.")]
    wanted = storage.lun.size if storage.lun else disk.size if disk.format == "raw" else None
    if wanted is None or size == wanted:
        return []
    what = f"its size in the snapshot is {size} bytes and was {wanted} in the backup"
    return [_problem("size-mismatch", saved, disk, what, "Choose another backup.")]


def _identity(saved: SavedGuest, disk: SavedDisk, storage: Storage, current: DiskNow) -> list[Problem]:
    """Return what shows that the LUN at the disk's place is not the one that was saved; its size is told elsewhere."""
    then, now = storage.lun, current.storage.lun if current.storage else None
    if then is None or now is None:
        return []
    pairs = (("uuid", now.uuid, then.uuid), ("serial", now.serial, then.serial), ("os_type", now.os_type, then.os_type))
    changed = [f"its {what} is {found} now and was {wanted}" for what, found, wanted in pairs if found != wanted]
    problems = []
    if changed:
        what = f"the LUN at {storage.label} is another one than in the backup: {', '.join(changed)}"
        remedy = "Put the LUN of the backup back in its place, or choose a backup of the present one."
        problems.append(_problem("lun-identity", saved, disk, what, remedy))
    if now.size != then.size and disk.size == current.size:
        what = f"its LUN's size is {now.size} bytes now and was {then.size} in the backup"
        problems.append(_problem("size-mismatch", saved, disk, what, "Resize the LUN to what it was to go on."))
    return problems


def _moved(saved: SavedGuest, disk: SavedDisk, storage: Storage, now: GuestNow) -> Problem:
    chain = backing_chain.moved_in_chain(now.name, disk, storage.label, now.disks)
    if chain is not None:
        return _problem(chain.code, saved, disk, chain.what, chain.remedy)
    same_target = next((item for item in now.disks if item.target == disk.target), None)
    if same_target is None:
        there = f"the guest has no disk {disk.target} any more"
    elif same_target.storage is None and same_target.obstacles:
        first = same_target.obstacles[0]
        return _problem(first.code, saved, disk, f"it was {storage.label} in the backup; {first.message}", first.remedy)
    elif same_target.storage is None:
        there = f"{disk.target} is {same_target.host_path} now, which is not on the array"
    else:
        there = f"{disk.target} is the {kind_of(same_target.storage)} {same_target.storage.label} now"
    return _problem(
        "disk-moved",
        saved,
        disk,
        f"it was the {kind_of(storage)} {storage.label} in the backup and {there}",
        "Move the disk back to its old place, let the restore bring it there (moved_disks=old_place), or choose a"
        " backup that was taken after the move.",
    )


def _problem(code: str, saved: SavedGuest, disk: SavedDisk, what: str, remedy: str) -> Problem:
    return Problem(code, "error", f"disk {disk.target} of guest {saved.name}: {what}", remedy, saved.name, disk.target)


def _state_after(before: str, power: str) -> str:
    if power == "running":
        return "running"
    if power == "off":
        return "shutoff"
    return before if before in ("running", "paused") else "shutoff"


def _place(storage: Storage) -> tuple[str, str, str, str]:
    return (storage.kind, storage.svm_uuid, storage.volume_uuid, storage.path)


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


def _disk_notes(disks: Iterable[DiskRestore], now: GuestNow, unseen: Collection[tuple[str, str, str]]) -> list[str]:
    """Say what there is to say of the disks that are overwritten."""
    known = {disk.target: disk.notes for disk in now.disks}
    notes = [f"disk {disk.target}: {note}" for disk in disks for note in known.get(disk.target, ())]
    return notes + [
        f"disk {disk.target}: the account may not look into the snapshot; the LUN's size there is compared when it is"
        " restored"
        for disk in disks
        if (disk.storage.svm_uuid, disk.storage.volume_uuid, disk.storage.path) in unseen
    ]
