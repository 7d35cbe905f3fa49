# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a request's way through the code is: a pytest plugin that traces the call of each test.

``PYTHONPATH=tests/tools pytest -p walk TEST...`` prints for each test how many functions of ``plugins/`` ran, how many
files they lie in, and how deep their calls were nested at most; what the tests themselves call counts as the door.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

_ROOM = "/plugins/module_utils/"
_TOLD: list[str] = []


class Walk:
    """Functions that were called, by file and name, and the deepest nesting of their calls in one thread."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str, int]] = set()
        self.calls = 0
        self.deepest = 0
        self._depth = threading.local()

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """See a call or a return."""
        if event not in ("call", "return") or _ROOM not in frame.f_code.co_filename:
            return
        depth = getattr(self._depth, "now", 0) + (1 if event == "call" else -1)
        self._depth.now = max(0, depth)
        if event == "call" and not frame.f_code.co_name.startswith("<"):
            self.calls += 1
            self.functions.add((frame.f_code.co_filename, frame.f_code.co_name, frame.f_code.co_firstlineno))
            self.deepest = max(self.deepest, depth)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Trace a test and tell what it walked through."""
    walk = Walk()
    threading.setprofile(walk)
    sys.setprofile(walk)
    try:
        return (yield)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        files = {file for file, _name, _line in walk.functions}
        told = f"{len(walk.functions)} functions in {len(files)} files, at most {walk.deepest} deep, {walk.calls} calls"
        _TOLD.append(f"{item.name}: {told}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it below the tests."""
    terminalreporter.section("walks")
    for line in _TOLD:
        terminalreporter.line(line)
