# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the host, real ones."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import programs
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.programs import ProgramError, find_program, output_of


def test_programs_are_found_in_the_system_s_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sh").write_text("#!/bin/sh\n", encoding="ascii")
    (tmp_path / "sh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("sh") in ("/usr/bin/sh", "/bin/sh")
    assert find_program("sh", [str(tmp_path)]) == str(tmp_path / "sh")
    (tmp_path / "sh").chmod(0o644)
    assert find_program("sh", [str(tmp_path)]) is None


def test_what_a_program_prints() -> None:
    assert output_of(["/bin/sh", "-c", "echo $LC_ALL; cat"], seconds=10) == "C\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/bin/sh", "-c", "echo why >&2; exit 3"], "why"),
        (["/bin/sh", "-c", "echo where; exit 3"], "where"),
        (["/bin/sh", "-c", "exit 3"], "it ended with 3"),
        (["/nowhere/sanlun"], "No such file"),
    ],
)
def test_a_program_that_fails(command: list[str], said: str) -> None:
    with pytest.raises(ProgramError, match=rf"Failed to run {command[0]}.*{said}"):
        output_of(command, seconds=10)


def test_a_program_that_hangs_is_given_up_with_its_children() -> None:
    start = time.monotonic()
    with pytest.raises(ProgramError, match=r"no answer within 0.2 s"):
        output_of(["/bin/sh", "-c", "sleep 30 & wait"], seconds=0.2)
    assert time.monotonic() - start < 5


def test_one_that_leaves_a_child_behind_which_holds_its_output_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_LAST_WAIT", 0.3)
    start = time.monotonic()
    with pytest.raises(ProgramError, match="no answer"):
        output_of(["/bin/sh", "-c", "setsid sleep 6 & exit 0"], seconds=0.2)
    assert time.monotonic() - start < 5
