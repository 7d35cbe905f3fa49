# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore would overwrite by what, and the proof that both are what they claim. Pure: nothing is asked or done.

A disk is matched by its place on the array (SVM, volume and path), never by its order or its name in the guest. Every
mismatch is collected and the whole restore refused, with both values named, before anything is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import (
    BackingFile,
    Manifest,
    SavedDisk,
    SavedGuest,
    Storage,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

POWER = ("as_was", "running", "off")


class RestoreRefusedError(KvmsnapError):
    """The restore was refused before anything was touched; ``problems`` says why, each with its remedy."""


@dataclass(frozen=True)
class DiskNow:
    """A disk of the guest as it is now; ``size`` is the size the guest sees in bytes, None when it cannot be read.

    ``locks``: whether the mount takes QEMU's locks to the server. ``refusals``: why it must not be written now (shared
    with another guest, ...), as discovery says it.
    """

    target: str
    format: str
    host_path: str
    mount_point: Optional[str]
    size: Optional[int]
    backing: tuple[BackingFile, ...]
    storage: Optional[Storage]
    locks: bool = False
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True)
class GuestNow:
    """The guest as libvirt knows it now. ``state`` is a word of ``kvm_vm_discover``."""

    name: str
    uuid: str
    state: str
    managed_save: bool
    persistent: bool
    disks: tuple[DiskNow, ...]


@dataclass(frozen=True)
class SnapshotNow:
    """A volume's snapshot of the backup's name as the array knows it now."""

    uuid: str
    create_time: Optional[str]


@dataclass(frozen=True)
class DiskRestore:
    """One overwrite of a file by its content in the snapshot; ``size`` is what the guest sees, in bytes."""

    target: str
    format: str
    storage: Storage
    host_path: str
    mount_point: Optional[str]
    snapshot: str
    snapshot_uuid: str
    size: Optional[int]
    locks: bool = False

    @property
    def label(self) -> str:
        """Where the disk lies, in the words of KVM_VM_MAPPING."""
        return _name(self.storage)

    @property
    def host_source(self) -> Optional[str]:
        """The snapshot's copy as this host sees it below the mount point, None when the volume is not mounted."""
        return in_host_snapshot(self.host_path, self.mount_point, self.snapshot)


@dataclass(frozen=True)
class GuestRestore:
    """One guest's part; ``name`` is its name now, ``state_after`` is ``running``, ``paused`` or ``shutoff``.

    ``notes`` is what the backup does not bring back and what else one should know.
    """

    name: str
    uuid: str
    state_now: str
    state_after: str
    disks: tuple[DiskRestore, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestorePlan:
    """The whole restore."""

    backup_id: str
    restore_id: str
    guests: tuple[GuestRestore, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for the module's result and the journal."""
        return asdict(self)

    def before(self) -> str:
        """Return what is, as the text that ``--diff`` shows on its left side."""
        return _text(self, lambda guest: guest.state_now, lambda _disk: "as it is now")

    def after(self) -> str:
        """Return what would be, as the text that ``--diff`` shows on its right side."""
        return _text(
            self, lambda guest: guest.state_after, lambda disk: f"as in snapshot {disk.snapshot} ({disk.snapshot_uuid})"
        )


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
) -> RestorePlan:
    """Decide, or raise :class:`RestoreRefusedError` with every reason.

    ``guests`` maps uuid to what is now; ``snapshots`` maps (SVM uuid, volume uuid); ``sizes_in_snapshot`` maps (SVM
    uuid, volume uuid, path) to the file's size inside the snapshot in bytes, None when it is not there;
    ``states_before`` maps uuid to the state a guest had when an interrupted run of this restore first saw it;
    ``names_now`` maps the name of every guest of the host to its uuid.
    """
    problems: list[Problem] = []
    parts = []
    for name in wanted:
        saved = manifest.guest(name)
        if saved is None:
            known = ", ".join(guest.name for guest in manifest.guests)
            problems.append(
                Problem(
                    "guest-not-in-backup",
                    "error",
                    f"Guest {name} is not in backup {manifest.backup_id}, which holds {known}",
                    "Name one of these guests, or choose another backup.",
                    guest=name,
                )
            )
            continue
        if names_now.get(name, saved.uuid) != saved.uuid:
            problems.append(
                Problem(
                    "guest-identity",
                    "error",
                    f"Guest {name} is {names_now[name]} on this host and was {saved.uuid} in the backup: another guest",
                    "Name the guest to restore by its uuid.",
                    guest=name,
                )
            )
            continue
        now = guests.get(saved.uuid)
        if now is None:
            problems.append(
                Problem(
                    "guest-unknown",
                    "error",
                    f"Guest {saved.name} ({saved.uuid}) is not defined on this host",
                    "Run the restore on the host that defines the guest.",
                    guest=saved.name,
                )
            )
            continue
        problems.extend(_guest_problems(saved, now))
        disks = []
        for disk in saved.saved_disks:
            found, part = _disk(manifest, saved=saved, disk=disk, now=now, snapshots=snapshots, sizes=sizes_in_snapshot)
            problems.extend(found)
            if part is not None:
                disks.append(part)
        before = states_before.get(saved.uuid, now.state)
        after = _state_after(before, power)
        parts.append(GuestRestore(now.name, saved.uuid, now.state, after, tuple(disks), _notes(saved, now)))
    if problems:
        raise RestoreRefusedError(
            f"Refused to restore from backup {manifest.backup_id}, nothing was touched: "
            + "; ".join(problem.message for problem in problems),
            backup_id=manifest.backup_id,
            problems=[problem.as_dict() for problem in problems],
        )
    return RestorePlan(manifest.backup_id, restore_id, tuple(parts))


def in_host_snapshot(host_path: str, mount_point: Optional[str], snapshot: str) -> Optional[str]:
    """Return where a host sees a snapshot's copy of a file below its mount point, None when it is not below it."""
    inside = f"{mount_point}/"
    if mount_point is None or not host_path.startswith(inside):
        return None
    return f"{inside}.snapshot/{snapshot}/{host_path[len(inside) :]}"


def _guest_problems(saved: SavedGuest, now: GuestNow) -> list[Problem]:
    problems = []
    if now.managed_save:
        problems.append(
            Problem(
                "managed-save",
                "error",
                f"Guest {now.name} has a managed-save image: a start would resume old memory over the restored disk",
                f"Start and shut the guest down, or discard the image: virsh managedsave-remove {now.name}.",
                guest=now.name,
            )
        )
    if not now.persistent:
        problems.append(
            Problem(
                "transient-guest",
                "error",
                f"Guest {now.name} is transient: it would be gone once it is stopped",
                "Define the guest before it is restored.",
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
    problems = []
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
    problems.extend(
        _problem("disk-not-free", saved, disk, reason, "See to it that nothing else uses the disk.")
        for reason in current.refusals
    )
    if [layer.path for layer in current.backing] != [layer.path for layer in disk.backing]:
        problems.append(
            _problem(
                "backing-chain-mismatch",
                saved,
                disk,
                f"its backing chain is {_chain(current.backing)} now and was {_chain(disk.backing)} in the backup",
                "Commit or remove the external snapshots that were taken since.",
            )
        )
    elif current.backing != disk.backing:
        problems.append(
            _problem(
                "backing-file-changed",
                saved,
                disk,
                f"a file of its backing chain is not what it was: {_chain(current.backing, disk.backing)}",
                "Bring the backing file back first, from the snapshot of the same backup.",
            )
        )
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
    size = sizes.get((storage.svm_uuid, storage.volume_uuid, storage.path))
    if size is None:
        problems.append(
            _problem(
                "file-not-in-snapshot",
                saved,
                disk,
                f"snapshot {manifest.backup_id} of {where} has no file {storage.path}",
                "Choose another backup.",
            )
        )
    elif disk.format == "raw" and disk.size is not None and size != disk.size:
        problems.append(
            _problem(
                "size-mismatch",
                saved,
                disk,
                f"its size in the snapshot is {size} bytes and was {disk.size} in the backup",
                "Choose another backup.",
            )
        )
    if problems:
        return problems, None
    return [], DiskRestore(
        target=current.target,
        format=disk.format,
        storage=storage,
        host_path=current.host_path,
        mount_point=current.mount_point,
        snapshot=manifest.backup_id,
        snapshot_uuid=snapshot.uuid,
        size=disk.size,
        locks=current.locks,
    )


def _moved(saved: SavedGuest, disk: SavedDisk, storage: Storage, now: GuestNow) -> Problem:
    same_target = next((item for item in now.disks if item.target == disk.target), None)
    if same_target is None:
        there = f"the guest has no disk {disk.target} any more"
    elif same_target.storage is None:
        there = f"{disk.target} is {same_target.host_path} now, which is not on the array"
    else:
        there = f"{disk.target} is {_name(same_target.storage)} now"
    return _problem(
        "disk-moved",
        saved,
        disk,
        f"it was {_name(storage)} in the backup and {there}",
        "Move the disk back to its old place, or choose a backup that was taken after the move.",
    )


def _problem(code: str, saved: SavedGuest, disk: SavedDisk, what: str, remedy: str) -> Problem:
    return Problem(code, "error", f"disk {disk.target} of guest {saved.name}: {what}", remedy, saved.name, disk.target)


def _state_after(before: str, power: str) -> str:
    if power == "running":
        return "running"
    if power == "off":
        return "shutoff"
    return before if before in ("running", "paused") else "shutoff"


def _place(storage: Storage) -> tuple[str, str, str]:
    return (storage.svm_uuid, storage.volume_uuid, storage.path)


def _name(storage: Storage) -> str:
    return f"{storage.svm}:/vol/{storage.volume}/{storage.path}"


def _chain(files: tuple[BackingFile, ...], before: tuple[BackingFile, ...] = ()) -> str:
    if not before:
        return " <- ".join(layer.path for layer in files) or "none"
    changed = [(now, then) for now, then in zip(files, before) if now != then]
    return ", ".join(f"{now.path} ({now.size} bytes now, {then.size} then)" for now, then in changed)


def _notes(saved: SavedGuest, now: GuestNow) -> tuple[str, ...]:
    """Say what is not brought back: disks left out of the backup, disks that came later, a weak consistency."""
    notes = [f"disk {disk.target} is not in the backup: {disk.reason}" for disk in saved.disks if not disk.included]
    known = {disk.target for disk in saved.disks}
    notes += [
        f"disk {disk.target} came after the backup and stays as it is" for disk in now.disks if disk.target not in known
    ]
    if now.name != saved.name:
        notes.append(f"it was called {saved.name} at the time of the backup")
    if saved.consistency is not None:
        notes.append(f"the backup is {saved.consistency.level}")
    return tuple(notes)


def _text(plan: RestorePlan, state: Any, content: Any) -> str:
    lines = []
    for guest in plan.guests:
        lines.append(f"guest {guest.name} ({guest.uuid}): {state(guest)}")
        lines.extend(
            f"  disk {disk.target} {_name(disk.storage)} ({disk.format}, {disk.size} bytes): {content(disk)}"
            for disk in guest.disks
        )
        lines.extend(f"  note: {note}" for note in guest.notes)
    return "\n".join(lines) + "\n"
