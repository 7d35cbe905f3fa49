# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two runs of one backup_id at once: the second takes the first for one that broke off, and takes it back.

The first is in separate tasks and lives. Whenever the second comes, one of them has the backup in the end, whole, and
the other says that it has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kvmground import Ground, Outcome
from kvmground.drive import Driver, OneProcess, TaskWise
from kvmground.operations_host import AS_BEFORE, Done, OperationsHost, unexpected
from kvmground.played import Played, Results

SECONDS = {"tasks": TaskWise, "module": OneProcess}
STEPS = ("freeze", "snapshot", "thaw", "complete")

pytestmark = pytest.mark.long


class Interrupted(TaskWise):
    """A backup in tasks that lets something happen before one of them."""

    before: tuple[str, Callable[[], None]] = ("", lambda: None)

    def _task(self, step: str, module: str, /, *, check: bool = False, **options: Any) -> Outcome:
        wanted, happen = self.before
        if step == wanted:
            happen()
        return super()._task(step, module, check=check, **options)


@pytest.fixture(scope="module")
def operated() -> Iterator[OperationsHost]:
    """Return a private host of its own with the guest and its first backup."""
    with Ground.beside("same") as ground:
        found = OperationsHost(ground)
        found.furnish()
        yield found


@pytest.mark.parametrize("second", SECONDS)
@pytest.mark.parametrize("step", STEPS)
def test_the_second_run_of_a_backup_comes_while_the_first_lives(
    operated: OperationsHost, results: Results, step: str, second: str
) -> None:
    began = time.monotonic()
    name = f"same_{step}_{second}"
    operated.prepare(len(name), undo=False)
    other: Driver = SECONDS[second](operated.ground, name, operated.settings)
    reports = []
    first = Interrupted(operated.ground, name, operated.settings)
    first.before = (step, lambda: reports.append(other.run()))
    report = first.run()
    said = [Done("backup first", report.ok, report.msg, name), Done("backup second", *_of(reports), name)]
    wrong = [*operated.complaints(AS_BEFORE), *operated.complaints_of_backups(said)]
    wrong += unexpected(said)
    if [each.ok for each in said] != [False, True]:
        wrong.append("not exactly one of them has the backup")
    detail = "; ".join([*wrong, *map(str, said)])
    results.add(Played("pairs", f"before {step}", f"{second}, same id", not wrong, detail, time.monotonic() - began))
    assert not wrong, detail


def _of(reports: list[Any]) -> tuple[bool, str]:
    (report,) = reports
    return report.ok, report.msg
