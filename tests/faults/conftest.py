# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cells of the fault matrix: each is a test, and all of them go into build/faults.json and a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmground import Ground
from kvmground.played import Results
from kvmground.scene import Stage

BUILD = Path(__file__).resolve().parents[2] / "build"


_RESULTS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the part of the matrix that every run of the tests plays."""
    parser.addoption("--representative", action="store_true", help="only the cells that stand for the others")
    parser.addoption("--operation", help="only this operation (tasks, module, restore, in-use, late)")


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no results."""
    name = "faults-part.json" if config.getoption("--representative") else "faults.json"
    config.stash[_RESULTS] = Results(BUILD / name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    results = terminalreporter.config.stash[_RESULTS]
    if results.cells:
        terminalreporter.section("fault matrix")
        for line in results.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Results:
    """Return where cells are written down."""
    return request.config.stash[_RESULTS]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Return the private host with its guests; one file of cells has it at a time."""
    with Ground() as ground:
        found = Stage(ground)
        found.furnish()
        yield found
