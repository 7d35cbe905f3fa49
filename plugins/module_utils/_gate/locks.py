# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether somebody holds a lock on a file, here or, over NFS, on another host: ``fcntl(F_OFD_GETLK)``.

QEMU's locks are shared ones on single bytes (block/file-posix.c): a probe for a read lock meets none of them. One for
a write lock over the whole file meets them all, and any other program's. The bytes only word the message.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from dataclasses import dataclass
from functools import partial
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import FileTarget

LOOK = "locks on the file"
SECONDS = 20.0

# Linux has it since 3.15, and Python 3.9 names it where the C library does.
_OFD_GETLK: int = getattr(fcntl, "F_OFD_GETLK", 36)
# struct flock of a 64-bit Linux: type, whence, start, length, pid; the pid must be 0.
_FLOCK = struct.Struct("@hhqqi4x")
_FIRST, _WRITES, _BEYOND = 100, 101, 300
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEDY = "Stop what uses the file, on whichever host it runs."
_NO_LOCKS = "the mount takes no locks to the server, so that those of other hosts are not seen"


@dataclass(frozen=True)
class Range:
    """The lock that was met first: its first byte, and how many (0: to the end)."""

    start: int
    length: int

    @property
    def by_qemu(self) -> bool:
        """Whether QEMU and its tools lock such bytes."""
        return _FIRST <= self.start < _BEYOND


def lock_met(descriptor: int, *, start: int = 0, length: int = 0, kind: int = fcntl.F_WRLCK) -> Optional[Range]:
    """Return the lock that keeps this descriptor from having one on these bytes, None without one.

    ``length`` 0 means to the end. No lock is taken. Over NFS the server is asked, which may take its time. Raises
    :class:`OSError`.
    """
    asked = _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    met, _whence, first, count, _pid = _FLOCK.unpack(fcntl.fcntl(descriptor, _OFD_GETLK, asked))
    return None if met == fcntl.F_UNLCK else Range(first, count)


def lock_answer(target: FileTarget, *, seconds: float = SECONDS) -> Answer:
    """Say whether somebody holds a lock on a file. A lock that is met is proof of use, none is no proof of anything."""
    try:
        user = bounded(partial(_holder, target), seconds=seconds, what=f"ask for locks on {target.host_path}")
    except OverdueError as exc:
        return Answer(LOOK, impossible=exc.message)
    except OSError as exc:
        return Answer(LOOK, impossible=f"{target.host_path} cannot be asked about: {exc.strerror or exc}")
    if user is not None:
        return Answer(LOOK, (user,))
    return Answer(LOOK, impossible=_NO_LOCKS if target.locks is False else "")


def _holder(target: FileTarget) -> Optional[User]:
    """Open the file, which no FIFO and no lease can keep waiting, and ask; our own lock does not meet itself."""
    try:
        descriptor = os.open(target.host_path, _OPEN)
    except OSError as exc:
        if exc.errno != errno.EWOULDBLOCK:
            raise
        return User("a program", f"holds a lease on {target.host_path}", _REMEDY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        probe = descriptor
        if target.fence is not None and os.path.sameopenfile(target.fence, descriptor):
            probe = target.fence
        met = lock_met(probe)
        return None if met is None else _user(target, met, probe)
    finally:
        os.close(descriptor)


def _user(target: FileTarget, met: Range, descriptor: int) -> User:
    where = "here or on another host"
    if not met.by_qemu:
        return User("a program", f"holds a lock on {target.host_path} from byte {met.start}, {where}", _REMEDY)
    writes = lock_met(descriptor, start=_WRITES, length=1) is not None
    how = "has it open for writing" if writes else "has it open"
    return User("a QEMU or one of its tools", f"holds its lock on {target.host_path} and {how}, {where}", _REMEDY)
