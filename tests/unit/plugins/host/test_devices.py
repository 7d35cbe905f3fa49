# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices told apart by sysfs, on a small sysfs of the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import (
    block_kind,
    lies_on_san,
    pci_is_storage,
    usb_is_storage,
)

ISCSI = "devices/platform/host3/session1/target3:0:0/3:0:0:1/block"
FC = "devices/pci0000:00/0000:00:03.0/host7/rport-7:0-2/target7:0:0/7:0:0:1/block"
LOCAL = "devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block"
VIRTUAL = "devices/virtual/block"


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """sda local, sdb by iSCSI, sdc by Fibre Channel; dm-0 a map over sdb, dm-1 an LV on it, dm-2 an LV on sda1."""
    block(tmp_path, f"{LOCAL}/sda", "8:0")
    block(tmp_path, f"{LOCAL}/sda/sda1", "8:1", partition=True)
    block(tmp_path, f"{ISCSI}/sdb", "8:16")
    block(tmp_path, f"{FC}/sdc", "8:32")
    block(tmp_path, f"{FC}/sdc/sdc1", "8:33", partition=True)
    block(tmp_path, f"{VIRTUAL}/dm-0", "253:0", uuid="mpath-3600a0980383143393124515873683561", over=[f"{ISCSI}/sdb"])
    block(tmp_path, f"{VIRTUAL}/dm-1", "253:1", uuid="LVM-abc", over=[f"{VIRTUAL}/dm-0"])
    block(tmp_path, f"{VIRTUAL}/dm-2", "253:2", uuid="LVM-def", over=[f"{LOCAL}/sda/sda1"])
    block(tmp_path, f"{VIRTUAL}/dm-3", "253:3", uuid="part1-mpath-3600a", over=[f"{VIRTUAL}/dm-0"])
    block(tmp_path, f"{VIRTUAL}/dm-4", "253:4", uuid="CRYPT-LUKS2-x", over=[f"{FC}/sdc/sdc1"])
    return tmp_path


def block(
    root: Path, where: str, device: str, *, uuid: str = "", partition: bool = False, over: Sequence[str] = ()
) -> None:
    node = root / where
    node.mkdir(parents=True)
    if uuid:
        (node / "dm").mkdir()
        (node / "dm" / "uuid").write_text(f"{uuid}\n", encoding="ascii")
    if partition:
        (node / "partition").write_text("1\n", encoding="ascii")
    (node / "slaves").mkdir()
    for lower in over:
        (node / "slaves" / Path(lower).name).symlink_to(root / lower)
    (root / "dev/block").mkdir(parents=True, exist_ok=True)
    (root / "dev/block" / device).symlink_to(node)


@pytest.mark.parametrize(
    ("device", "kind", "san"),
    [
        ("8:0", "other", False),
        ("8:1", "other", False),
        ("8:16", "other", True),
        ("8:33", "other", True),
        ("253:0", "multipath", True),
        ("253:1", "lvm", True),
        ("253:2", "lvm", False),
        ("253:3", "multipath", True),
        ("253:4", "other", True),
        ("99:9", "other", False),
    ],
)
def test_block_devices(sysfs: Path, device: str, kind: str, san: bool) -> None:
    assert block_kind(device, sysfs=sysfs) == kind
    assert lies_on_san(device, sysfs=sysfs) is san


def test_a_ring_of_devices_ends(tmp_path: Path) -> None:
    block(tmp_path, f"{VIRTUAL}/dm-0", "253:0", over=[f"{VIRTUAL}/dm-1"])
    block(tmp_path, f"{VIRTUAL}/dm-1", "253:1", over=[f"{VIRTUAL}/dm-0"])
    assert lies_on_san("253:0", sysfs=tmp_path) is False


def test_pci(tmp_path: Path) -> None:
    for address, kind in (("0000:3b:00.0", "0x010700"), ("0000:5e:00.0", "0x010802"), ("0000:af:00.0", "0x020000")):
        device = tmp_path / "bus/pci/devices" / address
        device.mkdir(parents=True)
        (device / "class").write_text(f"{kind}\n", encoding="ascii")
    assert pci_is_storage("0000:3b:00.0", sysfs=tmp_path) is True
    assert pci_is_storage("0000:5e:00.0", sysfs=tmp_path) is True
    assert pci_is_storage("0000:af:00.0", sysfs=tmp_path) is False
    assert pci_is_storage("0000:00:00.0", sysfs=tmp_path) is None


def test_usb(tmp_path: Path) -> None:
    for name, vendor, product, number, interface in (
        ("1-1", "0951", "1666", "4", "08"),
        ("1-2", "046d", "c31c", "5", "03"),
    ):
        device = tmp_path / "bus/usb/devices" / name
        (device / f"{name}:1.0").mkdir(parents=True)
        for file, text in (("idVendor", vendor), ("idProduct", product), ("busnum", "1"), ("devnum", number)):
            (device / file).write_text(f"{text}\n", encoding="ascii")
        (device / f"{name}:1.0" / "bInterfaceClass").write_text(f"{interface}\n", encoding="ascii")
    assert usb_is_storage("0951:1666", sysfs=tmp_path) is True
    assert usb_is_storage("1-4", sysfs=tmp_path) is True
    assert usb_is_storage("046d:c31c", sysfs=tmp_path) is False
    assert usb_is_storage("1-5", sysfs=tmp_path) is False
    assert usb_is_storage("1-6", sysfs=tmp_path) is None
    assert usb_is_storage("ffff:ffff", sysfs=tmp_path) is None
