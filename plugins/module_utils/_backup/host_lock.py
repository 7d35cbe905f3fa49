# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup of a host at a time: the next one waits, or fails and says which one is under way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import file_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

LOCK = "backup.lock"


class BusyError(KvmsnapError):
    """Another backup of this host is under way; ``backup_id`` is its name, where the lock has it."""


@contextmanager
def backup_lock(directory: Path, name: str, *, wait: float, clock: Optional[Clock] = None) -> Iterator[None]:
    """Keep other backups of this host out, after at most ``wait`` seconds; raises :class:`BusyError` when they pass.

    The lock is that of an open file in ``directory``, so a process that dies leaves none. Where the name cannot be
    written into it, as on a full file system, it is a lock all the same.
    """
    path = directory / LOCK
    with ExitStack() as locks:
        try:
            descriptor = locks.enter_context(file_lock.locked(path, wait=wait, clock=clock))
        except OSError as exc:
            raise KvmsnapError(f"Failed to lock this host for backup {name}: {path}: {exc.strerror}") from exc
        if descriptor is None:
            other = _other_backup(path)
            which = f"backup {other}" if other else "another backup"
            message = f"Failed to begin backup {name}: {which} of this host is under way; nothing was touched"
            raise BusyError(message, backup_id=other)
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"backup_id": name, "pid": os.getpid()}).encode("utf-8"), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)


def _other_backup(path: Path) -> Optional[str]:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["backup_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
