# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be so before a guest is restored and a disk overwritten, one rule each. Pure: nothing is asked or done.

A check yields what does not fit; :data:`GUEST_CHECKS` and :data:`DISK_CHECKS` are all of them, in the order in which a
refusal tells of them. A new reason to refuse a restore is a new function here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedDisk, SavedGuest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Place, Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import backing_chain
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskNow,
    GuestNow,
    SnapshotNow,
    kind_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.swapped_disks import swapped
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import domain


@dataclass(frozen=True)
class World:
    """What host and array say, and what the restore is asked to do.

    ``guests`` maps uuid to what is now, ``names`` the name of every guest of the host to its uuid. ``snapshots`` maps a
    volume to its snapshot of the backup; ``sizes`` a place to the file's or LUN's size inside it in bytes, None when it
    is not there; ``unseen`` are the LUNs whose size there nobody may ask for: what overwrites them compares it.
    ``states_before`` maps uuid to the state that a guest had when an interrupted run of this restore first saw it.
    ``created`` maps uuid to the places of disks that the restore which is undone made: they are removed. ``undoes``:
    what is brought back is from before a restore, and so are the targets that the guest gives its disks.
    """

    guests: Mapping[str, GuestNow]
    snapshots: Mapping[Key, SnapshotNow]
    sizes: Mapping[Place, Optional[int]]
    power: str
    names: Mapping[str, str]
    states_before: Mapping[str, str] = field(default_factory=dict)
    unseen: Collection[Place] = ()
    created: Mapping[str, Collection[str]] = field(default_factory=dict)
    undoes: bool = False


@dataclass(frozen=True)
class GuestCase:
    """A guest of the backup, and as it is now."""

    saved: SavedGuest
    now: GuestNow
    world: World


@dataclass(frozen=True)
class DiskCase:
    """A disk of the backup that lies where it lay: ``disk`` and ``storage`` are of then, ``now`` is the one there now.

    ``snapshot`` is the volume's snapshot of the backup's name. ``remove``: the disk was made by the restore that is
    undone, and goes.
    """

    backup_id: str
    guest: GuestCase
    disk: SavedDisk
    storage: Storage
    volume: SavedVolume
    now: DiskNow
    snapshot: Optional[SnapshotNow]
    remove: bool

    @property
    def name(self) -> str:
        """What to call the disk."""
        return f"disk {self.disk.target} of guest {self.guest.saved.name}"

    @property
    def on_volume(self) -> str:
        """The volume, for people."""
        return f"{self.storage.svm}:{self.storage.volume}"

    def problem(self, code: Code, what: str, remedy: str) -> Problem:
        """Return a problem of this disk."""
        return problem_of_disk(code, self.guest.saved, self.disk, what, remedy)


def problem_of_disk(code: Code, saved: SavedGuest, disk: SavedDisk, what: str, remedy: str) -> Problem:
    """Return what is wrong with a disk; ``what`` is the end of a sentence that begins with it."""
    return Problem(code, "error", f"disk {disk.target} of guest {saved.name}: {what}", remedy, saved.name, disk.target)


def guest_obstacles(case: GuestCase) -> Iterator[Problem]:
    """What the looks at the guest found: it is active elsewhere, its network is missing, ..."""
    yield from case.now.obstacles


def managed_save(case: GuestCase) -> Iterator[Problem]:
    """Its managed-save image, which a start would resume, can be moved aside."""
    now = case.now
    if now.managed_save and now.save_hindrance:
        yield Problem(
            "managed-save",
            "error",
            f"Guest {now.name} has a managed-save image that cannot be moved aside ({now.save_hindrance}): a start"
            " would resume old memory over the restored disk",
            f"Start and shut the guest down, or discard the image: virsh managedsave-remove {domain(now.name)}.",
            guest=now.name,
        )


def some_disk_saved(case: GuestCase) -> Iterator[Problem]:
    """The backup holds a disk of it."""
    if not case.saved.saved_disks:
        what = f"The backup holds no disk of guest {case.saved.name}"
        yield Problem("no-disk-saved", "error", what, "Choose another backup.", guest=case.saved.name)


def disks_in_their_places(case: GuestCase) -> Iterator[Problem]:
    """No two of its disks changed places."""
    if not case.world.undoes:
        yield from swapped(case.saved, ((disk.target, disk.storage) for disk in case.now.disks if disk.storage))


GuestCheck = Callable[[GuestCase], Iterator[Problem]]
GUEST_CHECKS: tuple[GuestCheck, ...] = (guest_obstacles, managed_save, some_disk_saved, disks_in_their_places)


def disk_obstacles(case: DiskCase) -> Iterator[Problem]:
    """What the looks at the disk found: another guest uses it, a LUN is open, ..."""
    yield from case.now.obstacles


def same_lun(case: DiskCase) -> Iterator[Problem]:
    """The LUN at the disk's place is the one that was saved."""
    then, now = case.storage.lun, case.now.storage.lun if case.now.storage else None
    if then is None or now is None:
        return
    pairs = (("uuid", now.uuid, then.uuid), ("serial", now.serial, then.serial), ("os_type", now.os_type, then.os_type))
    changed = [f"its {what} is {found} now and was {wanted}" for what, found, wanted in pairs if found != wanted]
    if changed:
        what = f"the LUN at {case.storage.label} is another one than in the backup: {', '.join(changed)}"
        remedy = "Put the LUN of the backup back in its place, or choose a backup of the present one."
        yield case.problem("lun-identity", what, remedy)
    if now.size != then.size and case.disk.size == case.now.size:
        what = f"its LUN's size is {now.size} bytes now and was {then.size} in the backup"
        yield case.problem("size-mismatch", what, "Resize the LUN to what it was to go on.")


def same_format(case: DiskCase) -> Iterator[Problem]:
    """The image has the format of then."""
    if case.now.format != case.disk.format:
        what = f"its format is {case.now.format} now and was {case.disk.format} in the backup"
        remedy = "Put the guest's definition right, or restore from a backup of the present format."
        yield case.problem("format-mismatch", what, remedy)


def same_chain(case: DiskCase) -> Iterator[Problem]:
    """The image lies over the files over which it was written."""
    chain = backing_chain.compared(case.guest.now.name, case.disk, case.now)
    if chain is not None:
        yield chain.on(case.name, guest=case.guest.saved.name, disk=case.disk.target)


def same_size(case: DiskCase) -> Iterator[Problem]:
    """The disk has the size of then."""
    then, now = case.disk.size, case.now.size
    if then is not None and now is not None and then != now:
        what = f"its size is {now} bytes now and was {then} in the backup"
        yield case.problem(
            "size-mismatch", what, "Make sure that it is the same disk; resize it to what it was to go on."
        )


def snapshot_there(case: DiskCase) -> Iterator[Problem]:
    """The volume has a snapshot of the backup's name."""
    if case.snapshot is None:
        what = f"snapshot {case.backup_id} does not exist on {case.on_volume}"
        yield case.problem("snapshot-missing", what, "Choose another backup.")


def same_snapshot(case: DiskCase) -> Iterator[Problem]:
    """That snapshot is the one of the backup, by its time and its uuid."""
    if case.snapshot is None:
        return
    what, remedy = (
        f"snapshot {case.backup_id} on {case.on_volume}",
        "It is not the snapshot of this backup; choose another backup.",
    )
    if not same_time(case.snapshot.create_time, case.volume.create_time):
        made = f"{what} was made at {case.snapshot.create_time}, in the backup at {case.volume.create_time}"
        yield case.problem("snapshot-replaced", made, remedy)
    if case.snapshot.uuid != case.volume.snapshot_uuid:
        yield case.problem(
            "snapshot-replaced", f"{what} is {case.snapshot.uuid}, in the backup {case.volume.snapshot_uuid}", remedy
        )


def in_snapshot(case: DiskCase) -> Iterator[Problem]:
    """The snapshot holds the file or LUN, with the size of then."""
    storage, world = case.storage, case.guest.world
    if case.snapshot is None or case.remove or storage.key in world.unseen:
        return
    size = world.sizes.get(storage.key)
    if size is None:
        what = f"snapshot {case.backup_id} of {case.on_volume} has no {kind_of(storage)} {storage.path}"
        yield case.problem("file-not-in-snapshot", what, "Choose another backup.")
        return
    wanted = storage.lun.size if storage.lun else case.disk.size if case.disk.format == "raw" else None
    if wanted is not None and size != wanted:
        what = f"its size in the snapshot is {size} bytes and was {wanted} in the backup"
        yield case.problem("size-mismatch", what, "Choose another backup.")


DiskCheck = Callable[[DiskCase], Iterator[Problem]]
DISK_CHECKS: tuple[DiskCheck, ...] = (
    disk_obstacles,
    same_lun,
    same_format,
    same_chain,
    same_size,
    snapshot_there,
    same_snapshot,
    in_snapshot,
)


def same_time(now: Optional[str], then: Optional[str]) -> bool:
    """Tell whether two times are the same moment, also when one is not known or the array's time zone changed."""
    if now is None or then is None:
        return True
    try:
        return datetime.fromisoformat(now) == datetime.fromisoformat(then)
    except (TypeError, ValueError):
        return now == then


def moved(saved: SavedGuest, disk: SavedDisk, storage: Storage, now: GuestNow) -> Problem:
    """Return why a disk is not where it was."""
    chain = backing_chain.moved_in_chain(now.name, disk, storage.label, now.disks)
    if chain is not None:
        return chain.on(f"disk {disk.target} of guest {saved.name}", guest=saved.name, disk=disk.target)
    same_target = next((item for item in now.disks if item.target == disk.target), None)
    if same_target is None:
        there = f"the guest has no disk {disk.target} any more"
    elif same_target.storage is None and same_target.obstacles:
        first = same_target.obstacles[0]
        return problem_of_disk(
            first.code, saved, disk, f"it was {storage.label} in the backup; {first.message}", first.remedy
        )
    elif same_target.storage is None:
        there = f"{disk.target} is {same_target.host_path} now, which is not on the array"
    else:
        there = f"{disk.target} is the {kind_of(same_target.storage)} {same_target.storage.label} now"
    return problem_of_disk(
        "disk-moved",
        saved,
        disk,
        f"it was the {kind_of(storage)} {storage.label} in the backup and {there}",
        "Move the disk back to its old place, let the restore bring it there (moved_disks=old_place), or choose a"
        " backup that was taken after the move.",
    )
