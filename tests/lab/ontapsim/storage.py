# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the storage is made of, and reading it: volumes, directory entries, and paths that stay inside."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from . import tree


class Reason(enum.Enum):
    """Why the engine refused."""

    NOT_FOUND = "not found"
    EXISTS = "exists"
    ESCAPE = "path leaves the volume"
    READ_ONLY = "read-only"
    NOT_A_FILE = "not a regular file"
    NOT_EMPTY = "directory not empty"
    NO_SPACE = "no space"
    INVALID = "invalid"
    FENCE = "fence"


class StorageError(Exception):
    """The engine refused; nothing has changed."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class VolumeRef:
    """Names a volume's directory."""

    svm: str
    name: str


@dataclass(frozen=True)
class FileStat:
    """What is known of one directory entry; sizes in bytes, times in seconds since the epoch."""

    name: str
    kind: str
    size: int
    used: int
    inode: int
    owner: int
    group: int
    mode: int
    links: int
    accessed: float
    modified: float
    changed: float
    target: str | None


@dataclass(frozen=True)
class Change:
    """One byte-changing operation, as the journal records it."""

    op: str
    svm: str
    volume: str
    path: str | None = None
    snapshot: str | None = None
    detail: Mapping[str, Any] | None = None


_FLOCK = "hhqqi4x"
"""``struct flock`` of 64-bit Linux: type, whence, start, length, process."""

Observer = Callable[[Change, Mapping[str, str]], None]
Cause = dict[str, str]


class Reader:
    """The places of volumes, and everything that reads them; paths never leave their volume."""

    def __init__(self, state_dir: str) -> None:
        self.root = Path(state_dir)

    def volume_root(self, volume: VolumeRef) -> str:
        """Return the directory of a volume."""
        return str(self.root / "vols" / volume.svm / volume.name)

    def locate(self, volume: VolumeRef, path: str, snapshot: str | None = None) -> tuple[str, list[str]]:
        root = self.volume_root(volume)
        if snapshot is not None:
            root = os.path.join(root, tree.SNAPSHOT_DIR, snapshot)
        try:
            return root, tree.split_path(path)
        except tree.PathEscapeError as exc:
            raise StorageError(Reason.ESCAPE, f"{path} leaves the volume") from exc

    @contextlib.contextmanager
    def entry(self, volume: VolumeRef, path: str, snapshot: str | None = None) -> Iterator[tuple[int, str]]:
        root, names = self.locate(volume, path, snapshot)
        try:
            with tree.open_parent(root, names) as parent:
                yield parent, (names[-1] if names else ".")
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise StorageError(Reason.NOT_FOUND, f"{path}: no such file or directory") from exc

    @contextlib.contextmanager
    def regular_file(self, volume: VolumeRef, path: str, snapshot: str | None) -> Iterator[int]:
        with self.entry(volume, path, snapshot) as (parent, name):
            if not stat.S_ISREG(lstat(parent, name, path).st_mode):
                raise StorageError(Reason.NOT_A_FILE, f"{path}: not a regular file")
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent)
            try:
                yield fd
            finally:
                os.close(fd)

    def stat(self, volume: VolumeRef, path: str, snapshot: str | None = None) -> FileStat:
        """Describe one file or directory; symbolic links are described, not followed."""
        with self.entry(volume, path, snapshot) as (parent, name):
            return _describe(parent, name, path)

    def has_file(self, volume: VolumeRef, path: str) -> bool:
        """Say whether there is anything at a path."""
        try:
            self.stat(volume, path)
            return True
        except StorageError:
            return False

    def path_of(self, volume: VolumeRef, inode: int) -> str | None:
        """Return the path of a live file by its inode, None when it has no name any more."""
        root = self.volume_root(volume)
        for directory, folders, names in os.walk(root):
            if directory == root:
                folders[:] = [name for name in folders if name != tree.SNAPSHOT_DIR]
            for name in names:
                path = os.path.join(directory, name)
                if os.lstat(path).st_ino == inode:
                    return os.path.relpath(path, root)
        return None

    def is_locked(self, volume: VolumeRef, path: str) -> bool:
        """Say whether anybody holds a lock on any byte of a file, a client's by NFS or a process's of this host."""
        try:
            with self.regular_file(volume, path, None) as fd:
                asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                found: int = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0]
                return found != fcntl.F_UNLCK
        except StorageError:
            return False

    def entries(self, volume: VolumeRef, path: str, snapshot: str | None = None) -> list[FileStat]:
        """Describe the entries of a directory with `.` and `..` first."""
        with self.entry(volume, path, snapshot) as (parent, name):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            except NotADirectoryError as exc:
                raise StorageError(Reason.INVALID, f"{path}: not a directory") from exc
            try:
                return [_describe(fd, entry, path) for entry in [".", "..", *sorted(os.listdir(fd))]]
            finally:
                os.close(fd)

    def read(self, volume: VolumeRef, path: str, *, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes of a file from ``offset``."""
        with self.regular_file(volume, path, None) as fd:
            return os.pread(fd, length, offset)

    def sha256(self, volume: VolumeRef, path: str, snapshot: str | None = None) -> str:
        """Return the SHA-256 of a file's bytes as they are on the storage."""
        digest = hashlib.sha256()
        with self.regular_file(volume, path, snapshot) as fd:
            while True:
                block = os.read(fd, 1 << 20)
                if not block:
                    return digest.hexdigest()
                digest.update(block)


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFBLK: "blockdev",
    stat.S_IFCHR: "chardev",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        return True
    except FileNotFoundError:
        return False


def lstat(parent: int, name: str, path: str) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError as exc:
        raise StorageError(Reason.NOT_FOUND, f"{path}: no such file or directory") from exc


def _describe(parent: int, name: str, path: str) -> FileStat:
    info = lstat(parent, name, path)
    kind = _KINDS.get(stat.S_IFMT(info.st_mode), "file")
    return FileStat(
        name=name,
        kind=kind,
        size=info.st_size,
        used=info.st_blocks * 512,
        inode=info.st_ino,
        owner=info.st_uid,
        group=info.st_gid,
        mode=stat.S_IMODE(info.st_mode),
        links=info.st_nlink,
        accessed=info.st_atime,
        modified=info.st_mtime,
        changed=info.st_ctime,
        target=os.readlink(name, dir_fd=parent) if kind == "symlink" else None,
    )
