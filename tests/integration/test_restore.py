# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores on the lab: bytes measured on the array's side, guests asked of libvirt, a neighbour left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from world import STAMP, world_of

from kvmlab.evidence import unbroken
from kvmlab.lab import DiskSpec, GuestSpec

HOST = "hv1"
GUEST, DISK = "rest1", "/mnt/kvm_vol1/rest1.img"
DISKS = [DiskSpec(DISK, cache="writeback")]
NEIGHBOUR, NEIGHBOUR_DISK = "db1", "db1.img"
BACKUP = f"hv1-rtest_{STAMP}"


def sha256(lab: Any, snapshot: str | None = None) -> str:
    """The hash of the guest's disk where the array keeps it."""
    found: str = lab.control.sha256("svm1", "kvm_vol1", "rest1.img", snapshot=snapshot)
    return found


@pytest.fixture(scope="module", name="backup", autouse=True)
def _backup(lab: Any) -> Iterator[None]:
    """A guest of its own beside a neighbour, and a backup of both; the guest is gone afterwards."""
    lab.add_guest(GUEST, DISKS)
    play = lab.playbook("backup", extra_vars={"kvm_backup_guests": [GUEST, NEIGHBOUR], "kvm_backup_id": BACKUP})
    assert play.rc == 0, play.stdout
    yield
    lab.remove_guest(GUEST)


def damage(lab: Any) -> None:
    """Read the disk through the host's cache, so that stale pages are there, then overwrite it with garbage."""
    lab.virsh("destroy", GUEST)
    lab.ssh(f"cat {DISK} > /dev/null; dd if=/dev/urandom of={DISK} bs=1M count=64 conv=notrunc,fsync status=none")
    assert sha256(lab) != sha256(lab, BACKUP)


def restored(lab: Any, **variables: Any) -> Any:
    """Run the restore playbook for the guest."""
    wanted = {"kvm_restore_vm_list": GUEST, "kvm_restore_backup_id": BACKUP, "kvm_restore_stop": "destroy", **variables}
    play = lab.playbook("restore", extra_vars=wanted)
    assert play.rc == 0, play.stdout
    return play


def test_a_check_shows_the_plan_and_touches_nothing(lab: Any) -> None:
    before = world_of(lab)
    journal = lab.control.journal()
    play = lab.playbook(
        "restore",
        extra_vars={"kvm_restore_vm_list": f"{GUEST}, ", "kvm_restore_backup_id": BACKUP},
        check=True,
        diff=True,
    )
    assert play.rc == 0, play.stdout
    assert play.stats[HOST]["changed"] > 0
    assert "svm1:/vol/kvm_vol1/rest1.img" in play.stdout
    assert f"as in snapshot {BACKUP}" in play.stdout
    assert world_of(lab) == before
    assert lab.control.journal() == journal


def test_a_destroyed_disk_is_back_byte_for_byte_and_the_neighbour_did_not_notice(lab: Any) -> None:
    ticks = lab.ticks(NEIGHBOUR)
    damage(lab)
    mark = max(entry["seq"] for entry in lab.control.journal())
    restored(lab, kvm_restore_power="off", kvm_restore_id=f"it-1-{STAMP}")
    assert sha256(lab) == sha256(lab, BACKUP)
    assert lab.virsh("domstate", GUEST).strip() == "shut off"
    done = [(entry["op"], entry["volume"], entry["path"]) for entry in lab.control.journal(after=mark)]
    assert [each[:2] for each in done] == [("file_clone", "kvm_vol1"), ("snapshot_create", "kvm_vol1")]
    assert done[0][2].startswith(".kvmsnap-tmp-"), "the array wrote to a name that a guest has"
    assert not list(lab.storage_path(DISK).parent.glob(".kvmsnap-[ta]*")), "a name of ours is left"
    through_the_host = lab.ssh(f"sha256sum {DISK}").split()[0]
    assert through_the_host == sha256(lab, BACKUP), "the host's cache answers with bytes from before the restore"
    now = lab.ticks(NEIGHBOUR)
    assert now[: len(ticks)] == ticks
    assert len(now) > len(ticks)
    assert unbroken(now)


def test_the_same_restore_again_changes_nothing_and_a_new_one_restores(lab: Any) -> None:
    lab.ssh(f"printf later | dd of={DISK} bs=1 seek=1000 conv=notrunc,fsync status=none")
    written_since = sha256(lab)
    before = world_of(lab)
    again = restored(lab, kvm_restore_power="off", kvm_restore_id=f"it-1-{STAMP}")
    assert again.stats[HOST]["changed"] == 0
    assert world_of(lab) == before
    assert sha256(lab) == written_since
    anew = restored(lab, kvm_restore_power="off", kvm_restore_id=f"it-2-{STAMP}")
    assert anew.stats[HOST]["changed"] > 0
    assert sha256(lab) == sha256(lab, BACKUP)


def test_a_running_guest_is_stopped_restored_and_runs_again_from_its_saved_state(lab: Any) -> None:
    saved = lab.storage_ticks(DISK, snapshot=BACKUP)
    restored(lab, kvm_restore_power="running", kvm_restore_id=f"it-3-{STAMP}")
    assert lab.virsh("domstate", GUEST).strip() == "running"
    lab.guests.wait([GuestSpec(GUEST, DISKS)])
    ticks = lab.ticks(GUEST)
    assert ticks[: len(saved)] == saved
    assert unbroken(ticks)


def test_a_disk_that_got_another_inode_is_what_host_and_guest_read(lab: Any) -> None:
    """Whether a clone that overwrites a file keeps its inode is the array's affair; the host may know the old one."""
    saved = lab.storage_ticks(DISK, snapshot=BACKUP)
    damage(lab)
    before = lab.storage_path(DISK).stat().st_ino
    lab.control.set_switches(file_clone_keeps_inode=False)
    try:
        play = restored(
            lab, kvm_restore_power="off", kvm_restore_id=f"it-inode-{STAMP}", kvm_restore_method="file_clone"
        )
    finally:
        lab.control.set_switches(file_clone_keeps_inode=True)
    assert "by file_clone" in play.stdout
    assert lab.storage_path(DISK).stat().st_ino != before
    assert sha256(lab) == sha256(lab, BACKUP)
    assert lab.ssh(f"sha256sum {DISK}").split()[0] == sha256(lab, BACKUP), "the host reads the file that was replaced"
    lab.virsh("start", GUEST)
    lab.guests.wait([GuestSpec(GUEST, DISKS)])
    ticks = lab.ticks(GUEST)
    assert len(ticks) > len(saved)
    assert ticks[: len(saved)] == saved
    assert unbroken(ticks)


def test_what_does_not_fit_is_refused_and_nothing_is_touched(lab: Any) -> None:
    lab.ssh(f"virsh -q destroy {GUEST}")
    before, bytes_before = world_of(lab), sha256(lab)
    play = lab.playbook(
        str(Path(__file__).with_name("restore_refusals.yml")),
        extra_vars={"wanted_backup": BACKUP, "wanted_disk": DISK},
    )
    assert play.rc == 0, play.stdout
    refused = {entry["task"]: entry["result"]["msg"] for entry in play.results if "error_kind" in entry["result"]}
    said = {
        "Unknown guest": "ghost",
        "No guest": "empty",
        "Unknown backup": BACKUP,
        "Backup id that is a path": "../../etc",
        "Wrong password": "does not accept the user name or password",
        "Untrusted certificate": "not trusted",
        "Grown disk": "68157440 bytes now and was 67108864",
    }
    assert set(refused) == set(said)
    for task, words in said.items():
        assert words in refused[task], refused[task]
    assert world_of(lab) == before
    assert sha256(lab) == bytes_before


def test_a_guest_that_no_host_defines_stops_the_run_and_names_the_hosts(lab: Any) -> None:
    before = world_of(lab)
    play = lab.playbook("restore", extra_vars={"kvm_restore_vm_list": "web1,ghost", "kvm_restore_backup_id": BACKUP})
    assert play.rc != 0
    assert "guest ghost is defined on none of hv1" in play.stdout
    assert world_of(lab) == before


def test_the_cli_s_single_file_restore_serves_where_cloning_is_not_allowed(lab: Any) -> None:
    lab.ssh(f"dd if=/dev/urandom of={DISK} bs=1M count=2 seek=3 conv=notrunc,fsync status=none")
    play = restored(
        lab,
        kvm_restore_power="off",
        kvm_restore_id=f"it-4-{STAMP}",
        kvm_restore_method="sfsr_cli",
        kvm_controllers=[
            {
                "hostname": "cluster1",
                "username": "kvmsnap_cli",
                "password": "lab-Cli1",
                "ca_path": "/etc/kvmsnap/ca.pem",
            }
        ],
    )
    assert "by sfsr_cli" in play.stdout
    assert sha256(lab) == sha256(lab, BACKUP)
