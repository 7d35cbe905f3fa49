# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mapping that was given stands for the discovery: checked, and completed out of the definitions."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from discovered_host import World, codes, disk, given

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError


def test_a_given_mapping_takes_from_the_definition_what_only_that_tells(world: World) -> None:
    vol = world.mnt("kvm_vol1")
    unsafe = disk(world.image(vol / "db1.img"), "vdb").replace("type='raw'", "type='raw' cache='unsafe'")
    world.guest("web1", disk(world.image(vol / "web1.img", 4096), "vda"), unsafe, disk(world.root / "local.img", "vdc"))
    found = given(world, "web1:svm1:/vol/kvm_vol1/web1.img;web1:198.51.100.21:/vol/kvm_vol1/db1.img")
    (web,) = found["guests"]
    assert (web["name"], web["source"], web["protected"], web["state"]) == ("web1", "mapping", True, "running")
    assert web["uuid"] == "00000000-0000-4000-8000-000000000000"
    assert [volume["guests"] for volume in found["volumes"]] == [["web1"]]
    assert found["volumes"][0]["mount_point"] == str(vol)
    assert found["kvm_vm_mapping"].startswith("web1:svm1:/vol/kvm_vol1/web1.img;web1:198.51.100.21:")
    assert codes(found) == [("unsafe-cache", "web1", "vdb")]
    discovered = world.discover(exclude_disks=["vdc"])
    assert web["disks"] == discovered["guests"][0]["disks"][:2]
    assert [(each["target"], each["format"], each["size"]) for each in web["disks"]] == [
        ("vda", "raw", 4096),
        ("vdb", "raw", 1024),
    ]


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
def test_a_given_mapping_of_an_overlay(world: World) -> None:
    vol = world.mnt("kvm_vol1")
    base = world.image(vol / "base.img", 1 << 20)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(vol / "web1.img")]
    subprocess.run(command, check=True, timeout=30)
    world.guest("web1", disk(vol / "web1.img", image_format="qcow2"))
    (guest,) = given(world, "web1:svm1:/vol/kvm_vol1/web1.img")["guests"]
    (image,) = guest["disks"]
    assert (image["format"], image["size"], image["backing"]) == ("qcow2", 1 << 20, [str(base)])
    assert guest["protected"] is True
    base.unlink()
    assert given(world, "web1:svm1:/vol/kvm_vol1/web1.img")["guests"][0]["protected"] is False


def test_a_given_place_that_no_definition_tells_of_is_not_saved(world: World) -> None:
    world.guest("web1", disk(world.image(world.root / "elsewhere.img")))
    found = given(world, "web1:svm1:/vol/kvm_vol1/web1.img;x:svm1:/vol/kvm_vol1/db1.img")
    web, other = found["guests"]
    assert (other["uuid"], other["state"], other["protected"], other["xml"]) == ("", "unknown", False, "")
    assert web["protected"] is False
    (image,) = web["disks"]
    assert (image["target"], image["format"], image["included"]) == ("disk1", "unknown", False)
    assert image["reason"].startswith("no disk of the guest's definition lies there")
    assert other["disks"][0]["reason"].startswith("libvirt does not tell of the guest")
    assert codes(found, "error") == [("mapping-format-unknown", name, "disk1") for name in ("web1", "x")]
    assert found["volumes"] == []
    assert found["kvm_vm_mapping"] == "web1:svm1:/vol/kvm_vol1/web1.img;x:svm1:/vol/kvm_vol1/db1.img;"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("g:svm9:/vol/kvm_vol1/web1.img", "mapping-unknown-controller"),
        ("g:192.0.2.77:/vol/kvm_vol1/web1.img", "mapping-unknown-controller"),
        ("g:svm2:/vol/kvm_vol1/web1.img", "mapping-unknown-volume"),
        ("g:svm1:/vol/kvm_vol1/none.img", "mapping-unknown-path"),
        ("g:svm1:/vol/kvm_vol1/dir", "mapping-not-a-file"),
    ],
)
def test_entries_that_are_wrong(world: World, entry: str, code: str) -> None:
    (world.array.volume_root("svm1", "kvm_vol1") / "dir").mkdir(exist_ok=True)
    world.guest("g", disk(world.image(world.mnt("kvm_vol1") / "web1.img")))
    found = given(world, f"g:svm1:/vol/kvm_vol1/web1.img;{entry}")
    (guest,) = found["guests"]
    assert guest["protected"] is False
    assert [each["included"] for each in guest["disks"]] == [True, False]
    assert codes(found) == [(code, "g", "disk2")]


def test_a_given_mapping_without_libvirt_is_checked_and_not_saved(world: World) -> None:
    found = given(world, "g:svm1:/vol/kvm_vol1/web1.img", uri=f"qemu+unix:///system?socket={world.root}/none")
    assert (found["libvirt_available"], found["guests"][0]["protected"]) == (False, False)
    assert codes(found) == [("mapping-format-unknown", "g", "disk1")]


def test_guests_of_a_given_mapping(world: World) -> None:
    mapping = "a:svm1:/vol/kvm_vol1/web1.img;b:svm1:/vol/kvm_vol1/db1.img"
    found = given(world, mapping, guests=["b"])
    assert [guest["name"] for guest in found["guests"]] == ["b"]
    assert found["kvm_vm_mapping"] == "b:svm1:/vol/kvm_vol1/db1.img;"
    with pytest.raises(InputError, match="Guest 'c' is not known here; the guests of this host are: a, b"):
        given(world, mapping, guests=["c"])
    with pytest.raises(InputError, match="mapping is empty"):
        given(world, "")
