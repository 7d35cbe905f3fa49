# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a LUN on this host: what is built on it or mounted from it, and who has it open, by device numbers.

Lock bytes prove nothing on a block device: they hang on the inode of the device node, and libvirt gives every QEMU a
``/dev`` of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.processes import PROC, processes_answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, LunTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import lun_device
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import (
    SYSFS,
    block_device,
    device_number,
    holders_of,
    map_devices,
    storage_marks,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import parse_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import argument

DEVICE = "the device, its paths and what is built on it"
USES = ("lun-in-use", "lun-activated-on-host")
"""What of that which keeps a LUN from being written is a use of it; the rest keeps it from being looked at."""
MOUNTS = "mounts and swap of this host"


def device_answers(target: LunTarget, claim: Claim, *, proc: Path = PROC, sysfs: Path = SYSFS) -> tuple[Answer, ...]:
    """Say who uses a LUN on this host."""
    if target.device is None or target.wwid is None:
        return (Answer(DEVICE, impossible="this host has no device of the LUN"),)
    hindrances = lun_device.obstacles(target.device, wwid=target.wwid, off=not claim.still_run)
    counting = USES[:1] if claim.holders_go else USES
    users = tuple(
        User("this host", f"uses the LUN: {each.message}", each.remedy) for each in hindrances if each.code in counting
    )
    impossible = "; ".join(each.message for each in hindrances if each.code not in USES)
    try:
        numbers, paths = numbers_of(target.device, sysfs=sysfs), paths_of(target.device, sysfs=sysfs)
    except OSError as exc:
        reason = f"{target.device} cannot be looked at: {exc.strerror or exc}"
        return (Answer(DEVICE, users, impossible), Answer(MOUNTS, impossible=reason))

    def matches(opened: os.stat_result, process: str) -> bool:
        if not stat.S_ISBLK(opened.st_mode):
            return False
        number = f"{os.major(opened.st_rdev)}:{os.minor(opened.st_rdev)}"
        return number in numbers and (number not in paths or not checks_paths(Path(process)))

    return (
        Answer(DEVICE, users, impossible),
        processes_answer(matches, target.device, but=claim.uuids if claim.still_run else (), proc=proc),
        Answer(MOUNTS, tuple(_mounted(numbers, target.device, proc))),
    )


def paths_of(device: str, *, sysfs: Path = SYSFS) -> frozenset[str]:
    """Return the device numbers of the paths below a LUN's map. Raises :class:`OSError`."""
    own = block_device(device_number(device), sysfs=sysfs)
    return frozenset(filter(None, (_line(sysfs / "class" / "block" / name / "dev") for name in own.paths)))


def checks_paths(process: Path) -> bool:
    """Tell whether a process is multipathd: it keeps each path open to see whether it works, and writes to none."""
    try:
        program = os.readlink(process / "exe")
    except OSError:
        return False
    return os.path.basename(program.partition(" (deleted)")[0]) == "multipathd"


def numbers_of(device: str, *, sysfs: Path = SYSFS) -> frozenset[str]:
    """Return the device numbers of all that lies on a LUN: its map, its paths, partitions, and what is built on them.

    Raises :class:`OSError`.
    """
    here = device_number(device)
    wanted = set(storage_marks(here, sysfs=sysfs))
    own = block_device(here, sysfs=sysfs)
    names = {own.name, *own.paths, *own.maps}
    if own.map_wwid:
        names |= {each.name for each in map_devices(sysfs=sysfs) if each.map_wwid == own.map_wwid}
    found = {here}
    for node in _nodes(sysfs):
        marks = set(storage_marks(node.name, sysfs=sysfs))
        if node.name in names or marks & wanted:
            found.add(_line(node / "dev"))
    for name in names:
        found |= {device_number(holder.device) for holder in holders_of(name, sysfs=sysfs) if _exists(holder.device)}
    return frozenset(number for number in found if number)


def _mounted(numbers: frozenset[str], device: str, proc: Path) -> Iterator[User]:
    """Yield the mounts, in any mount namespace, of what lies on the LUN, each place once; then the swap areas."""
    seen: set[str] = set()
    for table in sorted(proc.glob("[0-9]*/mountinfo")):
        try:
            mounts = parse_mounts(os.fsdecode(table.read_bytes()))
        except OSError:
            continue
        for mount in mounts:
            if mount.device in numbers and mount.mount_point not in seen:
                seen.add(mount.mount_point)
                how = f"has {mount.source}, which lies on {device}, mounted at {mount.mount_point}"
                yield User("this host", how, f"Unmount it (umount {argument(mount.mount_point)}).")
    for line in _line(proc / "swaps").splitlines()[1:]:
        where = line.split()[0] if line.split() else ""
        if where.startswith("/dev/") and _exists(where) and device_number(where) in numbers:
            how = f"swaps to {where}, which lies on {device}"
            yield User("this host", how, f"Turn it off (swapoff {argument(where)}).")


def _nodes(sysfs: Path) -> list[Path]:
    try:
        return sorted((sysfs / "class" / "block").iterdir())
    except OSError:
        return []


def _exists(device: str) -> bool:
    return os.path.exists(device)


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
