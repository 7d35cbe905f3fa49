# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same call for many things at once: values and exceptions in order, no more at a time than was said."""

from __future__ import annotations

import threading

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.parallel import in_parallel, values


def test_results_and_exceptions_come_in_the_order_of_the_items() -> None:
    found = in_parallel(lambda each: 6 // each, [1, 0, 3])
    assert (found[0], found[2]) == (6, 2)
    assert isinstance(found[1], ZeroDivisionError)
    assert in_parallel(lambda each: each, []) == []


def test_a_call_that_returns_nothing_is_no_failure() -> None:
    assert in_parallel(lambda _each: None, [1, 2]) == [None, None]


def test_all_are_under_way_at_once_up_to_the_most() -> None:
    together, lock = threading.Barrier(3), threading.Lock()
    under_way: list[int] = []
    most: list[int] = []

    def call(each: int) -> int:
        with lock:
            under_way.append(each)
            most.append(len(under_way))
        together.wait(60)
        with lock:
            under_way.remove(each)
        return each

    assert in_parallel(call, range(6), at_once=3) == list(range(6))
    assert max(most) == 3


def test_the_first_exception_is_raised_in_place_of_the_values() -> None:
    assert values([1, 2]) == [1, 2]
    with pytest.raises(KeyError, match="first"):
        values([1, KeyError("first"), ValueError("second")])
