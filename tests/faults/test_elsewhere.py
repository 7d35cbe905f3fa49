# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words and directories that lead elsewhere than they say: nothing of another guest is overwritten, read or copied."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid as uuids
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import libvirt
import pytest

from kvmground import Ground
from kvmlab.process import wait_until

OWN, OTHER = "kvm_vol1", "kvm_vol2"
GUEST, VICTIM = "own", "victim"
SLOW = {"method": "POST", "path": "/snapshots$"}
FORGET = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def private() -> Iterator[Ground]:
    """Return a private host."""
    with Ground.beside("elsewhere") as found:
        yield found


@pytest.fixture
def ground(private: Ground) -> Iterator[Ground]:
    """Return it with nothing on it, and forget whatever was there afterwards."""
    yield private
    private.control.clear_faults()
    for domain in private.guests.connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(FORGET)
    for volume in (OWN, OTHER):
        for path in private.seen(private.volume(volume)).iterdir():
            if path.name != ".snapshot":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(private.seen(private.catalog) / "restores", ignore_errors=True)


def tree(root: Path) -> dict[str, str]:
    """Return the hashes of all files below a directory."""
    found = [path for path in root.rglob("*") if path.is_file() and ".snapshot" not in path.parts]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def backup_id() -> str:
    return f"hv1-{uuids.uuid4().hex[:8]}_20261121020000"


def write(image: Path) -> None:
    """Write to a disk."""
    with image.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"written since")


def deep_guest(ground: Ground) -> Path:
    """Make a running guest whose disk lies two directories deep, and return its place."""
    ground.guests.add_still(GUEST, OWN, running=False)
    flat, place = ground.guests.disk(GUEST, OWN), ground.volume(OWN) / "a" / "g" / "disk.img"
    ground.seen(place).parent.mkdir(parents=True)
    shutil.move(ground.seen(flat), ground.seen(place))
    xml = ground.guests.domain(GUEST).XMLDesc(2).replace(str(flat), str(place))
    ground.guests.connection.defineXML(xml).create()
    return place


def another(ground: Ground, *names: str) -> Path:
    """Put files of somebody else into the other volume, and return their directory."""
    directory = ground.seen(ground.volume(OTHER)) / "another"
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"another one's".ljust(1024 * 1024, b"."))
    return directory


def swap(ground: Ground, name: str) -> None:
    """Put a link to somebody else's directory in the place of one of the guest's volume."""
    directory = ground.seen(ground.volume(OWN) / name)
    directory.rename(directory.with_name(f"{name}.was"))
    directory.symlink_to(ground.volume(OTHER) / "another")


@pytest.mark.parametrize("method", ["auto", "copy"])
def test_a_directory_that_becomes_a_link_while_the_guest_is_off(ground: Ground, method: str) -> None:
    place, backup = deep_guest(ground), backup_id()
    victim = another(ground, "g/disk.img")
    ground.back_up(backup)
    write(ground.seen(place))
    theirs = tree(victim)
    ground.control.add_fault("delay", match=SLOW, seconds=4)
    asked: dict[str, Any] = {"guests": [GUEST], "backup_id": backup, "stop": "destroy", "method": method}
    running = ground.begin("kvm_app_restore", restore_id=f"swap_{method}", **asked)
    wait_until(lambda: ground.guests.state(GUEST).state == "shutoff", seconds=60, what="the guest's stop", pause=0.05)
    swap(ground, "a")
    done = running.wait(120)
    assert done.failed
    assert "Traceback" not in done.stderr
    assert tree(victim) == theirs


def test_the_undo_of_a_disk_that_was_made_removes_no_other_file(ground: Ground) -> None:
    place, backup = deep_guest(ground), backup_id()
    ground.guests.domain(GUEST).destroy()
    ground.back_up(backup)
    ground.seen(place).unlink()
    made = ground.module("kvm_app_restore", guests=[GUEST], backup_id=backup, restore_id="made")
    assert not made.failed, made.msg
    theirs = tree(another(ground, "g/disk.img"))
    ground.guests.domain(GUEST).create()
    ground.control.add_fault("delay", match=SLOW, seconds=4)
    asked: dict[str, Any] = {"guests": [GUEST], "backup_id": backup, "restore_id": "made", "stop": "destroy"}
    running = ground.begin("kvm_app_restore", state="undone", **asked)
    wait_until(lambda: ground.guests.state(GUEST).state == "shutoff", seconds=60, what="the guest's stop", pause=0.05)
    swap(ground, "a")
    assert running.wait(120).failed
    assert tree(ground.seen(ground.volume(OTHER)) / "another") == theirs


def with_firmware(ground: Ground, nvram: Path) -> Path:
    """Make a guest that is off, with UEFI variables there, and return where they are to be seen."""
    ground.guests.add_still(GUEST, OWN, running=False)
    loader = ground.volume(OWN) / "code.fd"
    ground.seen(loader).write_bytes(b"code")
    firmware = f"<loader readonly='yes' type='pflash'>{loader}</loader><nvram>{nvram}</nvram></os>"
    xml = ground.guests.domain(GUEST).XMLDesc(2)
    ground.guests.connection.defineXML(xml.replace("</os>", f"{firmware}<features><acpi/></features>"))
    seen = ground.seen(nvram)
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.write_bytes(b"variables of then")
    return seen


def test_uefi_variables_in_a_directory_that_became_a_link(ground: Ground) -> None:
    with_firmware(ground, ground.volume(OWN) / "nv" / "VARS.fd")
    backup = backup_id()
    ground.back_up(backup)
    victim = another(ground, "VARS.fd")
    theirs = tree(victim)
    write(ground.guests.image(GUEST, OWN))
    swap(ground, "nv")
    before = tree(ground.seen(ground.volume(OWN)))
    for check in (True, False):
        done = ground.module("kvm_app_restore", check=check, guests=[GUEST], backup_id=backup, restore_id="led")
        assert "is a link in a volume" in done.msg
        assert done.failed
    assert tree(victim) == theirs
    assert tree(ground.seen(ground.volume(OWN))) == before


@pytest.mark.parametrize("length", [237, 255])
def test_uefi_variables_whose_name_leaves_no_room(ground: Ground, length: int) -> None:
    name = f"{'n' * (length - len('_VARS.fd'))}_VARS.fd"
    seen = with_firmware(ground, Path("/var/lib/libvirt/qemu/nvram") / name)
    backup = backup_id()
    ground.back_up(backup)
    seen.write_bytes(b"variables of now")
    asked: dict[str, Any] = {"guests": [GUEST], "backup_id": backup, "restore_id": f"long_{length}"}
    done = ground.module("kvm_app_restore", **asked)
    assert not done.failed, done.msg
    assert seen.read_bytes() == b"variables of then"
    undone = ground.module("kvm_app_restore", state="undone", **asked)
    assert not undone.failed, undone.msg
    assert seen.read_bytes() == b"variables of now"
    assert os.listdir(seen.parent) == [name]
    seen.unlink()


def defined_beside(ground: Ground, name: str, disk: str, *, like: str = VICTIM) -> None:
    """Define another guest that is off, with this disk."""
    xml = ground.guests.domain(like).XMLDesc(2)
    xml = xml.replace(ground.guests.domain(like).UUIDString(), "00000000-0000-4000-8000-000000000001")
    xml = re.sub(r"<disk.*</disk>", disk, xml.replace(f"<name>{like}<", f"<name>{name}<"), flags=re.DOTALL)
    ground.guests.connection.defineXML(xml)


def test_a_guest_that_is_named_as_the_uuid_of_another(ground: Ground) -> None:
    ground.guests.add_still(VICTIM, OWN, running=False)
    uuid = ground.guests.domain(VICTIM).UUIDString()
    image = ground.seen(ground.volume(OTHER)) / "named.img"
    image.write_bytes(b"named".ljust(1024 * 1024, b"."))
    disk = f"<disk type='file'><source file='{ground.volume(OTHER) / image.name}'/><target dev='vda'/></disk>"
    defined_beside(ground, uuid, disk)
    backup = backup_id()
    ground.back_up(backup)
    saved, own = ground.guests.image(VICTIM, OWN).read_bytes(), image.read_bytes()
    write(ground.guests.image(VICTIM, OWN))
    write(image)
    theirs = image.read_bytes()
    done = ground.module("kvm_app_restore", guests=[uuid], backup_id=backup, restore_id="named")
    assert not done.failed, done.msg
    assert (ground.guests.image(VICTIM, OWN).read_bytes(), image.read_bytes()) == (saved, theirs)
    assert own != theirs
    made = ground.module("kvm_vm_clone", name="copied", guest=uuid, backup_id=backup)
    assert made["clone"]["guest"] == VICTIM
    assert not ground.module("kvm_vm_clone", name="copied", state="absent").failed
    left = ground.module("kvm_vm_discover", exclude=[uuid])
    assert [guest["name"] for guest in left["guests"]] == [uuid]


SERVED = """<disk type='network' device='disk'><driver name='qemu' type='{form}'/>{source}{below}
  <target dev='vda' bus='virtio'/></disk>"""
NFS = "<source protocol='nfs' name='/{path}'><host name='svm1-nfs'/>{identity}</source>"
IDENTITY = "<identity user='+0' group='+0'/>"


@pytest.mark.parametrize("name", [VICTIM, "who?"])
@pytest.mark.parametrize("way", ["its disk", "below its disk", "below its image"])
def test_a_guest_that_reaches_the_disk_on_its_server_by_itself(ground: Ground, way: str, name: str) -> None:
    """Its QEMU would need no mount of this host, takes no lock and has no file open."""
    ground.guests.add_still(name, OWN, running=False)
    image, backup = ground.guests.image(name, OWN), backup_id()
    served = NFS.format(path=f"{OWN}/{image.name}", identity=IDENTITY)
    top = f"<source file='{ground.volume(OTHER)}/top.qcow2'/>"
    disk = SERVED.format(form="raw", source=served, below="")
    if way == "below its disk":
        below = f"<backingStore type='network'><format type='raw'/>{served}<backingStore/></backingStore>"
        disk = SERVED.format(form="qcow2", source=top, below=below).replace("'network' device", "'file' device")
    if way == "below its image":
        disk = SERVED.format(form="qcow2", source=top, below="").replace("'network'", "'file'")
        command = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-u",
            "-F",
            "raw",
            "-b",
            f"nfs://svm1-nfs/{OWN}/{quote(image.name)}",
        ]
        ground.run([*command, ground.volume(OTHER) / "top.qcow2", "1M"])
    ground.back_up(backup)
    defined_beside(ground, "served", disk, like=name)
    write(image)
    before = image.read_bytes()
    for check in (True, False):
        done = ground.module("kvm_app_restore", check=check, guests=[name], backup_id=backup, restore_id="served")
        assert done.failed
        assert "guest served" in done.msg
    assert image.read_bytes() == before
