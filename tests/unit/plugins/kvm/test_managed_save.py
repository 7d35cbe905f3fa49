# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A managed-save image is moved aside and brought back: the file, and what libvirt says of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import managed_save
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain


@dataclass
class Saved:
    """A guest of the test driver that was saved; the driver keeps no file, so the test does, as QEMU's driver would."""

    domain: Domain
    image: Path
    place: Path


@pytest.fixture
def saved(guests: Guests, tmp_path: Path) -> Iterator[Saved]:
    """A guest that is off, with an image."""
    uuid = guests.add("g")
    guests.domain(uuid).managedSave(0)
    host = guests.connect()
    domain = host.domain(uuid=uuid)
    assert domain is not None
    (tmp_path / "save").mkdir()
    image = managed_save.image_of("qemu:///system", "g", tmp_path / "save")
    assert image is not None
    image.write_bytes(b"memory")
    image.chmod(0o600)
    yield Saved(domain, image, tmp_path / "restores" / "r1.images" / "g.save")
    if domain.managed_save():
        domain.managed_save_remove()
    host.close()


def aside(saved: Saved) -> None:
    """Move the image aside; QEMU's driver removes the file, the test driver has none."""
    managed_save.set_aside(saved.domain, saved.image, saved.place)
    saved.image.unlink()


def test_the_image_moves_and_comes_back(saved: Saved) -> None:
    before = saved.image.stat()
    assert managed_save.is_there(saved.domain, saved.image)
    aside(saved)
    assert not managed_save.is_there(saved.domain, saved.image)
    assert saved.place.read_bytes() == b"memory"
    assert saved.place.parent.stat().st_mode & 0o777 == 0o700
    managed_save.bring_back(saved.domain, saved.image, saved.place)
    after = saved.image.stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)
    assert not saved.place.exists()
    assert managed_save.is_there(saved.domain, saved.image), "libvirt looks for the file when the guest starts"
    managed_save.bring_back(saved.domain, saved.image, saved.place)
    assert saved.image.read_bytes() == b"memory"


def test_a_killed_move_is_finished(saved: Saved) -> None:
    saved.place.parent.mkdir(parents=True)
    os.link(saved.image, saved.place)
    aside(saved)
    assert saved.place.read_bytes() == b"memory"
    os.link(saved.place, saved.image)
    managed_save.bring_back(saved.domain, saved.image, saved.place)
    assert (saved.image.exists(), saved.place.exists()) == (True, False)


def test_no_image_is_ever_overwritten(saved: Saved) -> None:
    saved.place.parent.mkdir(parents=True)
    saved.place.write_bytes(b"older")
    with pytest.raises(KvmsnapError, match="Guest g was saved again"):
        managed_save.set_aside(saved.domain, saved.image, saved.place)
    assert saved.domain.managed_save()
    with pytest.raises(KvmsnapError, match="Failed to bring the managed-save image of guest g back"):
        managed_save.bring_back(saved.domain, saved.image, saved.place)
    assert (saved.image.read_bytes(), saved.place.read_bytes()) == (b"memory", b"older")


def test_an_image_that_is_gone_is_told(saved: Saved) -> None:
    saved.image.unlink()
    with pytest.raises(KvmsnapError, match="No such file"):
        managed_save.bring_back(saved.domain, saved.image, saved.place)


def test_a_running_guest_gets_no_image(saved: Saved) -> None:
    aside(saved)
    saved.domain.start()
    with pytest.raises(KvmsnapError, match="the guest is running"):
        managed_save.bring_back(saved.domain, saved.image, saved.place)
    assert not saved.image.exists()
    saved.domain.destroy()


def test_what_hinders_a_move(tmp_path: Path) -> None:
    image = tmp_path / "g.save"
    assert managed_save.image_of("qemu:///session", "g") is None
    assert "qemu:///system" in str(managed_save.hindrance(None, tmp_path))
    assert "No such file" in str(managed_save.hindrance(image, tmp_path))
    image.symlink_to("/etc/passwd")
    assert "is no file" in str(managed_save.hindrance(image, tmp_path))
    image.unlink()
    image.write_bytes(b"memory")
    assert managed_save.hindrance(image, tmp_path / "not" / "there") is None
    assert "different file systems" in str(managed_save.hindrance(image, Path("/proc")))
