# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole discovery: libvirt's test driver, directories that stand for NFS mounts, the simulated array over HTTPS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from discovered_host import World, codes, disk, given

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import (
    DiscoveryRequest,
    discover,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.inspection import DiskInspector
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import (
    CopyMark,
    CopySpec,
    NewSource,
    copy_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError


def test_the_lab_s_guests(world: World) -> None:
    web, db = world.image(world.mnt("kvm_vol1") / "web1.img"), world.image(world.mnt("kvm_vol1") / "db1.img", 4096)
    data = world.image(world.mnt("kvm_vol2") / "d" / "db1-data.img")
    world.guest("web1", disk(web))
    world.guest("db1", disk(data, "vdb"), disk(db, "vda", more="<boot order='1'/>"))
    found = world.discover()
    assert [(guest["name"], guest["protected"], guest["state"]) for guest in found["guests"]] == [
        ("db1", True, "running"),
        ("web1", True, "running"),
    ]
    boot, second = sorted(found["guests"][0]["disks"], key=lambda each: each["role"])
    assert (boot["target"], boot["role"], boot["size"], boot["path"]) == ("vda", "boot", 4096, str(db))
    assert boot["included"] is True
    storage = second["storage"]
    assert {key: storage[key] for key in storage if not key.endswith("uuid")} == {
        "kind": "nfs",
        "controller": f"127.0.0.1:{world.array.port}",
        "svm": "svm1",
        "volume": "kvm_vol2",
        "path": "d/db1-data.img",
        "mount_point": str(world.mnt("kvm_vol2")),
        "nfs_source": "nas:/kvm_vol2",
        "nfs_version": "4.1",
        "locks": True,
        "lun": None,
    }
    assert storage["svm_uuid"]
    assert storage["volume_uuid"]
    assert found["kvm_vm_mapping"] == (
        "db1:svm1:/vol/kvm_vol1/db1.img;db1:svm1:/vol/kvm_vol2/d/db1-data.img;web1:svm1:/vol/kvm_vol1/web1.img;"
    )
    assert found["kvm_vm_mapping_list"][2] == {"guest": "web1", "controller": "svm1", "path": "/vol/kvm_vol1/web1.img"}
    assert [(each["svm"], each["volume"], each["guests"]) for each in found["volumes"]] == [
        ("svm1", "kvm_vol1", ["db1", "web1"]),
        ("svm1", "kvm_vol2", ["db1"]),
    ]
    assert found["volumes"][0]["mount_point"] == str(world.mnt("kvm_vol1"))
    assert (found["volumes"][0]["junction"], found["volumes"][0]["mount_path"]) == ("/kvm_vol1", "")
    assert found["libvirt_available"] is True
    assert found["changed"] is False
    assert found["ontap"] == [
        {"controller": f"127.0.0.1:{world.array.port}", "cluster": "cluster1", "version": "9.19.1"}
    ]
    assert codes(found) == []


def test_the_calls_do_not_grow_with_the_guests(world: World) -> None:
    for number in range(12):
        volume = f"kvm_vol{number % 3 + 1}"
        world.guest(f"g{number}", disk(world.image(world.mnt(volume) / f"g{number}.img")))
    world.array.control.clear_requests()
    found = world.discover()
    assert all(guest["protected"] for guest in found["guests"])
    assert [request["path"] for request in world.array.control.requests()] == [
        "/api/cluster",
        "/api/network/ip/interfaces",
        "/api/storage/volumes",
    ]


def test_what_cannot_be_saved_does_not_stop_the_others(world: World) -> None:
    fine = world.image(world.mnt("kvm_vol1") / "fine.img")
    world.guest("fine", disk(fine))
    world.guest("local", disk(world.image(world.root / "local.img")))
    world.guest("gone", disk(world.mnt("kvm_vol1") / "none.img"))
    world.guest(
        "rbd", "<disk type='network'><source protocol='rbd' name='p/i'/><target dev='vda' bus='virtio'/></disk>"
    )
    found = world.discover()
    assert {guest["name"]: guest["protected"] for guest in found["guests"]} == {
        "fine": True,
        "gone": False,
        "local": False,
        "rbd": False,
    }
    assert codes(found) == [
        ("image-missing", "gone", "vda"),
        ("local-file", "local", "vda"),
        ("network-disk", "rbd", "vda"),
    ]
    assert found["kvm_vm_mapping"] == "fine:svm1:/vol/kvm_vol1/fine.img;"
    assert all(problem["message"] and problem["remedy"] for problem in found["problems"])


def test_one_whose_disks_cannot_be_looked_at_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised by it: its images are what somebody inside it wrote."""
    really = DiskInspector.look

    def look(self: DiskInspector, guest: Guest, *given: Any, **how: Any) -> Any:
        if guest.name == "bad":
            raise OverflowError("cannot convert float infinity to integer")
        return really(self, guest, *given, **how)

    monkeypatch.setattr(DiskInspector, "look", look)
    for name in ("bad", "fine"):
        world.guest(name, disk(world.image(world.mnt("kvm_vol1") / f"{name}.img")))
    found = world.discover()
    assert {guest["name"]: guest["protected"] for guest in found["guests"]} == {"bad": False, "fine": True}
    assert ("guest-unreadable", "bad", None) in codes(found)
    (said,) = [each["message"] for each in found["problems"] if each["code"] == "guest-unreadable"]
    assert said == "Failed to look at the disks of guest bad: OverflowError: cannot convert float infinity to integer"


def test_a_disk_left_out_by_name(world: World) -> None:
    world.guest(
        "g", disk(world.image(world.mnt("kvm_vol1") / "g.img")), disk(world.image(world.root / "scratch"), "vdb")
    )
    assert codes(world.discover()) == [("local-file", "g", "vdb")]
    for entry in ("vdb", "g:vdb", "*:vdb", str(world.root / "scra*")):
        found = world.discover(exclude_disks=[f" {entry}", ""])
        (guest,) = found["guests"]
        assert guest["protected"] is True
        assert (guest["disks"][1]["included"], guest["disks"][1]["reason"]) == (
            False,
            f"left out by exclude_disks ({entry})",
        )
        assert codes(found) == []
    assert codes(world.discover(disks="boot")) == []
    assert ("exclusion-matches-nothing", None, None) in codes(world.discover(exclude_disks=["vdz"]))


def test_an_iso_is_left_out_and_its_guest_is_saved(world: World) -> None:
    iso = world.image(world.root / "install.iso")
    world.guest("g", disk(world.image(world.mnt("kvm_vol1") / "g.img")), disk(iso, "sda", device="cdrom"))
    found = world.discover()
    assert found["guests"][0]["protected"] is True
    assert codes(found) == [("media-attached", "g", "sda")]


def test_links_hostile_names_and_mounts_of_directories(world: World) -> None:
    image = world.image(world.mnt("kvm_vol1") / "new\nline" / "ü ☃ &.img")
    link = world.root / "images"
    link.symlink_to(image.parent)
    sub = world.root / "sub"
    sub.mkdir()
    world.mounts.append(f"9 1 0:2 / {sub} rw - nfs4 nas:/kvm_vol1/guests rw,vers=4.1,addr=198.51.100.21")
    deep = world.image(sub / "deep.img")
    world.guest("a", disk(Path(str(link / image.name).replace("&", "&amp;"))))
    world.guest("b", disk(deep))
    found = world.discover()
    assert codes(found) == []
    first, second = (guest["disks"][0] for guest in found["guests"])
    assert first["path"] == str(image)
    assert first["storage"]["path"] == "new\nline/ü ☃ &.img"
    assert second["storage"]["path"] == "guests/deep.img"
    (volume,) = found["volumes"]
    assert (volume["mount_point"], volume["mount_path"]) == (str(world.mnt("kvm_vol1")), "")


def test_only_a_directory_of_the_volume_is_mounted(world: World) -> None:
    world.mounts[1:] = [f"9 1 0:2 / {world.mnt('kvm_vol1')} rw - nfs4 nas:/kvm_vol1/guests/x rw,addr=198.51.100.21"]
    world.guest("b", disk(world.image(world.mnt("kvm_vol1") / "b.img")))
    (volume,) = world.discover()["volumes"]
    assert (volume["mount_point"], volume["mount_path"]) == (str(world.mnt("kvm_vol1")), "guests/x")


def test_what_one_line_cannot_hold_is_in_the_list(world: World) -> None:
    world.guest("a;b", disk(world.image(world.mnt("kvm_vol1") / "ab.img")))
    world.guest("c", disk(world.image(world.mnt("kvm_vol1") / "c.img")))
    found = world.discover()
    assert found["kvm_vm_mapping"] == "c:svm1:/vol/kvm_vol1/c.img;"
    assert [entry["guest"] for entry in found["kvm_vm_mapping_list"]] == ["a;b", "c"]
    assert codes(found) == [("mapping-unwritable", "a;b", None)]
    assert all(guest["protected"] for guest in found["guests"])


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
def test_layers(world: World) -> None:
    vol = world.mnt("kvm_vol1")
    base = world.image(vol / "base.img", 1 << 20)
    outside = world.image(world.root / "outside.img", 1 << 20)
    for name, below in (("a", base), ("b", base), ("c", outside)):
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(below), "-F", "raw", str(vol / f"{name}.qcow2")]
        subprocess.run(command, check=True, timeout=30)
        world.guest(name, disk(vol / f"{name}.qcow2", image_format="qcow2"))
    found = world.discover()
    assert codes(found) == [
        ("backing-chain", "a", "vda"),
        ("backing-file-shared", "a", "vda"),
        ("backing-chain", "b", "vda"),
        ("backing-file-shared", "b", "vda"),
        ("backing-file-outside", "c", "vda"),
    ]
    assert found["guests"][0]["disks"][0]["backing"] == [str(base)]
    assert [each["path"] for each in found["guests"][0]["disks"][0]["backing_storage"]] == [base.name]
    assert found["guests"][0]["disks"][0]["size"] == 1 << 20
    assert [guest["protected"] for guest in found["guests"]] == [True, True, False]


def test_guests_by_name(world: World) -> None:
    for name in ("web1", "web2", "db1"):
        world.guest(name, disk(world.image(world.mnt("kvm_vol1") / f"{name}.img")))
    assert [guest["name"] for guest in world.discover(guests=["web*"], exclude=["web2"])["guests"]] == ["web1"]
    with pytest.raises(
        InputError, match="Guest 'web9' is not known here; the guests of this host are: db1, web1, web2"
    ):
        world.discover(guests=["web9"])
    with pytest.raises(InputError, match="list of guests is empty"):
        world.discover(guests=[])
    assert codes(world.discover(guests=["zz*"])) == [("no-guest-matches", None, None)]
    typed = world.discover(guests=["web1", " web2", " db1 "], exclude=["zz", " web2"])
    assert [guest["name"] for guest in typed["guests"]] == ["db1", "web1"]


def test_a_copy_that_the_collection_made_is_known_by_its_mark(world: World) -> None:
    for name in ("web1", "web2"):
        world.guest(name, disk(world.image(world.mnt("kvm_vol1") / f"{name}.img")))
    of = CopyMark("drill", "hv1-daily_20261121020000", "web1", str(uuid4()), "2026-11-22T03:00:00+00:00")
    place = NewSource("file", str(world.image(world.mnt("kvm_vol1") / "copy.img")), "raw")
    world.domains[1] = copy_of(world.domains[1], CopySpec("web1-look", str(uuid4()), of, {"vda": place})).xml
    assert [(guest["name"], guest["copy"]) for guest in world.discover()["guests"]] == [
        ("web1", False),
        ("web1-look", True),
    ]


def test_guests_that_another_host_has(world: World) -> None:
    world.guest("web1", disk(world.image(world.mnt("kvm_vol1") / "web1.img")))
    wanted = ["web*", "db1", "zz*", "db1"]
    found = world.discover(guests=wanted, unknown_guests="ignore")
    assert [guest["name"] for guest in found["guests"]] == ["web1"]
    assert codes(found) == [("guest-not-found", "db1", None), ("no-guest-matches", None, None)]
    assert codes(found, "info") == [("guest-not-found", "db1", None)]
    with pytest.raises(InputError, match="Guest 'db1' is not known here"):
        world.discover(guests=wanted)
    alone = world.discover(guests=["db1"], unknown_guests="ignore")
    assert (alone["guests"], alone["volumes"], codes(alone)) == ([], [], [("guest-not-found", "db1", None)])
    given_one = given(world, "web1:svm1:/vol/kvm_vol1/web1.img", guests=wanted, unknown_guests="ignore")
    assert [guest["name"] for guest in given_one["guests"]] == ["web1"]
    assert codes(given_one) == codes(found)
    given_none = given(world, "web1:svm1:/vol/kvm_vol1/web1.img", guests=["db1"], unknown_guests="ignore")
    assert given_none["guests"] == []


def test_a_neighbour_that_was_not_asked_for_still_shares_its_image(world: World) -> None:
    image = world.image(world.mnt("kvm_vol1") / "one.img")
    world.guest("a", disk(image))
    world.guest("b", disk(image))
    found = world.discover(guests=["a"])
    assert codes(found) == [("disk-used-by-several-guests", "a", "vda")]


def test_the_stored_mapping_is_compared(world: World) -> None:
    world.guest("a", disk(world.image(world.mnt("kvm_vol1") / "a.img")))
    assert codes(world.discover(mapping=" a : svm1 : /vol/kvm_vol1/a.img ; ")) == []
    found = world.discover(mapping="a:svm1:/vol/old/a.img;z:svm1:/vol/v/z.img;")
    assert codes(found) == [("mapping-drift", "a", None), ("mapping-unknown-guest", "z", None)]
    assert found["kvm_vm_mapping"] == "a:svm1:/vol/kvm_vol1/a.img;"
    with pytest.raises(InputError, match="Entry 1 of the mapping"):
        world.discover(mapping="a:svm1;")


def test_without_libvirt_the_files_are_read(world: World) -> None:
    world.guest("a", disk(world.image(world.mnt("kvm_vol1") / "a.img")))
    (world.root / "etc" / "autostart").mkdir(parents=True)
    (world.root / "etc" / "a.xml").write_text(world.domains[0], encoding="utf-8")
    (world.root / "etc" / "autostart" / "a.xml").symlink_to("../a.xml")
    found = world.discover(uri=f"qemu+unix:///system?socket={world.root}/none")
    assert found["libvirt_available"] is False
    (guest,) = found["guests"]
    assert (guest["state"], guest["source"], guest["autostart"], guest["protected"]) == (
        "unknown",
        "config_dir",
        True,
        True,
    )
    assert codes(found) == [("libvirt-unavailable", None, None), ("autostart", "a", None)]
    assert str(world.root / "etc") in found["problems"][0]["message"]
    with pytest.raises(InputError, match="Failed to read the guests' definitions"):
        world.discover(uri=f"qemu+unix:///system?socket={world.root}/none", config_dir="/no/such/dir")


def test_wrong_credentials_stop_it(world: World) -> None:
    options = world.options()
    options["controllers"][0]["password"] = "wrong"
    with pytest.raises(OntapError, match="127"):
        discover(DiscoveryRequest.from_options(options))
    with pytest.raises(InputError, match="controllers is empty"):
        world.discover(controllers=[])
