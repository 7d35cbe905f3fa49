# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host says of each kind of disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import resolve
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import ImageError, ImageInfo
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.inspection import (
    Choice,
    DiskInspector,
    DiskObservation,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import parse_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import Daemon, LunPlace, PathState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import FileFacts, HostFiles, NfsPlace
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DomainState, LibvirtError, PoolVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import BackingXml, DiskXml, GuestXml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

ALL = Choice("all", ())
WWID = "3600a0980383143393124515873683561"


class Pools:
    """The one question that an inspection has for libvirt."""

    def __init__(self, **volumes: PoolVolume) -> None:
        self.volumes = volumes

    def pool_volume(self, pool: str, volume: str) -> PoolVolume:
        if volume not in self.volumes:
            raise LibvirtError(f"Failed to find volume {volume} of storage pool {pool}: not found")
        return self.volumes[volume]


def no_images(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError(f"qemu-img was asked about {args}")


@pytest.fixture
def nfs(tmp_path: Path) -> Path:
    """A directory that is an NFS mount to the inspection."""
    directory = tmp_path / "nfs"
    directory.mkdir()
    return directory


@pytest.fixture
def look(tmp_path: Path, nfs: Path) -> Callable[..., Any]:
    """Look at one disk of a guest named g."""
    mounts = parse_mounts(
        f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {nfs} rw - nfs4 nas1:/v rw,vers=4.1,addr=192.0.2.1\n"
    )
    files = HostFiles(lambda: mounts, sysfs=tmp_path / "sys")

    def do(
        disk: DiskXml,
        choice: Choice = ALL,
        *,
        images: bool = True,
        host: Any = None,
        chain: Any = no_images,
        multipathd: Callable[[], Daemon] = Daemon,
    ) -> Any:
        definition = GuestXml("g", "u", "linux", None, "none", (disk,), None, False)
        guest = Guest("g", "u", DomainState("running", "", 1), True, False, False, "libvirt", definition, "")
        found = DiskInspector(files, host, sysfs=tmp_path / "sys", chain=chain, multipathd=multipathd).look(
            guest, choice, images=images
        )
        return found[0] if found else None

    return do


def file_disk(path: Path, **more: Any) -> DiskXml:
    return DiskXml("vda", "disk", "file", str(path), path=str(path), role="boot", **more)


def test_a_raw_image_is_measured_and_never_opened(nfs: Path, look: Callable[..., DiskObservation]) -> None:
    image = nfs / "a.img"
    image.write_bytes(b"QFI\xfb" + b"\0" * 508)
    observed = look(file_disk(image))
    assert isinstance(observed.placed, NfsPlace)
    assert (observed.size, observed.layers, observed.refusal, observed.skipped) == (512, (), None, "")
    assert look(file_disk(image, format="iso")).size == 512


def test_a_layered_image(nfs: Path, look: Callable[..., DiskObservation]) -> None:
    for name in ("top", "middle", "base"):
        (nfs / name).touch()

    def chain(path: str, *, image_format: str) -> tuple[ImageInfo, ...]:
        assert (path, image_format) == (str(nfs / "top"), "qcow2")
        top = ImageInfo(path, "qcow2", 4096, str(nfs / "middle"), "qcow2", (), ("before",))
        return (top, ImageInfo(str(nfs / "middle"), "qcow2", 4096, str(nfs / "base"), "raw", (), ("inner",)))

    observed = look(file_disk(nfs / "top", format="qcow2"), chain=chain)
    assert observed.size == 4096
    assert [layer.source for layer in observed.layers] == [str(nfs / "middle"), str(nfs / "base")]
    assert all(isinstance(layer.placed, NfsPlace) for layer in observed.layers)
    assert [note.code for note in observed.notes] == ["internal-snapshots"]


def test_the_definition_s_chain_wins(nfs: Path, look: Callable[..., DiskObservation]) -> None:
    (nfs / "top").touch()
    below = (BackingXml("file", "raw", "/x", "/x"), BackingXml("network", "raw", None, "nbd://h/e"))
    disk = file_disk(nfs / "top", format="qcow2", backing=below, backing_known=True)
    info = ImageInfo(str(nfs / "top"), "qcow2", 1, "/other", "raw", (), ())
    observed = look(disk, chain=lambda *_args, **_how: (info,))
    assert [layer.source for layer in observed.layers] == ["/x", "nbd://h/e"]
    assert [layer.placed.code for layer in observed.layers if isinstance(layer.placed, Problem)] == [
        "image-missing",
        "backing-file-outside",
    ]


def test_images_that_cannot_be_saved(nfs: Path, look: Callable[..., DiskObservation]) -> None:
    (nfs / "a").touch()

    def fails(*_args: Any, **_how: Any) -> Any:
        raise ImageError("Failed to inspect")

    outside = ImageInfo(str(nfs / "a"), "qcow2", 1, None, None, ("/data.raw",), ())
    cases = [
        (look(file_disk(nfs / "a", format="qcow2"), chain=fails), "image-unreadable"),
        (look(file_disk(nfs / "a", format="qcow2"), chain=lambda *_a, **_h: (outside,)), "external-data-file"),
        (look(file_disk(nfs / "a", format="raw", data_store="/d")), "external-data-file"),
        (look(file_disk(nfs / "a", format="dmg")), "unsupported-image-format"),
    ]
    assert [observed.refusal.code for observed, _code in cases if observed.refusal] == [code for _looked, code in cases]


def test_images_are_not_asked_about_without_need(
    nfs: Path, tmp_path: Path, look: Callable[..., DiskObservation]
) -> None:
    for name in (nfs / "a", tmp_path / "local"):
        name.touch()
    seen = [
        look(file_disk(nfs / "a", format="qcow2"), images=False),
        look(file_disk(nfs / "a", format="qcow2"), Choice("all", ("vda",))),
        look(replace(file_disk(nfs / "a", format="qcow2"), role="data"), Choice("boot", ())),
        look(file_disk(tmp_path / "local", format="qcow2")),
    ]
    assert [(observed.size, observed.layers) for observed in seen] == [(None, ())] * len(seen)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("network", "network-disk"),
        ("nvme", "nvme-disk"),
        ("vhostuser", "vhost-disk"),
        ("vhostvdpa", "vhost-disk"),
        ("dir", "directory-disk"),
        ("filesystem", "shared-directory"),
        ("future", "unsupported-disk-type"),
    ],
)
def test_what_is_no_file(look: Callable[..., DiskObservation], kind: str, code: str) -> None:
    placed = look(DiskXml("vda", "disk", kind, "somewhere")).placed
    assert isinstance(placed, Problem)
    assert placed.code == code


def test_files_that_are_not_there(nfs: Path, look: Callable[..., DiskObservation]) -> None:
    for disk in (
        file_disk(nfs / "none"),
        DiskXml("vda", "disk", "file", ""),
        DiskXml("vda", "disk", "file", "a", path="a"),
    ):
        placed = look(disk).placed
        assert isinstance(placed, Problem)
        assert placed.code == "image-missing"


def test_pool_volumes(nfs: Path, look: Callable[..., DiskObservation]) -> None:
    image = nfs / "v.img"
    image.write_bytes(b"x" * 10)
    pools = Pools(
        v=PoolVolume("file", str(image)),
        r=PoolVolume("network", "rbd/x"),
        d=PoolVolume("dir", "/d"),
        b=PoolVolume("block", "/dev/null"),
    )

    def of(name: str) -> DiskObservation:
        return look(DiskXml("vda", "disk", "volume", f"p/{name}", pool="p", volume=name), host=pools)

    assert isinstance(of("v").placed, NfsPlace)
    assert (of("v").size, of("v").path) == (10, str(image))
    refusals = [of(name).placed for name in ("r", "d", "b", "none")]
    assert [each.code for each in refusals if isinstance(each, Problem)] == [
        "network-disk",
        "directory-disk",
        "not-a-file",
        "pool-volume-unresolved",
    ]
    direct = look(DiskXml("vda", "disk", "volume", "p/v", pool="p", volume="v", protocol="iscsi"), host=pools).placed
    assert isinstance(direct, Problem)
    assert direct.code == "network-disk"
    without = look(DiskXml("vda", "disk", "volume", "p/v", pool="p", volume="v")).placed
    assert isinstance(without, Problem)
    assert without.code == "pool-volume-unresolved"


def test_passed_through(tmp_path: Path, look: Callable[..., Any]) -> None:
    for address, kind in (("0000:3b:00.0", "0x010700"), ("0000:af:00.0", "0x020000")):
        (tmp_path / "sys/bus/pci/devices" / address).mkdir(parents=True)
        (tmp_path / "sys/bus/pci/devices" / address / "class").write_text(kind, encoding="ascii")
    stick = tmp_path / "sys/bus/usb/devices/1-1"
    (stick / "1-1:1.0").mkdir(parents=True)
    for file, text in (("idVendor", "0951"), ("idProduct", "1666"), ("1-1:1.0/bInterfaceClass", "08")):
        (stick / file).write_text(text, encoding="ascii")

    def device(kind: str, address: str, choice: Choice = ALL) -> Any:
        return look(DiskXml(f"hostdev-{address}", kind, "hostdev", address, address=address), choice)

    assert device("pci", "0000:af:00.0") is None, "a network card is no storage"
    refused = [
        device("pci", "0000:3b:00.0"),
        device("scsi_host", "naa.5"),
        device("scsi", "scsi_host2:0:3:1"),
        device("usb", "0951:1666"),
    ]
    assert [observed.placed.code for observed in refused] == [
        "passed-through-controller",
        "passed-through-controller",
        "passed-through-disk",
        "passed-through-disk",
    ]
    unknown = device("pci", "0000:00:00.0")
    assert (unknown.placed, unknown.skipped) == (None, "not known to be storage")
    assert [note.code for note in unknown.notes] == ["unknown-passed-through-device"]
    left_out = device("pci", "0000:3b:00.0", Choice("all", ("hostdev-0000:3b:00.0",)))
    assert left_out.skipped == "left out by exclude_disks (hostdev-0000:3b:00.0)"


@pytest.mark.parametrize(
    ("entry", "matches"),
    [
        ("vda", True),
        ("vdb", False),
        ("g:vda", True),
        ("h:vda", False),
        ("?:vd*", True),
        ("g*", False),
        ("vd*", False),
        ("{nfs}/a.img", True),
        ("{nfs}/*.img", True),
        ("/*/link.img", True),
        ("/elsewhere/*", False),
    ],
)
def test_exclusions(nfs: Path, look: Callable[..., DiskObservation], entry: str, matches: bool) -> None:
    (nfs / "a.img").touch()
    (nfs / "link.img").symlink_to(nfs / "a.img")
    entry = entry.replace("{nfs}", str(nfs))
    observed = look(file_disk(nfs / "link.img"), Choice("all", ("zzz", entry)))
    assert observed.matched == ((entry,) if matches else ())
    assert observed.skipped == (f"left out by exclude_disks ({entry})" if matches else "")


def test_drives(look: Callable[..., DiskObservation]) -> None:
    iso = look(DiskXml("sda", "cdrom", "file", "/iso/a.iso", path="/iso/a.iso"))
    assert (iso.skipped, iso.placed) == ("a medium in a drive is no part of the guest", None)
    assert look(DiskXml("sda", "cdrom", "file", "")).skipped == "an empty drive"
    assert look(DiskXml("sda", "cdrom", "file", "/a.iso"), Choice("all", ("sda",))).matched == ("sda",)


def test_only_the_boot_disk(nfs: Path, look: Callable[..., DiskObservation]) -> None:
    (nfs / "a.img").touch()
    assert look(file_disk(nfs / "a.img"), Choice("boot", ())).skipped == ""
    data = look(replace(file_disk(nfs / "a.img"), role="data"), Choice("boot", ()))
    assert data.skipped == "not the boot disk, and only that is asked for (disks=boot)"


# LUNs


def lun_disk(monkeypatch: pytest.MonkeyPatch, sysfs: Path, **more: Any) -> DiskXml:
    """A disk on a multipath map of the host, whose device node is not there."""
    node = sysfs / "dev" / "block" / "253:0"
    for name, text in (("dm/uuid", f"mpath-{WWID}"), ("dm/name", "a"), ("size", "8"), ("slaves/sdb/x", "")):
        (node / name).parent.mkdir(parents=True, exist_ok=True)
        (node / name).write_text(f"{text}\n", encoding="ascii")
    monkeypatch.setattr(
        resolve, "look_at", lambda path: FileFacts(path, "/dev/dm-0", "block", device="253:0", identity="253:0")
    )
    return DiskXml("vda", "disk", "block", "/dev/mapper/a", path="/dev/mapper/a", role="boot", **more)


def works(state: str = "ready") -> Daemon:
    return Daemon(paths={"sdb": PathState("sdb", "active", "running", state), "sdc": PathState("sdc", "", "", "")})


def test_a_lun_is_measured_by_sysfs(
    tmp_path: Path, look: Callable[..., DiskObservation], monkeypatch: pytest.MonkeyPatch
) -> None:
    observed = look(lun_disk(monkeypatch, tmp_path / "sys"), multipathd=works)
    assert isinstance(observed.placed, LunPlace)
    assert (observed.placed.device, observed.size, observed.refusal) == ("/dev/mapper/a", 4096, None)
    assert [note.code for note in observed.notes] == ["path-failed"]


def test_a_device_without_a_working_path_is_not_read(
    tmp_path: Path, look: Callable[..., DiskObservation], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = lun_disk(monkeypatch, tmp_path / "sys", format="qcow2")
    observed = look(disk, multipathd=lambda: works("faulty"), chain=no_images)
    assert observed.refusal is not None
    assert observed.refusal.code == "no-working-path"
    info = ImageInfo("/dev/mapper/a", "qcow2", 1 << 20, None, None, (), ("before",))
    observed = look(disk, multipathd=works, chain=lambda *_args, **_how: (info,))
    assert (observed.size, [note.code for note in observed.notes]) == (1 << 20, ["path-failed", "internal-snapshots"])


def test_multipathd_is_only_asked_about_chosen_guests(
    tmp_path: Path, look: Callable[..., DiskObservation], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> Daemon:
        raise AssertionError("multipathd was asked")

    disk = lun_disk(monkeypatch, tmp_path / "sys")
    assert look(disk, images=False, multipathd=never).size == 4096
    assert look(disk, Choice("all", ("vda",)), multipathd=never).skipped
