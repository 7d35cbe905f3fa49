# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock on which pauses are short: who sleeps wakes up after a part of the time, and the clock says it was all."""

from __future__ import annotations

import threading
import time

from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock


class Hurry:
    """Pauses take ``times`` less than they should; what takes its time without a pause takes all of it.

    ``slept`` holds the seconds of each pause as they were asked for.
    """

    def __init__(self, times: float = 20.0) -> None:
        self._times, self._ahead, self._lock = times, 0.0, threading.Lock()
        self.slept: list[float] = []
        self.clock = Clock(self._monotonic, self._sleep, self._wait)

    def _monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def _sleep(self, seconds: float) -> None:
        self._wait(threading.Event(), seconds)

    def _wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait; threads that sleep at the same time wake up at the same time, so the clock goes on once for all."""
        self.slept.append(seconds)
        until = self._monotonic() + seconds
        if event.wait(seconds / self._times):
            return True
        with self._lock:
            self._ahead += max(0.0, until - self._monotonic())
        return False
