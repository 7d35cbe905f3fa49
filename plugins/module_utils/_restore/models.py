# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore speaks of: the guests and disks of now, what is to be restored, and the plan of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import WHAT, BackingFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.snapshot_copy import in_host_snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.new_definition import NewDefinition

ABSENT = "absent"


class RestoreRefusedError(KvmsnapError):
    """The restore was refused before anything was touched; ``problems`` says why, each with its remedy."""


def refuse(backup_id: str, problems: Sequence[Problem]) -> None:
    """Raise :class:`RestoreRefusedError` with every one of ``problems``, if there are any."""
    if problems:
        raise RestoreRefusedError(
            f"Refused to restore from backup {backup_id}, nothing was touched: "
            + "; ".join(problem.message for problem in problems),
            backup_id=backup_id,
            problems=[problem.as_dict() for problem in problems],
        )


@dataclass(frozen=True)
class Sharer:
    """Another guest of this host that uses a shareable disk, as its ``target``; ``active``: it is not off."""

    uuid: str
    name: str
    target: str
    active: bool


@dataclass(frozen=True)
class DiskNow:
    """A disk of the guest as it is now; ``size`` is the size the guest sees in bytes, None when it cannot be read.

    ``locks``: whether the mount takes QEMU's locks to the server. ``obstacles``: why it must not be written now (shared
    with another guest, ...), ``notes``: what else there is to say of it. ``unreadable``: why what lies below its image
    is not known. ``shareable``: it is marked as shared between guests, ``sharers`` are the others of this host.
    ``missing``: the file is gone, and the place where it was is there.
    """

    target: str
    format: str
    host_path: str
    mount_point: Optional[str]
    size: Optional[int]
    backing: tuple[BackingFile, ...]
    storage: Optional[Storage]
    locks: bool = False
    obstacles: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    missing: bool = False
    unreadable: str = ""
    shareable: bool = False
    sharers: tuple[Sharer, ...] = ()


@dataclass(frozen=True)
class KnownGuest:
    """A guest by what tells it from others; each of ``disks`` is its target and its place."""

    name: str
    uuid: str
    disks: tuple[str, ...]

    def __str__(self) -> str:
        return f"guest {self.name} ({self.uuid}): {', '.join(self.disks) or 'no disks'}"


@dataclass(frozen=True)
class TwoGuests:
    """The guest of a backup and the one of this host, under another uuid, that it is restored into."""

    saved: KnownGuest
    present: KnownGuest

    @property
    def lines(self) -> tuple[str, str]:
        """Return both for people."""
        return f"in the backup: {self.saved}", f"on this host, restored into and keeping its uuid: {self.present}"


@dataclass(frozen=True)
class GuestNow:
    """The guest as libvirt knows it now. ``state`` is a word of ``kvm_vm_discover``.

    ``save_hindrance``: why its managed-save image cannot be moved aside, None if it can. ``obstacles``: why it must not
    be restored now (active on another host, ...), ``notes``: what else there is to say of it. ``nvram`` is where its
    UEFI variables are, ``tpm`` whether it has an emulated TPM, ``xml`` its definition. ``definition`` is the one that
    it is to have, in place of its own or of none (its state is ``absent`` then): the other fields are those of a guest
    that has it already, ``changes`` the lines of the diff. ``forget``: it was not defined before the restore that is
    undone. ``two_guests``: it had another uuid in the backup.
    """

    name: str
    uuid: str
    state: str
    managed_save: bool
    persistent: bool
    disks: tuple[DiskNow, ...]
    save_hindrance: Optional[str] = None
    obstacles: tuple[Problem, ...] = ()
    nvram: Optional[str] = None
    tpm: bool = False
    xml: str = ""
    definition: Optional[NewDefinition] = None
    forget: bool = False
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    two_guests: Optional[TwoGuests] = None

    @property
    def identities(self) -> tuple[str, ...]:
        """The uuids under which it may be known elsewhere: its own, and the one that it had in the backup."""
        return (self.uuid, self.two_guests.saved.uuid) if self.two_guests else (self.uuid,)


@dataclass(frozen=True)
class SnapshotNow:
    """A volume's snapshot of the backup's name as the array knows it now; ``create_time`` is in ISO 8601."""

    uuid: str
    create_time: Optional[str]


@dataclass(frozen=True)
class DiskRestore:
    """One overwrite of a file or LUN by its content in the snapshot; ``size`` is what the guest sees, in bytes.

    ``host_path`` is the file below its mount, or the LUN's device. ``missing``: it is made, since nothing is there.
    ``remove``: nothing was there before the restore that is undone, so that it is removed. ``verify``: how much is
    compared afterwards, sampled or full. ``check_image``: whether the tables of an image (qcow2) must be sound; what is
    put back is as it was.
    """

    target: str
    format: str
    storage: Storage
    host_path: str
    mount_point: Optional[str]
    snapshot: str
    snapshot_uuid: str
    size: Optional[int]
    locks: bool = False
    missing: bool = False
    remove: bool = False
    snapshot_time: Optional[str] = None
    verify: str = "sampled"
    check_image: bool = True

    @property
    def label(self) -> str:
        """Where the disk lies, in the words of KVM_VM_MAPPING."""
        return self.storage.label

    @property
    def host_source(self) -> Optional[str]:
        """The snapshot's copy as this host sees it below the mount point, None when the volume is not mounted."""
        return in_host_snapshot(self.host_path, self.mount_point, self.snapshot)


@dataclass(frozen=True)
class GuestRestore:
    """One guest's part; ``name`` is its name now, ``state_after`` is ``running``, ``paused``, ``shutoff`` or ``absent``
    (one that is forgotten).

    ``notes`` is what the backup does not bring back and what else one should know. ``managed_save``: its image of the
    memory is moved aside. ``files`` are put with the disks. ``definition`` is the one it gets, None when its own stays;
    ``forget``: it is to be undefined. ``changes`` are the lines of a diff of its definition, from the present one to
    the new one, or from the backup's to the present one when that stays. ``shares`` are the uuids of guests that share
    a disk with it. ``two_guests``: it had another uuid in the backup.
    """

    name: str
    uuid: str
    state_now: str
    state_after: str
    disks: tuple[DiskRestore, ...]
    notes: tuple[str, ...] = ()
    managed_save: bool = False
    files: tuple[FileRestore, ...] = ()
    changes: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    definition: Optional[NewDefinition] = None
    forget: bool = False
    two_guests: Optional[TwoGuests] = None

    @property
    def may_be_absent(self) -> bool:
        """Whether libvirt need not know the guest."""
        return self.forget or self.state_now == ABSENT


@dataclass(frozen=True)
class RestorePlan:
    """The whole restore."""

    backup_id: str
    restore_id: str
    guests: tuple[GuestRestore, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for the module's result, without the definitions, which may hold passwords."""
        result = asdict(self)
        for guest, part in zip(result["guests"], self.guests):
            guest["definition"] = part.definition.policy if part.definition else None
        return result

    def before(self) -> str:
        """Return what is, as the text that ``--diff`` shows on its left side."""
        return _diff_side(
            self,
            lambda guest: guest.state_now,
            lambda part: "not there" if isinstance(part, DiskRestore) and part.missing else "as it is now",
        )

    def after(self) -> str:
        """Return what would be, as the text that ``--diff`` shows on its right side."""
        return _diff_side(self, lambda guest: guest.state_after, _content_after)


def kind_of(storage: Storage) -> str:
    return "LUN" if storage.lun else "file"


def _what(disk: DiskRestore) -> str:
    lun = disk.storage.lun
    if lun is None:
        return f"{disk.format}, {disk.size} bytes"
    return f"LUN serial {lun.serial}, WWID {lun.wwid}, {lun.device}, {disk.format}, {lun.size} bytes"


def _content_after(part: Union[DiskRestore, FileRestore]) -> str:
    if isinstance(part, FileRestore):
        return f"as in {part.source or 'nothing: there was none'}"
    if part.remove:
        return "removed: there was none"
    made = f", made {part.snapshot_time}" if part.snapshot_time else ""
    return f"as in snapshot {part.snapshot} ({part.snapshot_uuid}{made})"


def _diff_side(plan: RestorePlan, state: Any, content: Any) -> str:
    lines = []
    for guest in plan.guests:
        lines.append(f"guest {guest.name} ({guest.uuid}): {state(guest)}")
        lines.extend(f"  {line}" for line in (guest.two_guests.lines if guest.two_guests else ()))
        lines.extend(
            f"  disk {disk.target} {disk.storage.label} ({_what(disk)}): {content(disk)}" for disk in guest.disks
        )
        lines.extend(f"  {WHAT[file.kind]} {file.path}: {content(file)}" for file in guest.files)
        lines.extend(f"  note: {note}" for note in guest.notes)
        when = "now and afterwards" if guest.definition else "then and now"
        lines.extend(f"  definition, {when}: {line}" for line in guest.changes)
    return "\n".join(lines) + "\n"
