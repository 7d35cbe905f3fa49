# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A LUN's device on this host around a restore: is it free and healthy, drop what is cached, read past it.

Whatever may wait for a path is done by a command of its own that is left behind when it does not end in time: a map
that queues holds up a process for ever, and no signal ends that. What the kernel knows is read without any I/O.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import (
    SYSFS,
    BlockDevice,
    block_device,
    holders_of,
    scsi_disks,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import Daemon, ask_multipathd
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.programs import ProgramError, bytes_of, find_program
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import serial_of, wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

COMMAND_TIMEOUT = 20.0
PATHS_TIMEOUT = 60.0
FREE_TIMEOUT = 5.0
_PAUSE = 0.5

Run = Callable[[Sequence[str]], bytes]


class DeviceError(KvmsnapError):
    """A map of this host is not there, not healthy, not free, or does not answer."""


@dataclass(frozen=True)
class MapPath:
    """One path: the SCSI disk's name, and whether the kernel uses it."""

    name: str
    up: bool


@dataclass(frozen=True)
class MapState:
    """What the kernel knows of a map, or of a single path that is none's.

    ``device`` is its path below ``/dev``, ``size`` in bytes as this host sees it. ``queueing``: I/O waits when no path
    is up (``queue_if_no_path``). ``holders``: what the host has built on it. ``opened``: how often a map is open, by
    holders, by QEMU, by a mount; the kernel does not tell it of a single path (0). ``wwid_of_paths`` is the LUN's WWID
    by the map's paths, where its own tells no LUN.
    """

    device: str
    wwid: str
    size: int
    queueing: bool
    paths: tuple[MapPath, ...]
    holders: tuple[str, ...] = ()
    opened: int = 0
    is_map: bool = True
    wwid_of_paths: str = ""

    @property
    def up(self) -> int:
        """How many paths are up."""
        return sum(path.up for path in self.paths)


def command(arguments: Sequence[str]) -> bytes:
    """Run a program of the system and return what it prints; raises :class:`DeviceError`, also when it does not end."""
    program = find_program(arguments[0])
    if program is None:
        raise DeviceError(f"Failed to run {arguments[0]}: it is not installed on this host")
    try:
        return bytes_of([program, *arguments[1:]], seconds=COMMAND_TIMEOUT)
    except ProgramError as exc:
        raise DeviceError(exc.message) from exc


def multipathd_hindrance(*, ask: Callable[[], Daemon] = ask_multipathd) -> Optional[Problem]:
    """Return why nothing may be done to any map: the daemon that looks after the paths does not answer."""
    error = ask().error
    if not error:
        return None
    return Problem(
        "multipathd-not-running",
        "error",
        f"nobody looks after this host's paths: {error}",
        "Start multipathd (systemctl start multipathd) and restore again.",
    )


def claimed(device: str) -> None:
    """Have a disk exclusively for a moment; raises :class:`OSError` when the kernel uses it or a partition of it."""
    os.close(os.open(device, os.O_RDONLY | os.O_EXCL))


def map_state(device: str, *, sysfs: Path = SYSFS, run: Run = command) -> MapState:
    """Return what the kernel knows of the multipath map, or the SCSI disk, at ``device``; no I/O goes to it.

    Source: sysfs, ``dmsetup table``, ``dmsetup status``, ``dmsetup info``. Raises :class:`DeviceError` when there is
    neither.
    """
    where = _number(device)
    found = block_device(where, sysfs=sysfs)
    if found.kind != "multipath":
        return _single_path(device, found, sysfs)
    major, _colon, minor = where.partition(":")
    number = ["--major", major, "--minor", minor]
    table = run(["dmsetup", "table", *number]).decode("utf-8", "replace")
    status = run(["dmsetup", "status", *number]).decode("utf-8", "replace")
    opened = run(["dmsetup", "info", "--columns", "--noheadings", "-o", "open", *number]).decode("ascii", "replace")
    return MapState(
        device=device,
        wwid=found.map_wwid,
        size=found.size,
        queueing=is_queueing(table),
        paths=tuple(MapPath(block_device(path, sysfs=sysfs).name, up) for path, up in paths_of(status)),
        holders=_holders(where, sysfs),
        opened=int(opened.strip() or 0),
        wwid_of_paths=wwid_of_paths(found, [block_device(name, sysfs=sysfs) for name in found.paths]),
    )


def wwid_of_paths(found: BlockDevice, paths: Sequence[BlockDevice]) -> str:
    """Return the WWID of the LUN that all paths of a map are of; empty when the map's own tells one; pure."""
    serials = {serial_of(path.wwid) for path in paths}
    serial = serials.pop() if serial_of(found.map_wwid) is None and len(serials) == 1 else None
    return wwid_of(serial) if serial else ""


def is_queueing(table: str) -> bool:
    """Tell whether a map's table (``dmsetup table``) lets I/O wait when no path is up; pure."""
    words = table.split()
    if len(words) < 4 or words[2] != "multipath" or not words[3].isdigit():
        return False
    return "queue_if_no_path" in words[4 : 4 + int(words[3])]


def paths_of(status: str) -> list[tuple[str, bool]]:
    """Return each path's ``major:minor`` of ``dmsetup status``, and whether the kernel uses it (A) or not (F); pure."""
    words = status.split()
    return [
        (word, state == "A")
        for word, state in zip(words, words[1:])
        if re.fullmatch(r"\d+:\d+", word) and state in ("A", "F")
    ]


def hindrances(state: MapState, *, wwid: str) -> tuple[Problem, ...]:
    """Return why the LUN below a map must not be written, whether its guest runs or not; pure."""
    found = []
    if wwid not in (state.wwid, state.wwid_of_paths):
        found.append(
            Problem(
                "lun-identity",
                "error",
                f"{state.device} is the map of WWID {state.wwid} on this host, and the LUN's is {wwid}",
                "Put the guest's definition or the map's alias right.",
            )
        )
    if not state.up:
        queued = "; it queues I/O for ever" if state.queueing else ""
        found.append(
            Problem(
                "no-working-path",
                "error",
                f"none of the {len(state.paths)} paths of {state.device} is up{queued}",
                "Bring the fabric back, or remove a stale map (multipath -f), and restore again.",
            )
        )
    if state.holders:
        found.append(
            Problem(
                "lun-activated-on-host",
                "error",
                f"this host itself uses what is inside {state.device}: {', '.join(state.holders)}",
                "Deactivate it (vgchange -an, kpartx -d), and keep the host off guests' LUNs: skip_kpartx in"
                " multipath.conf, a devices file or filter for LVM.",
            )
        )
    return tuple(found)


def obstacles(device: str, *, wwid: str, off: bool, run: Run = command) -> list[Problem]:
    """Return all that keeps the LUN at ``device`` from being written; one whose guest is ``off`` must not be open."""
    try:
        state = map_state(device, run=run)
    except DeviceError as exc:
        return [Problem("lun-device-missing", "error", exc.message, "Log in to the array and look at 'multipath -ll'.")]
    found = list(hindrances(state, wwid=wwid))
    if state.is_map:
        found += filter(None, [multipathd_hindrance()])
    if off and not found:
        used = free_hindrance(lambda: map_state(device, run=run)) if state.is_map else claim_hindrance(state)
        found += filter(None, [used])
    return found


def free_hindrance(look: Callable[[], MapState], *, timeout: float = FREE_TIMEOUT) -> Optional[Problem]:
    """Return why the map of a guest that is off is not free: somebody has it open.

    The host's own probing opens it for a moment; so it is asked again for ``timeout`` seconds.
    """
    deadline = Deadline.after(timeout)
    while True:
        state = look()
        if not state.opened:
            return None
        if deadline.remaining() <= 0:
            return Problem(
                "lun-in-use",
                "error",
                f"something on this host has {state.device} open ({state.opened} times), though its guest is off",
                f"End what uses it ('fuser -v {state.device}' names it), and restore again.",
            )
        deadline.clock.sleep(_PAUSE)


def claim_hindrance(state: MapState, *, claim: Callable[[str], None] = claimed) -> Optional[Problem]:
    """Return why a LUN without a map is not free: this host has mounted it, swaps to it, or has built something on it.

    A process that merely has it open is not seen: the kernel tells that of maps alone.
    """
    for name in (path.name for path in state.paths if path.up):
        try:
            bounded(partial(claim, f"/dev/{name}"), seconds=COMMAND_TIMEOUT, what=f"open /dev/{name}")
        except (OSError, OverdueError) as exc:
            return Problem(
                "lun-in-use",
                "error",
                f"/dev/{name} cannot be had exclusively, though its guest is off: {exc}",
                f"End what uses it ('lsblk /dev/{name}' shows mounts and what is built on it), and restore again.",
            )
    return None


def flush(state: MapState, *, run: Run = command) -> None:
    """Write out and drop what this host has cached of a map and of its paths that are up.

    Raises :class:`DeviceError`.
    """
    for device in (state.device, *(f"/dev/{path.name}" for path in state.paths if path.up)):
        run(["blockdev", "--flushbufs", device])


def wait_paths(look: Callable[[], MapState], *, before: MapState, timeout: float = PATHS_TIMEOUT) -> MapState:
    """Wait until the map has as many paths, and as many of them up, as it had before.

    Raises :class:`DeviceError` when it has not in ``timeout`` seconds.
    """
    deadline = Deadline.after(timeout)
    while True:
        state = look()
        if len(state.paths) >= len(before.paths) and state.up >= before.up:
            return state
        if deadline.remaining() <= 0:
            raise DeviceError(
                f"Failed to see {state.device} healthy: {state.up} of {len(state.paths)} paths are up, and"
                f" {before.up} of {len(before.paths)} were before; look at 'multipath -ll {state.wwid}'",
                path=state.device,
            )
        deadline.clock.sleep(_PAUSE)


def follow_size(look: Callable[[], MapState], *, size: int, sysfs: Path = SYSFS, run: Run = command) -> MapState:
    """Make this host see the LUN's size (bytes) when it sees another: its paths are asked again and the map resized.

    Raises :class:`DeviceError` when it still differs afterwards.
    """
    state = look()
    if state.size == size:
        return state
    for path in state.paths:
        if path.up:
            _ask_again(path, sysfs=sysfs)
    if state.is_map:
        run(["multipathd", "resize", "map", state.wwid])
    now = look()
    if now.size != size:
        raise DeviceError(
            f"Failed to resize {state.device}: this host sees {now.size} bytes, the LUN has {size}", path=state.device
        )
    return now


def read_block(device: str, offset: int, *, length: int, run: Run = command) -> bytes:
    """Read ``length`` bytes (fewer at the end) at ``offset`` past this host's caches; both are multiples of 512.

    Raises :class:`DeviceError`.
    """
    how = "iflag=direct,fullblock,skip_bytes"
    return run(["dd", f"if={device}", f"bs={length}", "count=1", f"skip={offset}", how, "status=none"])


def _single_path(device: str, found: BlockDevice, sysfs: Path) -> MapState:
    if not found.wwid.startswith("naa."):
        raise DeviceError(f"Failed to use {device}: it is neither a multipath map nor a LUN's path", path=device)
    paths = scsi_disks(found.wwid, sysfs=sysfs)
    return MapState(
        device=device,
        wwid=f"3{found.wwid[len('naa.') :]}",
        size=found.size,
        queueing=False,
        paths=tuple(MapPath(path.name, path.state == "running") for path in paths),
        holders=tuple(holder for path in paths for holder in _holders(path.name, sysfs)),
        is_map=False,
    )


def _ask_again(path: MapPath, *, sysfs: Path) -> None:
    """Let the kernel ask a path for its size; the commands it sends have their time limits."""
    rescan = sysfs / "block" / path.name / "device" / "rescan"
    try:
        bounded(lambda: rescan.write_text("1\n"), seconds=COMMAND_TIMEOUT, what=f"rescan {path.name}")
    except OSError as exc:
        raise DeviceError(f"Failed to rescan {path.name}: {exc.strerror or exc}") from exc
    except OverdueError as exc:
        raise DeviceError(exc.message) from exc


def _number(device: str) -> str:
    """Return ``major:minor`` of a block device."""
    try:
        found = os.stat(device)
    except OSError as exc:
        raise DeviceError(f"Failed to use {device}: {exc.strerror or exc}", path=device) from exc
    if not stat.S_ISBLK(found.st_mode):
        raise DeviceError(f"Failed to use {device}: it is no block device", path=device)
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def _holders(device: str, sysfs: Path) -> tuple[str, ...]:
    return tuple(f"{holder.device} ({holder.kind})" for holder in holders_of(device, sysfs=sysfs))
