# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ioctls behind snapshots and clones: block sharing between files, and the immutable flag."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

_FICLONE = 0x40049409
_FICLONERANGE = 0x4020940D
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_IMMUTABLE_FL = 0x10
_SYNC_FILE_RANGE_ALL = 7
_CHUNK = 1 << 20
_BLOCK = 4096

_libc = ctypes.CDLL(None, use_errno=True)


def supports_reflink(directory: str) -> bool:
    """Say whether two files below ``directory`` can share blocks."""
    source, target = os.path.join(directory, ".probe-a"), os.path.join(directory, ".probe-b")
    try:
        with open(source, "w+b") as one, open(target, "w+b") as two:
            one.write(b"x" * 4096)
            one.flush()
            fcntl.ioctl(two.fileno(), _FICLONE, one.fileno())
        return True
    except OSError:
        return False
    finally:
        for path in (source, target):
            if os.path.exists(path):
                os.unlink(path)


def supports_immutable(directory: str) -> bool:
    """Say whether this process may set the immutable flag below ``directory``."""
    path = os.path.join(directory, ".probe-i")
    with open(path, "wb"):
        pass
    try:
        set_immutable(path, True)
        set_immutable(path, False)
        return True
    except OSError:
        return False
    finally:
        os.unlink(path)


def set_immutable(path: str, on: bool) -> None:
    """Set or clear the immutable flag of a regular file or directory (never follows a symbolic link)."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        flags = struct.unpack("I", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, b"\0" * 4))[0]
        wanted = flags | _FS_IMMUTABLE_FL if on else flags & ~_FS_IMMUTABLE_FL
        if wanted != flags:
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("I", wanted))
    finally:
        os.close(fd)


def write_back(path: str) -> None:
    """Write out what is dirty of one file, so that sharing its blocks need not wait for it under a fence."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_ALL)
    finally:
        os.close(fd)


def copy_whole(source: int, target: int, *, reflink: bool) -> None:
    """Give ``target`` the content and size of ``source`` (open descriptors), keeping its inode and its holes."""
    size = os.fstat(source).st_size
    if reflink:
        if os.fstat(target).st_size > size:
            os.ftruncate(target, size)  # the kernel refuses a last partial block in the middle of the target
        fcntl.ioctl(target, _FICLONE, source)
        return
    os.ftruncate(target, 0)
    os.ftruncate(target, size)
    for start, end in _data_segments(source, size):
        _copy_bytes(source, target, start=start, target_start=start, length=end - start)


def copy_range(source: int, target: int, *, start: int, target_start: int, length: int, reflink: bool) -> None:
    """Give ``length`` bytes of ``target`` the content of ``source``, as far as that goes.

    Offsets and length are in bytes and block aligned; a last partial block of the source is copied.
    """
    length = min(length, max(0, os.fstat(source).st_size - start))
    shared = length - length % _BLOCK if reflink else 0
    if shared:
        fcntl.ioctl(target, _FICLONERANGE, struct.pack("qQQQ", source, start, shared, target_start))
    _copy_bytes(source, target, start=start + shared, target_start=target_start + shared, length=length - shared)


def _data_segments(fd: int, size: int) -> list[tuple[int, int]]:
    segments: list[tuple[int, int]] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                break
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        segments.append((start, end))
        position = end
    return segments


def _copy_bytes(source: int, target: int, *, start: int, target_start: int, length: int) -> None:
    done = 0
    while done < length:
        block = os.pread(source, min(_CHUNK, length - done), start + done)
        if not block:
            break
        os.pwrite(target, block, target_start + done)
        done += len(block)
