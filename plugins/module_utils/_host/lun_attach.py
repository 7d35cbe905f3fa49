# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let this host see a new LUN as a healthy map that nothing of the host looks into, and let it forget it whole.

Every wait ends. What the kernel knows is read from sysfs; what may wait for a path is a bounded command or thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import (
    SYSFS,
    BlockDevice,
    holders_of,
    map_devices,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import (
    DeviceError,
    Run,
    command,
    paths_of,
    read_block,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import own_initiators
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.programs import find_program
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

ATTACH_TIMEOUT = 60.0
DETACH_TIMEOUT = 30.0
MORE_PATHS_TIMEOUT = 10.0
_WRITE_TIMEOUT = 20.0
_PAUSE = 0.2
_DEV = Path("/dev")
_PVS = ("pvs", "--all", "--foreign", "--shared", "--noheadings", "--separator", ":", "--options")
_PV_FIELDS = "pv_major,pv_minor,pv_uuid,pv_duplicate"


@dataclass(frozen=True)
class San:
    """This host's view of its SAN; ``run`` runs a program of the system, ``write`` puts a word into a file of sysfs.

    ``initiators`` returns those of this host.
    """

    sysfs: Path = SYSFS
    dev: Path = _DEV
    run: Run = command
    write: Optional[Callable[[Path, str], None]] = None
    initiators: Callable[[], Sequence[str]] = own_initiators

    def attach(self, *, wwid: str, number: int, size: int, timeout: float = ATTACH_TIMEOUT) -> str:
        """Look for a LUN of this number, wait for its map and return ``/dev/mapper/<name>``; ``size`` is in bytes.

        What the host builds on it (partitions, logical volumes) is taken down. Raises :class:`DeviceError` when there
        is no map in ``timeout`` seconds, when it is of another size, or when the host goes on looking into it.
        """
        expected = max((len(each.paths) for each in map_devices(sysfs=self.sysfs)), default=1)
        self._scan(number)
        found = self._wait_map(wwid, Deadline.after(timeout))
        found = self._wait_more(wwid, found, expected)
        if found.size != size:
            raise DeviceError(f"Failed to use {_mapper(found)}: it has {found.size} bytes here, the LUN has {size}")
        self._settle()
        self._take_down_holders(found)
        self._refuse_seen_by_lvm(found)
        return _mapper(found)

    def detach(self, *, wwid: str, timeout: float = DETACH_TIMEOUT) -> None:
        """Forget a LUN that nobody uses any more: what is built on it, its map, its paths, in this order.

        What is not there is no error. Raises :class:`DeviceError` when something is in use or does not go.
        """
        deadline = Deadline.after(timeout)
        paths = self.paths(wwid)
        found = self.map(wwid)
        if found is not None:
            self._let_fail(found)
            self._take_down_holders(found)
            self._flush(found, wwid, deadline)
        for name in sorted({*paths, *self.paths(wwid)}):
            self._write(self.sysfs / "block" / name / "device" / "delete", "1")
        while self.paths(wwid):
            if deadline.remaining() <= 0:
                raise DeviceError(f"Failed to delete the paths {', '.join(self.paths(wwid))} of LUN {wwid}")
            deadline.clock.sleep(_PAUSE)
        if found is not None or paths:
            self._forget_name(wwid)

    def read(self, device: str, offset: int, *, length: int) -> bytes:
        """Read from a map past this host's caches; raises :class:`DeviceError`."""
        return read_block(device, offset, length=length, run=self.run)

    def map(self, wwid: str) -> Optional[BlockDevice]:
        """Return the multipath map of a WWID."""
        return next((each for each in map_devices(sysfs=self.sysfs) if each.map_wwid == wwid), None)

    def paths(self, wwid: str) -> list[str]:
        """Return the kernel's names of the SCSI disks that lead to a LUN (``sdb``)."""
        naa = f"naa.{wwid[1:]}"
        found = []
        for node in sorted((self.sysfs / "block").glob("sd*")):
            try:
                identifier = (node / "device" / "wwid").read_text(encoding="utf-8", errors="replace").strip().lower()
            except OSError:
                continue
            if identifier == naa:
                found.append(node.name)
        return found

    def numbers(self) -> set[int]:
        """Return the numbers of all LUNs that this host has a path to, also one that leads nowhere any more."""
        found = set()
        for node in (self.sysfs / "class" / "scsi_device").glob("*:*:*:*"):
            last = node.name.rpartition(":")[2]
            if last.isdigit():
                found.add(int(last))
        return found

    def _scan(self, number: int) -> None:
        """Ask each SAN adapter for that one LUN; the others of the host are not looked at."""
        adapters = [
            node.name for kind in ("iscsi_host", "fc_host") for node in (self.sysfs / "class" / kind).glob("host*")
        ]
        if not adapters:
            raise DeviceError("Failed to look for the new LUN: this host has no iSCSI session and no FC adapter")
        for adapter in sorted(set(adapters)):
            self._write(self.sysfs / "class" / "scsi_host" / adapter / "scan", f"- - {number}")

    def _wait_map(self, wwid: str, deadline: Deadline) -> BlockDevice:
        asked = False
        half = deadline.remaining() / 2
        while True:
            found = self.map(wwid)
            if found is not None and (self.dev / "mapper" / found.dm_name).exists() and found.paths:
                return found
            if not asked and deadline.remaining() < half and self.paths(wwid):
                self.run(["multipath", "-a", wwid])
                self.run(["multipathd", "add", "path", self.paths(wwid)[0]])
                asked = True
            if deadline.remaining() <= 0:
                paths = ", ".join(self.paths(wwid)) or "none"
                raise DeviceError(f"Failed to see LUN {wwid} as a multipath map; its paths on this host: {paths}")
            deadline.clock.sleep(_PAUSE)

    def _wait_more(self, wwid: str, found: BlockDevice, expected: int) -> BlockDevice:
        deadline = Deadline.after(MORE_PATHS_TIMEOUT)
        while len(found.paths) < expected and deadline.remaining() > 0:
            deadline.clock.sleep(_PAUSE)
            found = self.map(wwid) or found
        return found

    def _settle(self) -> None:
        if find_program("udevadm") is not None:
            self.run(["udevadm", "settle", "--timeout=15"])

    def _take_down_holders(self, found: BlockDevice) -> None:
        """Remove what device-mapper has built on the map (partitions, the host's view of a guest's volumes)."""
        for holder in reversed(holders_of(found.name, sysfs=self.sysfs)):
            self.run(["dmsetup", "remove", "--retry", os.path.basename(holder.device)])
        holders = holders_of(found.name, sysfs=self.sysfs)
        if holders:
            names = ", ".join(each.device for each in holders)
            raise DeviceError(f"Failed to keep this host out of {_mapper(found)}: {names} is there again")

    def _refuse_seen_by_lvm(self, found: BlockDevice) -> None:
        """The host's LVM must not see a copy's physical volumes beside the original's: they have the same uuids.

        LVM takes one of the two. The other, which may be the copy, it tells only to who asks for all devices and for
        duplicates; and volume groups of other hosts only to who asks for them.
        """
        if find_program("pvs") is None:
            return
        node = self.sysfs / "block" / found.name / "dev"
        try:
            number = node.read_text(encoding="ascii").strip()
        except OSError as exc:
            raise DeviceError(f"Failed to use {_mapper(found)}: {node}: {exc.strerror}") from exc
        if number in physical_volumes(self.run([*_PVS, _PV_FIELDS]).decode("utf-8", "replace")):
            raise DeviceError(
                f"Failed to keep this host out of {_mapper(found)}: its LVM has a physical volume there. Keep it off"
                " guests' LUNs by a devices file (lvmdevices) or global_filter"
            )

    def _let_fail(self, found: BlockDevice) -> None:
        """Let I/O fail that waits for a path of a map without any: whoever waits keeps the map open.

        What becomes of it shows when the map is removed.
        """
        with suppress(DeviceError):
            status = self.run(["dmsetup", "status", found.dm_name]).decode("utf-8", "replace")
            if any(up for _path, up in paths_of(status)):
                return
            with suppress(DeviceError):
                self.run(["multipathd", "disablequeueing", "map", found.dm_name])
            self.run(["dmsetup", "message", found.dm_name, "0", "fail_if_no_path"])

    def _flush(self, found: BlockDevice, wwid: str, deadline: Deadline) -> None:
        """Remove the map; whoever probes it may have it open for a moment."""
        while True:
            try:
                self.run(["multipath", "-f", found.dm_name])
            except DeviceError:
                if self.map(wwid) is not None and deadline.remaining() <= 0:
                    raise
                self._let_fail(found)
            if self.map(wwid) is None:
                return
            deadline.clock.sleep(_PAUSE)

    def _forget_name(self, wwid: str) -> None:
        """Take the WWID out of multipath's list of those that it has seen."""
        self.run(["multipath", "-w", wwid])

    def _write(self, path: Path, word: str) -> None:
        write = self.write or _put
        try:
            bounded(lambda: write(path, word), seconds=_WRITE_TIMEOUT, what=f"write to {path}")
        except FileNotFoundError:
            return
        except (OSError, OverdueError) as exc:
            raise DeviceError(f"Failed to write to {path}: {exc}") from exc


def physical_volumes(report: str) -> set[str]:
    """Return ``major:minor`` of each device that has a physical volume, of what ``pvs`` reports; pure.

    Each line is ``major:minor:uuid:duplicate``; a device without a physical volume has no uuid. Raises
    :class:`DeviceError` for another form.
    """
    found = set()
    for line in filter(None, map(str.strip, report.splitlines())):
        words = line.split(":")
        if len(words) != _PV_FIELDS.count(",") + 1:
            raise DeviceError(f"Failed to learn what this host's LVM sees: pvs says '{line}'")
        major, minor, uuid, _duplicate = words
        if uuid:
            found.add(f"{major}:{minor}")
    return found


def _put(path: Path, word: str) -> None:
    path.write_text(f"{word}\n", encoding="ascii")


def _mapper(found: BlockDevice) -> str:
    return f"/dev/mapper/{found.dm_name}"
