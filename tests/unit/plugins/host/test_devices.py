# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices told apart by sysfs, on a small sysfs of the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import (
    BlockDevice,
    DeviceHolder,
    block_device,
    device_number,
    holders_of,
    lies_on_san,
    map_devices,
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
    node.mkdir(parents=True, exist_ok=True)
    if uuid:
        (node / "dm").mkdir()
        (node / "dm" / "uuid").write_text(f"{uuid}\n", encoding="ascii")
    if partition:
        (node / "partition").write_text("1\n", encoding="ascii")
    (node / "slaves").mkdir()
    for lower in over:
        (node / "slaves" / Path(lower).name).symlink_to(root / lower)
        (root / lower / "holders").mkdir(parents=True, exist_ok=True)
        (root / lower / "holders" / node.name).symlink_to(node)
    (root / "dev/block").mkdir(parents=True, exist_ok=True)
    (root / "dev/block" / device).symlink_to(node)
    (root / "class/block").mkdir(parents=True, exist_ok=True)
    (root / "class/block" / node.name).symlink_to(node)
    if not partition:
        (root / "block").mkdir(exist_ok=True)
        (root / "block" / node.name).symlink_to(node)


@pytest.mark.parametrize(
    ("device", "kind", "san"),
    [
        ("8:0", "other", False),
        ("8:1", "partition", False),
        ("8:16", "disk", True),
        ("8:33", "partition", True),
        ("253:0", "multipath", True),
        ("253:1", "lvm", True),
        ("253:2", "lvm", False),
        ("253:3", "partition", True),
        ("253:4", "other", True),
        ("99:9", "other", False),
    ],
)
def test_block_devices(sysfs: Path, device: str, kind: str, san: bool) -> None:
    (sysfs / ISCSI / "sdb" / "device").mkdir()
    assert block_device(device, sysfs=sysfs).kind == kind
    assert lies_on_san(device, sysfs=sysfs) is san


def test_what_sysfs_tells_of_a_path_and_its_map(sysfs: Path) -> None:
    path = sysfs / ISCSI / "sdb"
    (path / "device").mkdir()
    told = {"wwid": "naa.600a0980383143393124515873683561", "vendor": "NETAPP  ", "model": "LUN C-Mode  "}
    for name, text in {**told, "state": "running"}.items():
        (path / "device" / name).write_text(f"{text}\n", encoding="ascii")
    (path / "device" / "vpd_pg80").write_bytes(b"\x00\x80\x00\x0c81C91$QXsh5a")
    (path / "size").write_text("2048\n", encoding="ascii")
    (sysfs / VIRTUAL / "dm-0" / "dm" / "name").write_text("mpatha\n", encoding="ascii")
    assert block_device("8:16", sysfs=sysfs) == block_device("sdb", sysfs=sysfs)
    assert block_device("sdb", sysfs=sysfs) == BlockDevice(
        name="sdb",
        kind="disk",
        size=1 << 20,
        maps=("dm-0",),
        wwid="naa.600a0980383143393124515873683561",
        unit_serial="81C91$QXsh5a",
        vendor="NETAPP",
        model="LUN C-Mode",
        state="running",
    )
    (found,) = map_devices(sysfs=sysfs)
    assert (found.name, found.dm_name, found.paths) == ("dm-0", "mpatha", ("sdb",))
    assert found.map_wwid == "3600a0980383143393124515873683561"
    assert block_device("253:3", sysfs=sysfs).map_wwid == "3600a"
    assert block_device("253:1", sysfs=sysfs).map_wwid == ""


def test_what_the_host_made_out_of_a_lun(sysfs: Path) -> None:
    for name in ("dm-1", "dm-3"):
        (sysfs / VIRTUAL / name / "dm" / "name").write_text(f"name-of-{name}\n", encoding="ascii")
    block(sysfs, f"{VIRTUAL}/md0", "9:0", over=[f"{VIRTUAL}/dm-3"])
    block(sysfs, f"{VIRTUAL}/dm-9", "253:9", uuid="LVM-ghi", over=[f"{VIRTUAL}/dm-3", f"{VIRTUAL}/dm-0"])
    expected = {
        DeviceHolder("/dev/mapper/name-of-dm-1", "logical volume"),
        DeviceHolder("/dev/mapper/name-of-dm-3", "partition"),
        DeviceHolder("/dev/dm-9", "logical volume"),
        DeviceHolder("/dev/md0", "device"),
    }
    for device in ("253:0", "dm-0", "8:16"):
        found = holders_of(device, sysfs=sysfs)
        assert (set(found), len(found)) == (expected, 4)
    assert holders_of("8:0", sysfs=sysfs) == ()
    with pytest.raises(OSError, match="No such file"):
        holders_of("/dev/mapper/there-is-none", sysfs=sysfs)


def test_the_number_of_a_device_node() -> None:
    assert device_number("/dev/null") == "1:3"


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
