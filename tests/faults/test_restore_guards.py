# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore refuses, lists or does together, with a real libvirtd: snapshots, checkpoints, shared disks."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from kvmground import Ground
from kvmground.modules import Outcome
from kvmlab.process import wait_until

BACKUP = "hv1-daily_20261121020000"
SHUTOFF, RUNNING = 5, 1
OWN, COMMON = "kvm_vol1", "kvm_vol2"
NODES = ("node1", "node2")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest on qcow2, two guests that share a disk, and a backup of all."""
    with Ground.beside("guards") as found:
        for name in NODES:
            found.guests.add_still(name, OWN, running=False)
        found.guests.image("quorum", COMMON).write_bytes(b"q" * 1024 * 1024)
        for name in NODES:
            redefined(found, name, "</devices>", shared_disk(found) + "</devices>")
        found.guests.add_still("cow", OWN, running=False)
        as_qcow2(found, "cow")
        for name in (*NODES, "cow"):
            found.guests.domain(name).create()
        found.back_up(BACKUP)
        yield found


def redefined(ground: Ground, name: str, what: str, by: str) -> None:
    """Change the definition of a guest that is off."""
    ground.guests.connection.defineXML(ground.guests.domain(name).XMLDesc(2).replace(what, by))


def shared_disk(ground: Ground) -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>"
        f"<source file='{ground.guests.disk('quorum', COMMON)}'/><target dev='vdb' bus='virtio'/><shareable/></disk>"
    )


def as_qcow2(ground: Ground, name: str) -> None:
    """Let a guest have its image as qcow2."""
    raw = ground.guests.image(name, OWN)
    image = raw.with_name(f"{name}.qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    raw.unlink()
    redefined(ground, name, "type='raw'", "type='qcow2'")
    redefined(ground, name, f"/{name}.img", f"/{name}.qcow2")


def restore(ground: Ground, *guests: str, **options: Any) -> Outcome:
    """Restore guests; without a system they do not obey a shutdown."""
    return ground.module("kvm_app_restore", guests=list(guests), backup_id=BACKUP, stop="destroy", **options)


def notes(outcome: Outcome) -> str:
    assert not outcome.failed, outcome.msg
    return "\n".join(note for guest in outcome["plan"]["guests"] for note in guest["notes"])


def content(ground: Ground, name: str, volume: str) -> str:
    return hashlib.sha256(ground.guests.image(name, volume).read_bytes()).hexdigest()


def written(ground: Ground, data: bytes) -> tuple[str, ...]:
    """Change the disks of the guests that share one, and return what all of them hold then."""
    for name, volume in ((NODES[0], OWN), (NODES[1], OWN), ("quorum", COMMON)):
        with ground.guests.image(name, volume).open("r+b") as stream:
            stream.seek(65536)
            stream.write(data)
    return contents(ground)


def contents(ground: Ground) -> tuple[str, ...]:
    """What the two guests' disks hold, and the one that they share."""
    return (content(ground, NODES[0], OWN), content(ground, NODES[1], OWN), content(ground, "quorum", COMMON))


def states(ground: Ground) -> list[int]:
    return [ground.guests.domain(name).state()[0] for name in NODES]


def codes(outcome: Outcome) -> list[str]:
    assert outcome.failed
    return [problem["code"] for problem in outcome.result["problems"]]


def test_a_shared_disk_is_restored_once_and_with_both_its_guests(ground: Ground) -> None:
    saved = contents(ground)
    changed = written(ground, b"after the backup")
    alone = restore(ground, "node1")
    assert codes(alone) == ["shareable-disk"]
    assert "guest node2 (vdb)" in alone.msg
    assert (contents(ground), states(ground)) == (changed, [RUNNING, RUNNING])
    both = restore(ground, "node2", "node1", restore_id="both")
    assert not both.failed, both.msg
    overwritten = [disk["path"] for guest in both["guests"] for disk in guest["disks"]]
    assert sorted(overwritten) == [f"svm1:/vol/{OWN}/{name}.img" for name in NODES] + [f"svm1:/vol/{COMMON}/quorum.img"]
    assert (contents(ground), states(ground)) == (saved, [RUNNING, RUNNING])
    undone = restore(ground, *NODES, restore_id="both", state="undone")
    assert not undone.failed, undone.msg
    assert (contents(ground), states(ground)) == (changed, [RUNNING, RUNNING])


def test_a_shared_disk_is_restored_once_when_one_of_its_guests_was_deleted(ground: Ground) -> None:
    victim = min((ground.guests.domain(name) for name in NODES), key=lambda domain: domain.UUIDString())
    saved = [ground.guests.image(*each, snapshot=BACKUP).read_bytes() for each in (*((name, OWN) for name in NODES),)]
    xml = victim.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE)
    if victim.isActive():
        victim.destroy()
    victim.undefine()
    written(ground, b"after one was deleted")
    try:
        both = restore(ground, *NODES, restore_id="one-deleted", define_missing=True)
        assert not both.failed, both.msg
        overwritten = [disk["path"] for guest in both["guests"] for disk in guest["disks"]]
        shared = f"svm1:/vol/{COMMON}/quorum.img"
        assert overwritten.count(shared) == 1
        assert [ground.guests.image(name, OWN).read_bytes() for name in NODES] == saved
        undone = restore(ground, *NODES, restore_id="one-deleted", state="undone")
        assert not undone.failed, undone.msg
        assert victim.name() not in [domain.name() for domain in ground.guests.connection.listAllDomains()]
    finally:
        ground.guests.connection.defineXML(xml).create()


@pytest.mark.long
def test_when_a_disk_of_one_of_them_fails_both_are_as_before(ground: Ground) -> None:
    changed = written(ground, b"before a restore that fails")
    third = {"method": "POST", "path": "/storage/file/clone$", "after": 2, "count": 1}
    ground.control.add_fault("job_fail", match=third)
    failed = restore(ground, *NODES, restore_id="fails", method="file_clone")
    assert failed.failed
    assert [guest["restored"] for guest in failed.result["guests"]] == [False, False]
    assert "which shares a disk with it, was not restored" in failed.msg
    assert (contents(ground), states(ground)) == (changed, [RUNNING, RUNNING])
    again = restore(ground, *NODES, restore_id="fails")
    assert not again.failed, again.msg
    assert all(now != before for now, before in zip(contents(ground), changed))
    assert restore(ground, *NODES, restore_id="fails")["changed"] is False
    assert codes(restore(ground, "node1", restore_id="fails", state="undone")) == ["shareable-disk"]


@pytest.mark.long
def test_a_killed_restore_of_both_goes_on_with_both(ground: Ground) -> None:
    saved = ground.guests.image("quorum", COMMON, snapshot=BACKUP).read_bytes()
    before = written(ground, b"before the kill")
    running = ground.begin("kvm_app_restore", guests=list(NODES), backup_id=BACKUP, stop="destroy", restore_id="killed")
    wait_until(lambda: contents(ground) != before, seconds=60, what="a disk that was overwritten", pause=0.001)
    running.kill()
    assert states(ground) == [SHUTOFF, SHUTOFF]
    again = restore(ground, *NODES, restore_id="killed")
    assert not again.failed, again.msg
    assert ground.guests.image("quorum", COMMON).read_bytes() == saved
    assert states(ground) == [RUNNING, RUNNING]


def test_what_a_restore_makes_worthless_is_listed(ground: Ground) -> None:
    domain = ground.guests.domain("cow")
    checkpoint = domain.checkpointCreateXML("<domaincheckpoint><name>nightly</name></domaincheckpoint>", 0)
    domain.destroy()
    told = notes(restore(ground, "cow", check=True))
    assert "libvirt's checkpoints nightly are of no use" in told
    assert "dirty bitmaps of now (nightly) go" in told
    checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
    snapshot = domain.snapshotCreateXML("<domainsnapshot><name>before-update</name></domainsnapshot>", 0)
    told = notes(restore(ground, "cow"))
    assert "libvirt's snapshots before-update do not fit" in told
    assert "checkpoints" not in told
    assert "(before-update) go" in told
    snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
    again = notes(restore(ground, "cow", check=True))
    assert not [word for word in ("libvirt's", "nightly", "before-update") if word in again]


@pytest.mark.long
def test_an_external_snapshot_since_is_named_and_can_be_merged_as_the_remedy_says(ground: Ground) -> None:
    domain = ground.guests.domain("cow")
    if not domain.isActive():
        domain.create()
    disk_only = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    domain.snapshotCreateXML("<domainsnapshot><name>since</name></domainsnapshot>", disk_only)
    refused = restore(ground, "cow")
    assert codes(refused) == ["backing-chain-mismatch"]
    assert "cow.since now: external snapshots that were taken since" in refused.msg
    base = str(ground.guests.disk("cow", OWN).with_name("cow.qcow2"))
    remedy = refused.result["problems"][0]["remedy"]
    assert f"virsh blockcommit cow vda --base {base} --active --pivot --wait" in remedy
    ground.run(["virsh", "-c", ground.uri, *remedy.partition("virsh ")[2].partition(",")[0].split()])
    merged = restore(ground, "cow")
    assert not merged.failed, merged.msg
    assert domain.state()[0] == RUNNING


def test_a_transient_guest_is_restored_and_one_that_was_killed_amid_is_not_lost(ground: Ground) -> None:
    domain = ground.guests.domain("cow")
    if not domain.isActive():
        domain.create()
    domain.undefine()
    definition = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE)
    image = ground.guests.image("cow", OWN).with_name("cow.qcow2")
    running = ground.begin("kvm_app_restore", guests=["cow"], backup_id=BACKUP, stop="destroy", restore_id="transient")
    wait_until(lambda: not is_active(ground, "cow"), seconds=60, what="a guest that is off", pause=0.001)
    running.kill()
    assert ground.guests.domain("cow").state()[0] == SHUTOFF, "libvirt knows it still"
    saved = image.with_name(".snapshot") / BACKUP / image.name
    again = restore(ground, "cow", restore_id="transient")
    assert not again.failed, again.msg
    domain = ground.guests.domain("cow")
    assert (domain.state()[0], domain.isPersistent()) == (RUNNING, 0)
    assert domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE) == definition
    subprocess.run(["qemu-img", "compare", "-U", "-f", "qcow2", "-F", "qcow2", image, saved], check=True)
    off = restore(ground, "cow", power="off")
    assert "it is transient" in notes(off)
    assert ground.guests.domain("cow").state()[0] == SHUTOFF, "it is not gone"


def is_active(ground: Ground, name: str) -> bool:
    """Whether a guest has a process, which it has not when libvirt does not know it either."""
    return name in [domain.name() for domain in ground.guests.connection.listAllDomains(1)]
