# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of device something on this host is, from sysfs: no device is ever opened, since one may never answer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

SYSFS = Path("/sys")

BlockKind = Literal["lvm", "multipath", "partition", "disk", "other"]
HolderKind = Literal["partition", "logical volume", "device"]

_PCI_STORAGE = "0x01"
_USB_STORAGE = "08"
_SECTOR = 512
_SAN_TRANSPORT = re.compile(r"/(session\d+|rport-[^/]+)/")
_MAP = "mpath-"
_UNIT_SERIAL_HEADER = 4


@dataclass(frozen=True)
class BlockDevice:
    """A block device as the kernel has it.

    ``name`` is the kernel's (``dm-3``, ``sdb``), ``dm_name`` and ``dm_uuid`` device-mapper's, empty without. ``size``
    is in bytes. ``paths`` are the names of what it is built from, ``maps`` the multipath maps built from it. Of a SCSI
    disk ``wwid`` (``naa.…``), ``unit_serial`` (page 80), ``vendor``, ``model`` and ``state`` tell; empty for others.
    """

    name: str
    kind: BlockKind
    dm_name: str = ""
    dm_uuid: str = ""
    size: int = 0
    paths: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    wwid: str = ""
    unit_serial: str = ""
    vendor: str = ""
    model: str = ""
    state: str = ""

    @property
    def map_wwid(self) -> str:
        """The WWID of a multipath map, or of the map that it is a partition of; empty for others."""
        _part, found, wwid = self.dm_uuid.partition(_MAP)
        return wwid if found else ""


@dataclass(frozen=True)
class DeviceHolder:
    """Something that this host has made out of a device and that is active: ``device`` is its name below /dev."""

    device: str
    kind: HolderKind


def block_device(device: str, *, sysfs: Path = SYSFS) -> BlockDevice:
    """Return what sysfs tells of a block device; ``device`` is ``major:minor`` or the kernel's name."""
    node = _node(device, sysfs)
    uuid = _line(node / "dm" / "uuid") or ""
    return BlockDevice(
        name=node.name,
        kind=_kind(node, uuid),
        dm_name=_line(node / "dm" / "name") or "",
        dm_uuid=uuid,
        size=int(_line(node / "size") or 0) * _SECTOR,
        paths=tuple(path.name for path in _entries(node / "slaves")),
        maps=tuple(above.name for above in _maps_over(node)),
        wwid=_line(node / "device" / "wwid") or "",
        unit_serial=_unit_serial(node / "device" / "vpd_pg80"),
        vendor=_line(node / "device" / "vendor") or "",
        model=_line(node / "device" / "model") or "",
        state=_line(node / "device" / "state") or "",
    )


def device_number(path: str) -> str:
    """Return ``major:minor`` of a device node; raises :class:`OSError`. The device is not opened."""
    found = os.stat(path)
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def holders_of(device: str, *, sysfs: Path = SYSFS) -> tuple[DeviceHolder, ...]:
    """Return what this host has made out of a device and keeps active: partition maps, logical volumes, and the like.

    ``device`` is a path below /dev, ``major:minor`` or the kernel's name. Multipath maps of a path do not count.
    Raises :class:`OSError` when the path does not exist.
    """
    known = device_number(device) if device.startswith("/") else device
    found = []
    todo = list(_above(_node(known, sysfs)))
    seen: set[Path] = set()
    while todo:
        here = todo.pop(0)
        if here in seen:
            continue
        seen.add(here)
        todo.extend(_above(here))
        uuid = _line(here / "dm" / "uuid") or ""
        if not uuid.startswith(_MAP):
            name = _line(here / "dm" / "name")
            found.append(DeviceHolder(f"/dev/mapper/{name}" if name else f"/dev/{here.name}", _holder_kind(uuid)))
    return tuple(found)


def storage_marks(device: str, *, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """Return what gives away that two devices lie on the same storage: such devices have a mark in common.

    The marks of a device are its own name, all that it is built from or a partition of, the multipath maps of that, and
    the WWIDs of its SCSI disks, by which a path is known that no map has. ``device`` is ``major:minor`` or the kernel's
    name.
    """
    marks: list[str] = []
    for node in _stack(_node(device, sysfs)):
        marks += [f"block {each.name}" for each in (node, *_maps_over(node))]
        wwid = _line(node / "device" / "wwid")
        if wwid:
            marks.append(f"wwid {wwid}")
    return tuple(dict.fromkeys(marks))


def scsi_disk(address: str, *, sysfs: Path = SYSFS) -> Optional[str]:
    """Return the kernel's name of the disk at a SCSI address (``scsi_host2:0:3:1``), None when there is none."""
    where = re.fullmatch(r"scsi_host(\d+(?::\d+){3})", address)
    found = _entries(sysfs / "class" / "scsi_device" / where[1] / "device" / "block") if where else []
    return found[0].name if found else None


def map_devices(*, sysfs: Path = SYSFS) -> list[BlockDevice]:
    """Return the multipath maps of this host."""
    names = [node.name for node in _entries(sysfs / "block") if (_line(node / "dm" / "uuid") or "").startswith(_MAP)]
    return [block_device(name, sysfs=sysfs) for name in names]


def scsi_disks(wwid: str, *, sysfs: Path = SYSFS) -> list[BlockDevice]:
    """Return the SCSI disks with a WWID (``naa.…``): the paths of one LUN, with or without a map."""
    names = [node.name for node in _entries(sysfs / "block") if _line(node / "device" / "wwid") == wwid]
    return [block_device(name, sysfs=sysfs) for name in names]


def lies_on_san(device: str, *, sysfs: Path = SYSFS) -> bool:
    """Tell whether a block device, or what it is built from, is multipath or reached by iSCSI or Fibre Channel."""
    return any(_is_san(node, sysfs) for node in _stack(sysfs / "dev" / "block" / device))


def pci_is_storage(address: str, *, sysfs: Path = SYSFS) -> Optional[bool]:
    """Tell whether a PCI device is a mass storage controller (its class), None when the host does not know it."""
    kind = _line(sysfs / "bus" / "pci" / "devices" / address / "class")
    return None if kind is None else kind.startswith(_PCI_STORAGE)


def usb_is_storage(address: str, *, sysfs: Path = SYSFS) -> Optional[bool]:
    """Tell whether a USB device has a mass storage interface; ``address`` is ``vendor:product`` or ``bus-device``."""
    first, colon, second = address.partition(":")
    names = ("idVendor", "idProduct") if colon else ("busnum", "devnum")
    if not colon:
        first, _dash, second = address.partition("-")
    for device in _entries(sysfs / "bus" / "usb" / "devices"):
        if (_line(device / names[0]), _line(device / names[1])) == (first, second):
            return any(_line(each / "bInterfaceClass") == _USB_STORAGE for each in _entries(device))
    return None


def _node(device: str, sysfs: Path) -> Path:
    place = sysfs / "dev" / "block" / device if ":" in device else sysfs / "class" / "block" / device
    return place.resolve() if place.exists() else sysfs / "block" / device


def _kind(node: Path, uuid: str) -> BlockKind:
    if uuid.startswith("LVM-"):
        return "lvm"
    if uuid.startswith(_MAP):
        return "multipath"
    if (node / "partition").exists() or re.match(r"part\d+-", uuid):
        return "partition"
    return "disk" if (node / "device").exists() else "other"


def _holder_kind(uuid: str) -> HolderKind:
    if uuid.startswith("LVM-"):
        return "logical volume"
    return "partition" if re.match(r"part\d+-", uuid) else "device"


def _above(node: Path) -> list[Path]:
    return [holder.resolve() for holder in _entries(node / "holders")]


def _maps_over(node: Path) -> list[Path]:
    return [above for above in _above(node) if (_line(above / "dm" / "uuid") or "").startswith(_MAP)]


def _unit_serial(page: Path) -> str:
    try:
        return page.read_bytes()[_UNIT_SERIAL_HEADER:].decode("ascii", "replace").strip(" \0")
    except OSError:
        return ""


def _stack(node: Path) -> Iterator[Path]:
    """Walk from a block device down through partitions and what device-mapper or md built it from."""
    seen: set[Path] = set()
    todo = [node]
    while todo:
        here = todo.pop().resolve()
        if here in seen or not here.exists():
            continue
        seen.add(here)
        yield here
        if (here / "partition").exists():
            todo.append(here.parent)
        todo.extend(_entries(here / "slaves"))


def _is_san(node: Path, sysfs: Path) -> bool:
    uuid = _line(node / "dm" / "uuid") or ""
    if re.match(r"(part\d+-)?mpath-", uuid):
        return True
    return bool(_SAN_TRANSPORT.search(str(node).removeprefix(str(sysfs.resolve()))))


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _line(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
