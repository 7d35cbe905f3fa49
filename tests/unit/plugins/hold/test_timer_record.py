# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down of a dead-man timer."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import (
    Timer,
    TimerError,
    forget_timer,
    known_timer,
    read_timer,
    timer_path,
    write_timer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import Process

TIMER = Timer("h1", "boot", "token", "process", "test:///default", 30.0, 0.5, 100.0, 130.5, pid=7, started=9)


def test_what_is_written_is_read_and_forgotten(tmp_path: Path) -> None:
    path = timer_path(tmp_path / "holds" / "h1.json")
    assert path.name == "h1.timer"
    assert read_timer(path) is None
    for timer in (TIMER, replace(TIMER, fired_at=131.0, error="web1: silence")):
        write_timer(path, timer)
        assert read_timer(path) == known_timer(path) == timer
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    for _each in range(2):
        forget_timer(path)
        assert read_timer(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "kvmsnap.timer/2"}', '{"schema": "kvmsnap.timer/1"}'])
def test_one_that_cannot_be_read_is_named_and_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "h1.timer"
    path.write_text(text, encoding="ascii")
    with pytest.raises(TimerError, match=r"h1\.timer"):
        read_timer(path)
    assert known_timer(path) is None


def test_one_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "holds").write_text("", encoding="ascii")
    with pytest.raises(TimerError, match=r"Failed to write the dead-man timer .*h1\.timer"):
        write_timer(tmp_path / "holds" / "h1.timer", TIMER)


def test_what_a_result_tells_of_it(tmp_path: Path) -> None:
    told = TIMER.as_dict()
    assert (told["kind"], told["deadline"], told["pid"], told["fired"]) == ("process", 30.0, 7, False)
    assert not {"token", "uri", "boot_id"} & set(told)
    assert replace(TIMER, fired_at=1.0).as_dict()["fired"] is True
    assert json.loads(json.dumps(told)) == told


def test_the_process_that_waits() -> None:
    assert TIMER.process == Process(7, 9)
    assert replace(TIMER, started=None).process is None
