# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that may never be answered are given up, and those that go on are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded, progressing


def test_what_a_call_returns_or_raises_is_handed_on() -> None:
    assert bounded(lambda: 7, seconds=60, what="count") == 7
    assert progressing(lambda _step: 7, seconds=60, what="count") == 7
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, seconds=60, what="count")
    with pytest.raises(ZeroDivisionError):
        progressing(lambda _step: 1 // 0, seconds=60, what="count")


def test_a_call_that_is_not_answered_is_given_up() -> None:
    answer = threading.Event()
    with pytest.raises(OverdueError, match=r"^Failed to look at it: no answer within 0\.05 s$"):
        bounded(answer.wait, seconds=0.05, what="look at it")
    with pytest.raises(OverdueError, match=r"^Failed to look at it: no answer within 0\.05 s$"):
        progressing(lambda _step: answer.wait(), seconds=0.05, what="look at it")
    answer.set()


def test_a_call_that_goes_on_may_take_longer_than_one_step_and_is_given_up_when_it_stops() -> None:
    answer, seconds = threading.Event(), 0.2

    def walk(step: Callable[[], None]) -> int:
        for _each in range(5):
            time.sleep(seconds / 4)
            step()
        return 5

    def stop(step: Callable[[], None]) -> bool:
        walk(step)
        return answer.wait()

    assert progressing(walk, seconds=seconds, what="walk") == 5
    began = time.monotonic()
    with pytest.raises(OverdueError, match="Failed to walk"):
        progressing(stop, seconds=seconds, what="walk")
    assert time.monotonic() - began > seconds
    answer.set()
