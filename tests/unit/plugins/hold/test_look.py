# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at all guests before a hold: who is not here, not free, or held still by an earlier run."""

from __future__ import annotations

from dataclasses import replace

import libvirt
import pytest
from holding import left, record_of, take, want
from virt import Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold_all, release, release_all
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.look import prepare
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldError,
    HoldRequest,
    HoldSettings,
    TakenError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecord,
    locked,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Domain,
    DomainState,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import WorkerPool

RUNNING, PAUSED = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED)


def test_a_silent_agent_is_not_asked_to_freeze(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(silent=True)
    silent, solaris = guests.add("mute", agent=inside), guests.add("sol")
    with pytest.raises(
        HoldError, match="guest mute, nothing was held: mute: Failed: the guest agent is not responding"
    ):
        take(settings, want(silent), want(solaris))
    assert inside.journal == ["ping"]
    assert guests.state(solaris)[0] == RUNNING
    assert left(settings) == []
    rows = take(settings, want(silent), want(solaris), go_on=True)["guests"]
    assert [(row["method"], row["held"]) for row in rows] == [("none", False), ("suspend", True)]
    release("h1", settings, check=False)


def test_asked_for_an_agent_that_is_not_there(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    with pytest.raises(HoldError, match="it has no guest agent, so it cannot be frozen"):
        take(settings, want(uuid, "agent"))
    assert guests.state(uuid)[0] == RUNNING


def test_who_someone_else_froze_or_paused_is_left(guests: Guests, settings: HoldSettings) -> None:
    frozen, paused = guests.add("frozen", agent=Inside(frozen=True)), guests.add("paused", agent=Inside())
    guests.domain(paused).suspend()
    rows = take(settings, want(frozen), want(paused))["guests"]
    assert [(row["method"], row["held"], row["consistency"]) for row in rows] == [
        ("none", False, "crash-consistent")
    ] * 2
    assert rows[0]["reason"] == "someone else froze it before; it is left as it is"
    assert rows[1]["reason"] == "it was paused (user) before and is left as it is"
    released = release("h1", settings, check=False)
    assert released["changed"] is False
    assert guests.inside[frozen].frozen
    assert guests.state(paused)[0] == PAUSED


@pytest.mark.parametrize(
    "wanted",
    [[], [HoldRequest("nobody", "", "auto")], [HoldRequest("", "00000000-0000-0000-0000-000000000000", "auto")]],
)
def test_unknown_guests_stop_before_anything(guests: Guests, settings: HoldSettings, wanted: list[HoldRequest]) -> None:
    solaris = guests.add("sol")
    with pytest.raises(InputError):
        take(settings, *([*wanted, want(solaris)] if wanted else []))
    assert guests.state(solaris)[0] == RUNNING
    assert left(settings) == []


def test_going_on_without_a_guest_that_is_gone(guests: Guests, settings: HoldSettings) -> None:
    solaris, gone = guests.add("sol"), "00000000-0000-0000-0000-000000000001"
    rows = take(settings, HoldRequest("lost", gone, "agent"), want(solaris), go_on=True)["guests"]
    assert [(row["name"], row["uuid"], row["method"], row["held"]) for row in rows] == [
        ("lost", gone, "none", False),
        ("sol", solaris, "suspend", True),
    ]
    assert rows[0]["error"] == rows[0]["reason"] == "libvirt does not know it any more"
    assert rows[0]["consistency"] == "crash-consistent"
    release("h1", settings, check=False)
    with pytest.raises(InputError, match="lost is named twice"):
        take(settings, HoldRequest("lost", gone, "auto"), HoldRequest("lost", gone, "auto"), go_on=True)
    assert left(settings) == []


def test_what_is_gone_and_may_be_held_still_is_not_forgotten(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid))
    before = record_of(settings)
    guests.domain(uuid).destroy()
    guests.domain(uuid).undefine()
    with pytest.raises(HoldError, match=r"may have left it paused \(libvirt does not know it any more\)"):
        take(settings, want(uuid), go_on=True)
    assert record_of(settings) == before


def test_a_guest_named_twice(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    with pytest.raises(InputError, match="sol is named twice"):
        take(settings, want(uuid), HoldRequest("sol", "", "auto"))


def test_two_holds_on_one_guest(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid), hold_id="h1")
    with pytest.raises(HoldError, match="it is held by another hold, h1"):
        take(settings, want(uuid), hold_id="h2")
    release("h1", settings, check=False)
    take(settings, want(uuid), hold_id="h2")
    release("h2", settings, check=False)


@pytest.mark.parametrize("go_on", [False, True])
def test_a_hold_that_was_begun_after_the_look_keeps_its_guest(
    guests: Guests, settings: HoldSettings, go_on: bool
) -> None:
    """The second one had looked when nothing was held; it must neither freeze nor thaw what the first one holds."""
    inside = Inside()
    uuid, other = guests.add("lin", agent=inside), guests.add("other", agent=Inside())
    record = HoldRecord(settings.directory, "h2", "this-boot")
    with locked(settings.directory, "h2"), WorkerPool(settings.connect, size=2) as pool:
        rows = prepare(pool, [want(uuid), want(other)], record, settings, check=False, go_on=go_on)
        take(settings, want(uuid), hold_id="h1")
        inside.journal.clear()
        if go_on:
            mine, beside = hold_all(pool, rows, record, settings, go_on=True)
            assert (mine.method, mine.held, beside.held) == ("none", False, True)
            assert "it is held by another hold, h1" in mine.reason
            release_all(pool, record, settings)
        else:
            with pytest.raises(TakenError, match="guest lin, nothing was held: lin: it is held by another hold, h1"):
                hold_all(pool, rows, record, settings, go_on=False)
    assert left(settings) == ["h1.json"]
    assert inside.journal == []
    assert not guests.inside[other].frozen
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["held"], row["consistency"]) == (True, "filesystem-consistent")


def test_what_another_hold_is_about_to_hold_is_its_own_while_its_process_lives(
    guests: Guests, settings: HoldSettings
) -> None:
    uuid = guests.add("sol")
    about = HoldRecord(settings.directory, "h1", "this-boot")
    with locked(settings.directory, "h1"), WorkerPool(settings.connect, size=1) as pool:
        about.put(*prepare(pool, [want(uuid)], about, settings, check=False, go_on=False))
        with pytest.raises(TakenError, match="it is held by another hold, h1"):
            take(settings, want(uuid), hold_id="h2")
    assert guests.state(uuid)[0] == RUNNING
    take(settings, want(uuid), hold_id="h2")
    release("h2", settings, check=False)


def test_another_hold_of_an_earlier_run_of_the_guest_does_not_count(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid), hold_id="h1")
    guests.domain(uuid).destroy()
    guests.domain(uuid).create()
    assert take(settings, want(uuid), hold_id="h2")["guests"][0]["held"] is True
    release("h2", settings, check=False)


@pytest.mark.parametrize("method", ["agent", "suspend"])
def test_a_run_that_broke_off_is_taken_up_again(guests: Guests, settings: HoldSettings, method: str) -> None:
    inside = Inside(channel="connected" if method == "agent" else "none")
    uuid = guests.add("g", agent=inside)
    take(settings, want(uuid))
    record = HoldRecord(settings.directory, "h1", "this-boot")
    record.read()
    record.put(replace(record.rows[0], phase="holding", held=False, freeze_answered=None))
    inside.journal.clear()
    (row,) = take(settings, want(uuid))["guests"]
    assert row["held"] is True
    assert row["freeze_answered"] is not None
    if method == "agent":
        assert [verb for verb in inside.journal if verb != "limit"] == ["ping", "status", "thaw", "status", "freeze"]
        assert inside.frozen
    assert release("h1", settings, check=False)["guests"][0]["held"] is True
    assert guests.state(uuid)[0] == RUNNING
    assert not inside.frozen


@pytest.mark.parametrize("asked", ["auto", "agent", "suspend", "none"])
@pytest.mark.parametrize("go_on", [False, True])
@pytest.mark.parametrize("fate", ["disconnected", "paused", "silent"])
def test_what_an_earlier_run_froze_is_never_forgotten(
    guests: Guests, settings: HoldSettings, asked: str, go_on: bool, fate: str
) -> None:
    inside = Inside()
    uuid, other = guests.add("lin", agent=inside), guests.add("other", agent=Inside())
    take(settings, want(uuid))
    before = record_of(settings)
    if fate == "disconnected":
        inside.channel = "disconnected"
    elif fate == "silent":
        inside.silent = True
    else:
        guests.domain(uuid).suspend()
    with pytest.raises(
        HoldError, match=r"may have left it frozen .* with state=resumed and hold_id=h1 first"
    ) as caught:
        take(settings, want(other), want(uuid, asked), go_on=go_on)
    assert "guest lin, nothing was held" in caught.value.message
    assert record_of(settings) == before
    assert not guests.inside[other].frozen
    assert inside.frozen
    inside.channel, inside.silent = "connected", False
    if fate == "paused":
        guests.domain(uuid).resume()
    release("h1", settings, check=False)
    assert not inside.frozen


def test_what_an_earlier_run_suspended_is_never_forgotten(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid))
    domain_id = guests.domain(uuid).ID()
    with monkeypatch.context() as patched:
        patched.setattr(Domain, "state", lambda _domain: DomainState("paused", "I/O error", domain_id))
        with pytest.raises(HoldError, match=r"may have left it paused \(it is paused \(I/O error\)"):
            take(settings, want(uuid))
    assert release("h1", settings, check=False)["guests"][0]["held"] is True


@pytest.mark.parametrize("asked", ["auto", "none"])
def test_what_was_proved_released_is_held_anew(guests: Guests, settings: HoldSettings, asked: str) -> None:
    linux, solaris, restarted = guests.add("lin", agent=Inside()), guests.add("sol"), guests.add("new")
    everyone = [want(uuid, asked) for uuid in (linux, solaris, restarted)]
    take(settings, *map(want, (linux, solaris, restarted)))
    guests.inside[linux].frozen = False
    guests.domain(linux).fsThaw()
    guests.domain(solaris).resume()
    guests.domain(restarted).destroy()
    guests.domain(restarted).create()
    assert [row["held"] for row in take(settings, *everyone)["guests"]] == [asked == "auto"] * 3
    release("h1", settings, check=False)
    assert not guests.inside[linux].frozen
    assert guests.state(solaris)[0] == RUNNING
