# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups whose hold is made in tasks: hooks inside it, and one point in time over hosts.

The latter's second KVM host is a libvirtd and an SSH server of their own on the system of the first, in mount and UTS
namespaces of their own (`kvmlab.second`): with guests, a catalog, holds and a timer of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from world import STAMP, world_of

from kvmlab.domain import DiskSpec
from kvmlab.second import SecondHost

ONE_POINT = "backup_one_point"
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
    made = play.facts("hv1")["kvm_backup_result"]
    assert {volume["create_time_off"] for volume in made["volumes"]} == {0.0}
    guests = {guest["name"]: guest for guest in made["guests"]}
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


def test_fewer_forks_than_hosts_are_refused_before_anything(lab: Any, second: SecondHost, tmp_path: Path) -> None:
    before = world_of(lab)
    wanted = {"kvm_backup_id": TOGETHER}
    play = lab.playbook(ONE_POINT, "--forks", "1", inventory=two_hosts(lab, second, tmp_path), extra_vars=wanted)
    assert play.rc != 0
    assert all("2 hosts, 1 forks" in play.failures(host)[-1] for host in ("hv1", "hv2"))
    assert world_of(lab) == before


def test_one_point_in_time_over_hosts(lab: Any, second: SecondHost, far: str, tmp_path: Path) -> None:
    wanted = {"kvm_backup_id": TOGETHER, "kvm_backup_hold_deadline": 120}
    play = lab.playbook(ONE_POINT, inventory=two_hosts(lab, second, tmp_path), extra_vars=wanted)
    assert play.rc == 0, play.stdout
    results = {host: play.facts(host)["kvm_backup_result"] for host in ("hv1", "hv2")}
    assert {result["backup_id"] for result in results.values()} == {TOGETHER}
    levels = {(host, guest["name"]): guest["consistency"] for host in results for guest in results[host]["guests"]}
    assert levels == {
        ("hv1", "web1"): "filesystem-consistent",
        ("hv1", "sol1"): "crash-consistent",
        ("hv2", far): "crash-consistent",
    }
    taken = [entry for entry in play.results if entry["task"].endswith("Take the snapshots")]
    made = [each["volume"] for entry in taken for each in entry["result"].get("snapshots", [])]
    assert sorted(made) == ["kvm_vol1", "kvm_vol2"], "each volume is snapshotted once"
    own = {(entry["host"], each["volume"]) for entry in taken for each in entry["result"].get("snapshots", [])}
    compared = {
        (host, volume["volume"]): volume["create_time_off"] for host in results for volume in results[host]["volumes"]
    }
    assert compared == {key: 0.0 if key in own else None for key in compared}, "the other host's clock says nothing"
    assert states(lab) == FREE
    assert second.virsh("domstate", far).strip() == "running"
    assert TOGETHER in second.ssh("ls /var/lib/kvmsnap/backups").split()


@pytest.mark.long
def test_a_host_that_is_lost_in_the_hold_lets_go_by_itself(
    lab: Any, second: SecondHost, far: str, tmp_path: Path
) -> None:
    """Its SSH server answers no more once its guest is held: only its timer can release it, and the others go on."""
    name = f"{TOGETHER}-lost"
    before = snapshots_of(lab)
    inventory = two_hosts(lab, second, tmp_path, kvm_backup_hooks={"after_quiesce": [{"command": second.HANG_UP}]})
    wanted = {"kvm_backup_id": name, "kvm_backup_hold_deadline": 60}
    try:
        play = lab.playbook(ONE_POINT, inventory=inventory, extra_vars=wanted)
        assert play.rc != 0, play.stdout
        assert play.stats["hv2"]["unreachable"] == 1
        assert states(lab) == FREE
    finally:
        second.answer_again()
    assert second.virsh("domstate", far).strip() == "running"
    assert "dead-man timer" in second.ssh("cat /run/kvmsnap/holds/*.json /run/kvmsnap/holds/timer/*.json || true")
    assert snapshots_of(lab) == before
    again = lab.playbook(ONE_POINT, inventory=two_hosts(lab, second, tmp_path), extra_vars=wanted)
    assert again.rc == 0, again.stdout


@pytest.mark.long
def test_one_host_that_cannot_hold_cancels_all(lab: Any, second: SecondHost, far: str, tmp_path: Path) -> None:
    name = f"{TOGETHER}-2"
    before = snapshots_of(lab)
    inventory = two_hosts(lab, second, tmp_path, kvm_backup_quiesce={far: "agent"})
    play = lab.playbook(ONE_POINT, inventory=inventory, extra_vars={"kvm_backup_id": name})
    assert play.rc != 0
    assert far in play.failures("hv2")[-1]
    assert "not all hosts hold their guests: hv2" in play.failures("hv1")[-1]
    assert snapshots_of(lab) == before
    assert states(lab) == FREE


def snapshots_of(lab: Any) -> dict[tuple[str, str], list[str]]:
    """The snapshots on the array, by SVM and volume."""
    return {(item["svm"], item["name"]): item["snapshots"] for item in lab.control.volumes()}


@pytest.fixture(scope="module")
def far(second: SecondHost) -> str:
    """Start a guest on the second host, on a volume that a guest of the first lies on, too; it has no agent."""
    return second.add_guest("far1", [DiskSpec("/mnt/kvm_vol2/far1.img")], agent=False, os="solaris").name


def two_hosts(lab: Any, second: SecondHost, directory: Path, **of_the_second: Any) -> Path:
    """Write an inventory of both KVM hosts; ``of_the_second`` are variables of the second."""
    inventory = json.loads(lab.inventory_path.read_text(encoding="utf-8"))
    hosts = inventory["kvm_hosts"]["hosts"]
    hosts["hv1"]["kvm_backup_guests"] = ["web1", "sol1"]
    hosts["hv2"] = {**second.inventory_entry, "kvm_backup_guests": ["far1"], **of_the_second}
    path = directory / "two_hosts.yml"
    path.write_text(json.dumps(inventory), encoding="utf-8")
    return path
