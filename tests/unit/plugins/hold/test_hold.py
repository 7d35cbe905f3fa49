# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding and releasing guests of libvirt's test driver, whose agents can misbehave in every way."""

from __future__ import annotations

import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest
from holding import left, record_of, take, want
from virt import Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold, release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldError,
    HoldRequest,
    HoldSettings,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecord,
    guests_in_holds,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Host,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import guest_locks, lock_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

WINDOWS = "http://microsoft.com/win/11"
RUNNING, PAUSED = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED)
# Decisions


# Holding and releasing


def test_agent_and_suspend_and_off_together(guests: Guests, settings: HoldSettings) -> None:
    linux, windows = (
        guests.add("lin", agent=Inside()),
        guests.add("win", os="http://microsoft.com/win/11", agent=Inside()),
    )
    solaris, off = guests.add("sol"), guests.add("off")
    guests.domain(off).shutdown()
    held = take(settings, *(want(uuid) for uuid in (linux, windows, solaris, off)))
    assert held["changed"] is True
    assert [(row["name"], row["method"], row["held"], row["consistency"]) for row in held["guests"]] == [
        ("lin", "agent", True, "filesystem-consistent"),
        ("win", "agent", True, "application-consistent"),
        ("sol", "suspend", True, "crash-consistent"),
        ("off", "none", False, "offline"),
    ]
    assert guests.inside[linux].frozen
    assert guests.state(solaris) == (PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)
    for row in held["guests"][:3]:
        assert row["freeze_sent"] <= row["freeze_answered"]
        assert row["thaw_sent"] is row["thaw_answered"] is row["held_seconds"] is None
        assert row["wall_frozen"].endswith("+00:00")
    assert [row["filesystems"] for row in held["guests"]] == [2, 2, None, None]

    released = release("h1", settings, check=False)
    assert released["changed"] is True
    assert not guests.inside[linux].frozen
    assert guests.state(solaris)[0] == RUNNING
    assert [row["name"] for row in released["guests"]] == ["lin", "win", "sol", "off"]
    for row, before in zip(released["guests"][:3], held["guests"]):
        assert row["consistency"] == before["consistency"]
        assert before["freeze_answered"] <= row["thaw_sent"] <= row["thaw_answered"]
        assert row["held_seconds"] == pytest.approx(row["thaw_answered"] - row["freeze_sent"], abs=1e-5)
    assert released["guests"][3]["consistency"] == "offline"
    assert left(settings) == []
    again = release("h1", settings, check=False)
    assert (again["changed"], again["guests"]) == (False, [])


def test_by_name_and_the_uuid_wins(guests: Guests, settings: HoldSettings) -> None:
    guests.add("one")
    two = guests.add("two")
    rows = take(settings, HoldRequest("one", "", "auto"), HoldRequest("nonsense", two, "auto"))["guests"]
    assert [row["name"] for row in rows] == ["one", "two"]
    release("h1", settings, check=False)


def test_the_record_is_written_before_each_freeze(guests: Guests, settings: HoldSettings) -> None:
    found: list[Any] = []
    inside = Inside(on_freeze=lambda: found.append(record_of(settings)))
    uuid = guests.add("lin", agent=inside)
    take(settings, want(uuid))
    (record,) = found
    assert record["boot_id"] == "this-boot"
    assert record["hold_id"] == "h1"
    (row,) = record["guests"]
    assert (row["uuid"], row["method"], row["phase"], row["domain_id"]) == (
        uuid,
        "agent",
        "holding",
        guests.domain(uuid).ID(),
    )
    path = settings.directory / "h1.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.directory.stat().st_mode) == 0o700
    release("h1", settings, check=False)


def test_the_guard_is_armed_before_and_disarmed_after(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside()
    uuid = guests.add("lin", agent=inside)
    said: list[tuple[str, bool]] = []

    class Watch:
        def arm(self, record: Path) -> None:
            assert record.exists()
            said.append(("arm", inside.frozen))

        def disarm(self, record: Path) -> None:
            said.append(("disarm", inside.frozen))

    settings = replace(settings, guard=Watch())
    take(settings, want(uuid))
    release("h1", settings, check=False)
    assert said == [("arm", False), ("disarm", False)]


def test_nothing_is_held_when_the_guard_cannot_be_armed(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside()
    uuid = guests.add("lin", agent=inside)

    class Broken:
        def arm(self, record: Path) -> None:
            raise HoldError("no timer")

        def disarm(self, record: Path) -> None:
            pass

    with pytest.raises(HoldError, match="no timer"):
        take(replace(settings, guard=Broken()), want(uuid))
    assert "freeze" not in inside.journal
    assert left(settings) == []


@pytest.mark.parametrize("agent", [Inside(), Inside(channel="none")], ids=["frozen", "suspended"])
@pytest.mark.parametrize(
    ("meanwhile", "state", "why"),
    [
        (("destroy", "create"), RUNNING, "it was started anew since it was looked at"),
        (("destroy", "create", "suspend"), PAUSED, "it was started anew since it was looked at"),
        (("destroy",), libvirt.VIR_DOMAIN_SHUTOFF, r"it is off \(destroyed\)"),
    ],
)
def test_a_guest_whose_run_ended_before_its_turn_is_not_held(
    guests: Guests, settings: HoldSettings, agent: Inside, meanwhile: tuple[str, ...], state: int, why: str
) -> None:
    uuid = guests.add("lin", agent=replace(agent, journal=[]))
    settings = replace(settings, guard=_Meanwhile(guests, uuid, meanwhile))
    with pytest.raises(HoldError, match=why):
        take(settings, want(uuid))
    assert guests.state(uuid)[0] == state
    assert "freeze" not in guests.inside[uuid].journal
    assert left(settings) == []


@pytest.mark.parametrize("moment", ["before its turn", "before its freeze"])
@pytest.mark.parametrize(
    ("asked", "agent", "error"),
    [
        ("auto", Inside(channel="none"), False),
        ("auto", Inside(), False),
        ("agent", Inside(), True),
        ("agent+suspend", Inside(), True),
    ],
    ids=["suspend", "auto", "agent", "agent+suspend"],
)
def test_a_guest_that_somebody_pauses_meanwhile_is_left_so(
    guests: Guests, settings: HoldSettings, moment: str, asked: str, agent: Inside, error: bool
) -> None:
    inside = replace(agent, journal=[])
    uuid, other = guests.add("lin", agent=inside), guests.add("other", agent=Inside())
    pause = _Meanwhile(guests, uuid, ("suspend",))
    if moment == "before its turn" or agent.channel == "none":
        held_on = replace(settings, guard=pause)
    else:
        held_on, inside.on_freeze = settings, lambda: pause.arm(Path())
    (row, beside) = take(held_on, want(uuid, asked), want(other), go_on=True)["guests"]
    assert (row["method"], row["held"], bool(row["error"])) == ("none", False, error)
    assert row["reason"] == "it was paused meanwhile (user), and is left so"
    assert beside["held"] is True
    release("h1", settings, check=False)
    assert guests.state(uuid)[0] == PAUSED
    assert left(settings) == []
    guests.domain(uuid).resume()
    inside.on_freeze = None
    assert take(settings, want(uuid, asked), hold_id="h2")["guests"][0]["held"] is True
    release("h2", settings, check=False)


class _Meanwhile:
    """A guard whose arming gives somebody the time to do something to a guest."""

    def __init__(self, guests: Guests, uuid: str, does: tuple[str, ...]) -> None:
        self._guests, self._uuid, self._does = guests, uuid, does

    def arm(self, record: Path) -> None:
        for each in self._does:
            getattr(self._guests.domain(self._uuid), each)()

    def disarm(self, record: Path) -> None:
        pass


class _Watched:
    """A guard that counts how often it was armed."""

    def __init__(self) -> None:
        self.armed = 0

    def arm(self, record: Path) -> None:
        self.armed += 1

    def disarm(self, record: Path) -> None:
        pass


def test_a_hold_that_holds_all_already_is_guarded_again(guests: Guests, settings: HoldSettings) -> None:
    uuid, off = guests.add("sol"), guests.add("off", running=False)
    watched = _Watched()
    settings = replace(settings, guard=watched)
    take(settings, want(uuid))
    take(settings, want(uuid))
    assert watched.armed == 2
    release("h1", settings, check=False)
    take(settings, want(off))
    assert watched.armed == 2, "nothing is held, so there is nothing to guard"


def test_a_hold_whose_release_was_tried_is_not_taken_over(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(thaws=["error"] * 99)
    uuid = guests.add("lin", agent=inside)
    take(settings, want(uuid))
    with pytest.raises(HoldError, match="Failed to release guest lin"):
        release("h1", replace(settings, retry_count=0), check=False)
    with pytest.raises(HoldError, match="with state=resumed and hold_id=h1 first"):
        take(settings, want(uuid))
    inside.thaws.clear()
    release("h1", settings, check=False)
    assert not inside.frozen


def test_quiesced_twice_is_no_change(guests: Guests, settings: HoldSettings) -> None:
    linux, solaris = guests.add("lin", agent=Inside()), guests.add("sol")
    first = take(settings, want(linux), want(solaris))
    guests.inside[linux].journal.clear()
    again = take(settings, want(linux), want(solaris))
    assert again["changed"] is False
    assert again["guests"] == first["guests"]
    assert "freeze" not in guests.inside[linux].journal
    release("h1", settings, check=False)


def test_check_mode_holds_and_writes_nothing(guests: Guests, settings: HoldSettings) -> None:
    linux, solaris = guests.add("lin", agent=Inside()), guests.add("sol")
    plan = take(settings, want(linux), want(solaris), check=True)
    assert plan["changed"] is True
    assert [(row["method"], row["held"]) for row in plan["guests"]] == [("agent", False), ("suspend", False)]
    assert guests.inside[linux].journal == ["ping", "status", "limit", "filesystems"]
    assert guests.state(solaris)[0] == RUNNING
    assert not settings.directory.exists()


def test_vss_is_refused_before_anybody_is_held(guests: Guests, settings: HoldSettings) -> None:
    ntfs = (FileSystem("C:", "C:", "NTFS"),)
    told, known = guests.add("told", agent=Inside(mounts=ntfs)), guests.add("known", os=WINDOWS, agent=Inside())
    linux, other = guests.add("lin", agent=Inside()), guests.add("other", os=WINDOWS, agent=Inside())
    allowed = [want(linux), want(other, "suspend")]
    for check in (True, False):
        with pytest.raises(HoldError, match="guests told, known, nothing was held: VSS thaws by itself"):
            take(settings, want(told), want(known), *allowed, check=check, go_on=True, refuse_vss=True)
    assert {guests.state(uuid)[0] for uuid in guests.inside} == {RUNNING}
    assert "freeze" not in [each for inside in guests.inside.values() for each in inside.journal]
    assert not list(settings.directory.glob("*.json"))
    held = take(settings, *allowed, refuse_vss=True)["guests"]
    assert [(row["name"], row["method"], row["held"]) for row in held] == [
        ("lin", "agent", True),
        ("other", "suspend", True),
    ]
    release("h1", settings, check=False)


def test_check_mode_releases_nothing(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid))
    plan = release("h1", settings, check=True)
    assert plan["changed"] is True
    assert guests.state(uuid)[0] == PAUSED
    assert left(settings) == ["h1.json"]
    release("h1", settings, check=False)
    assert release("h1", settings, check=True)["changed"] is False


def test_many_guests_are_held_at_once(guests: Guests, settings: HoldSettings) -> None:
    """Sixteen freezes are under way together: each waits for all the others to have begun."""
    together = threading.Barrier(16, timeout=30)
    uuids = [guests.add(f"g{n}", agent=Inside(on_freeze=lambda: together.wait() and None)) for n in range(16)]
    rows = take(settings, *map(want, uuids))["guests"]
    assert all(row["held"] for row in rows)
    assert len({row["uuid"] for row in rows}) == 16
    release("h1", settings, check=False)
    assert not any(guests.inside[uuid].frozen for uuid in uuids)


def test_more_guests_than_workers(guests: Guests, settings: HoldSettings) -> None:
    uuids = [guests.add(f"g{n}") for n in range(40)]
    assert all(row["held"] for row in take(settings, *map(want, uuids))["guests"])
    assert all(guests.state(uuid)[0] == PAUSED for uuid in uuids)
    release("h1", settings, check=False)
    assert all(guests.state(uuid)[0] == RUNNING for uuid in uuids)


# What goes wrong while holding


def test_a_failing_freeze_undoes_the_whole_hold(guests: Guests, settings: HoldSettings) -> None:
    bad = Inside(freezes=["error"] * 9)
    broken, linux, solaris = guests.add("bad", agent=bad), guests.add("lin", agent=Inside()), guests.add("sol")
    with pytest.raises(
        HoldError, match="Failed to hold guest bad, the hold was undone: bad: Failed: the agent said no"
    ) as caught:
        take(settings, want(linux), want(broken), want(solaris))
    assert bad.journal.count("freeze") == 4
    assert not guests.inside[linux].frozen
    assert not bad.frozen
    assert guests.state(solaris)[0] == RUNNING
    assert left(settings) == []
    rows = {row["name"]: row for row in caught.value.fields["guests"]}
    assert rows["bad"]["error"] == "Failed: the agent said no"
    assert rows["bad"]["held"] is False
    assert release("h1", settings, check=False)["changed"] is False


@pytest.mark.parametrize(
    ("freeze_timeout", "again", "tries"), [(20, 3, 2), (60, 3, 2), (1, 3, 4), (10, 3, 3), (20, 0, 1)]
)
def test_a_release_ends_before_the_timer_takes_it_for_hung(
    guests: Guests, settings: HoldSettings, freeze_timeout: int, again: int, tries: int
) -> None:
    """Each try of the silent agent takes the whole time limits; the clock knows of nothing else."""
    inside = Inside()
    settings = replace(settings, freeze_timeout=freeze_timeout, retry_count=again)
    take(settings, want(guests.add("lin", agent=inside)))
    inside.thaws, inside.status_fails = ["silent"] * 9, 9
    begun = inside.journal.count("thaw")
    limits = freeze_timeout + settings.ping_timeout
    clock = Clock(lambda: float(limits * inside.journal.count("thaw")), lambda _seconds: None)
    with pytest.raises(HoldError, match="Failed to release guest lin"):
        release("h1", replace(settings, clock=clock), check=False)
    assert inside.journal.count("thaw") - begun == tries
    assert tries * limits <= max(55, 2 * limits)


def test_a_lost_freeze_is_thawed_when_the_hold_is_undone(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(freezes=["lost"])
    uuid = guests.add("lin", agent=inside)
    with pytest.raises(HoldError):
        take(replace(settings, retry_count=0), want(uuid))
    assert not inside.frozen
    assert left(settings) == []


def test_going_on_records_the_guest_as_not_held(guests: Guests, settings: HoldSettings) -> None:
    broken, solaris = guests.add("bad", agent=Inside(freezes=["error"] * 9)), guests.add("sol")
    rows = take(settings, want(broken), want(solaris), go_on=True)["guests"]
    assert [(row["method"], row["held"], row["consistency"]) for row in rows] == [
        ("none", False, "crash-consistent"),
        ("suspend", True, "crash-consistent"),
    ]
    assert rows[0]["error"] == rows[0]["reason"] == "Failed: the agent said no"
    rows = release("h1", settings, check=False)["guests"]
    assert [row["held"] for row in rows] == [False, True]
    assert rows[0]["error"] == "Failed: the agent said no"


def test_no_guest_is_frozen_after_another_failed(guests: Guests, settings: HoldSettings) -> None:
    late = Inside(freezes=["error"] * 99)
    other = Inside(freezes=["lost"] * 99)
    bad, slow = guests.add("bad", agent=late), guests.add("slow", agent=other)
    with pytest.raises(HoldError) as caught:
        take(replace(settings, retry_count=50, freeze_timeout=1), want(bad), want(slow))
    rows = {row["name"]: row for row in caught.value.fields["guests"]}
    assert all(row["held"] is False for row in rows.values())
    assert not late.frozen
    assert not other.frozen


def test_a_guest_whose_time_is_over_before_all_are_held_is_released_then(
    guests: Guests, settings: HoldSettings
) -> None:
    inside, over = Inside(), threading.Event()

    def until_thawed() -> None:
        while inside.frozen:
            assert not over.wait(0.05)

    slow = Inside(on_freeze=until_thawed)
    first, second = guests.add("win", os="http://microsoft.com/win/11", agent=inside), guests.add("lin", agent=slow)
    wanted = [replace(want(first), order=0), replace(want(second), order=1)]
    watchdog = threading.Timer(30, over.set)
    watchdog.start()
    try:
        rows = hold(wanted, "h1", replace(settings, vss_deadline=0.5), check=False, go_on=False)["guests"]
    finally:
        watchdog.cancel()
    assert rows[0]["thaw_sent"] - rows[0]["freeze_answered"] >= 0.5
    assert rows[0]["thaw_answered"] <= rows[1]["freeze_answered"]
    assert (inside.frozen, slow.frozen) == (False, True)
    rows = release("h1", settings, check=False)["guests"]
    assert [(row["name"], row["held"]) for row in rows] == [("win", True), ("lin", True)]
    assert inside.journal.count("thaw") == 1


# What goes wrong while releasing


def test_thawing_never_stops_and_all_errors_come_back(guests: Guests, settings: HoldSettings) -> None:
    stuck = [Inside(thaws=["error"] * 99), Inside(thaws=["silent"] * 99)]
    uuids = [
        guests.add("a", agent=stuck[0]),
        guests.add("b", agent=Inside()),
        guests.add("c", agent=stuck[1]),
        guests.add("d"),
    ]
    take(settings, *map(want, uuids))
    with pytest.raises(HoldError, match=r"Failed to release guests a, c: .*said no.*not responding") as caught:
        release("h1", settings, check=False)
    assert not guests.inside[uuids[1]].frozen
    assert guests.state(uuids[3])[0] == RUNNING
    rows = {row["name"]: row for row in caught.value.fields["guests"]}
    assert [name for name, row in rows.items() if row["error"]] == ["a", "c"]
    assert left(settings) == ["h1.json"]

    first_sent = rows["a"]["thaw_sent"]
    for inside in stuck:
        inside.thaws = []
    rows = {row["name"]: row for row in release("h1", settings, check=False)["guests"]}
    assert not any(inside.frozen for inside in stuck)
    assert rows["a"]["thaw_sent"] == first_sent
    assert rows["a"]["error"] is None
    assert left(settings) == []


def test_a_connection_that_broke_while_thawing_is_opened_again(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Inside(thaws=["silent"] * 4)
    uuid = guests.add("lin", agent=inside)
    take(settings, want(uuid))
    opened: list[Host] = []

    def connect() -> Host:
        opened.append(guests.connect())
        return opened[-1]

    monkeypatch.setattr(Host, "alive", property(lambda host: host is not opened[0]))
    (row,) = release("h1", replace(settings, connect=connect), check=False)["guests"]
    assert len(opened) == 2
    assert row["held"] is True
    assert not inside.frozen


def test_a_run_that_broke_off_is_undone(guests: Guests, settings: HoldSettings) -> None:
    """The record says that a freeze was sent; whether it was answered nobody knows."""
    inside = Inside(frozen=True)
    linux, solaris = guests.add("lin", agent=inside), guests.add("sol")
    take(settings, want(solaris))
    domain_id = guests.domain(linux).ID()
    record = HoldRecord(settings.directory, "h1", "this-boot")
    record.read()
    row = record.rows[0]
    record.put(replace(row, name="lin", uuid=linux, method="agent", phase="holding", held=False, domain_id=domain_id))
    rows = release("h1", settings, check=False)["guests"]
    assert not inside.frozen
    assert [(row["name"], row["held"]) for row in rows] == [("sol", True), ("lin", False)]
    assert left(settings) == []


# Guests that another process works on


@pytest.mark.parametrize("go_on", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
def test_a_guest_that_another_process_works_on_is_left_out_and_the_others_are_held(
    guests: Guests, settings: HoldSettings, go_on: bool, by_name: bool
) -> None:
    busy, free = guests.add("busy"), guests.add("free")
    asked = HoldRequest("busy", "", "agent") if by_name else want(busy, "agent")
    with guest_locks(lock_directory(settings.directory), [(busy, "busy")], purpose="restore", identity="r1"):
        first, second = take(settings, asked, want(free, "suspend"), go_on=go_on)["guests"]
        assert guests.domain(busy).state()[0] == RUNNING
    assert (first["uuid"], first["held"], first["locked"]) == (free, True, False)
    assert (second["uuid"], second["held"], second["locked"]) == (busy, False, True)
    assert second["consistency"] == "inconsistent"
    assert "is locked by restore r1" in second["error"]
    now = time.monotonic()
    assert guests_in_holds(settings.directory, boot_id(settings.boot), now=now) == {free: "h1"}, "another may have it"
    told = {row["uuid"]: row["locked"] for row in release("h1", settings, check=False)["guests"]}
    assert told == {free: False, busy: True}
    assert left(settings) == []


def test_a_guest_is_not_left_out_for_another_that_has_its_uuid_for_a_name(
    guests: Guests, settings: HoldSettings
) -> None:
    free = guests.add("free")
    busy = guests.add(free)
    with guest_locks(lock_directory(settings.directory), [(busy, free)], purpose="restore", identity="r1"):
        rows = take(settings, want(free, "suspend"), want(busy, "suspend"))["guests"]
    assert [(row["uuid"], row["held"], row["locked"]) for row in rows] == [(free, True, False), (busy, False, True)]
    release("h1", settings, check=False)


@pytest.mark.parametrize("go_on", [False, True])
def test_a_hold_of_nothing_but_a_guest_that_another_process_works_on_fails(
    guests: Guests, settings: HoldSettings, go_on: bool
) -> None:
    busy = guests.add("busy")
    with (
        guest_locks(lock_directory(settings.directory), [(busy, "busy")], purpose="restore", identity="r1"),
        pytest.raises(HoldError, match=r"Failed to hold guest .*, nothing was held: .* is locked by restore r1"),
    ):
        take(settings, want(busy, "suspend"), go_on=go_on)
    assert left(settings) == []


def test_a_guest_that_an_earlier_run_of_the_hold_left_held_is_not_forgotten_for_being_locked(
    guests: Guests, settings: HoldSettings
) -> None:
    ours, free = guests.add("ours"), guests.add("free")
    take(settings, want(ours, "suspend"))
    with guest_locks(lock_directory(settings.directory), [(ours, "ours")], purpose="restore", identity="r1"):
        rows = take(settings, want(ours, "suspend"), want(free, "suspend"))["guests"]
    assert [(row["uuid"], row["held"], row["locked"]) for row in rows] == [(ours, True, False), (free, True, False)]
    release("h1", settings, check=False)
    assert [guests.domain(each).state()[0] for each in (ours, free)] == [RUNNING, RUNNING]
