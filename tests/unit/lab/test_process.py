# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands within their time, and daemons that are ended by who they are and not by a number."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmlab.errors import LabError
from kvmlab.process import Sessions, run, wait_until

FAMILY = "import subprocess, sys, time; subprocess.Popen(['sleep', '300']); print('up', flush=True); time.sleep(300)"


@pytest.fixture(name="sessions")
def _sessions(tmp_path: Path) -> Iterator[Sessions]:
    sessions = Sessions(tmp_path / "sessions", tmp_path / "logs")
    yield sessions
    for name in sessions.names():
        sessions.stop(name)


def test_a_failure_says_what_ran_and_what_it_said() -> None:
    with pytest.raises(LabError, match=r"Failed to run 'sh -c echo no >&2; exit 3': exit code 3: no"):
        run(["sh", "-c", "echo no >&2; exit 3"])


def test_a_command_that_does_not_end_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(LabError, match="Failed to run 'a nap': no end within 0 s"):
        run(["sleep", "30"], timeout=0.2, shown="a nap")
    assert time.monotonic() - begun < 10


def test_a_missing_command_is_a_lab_error() -> None:
    with pytest.raises(LabError, match="Failed to run '/nonexistent/program'"):
        run(["/nonexistent/program"])


def test_a_condition_that_never_holds() -> None:
    with pytest.raises(LabError, match="Failed to see a miracle within 0 s"):
        wait_until(lambda: False, seconds=0.1, what="a miracle")


def test_a_daemon_is_on_record_and_ends_with_its_children(sessions: Sessions) -> None:
    session = sessions.start("family", [sys.executable, "-c", FAMILY])
    wait_until(lambda: len(session.members()) == 2, seconds=10, what="parent and child")
    assert sessions.alive("family")
    assert sessions.names() == ["family"]
    assert session.pid == os.getsid(session.pid)
    sessions.stop("family")
    assert session.members() == []
    assert sessions.get("family") is None


def test_children_that_outlive_their_leader_are_found(sessions: Sessions) -> None:
    session = sessions.start("orphans", ["sh", "-c", "sleep 300 & exit 0"])
    wait_until(lambda: not session.alive and len(session.members()) == 1, seconds=10, what="an orphan")
    sessions.stop("orphans")
    assert session.members() == []


@pytest.mark.parametrize("change", [{"start": 1}, {"boot": "another"}])
def test_a_process_that_only_has_the_number_is_left_alone(sessions: Sessions, change: dict[str, object]) -> None:
    session = sessions.start("daemon", ["sleep", "300"])
    stranger = dataclasses.replace(session, **change)  # type: ignore[arg-type]
    assert not stranger.alive
    assert stranger.members() == []
    stranger.stop(grace=0)
    assert session.alive


def test_a_stopped_daemon_ends_within_its_grace(sessions: Sessions) -> None:
    session = sessions.start("polite", ["sleep", "300"])
    begun = time.monotonic()
    sessions.stop("polite", grace=5)
    assert not session.alive
    assert time.monotonic() - begun < 4


def test_waiting_for_a_daemon_that_ends_tells_its_last_words(sessions: Sessions) -> None:
    sessions.start("liar", ["sh", "-c", "echo the disk is gone"])
    with pytest.raises(LabError, match=r"the lab's liar has ended; its log ends with:\nthe disk is gone"):
        sessions.wait("liar", lambda: False, seconds=10)
