# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sysfs with the paths of LUNs and the multipath map over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import block_device
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import lun_place

SERIAL, WWID, NAA = "81C91$QXsh5a", "3600a0980383143393124515873683561", "naa.600a0980383143393124515873683561"


class Sysfs:
    """A sysfs with paths sdb, sdc, … and the map dm-0 over them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str, wwid: str = NAA, vendor: str = "NETAPP", **more: str) -> Sysfs:
        """Add a SCSI disk."""
        place = f"devices/platform/host3/session1/{name}"
        (self.root / place).mkdir(parents=True)
        self._link(f"block/{name}", place)
        told = {"wwid": wwid, "vendor": vendor, "model": "LUN C-Mode", "state": "running", **more}
        self._write(f"block/{name}/size", "8")
        for key, text in told.items():
            self._write(f"block/{name}/device/{key}", text)
        (self.root / f"block/{name}/device/vpd_pg80").write_bytes(b"\x00\x80\x00\x0c" + SERIAL.encode())
        return self

    def map(self, wwid: str, over: Sequence[str] = ("sdb", "sdc"), alias: str = "mpatha") -> Sysfs:
        """Add a multipath map."""
        self._write("block/dm-0/dm/uuid", f"mpath-{wwid}")
        self._write("block/dm-0/dm/name", alias)
        self._write("block/dm-0/size", "8")
        for lower in over:
            self._link(f"block/dm-0/slaves/{lower}", f"block/{lower}")
            self._link(f"block/{lower}/holders/dm-0", "block/dm-0")
        return self

    def holder(self, name: str, uuid: str) -> Sysfs:
        """Add something made out of the map."""
        self._write(f"block/{name}/dm/uuid", uuid)
        self._write(f"block/{name}/dm/name", f"n-{name}")
        self._link(f"block/dm-0/holders/{name}", f"block/{name}")
        return self

    def device(self, name: str, uuid: str, *, over: str) -> Sysfs:
        """Add a device of device-mapper over another."""
        self._write(f"block/{name}/dm/uuid", uuid)
        self._link(f"block/{name}/slaves/{over}", f"block/{over}")
        return self

    def partition(self, disk: str, number: int = 1) -> Sysfs:
        """Add a partition that the kernel has found on a path."""
        name = f"{disk}{number}"
        self._write(f"devices/platform/host3/session1/{disk}/{name}/partition", str(number))
        self._link(f"block/{name}", f"devices/platform/host3/session1/{disk}/{name}")
        return self

    def address(self, name: str, address: str) -> Sysfs:
        """Let a path have a SCSI address."""
        self._link(f"class/scsi_device/{address}/device/block/{name}", f"block/{name}")
        return self

    def number(self, name: str) -> str:
        """Return the number under which the kernel has a device (``dm-N``, ``sdX`` or ``sdXN``)."""
        number = f"8:{16 * (ord(name[2]) - ord('a')) + int(name[3:] or 0)}"
        if name.startswith("dm-"):
            number = f"253:{name[3:]}"
        if not (self.root / "dev/block" / number).exists():
            self._link(f"dev/block/{number}", f"block/{name}")
        return number

    def place(self, name: str, **how: Any) -> Any:
        """Tell what a device is."""
        how.setdefault("multipath_required", True)
        device = block_device(name, sysfs=self.root)
        return lun_place(f"/dev/{name}", device, sysfs=self.root, by_id=self.root, **how)

    def _write(self, where: str, text: str) -> None:
        (self.root / where).parent.mkdir(parents=True, exist_ok=True)
        (self.root / where).write_text(f"{text}\n", encoding="ascii")

    def _link(self, where: str, target: str) -> None:
        (self.root / where).parent.mkdir(parents=True, exist_ok=True)
        (self.root / where).symlink_to(self.root / target)
