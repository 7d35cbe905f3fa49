# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How checks are ended, counted and told of."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import checks
import ground
from checks import Check, Count, Finish, Progress, Runner

# Writes a line now and then, for longer than the limit in which nothing may happen.
BUSY = "import time\nfor n in range(12):\n    print(n, flush=True)\n    time.sleep(0.12)\n"
HANGS = "import time\nprint('test_hangs', flush=True)\ntime.sleep(600)\n"
# Says nothing, and keeps a round of a series now and then.
SERIES = """\
import os, pathlib, sys, time
place = pathlib.Path(sys.argv[1])
for n in range(12):
    new = place / "new"
    new.write_text(str(n))
    new.replace(place / "pairs-7.json")
    time.sleep(0.12)
"""
SLOW_TEST = "import time\n\ndef test_slow():\n    time.sleep(60)\n\ndef test_quick():\n    pass\n"


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a build folder of its own, with a quick look at what runs."""
    for name, folder in (("BUILD", "."), ("LOGS", "logs"), ("REPORTS", "reports")):
        monkeypatch.setattr(ground, name, tmp_path / folder)
        (tmp_path / folder).mkdir(exist_ok=True)
    monkeypatch.setattr(checks, "HEARTBEAT", 0.1)
    return tmp_path


def run(code: str, *arguments: str, idle: float) -> Finish:
    return Runner().run([sys.executable, "-c", code, *arguments], name="check", idle=idle)


def test_a_check_that_gets_on_is_not_ended_however_long_it_takes(build: Path) -> None:
    assert run(BUSY, idle=1.0) == Finish(True)


def test_a_check_that_stands_still_is_ended_and_says_where(build: Path) -> None:
    finish = run(HANGS, idle=1.0)
    assert not finish.succeeded
    assert finish.ended.startswith("no progress for 1 s")
    assert finish.ended.endswith("at: test_hangs")


def test_a_round_of_a_long_series_is_progress(build: Path) -> None:
    (build / "series").mkdir()
    assert run(SERIES, str(build / "series"), idle=1.0) == Finish(True)


def test_a_check_that_fails_by_itself_was_not_ended(build: Path) -> None:
    assert run("raise SystemExit(3)", idle=60) == Finish(False)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([(10, "a")], 0),
        ([(10, "a"), (25, "a")], 15),
        ([(10, "a"), (25, "b")], 0),
        ([(10, "a"), (25, "b"), (26, "b"), (30, "b")], 5),
    ],
)
def test_how_long_something_stands_still(seen: list[tuple[float, str]], expected: float) -> None:
    progress = Progress(0)
    assert [progress.still(now, what) for now, what in seen][-1] == expected


CHECK = Check("unit", "unit, Python 3.11")
REPORT = (
    '<testsuite><testcase classname="a" name="b"/>'
    '<testcase classname="a" name="c"><failure message="{said}"/></testcase></testsuite>'
)


@pytest.mark.parametrize(
    ("report", "finish", "expected"),
    [
        (None, Finish(True), (1, 0, ())),
        (None, Finish(False), (0, 1, ())),
        (None, Finish(False, "no progress"), (0, 1, ("no progress",))),
        (REPORT.format(said="assert 1 == 2"), Finish(False), (1, 1, ())),
        (
            REPORT.format(said="Failed: Timeout (&gt;600.0s) from pytest-timeout."),
            Finish(False),
            (1, 1, ("a::c: Failed: Timeout (>600.0s)",)),
        ),
    ],
)
def test_what_a_check_came_to(
    build: Path, report: str | None, finish: Finish, expected: tuple[int, int, tuple[str, ...]]
) -> None:
    if report:
        (build / "reports" / "unit.xml").write_text(report, encoding="utf-8")
    count = checks.count_check(CHECK, finish=finish, left_out=False, seconds=3.0)
    assert (count.passed, count.failed, count.ended) == expected
    assert (count.check, count.seconds) == ("unit", 3.0)


def test_what_pytest_says_of_a_test_that_took_too_long_is_known(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SLOW_TEST, encoding="utf-8")
    words = ["-m", "pytest", "-q", "--timeout=0.5", "-p", "no:cacheprovider", "--junitxml=it.xml", "test_it.py"]
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=False, capture_output=True, timeout=60)
    count = checks.count_junit("unit", [tmp_path / "it.xml"])
    assert (count.passed, count.failed) == (1, 1)
    assert count.ended == ("test_it::test_slow: Failed: Timeout (>0.5s)",)


def test_a_group_that_ran_is_told_with_its_seconds_and_what_was_ended(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = Count("integration", 47, 1, 0, 2400.0, "integration", ("no progress for 1500 s",))
    integration = dict(zip(checks.GROUPS["integration"], [ended, Count("molecule", 5), Count("faults", 20)]))
    for group in ("lint", "unit"):
        checks.keep(
            [group], {check: Count(check.kind, 1, check=check.session) for check in checks.GROUPS[group]}, began=0
        )
    checks.keep(["integration"], integration, began=0)
    assert checks.main(["table", "test"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "  integration: no progress for 1500 s" in lines
    assert any(line.split() == ["integration", "2400"] for line in lines)
    assert any(line.startswith("from begin to end") and line.endswith("OVER BUDGET") for line in lines)
    others = sum(len(checks.GROUPS[group]) for group in ("lint", "unit"))
    assert lines[-1] == f"{47 + 5 + 20 + others} passed, 1 failed, 0 skipped"


def test_a_group_that_did_not_end_counts_as_failed(build: Path) -> None:
    (count,), seconds = checks.read_counts(["unit"])
    assert (count.failed, count.ended, seconds) == (1, ("the group did not come to its end",), 0.0)


def test_numbers_are_read_as_they_were_kept(build: Path) -> None:
    found = {check: Count(check.kind, 3, 0, 1, 2.0, check.session, ("why",)) for check in checks.GROUPS["unit"]}
    checks.keep(["unit"], found, began=100.0)
    counts, seconds = checks.read_counts(["unit"])
    assert counts == list(found.values())
    kept = json.loads(checks.counts_file("unit").read_text(encoding="utf-8"))
    assert seconds == kept["ended"] - 100.0


def test_the_budget_is_that_of_make_test_alone() -> None:
    counts = [Count("a", 1, seconds=5.0, check="x"), Count("b", 1, seconds=9.0, check="y")]
    assert checks.seconds_table(counts, seconds=9.0, budget=None)[-1].split() == ["from", "begin", "to", "end", "9"]
    within = checks.seconds_table(counts, seconds=9.0, budget=2400)
    assert [line.split()[0] for line in within[2:4]] == ["y", "x"]
    assert within[-1].endswith("9  of 2400 on a quiet machine")


def test_every_group_of_a_suite_exists_and_each_test_has_less_time_than_its_check() -> None:
    assert {group for suite in checks.SUITES.values() for group in suite} <= set(checks.GROUPS)
    noxfile = (ground.ROOT / "noxfile.py").read_text(encoding="utf-8")
    limits = {name: int(limit) for limit, name in re.findall(r'"--timeout=(\d+)",\s*report="([^"]+)"', noxfile)}
    idle = {check.session: check.idle for group in checks.GROUPS.values() for check in group}
    assert {"believable", "integration", "integration-long", "faults", "faults-part"} <= set(limits)
    assert [name for name, limit in limits.items() if limit >= idle[name]] == []
