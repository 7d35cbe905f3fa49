# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the run of a test on the old commit says of its fault."""

from __future__ import annotations

from typing import Any

import pytest

import ground
from prove_old import (
    NAMELESS,
    NOT_COMPARABLE,
    PASSES,
    PROVED,
    UNMARKED,
    all_proved,
    number_of,
    table,
    verdict_of,
    verdicts,
)

TEST = "tests/faults/test_old_files.py::test_late"
FAULT = "11.4: the array overwrites a guest that has been started again"


def report(when: str, outcome: str = "passed", said: str = "") -> dict[str, Any]:
    return {"test": TEST, "what": "report", "when": when, "outcome": outcome, "said": said, "seconds": 2.0}


def mark(what: str, said: str = "") -> dict[str, Any]:
    return {"test": TEST, "what": what, "said": said, "fault": FAULT, "operation": "late", "ground": ""}


MARKED = {"test": TEST, "what": "marked"}
SETUP, TEARDOWN = report("setup"), report("teardown")


@pytest.mark.parametrize(
    ("lines", "verdict", "why"),
    [
        ([mark("reached"), mark("failed", "b != a"), report("call", "failed"), TEARDOWN], PROVED, "b != a"),
        ([mark("reached"), mark("failed"), report("call", "failed"), report("teardown", "failed")], PROVED, ""),
        ([mark("reached"), mark("held"), report("call"), TEARDOWN], PASSES, "held"),
        (
            [mark("reached"), mark("held"), report("call", "failed", "left"), TEARDOWN],
            NOT_COMPARABLE,
            "after the marked",
        ),
        ([report("call", "failed", "KeyError"), TEARDOWN], NOT_COMPARABLE, "before the marked assertion: KeyError"),
        ([mark("reached"), mark("error", "KeyError"), report("call", "failed")], NOT_COMPARABLE, "KeyError"),
        ([mark("reached"), mark("failed"), report("call")], NOT_COMPARABLE, "went on"),
        ([mark("reached"), mark("failed")], NOT_COMPARABLE, "did not come to its end"),
        ([mark("reached")], NOT_COMPARABLE, "did not come to its end"),
        ([report("call", "skipped", "no lab"), TEARDOWN], NOT_COMPARABLE, "skipped"),
        ([MARKED, report("call"), TEARDOWN], NOT_COMPARABLE, "was not reached"),
        ([{"test": TEST, "what": "unmarked"}], UNMARKED, "not run"),
    ],
)
def test_the_verdict_on_a_test(lines: list[dict[str, Any]], verdict: str, why: str) -> None:
    found = verdict_of(TEST, [*([] if verdict == UNMARKED else [SETUP]), *lines])
    assert found.verdict == verdict
    assert why in found.why


@pytest.mark.parametrize("when", ["collect", "setup"])
def test_what_breaks_before_the_test_is_not_comparable(when: str) -> None:
    found = verdict_of(TEST, [MARKED, report(when, "failed", "ImportError: _gate")])
    assert (found.verdict, found.why) == (NOT_COMPARABLE, f"{when} failed: ImportError: _gate")


def test_a_mark_that_held_before_one_that_failed_does_not_hide_it() -> None:
    lines = [SETUP, mark("reached"), mark("held"), mark("reached"), mark("failed", "x"), report("call", "failed")]
    assert verdict_of(TEST, lines).verdict == PROVED


def test_a_verdict_says_operation_and_ground() -> None:
    found = verdict_of(TEST, [SETUP, mark("reached"), mark("failed"), report("call", "failed")])
    assert (found.fault, found.operation, found.ground, found.seconds) == (FAULT, "late", "private host", 2.0)
    on_lab = {**mark("failed"), "ground": "NFS client of the lab"}
    assert verdict_of(TEST, [SETUP, on_lab, report("call", "failed")]).ground == "NFS client of the lab"
    assert verdict_of("tests/integration/test_old_x.py::test_y", [SETUP]).ground == "lab"


@pytest.mark.parametrize(
    ("words", "expected"),
    [([PROVED], True), ([PROVED, UNMARKED], True), ([PROVED, PASSES], False), ([NOT_COMPARABLE], False), ([], False)],
)
def test_all_is_proved_only_if_each_marked_test_is(words: list[str], expected: bool) -> None:
    ends = {
        PROVED: [mark("failed"), report("call", "failed")],
        PASSES: [mark("held"), report("call")],
        NOT_COMPARABLE: [report("call", "failed")],
        UNMARKED: [{"what": "unmarked"}],
    }
    lines = [{**line, "test": str(n)} for n, word in enumerate(words) for line in [SETUP, *ends[word]]]
    assert all_proved(verdicts(lines)) is expected


def test_the_table_has_each_fault_of_the_list_and_others() -> None:
    proved = [SETUP, mark("failed"), report("call", "failed")]
    other = [{**line, "test": "t", "fault": "12.31: other"} for line in (SETUP, mark("held"), report("call"))]
    lines = table(verdicts([*proved, *other]))
    (fourth,) = [line for line in lines if line.startswith("4. ")]
    assert fourth.split()[-3:] == ["1", "0", "0"]
    assert sum(line[0].isdigit() for line in lines[1:-1]) == 10
    assert lines[-1] == "1 proved, 1 passes-on-old, 0 not comparable, 0 without a mark"


@pytest.mark.parametrize(
    ("fault", "number"), [("11.4: x", 4), ("8: x", 8), ("11.0: x", 0), ("x", NAMELESS), ("", NAMELESS)]
)
def test_the_number_of_a_fault(fault: str, number: int) -> None:
    assert number_of(fault) == number


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tests/faults/shown.py"], True),
        (["-v", "tests/faults/shown.py::test_x[a b]"], True),
        (["tests/faults"], True),
        (["-k", "paused", "--tb=long"], False),
        (["tests/faults/no_such_file.py"], False),
        ([""], False),
        ([], False),
    ],
)
def test_a_file_that_is_named_narrows_the_run(arguments: list[str], expected: bool) -> None:
    assert ground.names_a_place(arguments) is expected
