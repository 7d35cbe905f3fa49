# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of device something on this host is, from sysfs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Optional

SYSFS = Path("/sys")

BlockKind = Literal["lvm", "multipath", "other"]

_PCI_STORAGE = "0x01"
_USB_STORAGE = "08"
_SAN_TRANSPORT = re.compile(r"/(session\d+|rport-[^/]+)/")


def block_kind(device: str, *, sysfs: Path = SYSFS) -> BlockKind:
    """Tell a logical volume and a multipath map (or a partition of one) from other block devices.

    ``device`` is ``major:minor``; the kernel's device-mapper uuid decides.
    """
    uuid = _line(sysfs / "dev" / "block" / device / "dm" / "uuid") or ""
    if uuid.startswith("LVM-"):
        return "lvm"
    if re.match(r"(part\d+-)?mpath-", uuid):
        return "multipath"
    return "other"


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
