# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead-man timer with a real libvirtd: whom it lets go of before the others, and that it never gives up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from kvmground.modules import Outcome
from kvmground.scene import HOLDS
from kvmground.stand_in import Manner, StandInAgent
from kvmlab.process import wait_until

MARGIN, LATE = 0.5, 1.0
HOLD = "h1"


@pytest.fixture(scope="module")
def private() -> Iterator[Ground]:
    """Return a private host of its own with a Linux guest, a Windows guest and one without an agent."""
    with Ground.beside("deadman") as found:
        guests = found.guests
        guests.add_relayed("lin", "kvm_vol1")
        guests.add_relayed("win", "kvm_vol2", os="windows").vss_seconds = 60.0
        guests.add_still("sol", "kvm_vol3")
        yield found


@pytest.fixture
def ground(private: Ground) -> Iterator[Ground]:
    """Return it with guests that nobody holds, before the test and after it."""
    yield private
    for name in private.guests.stand_ins():
        private.guests.agent(name).recover()
    outcome = private.module("kvm_leftovers", owner="hv0", grace_period=0)
    assert not outcome.failed, outcome.msg


def quiesced(ground: Ground, *names: str, **options: Any) -> dict[str, Any]:
    """Hold guests as a task does that has ended since; return the result."""
    guests = [{"name": name} for name in names]
    outcome = ground.module("kvm_vm_quiesce", state="quiesced", hold_id=HOLD, guests=guests, **options)
    assert not outcome.failed, outcome.msg
    return outcome.result


def resumed(ground: Ground) -> Outcome:
    return ground.module("kvm_vm_quiesce", state="resumed", hold_id=HOLD)


def thawed(agent: StandInAgent, *, seconds: float) -> float:
    """Return when the agent was told to thaw, once it is thawed."""
    wait_until(lambda: not agent.frozen, seconds=seconds, what="thaw", pause=0.02)
    heard = agent.last("thaw")
    assert heard is not None
    return heard.at


def rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result["guests"]}


def recorded(ground: Ground, suffix: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ground.seen(HOLDS / "holds" / f"{HOLD}{suffix}").read_text(encoding="utf-8"))
    return found


def test_a_windows_guest_is_let_go_before_the_others(ground: Ground) -> None:
    held = rows(quiesced(ground, "lin", "win", "sol", hold_deadline=25, vss_hold_deadline=2))
    late = thawed(ground.guests.agent("win"), seconds=20) - held["win"]["freeze_answered"] - 2 - MARGIN
    assert 0 <= late <= LATE
    assert ground.guests.agent("lin").frozen
    assert ground.guests.state("sol").state == "paused"

    told = resumed(ground)
    assert told["fired"] is True
    assert told["timer"]["fired"] is False, "the hold itself ended in time"
    found = rows(told.result)
    assert {name: (row["fired"], row["held"]) for name, row in found.items()} == {
        "lin": (False, True),
        "win": (True, False),
        "sol": (False, True),
    }
    assert found["win"]["consistency"] == "application-consistent", "so it was until its thaw was sent"
    assert found["win"]["thaw_sent"] < min(found[name]["thaw_sent"] for name in ("lin", "sol"))
    assert not ground.guests.agent("lin").frozen
    assert ground.guests.state("sol").state == "running"


def test_one_that_hangs_keeps_the_others_no_longer_than_the_deadline(ground: Ground) -> None:
    """It is tried before, and with the others, and after them until it answers."""
    agent = ground.guests.agent("win")
    agent.behave("thaw", Manner(silent=True, effect=False))
    held = quiesced(ground, "lin", "win", "sol", hold_deadline=10, vss_hold_deadline=1)
    tried = held["guests"][1]["freeze_answered"] + 1 + MARGIN
    wait_until(lambda: agent.heard_since("thaw", tried - 0.1), seconds=10, what="first try", pause=0.02)
    late = thawed(ground.guests.agent("lin"), seconds=20) - held["timer"]["fires_at"]
    assert 0 <= late <= LATE
    wait_until(lambda: ground.guests.state("sol").state == "running", seconds=LATE, what="resume", pause=0.02)
    assert agent.frozen
    wait_until(lambda: bool(recorded(ground, ".timer")["error"]), seconds=20, what="reason", pause=0.05)
    agent.behave("thaw", Manner())
    thawed(agent, seconds=20)
    wait_until(lambda: not _watching(ground), seconds=10, what="end of the timer", pause=0.05)
    found = rows(resumed(ground).result)
    assert [found[name]["fired"] for name in ("lin", "sol")] == [True, True]
    assert found["win"]["thaw_sent"] < found["lin"]["thaw_sent"], "the first try may have had its effect"
    assert (found["win"]["held"], found["win"]["consistency"]) == (False, "crash-consistent")
    assert "VSS thawed it by itself" in found["win"]["reason"]


def test_a_frozen_guest_that_an_administrator_paused_is_thawed_when_it_runs(ground: Ground) -> None:
    agent, domain = ground.guests.agent("lin"), ground.guests.domain("lin")
    held = quiesced(ground, "lin", hold_deadline=2)
    domain.suspend()
    wait_until(lambda: _said(ground).startswith("Failed to thaw guest lin"), seconds=20, what="try", pause=0.05)
    assert time.monotonic() > held["timer"]["fires_at"]
    assert agent.frozen
    assert ground.guests.state("lin").state == "paused"
    domain.resume()
    thawed(agent, seconds=10)
    wait_until(lambda: not _watching(ground), seconds=10, what="end of the timer", pause=0.05)
    assert rows(resumed(ground).result)["lin"]["fired"] is True


def test_the_timer_ends_with_the_record(ground: Ground) -> None:
    """As the message of a guest that went elsewhere advises."""
    domain = ground.guests.domain("lin")
    quiesced(ground, "lin", hold_deadline=2)
    domain.suspend()
    wait_until(lambda: bool(_said(ground)), seconds=20, what="try", pause=0.05)
    assert _watching(ground)
    ground.seen(HOLDS / "holds" / f"{HOLD}.json").unlink()
    wait_until(lambda: not _watching(ground), seconds=10, what="end of the timer", pause=0.05)
    assert ground.guests.agent("lin").frozen
    domain.resume()


def _said(ground: Ground) -> str:
    return recorded(ground, ".timer")["error"] or ""


def _watching(ground: Ground) -> bool:
    """Say whether a timer runs on the private host."""
    return any(b"kvmsnap-deadman" in _command_line(pid) for pid in ground.processes())


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
