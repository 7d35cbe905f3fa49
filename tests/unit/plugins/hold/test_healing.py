# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever goes wrong with one guest, however unexpected, is its own: the others are held, released, found free."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest
from virt import URI, Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import deadman_run, healing, leftovers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.healing import LONG_OVER, heal, long_over
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold, release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldError,
    HoldRequest,
    HoldSettings,
    TakenError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.quiesce import wait_for_others
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import Row, locked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import Timer, timer_path, write_timer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

RUNNING, PAUSED = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED
BURSTS = [
    ValueError("Exceeds the limit (4300 digits) for integer string conversion"),
    RecursionError("maximum recursion depth exceeded"),
    OverflowError("int too large"),
    TypeError("'NoneType' object is not subscriptable"),
    MemoryError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    SystemError("returned a result with an exception set"),
    KeyError("return"),
    ZeroDivisionError("division by zero"),
]


@pytest.fixture
def quick(settings: HoldSettings) -> HoldSettings:
    return replace(settings, retry_count=1)


def wanted(*uuids: str) -> list[HoldRequest]:
    return [HoldRequest(f"g-{uuid[:4]}", uuid, "auto") for uuid in uuids]


def row_of(rows: list[dict[str, Any]], uuid: str) -> dict[str, Any]:
    return next(row for row in rows if row["uuid"] == uuid)


@pytest.mark.parametrize("burst", BURSTS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("call", ["ping", "status"])
def test_one_that_bursts_before_its_freeze_is_left_out(
    guests: Guests, quick: HoldSettings, call: str, burst: Exception
) -> None:
    bad = guests.add("bad", agent=Inside(bursts={call: burst}, burst_at_once=True))
    good, still = guests.add("good", agent=Inside()), guests.add("still")
    told = hold(wanted(bad, good, still), "h1", quick, check=False, go_on=True)
    assert type(burst).__name__ in row_of(told["guests"], bad)["error"]
    assert not guests.inside[bad].frozen
    assert guests.inside[good].frozen
    assert guests.state(still)[0] == PAUSED
    release("h1", quick, check=False)
    assert not guests.inside[good].frozen
    assert guests.state(still)[0] == RUNNING
    with pytest.raises(HoldError, match=type(burst).__name__) as caught:
        hold(wanted(bad, good, still), "h1", quick, check=False, go_on=False)
    assert "g-" in caught.value.message
    assert not guests.inside[good].frozen
    assert guests.state(still)[0] == RUNNING


@pytest.mark.parametrize("burst", BURSTS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("call", ["freeze", "status", "thaw"])
def test_one_that_bursts_after_its_freeze_keeps_nobody_frozen(
    guests: Guests, quick: HoldSettings, call: str, burst: Exception
) -> None:
    bad = guests.add("bad", agent=Inside(bursts={call: burst}))
    good, still = guests.add("good", agent=Inside(thaws=["error"])), guests.add("still")
    told = hold(wanted(bad, good, still), "h1", quick, check=False, go_on=True)
    assert row_of(told["guests"], good)["held"]
    if call == "freeze":
        assert type(burst).__name__ in row_of(told["guests"], bad)["error"]
        release("h1", quick, check=False)
    else:
        with pytest.raises(HoldError, match=f"let go of guest bad: {type(burst).__name__}"):
            release("h1", quick, check=False)
    assert not guests.inside[good].frozen, "its first thaw was refused, its second was not"
    assert guests.state(still)[0] == RUNNING
    guests.inside[bad].bursts.clear()
    release("h1", quick, check=False)
    assert not guests.inside[bad].frozen


def test_one_whose_definition_cannot_be_read_is_left_out(
    guests: Guests, quick: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = guests.add("bad"), guests.add("good")
    really = Domain.xml
    monkeypatch.setattr(Domain, "xml", lambda self, **how: "<domain" if self.uuid == bad else really(self, **how))
    told = hold(wanted(bad, good), "h1", quick, check=False, go_on=True)
    assert "it cannot be looked at" in row_of(told["guests"], bad)["error"]
    assert row_of(told["guests"], good)["held"]
    release("h1", quick, check=False)
    with pytest.raises(HoldError, match="it cannot be looked at"):
        hold(wanted(bad, good), "h1", quick, check=False, go_on=False)
    assert guests.state(good)[0] == RUNNING


@pytest.mark.parametrize("burst", BURSTS, ids=lambda each: type(each).__name__)
def test_the_timer_outlives_whatever_a_guest_does(guests: Guests, quick: HoldSettings, burst: Exception) -> None:
    """The other guest refuses its first thaws; it is tried until it is free, and the bad one as well."""
    bad = guests.add("bad", agent=Inside(bursts={"status": burst}))
    good = guests.add("good", agent=Inside(thaws=["error", "error", "silent"]))
    hold(wanted(bad, good), "h1", quick, check=False, go_on=False)
    path = timer_path(quick.directory / "h1.json")
    write_timer(path, Timer("h1", "this-boot", "token", "process", URI, 0.0, 0.0, 0.0, 0.0))
    pauses: list[float] = []

    def nap(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:
            assert not guests.inside[good].frozen
            guests.inside[bad].bursts.clear()

    assert deadman_run.watch(path, "token", Clock(time.monotonic, nap), quick) == 0
    assert len(pauses) >= 6
    assert not guests.inside[bad].frozen
    assert not guests.inside[good].frozen
    rows = json.loads((quick.directory / "h1.json").read_text(encoding="utf-8"))["guests"]
    assert {row["phase"] for row in rows} == {"released"}


def test_the_timer_outlives_a_file_that_bursts(
    guests: Guests, quick: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = guests.add("good", agent=Inside())
    hold(wanted(good), "h1", quick, check=False, go_on=False)
    path = timer_path(quick.directory / "h1.json")
    write_timer(path, Timer("h1", "this-boot", "token", "process", URI, 0.0, 0.0, 0.0, 5.0))
    really, tries = deadman_run.read_rows, []

    def read(*given: Any) -> Any:
        tries.append(given)
        if len(tries) < 3:
            raise RecursionError
        return really(*given)

    monkeypatch.setattr(deadman_run, "read_rows", read)
    now = [0.0]

    def nap(seconds: float) -> None:
        now[0] += seconds

    assert deadman_run.watch(path, "token", Clock(lambda: now[0], nap), quick) == 0
    assert len(tries) >= 3
    assert not guests.inside[good].frozen


@pytest.mark.parametrize("burst", BURSTS, ids=lambda each: type(each).__name__)
def test_the_look_for_frozen_guests_outlives_whatever_one_does(
    guests: Guests, quick: HoldSettings, burst: Exception
) -> None:
    guests.add("bad", agent=Inside(bursts={"status": burst}, burst_at_once=True))
    guests.add("frozen", agent=Inside(frozen=True))
    guests.add("good", agent=Inside())
    assert leftovers.frozen_guests(quick, known=()) == ["frozen"]


NOW = 1000.0
HELD = Row("web1", "u1", "auto", "agent", "held", held=True, freeze_sent=100.0)
TIMER = Timer("h1", "boot", "token", "process", URI, 30.0, 0.5, 100.0, 900.0)


@pytest.mark.parametrize(
    ("rows", "timer", "now", "over"),
    [
        ([HELD], None, 130.5 + LONG_OVER - 1, False),
        ([HELD], None, 130.5 + LONG_OVER, True),
        ([replace(HELD, phase="holding")], None, NOW, True),
        ([replace(HELD, phase="released")], None, NOW, False),
        ([replace(HELD, phase="planned")], None, NOW, False),
        ([HELD], TIMER, 900.0 + LONG_OVER - 1, False),
        ([HELD], TIMER, 900.0 + LONG_OVER, True),
        ([], None, NOW, False),
    ],
)
def test_when_a_hold_is_long_over(rows: list[Row], timer: Timer | None, now: float, *, over: bool) -> None:
    assert long_over(rows, timer, now) is over


@pytest.fixture
def stale(guests: Guests, quick: HoldSettings, monkeypatch: pytest.MonkeyPatch) -> tuple[HoldSettings, str, str]:
    """A hold of a frozen and a suspended guest that is long over, whose record nobody could write any more."""
    frozen, still = guests.add("frozen", agent=Inside()), guests.add("still")
    hold(wanted(frozen, still), "h1", quick, check=False, go_on=False)
    monkeypatch.setattr(healing, "LONG_OVER", -1000.0)
    return quick, frozen, still


def record(settings: HoldSettings) -> dict[str, dict[str, Any]]:
    rows = json.loads((settings.directory / "h1.json").read_text(encoding="utf-8"))["guests"]
    return {row["uuid"]: row for row in rows}


def test_a_hold_that_is_long_over_heals_when_its_guests_are_free(
    guests: Guests, stale: tuple[HoldSettings, str, str]
) -> None:
    settings, frozen, still = stale
    guests.agent(guests.domain(frozen), "frozen").thaw()
    guests.domain(still).resume()
    (note,) = heal(settings, but="h2")
    assert "The hold h1 was long over" in note
    assert {row["phase"] for row in record(settings).values()} == {"released"}
    assert {row["consistency"] for row in record(settings).values()} == {"crash-consistent"}
    assert heal(settings, but="h2") == []
    told = hold(wanted(frozen, still), "h2", settings, check=False, go_on=False)
    assert [row["held"] for row in told["guests"]] == [True, True]


@pytest.mark.parametrize("word", ["frozen", "burst"])
def test_a_guest_that_is_not_proven_free_stays_on_record(
    guests: Guests, stale: tuple[HoldSettings, str, str], word: str
) -> None:
    """And nothing is done to it: whether it is let go is for the timer and the recovery."""
    settings, frozen, still = stale
    guests.domain(still).resume()
    if word == "burst":
        guests.inside[frozen].bursts["status"] = ValueError("no number")
    (note,) = heal(settings, but="h2")
    assert "it still names" in note
    assert [record(settings)[uuid]["phase"] for uuid in (frozen, still)] == ["held", "released"]
    assert guests.inside[frozen].frozen
    with pytest.raises(TakenError):
        hold(wanted(frozen, still), "h2", settings, check=False, go_on=False)
    told = hold(wanted(frozen, still), "h2", settings, check=False, go_on=True)
    assert [row["held"] for row in told["guests"]] == [False, True], "the other one is held all the same"


def test_nobody_waits_for_a_hold_that_is_long_over(guests: Guests, stale: tuple[HoldSettings, str, str]) -> None:
    """Nor for its guests that cannot be released."""
    settings, frozen, still = stale
    naps: list[float] = []
    deadline = Deadline.after(100, Clock(lambda: sum(naps), naps.append))
    wait_for_others(wanted(frozen, still), "h2", settings, deadline)
    assert naps == []
    write_timer(
        settings.directory / "h1.timer",
        Timer("h1", "this-boot", "token", "process", URI, 30.0, 0.5, 0.0, time.monotonic() + 2000),
    )
    wait_for_others(wanted(frozen, still), "h2", settings, deadline)
    assert sum(naps) >= 100, "one that has not ended is waited for"


def test_a_guest_that_was_started_anew_is_free(guests: Guests, stale: tuple[HoldSettings, str, str]) -> None:
    settings, frozen, still = stale
    for uuid in (frozen, still):
        guests.domain(uuid).destroy()
    guests.domain(still).create()
    (note,) = heal(settings, but="h2")
    assert "frozen" in note
    assert "still named" in note
    assert {row["phase"] for row in record(settings).values()} == {"released"}
    assert "ended since" in record(settings)[frozen]["reason"]
    assert "started anew" in record(settings)[still]["reason"]


def test_a_paused_guest_is_not_free(guests: Guests, stale: tuple[HoldSettings, str, str]) -> None:
    settings, frozen, still = stale
    assert heal(settings, but="h2") == []
    assert [record(settings)[uuid]["phase"] for uuid in (frozen, still)] == ["held", "held"]
    assert guests.state(still)[0] == PAUSED


def test_a_hold_that_somebody_works_on_is_left(guests: Guests, stale: tuple[HoldSettings, str, str]) -> None:
    settings, frozen, still = stale
    guests.inside[frozen].frozen = False
    guests.domain(still).resume()
    with locked(settings.directory, "h1"):
        assert heal(settings, but="h2") == []
    assert heal(settings, but="h1") == []
    assert {row["phase"] for row in record(settings).values()} == {"held"}
    (settings.directory / "h0.json").write_text("{", encoding="utf-8")
    assert len(heal(settings, but="h2")) == 1, "what cannot be read keeps no other from being healed"


def test_no_directory_is_nothing_to_heal(settings: HoldSettings) -> None:
    assert heal(replace(settings, directory=Path("/nonexistent/holds")), but="h1") == []
