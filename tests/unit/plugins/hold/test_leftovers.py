# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds left: which are dead and which alive, by a table, and what is done about them on guests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest
from virt import URI, Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import leftovers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import DeadMan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.leftovers import HoldSeen, assess
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldError, HoldRequest, HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import HoldRecordError, LockHolder, Row, locked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import Timer, write_timer

RUNNING, PAUSED = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED
FROZEN = Row("web1", "u1", "auto", "agent", "held", held=True, freeze_sent=100.0)
FREE = replace(FROZEN, phase="released")
TIMER = Timer("h1", "boot", "token", "process", URI, 30.0, 0.5, 100.0, 130.5)
FIRED = replace(TIMER, fired_at=130.5)


@pytest.mark.parametrize(
    ("seen", "now", "fate"),
    [
        # alive: someone works on it, or its time has not come, whether its timer lives or not
        (HoldSeen("h1", True, (FROZEN,), holder=LockHolder(None, "holding")), 999.0, "alive"),
        (HoldSeen("h1", True, (FROZEN,), timer=TIMER, watching=True), 130.0, "alive"),
        (HoldSeen("h1", True, (FROZEN,), timer=TIMER), 130.0, "alive"),
        (HoldSeen("h1", True, (FROZEN,)), 130.0, "alive"),
        (HoldSeen("h1", True, (), age=5.0), 130.0, "alive"),
        (HoldSeen("h1", True, (FREE,), age=5.0, timer=FIRED), 140.0, "alive"),
        # dead
        (HoldSeen("h1", True, (FROZEN,), timer=TIMER), 131.0, "release"),
        (HoldSeen("h1", True, (FROZEN,), timer=FIRED, watching=True), 131.0, "release"),
        (HoldSeen("h1", True, (FREE, FROZEN)), 131.0, "release"),
        (HoldSeen("h1", True, (replace(FROZEN, phase="holding"),)), 131.0, "release"),
        (HoldSeen("h1", True, (FREE,), age=61.0, timer=FIRED), 999.0, "forget"),
        (HoldSeen("h1", True, None, age=1.0), 1.0, "forget"),
        (HoldSeen("h1", False, timer=TIMER, watching=True), 101.0, "forget"),
        (HoldSeen("h1", False), 101.0, "forget"),
        # nobody can say
        (HoldSeen("h1", True, error="Failed to read it"), 999.0, "keep"),
    ],
)
def test_assess(seen: HoldSeen, now: float, fate: str) -> None:
    assert assess(seen, now=now, grace_period=60.0).fate == fate


@pytest.fixture
def guarded(settings: HoldSettings) -> HoldSettings:
    """Settings with a dead-man timer that is never armed by itself."""
    return replace(settings, retry_count=0, guard=DeadMan(URI, boot=settings.boot, systemd=Path("/nonexistent")))


def held(settings: HoldSettings, *uuids: str, fires_at: float = 0.0) -> None:
    """A hold whose maker died, and whose timer is dead too; it is over at ``fires_at``."""
    without = replace(settings, guard=NoTimer())
    hold([HoldRequest("", uuid, "auto") for uuid in uuids], "h1", without, check=False, go_on=False)
    timer = replace(TIMER, boot_id="this-boot", fires_at=fires_at, pid=2**22 - 1, started=1)
    write_timer(settings.directory / "h1.timer", timer)


class NoTimer:
    def arm(self, record: Path) -> None:
        pass

    def disarm(self, record: Path) -> None:
        pass


def put_right(seen: HoldSeen, settings: HoldSettings, *, now: float = 100.0) -> None:
    leftovers.put_right(seen, settings, now=now, wall=0.0, grace_period=0.0)


def test_a_record_of_the_future_is_left_once_no_run_is_alive(guests: Guests, guarded: HoldSettings) -> None:
    held(guarded, guests.add("sol"))
    (seen,) = leftovers.holds_on(guarded, wall=0.0)
    free = replace(seen, rows=(FREE,))
    assert free.age == 0.0
    assert assess(free, now=1000.0, grace_period=3600.0).fate == "alive"
    assert assess(free, now=1000.0, grace_period=0.0).fate == "forget"


def test_a_dead_hold_is_released_and_nothing_else(guests: Guests, guarded: HoldSettings) -> None:
    linux, solaris, other = guests.add("lin", agent=Inside()), guests.add("sol"), guests.add("other")
    guests.domain(other).suspend()
    held(guarded, linux, solaris)
    (seen,) = leftovers.holds_on(guarded, wall=0.0)
    assert sorted(row.name for row in seen.outstanding) == ["lin", "sol"]
    put_right(seen, guarded)
    assert not guests.inside[linux].frozen
    assert guests.state(solaris)[0] == RUNNING
    assert guests.state(other)[0] == PAUSED
    assert leftovers.holds_on(guarded, wall=0.0) == []
    assert list(guarded.directory.iterdir()) == []


def test_a_hold_that_came_to_life_is_left(guests: Guests, guarded: HoldSettings) -> None:
    uuid = guests.add("sol")
    held(guarded, uuid)
    (seen,) = leftovers.holds_on(guarded, wall=0.0)
    write_timer(guarded.directory / "h1.timer", replace(TIMER, boot_id="this-boot", fires_at=500.0))
    with pytest.raises(HoldError, match="has begun anew"):
        put_right(seen, guarded)
    with locked(guarded.directory, "h1"), pytest.raises(HoldRecordError, match="another process has it"):
        put_right(seen, guarded, now=999.0)
    assert guests.state(uuid)[0] == PAUSED


def test_what_cannot_be_released_stays_and_is_told(guests: Guests, guarded: HoldSettings) -> None:
    uuid = guests.add("mute", agent=Inside())
    held(guarded, uuid)
    guests.inside[uuid].thaws = ["silent"] * 9
    (seen,) = leftovers.holds_on(guarded, wall=0.0)
    with pytest.raises(HoldError, match="guest mute"):
        put_right(seen, guarded)
    assert leftovers.holds_on(guarded, wall=0.0)[0].outstanding[0].name == "mute"


@pytest.mark.parametrize(
    ("name", "content", "fate"),
    [
        ("h1.json", '{"schema": "kvmsnap.hold/1", "boot_id": "another", "guests": []}', "forget"),
        ("h1.json", "{", "keep"),
        ("bad name.json", "{}", "keep"),
        ("h1.timer", "{", "forget"),
        ("h1.lock", "", "forget"),
    ],
)
def test_files_of_a_dead_process(guarded: HoldSettings, name: str, content: str, fate: str) -> None:
    guarded.directory.mkdir(mode=0o700)
    path = guarded.directory / name
    path.write_text(content, encoding="ascii")
    (seen,) = leftovers.holds_on(guarded, wall=path.stat().st_mtime)
    assert assess(seen, now=1.0, grace_period=60.0).fate == fate
    if fate == "forget":
        put_right(seen, guarded)
        assert leftovers.holds_on(guarded, wall=0.0) == []
    else:
        assert path.exists()


def test_frozen_guests_that_no_hold_explains(guests: Guests, guarded: HoldSettings) -> None:
    inside: dict[str, Any] = {
        "frozen": Inside(frozen=True),
        "thawed": Inside(),
        "mute": Inside(frozen=True, status_fails=9),
        "gone": Inside(frozen=True, channel="disconnected"),
        "none": None,
    }
    uuids = {name: guests.add(name, agent=each) for name, each in inside.items()}
    paused, off = guests.add("paused", agent=Inside(frozen=True)), guests.add("off", running=False, agent=Inside())
    guests.domain(paused).suspend()
    assert leftovers.frozen_guests(guarded, known=[]) == ["frozen"]
    assert leftovers.frozen_guests(guarded, known=[uuids["frozen"], off]) == []
    assert guests.inside[uuids["frozen"]].frozen
