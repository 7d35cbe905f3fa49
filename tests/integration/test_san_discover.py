# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests on LUNs of a real two-path map: found under every name, refused with a reason, backed up beside NFS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Optional

import pytest

HOST = "hv1"
BOOT = "/vol/kvm_san1/san1"
NAMED, VOLUME_GROUP, PARTITIONED = "/vol/kvm_san1/disc-named", "/vol/kvm_san2/disc-vg", "/vol/kvm_san2/disc-part"
BACKUP = "hv1-san_20261121030000"
SMALL_MIB = 32
DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64'>hvm</type></os><devices>
<disk type='block' device='{kind}'><driver name='qemu' type='raw' cache='none'/><source dev='{device}'/>
<target dev='{target}' bus='{bus}'/>{more}</disk>{controller}</devices></domain>"""


class Guests:
    """Guests that are only defined, each with one disk on a device of the host."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.names: list[str] = []

    def define(self, name: str, device: str, *, shared: bool = False, kind: str = "disk") -> None:
        """Define a guest that is off; ``kind`` lun passes the guest's SCSI commands on."""
        passed = kind == "lun"
        xml = DOMAIN.format(
            name=name,
            device=device,
            kind=kind,
            target="sda" if passed else "vda",
            bus="scsi" if passed else "virtio",
            more="<shareable/>" if shared else "",
            controller="<controller type='scsi' model='virtio-scsi'/>" if passed else "",
        )
        self.lab.ssh("virsh -c qemu:///system define /dev/stdin", stdin=xml)
        self.names.append(name)

    def undefine(self) -> None:
        """Forget them all."""
        for name in self.names:
            self.lab.virsh("undefine", name)


@pytest.fixture(scope="module", name="luns")
def _luns(lab: Any) -> Iterator[dict[str, Any]]:
    """One LUN with an alias, one with a volume group of the host, one with a partition mapped by kpartx."""
    found = {name: lab.san.provide(name, SMALL_MIB) for name in (NAMED, VOLUME_GROUP, PARTITIONED)}
    lab.san.set_alias(found[NAMED], "disc")
    lab.san.make_volume_group(found[VOLUME_GROUP])
    lab.san.partition(found[PARTITIONED])
    yield found
    lab.san.unpartition(found[PARTITIONED])
    lab.san.remove_volume_group(found[VOLUME_GROUP])
    lab.san.set_alias(found[NAMED], None)
    for lun in found.values():
        lab.san.discard(lun)


@pytest.fixture(scope="module", name="guests")
def _guests(lab: Any, luns: dict[str, Any]) -> Iterator[list[str]]:
    """Guests that are off, one for each way to name a device and one for each way to use a LUN wrongly."""
    guests = Guests(lab)
    lun, path = luns[NAMED], lab.san.paths(luns[PARTITIONED].wwid)[0].disk
    by_id = "/dev/disk/by-id"
    for name, device in (
        ("disc-alias", "/dev/mapper/disc"),
        ("disc-node", lab.ssh("readlink -f /dev/mapper/disc").strip()),
        ("disc-dm-uuid", f"{by_id}/dm-uuid-mpath-{lun.wwid}"),
        ("disc-dm-name", f"{by_id}/dm-name-disc"),
        ("disc-wwn", f"{by_id}/wwn-0x{lun.wwid[1:]}"),
        ("disc-scsi", f"{by_id}/scsi-{lun.wwid}"),
    ):
        guests.define(name, device, shared=True)
    guests.define("disc-passed", "/dev/mapper/disc", shared=True, kind="lun")
    guests.define("disc-volume", "/dev/kvmlab/data")
    guests.define("disc-group", luns[VOLUME_GROUP].device)
    guests.define("disc-partition", f"{luns[PARTITIONED].device}-part1")
    guests.define("disc-path", f"/dev/{path}")
    yield guests.names
    guests.undefine()


def discovery(lab: Any, guests: list[str]) -> dict[str, Any]:
    """Discover and return what was found."""
    play = lab.playbook("discover", extra_vars={"kvm_discover_guests": guests})
    assert play.rc == 0, play.stdout
    found: dict[str, Any] = play.facts(HOST)["kvm_discovery"]
    return found


def codes(found: dict[str, Any], guest: str) -> list[str]:
    """Return the codes told of a guest, but for those that are not about storage."""
    return [problem["code"] for problem in found["problems"] if problem["guest"] == guest and problem["disk"]]


def protected(found: dict[str, Any]) -> dict[str, bool]:
    """Return for each guest whether it is protected."""
    return {guest["name"]: guest["protected"] for guest in found["guests"]}


def storage(found: dict[str, Any], name: str) -> Optional[dict[str, Any]]:
    """Return where a guest's first disk lies."""
    (place,) = (guest["disks"][0]["storage"] for guest in found["guests"] if guest["name"] == name)
    return place if place is None else dict(place)


def test_every_name_of_a_map_leads_to_its_lun(lab: Any, luns: dict[str, Any], guests: list[str]) -> None:
    found = discovery(lab, ["san1", "disc-*"])
    boot, named = lab.luns.get(BOOT), luns[NAMED]
    assert codes(found, "san1") == []
    place = storage(found, "san1")
    assert place is not None
    assert (place["kind"], place["svm"], place["volume"], place["path"]) == ("lun", "svm1", "kvm_san1", "san1")
    assert place["lun"] == {
        "uuid": boot.uuid,
        "serial": boot.serial,
        "wwid": boot.wwid,
        "size": boot.size,
        "os_type": "linux",
        "device": boot.device,
    }
    same = ("disc-alias", "disc-node", "disc-dm-uuid", "disc-dm-name", "disc-wwn", "disc-scsi", "disc-passed")
    for name in same:
        place = storage(found, name)
        assert place is not None, name
        assert (place["lun"]["uuid"], place["lun"]["device"]) == (named.uuid, "/dev/mapper/disc"), name
        assert codes(found, name) == ["shareable-disk"], name

    refused = {"disc-volume": "logical-volume", "disc-partition": "lun-partition", "disc-path": "single-path-device"}
    assert {name: codes(found, name) for name in refused} == {name: [code] for name, code in refused.items()}
    assert codes(found, "disc-group") == ["lun-activated-on-host", "lun-used-by-several-guests"]
    (used,) = (each for each in found["problems"] if each["code"] == "lun-used-by-several-guests")
    assert "guest disc-volume (" in used["message"]
    assert protected(found) == {name: name not in (*refused, "disc-group") for name in ("san1", *guests)}
    assert {volume["volume"]: volume["mount_point"] for volume in found["volumes"]} == {"kvm_san1": None}


def test_sanlun_that_lies_about_one_device_costs_that_guest_alone(
    lab: Any, luns: dict[str, Any], guests: list[str]
) -> None:
    lab.san.install_sanlun(lies={luns[NAMED].wwid: "svm1:/vol/kvm_san1/another"})
    try:
        found = discovery(lab, ["san1", "disc-alias", "web1"])
    finally:
        lab.san.remove_sanlun()
    assert protected(found) == {"san1": True, "disc-alias": False, "web1": True}
    (problem,) = (each for each in found["problems"] if each["severity"] == "error")
    assert problem["code"] == "sanlun-disagrees"
    assert "svm1:/vol/kvm_san1/another" in problem["message"]
    assert f"svm1:{NAMED}" in problem["message"]


def test_a_lost_path_is_a_warning_and_a_map_without_any_is_refused_and_not_waited_for(
    lab: Any, luns: dict[str, Any], guests: list[str]
) -> None:
    boot, gone = lab.luns.get(BOOT), luns[NAMED]
    (number,) = lab.luns.maps(gone).values()
    lab.san.portal_down("b")
    lab.luns.unmap(gone)
    try:
        lab.san.wait_paths(boot, 1)
        lab.san.wait_paths(gone, 0)
        found = discovery(lab, ["san1", "disc-alias"])
    finally:
        lab.luns.map(gone, number=number)
        lab.san.portal_up("b")
    for lun in (boot, gone):
        lab.san.wait_paths(lun)
    assert (codes(found, "san1"), codes(found, "disc-alias")) == (["path-failed"], ["no-working-path"])
    assert protected(found) == {"san1": True, "disc-alias": False}


def test_without_multipathd_the_guests_on_nfs_are_saved_and_those_on_luns_named(lab: Any) -> None:
    wanted = {"kvm_backup_guests": ["san1", "web1"], "kvm_backup_id": f"{BACKUP}-blind"}
    lab.san.stop_multipathd()
    try:
        play = lab.playbook("backup", extra_vars=wanted)
    finally:
        lab.san.start_multipathd()
    assert play.rc != 0
    assert "san1 is not protected" in play.failures(HOST)[-1]
    result = play.facts(HOST)["kvm_backup_result"]
    assert [guest["name"] for guest in result["guests"]] == ["web1"]
    assert [(guest["name"], guest["problems"]) for guest in result["unprotected"]] == [
        ("san1", ["multipathd-not-running"])
    ]


def test_one_backup_holds_guests_on_luns_and_on_nfs(lab: Any) -> None:
    before = {name: lab.ticks(name) for name in ("san1", "web1")}
    boot = lab.luns.get(BOOT)
    play = lab.playbook("backup", extra_vars={"kvm_backup_guests": ["san1", "web1"], "kvm_backup_id": BACKUP})
    assert play.rc == 0, play.stdout
    result = play.facts(HOST)["kvm_backup_result"]
    assert {guest["name"]: guest["consistency"] for guest in result["guests"]} == dict.fromkeys(
        before, "filesystem-consistent"
    )
    there = {volume["name"]: volume["snapshots"] for volume in lab.control.volumes() if volume["svm"] == "svm1"}
    assert [name for name, snapshots in sorted(there.items()) if BACKUP in snapshots] == ["kvm_san1", "kvm_vol1"]

    manifest = json.loads(lab.ssh(f"cat /var/lib/kvmsnap/backups/{BACKUP}/manifest.json"))
    (saved,) = (guest["disks"][0]["storage"] for guest in manifest["guests"] if guest["name"] == "san1")
    assert (saved["volume"], saved["path"], saved["lun"]["os_type"]) == ("kvm_san1", "san1", "linux")
    assert (saved["lun"]["uuid"], saved["lun"]["serial"], saved["lun"]["size"]) == (boot.uuid, boot.serial, boot.size)
    carried = lab.storage_path(f"/mnt/kvm_vol1/.kvmsnap/{BACKUP}.json", snapshot=BACKUP)
    assert json.loads(carried.read_text())["backup_id"] == BACKUP

    for name, path in (("san1", BOOT), ("web1", "/mnt/kvm_vol1/web1.img")):
        assert not lab.needs_recovery(path, snapshot=BACKUP)
        assert lab.storage_ticks(path, snapshot=BACKUP)[: len(before[name])] == before[name]
