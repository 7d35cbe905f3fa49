# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a file: locks, processes, and the kernel itself (loop devices, swap), by the file's identity.

The same NFS file through two mounts has two device numbers here; server's file system and file id are the same.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.locks import LOOK as LOCKS
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.locks import lock_answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.processes import PROC, is_regular, processes_answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import SYSFS

KERNEL = "loop devices and swap of this host"
SECONDS = 20.0

_LOOP_GET_STATUS64 = 0x4C05
_LOOP_INFO = struct.Struct("@QQQ")
_LOOP_INFO_BYTES = 232


@dataclass(frozen=True)
class ServerFile:
    """What a file is, whatever its name: ``fsid`` is that of the server's file system, empty for a local one."""

    device: int
    inode: int
    fsid: str = ""

    def is_same(self, device: int, inode: int, fsid: str) -> bool:
        """Tell whether this is the very same file, perhaps through another mount."""
        if self.inode != inode:
            return False
        return self.device == device or bool(self.fsid and self.fsid == fsid)


class NfsVolumes:
    """The NFS file systems that a network namespace has mounted, by device number.

    Source: ``/proc/<pid>/net/nfsfs/volumes``.
    """

    def __init__(self) -> None:
        self._read: dict[str, dict[str, str]] = {}

    def fsid(self, device: int, process: Path) -> str:
        """Return the server's id of the file system below a device number, empty for one that is not NFS."""
        if os.major(device) != 0:
            return ""
        found = self._read.setdefault(str(process), {}) or self._read_of(process)
        return found.get(f"{os.major(device)}:{os.minor(device)}", "")

    def _read_of(self, process: Path) -> dict[str, str]:
        try:
            text = (process / "net" / "nfsfs" / "volumes").read_text(encoding="ascii", errors="replace")
        except OSError:
            text = ""
        self._read[str(process)] = dict(parse_volumes(text))
        return self._read[str(process)]


def parse_volumes(text: str) -> Mapping[str, str]:
    """Read the table of mounted NFS file systems: device number to the server's id of the file system; pure."""
    rows = [line.split() for line in text.splitlines()]
    head = next((row for row in rows if "DEV" in row and "FSID" in row), None)
    if head is None:
        return {}
    device, fsid = head.index("DEV"), head.index("FSID")
    return {row[device]: row[fsid] for row in rows if row is not head and len(row) == len(head)}


def file_id(path: str, volumes: NfsVolumes, *, proc: Path = PROC, seconds: float = SECONDS) -> ServerFile:
    """Return what is at a path; raises :class:`OSError`, also for what is no regular file, and ``OverdueError``."""
    found = bounded(partial(os.stat, path, follow_symlinks=False), seconds=seconds, what=f"look at {path}")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is no regular file")
    return ServerFile(found.st_dev, found.st_ino, volumes.fsid(found.st_dev, proc / "self"))


def file_answers(target: FileTarget, claim: Claim, *, proc: Path = PROC, sysfs: Path = SYSFS) -> tuple[Answer, ...]:
    """Say who uses a file: by locks, by what is open on this host, and by what the kernel has open.

    While the guests of the claim may run, the owner of a lock is unknown. A file that is not there has no users.
    """
    volumes = NfsVolumes()
    try:
        found = file_id(target.host_path, volumes, proc=proc)
    except FileNotFoundError:
        return ()
    except (OSError, OverdueError) as exc:
        return (Answer("users of the file", impossible=f"{target.host_path} cannot be looked at: {exc}"),)

    def matches(opened: os.stat_result, process: str) -> bool:
        if opened.st_ino != found.inode or not is_regular(opened):
            return False
        fsid = volumes.fsid(opened.st_dev, Path(process)) if found.fsid else ""
        return found.is_same(opened.st_dev, opened.st_ino, fsid)

    return (
        Answer(LOCKS, impossible="its guest may be running, and have them") if claim.still_run else lock_answer(target),
        processes_answer(matches, target.host_path, but=claim.uuids if claim.still_run else (), proc=proc),
        kernel_answer(target, found, volumes, proc=proc, sysfs=sysfs),
    )


def kernel_answer(
    target: FileTarget, found: ServerFile, volumes: NfsVolumes, *, proc: Path = PROC, sysfs: Path = SYSFS
) -> Answer:
    """Say which loop devices and swap areas lie on the file; no process has those open."""
    users = []
    for name, device, inode in _loops(sysfs):
        if found.is_same(device, inode, volumes.fsid(device, proc / "self")):
            remedy = f"Unmount what is on it and detach it (losetup -d /dev/{name})."
            users.append(User(f"loop device /dev/{name}", f"lies on {target.host_path}", remedy))
    for path in _swaps(proc):
        try:
            swap = file_id(path, volumes, proc=proc)
        except (OSError, OverdueError):
            continue
        if found.is_same(swap.device, swap.inode, swap.fsid):
            users.append(User("this host", f"swaps to {target.host_path}", f"Turn it off (swapoff {path})."))
    return Answer(KERNEL, tuple(users))


def _loops(sysfs: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name of each loop device that is in use, and device number and inode of the file below it."""
    for node in sorted((sysfs / "block").glob("loop*")):
        backing = node / "loop" / "backing_file"
        try:
            path = backing.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
        except OSError:
            continue
        status = _loop_status(f"/dev/{node.name}") or _named(path)
        if status is not None:
            yield (node.name, *status)


def _loop_status(device: str) -> Optional[tuple[int, int]]:
    """Ask a loop device itself what it lies on (LOOP_GET_STATUS64); its file's name may be one of another namespace."""
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, b"\0" * _LOOP_INFO_BYTES)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    on, inode, _whole = _LOOP_INFO.unpack_from(status)
    return on, inode


def _named(path: str) -> Optional[tuple[int, int]]:
    try:
        found = bounded(partial(os.stat, path), seconds=SECONDS, what=f"look at {path}")
    except (OSError, OverdueError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _swaps(proc: Path) -> Iterator[str]:
    try:
        lines = (proc / "swaps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[1] == "file":
            yield words[0].replace("\\040", " ")
