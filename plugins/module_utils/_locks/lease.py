# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease on a backup: whoever reads it keeps it from being deleted. Many may read, one alone may delete.

A lease is a record in the catalog of the host that owns the backup, under the name of its snapshots. It is written
before the reader begins, renewed while it reads, and ends by itself: at its time, or with its process. A safety
snapshot, which an undo reads, has leases under its own name.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import Process, boot_id, own_process
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import file_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

SECONDS = 900.0
"""How long a lease lasts without being renewed; its reader renews it three times in that time."""

DIRECTORY = "leases"
_WAIT = 30.0
_PAUSE = 0.1
_LONGEST = 65536


class LeasedError(KvmsnapError):
    """A backup that somebody reads, so that it may not be deleted; or one that is being deleted."""


@dataclass(frozen=True)
class Lease:
    """Who reads a backup, for what, and until when at most (seconds since the epoch).

    ``boot``, ``pid`` and ``started`` name the reader's process on ``host``, and ``until`` is its end in seconds since
    that boot, which nobody sets; a lease without a process (``pid`` 0), as a playbook writes it for a reader on another
    host, lasts until its time is over.
    """

    lease_id: str
    name: str
    purpose: str
    identity: str
    host: str
    since: str
    ends: float
    boot: str = ""
    pid: int = 0
    started: int = 0
    until: float = 0.0

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.ends, timezone.utc).isoformat(timespec="seconds")
        return f"{self.purpose} {self.identity} on {self.host} (since {self.since}, until {until} at most)"

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Lease:
        """Read a record; raises :class:`KeyError`, :class:`ValueError` or :class:`TypeError` for what is none."""
        texts = {key: str(record[key]) for key in ("lease_id", "name", "purpose", "identity", "host", "since", "boot")}
        return cls(
            **texts,
            ends=float(record["ends"]),
            pid=int(record["pid"]),
            started=int(record["started"]),
            until=float(record.get("until") or 0.0),
        )


def stands(lease: Lease, *, now: float, host: str, boot: str, since_boot: float) -> bool:
    """Say whether a lease holds still: its time is not over, and its process, where that can be asked, lives.

    The time of a process of this boot is that since the boot: somebody may set the clock meanwhile.
    """
    here = lease.until and lease.host == host and lease.boot == boot
    if since_boot >= lease.until if here else now >= lease.ends:
        return False
    if lease.pid == 0 or lease.host != host:
        return True
    return lease.boot == boot and Process(lease.pid, lease.started).running


@contextmanager
def leased(root: Path, name: str, *, purpose: str, identity: str, seconds: float = SECONDS) -> Iterator[Lease]:
    """Keep a backup (by the name of its snapshots) from being deleted, for as long as the block lasts.

    ``root`` is the catalog of the host that owns it, which is this one. Raises :class:`LeasedError` when it is being
    deleted, and :class:`KvmsnapError` when the record cannot be written.
    """
    process = own_process()
    mine = Lease(
        lease_id=secrets.token_hex(8),
        name=checked_id(name, what="name"),
        purpose=purpose,
        identity=identity,
        host=os.uname().nodename,
        since=_now(),
        ends=time.time() + seconds,
        boot=boot_id(),
        pid=process.pid,
        started=process.started,
        until=_since_boot() + seconds,
    )
    grant(root, mine)
    over = threading.Event()
    renewal = threading.Thread(target=_renew, args=(root, mine, seconds, over), daemon=True)
    renewal.start()
    try:
        yield mine
    finally:
        over.set()
        renewal.join()
        end(root, mine.name, mine.lease_id)


def grant(root: Path, lease: Lease) -> None:
    """Write a lease down; raises as :func:`leased` does."""
    with _alone(root, lease.name, f"read backup {lease.name}: it is being deleted"):
        _write(root, lease)


def is_written(root: Path, name: str, lease_id: str) -> bool:
    """Say whether a lease is written down, over or not."""
    return _path(root, name, lease_id).exists()


def end(root: Path, name: str, lease_id: str) -> bool:
    """Forget a lease, and say whether there was one; raises :class:`KvmsnapError`."""
    path = _path(root, name, lease_id)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise KvmsnapError(f"Failed to end a lease: {path}: {exc.strerror}", path=str(path)) from exc
    with suppress(OSError):
        path.parent.rmdir()
    return True


def standing(root: Path, name: str) -> list[Lease]:
    """Return the leases that hold now; one that cannot be read holds until somebody looks at it.

    Raises :class:`KvmsnapError`.
    """
    now, host, boot, since_boot = time.time(), os.uname().nodename, boot_id(), _since_boot()
    return [lease for lease in _all(root, name) if stands(lease, now=now, host=host, boot=boot, since_boot=since_boot)]


def outlived(root: Path) -> list[Lease]:
    """Return the leases that are over and still written down: of readers that died. Raises :class:`KvmsnapError`."""
    names = sorted(path.name for path in (root / DIRECTORY).glob("*") if path.is_dir())
    found = []
    for name in names:
        standing_ids = {each.lease_id for each in standing(root, name)}
        found += [each for each in _all(root, name) if each.lease_id not in standing_ids]
    return found


def left_locks(root: Path) -> list[Path]:
    """Return the files of locks on leases that nobody has: of killed processes. Raises :class:`KvmsnapError`."""
    try:
        return file_lock.left(root / DIRECTORY)
    except OSError as exc:
        raise KvmsnapError(f"Failed to look at the locks on leases in {root / DIRECTORY}: {exc.strerror}") from exc


def remove_left(path: Path) -> None:
    """Remove the file of a lock on leases, unless somebody has it by now; raises :class:`KvmsnapError`."""
    try:
        file_lock.remove_left(path)
    except OSError as exc:
        raise KvmsnapError(f"Failed to remove the lock {path}: {exc.strerror}", path=str(path)) from exc


@contextmanager
def deletable(root: Path, names: Sequence[str]) -> Iterator[None]:
    """Keep new readers away from backups that are being deleted; raises :class:`LeasedError` when one is read.

    What is left of leases that are over goes with them.
    """
    if not names:
        yield
        return
    first, rest = checked_id(names[0], what="name"), names[1:]
    with _alone(root, first, f"delete backup {first}: another process deletes it, or begins to read it"):
        found = standing(root, first)
        if found:
            raise LeasedError(
                f"Failed to delete backup {first}: it is read by {'; '.join(map(str, found))}. It stays as it is",
                backup_id=first,
                leases=[asdict(each) for each in found],
            )
        for lease in _all(root, first):
            end(root, first, lease.lease_id)
        with deletable(root, rest):
            yield


@contextmanager
def changing(root: Path, name: str) -> Iterator[None]:
    """Keep everybody from a backup while it is completed, or marked as one that is taken back: one comes first.

    Raises :class:`LeasedError` when another process keeps it for long.
    """
    with _alone(root, name, f"change backup {name}: another process completes it, deletes it, or begins to read it"):
        yield


@contextmanager
def _alone(root: Path, name: str, what: str) -> Iterator[None]:
    """Have the lock on the leases of one backup; raises :class:`LeasedError` when another keeps it."""
    path = root / DIRECTORY / f"{checked_id(name, what='name')}.lock"
    deadline = Deadline.after(_WAIT)
    held: dict[Path, int] = {}
    try:
        while True:
            descriptor = file_lock.take(path)
            if descriptor is not None:
                held[path] = descriptor
                break
            if deadline.remaining() <= 0:
                raise LeasedError(f"Failed to {what}", backup_id=name)
            deadline.clock.sleep(_PAUSE)
    except OSError as exc:
        raise KvmsnapError(f"Failed to lock the leases of backup {name}: {path}: {exc.strerror}") from exc
    try:
        yield
    finally:
        file_lock.let_go(held)


def _renew(root: Path, lease: Lease, seconds: float, over: threading.Event) -> None:
    """Write a lease anew while its reader reads; one that cannot be written runs on to its time and is tried again."""
    while not over.wait(seconds / 3):
        with suppress(KvmsnapError):
            _write(root, replace(lease, ends=time.time() + seconds, until=_since_boot() + seconds))


def _write(root: Path, lease: Lease) -> None:
    path = _path(root, lease.name, lease.lease_id)
    try:
        private_directory(path.parent)
        write_private(path, json.dumps(asdict(lease)).encode("utf-8"))
    except OSError as exc:
        raise KvmsnapError(f"Failed to write a lease: {path}: {exc.strerror}", path=str(path)) from exc


def _all(root: Path, name: str) -> list[Lease]:
    directory = root / DIRECTORY / checked_id(name, what="name")
    found = []
    for path in sorted(directory.glob("*.json")):
        try:
            with path.open("rb") as stream:
                found.append(
                    replace(Lease.from_record(json.loads(stream.read(_LONGEST))), lease_id=path.stem, name=name)
                )
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
            raise LeasedError(
                f"Failed to delete backup {name}: its lease {path} cannot be read ({why_unreadable(exc)}); look who"
                " reads it, then remove that file",
                backup_id=name,
                path=str(path),
            ) from exc
    return found


def _path(root: Path, name: str, lease_id: str) -> Path:
    return root / DIRECTORY / checked_id(name, what="name") / f"{checked_id(lease_id, what='lease')}.json"


def _since_boot() -> float:
    """Return the seconds since this host was started, those that it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
