# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line per step, with the seconds since the start and the seconds the step took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_START = time.monotonic()
_PRINTING = threading.Lock()


def say(text: str) -> None:
    """Print one line behind the seconds since the program started."""
    with _PRINTING:
        print(f"[{time.monotonic() - _START:6.1f} s] {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Tell that ``text`` begins and, when it took a noticeable time, that it is done."""
    say(f"{text} ...")
    begun = time.monotonic()
    yield
    say(f"{text}: done in {time.monotonic() - begun:.1f} s")
