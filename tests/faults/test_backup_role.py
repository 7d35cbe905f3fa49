# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup role, played on a private host: its names, its hooks, a given mapping, and holds in tasks it refuses."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import pytest

from kvmground import Ground
from kvmground.ground import SVM
from kvmground.playbooks import Playbooks
from kvmground.watch import Watch
from kvmlab.process import wait_until

VOLUME = "kvm_vol1"
HOST, SECOND = "hv0", "hv-00"
BACKUP, ONE_POINT = "kvmsnap.ontap.backup", "kvmsnap.ontap.backup_one_point"
TELL = 'echo "$KVM_BACKUP_EVENT $KVM_BACKUP_HOST $KVM_BACKUP_ID $(readlink /proc/self/ns/mnt)"'
TASKS = f"""\
- name: Tell where this runs
  ansible.builtin.shell: '{TELL} >> {{told}}'
  changed_when: true
"""
SLOW = """\
- name: Take longer than the hook may
  ansible.builtin.command: sleep 60
  changed_when: true
"""
LOST = f"""\
- hosts: kvm_hosts
  gather_facts: false
  pre_tasks:
    - name: Lose a host
      ansible.builtin.fail:
      when: inventory_hostname == '{SECOND}'
  roles: [kvmsnap.ontap.kvm_backup]
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
@pytest.mark.parametrize(("os", "mounted"), [("windows", None), ("unknown", "NTFS")], ids=["defined", "mounted"])
def test_a_windows_guest_is_not_frozen_in_tasks(
    ground: Ground, playbooks: Playbooks, os: str, mounted: Optional[str]
) -> None:
    agent = ground.guests.add_relayed("w1", "kvm_vol4", os=os)
    agent.mounted = mounted
    before = ground.snapshots()
    asked = on_one(kvm_backup_mode="tasks", kvm_backup_guests=["w1"])
    beside = {"kvm_backup_guests": f"{{{{ ['w1'] if inventory_hostname == '{HOST}' else ['p1'] }}}}"}
    try:
        with Watch(ground, ["w1", "p1"]) as watch:
            refused = playbooks.run(BACKUP, asked)
            # The other host's guest is not held either: nobody begins before all hosts were asked.
            together = playbooks.run(ONE_POINT, beside)
        after, frozen = ground.snapshots(), agent.first("freeze")
        suspended = playbooks.run(BACKUP, {**asked, "kvm_backup_quiesce": {"w1": "suspend"}})
    finally:
        ground.guests.remove("w1")
    for played in (refused, together):
        assert "VSS thaws by itself" in played.failures(HOST)[-1], played.stdout
        assert played.rc != 0
    assert f"{HOST} failed or did not come so far" in together.failures(SECOND)[-1], together.stdout
    assert (watch.stretches, frozen, after) == ([], None, before)
    assert suspended.rc == 0, suspended.stdout


def test_a_hook_inside_the_hold_that_takes_too_long_ends_it_and_the_failure_is_told(
    ground: Ground, playbooks: Playbooks, told: Path
) -> None:
    name = "hv0-slow_20261121020000"
    tasks = playbooks.work / "slow.yml"
    tasks.write_text(SLOW, encoding="utf-8")
    hooks = {
        "after_quiesce": [{"tasks": str(tasks), "timeout": 2}],
        "before_resume": [{"command": f"sh -c '{TELL} >> {told}'"}],
        "on_failure": [{"command": f"sh -c '{TELL} >> {told}; exit 7'"}, {"command": f"sh -c '{TELL} >> {told}'"}],
    }
    before = ground.snapshots()
    with Watch(ground, ["p1"]) as watch:
        played = playbooks.run(BACKUP, on_one(kvm_backup_id=name, kvm_backup_mode="tasks", kvm_backup_hooks=hooks))
    assert played.rc != 0
    assert "Timed out after 2 second" in played.failures(HOST)[-1], played.stdout
    assert "A hook of on_failure failed too: non-zero return code (sh -c" in played.failures(HOST)[-1]
    assert [line[:3] for line in lines(told)] == [["on_failure", HOST, name]]
    assert [stretch.guest for stretch in watch.stretches] == ["p1"], "held once"
    assert (watch.held_now(), ground.guests.held("p1"), ground.snapshots()) == ([], False, before)
    assert ground.module("kvm_backup_info", backup_id=name)["backups"] == []


@pytest.mark.long
def test_no_snapshot_is_begun_when_hooks_have_used_up_the_hold(ground: Ground, playbooks: Playbooks) -> None:
    before, deadline = ground.snapshots(), 2
    hooks = {"after_quiesce": [{"command": f"sleep {deadline + 1}"}]}
    asked = on_one(kvm_backup_mode="tasks", kvm_backup_hold_deadline=deadline, kvm_backup_hooks=hooks)
    with Watch(ground, ["p1"]) as watch:
        played = playbooks.run(BACKUP, asked)
    assert played.rc != 0
    assert "was over (not_after) before anything was done" in played.failures(HOST)[-1], played.stdout
    longest = watch.longest()
    assert longest is not None
    assert longest.seconds < deadline + 1
    assert (watch.held_now(), ground.snapshots()) == ([], before)


def test_a_hook_after_the_release_that_fails_leaves_the_backup(
    ground: Ground, playbooks: Playbooks, told: Path
) -> None:
    name = "hv0-after_20261121020000"
    hooks = {"after_resume": [{"command": "false"}], "on_failure": [{"command": f"sh -c '{TELL} >> {told}'"}]}
    played = playbooks.run(BACKUP, on_one(kvm_backup_id=name, kvm_backup_hooks=hooks))
    assert played.rc != 0
    assert "non-zero return code" in played.failures(HOST)[-1], played.stdout
    (made,) = ground.module("kvm_backup_info", backup_id=name)["backups"]
    assert (made["phase"], made["exists"], ground.guests.held("p1"), told.exists()) == ("complete", True, False, False)
    assert name in ground.snapshots()[f"{SVM}:{VOLUME}"]


@pytest.mark.parametrize(
    "one_point", [False, pytest.param(True, marks=pytest.mark.long)], ids=["by itself", "one point"]
)
def test_a_host_that_failed_before_stops_no_other_but_at_one_point(
    ground: Ground, playbooks: Playbooks, one_point: bool
) -> None:
    name, before = f"hv0-lost{one_point:d}_20261121020000", ground.snapshots()
    path = playbooks.work / "lost.yml"
    path.write_text(LOST, encoding="utf-8")
    asked = {"kvm_backup_guests": ["p1"], "kvm_backup_id": name, "kvm_backup_mode": "tasks"}
    with Watch(ground, ["p1"]) as watch:
        played = playbooks.run(str(path), {**asked, "kvm_backup_one_point": one_point})
    made = ground.module("kvm_backup_info", backup_id=name)["backups"]
    if one_point:
        assert f"{SECOND} failed or did not come so far" in played.failures(HOST)[-1], played.stdout
        assert (watch.stretches, made, ground.snapshots()) == ([], [], before)
    else:
        assert (played.failures(HOST), [each["phase"] for each in made]) == ([], ["complete"]), played.stdout
        assert name in ground.snapshots()[f"{SVM}:{VOLUME}"]


@pytest.mark.long
def test_a_snapshot_of_an_earlier_run_that_comes_inside_the_hold_does_not_stop_the_same_name(
    ground: Ground, playbooks: Playbooks
) -> None:
    name = f"{HOST}-came_20261121020000"
    place = ground.volume(VOLUME) / ".snapshot" / name
    asked = {"kvm_hosts_pattern": HOST, "kvm_backup_id": name, "kvm_backup_guests": ["p1"], "kvm_backup_mode": "tasks"}
    earlier = f"kvmsnap/{HOST}: run={uuid.uuid4()}; index={'0' * 64}"

    number = ground.control.add_fault("delay", match={"method": "POST", "path": "/snapshots$", "count": 1}, seconds=4)

    def sent() -> bool:
        return any(fault["id"] == number and fault["hits"] for fault in ground.control.faults())

    def come() -> None:
        wait_until(sent, seconds=120, what="the request for the snapshot")
        ground.control.add_snapshot(SVM, VOLUME, name, comment=earlier)

    with ThreadPoolExecutor() as pool:
        coming = pool.submit(come)
        failed = playbooks.run(BACKUP, asked)
        coming.result()
    assert failed.rc != 0, failed.stdout
    assert "that removes it first" in failed.failures(HOST)[-1]
    assert not ground.guests.held("p1")
    assert ground.seen(place).is_dir()
    again = playbooks.run(BACKUP, asked)
    assert again.rc == 0, again.stdout
    assert again.facts(HOST)["kvm_backup_result"]["phase"] == "complete"
    assert earlier not in str(again.facts(HOST)["kvm_backup_result"])
