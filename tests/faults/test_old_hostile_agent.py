# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one guest's agent could do to the others before its answers were read in one place, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from kvmground import Ground, Outcome
from kvmground.hostile import hostile
from kvmground.scene import HOLDS
from kvmground.stand_in import Manner
from kvmlab.errors import LabError
from kvmlab.process import wait_until
from shown import shown

BAD, GOOD, STILL = "bad", "good", "still"
HOLD = "h1"
DEADLINE = 2
RELEASED = 30
"""Seconds in which a timer has tried each guest several times."""

_count = iter(range(1, 100))


@pytest.fixture(scope="module")
def private() -> Iterator[Ground]:
    """Return a private host with a guest in the wrong hands and two honest ones."""
    with Ground.beside("oldagent") as found:
        found.guests.add_relayed(BAD, "kvm_vol1")
        found.guests.add_relayed(GOOD, "kvm_vol2")
        found.guests.add_still(STILL, "kvm_vol3")
        yield found


@pytest.fixture
def ground(private: Ground) -> Iterator[Ground]:
    """Return it; afterwards agents are good ones, nobody is held, and libvirt talks to all."""
    yield private
    for pid in _timers(private):
        os.kill(pid, signal.SIGKILL)
    private.run(["find", HOLDS, "-mindepth", "1", "-delete"])
    for name in (BAD, GOOD):
        private.guests.agent(name).recover()
    deadline = time.monotonic() + 20
    while not _answers(private) and time.monotonic() < deadline:
        private.restart_libvirtd(kill=True)
    if private.guests.state(STILL).state == "paused":
        private.guests.domain(STILL).resume()


@pytest.mark.parametrize("kind", ["5000 digits", "invalid UTF-8"])
def test_the_others_are_backed_up(ground: Ground, kind: str) -> None:
    found = ground.discovered()
    hostile(ground.guests.agent(BAD), kind)
    name = f"backup_{next(_count)}"
    outcome = _backed_up(ground, name, found)
    with shown("11.6: one guest's agent ends the backup of all"):
        assert {f"svm1:kvm_vol{n}" for n in (1, 2, 3)} <= {
            volume for volume, names in ground.snapshots().items() if name in names
        }, outcome.msg
    assert not outcome.failed, outcome.msg
    levels = {guest["name"]: guest["consistency"]["level"] for guest in _manifest(ground, name)["guests"]}
    assert (levels[GOOD], levels[STILL]) == ("filesystem-consistent", "crash-consistent")


@pytest.mark.parametrize("kind", ["5000 digits", "an error of invalid UTF-8"])
def test_the_timer_frees_one_that_refused_its_first_thaw(ground: Ground, kind: str) -> None:
    """The module that held them is gone; the agent lies only after the freeze."""
    _held(ground, kind)
    agent = ground.guests.agent(GOOD)
    with shown("11.6: a lie after the freeze kills the dead-man timer, and another guest stays frozen"):
        assert _within(RELEASED, lambda: not agent.frozen), "it is frozen still"
    wait_until(lambda: ground.guests.state(STILL).state == "running", seconds=RELEASED, what="resume", pause=0.1)
    assert _timers(ground) != [], "the bad one is not free, so its timer goes on"


def test_recovery_outlives_such_an_agent(ground: Ground) -> None:
    hostile(ground.guests.agent(BAD), "5000 digits")
    outcome = ground.module("kvm_leftovers", owner="hv1", grace_period=0)
    with shown("11.6: recover dies while such an agent runs"):
        assert outcome.result.get("leftovers") is not None, outcome.msg
    assert not outcome.failed, outcome.msg


def test_recovery_frees_the_others(ground: Ground) -> None:
    """The timer is gone, too."""
    _held(ground, "5000 digits", first_thaws_refused=0, deadline=600)
    for pid in _timers(ground):
        os.kill(pid, signal.SIGKILL)
    _age(ground)
    outcome = ground.module("kvm_leftovers", owner="hv1", grace_period=0)
    with shown("11.6: recover dies and keeps the others held"):
        assert outcome.result.get("leftovers") is not None, outcome.msg
    assert not ground.guests.agent(GOOD).frozen
    assert ground.guests.state(STILL).state == "running"
    assert f"guest {BAD}" in outcome.msg
    assert GOOD not in outcome.msg


def test_a_hold_that_is_long_over_does_not_keep_the_next_night_from_its_guests(ground: Ground) -> None:
    """Its timer died, its guests were thawed and resumed by hand; the record says 'held' still."""
    _held(ground, None, first_thaws_refused=0, deadline=600)
    for pid in _timers(ground):
        os.kill(pid, signal.SIGKILL)
    for name in (BAD, GOOD):
        ground.guests.ask(name, "guest-fsfreeze-thaw")
    ground.guests.domain(STILL).resume()
    _age(ground)
    name = f"backup_{next(_count)}"
    outcome = _backed_up(ground, name, ground.discovered(), on_failure="fail")
    with shown("11.6: a record that says 'held' fails the next night's backup for all"):
        assert not outcome.failed, outcome.msg
    assert any(f"The hold {HOLD} was long over" in each for each in outcome["notes"])
    levels = {guest["name"]: guest["consistency"]["level"] for guest in _manifest(ground, name)["guests"]}
    assert levels == {BAD: "filesystem-consistent", GOOD: "filesystem-consistent", STILL: "crash-consistent"}


def _held(ground: Ground, kind: str | None, *, first_thaws_refused: int = 1, deadline: float = DEADLINE) -> None:
    """Hold all three as a task does that has ended since."""
    if kind is not None:
        hostile(ground.guests.agent(BAD), kind, once_frozen=True)
    if first_thaws_refused:
        manner = Manner(error="not now", effect=False, count=first_thaws_refused)
        ground.guests.agent(GOOD).behave("thaw", manner)
    outcome = ground.module(
        "kvm_vm_quiesce",
        state="quiesced",
        hold_id=HOLD,
        guests=[{"name": name} for name in (BAD, GOOD, STILL)],
        hold_deadline=deadline,
        freeze_timeout=2,
        agent_ping_timeout=2,
    )
    assert not outcome.failed, outcome.msg
    assert ground.guests.agent(GOOD).frozen


def _age(ground: Ground) -> None:
    """Let the hold be over for ten minutes."""
    holds = ground.seen(HOLDS / "holds")
    timer = json.loads((holds / f"{HOLD}.timer").read_text(encoding="utf-8"))
    timer.update(armed_at=timer["armed_at"] - 1200, fires_at=time.monotonic() - 600)
    (holds / f"{HOLD}.timer").write_text(json.dumps(timer), encoding="utf-8")


def _backed_up(ground: Ground, name: str, found: dict[str, Any], *, on_failure: str = "continue") -> Outcome:
    return ground.module(
        "kvm_vm_backup",
        backup_id=name,
        owner="hv1",
        policy="daily",
        on_failure=on_failure,
        concurrency_timeout=2,
        freeze_timeout=2,
        agent_ping_timeout=2,
        **found,
    )


def _manifest(ground: Ground, name: str) -> dict[str, Any]:
    path = ground.seen(ground.catalog) / "backups" / name / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _timers(ground: Ground) -> list[int]:
    return [pid for pid in ground.processes() if b"kvmsnap-deadman" in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    try:
        wait_until(condition, seconds=seconds, what="it", pause=0.1)
    except LabError:
        return False
    return True


def _answers(ground: Ground) -> bool:
    try:
        return bool(ground.guests.ask(BAD, "guest-fsfreeze-status") == "thawed")
    except libvirt.libvirtError:
        return False
