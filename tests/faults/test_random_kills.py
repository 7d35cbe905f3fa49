# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at a random moment of a backup or of a restore: after the recovery the guest is whole and nothing is left.

``KVMSNAP_SEED=... nox -s faults -- tests/faults/test_random_kills.py`` plays the same rounds again (see `series.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kvmground import Ground
from kvmground.drive import OWNER
from kvmground.played import Played, Results
from kvmground.whole import APP, Whole
from kvmlab.process import wait_until
from series import Series

ROUNDS = 400
LONGEST = 4.0
RELEASED_WITHIN = 45
SERIES = Series.from_environment("random-kills", ROUNDS)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    """Return a private host of its own with the guest and its first backup."""
    with Ground.beside("kills") as ground:
        found = Whole(ground)
        found.furnish()
        print(f"random kills: KVMSNAP_SEED={SERIES.seed}")
        yield found


@pytest.mark.parametrize("number", SERIES.numbers())
def test_killed_at_a_random_moment(whole: Whole, results: Results, number: int) -> None:
    played = SERIES.round(number)
    operation = ("backup", "restore")[number % 2]
    moment = round(played.random.uniform(0.0, LONGEST), 3)
    began = time.monotonic()
    with SERIES.play(played) as kept:
        kept.update(operation=operation, moment=moment)
        whole.prepare(number, undo=False)
        kept["killed"] = killed = _killed(whole, operation, f"round_{number:03d}", moment)
        wrong = list(_wrong(whole, operation, number))
        detail = "; ".join([*wrong, "killed" if killed else "it had ended before"])
        results.add(Played("kills", operation, f"after {moment} s", not wrong, detail, time.monotonic() - began))
        assert not wrong, f"{operation} killed after {moment} s: {detail}"


def _killed(whole: Whole, operation: str, name: str, moment: float) -> bool:
    """Run the module, end it with SIGKILL after so many seconds, and say whether it ran still."""
    ground = whole.ground
    if operation == "restore":
        running = ground.begin("kvm_app_restore", **whole.restoring(name))
    else:
        found = ground.discovered(guests=[APP])
        running = ground.begin("kvm_vm_backup", backup_id=name, owner=OWNER, hold_deadline=6, **found)
    time.sleep(moment)
    ended = running.ended
    running.kill()
    return not ended


def _wrong(whole: Whole, operation: str, number: int) -> Iterator[str]:
    """Yield what is not whole: a held guest is let go in time, a half restore is gone on with by the same id."""
    if operation == "backup":
        wait_until(lambda: whole.state() == "running", seconds=RELEASED_WITHIN, what="the release by the timer")
    elif whole.held().startswith("mixed") and whole.state() != "shutoff":
        yield f"killed, the guest is {whole.state()} and its disks are {whole.held()}"
    if operation == "restore":
        again = whole.restore(f"round_{number:03d}")
        if not again.ok:
            yield f"the second run failed: {again.said}"
        elif whole.hashes() != whole.saved:
            yield f"after the second run its disks are {whole.held()}"
    if whole.state() != "running":
        yield f"the guest is {whole.state()}"
    if whole.held() not in whole.allowed.values():
        yield f"the guest's disks are {whole.held()}"
    yield from whole.complaints_after_recovery()
