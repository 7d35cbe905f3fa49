# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole trees: cloning, sealing, reverting and removing them, and finding a path that stays inside one."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator

from .reflink import copy_whole, set_immutable, write_back

SNAPSHOT_DIR = ".snapshot"


class PathEscapeError(ValueError):
    """A path that would leave its volume."""


def split_path(path: str) -> list[str]:
    """Split a path relative to a volume into its names; ``..`` and NUL bytes raise ``PathEscapeError``."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in path:
        raise PathEscapeError(path)
    return names


@contextlib.contextmanager
def open_parent(root: str, names: list[str]) -> Iterator[int]:
    """Yield a descriptor of the directory that holds ``names[-1]``, reached without following any symbolic link."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names[:-1]:
            child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = child
        yield fd
    finally:
        os.close(fd)


def copy_attributes(source: str, target: str) -> None:
    """Give ``target`` the owner, mode, extended attributes and times of ``source``; links are not followed."""
    info = os.lstat(source)
    with contextlib.suppress(PermissionError):
        os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(target, stat.S_IMODE(info.st_mode))
        with contextlib.suppress(OSError):
            for name in os.listxattr(source):
                os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)


def clone_tree(source: str, target: str, *, reflink: bool) -> None:
    """Copy the tree ``source`` to the new directory ``target``, sharing blocks; its snapshots are left out."""
    _clone_directory(source, target, reflink=reflink, skip=SNAPSHOT_DIR, links={})


def _clone_directory(source: str, target: str, *, reflink: bool, skip: str, links: dict[int, str]) -> None:
    os.mkdir(target, 0o700)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name == skip:
                continue
            copy = os.path.join(target, entry.name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    _clone_directory(entry.path, copy, reflink=reflink, skip="", links=links)
                else:
                    _clone_file(entry, copy, reflink=reflink, links=links)
            except FileNotFoundError:
                if os.path.lexists(entry.path):
                    raise
                _forget(copy)
    copy_attributes(source, target)


def _clone_file(entry: os.DirEntry[str], copy: str, *, reflink: bool, links: dict[int, str]) -> None:
    info = entry.stat(follow_symlinks=False)
    if info.st_nlink > 1 and info.st_ino in links:
        os.link(links[info.st_ino], copy, follow_symlinks=False)
        return
    clone_entry(entry.path, copy, reflink=reflink)
    links[info.st_ino] = copy


def _forget(copy: str) -> None:
    """Take away what was copied of an entry that a client has removed meanwhile: an array's moment has no middle."""
    if os.path.isdir(copy) and not os.path.islink(copy):
        shutil.rmtree(copy)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(copy)


def clone_entry(source: str, target: str, *, reflink: bool) -> None:
    """Copy one file, symbolic link or special file to the new path ``target`` with its attributes."""
    info = os.lstat(source)
    if stat.S_ISREG(info.st_mode):
        with open(source, "rb") as reader, open(target, "xb") as writer:
            copy_whole(reader.fileno(), writer.fileno(), reflink=reflink)
    elif stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, info.st_mode, info.st_rdev)
    copy_attributes(source, target)


def seal(path: str, *, top: bool = True) -> None:
    """Make every file and directory of a tree immutable; ``top`` says whether the tree's own root is, too."""
    for directory, _names, files in os.walk(path, topdown=False):
        for name in files:
            _flag(os.path.join(directory, name), on=True)
        if top or directory != path:
            _flag(directory, on=True)


def unseal(path: str) -> None:
    """Make a tree changeable again; where there is no immutable flag nothing is sealed."""
    if not os.path.lexists(path):
        return
    with contextlib.suppress(OSError):
        _flag(path, on=False)
        for directory, names, files in os.walk(path, topdown=True):
            for name in names + files:
                _flag(os.path.join(directory, name), on=False)


def _flag(path: str, *, on: bool) -> None:
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        set_immutable(path, on)


def remove_tree(path: str, *, sealed: bool) -> None:
    """Remove a file or a tree, sealed or not; nothing there is fine."""
    if not os.path.lexists(path):
        return
    if sealed:
        unseal(path)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def revert_tree(source: str, target: str, *, reflink: bool) -> None:
    """Make the directory ``target`` equal to ``source`` in place: same directories, and files that keep their inode.

    The snapshots of ``target`` stay. Running it again after an interruption completes it.
    """
    _revert_directory(source, target, reflink=reflink, keep={SNAPSHOT_DIR})


def _revert_directory(source: str, target: str, *, reflink: bool, keep: set[str]) -> None:
    wanted = {entry.name: entry for entry in os.scandir(source)}
    for present in list(os.scandir(target)):
        if present.name in keep:
            continue
        twin = wanted.get(present.name)
        if twin is None or _kind(twin) != _kind(present):
            remove_tree(present.path, sealed=False)
    for name, entry in wanted.items():
        path = os.path.join(target, name)
        if entry.is_dir(follow_symlinks=False):
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
            _revert_directory(entry.path, path, reflink=reflink, keep=set())
        elif entry.is_file(follow_symlinks=False) and os.path.lexists(path):
            overwrite_file(entry.path, path, reflink=reflink)
        else:
            remove_tree(path, sealed=False)
            clone_entry(entry.path, path, reflink=reflink)
    copy_attributes(source, target)


def overwrite_file(source: str, target: str, *, reflink: bool) -> None:
    """Give the existing file ``target`` the content and attributes of ``source``, keeping its inode."""
    writer = os.open(target, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        with open(source, "rb") as reader:
            copy_whole(reader.fileno(), writer, reflink=reflink)
    finally:
        os.close(writer)
    copy_attributes(source, target)


def _kind(entry: os.DirEntry[str]) -> int:
    return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)


def write_back_tree(path: str) -> None:
    """Write out what is dirty of a file, or of all files below a directory."""
    if not os.path.isdir(path):
        write_back(path)
    for directory, names, files in os.walk(path):
        if directory == path and SNAPSHOT_DIR in names:
            names.remove(SNAPSHOT_DIR)
        for name in files:
            place = os.path.join(directory, name)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.lstat(place).st_mode):
                    write_back(place)


def used_bytes(path: str) -> int:
    """Return the bytes that the files of a tree occupy, its snapshots not counted."""
    total = 0
    for directory, names, files in os.walk(path):
        if directory == path and SNAPSHOT_DIR in names:
            names.remove(SNAPSHOT_DIR)
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total
