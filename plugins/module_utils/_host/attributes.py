# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with a file's inode and must outlast a change of inodes: owner, mode, access list, extended attributes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass

_NOT_LISTED = ("system.nfs4_acl", "system.posix_acl_access", "security.selinux")
"""Attributes that a file may have without naming them when asked for all."""
_ABSENT = (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class FileAttributes:
    """Owner, mode and extended attributes (access lists and the SELinux label are some of them) of a file."""

    uid: int
    gid: int
    mode: int
    extended: tuple[tuple[str, bytes], ...] = ()


def attributes_of(path: str) -> FileAttributes:
    """Return the attributes of a file; raises :class:`OSError`."""
    state = os.lstat(path)
    try:
        names = {*os.listxattr(path, follow_symlinks=False), *_NOT_LISTED}
    except OSError:
        names = set(_NOT_LISTED)
    found = []
    for name in sorted(names):
        try:
            found.append((name, os.getxattr(path, name, follow_symlinks=False)))
        except OSError as exc:
            if exc.errno not in _ABSENT:
                raise
    return FileAttributes(state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode), tuple(found))


def give(path: str, wanted: FileAttributes) -> list[str]:
    """Give a file these attributes as far as that is allowed; return what differs afterwards, each as a phrase.

    The access list comes last, since a change of the mode changes it. Raises :class:`OSError` when the file cannot be
    looked at.
    """
    now = attributes_of(path)
    if (now.uid, now.gid) != (wanted.uid, wanted.gid):
        with suppress(OSError):
            os.chown(path, wanted.uid, wanted.gid, follow_symlinks=False)
    if attributes_of(path).mode != wanted.mode:
        with suppress(OSError):
            _change_mode(path, wanted.mode)
    surplus = {name for name, _value in attributes_of(path).extended} - {name for name, _value in wanted.extended}
    for name in sorted(surplus):
        with suppress(OSError):
            os.removexattr(path, name, follow_symlinks=False)
    for name, value in wanted.extended:
        if dict(attributes_of(path).extended).get(name) != value:
            with suppress(OSError):
                os.setxattr(path, name, value, follow_symlinks=False)
    return differences(wanted, attributes_of(path))


def _change_mode(path: str, mode: int) -> None:
    """Change the mode of a file, never of what a link that was put in its place leads to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def differences(wanted: FileAttributes, now: FileAttributes) -> list[str]:
    """Return what is not as wanted, each as a phrase with both values where they can be shown; pure."""
    found = []
    if (now.uid, now.gid) != (wanted.uid, wanted.gid):
        found.append(f"its owner is {now.uid}:{now.gid} and was {wanted.uid}:{wanted.gid}")
    if now.mode != wanted.mode:
        found.append(f"its mode is {now.mode:o} and was {wanted.mode:o}")
    then, there = dict(wanted.extended), dict(now.extended)
    found.extend(
        f"its attribute {name} is not what it was"
        for name in sorted({*then, *there})
        if then.get(name) != there.get(name)
    )
    return found
