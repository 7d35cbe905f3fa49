# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of others that a restore overwrote: a raw image that a QEMU has open, a guest that was defined anew."""

from __future__ import annotations

import hashlib
import uuid as uuids
from collections.abc import Iterator

import pytest
from image_users import qemu

from kvmground import Ground
from shown import shown

BACKUP = "hv1-daily_20261121020000"
VOLUME = "kvm_vol1"
CHANGED = b"written after the backup"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with two guests that were backed up."""
    with Ground.beside("old-in-use") as found:
        for name in ("taken", "renewed"):
            found.guests.add_still(name, VOLUME)
        found.back_up(BACKUP)
        yield found


def changed(ground: Ground, name: str) -> str:
    """Change a guest's disk and return what it holds then."""
    with ground.guests.image(name, VOLUME).open("r+b") as stream:
        stream.seek(65536)
        stream.write(CHANGED)
    return content(ground, name)


def content(ground: Ground, name: str) -> str:
    return hashlib.sha256(ground.guests.image(name, VOLUME).read_bytes()).hexdigest()


def test_a_raw_image_that_a_qemu_has_open_is_not_overwritten(ground: Ground) -> None:
    """libvirt has the guest as off; the QEMU is one of another host, or was started by hand."""
    ground.guests.domain("taken").destroy()
    before = changed(ground, "taken")
    with qemu(ground.guests.image("taken", VOLUME), image_format="raw"):
        outcome = ground.module("kvm_app_restore", guests=["taken"], backup_id=BACKUP, restore_id="taken")
        with shown("11.1: a raw image that a QEMU has open is overwritten", operation="restore"):
            assert content(ground, "taken") == before
    assert outcome.failed


def test_check_mode_tells_of_a_raw_image_that_a_qemu_has_open(ground: Ground) -> None:
    if ground.guests.state("taken").state != "shutoff":
        ground.guests.domain("taken").destroy()
    with qemu(ground.guests.image("taken", VOLUME), image_format="raw"):
        plan = ground.module("kvm_app_restore", guests=["taken"], backup_id=BACKUP, check=True)
    with shown("11.1: check mode says ok of a raw image that a QEMU has open", operation="restore"):
        assert plan.failed
    assert "holds its lock" in plan.msg


def test_a_guest_that_was_defined_anew_with_another_uuid_keeps_its_disk(ground: Ground) -> None:
    """It runs and writes nothing: of a disk that was overwritten and put back the inode was changed."""
    domain = ground.guests.domain("renewed")
    old, new = domain.UUIDString(), str(uuids.uuid4())
    xml = domain.XMLDesc(2)
    domain.destroy()
    domain.undefine()
    ground.guests.connection.defineXML(xml.replace(old, new)).create()
    before, image = changed(ground, "renewed"), ground.guests.image("renewed", VOLUME)
    touched = image.stat().st_ctime_ns
    plan = ground.module("kvm_app_restore", guests=[old], backup_id=BACKUP, define_missing=True, check=True)
    outcome = ground.module(
        "kvm_app_restore", guests=[old], backup_id=BACKUP, define_missing=True, restore_id="renewed"
    )
    assert ground.guests.state("renewed").state == "running"
    with shown("11.2: the disk of a running guest that was defined anew is overwritten", operation="restore"):
        assert (content(ground, "renewed"), image.stat().st_ctime_ns) == (before, touched)
    assert outcome.failed
    with shown("11.2: check mode says ok of another guest's disk", operation="restore"):
        assert plan.failed
    assert new in plan.msg
    assert "kvm_restore_as" in plan.msg
