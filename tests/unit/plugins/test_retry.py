# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is repeated, how often, and until when."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline, RetryPolicy, retrying


class FakeTime:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass and remember it."""
        self.pauses.append(seconds)
        self.now += seconds

    @property
    def clock(self) -> Clock:
        """This time, as a clock."""
        return Clock(monotonic=lambda: self.now, sleep=self.sleep)


@pytest.mark.parametrize(
    ("rerun", "asked", "pause"),
    [(1, 0.0, 0.25), (2, 0.0, 0.5), (3, 0.0, 1.0), (9, 0.0, 5.0), (1, 2.0, 2.0), (3, 0.5, 1.0), (1, 3600.0, 30.0)],
)
def test_the_pause_doubles_and_is_bounded(rerun: int, asked: float, pause: float) -> None:
    assert RetryPolicy().delay(rerun, asked) == pause


def failing(times: int) -> Any:
    """Return a call that fails so often before it succeeds, and the list of its tries."""
    tries: list[int] = []

    def call() -> str:
        tries.append(len(tries) + 1)
        if len(tries) <= times:
            raise OSError(f"try {len(tries)}")
        return "done"

    return call, tries


@pytest.mark.parametrize(("retry_count", "failures", "tries"), [(3, 3, 4), (3, 4, 4), (0, 0, 1), (0, 1, 1), (1, 1, 2)])
def test_retry_count_is_the_number_of_reruns(retry_count: int, failures: int, tries: int) -> None:
    time = FakeTime()
    call, seen = failing(failures)
    policy, deadline = RetryPolicy(retry_count=retry_count), Deadline.after(60.0, time.clock)
    if failures > retry_count:
        with pytest.raises(OSError, match=f"try {tries}"):
            retrying(call, again=lambda _exc: 0.0, policy=policy, deadline=deadline)
    else:
        assert retrying(call, again=lambda _exc: 0.0, policy=policy, deadline=deadline) == "done"
    assert len(seen) == tries
    assert time.pauses == [0.25, 0.5, 1.0][: tries - 1]


def test_what_must_not_be_repeated_is_raised_at_once() -> None:
    time = FakeTime()
    call, seen = failing(1)
    with pytest.raises(OSError, match="try 1"):
        retrying(call, again=lambda _exc: None, policy=RetryPolicy(), deadline=Deadline.after(60.0, time.clock))
    assert (len(seen), time.pauses) == (1, [])


def test_no_pause_goes_past_the_deadline() -> None:
    time = FakeTime()
    call, seen = failing(9)
    with pytest.raises(OSError, match="try 2"):
        retrying(call, again=lambda _exc: 4.0, policy=RetryPolicy(), deadline=Deadline.after(6.0, time.clock))
    assert (len(seen), time.pauses) == (2, [4.0])


@pytest.mark.parametrize(("failures", "ends"), [(9, True), (12, True), (13, False)])
def test_what_is_not_counted_is_run_again_until_the_deadline(failures: int, ends: bool) -> None:
    """The pauses: 7.75 s in all for the first five, then 5 s each: 45 s are no time for a thirteenth."""
    time = FakeTime()
    call, seen = failing(failures)
    policy, deadline = RetryPolicy(retry_count=0), Deadline.after(45.0, time.clock)

    def run() -> str:
        return retrying(
            call, again=lambda _exc: 0.0, policy=policy, deadline=deadline, uncounted=lambda exc: "try" in str(exc)
        )

    if ends:
        assert run() == "done"
        assert len(seen) == failures + 1
    else:
        with pytest.raises(OSError, match="try 13"):
            run()
    assert max(time.pauses) == 5.0


def test_only_what_is_counted_uses_up_the_reruns() -> None:
    time = FakeTime()
    call, seen = failing(9)
    uncounted = {"try 1", "try 3"}
    with pytest.raises(OSError, match="try 4"):
        retrying(
            call,
            again=lambda _exc: 0.0,
            policy=RetryPolicy(retry_count=1),
            deadline=Deadline.after(600.0, time.clock),
            uncounted=lambda exc: str(exc) in uncounted,
        )
    assert len(seen) == 4


def test_a_pause_is_a_number_however_often_it_was_doubled() -> None:
    assert RetryPolicy().delay(100_000) == 5.0


@pytest.mark.parametrize(("moment", "left"), [(None, 2.0), (1001.5, 1.5), (1005.0, 2.0), (999.0, 0.0)])
def test_a_moment_only_shortens_a_deadline(moment: Optional[float], left: float) -> None:
    assert Deadline.after(2.0, FakeTime().clock).no_later(moment).remaining() == left


def test_a_deadline_counts_down_to_nothing() -> None:
    time = FakeTime()
    deadline = Deadline.after(2.0, time.clock)
    time.sleep(1.5)
    assert deadline.remaining() == 0.5
    time.sleep(1.5)
    assert deadline.remaining() == 0.0
