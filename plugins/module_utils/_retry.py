# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be retried, how often and how long.

``retry_count`` is that of the Snap Creator plug-in's KVM_CMD_RETRY_COUNT: so many re-runs after the first try, and only
of what is safe to repeat. All times are seconds on the host's monotonic clock.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Optional, TypeVar

T = TypeVar("T")

_MOST_DOUBLINGS = 32
"""More of them would be no number of seconds any more."""


@dataclass(frozen=True)
class Clock:
    """Where time comes from and how it passes; tests bring their own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    """Sleep until an event is set at the latest, and say whether it is."""


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock that bounds everything done under it."""

    at: float
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def after(cls, seconds: float, clock: Optional[Clock] = None) -> Deadline:
        """Return the deadline ``seconds`` from now."""
        clock = clock or Clock()
        return cls(at=clock.monotonic() + seconds, clock=clock)

    def no_later(self, at: Optional[float]) -> Deadline:
        """Return this deadline, or the moment of the same clock when that is sooner; None is no moment."""
        return self if at is None else replace(self, at=min(self.at, at))

    def remaining(self) -> float:
        """Return the seconds left, 0.0 when it has passed."""
        return max(0.0, self.at - self.clock.monotonic())


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after which pauses: ``first_delay``, doubled at each re-run, at most ``max_delay`` (seconds)."""

    retry_count: int = 3
    first_delay: float = 0.25
    max_delay: float = 5.0
    max_retry_after: float = 30.0

    def delay(self, rerun: int, retry_after: float = 0.0) -> float:
        """Return the pause in seconds before re-run number ``rerun`` (from 1).

        ``retry_after`` is what the other side asked for; it lengthens the pause up to ``max_retry_after``.
        """
        doubled: float = min(self.first_delay * 2 ** min(rerun - 1, _MOST_DOUBLINGS), self.max_delay)
        return max(doubled, min(retry_after, self.max_retry_after))


def retrying(
    call: Callable[[], T],
    *,
    again: Callable[[Exception], Optional[float]],
    policy: RetryPolicy,
    deadline: Deadline,
    uncounted: Callable[[Exception], bool] = lambda _exc: False,
) -> T:
    """Return what ``call`` returns, running it again while ``again`` allows.

    ``again`` gets the exception and answers ``None`` (not to be repeated) or the seconds that the other side asked to
    wait (0.0 for none). The last exception is raised when it says so, when ``policy.retry_count`` re-runs are used up,
    and when the pause would outlast ``deadline``. A re-run after an exception that is ``uncounted`` uses up none.
    """
    counted = 0
    for rerun in itertools.count(1):
        try:
            return call()
        except Exception as exc:
            asked = again(exc)
            if asked is None:
                raise
            counted += not uncounted(exc)
            pause = policy.delay(rerun, asked)
            if counted > policy.retry_count or pause >= deadline.remaining():
                raise
        deadline.clock.sleep(pause)
    raise AssertionError
