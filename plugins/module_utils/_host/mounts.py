# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted where on this host, from /proc/self/mountinfo (proc(5)). Pure, but for :func:`read_mounts`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

MOUNTINFO = "/proc/self/mountinfo"

_ESCAPE = re.compile(r"\\([0-7]{3})")
_LOCAL_LOCKS = ("all", "posix")


@dataclass(frozen=True)
class NfsSource:
    """An NFS mount's ``server:/export``; ``address`` is what the kernel talks to (``addr=``), None when not shown."""

    server: str
    export: str
    address: Optional[str]
    version: str
    locks: bool


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo. ``root`` is the directory of the file system that is mounted (bind mounts)."""

    mount_id: int
    parent_id: int
    device: str
    root: str
    mount_point: str
    fs_type: str
    source: str
    options: tuple[str, ...]

    @classmethod
    def from_line(cls, line: str) -> Mount:
        """Read one line; raises :class:`ValueError` for what is none."""
        before, dash, after = line.partition(" - ")
        first, last = before.split(" "), after.split(" ")
        if not dash or len(first) < 6 or len(last) < 3:
            raise ValueError(f"not a line of mountinfo: {line!r}")
        return cls(
            mount_id=int(first[0]),
            parent_id=int(first[1]),
            device=first[2],
            root=_unescaped(first[3]),
            mount_point=_unescaped(first[4]),
            fs_type=last[0],
            source=_unescaped(last[1]),
            options=tuple(last[2].split(",")),
        )

    def option(self, name: str) -> Optional[str]:
        """Return the value of a super block option, an empty string for a flag, None when it is not there."""
        for option in self.options:
            key, _equals, value = option.partition("=")
            if key == name:
                return value
        return None

    def nfs(self) -> Optional[NfsSource]:
        """Return the source of an NFS mount; None when it is none, or its source is not ``server:/export``."""
        split = _split_source(self.source) if self.fs_type in ("nfs", "nfs4") else None
        if split is None:
            return None
        local = self.option("nolock") is not None or self.option("local_lock") in _LOCAL_LOCKS
        version = self.option("vers") or ("4" if self.fs_type == "nfs4" else "3")
        return NfsSource(split[0], split[1], self.option("addr") or None, version, not local)

    def inner_path(self, path: str) -> str:
        """Return where ``path``, which lies under this mount, is inside the mounted file system (absolute)."""
        return _joined(self.root, posixpath.relpath(path, self.mount_point))

    def remote_path(self, path: str) -> str:
        """Return where ``path``, which lies under this NFS mount, is on the server: export, root and the rest."""
        source = self.nfs()
        return _joined(source.export if source else "/", self.inner_path(path).lstrip("/"))


def parse_mounts(text: str) -> list[Mount]:
    """Read the text of mountinfo; a line that cannot be read is passed over (there is none on Linux)."""
    mounts = []
    for line in text.split("\n"):
        try:
            mounts.append(Mount.from_line(line))
        except ValueError:
            continue
    return mounts


def read_mounts(path: str = MOUNTINFO) -> list[Mount]:
    """Read this process's mounts; raises :class:`OSError`."""
    with open(path, "rb") as stream:
        return parse_mounts(os.fsdecode(stream.read()))


def mount_of(mounts: Sequence[Mount], path: str) -> Optional[Mount]:
    """Return the mount in which an absolute path without symlinks lies, as the kernel walks to it.

    From the root each step takes the mount on the way that is nearest to where it stands: this is the longest mount
    point, unless a later mount covers it.
    """
    here = _root_of(mounts)
    visited: set[int] = set()
    while here is not None and here.mount_id not in visited:
        visited.add(here.mount_id)
        below = [
            mount
            for mount in mounts
            if mount.parent_id == here.mount_id and mount is not here and _covers(mount.mount_point, path)
        ]
        if not below:
            return here
        nearest = min(len(mount.mount_point) for mount in below)
        here = [mount for mount in below if len(mount.mount_point) == nearest][-1]
    return here


def nfs_mounts(mounts: Iterable[Mount]) -> list[Mount]:
    """Return the NFS mounts whose source can be read."""
    return [mount for mount in mounts if mount.nfs() is not None]


def _root_of(mounts: Sequence[Mount]) -> Optional[Mount]:
    known = {mount.mount_id for mount in mounts}
    tops = [mount for mount in mounts if mount.parent_id not in known or mount.parent_id == mount.mount_id]
    return next((mount for mount in reversed(tops) if mount.mount_point == "/"), None)


def _covers(mount_point: str, path: str) -> bool:
    return mount_point == "/" or path == mount_point or path.startswith(mount_point + "/")


def _split_source(source: str) -> Optional[tuple[str, str]]:
    if source.startswith("["):
        server, bracket, export = source[1:].partition("]:")
        if not bracket:
            return None
    else:
        server, colon, rest = source.partition(":/")
        export = f"/{rest}"
        if not colon:
            return None
    return (server, export) if server and export.startswith("/") else None


def _joined(base: str, rest: str) -> str:
    joined = posixpath.normpath(posixpath.join(base, rest))
    return "/" + joined.lstrip("/")


def _unescaped(text: str) -> str:
    """Undo the octal escapes of blank, tab, newline and backslash; the bytes of a name are never escaped otherwise."""
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), text)
