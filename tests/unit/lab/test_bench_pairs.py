# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of two versions that were measured turn by turn."""

from __future__ import annotations

from typing import Any

import pytest
from beside_old import of_modules, p95, slowest_tasks
from pairs import compared, interval_of_median, table


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (5, (None, None)),
        (6, (1.0, 6.0)),
        (8, (1.0, 8.0)),
        (9, (2.0, 8.0)),
        (30, (10.0, 21.0)),
        (100, (40.0, 61.0)),
    ],
)
def test_the_interval_is_that_of_the_sign_test(pairs: int, expected: tuple[Any, Any]) -> None:
    """The ranks are those of any table of the binomial distribution."""
    assert interval_of_median([float(each) for each in range(pairs, 0, -1)]) == expected


def test_ratios_are_those_of_pairs_and_not_of_medians() -> None:
    row = compared("run", [1.0, 2.0, 100.0], [2.0, 2.0, 100.0])
    assert (row.old, row.new, row.ratio, row.pairs) == (2.0, 2.0, 1.0, 3)
    assert compared("run", [1.0, 2.0, 4.0], [2.0, 4.0, 4.0]).ratio == 2.0


@pytest.mark.parametrize(("old", "new"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_no_pair_is_refused(old: list[float], new: list[float]) -> None:
    with pytest.raises(ValueError, match="are no pairs"):
        compared("run", old, new)


def test_the_table_says_what_is_not_reached() -> None:
    rows = [compared("a", [1.0] * 6, [1.1] * 6), compared("b", [1.0] * 6, [1.2] * 6), compared("c", [1.0], [2.0])]
    assert table(rows, {"a": 1.1, "b": 1.1})[2:] == [
        "| a | 1.00 s | 1.10 s | 1.10 | 1.10 to 1.10 | 1.10 at most |",
        "| b | 1.00 s | 1.20 s | 1.20 | 1.20 to 1.20 | 1.10 at most: not reached |",
        "| c | 1.00 s | 2.00 s | 2.00 | too few pairs | - |",
    ]


def test_the_seconds_of_modules_are_found_by_their_names() -> None:
    tasks = [
        {"task": "Back up", "module": "kvmsnap.ontap.kvm_vm_backup", "seconds": 1.5},
        {"task": "Say", "module": "ansible.builtin.debug", "seconds": 0.1},
    ]
    assert of_modules(tasks) == {"its module": 1.5}


def test_the_slowest_tasks_come_first_with_those_that_one_version_lacks() -> None:
    found = {
        "before": [{"task": "a", "seconds": 1.0}, {"task": "a", "seconds": 3.0}, {"task": "b", "seconds": 0.1}],
        "now": [{"task": "c", "seconds": 5.0}, {"task": "a", "seconds": 1.0}],
    }
    assert slowest_tasks(found, most=2) == [
        {"task": "c", "before": None, "now": 5.0},
        {"task": "a", "before": 2.0, "now": 1.0},
    ]


@pytest.mark.parametrize(("count", "expected"), [(1, 1.0), (8, 8.0), (20, 19.0), (100, 95.0)])
def test_p95(count: int, expected: float) -> None:
    assert p95([float(each) for each in range(1, count + 1)]) == expected
