# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup role, played on a private host: its names, its hooks, a given mapping, and holds in tasks it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from kvmground.ground import SVM
from kvmground.playbooks import Playbooks
from kvmground.watch import Watch

VOLUME = "kvm_vol1"
HOST, SECOND = "hv0", "hv-00"
BACKUP = "kvmsnap.ontap.backup"
TELL = 'echo "$KVM_BACKUP_EVENT $KVM_BACKUP_HOST $KVM_BACKUP_ID $(readlink /proc/self/ns/mnt)"'
TASKS = f"""\
- name: Tell where this runs
  ansible.builtin.shell: '{TELL} >> {{told}}'
  changed_when: true
"""
SERIAL = """\
- hosts: kvm_hosts
  gather_facts: false
  serial: 1
  roles: [kvmsnap.ontap.kvm_backup]
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host of its own with one guest."""
    with Ground.beside("role") as found:
        found.guests.add_still("p1", VOLUME)
        yield found


@pytest.fixture(scope="module")
def playbooks(ground: Ground) -> Playbooks:
    """Return a way to run playbooks there; a second host of the inventory is there to be refused only."""
    return Playbooks(ground, hosts=(HOST, SECOND))


@pytest.fixture
def told(playbooks: Playbooks) -> Iterator[Path]:
    """Return the file in which hooks tell that they ran."""
    path = playbooks.work / "told"
    yield path
    path.unlink(missing_ok=True)


def on_one(**variables: Any) -> dict[str, Any]:
    """Return the variables of a run on one host."""
    return {"kvm_hosts_pattern": HOST, "kvm_backup_guests": ["p1"], **variables}


def lines(told: Path) -> list[list[str]]:
    """Return what the hooks told: event, host, backup, the mount namespace they ran in."""
    return [line.split() for line in told.read_text(encoding="utf-8").splitlines()]


def test_a_name_is_made_of_host_policy_and_time_and_hooks_run_where_they_are_to(
    ground: Ground, playbooks: Playbooks, told: Path
) -> None:
    tasks = playbooks.work / "hook.yml"
    tasks.write_text(TASKS.format(told=told), encoding="utf-8")
    hooks = {
        "before_quiesce": [{"tasks": str(tasks), "where": "control"}, {"tasks": str(tasks)}],
        "after_resume": [{"command": f"sh -c '{TELL} >> {told}'"}],
        "on_failure": [{"command": f"sh -c '{TELL} >> {told}'"}],
    }
    played = playbooks.run(BACKUP, on_one(kvm_backup_hooks=hooks))
    assert played.rc == 0, played.stdout
    name = played.facts(HOST)["kvm_backup_result"]["backup_id"]
    assert re.fullmatch(r"hv0-[a-z]+_\d{14}", name)
    assert ground.snapshots()[f"{SVM}:{VOLUME}"] == [name]
    found = lines(told)
    assert [line[:3] for line in found] == [
        ["before_quiesce", HOST, name],
        ["before_quiesce", HOST, name],
        ["after_resume", HOST, name],
    ]
    # The host's modules are shown a mount table of their own; the control node is where Ansible runs.
    control = ground.run(["readlink", "/proc/self/ns/mnt"]).strip()
    assert [line[3] == control for line in found] == [True, False, False]


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ({"command": "sleep 60", "timeout": 2}, "Timed out after 2 second"),
        pytest.param({"command": "false"}, "non-zero return code", marks=pytest.mark.long),
    ],
    ids=["out of time", "failed"],
)
def test_a_hook_that_fails_ends_the_backup_before_anybody_is_held(
    ground: Ground, playbooks: Playbooks, told: Path, hook: dict[str, Any], said: str
) -> None:
    before = ground.snapshots()
    hooks = {
        "before_quiesce": [hook],
        "after_resume": [{"command": f"sh -c '{TELL} >> {told}'"}],
        "on_failure": [{"command": f"sh -c '{TELL} >> {told}'"}],
    }
    with Watch(ground, ["p1"]) as watch:
        played = playbooks.run(BACKUP, on_one(kvm_backup_id="hv0-hooked_20261121020000", kvm_backup_hooks=hooks))
    assert played.rc != 0
    assert said in played.failures(HOST)[-1], played.stdout
    assert [line[:3] for line in lines(told)] == [["on_failure", HOST, "hv0-hooked_20261121020000"]]
    assert (watch.stretches, ground.snapshots()) == ([], before)


@pytest.mark.long
def test_a_mapping_that_is_given_is_backed_up_as_it_is(ground: Ground, playbooks: Playbooks) -> None:
    name = "hv0-given_20261121020000"
    given = {"kvm_auto_discovery": False, "kvm_vm_mapping": f"p1:{SVM}:/vol/{VOLUME}/p1.img;"}
    played = playbooks.run(BACKUP, on_one(kvm_backup_id=name, **given))
    assert played.rc == 0, played.stdout
    assert name in ground.snapshots()[f"{SVM}:{VOLUME}"]
    gone = {**given, "kvm_vm_mapping": f"p1:{SVM}:/vol/{VOLUME}/gone.img;"}
    refused = playbooks.run(BACKUP, on_one(kvm_backup_id="hv0-gone_20261121020000", **gone))
    assert refused.rc != 0
    assert "p1 (mapping-unknown-path)" in refused.failures(HOST)[-1]
    assert "hv0-gone_20261121020000" not in ground.snapshots()[f"{SVM}:{VOLUME}"]


@pytest.mark.parametrize(
    ("playbook", "variables", "said"),
    [
        (SERIAL, {}, "1 in this batch"),
        (BACKUP, on_one(awx_job_slice_count=2), "job slicing"),
    ],
    ids=["serial", "job slicing"],
)
def test_a_hold_in_tasks_that_others_could_prolong_is_refused(
    ground: Ground, playbooks: Playbooks, playbook: str, variables: dict[str, Any], said: str
) -> None:
    if playbook == SERIAL:
        path = playbooks.work / "serial.yml"
        path.write_text(SERIAL, encoding="utf-8")
        playbook = str(path)
    before = ground.snapshots()
    with Watch(ground, ["p1"]) as watch:
        played = playbooks.run(playbook, {"kvm_backup_mode": "tasks", **variables})
    assert played.rc != 0
    assert "kvm_backup_mode=tasks is refused" in played.failures(HOST)[-1], played.stdout
    assert said in played.failures(HOST)[-1]
    assert (watch.stretches, ground.snapshots()) == ([], before)


@pytest.mark.long
def test_a_windows_guest_is_not_frozen_in_tasks(ground: Ground, playbooks: Playbooks) -> None:
    agent = ground.guests.add_relayed("w1", "kvm_vol4", os="windows")
    before, frozen = ground.snapshots(), agent.frozen
    asked = on_one(kvm_backup_mode="tasks", kvm_backup_guests=["w1"])
    try:
        with Watch(ground, ["w1"]) as watch:
            refused = playbooks.run(BACKUP, asked)
            seen = list(watch.stretches)
        suspended = playbooks.run(BACKUP, {**asked, "kvm_backup_quiesce": {"w1": "suspend"}})
    finally:
        ground.guests.remove("w1")
    assert refused.rc != 0
    assert "VSS in w1 thaws by itself" in refused.failures(HOST)[-1], refused.stdout
    assert (seen, frozen, f"{SVM}:kvm_vol4" in before) == ([], False, False)
    assert suspended.rc == 0, suspended.stdout
