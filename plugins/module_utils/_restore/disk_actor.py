# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore does to a guest's disks: files made beside their targets and renamed, LUNs and the rest in place.

Whatever the array does late to a file is done to a temporary name. What overwrites in place is written down before it
is sent, is sent once, and its fate is found out before anything else is done to the disk.
"""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Optional, cast

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Places, locate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import MOVE, Pending, TemporaryFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import FromSnapshot, Gate, Way
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import attributes, replacement
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.attributes import FileAttributes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.compare import compare_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import (
    copy_over,
    directory_of,
    drop_cached,
    file_state,
    first_difference,
    is_there,
    make_like,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import (
    INSPECTED,
    check_image,
    files_named,
    image_info,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.replacement import FileId, RenameUnknownError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import files, lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    JobFailedError,
    JobGoneError,
    OntapDeniedError,
    OntapError,
    OutcomeUnknownError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import lun_actor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import (
    CheckFailedError,
    FateUnknownError,
    Made,
    Notes,
    Overwritten,
    Verified,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.lun_actor import LunActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore, GuestRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
MOVE_SETTLE = 5.0
"""Seconds that a server has to carry out a rename whose sender has died."""


@dataclass
class DiskActor:
    """Brings the bytes of disks.

    ``places`` is where each volume is now, ``method`` auto or one way of ``_ontap.files``. Times are in seconds:
    ``timeout`` bounds what ONTAP is asked per disk, ``unknown_wait`` how long the fate of an overwrite is looked for.
    ``luns`` knows what is done otherwise when a disk is a LUN. ``gate`` asks anew who uses a disk before it is
    overwritten, on behalf of the guests of ``claim``.
    """

    places: Places
    manifest: Manifest
    method: str
    timeout: float
    unknown_wait: float
    restore_id: str
    luns: LunActor
    gate: Gate
    claim: Claim

    def __post_init__(self) -> None:
        self.clock = Clock()
        self._refused_ways: dict[str, set[str]] = {}
        self._attributes: dict[str, Optional[FileAttributes]] = {}
        self._locks: dict[str, int] = {}

    def make(self, disk: DiskRestore, notes: Notes) -> Optional[Made]:
        """Make and prove the file that is to take the disk's place, in its directory; None when that cannot be."""
        client, volume = self.place(disk)
        refused = self._refused(client)
        while True:
            way = self._ways(disk, client, refused)[0]
            if disk.storage.lun or hindrance(disk.host_path):
                return None
            try:
                return self._made(way, client, volume, disk, notes)
            except OntapError as exc:
                if not files.refuses_method(exc) or self.method != "auto":
                    raise
                refused.add(way)

    def drop(self, file: TemporaryFile) -> None:
        """Remove a temporary file, if it is there; it stays noted, since a late request may yet make it."""
        with _telling(f"remove {file.place}"):
            if is_there(file.place):
                replacement.remove(file.place)

    def prepare(self, disk: DiskRestore, old: Optional[str]) -> None:
        """Make sure that the disk may be overwritten now, its volume too, and remember what goes with its inode."""
        client, volume = self.place(disk)
        if disk.storage.lun:
            self.luns.prepare(client, volume, disk)
            return
        with _telling(f"look at {disk.host_path}"):
            there = next((path for path in (disk.host_path, old) if path and os.path.lexists(path)), None)
            self._attributes[disk.label] = attributes.attributes_of(there) if there else None

    def put(self, disk: DiskRestore, made: Made) -> tuple[str, ...]:
        """Give the made file the name of the prepared disk, and keep it locked until the guest is started."""
        place, target = made.temporary.place, disk.host_path
        wanted = self._attributes.get(disk.label)
        with _telling(f"rename {place} to {target}"):
            if replacement.file_id(place) != made.file:
                raise CheckFailedError(f"Failed to restore {disk.label}: {place} was changed since it was compared")
            reason = hindrance(target)
            if reason:
                raise KvmsnapError(f"Failed to restore {disk.label}: {reason}", path=disk.label)
            if wanted is not None:
                attributes.give(place, wanted)
            notes = self._put_locked(disk, place)
            if replacement.file_id(target) != made.file:
                raise CheckFailedError(
                    f"Failed to restore {disk.label}: {target} is not the file that was renamed to it"
                )
            lost = attributes.differences(wanted, attributes.attributes_of(target)) if wanted else []
        return (*notes, *(f"{target}: {each}" for each in lost))

    def move_aside(self, disk: DiskRestore, place: str) -> None:
        """Give the prepared disk's file another name in its directory."""
        self._rename(disk, disk.host_path, place, expendable=False)

    def was_moved(self, disk: DiskRestore, place: str) -> bool:
        """Tell whether an earlier run moved the disk's file there; raises :class:`FateUnknownError`.

        Where it has its name yet, no process of this host may be left to move it, and the server is given time to have
        carried out what it had been asked for.
        """
        with _telling(f"look at {place}"):
            if is_there(place) or not is_there(disk.host_path):
                return True
            try:
                self.gate.refuse_used(_target(disk), replace(self.claim, still_run=True))
            except InUseError as exc:
                raise FateUnknownError(
                    f"Whether {disk.host_path} is yet moved to {place} by an earlier run is unknown: {exc.message}"
                ) from exc
            self.clock.sleep(MOVE_SETTLE)
            return is_there(place)

    def bring_aside_back(self, disk: DiskRestore, place: str) -> None:
        """Give the file that was moved there the disk's name; done already where nothing is at that place."""
        with _telling(f"look at {place}"):
            there = is_there(place)
        if there:
            self.prepare(disk, place)
            self._rename(disk, place, disk.host_path, expendable=False)

    def overwrite(self, disk: DiskRestore, notes: Notes) -> Overwritten:
        """Overwrite the disk's file or LUN in place from the snapshot by the first way that the array goes."""
        self._unlock(disk.host_path)
        if disk.remove:
            self._remove(disk)
            return Overwritten("removed")
        client, volume = self.place(disk)
        refused = self._refused(client)
        while True:
            way = self._ways(disk, client, refused)[0]
            try:
                said = self._by(way, client, volume, disk, notes)
            except OntapError as exc:
                if not files.refuses_method(exc) or self.method != "auto":
                    raise
                refused.add(way)
                continue
            self._forget_cached(disk)
            return Overwritten(way, (*said, *self._attributes_given_back(disk)))

    def verify(self, disk: DiskRestore) -> Verified:
        """Compare the disk with what the snapshot holds, past this host's caches; look at the tables of an image."""
        client, volume = self.place(disk)
        if disk.remove:
            return self._verify_gone(client, volume, disk)
        if disk.storage.lun:
            found = self.luns.verify(client, volume, disk)
            return replace(found, notes=(*found.notes, *self._checked_image(disk, disk.host_path)))
        return self._verify_file(client, volume, disk, path=disk.storage.path, seen_at=disk.host_path)

    def settle(self, disk: DiskRestore, request: Pending) -> None:
        """Find out whether a request of an earlier run has ended; raises :class:`FateUnknownError` unless it has."""
        if request.kind == MOVE:
            with _telling(f"look at {request.source}"):
                moved = is_there(request.source)
            if not moved:
                raise self._unknown(disk, "its file was to be moved aside, unanswered", request.source)
            return
        client, _volume = self.place(disk)
        if request.source:
            self.luns.revoke(client, disk, request)
        elif request.job:
            self._await(disk, partial(_job_ended, client, request.job), f"job {request.job} of {client.name}")
        else:
            raise self._unknown(disk, "the array named no job for it", f"it was sent at {request.since}")

    def place(self, disk: DiskRestore) -> tuple[Client, Volume]:
        """Return the disk's volume under the names that it has now: some calls of the array know it by name only."""
        saved = self.manifest.volume_of(disk.storage)
        known = self.places.get(saved.key) if saved else None
        now = locate([known.client], [saved], deadline=self._deadline()) if known and saved else {}
        if saved is None or saved.key not in now:
            raise KvmsnapError(f"Failed to reach the volume of {disk.label} through any of the controllers given")
        return now[saved.key].client, now[saved.key].volume

    def unlock(self, guest: GuestRestore) -> None:
        """Give up the locks on the guest's disks."""
        for disk in guest.disks:
            self._unlock(disk.host_path)

    def unlock_all(self) -> None:
        """Give up all locks."""
        for path in list(self._locks):
            self._unlock(path)

    def _made(self, way: str, client: Client, volume: Volume, disk: DiskRestore, notes: Notes) -> Made:
        """Make the file by one way and compare it; one that was not answered is made anew under another name."""
        deadline = self._deadline()
        for attempt in itertools.count(1):
            file = self._temporary(disk)
            notes.temporary(file)
            begun = deadline.clock.monotonic()
            try:
                self._make_by(way, client, volume, disk, file, deadline)
                seconds = round(deadline.clock.monotonic() - begun, 3)
                return self._proved(way, client, volume, disk, file, seconds)
            except KvmsnapError as exc:
                unknown = isinstance(exc, OutcomeUnknownError)
                with suppress(KvmsnapError):
                    self.drop(file)
                    if _never_began(exc) or way == "copy":
                        notes.no_temporary(file)
                pause = client.policy.delay(attempt)
                if not unknown or attempt > client.policy.retry_count or pause >= deadline.remaining():
                    raise
                deadline.clock.sleep(pause)
        raise AssertionError

    def _make_by(
        self, way: str, client: Client, volume: Volume, disk: DiskRestore, file: TemporaryFile, deadline: Deadline
    ) -> None:
        if way == "copy":
            source = disk.host_source
            if source is None or not Path(source).is_file():
                raise KvmsnapError(f"Failed to copy {disk.label} out of its snapshot: this host does not see {source}")
            with _telling(f"copy {source} to {file.place}"):
                make_like(source, file.place)
                copy_over(source, file.place)
            return
        if way == "file_clone":
            files.clone_file(
                client,
                volume,
                snapshot=disk.snapshot,
                source=disk.storage.path,
                destination=file.path,
                begun=_untold,
                deadline=deadline,
            )
            return
        restore: Callable[..., None] = files.restore_file_cli if way == "sfsr_cli" else files.restore_file_rest
        restore(
            client,
            volume,
            snapshot=disk.snapshot,
            path=disk.storage.path,
            restore_path=file.path,
            begun=_untold,
            deadline=deadline,
        )
        files.wait_restored(client, volume, snapshot_uuid=disk.snapshot_uuid, deadline=deadline)

    def _proved(
        self, way: str, client: Client, volume: Volume, disk: DiskRestore, file: TemporaryFile, seconds: float
    ) -> Made:
        with _telling(f"look for {file.place}"):
            there = is_there(file.place)
        if not there:
            raise CheckFailedError(f"Failed to restore {disk.label}: this host does not see {file.place}")
        found = self._verify_file(client, volume, disk, path=file.path, seen_at=file.place)
        with _telling(f"look at {file.place}"):
            seen = replacement.file_id(file.place)
        if seen is None:
            raise CheckFailedError(f"Failed to restore {disk.label}: {file.place} is gone")
        return Made(file, seen, Overwritten(way), found, seconds)

    def _temporary(self, disk: DiskRestore) -> TemporaryFile:
        name = replacement.temporary_name(disk.snapshot_uuid)
        return TemporaryFile(
            disk.label,
            posixpath.join(posixpath.dirname(disk.host_path), name),
            posixpath.join(posixpath.dirname(disk.storage.path), name),
        )

    def _put_locked(self, disk: DiskRestore, place: str) -> tuple[str, ...]:
        """Rename the file to the disk's name, locked before; return a note where there are no locks."""
        notes: tuple[str, ...] = ()
        lock: Optional[int] = None
        try:
            lock = replacement.locked(place)
        except BlockingIOError as exc:
            raise KvmsnapError(f"Failed to restore {disk.label}: somebody has {place} locked", path=disk.label) from exc
        except (OSError, KvmsnapError) as exc:
            notes = (f"{disk.host_path} could not be locked until the guest is started ({exc})",)
        try:
            self._rename(disk, place, disk.host_path, expendable=True, lock=lock)
        except FateUnknownError:
            self._keep_locked(disk, lock)
            raise
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        self._keep_locked(disk, lock)
        return notes

    def _keep_locked(self, disk: DiskRestore, lock: Optional[int]) -> None:
        if lock is not None:
            self._locks[disk.host_path] = lock

    def _unlock(self, path: str) -> bool:
        """Give up the lock on a disk; tell whether there was one."""
        descriptor = self._locks.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is not None

    def _remove(self, disk: DiskRestore) -> None:
        """Remove a disk's file that the restore made."""
        with _telling(f"remove {disk.host_path}"):
            if is_there(disk.host_path):
                self.gate.remove_file(_target(disk), self.claim)

    def _attributes_given_back(self, disk: DiskRestore) -> list[str]:
        """Give an image that was overwritten in place what goes with its inode; return what could not be."""
        wanted = self._attributes.get(disk.label)
        if wanted is None or disk.storage.lun:
            return []
        with _telling(f"look at {disk.host_path}"):
            return [f"{disk.host_path}: {each}" for each in attributes.give(disk.host_path, wanted)]

    def _verify_gone(self, client: Client, volume: Volume, disk: DiskRestore) -> Verified:
        path = disk.storage.path
        size = file_size(client, volume, path, snapshot=None, seen_at=disk.host_path, deadline=self._deadline())
        if size is not None:
            raise CheckFailedError(f"Failed to remove {disk.label}: it is still there", path=disk.label)
        return Verified("gone")

    def _checked_image(self, disk: DiskRestore, path: str) -> tuple[str, ...]:
        """Let qemu-img look at an image whose format has tables; a raw one is never looked into."""
        if not disk.check_image or disk.format not in INSPECTED:
            return ()
        self._refuse_other_files(disk, path)
        with _telling(f"check the image {path}"):
            remark = check_image(path, image_format=disk.format, timeout=self.timeout)
        return (remark,) if remark else ()

    def _refuse_other_files(self, disk: DiskRestore, path: str) -> None:
        """Refuse an image that names other files than the backup says: somebody swapped it before the snapshot."""
        known = self.manifest.disk_at(disk.storage)
        if known is None:
            return
        info = image_info(path, image_format=disk.format)
        wanted = known.backing[0].path if known.backing else None
        below = [os.path.realpath(each) for each in files_named(info.backing or "", image=disk.host_path)]
        as_known = below == [os.path.realpath(wanted)] if wanted else info.backing is None
        if not as_known or info.data_files:
            named = ", ".join(filter(None, (info.backing, *info.data_files))) or "nothing"
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: its image in {disk.snapshot} names {named} below it, and"
                f" the backup says {wanted or 'nothing'}. It is not the image that was backed up",
                path=disk.label,
            )

    def _verify_file(self, client: Client, volume: Volume, disk: DiskRestore, *, path: str, seen_at: str) -> Verified:
        """Compare size, and sampled blocks or all of them, with the snapshot's copy; look at the tables of an image.

        ``path`` is the file's inside its volume, ``seen_at`` that on the host. Where ``.snapshot`` is not to be seen on
        the host, the array's word on the sizes has to do.
        """
        there = ((disk.storage.path, disk.snapshot, disk.host_source), (path, None, seen_at))
        sizes = [
            file_size(client, volume, at, snapshot=snapshot, seen_at=seen, deadline=self._deadline())
            for at, snapshot, seen in there
        ]
        if sizes[0] is None or sizes[0] != sizes[1]:
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: it has {sizes[1]} bytes, the snapshot's copy {sizes[0]}",
                path=disk.label,
            )
        found = self._compared(disk, seen_at).enough_for(disk)
        return replace(found, notes=(*found.notes, *self._checked_image(disk, seen_at)))

    def _compared(self, disk: DiskRestore, seen_at: str) -> Verified:
        source = disk.host_source
        if source is None or not os.path.exists(source):
            return Verified("size")
        with _telling(f"compare {seen_at} with {source}"):
            if disk.verify == "full":
                whole = compare_files(source, seen_at, stalled_after=self.timeout)
                offset, found = whole.difference, Verified("size and all content", whole.sha256)
            else:
                offset, found = first_difference(source, seen_at), Verified("size and sampled blocks")
        if offset is not None:
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: it differs from {disk.snapshot} at byte {offset}",
                path=disk.label,
            )
        return found

    def _refused(self, client: Client) -> set[str]:
        """Return the ways that this system does not go; with auto, those without a licence from the start."""
        if client.name not in self._refused_ways:
            unlicensed = files.unlicensed_methods(client, deadline=self._deadline()) if self.method == "auto" else ()
            self._refused_ways[client.name] = {*unlicensed, *lun_restore.lun_ways(unlicensed)}
        return self._refused_ways[client.name]

    def _ways(self, disk: DiskRestore, client: Client, refused: set[str]) -> tuple[str, ...]:
        if disk.storage.lun:
            return lun_restore.choose_lun_method(self.method, refused)
        return files.choose_method(self.method, client.version, refused)

    def _forget_cached(self, disk: DiskRestore) -> None:
        """Make this host forget the old bytes, which a guest with a host page cache would read and write back."""
        if disk.storage.lun:
            self.luns.settle(disk)
            return
        with _telling(f"drop what this host cached of {disk.host_path}"):
            is_there(disk.host_path)
            drop_cached(disk.host_path)

    def _by(self, way: str, client: Client, volume: Volume, disk: DiskRestore, notes: Notes) -> tuple[str, ...]:
        """Overwrite in place by one way; return what there is to say of it."""
        if way == "copy":
            return self._copied(disk)
        request = Pending(disk.label, "lun" if disk.storage.lun else "file", _now())
        if way == "lun_clone":
            return self.luns.overwrite(client, volume, disk, notes, request)
        with _telling(f"look for {disk.host_path}"):
            before = None if disk.storage.lun else replacement.file_id(disk.host_path)
        notes.pending(disk.label, request)
        try:
            self._sent(way, client, volume, disk, lambda job: notes.pending(disk.label, replace(request, job=job)))
        except OutcomeUnknownError as exc:
            self._await_overwrite(client, volume, disk, exc, before)
        except JobGoneError:
            pass
        except KvmsnapError:
            notes.pending(disk.label, None)
            raise
        notes.pending(disk.label, None)
        return ()

    def _copied(self, disk: DiskRestore) -> tuple[str, ...]:
        source = disk.host_source
        if source is None or not Path(source).is_file():
            raise KvmsnapError(f"Failed to copy {disk.label} out of its snapshot: this host does not see {source}")
        with _telling(f"copy {source} over {disk.host_path}"):
            if not is_there(disk.host_path):
                make_like(source, disk.host_path)
            self.gate.copy_over_file(_target(disk), self.claim, source)
        return ()

    def _sent(self, way: str, client: Client, volume: Volume, disk: DiskRestore, begun: Callable[[str], None]) -> None:
        """Send the one request that overwrites a file in place, or a LUN by single-file SnapRestore."""
        path, deadline = disk.storage.path, self._deadline()
        with _telling(f"look for {disk.host_path}"):
            there = disk.storage.lun is not None or is_there(disk.host_path)
        source = FromSnapshot(client, volume, disk.snapshot, path)
        target = lun_actor.target_of(disk) if disk.storage.lun else _target(disk)
        self.gate.overwrite_file_on_array(
            target, self.claim, cast(Way, way), source, overwrite=there, begun=begun, deadline=deadline
        )
        if way == "file_clone":
            return
        waited = Deadline.after(max(self.timeout, self.unknown_wait))
        files.wait_restored(client, volume, snapshot_uuid=disk.snapshot_uuid, deadline=waited)

    def _await_overwrite(
        self, client: Client, volume: Volume, disk: DiskRestore, exc: OutcomeUnknownError, before: Optional[FileId]
    ) -> None:
        """Wait for a sign that an overwrite whose answer is missing has ended; the bytes then tell how."""
        job = exc.fields.get("job") if exc.fields.get("seen", True) else None
        if job:
            self._await(disk, partial(_job_ended, client, job), f"job {job} of {client.name} ({exc.reason})")
        else:
            effect = partial(self._took_effect, client, volume, disk, before)
            self._await(disk, effect, f"a change of {disk.label} to what the snapshot holds ({exc.reason})")

    def _took_effect(self, client: Client, volume: Volume, disk: DiskRestore, before: Optional[FileId]) -> bool:
        """Tell whether a file was changed, and holds what the snapshot holds."""
        if disk.storage.lun:
            return False
        drop_cached(disk.host_path)
        if replacement.file_id(disk.host_path) == before:
            return False
        try:
            self._verify_file(client, volume, disk, path=disk.storage.path, seen_at=disk.host_path)
        except CheckFailedError:
            return False
        return True

    def _await(self, disk: DiskRestore, ended: Callable[[], bool], what: str) -> None:
        """Wait for a sign, for at most ``unknown_wait`` seconds; raises :class:`FateUnknownError` without."""
        bound = Deadline.after(self.unknown_wait)
        pause, blind = _FIRST_PAUSE, ""
        while True:
            try:
                if ended():
                    return
            except (OntapError, OSError) as exc:
                blind = f"; it could not be looked for: {exc}"
            if pause >= bound.remaining():
                raise self._unknown(disk, f"no sign of its end in {self.unknown_wait:g} s", f"{what}{blind}")
            bound.clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _unknown(self, disk: DiskRestore, why: str, looked_for: str) -> FateUnknownError:
        return FateUnknownError.of(disk, why, looked_for, restore_id=self.restore_id)

    def _deadline(self) -> Deadline:
        return Deadline.after(self.timeout)

    def _rename(self, disk: DiskRestore, old: str, new: str, *, expendable: bool, lock: Optional[int] = None) -> None:
        """Rename through the gate; what the file is under its new name is for the caller to see.

        A lock of ours on the disk's present file is kept while the gate looks. It is given up directly before the
        rename, since NFS moves a file aside that is open; a rename that is refused leaves it locked. ``lock`` is that
        of the file which is renamed.
        """
        with ExitStack() as held, _telling(f"rename {old} to {new}"):
            wanted = replacement.file_id(old)
            if wanted is None:
                raise FileNotFoundError(2, os.strerror(2), old)
            directory = held.enter_context(directory_of(new))
            keep = (directory, held.enter_context(replacement.opened(old)), *([] if lock is None else [lock]))

            def run(act: Callable[[], None]) -> None:
                fenced = self._unlock(disk.host_path)
                try:
                    replacement.carried_out(old, new, wanted, act, keep=keep, expendable=expendable)
                except OSError:
                    if fenced:
                        self._lock_again(disk.host_path)
                    raise

            try:
                self.gate.rename_over(
                    replace(_target(disk), fence=self._locks.get(disk.host_path)),
                    self.claim,
                    directory=directory,
                    temporary=os.path.basename(old),
                    name=os.path.basename(new),
                    run=run,
                )
            except RenameUnknownError as exc:
                raise FateUnknownError(f"{exc.message}; looked for the names and for the file's id") from exc

    def _lock_again(self, path: str) -> None:
        """Lock a file that keeps a disk's name; where that cannot be, the gate is what is left."""
        with suppress(OSError, KvmsnapError):
            self._locks[path] = replacement.locked(path)


def _target(disk: DiskRestore) -> FileTarget:
    return FileTarget(disk.label, disk.host_path, disk.locks)


def hindrance(path: str) -> Optional[str]:
    """Return why this host may not put another file in the place of one, bounded in time; None when it may."""
    with _telling(f"look at {path}"):
        look = partial(replacement.hindrance, path)
        return bounded(look, seconds=replacement.SECONDS, what=f"look at {path}")


def file_size(
    client: Client, volume: Volume, path: str, *, snapshot: Optional[str], seen_at: Optional[str], deadline: Deadline
) -> Optional[int]:
    """Return the size in bytes of a file of a volume, now or in a snapshot, None when it is not there.

    An account that may not list files over REST (one with a traditional role) is no obstacle: then the host looks at
    ``seen_at``, the same file below its mount.
    """
    try:
        stat = files.stat_file(client, volume, path, snapshot=snapshot, deadline=deadline)
    except OntapDeniedError:
        if seen_at is None:
            raise
        return file_state(seen_at)[0]
    return None if stat is None else stat.size


def _never_began(exc: KvmsnapError) -> bool:
    """Tell whether a request was refused before it began: what failed later may yet make its file, however late."""
    return isinstance(exc, OntapError) and not isinstance(exc, (OutcomeUnknownError, JobFailedError, JobGoneError))


def _job_ended(client: Client, uuid: str) -> bool:
    """Tell whether a job that was written down has ended; the array forgets one some time after its end."""
    found = client.job(uuid)
    return found is None or found.ended


def _untold(_job: str) -> None:
    """Take the uuid of a job that can touch nothing but a temporary name."""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextmanager
def _telling(action: str) -> Iterator[None]:
    """Turn an operating system's error into a sentence of ours."""
    try:
        yield
    except OSError as exc:
        raise KvmsnapError(f"Failed to {action}: {exc.strerror or exc}") from exc
