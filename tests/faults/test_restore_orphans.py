# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that the array makes after a restore gave up: found by name and journal, and removed; no others are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from kvmlab.process import wait_until

BACKUP = "hv1-daily_20261121020000"
VOLUME = "kvm_vol1"
LATE = 8.0


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest that was backed up."""
    with Ground.beside("orphans") as found:
        found.guests.add_still("kept", VOLUME)
        found.back_up(BACKUP)
        yield found


def volume(ground: Ground) -> Path:
    return ground.seen(ground.volume(VOLUME))


def temporaries(ground: Ground) -> list[str]:
    return sorted(path.name for path in volume(ground).glob(".kvmsnap-tmp-*"))


def found(ground: Ground, *, check: bool = False) -> list[tuple[str, str, Any]]:
    outcome = ground.module("kvm_leftovers", check=check, owner="hv1")
    assert not outcome.failed, outcome.msg
    return [(each["kind"], Path(each["name"]).name, each["action"]) for each in outcome["leftovers"]]


def test_what_the_array_made_late_is_removed_by_the_recovery_and_nothing_else_is(ground: Ground) -> None:
    before = hashlib.sha256(ground.guests.image("kept", VOLUME).read_bytes()).hexdigest()
    foreign = volume(ground) / ".kvmsnap-tmp-0123456789abcdef"
    foreign.write_bytes(b"somebody else's")
    match = {"method": "POST", "path": r"/storage/file/clone$", "count": None}
    ground.control.add_fault("late", match=match, seconds=LATE, answer="drop", answer_seconds=0.5)
    outcome = ground.module("kvm_app_restore", guests=["kept"], restore_id="late", timeout=4, retry_count=1)
    assert outcome.failed
    assert "the guest was not stopped" in outcome.msg
    assert ground.guests.state("kept").state == "running"
    assert temporaries(ground) == [foreign.name]
    assert found(ground, check=True) == []
    wait_until(lambda: all(each["ended"] for each in ground.control.late()), seconds=60, what="the late clones")
    ground.control.clear_faults()
    late = [name for name in temporaries(ground) if name != foreign.name]
    assert late, "the array made nothing"
    assert sorted(found(ground, check=True)) == [("file", name, "removed") for name in late]
    assert len(temporaries(ground)) == len(late) + 1
    assert sorted(found(ground)) == [("file", name, "removed") for name in late]
    assert temporaries(ground) == [foreign.name]
    assert found(ground) == []
    assert hashlib.sha256(ground.guests.image("kept", VOLUME).read_bytes()).hexdigest() == before


def test_a_restore_removes_what_an_earlier_run_of_it_left(ground: Ground) -> None:
    match = {"method": "POST", "path": r"/storage/file/clone$", "count": 1}
    ground.control.add_fault("late", match=match, seconds=LATE, answer="drop", answer_seconds=0.5)
    failed = ground.module("kvm_app_restore", guests=["kept"], restore_id="again", timeout=4, retry_count=0)
    assert failed.failed
    wait_until(lambda: all(each["ended"] for each in ground.control.late()), seconds=60, what="the late clone")
    ground.control.clear_faults()
    assert len(temporaries(ground)) == 2
    restored = ground.module("kvm_app_restore", guests=["kept"], restore_id="again", stop="destroy")
    assert not restored.failed, restored.msg
    assert len(temporaries(ground)) == 1, "only that of somebody else is there"


def test_a_file_that_somebody_uses_is_not_removed(ground: Ground) -> None:
    match = {"method": "POST", "path": r"/storage/file/clone$", "count": 1}
    ground.control.add_fault("late", match=match, seconds=LATE, answer="drop", answer_seconds=0.5)
    assert ground.module("kvm_app_restore", guests=["kept"], restore_id="used", timeout=4, retry_count=0).failed
    wait_until(lambda: all(each["ended"] for each in ground.control.late()), seconds=60, what="the late clone")
    ground.control.clear_faults()
    (late,) = [name for name in temporaries(ground) if name != ".kvmsnap-tmp-0123456789abcdef"]
    with (volume(ground) / late).open("r+b"):
        refused = ground.module("kvm_leftovers", owner="hv1")
        assert refused.failed
        assert late in temporaries(ground)
    assert found(ground) == [("file", late, "removed")]
