# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests of libvirt's test driver have a file as a disk, or below one, by whatever name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import libvirt
import pytest
import samples
from image_users import make_image

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate import guest_users
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.guest_users import guests_answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import parse_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import guests_of

URI = "test:///default"


class Driver:
    """The test driver with guests of ours, and what it says of a file."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def over_nfs(self, name: str) -> Any:
        """Define a guest whose QEMU is to reach its disk on the server by itself."""
        return self.connection.defineXML(
            f"<domain type='test'><name>web1</name><uuid>{samples.WEB}</uuid><memory>1024</memory><os><type>hvm</type>"
            "</os><devices><disk type='network' device='disk'><driver name='qemu' type='raw'/>"
            f"<source protocol='nfs' name={quoteattr(name)}><host name='nas'/></source><target dev='vda'/></disk>"
            "</devices></domain>"
        )

    def guest(self, path: Path, *, image_format: str = "raw", running: bool = False, uuid: str = samples.WEB) -> Any:
        """Define a guest with one disk."""
        domain = self.connection.defineXML(
            f"<domain type='test'><name>web1</name><uuid>{uuid}</uuid><memory>1024</memory><os><type>hvm</type></os>"
            f"<devices><disk type='file' device='disk'><driver name='qemu' type='{image_format}'/>"
            f"<source file='{path}'/><target dev='vda'/></disk></devices></domain>"
        )
        if running:
            domain.create()
        return domain

    def answer(self, path: Path, *uuids: str, still_run: bool = False) -> Answer:
        """Ask who uses a file that is to be overwritten on behalf of these guests."""
        claim = Claim(frozenset(uuids), still_run=still_run)
        with closing(connect(URI, retry_count=0)) as host:
            return guests_answer(FileTarget("svm1:/vol/vol1/disk.img", str(path)), claim, host)


@pytest.fixture
def driver() -> Iterator[Driver]:
    """The test driver; no guest of ours is left in it."""
    connection = libvirt.open(URI)
    yield Driver(connection)
    for domain in connection.listAllDomains():
        if domain.name() == "web1":
            if domain.isActive():
                domain.destroy()
            domain.undefine()
    connection.close()


def test_a_file_that_no_guest_names_has_no_user(driver: Driver, tmp_path: Path) -> None:
    image, other = make_image(tmp_path / "disk.img"), make_image(tmp_path / "other.img")
    driver.guest(other)
    assert driver.answer(image).verdict == "nothing found"


def test_a_guest_that_has_it_is_named_with_what_to_do(driver: Driver, tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img")
    driver.guest(image)
    (user,) = driver.answer(image).users
    assert str(user) == f"guest web1 ({samples.WEB}), shutoff, has it as its disk vda"
    assert user.uuid == samples.WEB
    assert "virsh detach-disk --persistent web1 vda" in user.remedy


@pytest.mark.parametrize(
    ("running", "claimed", "still_run", "found"),
    [
        (False, samples.WEB, False, "nothing found"),
        (True, samples.WEB, False, "found"),
        (True, samples.WEB, True, "nothing found"),
        (False, samples.DB, False, "found"),
    ],
)
def test_the_guest_on_whose_behalf_it_is_done_may_have_it_while_it_is_off(
    driver: Driver, tmp_path: Path, running: bool, claimed: str, still_run: bool, found: str
) -> None:
    image = make_image(tmp_path / "disk.img")
    driver.guest(image, running=running)
    assert driver.answer(image, claimed, still_run=still_run).verdict == found


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_another_name_of_the_file_is_the_file(
    driver: Driver, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    image = make_image(tmp_path / "disk.img")
    other = tmp_path / "other.img"
    link(image, other)
    driver.guest(other)
    assert driver.answer(image).verdict == "found"


def test_what_lies_below_a_disk_is_used(driver: Driver, tmp_path: Path) -> None:
    base = make_image(tmp_path / "base.img")
    top = make_image(tmp_path / "top.qcow2", image_format="qcow2", backing=base)
    driver.guest(top, image_format="qcow2")
    (user,) = driver.answer(base).users
    assert str(user).endswith("has it below its disk vda")


NFS = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 21 0:40 / {} rw - nfs4 server:/vol rw,addr=198.51.100.1\n"


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that this host believes to be an NFS mount of server:/vol."""
    mounts = parse_mounts(NFS.format(tmp_path))
    monkeypatch.setattr(guest_users, "read_mounts", lambda: mounts)
    return tmp_path


@pytest.mark.parametrize("file", ["disk.img", "disk?1.img", "disk#1.img", "disk%31.img", "a b.img"])
def test_a_guest_that_reaches_the_disk_on_the_server_by_itself_has_it(driver: Driver, volume: Path, file: str) -> None:
    image = make_image(volume / file)
    driver.over_nfs(f"/vol/{file}")
    assert [user.uuid for user in driver.answer(image).users] == [samples.WEB]


@pytest.mark.parametrize(
    "uri", ["nfs://nas/vol/a%20b%3F.img?uid=0", "nfs://nas//vol/a%20b%3F.img", "nfs://nas/vol/a b?.img"]
)
def test_an_image_that_names_the_disk_on_the_server_has_it_below(driver: Driver, volume: Path, uri: str) -> None:
    image, overlay = make_image(volume / "a b?.img"), volume / "overlay.qcow2"
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", uri, str(overlay), "1M"]
    subprocess.run(command, check=True)
    driver.guest(overlay, image_format="qcow2")
    assert [user.uuid for user in driver.answer(image).users] == [samples.WEB]


def test_a_guest_whose_image_keeps_its_data_on_the_server_has_it_below(
    driver: Driver, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirt knows such disks since version 10.10."""
    disk = "<source protocol='nfs' name='/vol/disk.img'><host name='nas'/></source>"
    store = f"<dataStore type='network'>{disk}</dataStore>"
    image = make_image(volume / "disk.img")
    domain = driver.guest(make_image(volume / "other.img"))
    with closing(connect(URI, retry_count=0)) as host:
        (known,) = (each for each in guests_of(host)[0] if each.uuid == samples.WEB)
    xml = domain.XMLDesc().replace("other.img'/>", f"other.img'>{store}</source>")
    assert store in xml
    monkeypatch.setattr(guest_users, "guests_of", lambda _host: ([replace(known, xml=xml)], []))
    (user,) = driver.answer(image).users
    assert str(user).endswith("has it below its disk vda")


def test_an_image_that_cannot_be_followed_makes_the_look_incomplete(driver: Driver, tmp_path: Path) -> None:
    image, broken = make_image(tmp_path / "disk.img"), tmp_path / "broken.qcow2"
    broken.write_bytes(b"QFI\xfb" + b"\xff" * 508)
    driver.guest(broken, image_format="qcow2")
    answer = driver.answer(image)
    assert answer.verdict == "not possible here"
    assert answer.impossible.startswith("what lies below disk vda of guest web1: ")
