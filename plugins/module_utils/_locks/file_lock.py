# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel locks (flock) on files that are only there for them: gone with their process, and with no child of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import is_locked, private_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

LEAST = 0.3
"""Seconds for which everybody waits: another process that only looks at a lock has it for a moment."""

_PAUSE = 0.05

_held: set[int] = set()
"""The descriptors of this process's locks; a child that it forks closes them before it does anything else."""


def _close_in_child() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_in_child)


def take(path: Path) -> Optional[int]:
    """Try once to lock a file, which is made with its directory, and return its descriptor, None when it is locked.

    No link is followed, and a file that lost its name meanwhile is none. Raises :class:`OSError`.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            private_directory(path.parent)
            continue
        _held.add(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                return descriptor
        except BlockingIOError:
            _close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            _close(descriptor)
            raise
        _close(descriptor)


@contextmanager
def locked(path: Path, *, wait: float = 0.0, clock: Optional[Clock] = None) -> Iterator[Optional[int]]:
    """Lock a file that stays when it is unlocked, and yield its descriptor, None when another process keeps it locked.

    Whoever only looks at the lock is waited for, the others for at most ``wait`` seconds. Raises :class:`OSError`.
    """
    deadline = Deadline.after(max(wait, LEAST), clock)
    private_directory(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    _held.add(descriptor)
    try:
        yield descriptor if _had(descriptor, deadline) else None
    finally:
        _close(descriptor)


def _had(descriptor: int, deadline: Deadline) -> bool:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if deadline.remaining() <= 0:
            return False
        deadline.clock.sleep(min(_PAUSE, deadline.remaining()))


def let_go(held: dict[Path, int]) -> None:
    """Remove the files and unlock them; whoever has opened a removed one sees that, and opens a new one."""
    while held:
        path, descriptor = held.popitem()
        with suppress(OSError):
            path.unlink()
        _close(descriptor)


def left(directory: Path) -> list[Path]:
    """Return the files of locks that nobody has: a process that was killed could not remove them.

    Raises :class:`OSError`, which names the file.
    """
    return [path for path in sorted(directory.glob("*.lock")) if not is_locked(path) and path.exists()]


def remove_left(path: Path) -> None:
    """Remove the file of a lock that nobody has; one that somebody has by now stays. Raises :class:`OSError`."""
    descriptor = take(path)
    if descriptor is not None:
        let_go({path: descriptor})


def _close(descriptor: int) -> None:
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)
