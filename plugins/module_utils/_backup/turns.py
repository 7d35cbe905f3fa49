# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup of a host at a time: the next one waits, or fails and says which one is under way."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

LOCK = "backup.lock"
_PAUSE = 0.2


class BusyError(KvmsnapError):
    """Another backup of this host is under way; ``backup_id`` is its name, when it told it."""


@contextmanager
def in_turn(directory: Path, name: str, *, wait: float, clock: Optional[Clock] = None) -> Iterator[None]:
    """Keep other backups of this host out, after at most ``wait`` seconds; raises :class:`BusyError` when they pass.

    The lock is that of an open file in ``directory``, so a process that dies leaves none. Where the name cannot be
    written into it, as on a full file system, it is a lock all the same.
    """
    path = directory / LOCK
    deadline = Deadline.after(wait, clock)
    try:
        private_directory(directory)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise KvmsnapError(f"Failed to lock this host for backup {name}: {path}: {exc.strerror}") from exc
    try:
        _wait_for(descriptor, path, name, deadline)
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"backup_id": name, "pid": os.getpid()}).encode("utf-8"), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path, name: str, deadline: Deadline) -> None:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if deadline.remaining() <= 0:
            other = _told(path)
            which = f"backup {other}" if other else "another backup"
            message = f"Failed to begin backup {name}: {which} of this host is under way; nothing was touched"
            raise BusyError(message, backup_id=other)
        deadline.clock.sleep(_PAUSE)


def _told(path: Path) -> Optional[str]:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["backup_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
