# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a finished file in another one's place by its name alone.

The new file is made under a temporary name in the directory of its target, so that nothing that happens late to the
temporary name can touch the target. The rename itself runs in a child that can be left behind when the file system does
not answer; who waited then removes the temporary name, and name and file id decide what happened. The kernel ends the
child with its parent. Where it cannot at once (a call that waits for the file system) the child has the file open,
which the gate sees.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import secrets
import signal
import stat
import struct
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError

PREFIX = ".kvmsnap-tmp-"
ASIDE = ".kvmsnap-aside-"
SECONDS = 60.0
"""How long a file system has for one answer about a name."""

_NAME = re.compile(r"\.kvmsnap-(?:tmp|aside)-[0-9a-f]{16}(?:-[0-9a-zA-Z-]{1,40})?")
_LOCK = "hhqqi4x"
_POLL = 0.005
_FIRST_INHERITED = 3
_PR_SET_PDEATHSIG = 1
_C = ctypes.CDLL(None)


class RenameUnknownError(KvmsnapError):
    """Whether a rename took place, or still may, cannot be found out now."""


@dataclass(frozen=True)
class FileId:
    """Which file it is on its file system, and what would change when somebody writes to it."""

    device: int
    inode: int
    size: int
    changed_ns: int

    def same_file(self, other: Optional[FileId]) -> bool:
        """Tell whether both are one file."""
        return other is not None and (self.device, self.inode) == (other.device, other.inode)


def temporary_name(snapshot_uuid: str) -> str:
    """Return a new name for a file out of a snapshot: ours, never used before, of at most 70 bytes."""
    tail = re.sub(r"[^0-9a-zA-Z-]", "", snapshot_uuid)[:40]
    return f"{PREFIX}{secrets.token_hex(8)}" + (f"-{tail}" if tail else "")


def aside_name() -> str:
    """Return a new name for a file that is moved aside."""
    return f"{ASIDE}{secrets.token_hex(8)}"


def is_ours(name: str) -> bool:
    """Tell whether a file's name is one that :func:`temporary_name` or :func:`aside_name` gives; pure."""
    return _NAME.fullmatch(name) is not None


def file_id(path: str) -> Optional[FileId]:
    """Return which file is at a path, links not followed, None when there is none; raises :class:`OSError`."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return FileId(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def hindrance(path: str) -> Optional[str]:
    """Return why this host may not put another file in the place of ``path``, None when it may; changes nothing.

    A target that is not there may be made. Raises :class:`OSError` when it cannot be looked at.
    """
    directory = os.path.dirname(path)
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return f"{directory} is mounted read-only"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"root of this host may not write to {directory} (an export that squashes root)"
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a symbolic link"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no regular file"
    if found.st_dev != os.stat(directory).st_dev:
        return f"{path} is a mount point"
    if found.st_nlink > 1:
        return f"{path} has {found.st_nlink} links: the others would keep the old content"
    return None


def carried_out(
    old: str,
    new: str,
    wanted: FileId,
    act: Callable[[], None],
    *,
    keep: Collection[int],
    expendable: bool,
    seconds: float = SECONDS,
) -> None:
    """Carry out a rename of the file ``wanted`` from ``old`` to ``new`` in a child that can be left behind.

    ``act`` renames; ``keep`` are the descriptors that the child goes on holding: that of the directory, and one of the
    file, by which it is seen where it outlives its parent. ``expendable``: the file may be given up under its old name,
    which makes a rename that was not answered impossible.

    :raises OSError: it was refused, and nothing changed. :raises RenameUnknownError: see there.
    """
    error = _in_child(act, seconds, keep=keep)
    if error:
        raise OSError(error, os.strerror(error), new)
    if error is None and not settle_rename(old, new, wanted, expendable=expendable, seconds=seconds):
        raise OSError(110, "the file system did not answer, and the name is as it was", new)


def settle_rename(old: str, new: str, wanted: FileId, *, expendable: bool, seconds: float = SECONDS) -> bool:
    """Make sure that a rename that was not answered cannot happen any more, and tell whether it did.

    An ``expendable`` file is removed for that; any other keeps its name, and may be renamed later.

    :raises RenameUnknownError: that is so, or the file system still does not answer.
    """

    def decide() -> bool:
        if wanted.same_file(file_id(new)):
            return True
        if not expendable:
            raise RenameUnknownError(f"Whether {old} is yet renamed to {new} is unknown: the rename was not answered")
        with suppress(FileNotFoundError):
            os.unlink(old)
        if file_id(old) is not None:
            raise RenameUnknownError(f"Failed to remove {old} after a rename that was not answered: it is still there")
        return wanted.same_file(file_id(new))

    try:
        return bounded(decide, seconds=seconds, what=f"find out whether {old} was renamed to {new}")
    except (OverdueError, OSError) as exc:
        reason = exc.message if isinstance(exc, OverdueError) else f"{exc.strerror}"
        raise RenameUnknownError(f"Whether {old} was renamed to {new} is unknown: {reason}") from exc


def remove(path: str, *, seconds: float = SECONDS) -> None:
    """Remove a file and see that its name is gone; one that is not there is fine.

    :raises OSError: it is still there. :raises OverdueError: the file system did not answer.
    """

    def gone() -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)
        if os.path.lexists(path):
            raise OSError(17, "it is still there after its removal", path)

    bounded(gone, seconds=seconds, what=f"remove {path}")


def locked(path: str, *, seconds: float = SECONDS) -> int:
    """Take a write lock over a whole file and return the descriptor that holds it.

    It is an open file description lock: it belongs to this descriptor, stays with the file when that is renamed, and
    keeps every QEMU away whose mount takes locks to the same server.

    :raises OSError: somebody else has a lock on it, or there are no locks. :raises OverdueError:
    """

    def take() -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    return bounded(take, seconds=seconds, what=f"lock {path}")


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Have a file open for nothing but to be seen to have it (``O_PATH``: no lock, no lease, no content)."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _in_child(act: Callable[[], None], seconds: float, *, keep: Collection[int]) -> Optional[int]:
    """Do it in a child that has only the descriptors ``keep``; return its ``errno``, 0 for none, None without answer.

    A child that the kernel keeps waiting for the file system gets a signal to end and is left behind. It gets the same
    signal from the kernel when its parent dies.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        code = 255
        try:
            _die_with(parent)
            _close_others(keep)
            act()
            code = 0
        except OSError as exc:
            code = exc.errno or 255
        finally:
            os._exit(code)
    give_up = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None
        if time.monotonic() >= give_up:
            os.kill(child, signal.SIGKILL)
            return None
        time.sleep(_POLL)


def _die_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, and end it now when that has happened already."""
    failed = _C.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if failed or os.getppid() != parent:
        os._exit(255)


def _close_others(keep: Collection[int]) -> None:
    """Close the descriptors that are open, by name: the limit may be lower than some of them, or a thousand million."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor >= _FIRST_INHERITED and descriptor not in keep:
            with suppress(OSError):
                os.close(descriptor)
