# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what an image holds on the array, past the caches of this host.

After an overwrite on the array's side an NFS client may go on answering from pages it read before. Dropping the file's
pages, or reading directly, shows what is there; waiting does not.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

SAMPLE_BYTES = 1 << 18
SAMPLES = 24
_ALIGNMENT = 4096


def opened(path: str, flags: int) -> int:
    """Open an image, which is a file or a block device, and return the descriptor; raises :class:`OSError`.

    Whoever may write into a volume may have put something else at the path: no link is followed, in the place of a
    directory neither, and a FIFO, which would keep whoever opens it waiting, is refused.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        refuse_elsewhere(descriptor, path)
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise OSError(errno.EINVAL, "it is neither a file nor a block device", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def refuse_elsewhere(descriptor: int, path: str) -> None:
    """Raise :class:`OSError` when what was opened at an absolute path lies elsewhere: a directory on the way is a link.

    Disks are known by paths without links; whoever may write into a volume may have swapped a directory since.
    """
    there = os.readlink(f"/proc/self/fd/{descriptor}")
    if there != os.path.normpath(path):
        raise OSError(errno.ELOOP, f"a link on the way leads to {there}", path)


@contextmanager
def directory_of(path: str) -> Iterator[int]:
    """Open the directory of a file, below which its names are looked up; raises :class:`OSError`, also for a link."""
    directory = os.path.dirname(path)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        refuse_elsewhere(descriptor, directory)
        yield descriptor
    finally:
        os.close(descriptor)


def drop_cached(path: str) -> None:
    """Make this host forget what it cached of one file (``posix_fadvise``); raises :class:`OSError`."""
    descriptor = opened(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def file_state(path: str) -> tuple[Optional[int], Optional[int]]:
    """Return size (bytes) and time of the last change (ns since the epoch) of a file, None for each when not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None, None
    return found.st_size, found.st_mtime_ns


def sample_offsets(size: int, *, length: int = SAMPLE_BYTES, count: int = SAMPLES) -> list[int]:
    """Return where to look into a file of ``size`` bytes: all of a small one, else evenly spread with both its ends.

    Offsets are multiples of 4096 bytes, ascending; each stands for ``length`` bytes. Pure.
    """
    if size <= 0:
        return []
    if size <= length * count:
        return list(range(0, size, length))
    last = (size - length) // _ALIGNMENT * _ALIGNMENT
    return sorted(
        {round(last * index / (count - 1)) // _ALIGNMENT * _ALIGNMENT for index in range(count)} | {_tail(size)}
    )


def first_difference(one: str, other: str) -> Optional[int]:
    """Return the offset of the first sampled block in which two files differ, None when all are alike.

    Both are read directly. A difference in size is a difference at the shorter one's end. Raises :class:`OSError`.
    """
    with direct(one) as first, direct(other) as second:
        sizes = os.fstat(first).st_size, os.fstat(second).st_size
        if sizes[0] != sizes[1]:
            return min(sizes)
        for offset in sample_offsets(sizes[0]):
            if _read(first, offset) != _read(second, offset):
                return offset
    return None


def copy_over(source: str, target: str) -> None:
    """Overwrite ``target`` in place by what ``source`` holds, leaving zeroes as holes, and make it durable.

    Broken off, the target is partly written; the same call again brings it to its end. Raises :class:`OSError`.
    """
    with direct(source) as origin, open(opened(target, os.O_WRONLY), "wb", buffering=0) as stream:
        size = os.fstat(origin).st_size
        stream.truncate(0)
        stream.truncate(size)
        for offset in range(0, size, SAMPLE_BYTES):
            block = _read(origin, offset)
            if block.strip(b"\0"):
                os.pwrite(stream.fileno(), block, offset)
        os.fsync(stream.fileno())


def make_like(source: str, target: str) -> None:
    """Make an empty file with the owner and the mode of another; raises :class:`OSError`, also when it is there."""
    state = os.stat(source)
    with directory_of(target) as directory:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(os.path.basename(target), flags, 0o600, dir_fd=directory)
    try:
        os.fchown(descriptor, state.st_uid, state.st_gid)
        os.fchmod(descriptor, state.st_mode & 0o777)
    finally:
        os.close(descriptor)


def look_anew(path: str) -> None:
    """Let this host look for a file again: an NFS client that saw none at a path goes on believing so for a while.

    What it believes of a directory it gives up when it changes the directory itself and finds that somebody else has,
    too. Raises :class:`OSError`.
    """
    descriptor, name = tempfile.mkstemp(prefix=".kvmsnap-look-", dir=os.path.dirname(path))
    os.close(descriptor)
    os.unlink(name)


def is_there(path: str) -> bool:
    """Tell whether a file is there, also when this host still believes that it is not; raises :class:`OSError`."""
    if not os.path.lexists(path):
        look_anew(path)
    return os.path.lexists(path)


def _tail(size: int) -> int:
    return max(0, size - 1) // _ALIGNMENT * _ALIGNMENT


@contextmanager
def direct(path: str) -> Iterator[int]:
    """Open for direct reading; where the file system has no direct I/O (EINVAL), drop the pages and read plainly."""
    try:
        descriptor = opened(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        drop_cached(path)
        descriptor = opened(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, offset: int) -> bytes:
    with mmap.mmap(-1, SAMPLE_BYTES) as buffer:
        count = os.preadv(descriptor, [buffer], offset)
        return buffer[:count]
