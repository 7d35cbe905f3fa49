# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at a random moment of a backup or of a restore: after the recovery the guest is whole and nothing is left.

The moment is a part of the time that the module takes when nothing happens, which is measured on each host before its
first round: ``KVMSNAP_SEED=... nox -s faults -- tests/faults/test_random_kills.py`` plays the same rounds again (see
`series.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Optional

import pytest

from kvmground.drive import OWNER
from kvmground.modules import Running
from kvmground.operations_host import APP, AS_BEFORE, AS_SAVED, OperationsHost
from kvmground.played import Played, Results
from kvmground.renewed import Renewed
from kvmground.scene import HOLDS, held_on_record
from kvmlab.process import wait_until
from series import Series

ROUNDS = 400
HOST_ROUNDS = 20
LATEST = 1.05
"""The last moments lie behind the end, so that none before it is left out when the module is slower than measured."""
RELEASED_WITHIN = 45
OPERATIONS = ("backup", "restore")
SERIES = Series.from_environment("random-kills", ROUNDS)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def hosts() -> Iterator[Renewed]:
    """Return private hosts of their own with the guest and its first backup."""
    print(f"random kills: KVMSNAP_SEED={SERIES.seed}")
    found = Renewed("kills", _measure, rounds=HOST_ROUNDS)
    yield found
    found.end()


@pytest.mark.parametrize("number", SERIES.numbers())
def test_killed_at_a_random_moment(hosts: Renewed, results: Results, number: int) -> None:
    played = SERIES.round(number)
    operation = OPERATIONS[number // 2 % 2]
    part = round(played.random.uniform(0.0, LATEST), 3)
    began = time.monotonic()
    with SERIES.play(played) as kept, hosts.round(SERIES.left_by(number)) as operated:
        name = f"round_{number:03d}"
        moment = round(part * operated.seconds[operation], 3)
        kept.update(operation=operation, part=part, moment=moment)
        operated.prepare(number, undo=False)
        running = _begun(operated, operation, name)
        time.sleep(moment)
        kept["killed"] = killed = not running.ended
        running.kill()
        kept["phase"] = phase = _phase(operated, operation, name)
        wrong = list(_wrong(operated, operation, name))
        detail = "; ".join([*wrong, f"killed {phase}" if killed else "it had ended before"])
        results.add(Played("kills", operation, f"after {moment} s", not wrong, detail, time.monotonic() - began))
        assert not wrong, f"{operation} killed after {moment} s: {detail}"


def _measure(operated: OperationsHost) -> None:
    """Run both modules to their ends, and remember how long that takes."""
    operated.prepare(0, undo=False)
    for operation in OPERATIONS:
        outcome = _begun(operated, operation, "measured").wait()
        assert not outcome.failed, outcome.msg
        operated.seconds[operation] = outcome.seconds


def _begun(operated: OperationsHost, operation: str, name: str) -> Running:
    ground = operated.ground
    if operation == "restore":
        return ground.begin("kvm_app_restore", **operated.restoring(name))
    found = ground.discovered(guests=[APP])
    return ground.begin("kvm_vm_backup", backup_id=name, owner=OWNER, hold_deadline=6, **found)


def _phase(operated: OperationsHost, operation: str, name: str) -> str:
    """Say how far the killed run came, by what it wrote down."""
    catalog = operated.ground.seen(operated.ground.catalog)
    if operation == "restore":
        return _restore_phase(_json(catalog / "restores" / f"{name}.json"))
    manifest = _json(catalog / "backups" / name / "manifest.json")
    if manifest is None:
        return "before the manifest"
    if manifest["phase"] == "complete":
        return "complete"
    held = any(operated.ground.seen(HOLDS).rglob("*.json"))
    return f"{'held' if held else 'not held'}, guest {operated.state()}"


def _restore_phase(record: Optional[dict[str, Any]]) -> str:
    if record is None:
        return "before the journal"
    (progress,) = record["guests"].values()
    steps = {
        "done": progress["done"],
        "written": progress["written"],
        f"{len(progress['holds'])} of 2 disks renamed, one aside": progress["moved_aside"],
        "secured": record["safeties"],
        "making files": progress["temporaries"],
    }
    return next((step for step, there in steps.items() if there), "journal begun")


def _json(path: Path) -> Optional[dict[str, Any]]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _wrong(operated: OperationsHost, operation: str, name: str) -> Iterator[str]:
    """Yield what is not whole: a held guest is let go in time, a half restore is gone on with by the same id."""
    if operation == "backup":
        wait_until(partial(_released, operated), seconds=RELEASED_WITHIN, what="the release by the timer")
        held = AS_BEFORE
    else:
        yield from _startable(operated)
        again = operated.restore(name)
        held = AS_SAVED
        if not again.ok:
            yield f"the second run failed: {again.said}"
    yield from operated.complaints_of_guest(held)
    yield from operated.complaints_after_recovery()
    yield from operated.complaints_of_guest(held)


def _released(operated: OperationsHost) -> bool:
    """Whether the guest runs and no hold has it any more.

    A resume that was sent just before the kill lets the guest go before its timer does; the record has it until then.
    """
    return operated.state() == "running" and not held_on_record(operated.ground)


def _startable(operated: OperationsHost) -> Iterator[str]:
    """Yield that the guest runs, or could be started, on disks that are neither old nor new."""
    found = operated.held()
    if found.startswith("mixed") and (operated.state() != "shutoff" or operated.can_be_started()):
        yield f"killed, the guest is {operated.state()} and its disks are {found}"
