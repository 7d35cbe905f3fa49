# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups on the lab: what is in the snapshots, what a repetition, a check and a failure leave of the world."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest
from world import STAMP, world_of

from kvmlab.evidence import Tick

HOST = "hv1"
BACKUP = f"hv1-itest_{STAMP}"
VOLUMES = {("svm1", "kvm_vol1"), ("svm1", "kvm_vol2")}
GUESTS = ["web1", "db1", "sol1"]
FROZEN = ("/mnt/kvm_vol1/web1.img", "/mnt/kvm_vol1/db1.img", "/mnt/kvm_vol2/db1-data.qcow2")
SUSPENDED = "/mnt/kvm_vol2/sol1.img"
WANTED = {"kvm_backup_guests": GUESTS, "kvm_backup_policy": "itest"}


def snapshots(lab: Any) -> dict[tuple[str, str], list[str]]:
    """The snapshots on the array."""
    return {(volume["svm"], volume["name"]): volume["snapshots"] for volume in lab.control.volumes()}


def held(lab: Any) -> dict[str, str]:
    """What libvirt and the agents say of each guest: its state, and frozen or thawed."""
    words = {guest: lab.virsh("domstate", guest).strip() for guest in GUESTS}
    for guest in ("web1", "db1"):
        answer = lab.virsh("qemu-agent-command", guest, '{"execute": "guest-fsfreeze-status"}')
        words[guest] += f" {json.loads(answer)['return']}"
    return words


RELEASED = {"web1": "running thawed", "db1": "running thawed", "sol1": "running"}


@pytest.fixture(scope="module", name="ticks_before")
def _ticks_before(lab: Any) -> dict[str, list[Tick]]:
    """What the guests had counted before the backup."""
    return {"web1": lab.ticks("web1"), "db1": lab.ticks("db1")}


@pytest.fixture(scope="module", name="backup")
def _backup(lab: Any, ticks_before: dict[str, list[Tick]]) -> dict[str, Any]:
    """A backup of the three guests, as its play returned it."""
    play = lab.playbook("backup", extra_vars={**WANTED, "kvm_backup_id": BACKUP})
    assert play.rc == 0, play.stdout
    result: dict[str, Any] = play.facts(HOST)["kvm_backup_result"]
    return result


def test_a_check_shows_a_backup_and_makes_none(lab: Any) -> None:
    before = world_of(lab)
    play = lab.playbook("backup", extra_vars={**WANTED, "kvm_backup_id": f"hv1-check_{STAMP}"}, check=True, diff=True)
    assert play.rc == 0, play.stdout
    assert play.stats[HOST]["changed"] > 0
    assert world_of(lab) == before


def test_the_snapshots_are_those_that_the_backup_names(lab: Any, backup: dict[str, Any]) -> None:
    assert {(volume["svm"], volume["volume"]) for volume in backup["volumes"]} == VOLUMES
    there = snapshots(lab)
    assert all(BACKUP in there[volume] for volume in VOLUMES)
    assert not any(BACKUP in names for volume, names in there.items() if volume not in VOLUMES)
    assert held(lab) == RELEASED


def test_frozen_guests_are_whole_in_the_snapshots(
    lab: Any, backup: dict[str, Any], ticks_before: dict[str, list[Tick]]
) -> None:
    levels = {guest["name"]: (guest["method"], guest["consistency"]) for guest in backup["guests"]}
    assert levels["web1"] == levels["db1"] == ("agent", "filesystem-consistent")
    assert not any(lab.needs_recovery(path, snapshot=BACKUP) for path in FROZEN)
    for guest, path in (("web1", FROZEN[0]), ("db1", FROZEN[1])):
        saved = lab.storage_ticks(path, snapshot=BACKUP)
        assert saved[: len(ticks_before[guest])] == ticks_before[guest]


def test_a_suspended_guest_is_called_crash_consistent_and_is(lab: Any, backup: dict[str, Any]) -> None:
    (guest,) = [guest for guest in backup["guests"] if guest["name"] == "sol1"]
    assert (guest["method"], guest["consistency"]) == ("suspend", "crash-consistent")
    assert guest["held_seconds"] > 0
    assert lab.needs_recovery(SUSPENDED, snapshot=BACKUP)
    assert lab.storage_ticks(SUSPENDED, snapshot=BACKUP, recovered=True)


def test_the_manifest_rides_in_the_snapshots_and_not_in_the_live_volumes(lab: Any, backup: dict[str, Any]) -> None:
    for directory in ("/mnt/kvm_vol1", "/mnt/kvm_vol2"):
        inside = lab.storage_path(f"{directory}/.kvmsnap/{BACKUP}.json", snapshot=BACKUP)
        assert json.loads(inside.read_text())["backup_id"] == BACKUP
        assert stat.S_IMODE(inside.stat().st_mode) == 0o600
        assert not lab.storage_path(f"{directory}/.kvmsnap").exists()
    assert lab.ssh(f"stat -c '%a %U' /var/lib/kvmsnap/backups/{BACKUP}/manifest.json").split() == ["600", "root"]


def test_the_same_backup_again_changes_nothing(lab: Any, backup: dict[str, Any]) -> None:
    before = world_of(lab)
    play = lab.playbook("backup", extra_vars={**WANTED, "kvm_backup_id": BACKUP})
    assert play.rc == 0, play.stdout
    assert play.stats[HOST]["changed"] == 0
    assert play.facts(HOST)["kvm_backup_result"]["exists"] is True
    assert world_of(lab) == before


def test_the_list_tells_of_it(lab: Any, backup: dict[str, Any]) -> None:
    play = lab.playbook("list")
    assert play.rc == 0, play.stdout
    assert f"{BACKUP} (complete" in play.stdout


def test_a_foreign_snapshot_of_the_name_is_an_error_and_stays(lab: Any) -> None:
    name = f"hv1-foreign_{STAMP}"
    lab.control.add_snapshot("svm1", "kvm_vol2", name, comment="made by hand")
    before = world_of(lab)
    play = lab.playbook("backup", extra_vars={**WANTED, "kvm_backup_id": name})
    assert play.rc != 0
    assert "svm1:kvm_vol2" in play.failures(HOST)[-1]
    assert held(lab) == RELEASED
    assert world_of(lab) == before


def test_a_snapshot_that_fails_leaves_no_backup_and_no_guest_held(lab: Any) -> None:
    name = f"hv1-broken_{STAMP}"
    before = world_of(lab)
    volume = next(item["uuid"] for item in lab.control.volumes() if item["name"] == "kvm_vol2")
    match = {"method": "POST", "path": f"/storage/volumes/{volume}/snapshots"}
    lab.control.add_fault("job_fail", match=match, code=524479, message="The volume has no space left")
    try:
        play = lab.playbook("backup", extra_vars={**WANTED, "kvm_backup_id": name})
    finally:
        lab.control.clear_faults()
    assert play.rc != 0
    assert "svm1:kvm_vol2" in play.failures(HOST)[-1]
    assert held(lab) == RELEASED
    assert world_of(lab) == before
    again = lab.playbook("backup", extra_vars={**WANTED, "kvm_backup_id": name})
    assert again.rc == 0, again.stdout
