# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overwrites that take effect after the restore gave up: they must not reach the disk of a guest that runs again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from kvmground import Ground
from kvmlab.process import wait_until
from shown import shown

BACKUP = "hv1-daily_20261121020000"
VOLUME = "kvm_vol1"
CLONE = r"/storage/file/clone$"
LATE = 14.0


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest that was backed up and has written since."""
    with Ground.beside("old-late-restore") as found:
        found.guests.add_still("late", VOLUME)
        found.back_up(BACKUP)
        write(found, "written after the backup")
        yield found


def write(ground: Ground, what: str) -> None:
    """Write to the disk as its guest does."""
    with ground.guests.image("late", VOLUME).open("r+b") as stream:
        stream.seek(65536)
        stream.write(what.encode())


def content(ground: Ground) -> str:
    return hashlib.sha256(ground.guests.image("late", VOLUME).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "how",
    [
        {"answer": "now", "job": "running"},
        {"answer": "drop", "answer_seconds": 1.0},
        {"answer": "error", "status": 503},
    ],
    ids=["job-that-goes-on", "no-answer", "said-to-be-busy"],
)
def test_a_clone_that_the_array_makes_late_does_not_reach_the_guest_that_runs(
    ground: Ground, how: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """The guest runs again, restored or not, and writes; then the first of the array's clones takes effect."""
    match = {"method": "POST", "path": CLONE, "count": 1}
    ground.control.add_fault("late", match=match, seconds=LATE, **how)
    ground.module(
        "kvm_app_restore",
        guests=["late"],
        backup_id=BACKUP,
        restore_id=request.node.callspec.id,
        stop="destroy",
        timeout=6,
        retry_count=1,
    )
    assert ground.guests.state("late").state == "running"
    assert not all(each["ended"] for each in ground.control.late()), "the array was not late enough"
    write(ground, "written while the guest runs")
    expected = content(ground)
    wait_until(
        lambda: all(each["ended"] for each in ground.control.late()), seconds=60, what="the end of the late requests"
    )
    with shown("11.4: the array overwrites the disk of a guest that was started again", operation="restore"):
        assert ground.guests.state("late").state == "running"
        assert content(ground) == expected
    ground.control.clear_faults()
