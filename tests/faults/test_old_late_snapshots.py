# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots that the array makes although it says no, and late: none is left behind, and the same name goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from kvmground import Ground
from kvmground.ground import SVM
from kvmground.playbooks import Playbooks, Played
from kvmground.watch import Watch
from shown import shown

HOST, GUEST, BACKUP = "hv0", "p1", "kvmsnap.ontap.backup"
VOLUMES = ("kvm_vol1", "kvm_vol2")
DEADLINE, PATIENT = 6, 60
# Longer than the hold's deadline and the time for which a late snapshot was looked for.
LATE = DEADLINE + 22
MODES = pytest.mark.parametrize("mode", ["module", pytest.param("tasks", marks=pytest.mark.long)])


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host of its own with one guest on two volumes."""
    with Ground.beside("late-snapshots") as found:
        found.guests.add_still(GUEST, *VOLUMES)
        yield found


@pytest.fixture(scope="module")
def playbooks(ground: Ground) -> Playbooks:
    """Return a way to run playbooks there."""
    return Playbooks(ground, hosts=(HOST,))


@pytest.fixture(autouse=True)
def _honest_afterwards(ground: Ground) -> Iterator[None]:
    """Let the array end what it is doing, and do as it is told afterwards."""
    yield
    ground.control.settle(120)
    ground.control.clear_faults()


def back_up(playbooks: Playbooks, name: str, mode: str, **variables: Any) -> Played:
    """Run the playbook of the backup."""
    asked = {"kvm_backup_id": name, "kvm_backup_mode": mode, "kvm_backup_hold_deadline": DEADLINE}
    return playbooks.run(BACKUP, {"kvm_backup_guests": [GUEST], **asked, **variables})


def posts(ground: Ground, *, count: int) -> dict[str, Any]:
    """Return what matches the first requests for a snapshot of the first volume."""
    (uuid,) = [row["uuid"] for row in ground.control.volumes() if row["name"] == VOLUMES[0]]
    return {"method": "POST", "path": f"{uuid}/snapshots$", "count": count}


def orphans(ground: Ground, name: str) -> list[str]:
    """Return the volumes that have a snapshot of a name that the catalog does not know."""
    if ground.module("kvm_backup_info", backup_id=name)["backups"]:
        return []
    return [volume for volume, names in ground.snapshots().items() if name in names]


@MODES
@pytest.mark.parametrize("status", [429, pytest.param(503, marks=pytest.mark.long)])
def test_an_overload_with_effect_leaves_no_snapshot_that_nobody_knows(
    ground: Ground, playbooks: Playbooks, status: int, mode: str
) -> None:
    name = f"hv0-overload{status}{mode}_20261121020000"
    ground.control.add_fault("late", match=posts(ground, count=1), seconds=0, answer="error", status=status)
    played = back_up(playbooks, name, mode, kvm_backup_hold_deadline=PATIENT)
    with shown("11.4: a snapshot that an overloaded array made is left behind"):
        assert orphans(ground, name) == [], played.stdout
    with shown("11.4: a backup fails on the snapshot that an overloaded array made for it"):
        assert played.rc == 0, played.failures(HOST)[-1]
    assert not ground.guests.held(GUEST)
    for volume in VOLUMES:
        assert name in ground.snapshots()[f"{SVM}:{volume}"]


@MODES
@pytest.mark.parametrize("answer", ["now", pytest.param("drop", marks=pytest.mark.long)])
def test_a_snapshot_that_comes_after_the_backup_was_given_up_does_not_stop_the_same_name(
    ground: Ground, playbooks: Playbooks, answer: str, mode: str
) -> None:
    name = f"hv0-late{answer}{mode}_20261121020000"
    ground.control.add_fault("late", match=posts(ground, count=9), seconds=LATE, answer=answer)
    with Watch(ground, [GUEST]) as watch:
        given_up = back_up(playbooks, name, mode)
    assert given_up.rc != 0, given_up.stdout
    longest = watch.longest()
    assert longest is not None
    assert (longest.seconds < DEADLINE + 3, ground.guests.held(GUEST)) == (True, False)
    ground.control.settle(120)
    ground.control.clear_faults()
    with shown("11.4: a snapshot comes after the sentence that everything was taken back"):
        assert orphans(ground, name) == [], given_up.failures(HOST)[-1]
    again = back_up(playbooks, name, mode)
    assert again.rc == 0, again.stdout
    for volume in VOLUMES:
        assert name in ground.snapshots()[f"{SVM}:{volume}"]


def test_what_was_made_in_tasks_is_taken_back_after_the_guests_were_released(
    ground: Ground, playbooks: Playbooks
) -> None:
    name, deadline = "hv0-released_20261121020000", 40
    ground.control.add_fault("drop_before", match=posts(ground, count=99))
    ground.control.clear_requests()
    wall = time.time() - time.monotonic()
    with Watch(ground, [GUEST]) as watch:
        failed = back_up(playbooks, name, "tasks", kvm_backup_hold_deadline=deadline)
    assert failed.rc != 0, failed.stdout
    (stretch,) = watch.stretches
    removals = [each["time"] for each in ground.control.requests() if each["method"] == "DELETE"]
    assert len(removals) == 1, "the snapshot of the other volume was made, and is taken back"
    assert stretch.until is not None
    with shown("11.4: in tasks mode the take-back runs inside the hold"):
        assert removals[0] >= stretch.until + wall
    assert name not in str(ground.snapshots())
