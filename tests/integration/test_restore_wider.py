# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores on the lab from a backup that the catalog lost, from another host's catalog, and beside the original.

Bytes are measured where the array keeps them; the originals run on, or are as they were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from world import STAMP, world_of

from kvmlab.evidence import unbroken
from kvmlab.lab import DiskSpec, LunSpec
from kvmlab.process import wait_until

HOST, OTHER = "hv1", "hv9"
GUEST, DISK = "wide1", "/mnt/kvm_vol1/wide1.img"
LUN_GUEST, LUN = "swide1", "/vol/kvm_san1/swide1"
COPY, LUN_COPY = "wide1-old", "swide1-old"
BACKUP, OF_LUNS, FORGED = f"hv1-wide_{STAMP}", f"hv1-widesan_{STAMP}", f"hv1-forged_{STAMP}"
NETWORK = "wide-lan"
CATALOG, AWAY = "/var/lib/kvmsnap", "/var/lib/kvmsnap-away"
LOST = "the catalog does not have the backup: its manifest is the one in the snapshot of svm1:kvm_vol1"
BOOT_SECONDS = 300.0
ASSETS = ["/opt/kvmlab/guest/vmlinuz", "/opt/kvmlab/guest/initramfs"]


@pytest.fixture(scope="module", name="backup", autouse=True)
def _backup(lab: Any) -> Iterator[None]:
    """A guest on NFS with an interface, one on a LUN, and a backup of both; all of it is gone afterwards."""
    xml = f"<network><name>{NETWORK}</name><forward mode='bridge'/><bridge name='br-wide'/></network>"
    lab.ssh(f"cat > /run/{NETWORK}.xml", stdin=xml)
    lab.virsh("net-define", f"/run/{NETWORK}.xml")
    lab.add_guest(GUEST, [DiskSpec(DISK)])
    lab.virsh("attach-interface", GUEST, "network", NETWORK, "--model", "virtio", "--config")
    lab.add_guest(LUN_GUEST, [LunSpec(LUN)])
    backed_up(lab, BACKUP, GUEST, LUN_GUEST)
    yield
    lab.remove_guest(GUEST)
    lab.remove_guest(LUN_GUEST)
    lab.virsh("net-undefine", NETWORK)


def backed_up(lab: Any, name: str, *guests: str) -> None:
    """Back up these guests."""
    play = lab.playbook("backup", extra_vars={"kvm_backup_guests": list(guests), "kvm_backup_id": name})
    assert play.rc == 0, play.stdout


@pytest.fixture
def lost(lab: Any) -> Iterator[None]:
    """Let the catalog lose its backups, and have them again afterwards; another host of the play has them meanwhile."""
    lab.ssh(f"mkdir -m 700 {AWAY} && mv {CATALOG}/backups {AWAY}/backups")
    yield
    lab.ssh(f"rm -rf {CATALOG}/backups && mv {AWAY}/backups {CATALOG}/backups && rm -rf {AWAY}")


def nfs_sha256(lab: Any, path: str = "wide1.img", snapshot: str | None = None) -> str:
    """The hash of a file where the array keeps it."""
    found: str = lab.control.sha256("svm1", "kvm_vol1", path, snapshot=snapshot)
    return found


def lun_sha256(lab: Any, path: str = "swide1", snapshot: str | None = None) -> str:
    """The hash of a LUN where the array keeps it."""
    found: str = lab.control.sha256("svm1", "kvm_san1", path, snapshot=snapshot)
    return found


def restored(lab: Any, *, rc: int = 0, check: bool = False, inventory: Path | None = None, **variables: Any) -> Any:
    """Run the restore playbook; variables without their prefix."""
    wanted = {"backup_id": BACKUP, "stop": "destroy", "allowed_paths": ASSETS, **variables}
    play = lab.playbook(
        "restore",
        inventory=inventory,
        extra_vars={f"kvm_restore_{key}": value for key, value in wanted.items()},
        check=check,
        diff=check,
    )
    assert (play.rc == 0) is (rc == 0), play.stdout
    return play


def agent_answers(lab: Any, guest: str) -> None:
    """Wait until a guest has booted and its agent answers."""
    ping = json.dumps({"execute": "guest-ping"})

    def answers() -> bool:
        return "return" in lab.ssh(f"virsh -q qemu-agent-command {guest} '{ping}' --timeout 5 2>&1 || :")

    wait_until(answers, seconds=BOOT_SECONDS, what=f"an answer of the agent of {guest}", pause=1.0)


def macs(lab: Any, guest: str) -> list[str]:
    """The addresses in a guest's definition."""
    return re.findall(r"<mac address='([^']+)'", lab.virsh("dumpxml", "--inactive", guest))


def taken_away(lab: Any, name: str) -> None:
    """Take a copy away, as the documentation says."""
    play = lab.playbook("clone", extra_vars={"kvm_clone_name": name, "kvm_clone_state": "absent"})
    assert play.rc == 0, play.stdout
    assert play.stats[HOST]["changed"] > 0
    assert name not in lab.virsh("list", "--all", "--name").split()


def test_a_guest_comes_back_under_a_new_name_beside_the_running_original(lab: Any, lost: None) -> None:
    del lost
    original, ticks = lab.virsh("dumpxml", "--inactive", GUEST), lab.ticks(GUEST)
    play = restored(lab, vm_list=GUEST, **{"as": COPY, "as_interfaces": "original"})
    result = play.facts(HOST)["kvm_restore_result"]
    assert result["clone"]["state"] == "shutoff"
    (disk,) = result["disks"]
    assert nfs_sha256(lab, disk["host_path"].rpartition("/")[2]) == nfs_sha256(lab, snapshot=BACKUP)
    assert any(note.startswith(LOST) for note in result["notes"])
    definition = lab.virsh("dumpxml", "--inactive", COPY)
    assert f"network='{NETWORK}'" in definition
    assert DISK not in definition
    assert lab.virsh("domuuid", COPY) != lab.virsh("domuuid", GUEST)
    (mine,), (its,) = macs(lab, COPY), macs(lab, GUEST)
    assert mine != its
    assert lab.virsh("dumpxml", "--inactive", GUEST) == original
    taken_away(lab, COPY)
    assert not lab.storage_path(disk["host_path"]).exists()
    now = lab.ticks(GUEST)
    assert now[: len(ticks)] == ticks
    assert len(now) > len(ticks)
    assert unbroken(now)


def test_a_guest_on_a_lun_comes_back_beside_itself_from_the_catalog_of_another_host(
    lab: Any, lost: None, tmp_path: Path
) -> None:
    del lost
    hosts = json.loads(lab.inventory_path.read_text(encoding="utf-8"))
    entry = hosts["kvm_hosts"]["hosts"][HOST]
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(json.dumps({**hosts, "away": {"hosts": {OTHER: {**entry, "kvm_catalog_dir": AWAY}}}}))
    original, maps = lab.luns.get(LUN), lab.ssh("ls /dev/mapper")
    play = restored(lab, inventory=inventory, vm_list=LUN_GUEST, catalog_host=OTHER, **{"as": LUN_COPY})
    result = play.facts(HOST)["kvm_restore_result"]
    assert "the backup was handed over from the catalog of another host" in result["notes"]
    assert lab.ssh(f"ls {CATALOG}/backups").split() == [BACKUP]
    assert lab.ssh(f"cmp {CATALOG}/backups/{BACKUP}/manifest.json {AWAY}/backups/{BACKUP}/manifest.json") == ""
    assert lab.ssh(f"stat -c %a {CATALOG}/backups/{BACKUP} {CATALOG}/backups/{BACKUP}/manifest.json").split() == [
        "700",
        "600",
    ]
    (made,) = [each for each in lab.luns.all() if "kvmsnap-clone-" in each.name]
    assert made.serial != original.serial
    assert list(lab.luns.maps(made)) == [HOST]
    assert lun_sha256(lab, made.name.rpartition("/")[2]) == lun_sha256(lab, snapshot=BACKUP)
    assert lab.luns.get(LUN) == original
    assert unbroken(lab.ticks(LUN_GUEST))
    taken_away(lab, LUN_COPY)
    assert [each.name for each in lab.luns.all() if "kvmsnap-clone-" in each.name] == []
    assert lab.ssh("ls /dev/mapper") == maps


@pytest.mark.long
def test_a_manifest_that_is_a_link_or_of_another_run_is_not_believed(lab: Any, lost: None) -> None:
    del lost
    before, here = world_of(lab), "/mnt/kvm_vol1/.kvmsnap"
    real = f"{AWAY}/backups/{BACKUP}/manifest.json"
    lab.ssh(f"mkdir {here} && cp {real} {here}/aside && ln -s aside {here}/{FORGED}.json")
    lab.control.add_snapshot("svm1", "kvm_vol1", FORGED)
    lab.ssh(f"rm -r {here} && mkdir {here} && sed s/{BACKUP}/{FORGED}/ {real} > {here}/{FORGED}-2.json")
    lab.control.add_snapshot("svm1", "kvm_vol1", f"{FORGED}-2")
    lab.ssh(f"rm -r {here}")
    said = restored(lab, rc=2, check=True, vm_list=GUEST, backup_id=FORGED).failures(HOST)
    assert "it is a link" in " ".join(said)
    said = restored(lab, rc=2, vm_list=GUEST, backup_id=f"{FORGED}-2").failures(HOST)
    assert "which no backup gave" in " ".join(said)
    after = world_of(lab)
    assert {key: after[key] for key in after if key not in ("snapshots", "files", "ours")} == {
        key: before[key] for key in before if key not in ("snapshots", "files", "ours")
    }
    assert unbroken(lab.ticks(GUEST))


def test_without_the_catalog_disks_come_back_byte_for_byte_by_the_manifest_in_the_snapshot(
    lab: Any, lost: None
) -> None:
    del lost
    lun = lab.luns.get(LUN)
    for guest in (GUEST, LUN_GUEST):
        lab.virsh("destroy", guest)
    for path in (DISK, lun.device):
        lab.ssh(f"dd if=/dev/urandom of={path} bs=1M count=64 conv=notrunc,fsync status=none; cat {path} > /dev/null")
    assert nfs_sha256(lab) != nfs_sha256(lab, snapshot=BACKUP)
    assert lun_sha256(lab) != lun_sha256(lab, snapshot=BACKUP)
    play = restored(lab, vm_list=f"{GUEST},{LUN_GUEST}", power="off", id=f"wide-{STAMP}")
    assert LOST in play.stdout
    assert nfs_sha256(lab) == nfs_sha256(lab, snapshot=BACKUP) == lab.ssh(f"sha256sum {DISK}").split()[0]
    assert lun_sha256(lab) == lun_sha256(lab, snapshot=BACKUP) == lab.ssh(f"sha256sum {lun.device}").split()[0]
    assert lab.luns.get(LUN) == lun
    assert lab.ssh(f"ls {CATALOG}/backups 2> /dev/null || :") == ""
    again = restored(lab, vm_list=f"{GUEST},{LUN_GUEST}", power="off", id=f"wide-{STAMP}")
    assert again.stats[HOST]["changed"] == 0


@pytest.mark.long
def test_a_guest_under_a_new_name_boots_from_the_state_of_the_backup(lab: Any) -> None:
    saved = lab.storage_ticks(DISK, snapshot=BACKUP)
    restored(lab, vm_list=GUEST, power="running", **{"as": COPY})
    agent_answers(lab, COPY)
    ticks = lab.ticks(COPY)
    assert ticks[: len(saved)] == saved
    assert unbroken(ticks)
    again = restored(lab, vm_list=GUEST, power="running", **{"as": COPY})
    assert again.stats[HOST]["changed"] == 0
    taken_away(lab, COPY)


@pytest.mark.long
def test_a_backup_of_luns_alone_is_in_no_snapshot(lab: Any) -> None:
    backed_up(lab, OF_LUNS, LUN_GUEST)
    lab.ssh(f"mv {CATALOG}/backups/{OF_LUNS} {CATALOG}/backups-{OF_LUNS}")
    try:
        said = restored(lab, rc=2, vm_list=LUN_GUEST, backup_id=OF_LUNS).failures(HOST)
    finally:
        lab.ssh(f"mv {CATALOG}/backups-{OF_LUNS} {CATALOG}/backups/{OF_LUNS}")
    assert "those of a backup of LUNs alone never have" in " ".join(said)
