# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests' libvirt definitions."""

from __future__ import annotations

from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

import pytest

from kvmlab.domain import DiskSpec, GuestSpec, LunSpec, domain_xml
from kvmlab.errors import LabError

ASSETS = PurePosixPath("/assets")


def parsed(spec: GuestSpec) -> ET.Element:
    return ET.fromstring(domain_xml(spec, assets=ASSETS))


def test_disks_keep_their_order_format_and_cache() -> None:
    spec = GuestSpec("db", [DiskSpec("/a.img"), DiskSpec("/b'&.qcow2", format="qcow2", cache="writeback")])
    disks = parsed(spec).findall("devices/disk")
    assert [disk.find("target").get("dev") for disk in disks] == ["vda", "vdb"]  # type: ignore[union-attr]
    assert [disk.find("source").get("file") for disk in disks] == ["/a.img", "/b'&.qcow2"]  # type: ignore[union-attr]
    assert [disk.find("driver").attrib for disk in disks] == [  # type: ignore[union-attr]
        {"name": "qemu", "type": "raw", "cache": "none"},
        {"name": "qemu", "type": "qcow2", "cache": "writeback"},
    ]
    assert [disk.find("boot") is not None for disk in disks] == [True, False]


def test_a_block_device_is_a_block_disk() -> None:
    disk = parsed(GuestSpec("san", [DiskSpec("/dev/mapper/3600a0980")])).find("devices/disk")
    assert disk is not None
    assert disk.get("type") == "block"
    assert disk.find("source").get("dev") == "/dev/mapper/3600a0980"  # type: ignore[union-attr]


def test_a_volume_of_a_pool_is_named_by_both() -> None:
    disk = parsed(GuestSpec("san", [DiskSpec("dm-3", pool="luns")])).find("devices/disk")
    assert disk is not None
    assert disk.get("type") == "volume"
    assert disk.find("source").attrib == {"pool": "luns", "volume": "dm-3"}  # type: ignore[union-attr]


def test_a_lun_needs_its_device_first() -> None:
    spec = GuestSpec("san", [DiskSpec("/a.img"), LunSpec("/vol/v/l")])
    assert spec.luns == [LunSpec("/vol/v/l")]
    with pytest.raises(LabError, match="/vol/v/l has no device yet"):
        domain_xml(spec, assets=ASSETS)


@pytest.mark.parametrize("agent", [True, False])
def test_only_a_guest_with_agent_has_its_channel(agent: bool) -> None:
    target = parsed(GuestSpec("g", [DiskSpec("/a.img")], agent=agent)).find("devices/channel/target")
    assert (target is not None) is agent


def test_the_uuid_belongs_to_the_name() -> None:
    disks = [DiskSpec("/a.img")]
    assert GuestSpec("a", disks).uuid == GuestSpec("a", []).uuid != GuestSpec("b", disks).uuid


def test_what_a_test_adds_is_there() -> None:
    cdrom = "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>"
    spec = GuestSpec("g", [DiskSpec("/a.img")], extra_devices=[cdrom])
    assert [disk.get("device") for disk in parsed(spec).findall("devices/disk")] == ["disk", "cdrom"]
