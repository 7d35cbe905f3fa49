# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exclusive lock on a guest: one process at a time holds, stops, starts, overwrites or undoes it.

A kernel lock on one file per guest, in one directory per host beside the hold records; the file says who has it.
Between the processes of a hold in tasks the hold's record is the mark, after a crash the restore's journal.
"""

from __future__ import annotations

import json
import os
import uuid as uuids
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import is_locked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import file_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

DIRECTORY = "guests"
PATIENCE = 10.0
"""Seconds that a backup or a hold waits for guests that others work on; a restore waits for nobody."""

_PAUSE = 0.1
_LONGEST_NOTE = 4096
_SOMEBODY = "another process"


class GuestLockedError(KvmsnapError):
    """Guests that another process works on; ``busy`` names each with its holder. Nothing was touched."""


@dataclass(frozen=True)
class GuestHolder:
    """Who works on a guest: for what (``backup``, ``restore``, ...), under which id, and since when (ISO 8601)."""

    purpose: str
    identity: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"{self.purpose} {self.identity} (process {self.pid}, since {self.since})"


@dataclass(frozen=True)
class Busy:
    """A guest that another process works on; ``holder`` is None when that one has not said who it is."""

    uuid: str
    name: str
    holder: Optional[GuestHolder]

    def __str__(self) -> str:
        return f"guest {self.name} is locked by {self.holder or _SOMEBODY}"


def lock_directory(hold_dir: Path) -> Path:
    """Return the directory of the locks of a host whose hold records lie in ``hold_dir``."""
    return hold_dir.parent / DIRECTORY


@contextmanager
def guest_locks(
    directory: Path,
    guests: Collection[tuple[str, str]],
    *,
    purpose: str,
    identity: str,
    wait: float = 0.0,
    clock: Optional[Clock] = None,
) -> Iterator[tuple[Busy, ...]]:
    """Lock guests (uuid, name) in the order of their uuids, and yield those that could not be had within ``wait``.

    While it waits, it has none of them. The locks that it has at the end of its time it keeps until the block ends.
    Raises :class:`KvmsnapError` when the files of the locks cannot be used.
    """
    deadline = Deadline.after(max(wait, file_lock.LEAST), clock)
    wanted = sorted({_checked(uuid): name for uuid, name in guests}.items())
    note = json.dumps(asdict(GuestHolder(purpose, identity, os.getpid(), _now()))).encode("utf-8")
    while True:
        held, busy = _take(directory, wanted, note)
        if not busy or deadline.remaining() <= 0:
            break
        file_lock.let_go(held)
        deadline.clock.sleep(min(_PAUSE, deadline.remaining()))
    try:
        yield tuple(busy)
    finally:
        file_lock.let_go(held)


@contextmanager
def all_locked(
    directory: Path, guests: Collection[tuple[str, str]], *, purpose: str, identity: str, wait: float = 0.0
) -> Iterator[None]:
    """Lock all guests (uuid, name); raises :class:`GuestLockedError`, which names who has one and since when."""
    with guest_locks(directory, guests, purpose=purpose, identity=identity, wait=wait) as busy:
        refuse(busy, purpose=purpose, identity=identity)
        yield


def refuse(busy: Sequence[Busy], *, purpose: str, identity: str) -> None:
    """Raise :class:`GuestLockedError` when there is a busy guest."""
    if busy:
        raise GuestLockedError(
            f"Failed to begin {purpose} {identity}: {'; '.join(map(str, busy))}. Wait for its end; nothing was touched",
            busy=[{"uuid": each.uuid, "name": each.name, "holder": str(each.holder or _SOMEBODY)} for each in busy],
        )


def busy_guests(directory: Path, guests: Collection[tuple[str, str]]) -> tuple[Busy, ...]:
    """Return those of the guests (uuid, name) that a process has locked now; takes no lock."""
    found = []
    for uuid, name in sorted({_checked(uuid): name for uuid, name in guests}.items()):
        path = _path(directory, uuid)
        try:
            if is_locked(path):
                found.append(Busy(uuid, name, _holder(path)))
        except OSError as exc:
            raise _unusable(path, exc) from exc
    return tuple(found)


def left_locks(directory: Path) -> list[Path]:
    """Return the files of locks that nobody has: a process that was killed could not remove them."""
    try:
        return file_lock.left(directory)
    except OSError as exc:
        raise _unusable(Path(exc.filename or directory), exc) from exc


def remove_left(path: Path) -> None:
    """Remove the file of a lock that nobody has; one that somebody has taken meanwhile stays."""
    try:
        file_lock.remove_left(path)
    except OSError as exc:
        raise _unusable(path, exc) from exc


def _take(directory: Path, wanted: Sequence[tuple[str, str]], note: bytes) -> tuple[dict[Path, int], list[Busy]]:
    """Try each lock once, and return the descriptors of those that were had and the guests that are busy."""
    held: dict[Path, int] = {}
    busy = []
    try:
        for uuid, name in wanted:
            path = _path(directory, uuid)
            try:
                descriptor = file_lock.take(path)
            except OSError as exc:
                raise _unusable(path, exc) from exc
            if descriptor is None:
                busy.append(Busy(uuid, name, _holder(path)))
                continue
            held[path] = descriptor
            # A full file system keeps nobody from working on a guest: the lock is the kernel's, the note is for people.
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, note, 0)
    except BaseException:
        file_lock.let_go(held)
        raise
    return held, busy


def _holder(path: Path) -> Optional[GuestHolder]:
    """Return who says to have a lock, None for a note that is not there (yet) or none of ours."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            note = json.loads(stream.read(_LONGEST_NOTE))
        return GuestHolder(str(note["purpose"]), str(note["identity"]), int(note["pid"]), str(note["since"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _checked(uuid: str) -> str:
    """Return a guest's uuid as a file's name may hold it; raises :class:`InputError`."""
    try:
        return str(uuids.UUID(uuid))
    except (ValueError, AttributeError, TypeError) as exc:
        raise InputError(f"{uuid!r} is no uuid of a guest; nothing was touched") from exc


def _path(directory: Path, uuid: str) -> Path:
    return directory / f"{uuid}.lock"


def _unusable(path: Path, exc: OSError) -> KvmsnapError:
    return KvmsnapError(f"Failed to lock a guest: {path}: {exc.strerror}", path=str(path))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
