# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups whose hold is made in tasks: hooks inside it, and one point in time over hosts.

The lab has one KVM host. For the latter it has two names, each with guests, a catalog and holds of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from world import STAMP, world_of

ONE_POINT = str(Path(__file__).parent / "one_point.yml")
TOLD = "/run/kvmsnap-test-hooks"
BACKUP = f"hv1-tasks_{STAMP}"
TOGETHER = f"hv1-together_{STAMP}"


def hook(what: str) -> dict[str, Any]:
    """A hook on the host that writes down its event and the states of two guests."""
    frozen = '{\\"execute\\":\\"guest-fsfreeze-status\\"}'
    command = f'echo "$KVM_BACKUP_EVENT $KVM_BACKUP_ID $(virsh domstate sol1) $({what} {frozen})" >> {TOLD}'
    return {"command": f"sh -c '{command}'", "timeout": 30}


def states(lab: Any) -> list[str]:
    """What the guests do."""
    answer = lab.virsh("qemu-agent-command", "web1", '{"execute": "guest-fsfreeze-status"}')
    return [lab.virsh("domstate", guest).strip() for guest in ("web1", "db1", "sol1")] + [json.loads(answer)["return"]]


FREE = ["running", "running", "running", "thawed"]


def test_hooks_run_around_and_inside_a_hold_in_tasks(lab: Any) -> None:
    asked = "virsh qemu-agent-command web1"
    events = ("before_quiesce", "after_quiesce", "before_resume", "after_resume")
    play = lab.playbook(
        "backup",
        extra_vars={
            "kvm_backup_id": BACKUP,
            "kvm_backup_guests": ["web1", "sol1"],
            "kvm_backup_mode": "tasks",
            "kvm_backup_hold_deadline": 120,
            "kvm_backup_hooks": {event: [hook(asked)] for event in events},
        },
    )
    assert play.rc == 0, play.stdout
    told = [line.split(maxsplit=2) for line in lab.ssh(f"cat {TOLD}; rm {TOLD}").splitlines() if line.strip()]
    assert [line[:2] for line in told] == [[event, BACKUP] for event in events]
    inside = ["paused" in line[2] and "frozen" in line[2] for line in told]
    assert inside == [False, True, True, False]
    guests = {guest["name"]: guest for guest in play.facts("hv1")["kvm_backup_result"]["guests"]}
    assert {name: guest["consistency"] for name, guest in guests.items()} == {
        "web1": "filesystem-consistent",
        "sol1": "crash-consistent",
    }
    assert states(lab) == FREE


def test_hooks_inside_the_hold_are_refused_in_one_process(lab: Any) -> None:
    before = world_of(lab)
    hooks = {"after_quiesce": [{"command": "true"}]}
    play = lab.playbook("backup", extra_vars={"kvm_backup_guests": ["web1"], "kvm_backup_hooks": hooks})
    assert play.rc != 0
    assert "they need kvm_backup_mode=tasks" in play.failures("hv1")[-1]
    assert world_of(lab) == before


def test_consistency_groups_are_refused_in_tasks(lab: Any) -> None:
    before = world_of(lab)
    asked = {"kvm_backup_mode": "tasks", "kvm_backup_consistency_groups": "auto", "kvm_backup_guests": ["web1"]}
    play = lab.playbook("backup", extra_vars=asked)
    assert play.rc != 0
    assert "kvm_backup_consistency_groups is auto, and kvm_backup_mode is tasks" in play.failures("hv1")[-1]
    assert world_of(lab) == before


def test_fewer_forks_than_hosts_are_refused_before_anything(lab: Any, tmp_path: Path) -> None:
    before = world_of(lab)
    wanted = {"kvm_backup_id": TOGETHER}
    play = lab.playbook(ONE_POINT, "--forks", "1", inventory=two_names(lab, tmp_path), extra_vars=wanted)
    assert play.rc != 0
    assert all("2 hosts, 1 forks" in play.failures(host)[-1] for host in ("hv1a", "hv1b"))
    assert world_of(lab) == before


def test_one_point_in_time_over_hosts(lab: Any, tmp_path: Path) -> None:
    play = lab.playbook(ONE_POINT, inventory=two_names(lab, tmp_path), extra_vars={"kvm_backup_id": TOGETHER})
    assert play.rc == 0, play.stdout
    results = {host: play.facts(host)["kvm_backup_result"] for host in ("hv1a", "hv1b")}
    assert {result["backup_id"] for result in results.values()} == {TOGETHER}
    levels = {guest["name"]: guest["consistency"] for result in results.values() for guest in result["guests"]}
    assert levels == {
        "web1": "filesystem-consistent",
        "db1": "filesystem-consistent",
        "sol1": "crash-consistent",
    }
    taken = [entry for entry in play.results if entry["task"].endswith("Take the snapshots")]
    made = [each["volume"] for entry in taken for each in entry["result"].get("snapshots", [])]
    assert sorted(made) == ["kvm_vol1", "kvm_vol2"], "each volume is snapshotted once"
    assert states(lab) == FREE
    lab.ssh("rm -r /var/lib/kvmsnap-hv1a /var/lib/kvmsnap-hv1b /run/kvmsnap-hv1a /run/kvmsnap-hv1b")


@pytest.mark.long
def test_one_host_that_cannot_hold_cancels_all(lab: Any, tmp_path: Path) -> None:
    name = f"{TOGETHER}-2"
    before = {(item["svm"], item["name"]): item["snapshots"] for item in lab.control.volumes()}
    inventory = two_names(lab, tmp_path, kvm_backup_quiesce={"sol1": "agent"})
    play = lab.playbook(ONE_POINT, inventory=inventory, extra_vars={"kvm_backup_id": name})
    assert play.rc != 0
    assert "sol1" in play.failures("hv1b")[-1]
    assert "not all hosts hold their guests: hv1b" in play.failures("hv1a")[-1]
    assert {(item["svm"], item["name"]): item["snapshots"] for item in lab.control.volumes()} == before
    assert lab.ssh("ls /var/lib/kvmsnap-hv1a/backups /var/lib/kvmsnap-hv1b/backups | grep together || true") == ""
    assert states(lab) == FREE
    lab.ssh("rm -r /var/lib/kvmsnap-hv1a /var/lib/kvmsnap-hv1b /run/kvmsnap-hv1a /run/kvmsnap-hv1b")


def two_names(lab: Any, directory: Path, **of_the_second: Any) -> Path:
    """Write an inventory in which the lab's KVM host has two names; ``of_the_second`` are variables of the second."""
    inventory = json.loads(lab.inventory_path.read_text(encoding="utf-8"))
    (host,) = inventory["kvm_hosts"]["hosts"].values()
    inventory["kvm_hosts"]["hosts"] = {
        "hv1a": {**host, "kvm_backup_guests": ["web1"]},
        "hv1b": {**host, "kvm_backup_guests": ["db1", "sol1"], **of_the_second},
    }
    path = directory / "two_names.yml"
    path.write_text(json.dumps(inventory), encoding="utf-8")
    return path
