# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hold has done to which guest, on disk before it is done, so that any later process can undo exactly that.

One JSON file per hold, mode 0600 in a directory of mode 0700, replaced as a whole and synced. Times are seconds on this
boot's monotonic clock; the record of another boot is void, since no guest of then is running now.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import is_locked, private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import Process, own_process
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

Phase = Literal["planned", "holding", "held", "released"]
Stage = Literal["holding", "releasing"]

SCHEMA = "kvmsnap.hold/1"
HOLD_DIR = "/run/kvmsnap/holds"
LOCK_TIMEOUT = 60.0
"""Seconds to wait for the lock of a hold: longer than a hold and its release last, so whoever has it is stuck."""

_HOLD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_INTERNAL = ("phase", "domain_id", "qemu_pid", "qemu_started", "order", "vss", "mountpoints")
_PAUSE = 0.1
"""Seconds between two tries to get a lock: short beside a hold, and a try is one call of the kernel."""


class HoldRecordError(KvmsnapError):
    """A record that cannot be read, written or locked."""


@dataclass(frozen=True)
class Row:
    """One guest of a hold.

    ``locked``: another process works on it, so that it has no part in the hold. ``method`` is agent, suspend,
    agent+suspend or none. ``phase``: ``planned`` nothing was done to it, ``holding`` its freeze or suspend was sent and
    not answered, ``held``, ``released``. ``held`` in a result says that it was held for as long as the hold lasted;
    ``fired`` that the dead-man timer ended it. ``domain_id`` and the QEMU process (``qemu_pid`` and its start in clock
    ticks since boot, None when it was not found) name the run of the guest that was held: after a restart it has
    others.

    ``mountpoints`` is what alone is frozen of it, ``expected`` how many file systems should be. Guests of a lower
    ``order`` are held first. ``limit`` (seconds) bounds its own hold from the freeze's answer on; with ``vss`` the
    guest thaws itself soon after.
    """

    name: str
    uuid: str
    requested_method: str
    method: str = "none"
    phase: Phase = "planned"
    held: bool = False
    fired: bool = False
    domain_id: Optional[int] = None
    qemu_pid: Optional[int] = None
    qemu_started: Optional[int] = None
    state_before: str = "unknown"
    consistency: str = "unknown"
    reason: str = ""
    filesystems: Optional[int] = None
    expected: Optional[int] = None
    mountpoints: tuple[str, ...] = ()
    order: int = 0
    vss: bool = False
    limit: Optional[float] = None
    freeze_sent: Optional[float] = None
    freeze_answered: Optional[float] = None
    thaw_sent: Optional[float] = None
    thaw_answered: Optional[float] = None
    held_seconds: Optional[float] = None
    wall_frozen: Optional[str] = None
    wall_thawed: Optional[str] = None
    error: Optional[str] = None
    locked: bool = False

    @property
    def outstanding(self) -> bool:
        """Whether something was, or may have been, done to the guest that has not been undone."""
        return self.phase in ("holding", "held")

    @property
    def claimed(self) -> bool:
        """Whether the guest is to be held and nothing was done to it yet."""
        return self.phase == "planned" and self.method != "none"

    @property
    def by_agent(self) -> bool:
        """Whether the agent has a part in its hold."""
        return self.method in ("agent", "agent+suspend")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a module's result."""
        return {key: value for key, value in asdict(self).items() if key not in _INTERNAL}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Row:
        """Read a guest of a record; raises :class:`TypeError` or :class:`KeyError` for what is none."""
        # Records of earlier versions know no locked guests, and have the method that was requested as "asked".
        known = {"locked": False, **record}
        if "asked" in known:
            known.setdefault("requested_method", known["asked"])
        values = {each.name: known[each.name] for each in fields(cls)}
        return cls(**{**values, "mountpoints": tuple(values["mountpoints"])})


def checked_hold_id(hold_id: str) -> str:
    """Return a hold id that may become a file's name; raises :class:`InputError`."""
    if not _HOLD_ID.fullmatch(hold_id):
        raise InputError(
            f"The hold id {hold_id!r} cannot be used: it must begin with a letter or digit and hold letters, digits and"
            " . _ + - only, at most 200"
        )
    return hold_id


class HoldRecord:
    """The record of one hold. Its methods may be called from several threads."""

    def __init__(self, directory: Path, hold_id: str, boot: str) -> None:
        self.hold_id = checked_hold_id(hold_id)
        self.path = directory / f"{hold_id}.json"
        self._boot = boot
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._changed = 0
        self._written = 0
        self.ends_at: Optional[float] = None
        """When the hold is over at the latest, None when that is not known."""

    @property
    def rows(self) -> list[Row]:
        """The guests of the hold, in the order in which they were put."""
        with self._lock:
            return list(self._rows.values())

    def row(self, uuid: str) -> Optional[Row]:
        """Return one guest of the hold."""
        with self._lock:
            return self._rows.get(uuid)

    def read(self) -> bool:
        """Read the file and say whether there is one of this boot; raises :class:`HoldRecordError`."""
        with self._lock:
            self._rows = {row.uuid: row for row in _read(self.path, self._boot)}
            self.ends_at = _end_of(self.path) if self._rows else None
            return bool(self._rows)

    def note(self, *rows: Row) -> None:
        """Set guests without writing the file; the next :meth:`put` does."""
        with self._lock:
            self._rows.update({row.uuid: row for row in rows})

    def put(self, *rows: Row) -> None:
        """Set guests and write the file; raises :class:`HoldRecordError`, then nothing may be done to a guest.

        What several threads put while one of them writes is written together.
        """
        with self._lock:
            self._rows.update({row.uuid: row for row in rows})
            self._changed += 1
            mine = self._changed
        with self._writing:
            if self._written >= mine:
                return
            with self._lock:
                latest, kept = self._changed, list(self._rows.values())
            self._write(kept)
            self._written = latest

    def remove(self) -> None:
        """Forget the hold."""
        with self._lock:
            self._rows = {}
            try:
                self.path.unlink()
            except FileNotFoundError:
                return
            except OSError as exc:
                raise HoldRecordError(f"Failed to remove the hold record {self.path}: {exc.strerror}") from exc

    def _write(self, rows: Sequence[Row]) -> None:
        head = {"schema": SCHEMA, "hold_id": self.hold_id, "boot_id": self._boot, "ends_at": self.ends_at}
        record = {**head, "guests": [vars(row) for row in rows]}
        try:
            private_directory(self.path.parent)
            write_private(self.path, json.dumps(record).encode("utf-8"))
        except OSError as exc:
            raise HoldRecordError(f"Failed to write the hold record {self.path}: {exc.strerror}") from exc


def other_holds(directory: Path, hold_id: str, boot: str) -> dict[str, tuple[str, Row]]:
    """Return the guests that other holds have not released or are about to hold, by uuid, with the hold's id.

    What a process that died was about to hold, nobody holds.
    """
    found: dict[str, tuple[str, Row]] = {}
    for path in sorted(directory.glob("*.json")) if directory.is_dir() else []:
        if path.stem != hold_id:
            rows = _read(path, boot)
            alive = any(row.claimed for row in rows) and lock_holder(directory, path.stem) is not None
            found.update({row.uuid: (path.stem, row) for row in rows if row.outstanding or (alive and row.claimed)})
    return found


def guests_in_holds(directory: Path, boot: str, *, now: float) -> dict[str, str]:
    """Return the guests (uuid) that a hold of this host has, or may have, with the hold's id.

    Between the processes of a hold in tasks this is what keeps everybody else away, from a guest that is off too: its
    snapshot is yet to be taken. A hold that is over has only those that it did not let go. Raises
    :class:`HoldRecordError`.
    """
    found: dict[str, str] = {}
    for path in sorted(directory.glob("*.json")) if directory.is_dir() else []:
        rows = _read(path, boot)
        end = _end_of(path)
        over = end is None or now >= end
        yet_to_come = [row for row in rows if row.phase == "planned" and not row.locked and not over]
        found.update({row.uuid: path.stem for row in (*yet_to_come, *(row for row in rows if row.outstanding))})
    return found


@contextmanager
def claiming(directory: Path, *, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Let no other hold of this host be written down, from the look at the other ones to the end of the own record.

    Raises :class:`HoldRecordError` when that cannot be had.
    """
    deadline = Deadline.after(timeout)
    try:
        descriptor = os.open(private_directory(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise HoldRecordError(f"Failed to lock the hold records in {directory}: {exc.strerror}") from exc
    try:
        while not _flocked(descriptor):
            if deadline.remaining() <= 0:
                message = f"Failed to lock the hold records in {directory}: another process has them"
                raise HoldRecordError(f"{message} for more than {timeout:g} s")
            deadline.clock.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class LockHolder:
    """Who has the lock of a hold: its process, None when it has not said so yet, and what it is about to do.

    ``seconds`` is how long it says that it may let go of the guests, 0 when it says nothing.
    """

    process: Optional[Process]
    stage: Stage
    seconds: float = 0.0


@contextmanager
def locked(
    directory: Path, hold_id: str, *, stage: Stage = "holding", timeout: float = LOCK_TIMEOUT, seconds: float = 0.0
) -> Iterator[None]:
    """Keep every other process away from a hold; raises :class:`HoldRecordError` when one keeps it for too long.

    The dead-man timer needs this lock to act. Whoever keeps it past the timer's end is ended by force, unless it has
    said by :func:`releasing` that it lets go of the guests; so it is no lock to have while waiting for something else.
    ``seconds`` is how long that may last in the stage of releasing.
    Where it cannot be written down who has it, as on a full file system, it is a lock all the same.
    """
    path = directory / f"{checked_hold_id(hold_id)}.lock"
    deadline = Deadline.after(timeout)
    try:
        _own(private_directory(directory))
        descriptor = _lock(path, deadline)
        if descriptor is not None:
            with suppress(OSError):
                _write_holder(path, stage, seconds)
    except OSError as exc:
        raise HoldRecordError(f"Failed to lock the hold {hold_id}: {path}: {exc.strerror}") from exc
    if descriptor is None:
        raise HoldRecordError(f"Failed to lock the hold {hold_id}: another process has it for more than {timeout:g} s")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def releasing(record: Path, *, seconds: float) -> None:
    """Say that this process, if it has the lock of the hold with this record, lets go of the guests from now on.

    ``seconds`` is how long that may last.
    """
    path = record.with_suffix(".lock")
    holder = _read_holder(path)
    if holder.process == own_process() and holder.stage != "releasing":
        with suppress(OSError):
            _write_holder(path, "releasing", seconds)


def lock_holder(directory: Path, hold_id: str) -> Optional[LockHolder]:
    """Return who has the lock of a hold now, None when nobody has; raises :class:`HoldRecordError`."""
    path = directory / f"{checked_hold_id(hold_id)}.lock"
    try:
        return _read_holder(path) if is_locked(path) else None
    except OSError as exc:
        raise HoldRecordError(f"Failed to look at the lock of the hold {hold_id}: {path}: {exc.strerror}") from exc


def _write_holder(path: Path, stage: Stage, seconds: float) -> None:
    process = own_process()
    record = {"pid": process.pid, "started": process.started, "stage": stage, "seconds": seconds}
    path.write_text(json.dumps(record), encoding="ascii")


def _read_holder(path: Path) -> LockHolder:
    try:
        record = json.loads(path.read_bytes())
        stage: Stage = "releasing" if record["stage"] == "releasing" else "holding"
        return LockHolder(Process.from_record(record), stage, float(record.get("seconds", 0.0)))
    except (OSError, ValueError, KeyError, TypeError):
        return LockHolder(None, "holding")


def _own(directory: Path) -> None:
    """Refuse a directory in which others could plant a record; raises :class:`OSError` too."""
    found = directory.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise HoldRecordError(f"Failed to use {directory} for hold records: others can write there")


def _lock(path: Path, deadline: Deadline) -> Optional[int]:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if _flocked(descriptor) and _is_still(descriptor, path):
            return descriptor
        os.close(descriptor)
        if deadline.remaining() <= 0:
            return None
        deadline.clock.sleep(_PAUSE)


def _flocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    """Say whether the locked file is the one under its name (who had it before removed it)."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _end_of(path: Path) -> Optional[float]:
    try:
        end = json.loads(path.read_bytes())["ends_at"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(end) if isinstance(end, (int, float)) else None


def _read(path: Path, boot: str) -> list[Row]:
    return read_rows(path, boot) or []


def read_rows(path: Path, boot: str) -> Optional[list[Row]]:
    """Return the guests of a record, None for a record of another boot; raises :class:`HoldRecordError`."""
    try:
        record = json.loads(path.read_bytes())
        if record["schema"] != SCHEMA:
            raise ValueError(f"its schema is {record['schema']!r}")
        return [Row.from_record(row) for row in record["guests"]] if record["boot_id"] == boot else None
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise HoldRecordError(f"Failed to read the hold record {path}: {why_unreadable(exc)}") from exc
