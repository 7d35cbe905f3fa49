# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory ``.kvmsnap`` of a volume: who may have made it, writing into it, reading it out of a snapshot.

Whoever may write into a volume may have put something there beforehand. So the directory is opened by descriptors that
follow no link, and used only when it belongs to the user that our own files there get (root, or the user that the
export maps root to), nobody else may write into it, and it lies on the volume itself.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import DIRECTORY_MODE, created_private_at

VOLUME_DIRECTORY = ".kvmsnap"
MAX_BYTES = 64 << 20
"""More than a manifest has: 64 MiB."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ForeignDirectoryError(KvmsnapError):
    """The directory ``.kvmsnap`` of a volume is not ours: somebody else made it, or may write into it."""

    @property
    def reason(self) -> str:
        """Why it is not, without what follows from it."""
        return str(self.fields["reason"])

    @classmethod
    def because(cls, mount_point: str, reason: str) -> ForeignDirectoryError:
        """Return the error for the directory below ``mount_point``, with the remedy."""
        path = os.path.join(mount_point, VOLUME_DIRECTORY)
        return cls(
            f"Failed to use {path}: {reason}. Whoever made it could swap the manifests that the snapshots carry. Find"
            " out who put it there, move it away, and run again; a backup makes it anew and removes it afterwards",
            path=path,
            reason=reason,
        )


@dataclass(frozen=True)
class VolumeDirectory:
    """What ``.kvmsnap`` of a volume is: ``kind`` is ``directory``, ``link`` or ``other``; ``mode`` the permissions."""

    kind: str
    uid: int
    mode: int
    same_mount: bool

    def foreign(self, ours: Optional[int]) -> Optional[str]:
        """Return why it is not to be used, or None. Pure; ``ours`` is the uid that our files there get, if known."""
        if self.kind != "directory":
            return "it is a symbolic link" if self.kind == "link" else "it is no directory"
        if not self.same_mount:
            return "another file system is mounted there"
        if ours is not None and self.uid != ours:
            return f"it belongs to uid {self.uid}, and what this host writes there belongs to uid {ours}"
        if self.mode & _OTHERS_WRITE:
            return f"others may write into it (mode {self.mode:04o})"
        return None


def refuse_foreign(mount_point: str, *, ours: Optional[int]) -> Optional[int]:
    """Look at ``.kvmsnap`` below a mount point and return its owner's uid, None when there is none; changes nothing.

    ``ours`` is the uid that our files there get, None when that is not known (an export may map root to another user).
    Raises :class:`ForeignDirectoryError`, and :class:`OSError` for a mount point that cannot be looked at.
    """
    root = os.open(mount_point, _DIRECTORY)
    try:
        found = _directory_at(root)
    finally:
        os.close(root)
    if found is None:
        return None
    reason = found.foreign(ours)
    if reason:
        raise ForeignDirectoryError.because(mount_point, reason)
    return found.uid


@contextmanager
def opened(mount_point: str) -> Iterator[int]:
    """Open ``.kvmsnap`` below a mount point, making it where it is missing; what was there must be ours.

    Raises :class:`ForeignDirectoryError`, and :class:`OSError` when it cannot be made.
    """
    root = os.open(mount_point, _DIRECTORY)
    try:
        made = _made(root)
        if not made:
            found = _directory_at(root)
            reason = found.foreign(None) if found else None
            if reason:
                raise ForeignDirectoryError.because(mount_point, reason)
        try:
            directory = os.open(VOLUME_DIRECTORY, _DIRECTORY, dir_fd=root)
        except PermissionError as exc:
            raise ForeignDirectoryError.because(mount_point, "this host may not look into it") from exc
        try:
            _refuse_other_owner(mount_point, directory)
            yield directory
        finally:
            os.close(directory)
    finally:
        os.close(root)


def remove_files(mount_point: str, names: tuple[str, ...]) -> None:
    """Remove files of ours from ``.kvmsnap`` below a mount point, and the directory once it is empty.

    Raises :class:`ForeignDirectoryError` or :class:`OSError`; a file that is not there is none of both.
    """
    root = os.open(mount_point, _DIRECTORY)
    try:
        found = _directory_at(root)
        if found is None:
            return
        reason = found.foreign(None)
        if reason:
            raise ForeignDirectoryError.because(mount_point, reason)
        directory = os.open(VOLUME_DIRECTORY, _DIRECTORY, dir_fd=root)
        try:
            for name in names:
                try:
                    os.unlink(name, dir_fd=directory)
                except FileNotFoundError:
                    continue
        finally:
            os.close(directory)
        os.rmdir(VOLUME_DIRECTORY, dir_fd=root)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        os.close(root)


class UnreadableCopyError(KvmsnapError):
    """What a snapshot has in the place of our files is none of ours, or cannot be read."""


@dataclass(frozen=True)
class Carried:
    """Files of ``.kvmsnap`` in a snapshot, by name. ``doubt`` says why whoever wrote them is not known to be us."""

    files: Mapping[str, bytes]
    doubt: Optional[str] = None


def read_carried(mount_point: str, snapshot: str, names: tuple[str, ...]) -> Carried:
    """Return those files of ``.kvmsnap`` in the snapshot below a mount point that are there; no link is followed.

    Raises :class:`UnreadableCopyError` when the snapshot has something else in their place, or they cannot be read.
    """
    path = os.path.join(mount_point, ".snapshot", snapshot, VOLUME_DIRECTORY)
    opened_ones: list[int] = []
    try:
        for name in (mount_point, ".snapshot", snapshot):
            opened_ones.append(os.open(name, _DIRECTORY, dir_fd=opened_ones[-1] if opened_ones else None))
    except OSError:
        _close(opened_ones)
        return Carried({})
    try:
        found = _directory_at(opened_ones[-1])
        if found is None:
            return Carried({})
        if found.kind == "link":
            raise UnreadableCopyError(f"Failed to read {path}: it is a link; nothing was touched", path=path)
        opened_ones.append(os.open(VOLUME_DIRECTORY, _DIRECTORY, dir_fd=opened_ones[-1]))
        doubt = found.foreign(found.uid)
        files = {}
        for name in names:
            content, uid = _content(opened_ones[-1], name, os.path.join(path, name))
            if content is None:
                continue
            files[name] = content
            if uid != found.uid:
                doubt = doubt or f"{name} belongs to uid {uid}, and its directory to uid {found.uid}"
        return Carried(files, doubt)
    except OSError as exc:
        raise UnreadableCopyError(f"Failed to read {path}: {exc.strerror}; nothing was touched", path=path) from exc
    finally:
        _close(opened_ones)


def _content(directory: int, name: str, path: str) -> tuple[Optional[bytes], int]:
    """Return the bytes of a regular file with one link and its owner, None when there is none."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=directory)
    except FileNotFoundError:
        return None, 0
    except OSError as exc:
        reason = "it is a link" if exc.errno == errno.ELOOP else exc.strerror
        raise UnreadableCopyError(f"Failed to read {path}: {reason}; nothing was touched", path=path) from exc
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise UnreadableCopyError(f"Failed to read {path}: it is no file; nothing was touched", path=path)
        if state.st_nlink != 1:
            reason = f"the file has {state.st_nlink} names"
            raise UnreadableCopyError(f"Failed to read {path}: {reason}; nothing was touched", path=path)
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise UnreadableCopyError(
            f"Failed to read {path}: it is larger than {MAX_BYTES} bytes; nothing was touched", path=path
        )
    return content, state.st_uid


def _made(root: int) -> bool:
    try:
        os.mkdir(VOLUME_DIRECTORY, DIRECTORY_MODE, dir_fd=root)
    except FileExistsError:
        return False
    return True


def _directory_at(root: int) -> Optional[VolumeDirectory]:
    """Return what ``.kvmsnap`` in an open directory is, None when there is none."""
    try:
        state = os.stat(VOLUME_DIRECTORY, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return None
    kind = "directory" if stat.S_ISDIR(state.st_mode) else "link" if stat.S_ISLNK(state.st_mode) else "other"
    same = state.st_dev == os.fstat(root).st_dev and (kind != "directory" or _on_mount_of(root))
    return VolumeDirectory(kind, state.st_uid, stat.S_IMODE(state.st_mode), same)


def _on_mount_of(root: int) -> bool:
    """Say whether ``.kvmsnap`` is no mount point, not even one of the same file system."""
    try:
        directory = os.open(VOLUME_DIRECTORY, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except PermissionError:
        return True
    try:
        return _mount_id(directory) == _mount_id(root)
    finally:
        os.close(directory)


def _mount_id(descriptor: int) -> str:
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as stream:
        return next((line.split()[1] for line in stream if line.startswith("mnt_id:")), "")


def _refuse_other_owner(mount_point: str, directory: int) -> None:
    """Raise when a file that we create in the directory gets another owner than the directory has."""
    owner = os.fstat(directory).st_uid
    try:
        with created_private_at(directory, "owner") as ours:
            reason = VolumeDirectory("directory", owner, 0, same_mount=True).foreign(ours)
    except PermissionError:
        reason = f"it belongs to uid {owner}, and this host may not write into it"
    if reason:
        raise ForeignDirectoryError.because(mount_point, reason)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
