# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of operations at once: what the disks have to hold, and which failures are those of being kept out."""

from __future__ import annotations

import pytest

from kvmground.operations_host import AS_BEFORE, AS_SAVED, Done, held_after, unexpected

RESTORED, UNDONE = Done("restore", True), Done("undo", True)
BUSY = "guest app is locked by backup b1 (process 7, since 2026-11-21T02:00:00+00:00)"


@pytest.mark.parametrize(
    ("before", "said", "held"),
    [
        (AS_BEFORE, [], AS_BEFORE),
        (AS_BEFORE, [Done("backup tasks", True), RESTORED], AS_SAVED),
        (AS_BEFORE, [Done("restore", False, BUSY), Done("clone", True)], AS_BEFORE),
        (AS_SAVED, [RESTORED, UNDONE], AS_BEFORE),
        (AS_SAVED, [UNDONE, RESTORED], AS_SAVED),
        (AS_SAVED, [RESTORED, Done("undo", False, BUSY)], AS_SAVED),
    ],
)
def test_the_last_one_that_overwrote_the_disks_decides(before: str, said: list[Done], held: str) -> None:
    assert held_after(before, said) == held


@pytest.mark.parametrize(
    ("said", "complaints"),
    [
        ([RESTORED, Done("undo", False, BUSY)], []),
        ([Done("restore", False, "Another restore is under way on this host"), UNDONE], []),
        ([Done("backup tasks", False, "a snapshot of this name is there already"), RESTORED], []),
        ([Done("backup tasks", True), Done("backup module", False, "app: it is held by another hold, b1; wait")], []),
        ([UNDONE, Done("backup tasks", False, "There is nothing to back up: app (image-missing)")], []),
        ([UNDONE, Done("backup tasks", False, "There is nothing to back up: app (guest-locked)")], []),
        ([Done("clone", False, "Traceback"), RESTORED], ["clone failed for another reason than the other operation"]),
        ([Done("restore", False, BUSY), Done("undo", False, BUSY)], ["none was done"]),
    ],
)
def test_a_failure_has_to_be_that_of_one_who_is_kept_out(said: list[Done], complaints: list[str]) -> None:
    assert list(unexpected(said)) == complaints
