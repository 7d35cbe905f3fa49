# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private files that survive a crash whole: written beside, synced, renamed; never readable by others."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


def private_directory(path: Path) -> Path:
    """Create ``path`` (and what is missing above it) with mode 0700 and return it; raises :class:`OSError`.

    A file that is synced in a directory whose own name is lost with the power would be lost, too: each that is made is
    synced where it was made.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        each.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        sync_directory(each.parent)
    return missing[0] if missing else path


def sync_directory(path: Path) -> None:
    """Let the names in a directory outlast a loss of power; raises :class:`OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Replace ``path`` by a file of mode 0600 that holds ``data``; after a crash the old or the new one is there.

    Raises :class:`OSError`; then the old file is untouched and no temporary one is left.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        write_private_at(directory, path.name, data)
    finally:
        os.close(directory)


def write_private_at(directory: int, name: str, data: bytes) -> None:
    """Do what :func:`write_private` does for ``name`` inside an open directory, following no link."""
    temporary = f".{name}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


@contextmanager
def created_private_at(directory: int, name: str) -> Iterator[int]:
    """Yield the uid that owns a file we create in an open directory; it is gone afterwards. Raises :class:`OSError`."""
    temporary = f".{name}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE, dir_fd=directory)
    try:
        yield os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        os.unlink(temporary, dir_fd=directory)


def is_locked(path: Path) -> bool:
    """Say whether a process has a file locked (flock) now; raises :class:`OSError`, but not for one that is absent."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
