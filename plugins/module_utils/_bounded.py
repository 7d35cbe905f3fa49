# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that the system may never answer (a dead NFS server, a stopped libvirtd), given up after a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Optional, TypeVar

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError

T = TypeVar("T")


class OverdueError(KvmsnapError):
    """A call was not answered in its time. It may still be under way; nobody waits for it."""


class _Call(Generic[T]):
    """One call in a thread of its own, which does not keep the process from ending."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._value: list[T] = []
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def result(self, seconds: float, what: str) -> T:
        self._thread.start()
        self._thread.join(seconds)
        return self._ended(seconds, what)

    def result_of_progress(self, last: Callable[[], float], seconds: float, what: str) -> T:
        self._thread.start()
        while self._thread.is_alive():
            remaining = last() + seconds - time.monotonic()
            if remaining <= 0:
                break
            self._thread.join(remaining)
        return self._ended(seconds, what)

    def _ended(self, seconds: float, what: str) -> T:
        if self._error is not None:
            raise self._error
        if not self._value:
            raise OverdueError(f"Failed to {what}: no answer within {seconds:g} s")
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._call())
        except BaseException as exc:  # noqa: BLE001 - handed to the caller's thread as it is
            self._error = exc


def bounded(call: Callable[[], T], *, seconds: float, what: str) -> T:
    """Return what ``call`` returns, or raise what it raises; :class:`OverdueError` when ``seconds`` pass first.

    ``what`` completes the sentence "Failed to ...".
    """
    return _Call(call).result(seconds, what)


def progressing(call: Callable[[Callable[[], None]], T], *, seconds: float, what: str) -> T:
    """Return what ``call`` returns, however long it takes, while it goes on: it calls its argument at each step.

    :class:`OverdueError` when ``seconds`` pass without a step; otherwise as :func:`bounded`.
    """
    steps = [time.monotonic()]

    def step() -> None:
        steps[0] = time.monotonic()

    return _Call(lambda: call(step)).result_of_progress(lambda: steps[0], seconds, what)
