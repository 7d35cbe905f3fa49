# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest with a LUN and a file that was deleted, whose disks were moved, or whose host is lost: bytes on the array.

The other host is the lab's second one (see `kvmlab.second`): with the storage of the first, a libvirtd and a catalog of
its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import canonicalize

import pytest
from world import world_of

from kvmlab.evidence import unbroken
from kvmlab.lab import DiskSpec, GuestSpec, LunSpec
from kvmlab.second import SecondHost

HOST, OTHER = "hv1", "hv2"
GUEST, BOOT, DATA = "any1", "/vol/kvm_san1/any1", "/mnt/kvm_vol1/any1-data.img"
MOVED_BOOT, MOVED_DATA = "/vol/kvm_san2/any1-moved", "/mnt/kvm_vol2/any1-moved.img"
DISKS = [LunSpec(BOOT), DiskSpec(DATA, cache="writeback")]
ASSETS = ["/opt/kvmlab/guest/vmlinuz", "/opt/kvmlab/guest/initramfs", f"/var/log/libvirt/qemu/{GUEST}-console.log"]
RUN = f"{datetime.now(timezone.utc):%Y%m%d%H%M%S}"
OLDER, NEWER = f"hv1-atest_{RUN}", f"hv1-btest_{RUN}"


@pytest.fixture(scope="module", name="backups", autouse=True)
def _backups(lab: Any) -> Iterator[None]:
    """A guest that boots from a LUN and has data on NFS, and two backups of it; it is gone afterwards."""
    lab.add_guest(GUEST, DISKS)
    for name in (OLDER, NEWER):
        play = lab.playbook("backup", extra_vars={"kvm_backup_guests": [GUEST], "kvm_backup_id": name})
        assert play.rc == 0, play.stdout
    lab.virsh("destroy", GUEST)
    damage(lab)
    assert sums(lab, OLDER) != sums(lab, NEWER)
    yield
    lab.control.clear_faults()
    lab.remove_guest(GUEST)


def sums(lab: Any, snapshot: str | None = None) -> list[str]:
    """The hashes of both disks where the array keeps them."""
    places = (("kvm_san1", "any1"), ("kvm_vol1", "any1-data.img"))
    return [lab.control.sha256("svm1", volume, path, snapshot=snapshot) for volume, path in places]


def damage(lab: Any) -> None:
    """Overwrite the end of both disks of the guest, which is off, so that its file systems still hold."""
    for path in (lab.luns.get(BOOT).device, DATA):
        lab.ssh(f"dd if=/dev/urandom of={path} bs=64k count=1 seek=1023 conv=notrunc,fsync status=none")


def asked(lab: Any, inventory: Path | None = None, **variables: Any) -> Any:
    """Run the restore playbook for the guest; variables without their prefix."""
    wanted = {"vm_list": GUEST, "stop": "destroy", "power": "off", **variables}
    return lab.playbook(
        "restore", inventory=inventory, extra_vars={f"kvm_restore_{key}": value for key, value in wanted.items()}
    )


def restored(lab: Any, name: str, **variables: Any) -> Any:
    """Restore the guest, which must succeed."""
    play = asked(lab, id=f"{name}-{RUN}", **variables)
    assert play.rc == 0, play.stdout
    return play


@pytest.mark.long
def test_a_deleted_guest_is_back_from_an_older_backup_and_runs(lab: Any) -> None:
    lun, uuid = lab.luns.get(BOOT), lab.virsh("domuuid", GUEST).strip()
    lab.virsh("undefine", GUEST)
    lab.ssh(f"rm {DATA}")
    play = asked(lab, backup_id=OLDER)
    assert play.rc != 0
    assert "kvm_restore_host" in " ".join(play.failures(HOST))
    restored(lab, "deleted", backup_id=OLDER, host=HOST)
    assert sums(lab) == sums(lab, OLDER)
    assert lab.virsh("domuuid", GUEST).strip() == uuid
    assert lab.luns.get(BOOT) == lun
    assert lab.ssh(f"sha256sum {lun.device} {DATA}").split()[::2] == sums(lab, OLDER), "the host's caches are stale"
    again = restored(lab, "deleted", backup_id=OLDER, host=HOST, power="running")
    assert again.stats[HOST]["changed"] == 0
    lab.virsh("start", GUEST)
    lab.guests.wait([GuestSpec(GUEST, DISKS)])
    assert unbroken(lab.ticks(GUEST))
    lab.virsh("destroy", GUEST)


@pytest.mark.long
def test_disks_that_were_moved_come_back_to_their_old_places(lab: Any) -> None:
    lun = lab.luns.get(BOOT)
    moved = lab.san.provide(MOVED_BOOT, lun.size >> 20)
    lab.ssh(f"cp --sparse=never {DATA} {MOVED_DATA}")
    before = lab.virsh("dumpxml", "--inactive", GUEST)
    there = before.replace(lun.device, moved.device).replace(DATA, MOVED_DATA)
    try:
        lab.ssh("cat > /run/any1.xml && virsh -q define /run/any1.xml", stdin=there)
        world = world_of(lab)
        play = asked(lab, backup_id=NEWER)
        said = " ".join(play.failures(HOST))
        for place in (BOOT, MOVED_BOOT, "/vol/kvm_vol1/any1-data.img", "/vol/kvm_vol2/any1-moved.img"):
            assert place in said
        assert world_of(lab) == world
        restored(lab, "moved", backup_id=NEWER, moved_disks="old_place")
        assert sums(lab) == sums(lab, NEWER)
        assert canonicalize(lab.virsh("dumpxml", "--inactive", GUEST)) == canonicalize(before)
    finally:
        lab.ssh(f"virsh -q define /dev/stdin > /dev/null && rm -f {MOVED_DATA}", stdin=before)
        lab.san.discard(moved)


def two_hosts(lab: Any, second: SecondHost, tmp_path: Path) -> Path:
    """An inventory with both hosts."""
    found = json.loads(lab.inventory_path.read_text(encoding="utf-8"))
    found["kvm_hosts"]["hosts"][OTHER] = second.inventory_entry
    path = tmp_path / "two.yml"
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def test_the_guest_of_a_lost_host_is_back_on_another(lab: Any, second: SecondHost, tmp_path: Path) -> None:
    inventory = two_hosts(lab, second, tmp_path)
    wanted = {"id": f"lost-{RUN}", "backup_id": NEWER, "host": OTHER, "catalog_host": HOST, "allowed_paths": ASSETS}
    damage(lab)
    play = asked(lab, inventory, **wanted)
    assert play.rc != 0
    assert f"{GUEST} is defined on {HOST}" in play.stdout
    xml = lab.virsh("dumpxml", "--inactive", GUEST)
    lab.virsh("undefine", GUEST)
    try:
        play = asked(lab, inventory, **wanted)
        assert play.rc == 0, play.stdout
        assert sums(lab) == sums(lab, NEWER)
        assert GUEST in second.virsh("list", "--all", "--name").split()
        assert GUEST not in lab.virsh("list", "--all", "--name").split()
        second.virsh("undefine", GUEST)
    finally:
        lab.ssh("virsh -q define /dev/stdin", stdin=xml)
