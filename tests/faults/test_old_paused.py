# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore that begins while a hold suspends its guest: the pause of the hold is no state to go back to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from kvmground import Ground
from kvmlab.process import wait_until
from shown import shown

VOLUME, GUEST = "kvm_vol1", "p1"
BACKUP = "hv0-paused_20261121020000"
SECONDS = 15.0
FAULT = "11.5: a restore begun during a suspending hold leaves the guest paused for good"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with one guest without an agent, and a backup of it."""
    with Ground.beside("paused") as found:
        found.guests.add_still(GUEST, VOLUME)
        found.back_up(BACKUP)
        yield found


@pytest.fixture(autouse=True)
def running(ground: Ground) -> Iterator[None]:
    """Have the guest running, and its disk other than the backup's."""
    domain = ground.guests.domain(GUEST)
    if domain.isActive():
        domain.destroy()
    with ground.guests.image(GUEST, VOLUME).open("r+b") as image:
        image.seek(4096)
        image.write(b"written after the backup")
    domain.create()
    yield
    ground.module("kvm_leftovers", owner="hv0", grace_period=0)


def restored(ground: Ground, restore_id: str) -> Any:
    return ground.module("kvm_app_restore", guests=[GUEST], backup_id=BACKUP, restore_id=restore_id, stop="destroy")


def disk(ground: Ground) -> str:
    return hashlib.sha256(ground.guests.image(GUEST, VOLUME).read_bytes()).hexdigest()


def state(ground: Ground) -> str:
    return str(ground.guests.state(GUEST).state)


def test_a_restore_during_the_hold_of_a_backup_in_tasks(ground: Ground) -> None:
    before = disk(ground)
    uuid = str(ground.guests.domain(GUEST).UUIDString())
    held = {"name": GUEST, "uuid": uuid, "method": "suspend"}
    ground.module("kvm_vm_quiesce", state="quiesced", hold_id="tasks", guests=[held])["guests"]
    assert state(ground) == "paused"
    outcome = restored(ground, "during_tasks")
    ground.module("kvm_vm_quiesce", state="resumed", hold_id="tasks")
    with shown(FAULT):
        assert state(ground) == "running"
    assert outcome.failed
    assert "held by hold tasks" in outcome.msg
    assert disk(ground) == before
    assert not restored(ground, "after_tasks").failed
    assert (state(ground), disk(ground) == before) == ("running", False)


@pytest.mark.long
def test_a_restore_during_the_hold_of_a_backup_in_one_process(ground: Ground) -> None:
    """Each job of the array takes its time, so that the restore begins in the hold, and ends after it."""
    before = disk(ground)
    ground.control.set_switches(job_seconds=SECONDS)
    try:
        found = ground.module("kvm_vm_discover", guests=[GUEST]).result
        backup = ground.begin(
            "kvm_vm_backup",
            backup_id=f"{BACKUP}_module",
            owner="hv0",
            quiesce={GUEST: "suspend"},
            **{key: found[key] for key in ("guests", "volumes", "problems")},
        )
        wait_until(lambda: state(ground) == "paused", seconds=60, what="the hold of the backup", pause=0.01)
        outcome = restored(ground, "during_module")
        assert not backup.wait(60).failed
    finally:
        ground.control.reset_switches()
    with shown(FAULT):
        assert state(ground) == "running"
    assert outcome.failed
    assert f"backup {BACKUP}_module" in outcome.msg
    assert disk(ground) == before
