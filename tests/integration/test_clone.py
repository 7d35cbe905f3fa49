# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of guests on the lab: bytes measured on the array, the original running beside them, nothing left behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from world import STAMP, world_of

from kvmlab.evidence import storage_ticks, unbroken
from kvmlab.lab import DiskSpec, LunSpec
from kvmlab.process import wait_until

HOST = "hv1"
GUEST, COPY, NETWORK = "clone1", "clone1-copy", "nowhere"
RAW, QCOW, OVERLAY = "/mnt/kvm_vol1/clone1.img", "/mnt/kvm_vol2/clone1.qcow2", "/mnt/kvm_vol2/clone1.top"
LUN_GUEST, LUN = "sclone1", "/vol/kvm_san1/sclone1"
BACKUP = f"hv1-ctest_{STAMP}"
BOOT_SECONDS = 300.0
CLONES = "/var/lib/kvmsnap/clones"
KILL = f"kill -9 $(ls -l /proc/[0-9]*/fd/* 2> /dev/null | sed -n 's#.* /proc/\\([0-9]*\\)/fd/.* {CLONES}/.lock#\\1#p')"
RECORDS = f"ls {CLONES}/*.json 2> /dev/null || :"


@pytest.fixture(scope="module", name="backup", autouse=True)
def _backup(lab: Any) -> Iterator[None]:
    """A guest with a raw disk and an overlay, one on a LUN, and a backup of both; all of it is gone afterwards."""
    lab.add_guest(GUEST, [DiskSpec(RAW), DiskSpec(QCOW, format="qcow2")])
    lab.virsh(
        "snapshot-create-as", GUEST, "--disk-only", "--no-metadata", "--diskspec", f"vdb,file={OVERLAY}",
        "--diskspec", "vda,snapshot=no",
    )  # fmt: skip
    lab.add_guest(LUN_GUEST, [LunSpec(LUN)])
    play = lab.playbook("backup", extra_vars={"kvm_backup_guests": [GUEST, LUN_GUEST], "kvm_backup_id": BACKUP})
    assert play.rc == 0, play.stdout
    yield
    lab.control.clear_faults()
    lab.remove_guest(GUEST)
    lab.remove_guest(LUN_GUEST)
    lab.ssh(f"rm -f {QCOW} {OVERLAY}")


def cloned(lab: Any, *, rc: int = 0, **variables: Any) -> Any:
    """Run the playbook of copies; variables without their prefix."""
    how = {"name": COPY, "guest": GUEST, "backup_id": BACKUP, **variables}
    check = how.pop("check", False)
    play = lab.playbook(
        "clone", extra_vars={f"kvm_clone_{key}": value for key, value in how.items()}, check=check, diff=check
    )
    assert (play.rc == 0) is (rc == 0), play.stdout
    return play


def told(play: Any) -> dict[str, Any]:
    """What the playbook returned of the copy."""
    found: dict[str, Any] = play.facts(HOST)["kvm_clone_result"]
    return found


def still(lab: Any) -> dict[str, Any]:
    """What stays as it is while guests and copies run: files, guests, LUNs, devices, and which copies are known.

    An overlay of a running copy grows, so files are told by path, inode, mode and owner alone.
    """
    world = {key: value for key, value in world_of(lab).items() if key != "ours"}
    world["files"] = [line for line in world["files"].splitlines() if len(line.split()) == 4]
    luns = sorted(each.name for each in lab.luns.all())
    return {**world, "luns": luns, "maps": lab.ssh("ls /dev/mapper"), "records": lab.ssh(RECORDS)}


def recovered(lab: Any) -> None:
    """Let the recovery take away what it knows of a copy of which the array might have made more."""
    assert "/late-" in lab.ssh(RECORDS)
    play = lab.playbook("recover", extra_vars={"kvm_recover_grace_period": 0, "kvm_recover_discover": False})
    assert play.rc == 0, play.stdout


def agent_answers(lab: Any, guest: str) -> None:
    """Wait until a guest has booted and its agent answers."""
    ping = json.dumps({"execute": "guest-ping"})

    def answers() -> bool:
        return "return" in lab.ssh(f"virsh -q qemu-agent-command {guest} '{ping}' --timeout 5 2>&1 || :")

    wait_until(answers, seconds=BOOT_SECONDS, what=f"an answer of the agent of {guest}", pause=1.0)


def test_a_check_shows_the_copy_and_makes_nothing(lab: Any) -> None:
    before = still(lab)
    play = cloned(lab, check=True)
    assert play.stats[HOST]["changed"] > 0
    assert "kvmsnap-clone-" in play.stdout
    assert still(lab) == before


def test_a_copy_has_the_bytes_of_the_backup_and_shares_nothing(lab: Any) -> None:
    original = lab.ticks(GUEST)
    result = told(cloned(lab))
    assert result["clone"]["state"] == "shutoff"
    files = {item["host_path"]: item for item in result["disks"]}
    assert {item["method"] for item in files.values()} == {"file_clone"}
    assert {item["verified"] for item in files.values()} == {"size and sampled blocks"}
    raw, top, base = list(files)
    assert lab.control.sha256("svm1", "kvm_vol1", raw.rpartition("/")[2]) == lab.control.sha256(
        "svm1", "kvm_vol1", "clone1.img", snapshot=BACKUP
    )
    assert lab.control.sha256("svm1", "kvm_vol2", base.rpartition("/")[2]) == lab.control.sha256(
        "svm1", "kvm_vol2", "clone1.qcow2", snapshot=BACKUP
    )
    assert f"backing file: {base}" in lab.ssh(f"qemu-img info -U {top}")
    definition = lab.virsh("dumpxml", "--inactive", COPY)
    assert "<interface" not in definition
    assert RAW not in definition
    assert OVERLAY not in definition
    now = lab.ticks(GUEST)
    assert len(now) > len(original)
    assert unbroken(now)


def test_somebody_else_s_copy_is_not_touched(lab: Any) -> None:
    before = still(lab)
    for variables in ({"owner": "somebody"}, {"guest": LUN_GUEST}):
        play = cloned(lab, rc=2, state="absent", **variables)
        assert "Refused to touch copy" in " ".join(play.failures(HOST))
    play = cloned(lab, rc=2, state="absent", name=GUEST)
    assert "no copy of ours" in " ".join(play.failures(HOST))
    assert still(lab) == before


def test_absent_takes_all_of_it_away_and_a_second_time_nothing(lab: Any) -> None:
    files = [item["path"] for item in told(cloned(lab, running=True))["clone"]["disks"]]
    gone = cloned(lab, state="absent")
    assert gone.stats[HOST]["changed"] > 0
    assert COPY not in lab.virsh("list", "--all", "--name").split()
    assert lab.ssh(RECORDS) == ""
    assert lab.ssh("find /mnt/kvm_vol1 /mnt/kvm_vol2 -maxdepth 1 -name 'kvmsnap-clone-*'") == ""
    for path in files:
        assert not lab.storage_path(path).exists()
    again = cloned(lab, state="absent")
    assert again.stats[HOST]["changed"] == 0
    assert lab.virsh("domstate", GUEST).strip() == "running"
    assert unbroken(lab.ticks(GUEST))


@pytest.mark.long
def test_it_boots_from_the_state_of_the_backup_beside_the_running_original(lab: Any) -> None:
    saved = lab.storage_ticks(RAW, snapshot=BACKUP)
    started = cloned(lab, running=True)
    assert started.stats[HOST]["changed"] > 0
    agent_answers(lab, COPY)
    ticks = lab.ticks(COPY)
    assert ticks[: len(saved)] == saved
    assert unbroken(ticks)
    assert lab.virsh("domstate", GUEST).strip() == "running"
    assert unbroken(lab.ticks(GUEST))
    assert unbroken(lab.ticks(GUEST, directory="/data2"))
    assert unbroken(lab.ticks(COPY, directory="/data2"))
    again = cloned(lab, running=True)
    assert again.stats[HOST]["changed"] == 0
    assert cloned(lab, state="absent").stats[HOST]["changed"] > 0


@pytest.mark.long
def test_a_run_that_is_killed_is_taken_away_by_the_next(lab: Any) -> None:
    before = still(lab)
    number = lab.control.add_fault(
        "delay", match={"method": "POST", "path": "/storage/file/clone", "after": 1}, seconds=60, where="before"
    )
    outcome: list[Any] = []
    run = threading.Thread(target=lambda: outcome.append(cloned(lab, rc=2)))
    run.start()

    def asked() -> bool:
        return any(fault["hits"] for fault in lab.control.faults() if fault["id"] == number)

    wait_until(asked, seconds=120, what="the request for the second file of the copy", pause=0.2)
    assert lab.ssh("ls /mnt/kvm_vol1/kvmsnap-clone-* 2> /dev/null || :") != ""
    lab.ssh(KILL)
    run.join(120)
    lab.control.clear_faults()
    assert outcome
    second = "ls /mnt/kvm_vol2/kvmsnap-clone-* 2> /dev/null || :"
    wait_until(lambda: lab.ssh(second) != "", seconds=120, what="the file that the array was still making", pause=1.0)
    assert "making" in lab.ssh(f"cat {CLONES}/{COPY}.json")
    assert lab.ssh(f"stat -c %a {CLONES}/{COPY}.json").strip() == "600"
    assert cloned(lab, state="absent").stats[HOST]["changed"] > 0
    assert lab.ssh(second) == ""
    recovered(lab)
    assert still(lab) == before


@pytest.mark.long
def test_a_copy_that_the_array_refuses_leaves_nothing(lab: Any) -> None:
    before = still(lab)
    lab.control.add_fault(
        "status",
        match={"method": "POST", "path": "/storage/file/clone", "after": 2},
        status=500,
        code="1",
        message="no",
    )
    play = cloned(lab, rc=2)
    lab.control.clear_faults()
    assert "is gone again. What the array may make of it yet" in " ".join(play.failures(HOST))
    recovered(lab)
    assert still(lab) == before


def test_a_guest_on_a_lun_is_copied_onto_a_lun_that_this_host_alone_sees(lab: Any) -> None:
    before = still(lab)
    saved = storage_ticks(lab.places.volumes / "svm1" / "kvm_san1" / ".snapshot" / BACKUP / "sclone1")
    result = told(cloned(lab, guest=LUN_GUEST, name="sclone1-copy"))
    (disk,) = result["disks"]
    assert (disk["method"], disk["verified"]) == ("lun_clone", "size and sampled blocks")
    (made,) = [each for each in lab.luns.all() if "kvmsnap-clone-" in each.name]
    original = lab.luns.get(LUN)
    assert made.serial != original.serial
    assert list(lab.luns.maps(made)) == [HOST]
    assert disk["host_path"] == made.device
    path = made.name.rpartition("/")[2]
    assert lab.control.sha256("svm1", "kvm_san1", path) == lab.control.sha256(
        "svm1", "kvm_san1", "sclone1", snapshot=BACKUP
    )
    assert len(lab.san.paths(made.wwid)) == len(lab.san.paths(original.wwid))
    cloned(lab, guest=LUN_GUEST, name="sclone1-copy", running=True)
    agent_answers(lab, "sclone1-copy")
    ticks = lab.ticks("sclone1-copy")
    assert ticks[: len(saved)] == saved
    assert unbroken(ticks)
    assert unbroken(lab.ticks(LUN_GUEST))
    cloned(lab, guest=LUN_GUEST, name="sclone1-copy", state="absent")
    assert lab.san.paths(made.wwid) == []
    assert still(lab) == before
    assert unbroken(lab.ticks(LUN_GUEST))


@pytest.mark.long
def test_interfaces_are_on_an_isolated_network_only(lab: Any) -> None:
    xml = f"<network><name>{NETWORK}</name><bridge name='virbr77'/></network>"
    lab.ssh(f"cat > /run/{NETWORK}.xml", stdin=xml)
    lab.virsh("net-define", f"/run/{NETWORK}.xml")
    try:
        play = cloned(lab, rc=2, network=NETWORK)
        assert "it is not active" in " ".join(play.failures(HOST))
        play = cloned(lab, rc=2, network="default-of-nobody")
        assert "knows no such network" in " ".join(play.failures(HOST))
    finally:
        lab.virsh("net-undefine", NETWORK)
