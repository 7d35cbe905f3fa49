# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest is frozen or suspended, and let go, by agents that misbehave in every way, whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import replace

import libvirt
import pytest
from holding import left, record_of, take, want
from hurried import Hurry
from virt import Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldError,
    HoldSettings,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecord,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Domain,
    DomainState,
    LibvirtError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem

RUNNING, PAUSED = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED)
ROOT = FileSystem("/", "vda1", "ext4", ("vda",))


def test_a_freeze_is_never_repeated_without_thaw_and_status(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(freezes=["error", "error", "error"])
    uuid = guests.add("lin", agent=inside)
    (row,) = take(settings, want(uuid))["guests"]
    assert row["held"]
    assert inside.frozen
    verbs = [verb for verb in inside.journal if verb != "limit"]
    assert verbs == ["ping", "status", "filesystems", *(["freeze", "thaw", "status"] * 3), "freeze"]
    release("h1", settings, check=False)


@pytest.mark.parametrize("fate", ["lost", "silent"])
def test_who_does_not_answer_the_freeze_is_asked_nothing_more_before_the_release(
    guests: Guests, settings: HoldSettings, fate: str
) -> None:
    inside = Inside(freezes=[fate])
    uuid, solaris = guests.add("lin", agent=inside), guests.add("sol")
    rows = take(settings, want(uuid), want(solaris), go_on=True)["guests"]
    assert [(row["held"], row["consistency"]) for row in rows] == [
        (False, "crash-consistent"),
        (True, "crash-consistent"),
    ]
    assert inside.journal[-1] == "freeze"
    assert record_of(settings)["guests"][0]["phase"] == "holding"
    rows = release("h1", settings, check=False)["guests"]
    assert [verb for verb in inside.journal if verb != "limit"][-3:] == ["freeze", "thaw", "status"]
    assert [(row["held"], bool(row["error"])) for row in rows] == [(False, True), (True, False)]
    assert (inside.frozen, left(settings)) == (False, [])


@pytest.mark.parametrize(("asked", "error"), [("auto", False), ("agent", True)])
def test_who_someone_else_froze_just_before_is_not_thawed(
    guests: Guests, settings: HoldSettings, asked: str, error: bool
) -> None:
    inside = Inside()
    inside.on_freeze = lambda: setattr(inside, "frozen", True)
    uuid, other = guests.add("lin", agent=inside), guests.add("other", agent=Inside())
    (row, beside) = take(settings, want(uuid, asked), want(other), go_on=True)["guests"]
    assert (row["method"], row["held"], row["consistency"]) == ("none", False, "crash-consistent")
    assert row["reason"] == "someone else froze it meanwhile; it is left as it is"
    assert bool(row["error"]) is error
    assert beside["held"] is True
    release("h1", settings, check=False)
    assert "thaw" not in inside.journal
    assert inside.frozen
    assert left(settings) == []


def test_who_has_the_freeze_switched_off_is_not_thawed(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(freezes=["disabled"])
    uuid = guests.add("lin", agent=inside)
    with pytest.raises(HoldError, match="guest-fsfreeze-freeze has been disabled"):
        take(settings, want(uuid))
    assert [verb for verb in inside.journal if verb != "limit"][-2:] == ["freeze", "status"]
    assert left(settings) == []


def test_an_agent_that_freezes_nothing_is_no_hold(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(freezes=["nothing"])
    uuid = guests.add("raw", agent=inside)
    with pytest.raises(HoldError, match="the agent froze no file system"):
        take(settings, want(uuid))
    assert inside.journal.count("freeze") == 1


def test_thawing_goes_on_until_the_status_says_so(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(thaws=["silent", "error", "ok"], filesystems=1)
    uuid = guests.add("lin", agent=inside)
    take(settings, want(uuid))
    inside.journal.clear()
    (row,) = release("h1", settings, check=False)["guests"]
    assert row["error"] is None
    assert row["held"] is True
    assert not inside.frozen
    assert [verb for verb in inside.journal if verb != "limit"] == ["thaw", "status"] * 3


def test_a_thaw_is_not_believed_without_the_status(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside()
    uuid = guests.add("lin", agent=inside)
    take(settings, want(uuid))
    inside.status_fails = 2
    inside.journal.clear()
    (row,) = release("h1", settings, check=False)["guests"]
    assert row["held"] is True
    assert [verb for verb in inside.journal if verb != "limit"] == ["thaw", "status"] * 3


def test_agents_have_eight_seconds_to_come_back_whatever_re_runs_are_asked_for(
    guests: Guests, settings: HoldSettings
) -> None:
    uuid, hurry = guests.add("lin", agent=Inside(thaws=["error"] * 99)), Hurry(100.0)
    take(settings, want(uuid))
    with pytest.raises(HoldError, match="said no"):
        release("h1", replace(settings, retry_count=0, clock=hurry.clock), check=False)
    assert [seconds for seconds in hurry.slept if seconds][:4] == [0.2, 0.4, 0.8, 1.6]
    assert 8.0 <= sum(hurry.slept) <= 10.0


def test_a_guest_that_was_thawed_or_resumed_meanwhile_was_not_held(guests: Guests, settings: HoldSettings) -> None:
    linux, solaris = guests.add("lin", agent=Inside()), guests.add("sol")
    take(settings, want(linux), want(solaris))
    guests.inside[linux].frozen = False
    guests.domain(solaris).resume()
    rows = release("h1", settings, check=False)["guests"]
    assert [(row["held"], row["consistency"], row["error"]) for row in rows] == [(False, "crash-consistent", None)] * 2
    assert rows[0]["reason"] == "it was thawed before the hold ended"
    assert rows[1]["reason"] == "suspended: it has no guest agent; it was resumed before the hold ended"


def test_a_late_thaw_that_the_agent_refuses_was_a_broken_hold(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside()
    uuid = guests.add("win", os="http://microsoft.com/win/11", agent=inside)
    take(settings, want(uuid))
    inside.frozen, inside.thaws = False, ["error"]
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["held"], row["consistency"]) == (False, "crash-consistent")


def test_vss_that_ended_before_the_thaw_is_noticed_although_the_agent_says_nothing(
    guests: Guests, settings: HoldSettings
) -> None:
    inside = Inside()
    uuid = guests.add("win", os="http://microsoft.com/win/11", agent=inside)
    (row,) = take(settings, want(uuid))["guests"]
    assert row["limit"] == 8.0
    record = HoldRecord(settings.directory, "h1", "this-boot")
    record.read()
    held = record.row(uuid)
    assert held is not None
    assert held.freeze_answered is not None
    record.put(replace(held, freeze_answered=held.freeze_answered - 11))
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["held"], row["consistency"]) == (False, "crash-consistent")
    assert row["reason"] == "VSS thawed it by itself 10 s after the freeze"


def test_a_freeze_that_covers_less_than_there_is_lowers_the_level(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(filesystems=1, mounts=(ROOT, FileSystem("/srv", "vda2", "xfs", ("vda",))))
    uuid = guests.add("lin", agent=inside)
    (row,) = take(settings, want(uuid))["guests"]
    assert (row["held"], row["filesystems"], row["expected"]) == (True, 1, 2)
    assert (row["consistency"], row["reason"]) == ("crash-consistent", "the agent froze 1 of 2 file systems")
    release("h1", settings, check=False)


def test_an_agent_that_does_not_tell_its_file_systems_is_frozen_all_the_same(
    guests: Guests, settings: HoldSettings
) -> None:
    uuid = guests.add("lin", agent=Inside(mounts_fail=True))
    (row,) = take(settings, want(uuid))["guests"]
    assert (row["held"], row["expected"], row["consistency"]) == (True, None, "filesystem-consistent")
    release("h1", settings, check=False)


def test_frozen_and_suspended_and_the_other_way_round(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside()
    uuid = guests.add("lin", agent=inside)
    (row,) = take(settings, want(uuid, "agent+suspend"))["guests"]
    assert (row["method"], row["held"]) == ("agent+suspend", True)
    assert (inside.frozen, guests.state(uuid)[0]) == (True, PAUSED)
    again = take(settings, want(uuid, "agent+suspend"))
    assert (again["changed"], again["guests"][0]["held"]) == (False, True)
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["held"], row["error"]) == (True, None)
    assert (inside.frozen, guests.state(uuid)[0]) == (False, RUNNING)


def test_one_who_was_frozen_and_suspended_and_was_resumed_by_others_was_not_held(
    guests: Guests, settings: HoldSettings
) -> None:
    inside = Inside()
    uuid = guests.add("lin", agent=inside)
    take(settings, want(uuid, "agent+suspend"))
    guests.domain(uuid).resume()
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["held"], row["error"]) == (False, None)
    assert "resumed before the hold ended" in row["reason"]
    assert not inside.frozen


@pytest.mark.parametrize(
    ("fate", "why"),
    [
        ("destroy", "it is off (destroyed)"),
        ("restart", "it was started anew"),
    ],
)
def test_a_guest_that_is_gone_is_reported_not_failed(
    guests: Guests, settings: HoldSettings, fate: str, why: str
) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid))
    domain = guests.domain(uuid)
    domain.destroy()
    if fate == "restart":
        domain.create()
        domain.suspend()
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["held"], row["error"], row["consistency"]) == (False, None, "crash-consistent")
    assert row["reason"].endswith(f"the guest that was held is gone: {why}")
    if fate == "restart":
        assert guests.state(uuid)[0] == PAUSED, "what was paused after the restart is not ours"
    assert left(settings) == []


@pytest.mark.parametrize("reason", ["migrated", "saved", "unknown"])
def test_a_held_guest_that_went_on_elsewhere_is_not_declared_released(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    linux, solaris = guests.add("lin", agent=Inside()), guests.add("sol")
    take(settings, want(linux), want(solaris))
    with monkeypatch.context() as patched:
        patched.setattr(Domain, "state", lambda _domain: DomainState("shutoff", reason, None))
        for _again in range(2):
            with pytest.raises(
                HoldError, match=r"may still be frozen .* thaw it there, then remove .*h1\.json"
            ) as caught:
                release("h1", settings, check=False)
            assert [bool(row["error"]) for row in caught.value.fields["guests"]] == [True, True]
        assert "resume it there" in caught.value.message
        assert left(settings) == ["h1.json"]
    assert all(row["held"] for row in release("h1", settings, check=False)["guests"])


def test_a_held_guest_that_libvirt_does_not_know_any_more_stays_on_record(
    guests: Guests, settings: HoldSettings
) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid))
    guests.domain(uuid).destroy()
    guests.domain(uuid).undefine()
    with pytest.raises(HoldError, match=r"libvirt does not know it any more.* remove .*h1\.json"):
        release("h1", settings, check=False)
    assert left(settings) == ["h1.json"]
    (settings.directory / "h1.json").unlink()
    assert release("h1", settings, check=False)["changed"] is False


@pytest.mark.parametrize("reason", ["migrated", "restored"])
def test_a_frozen_guest_that_came_back_is_thawed(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    uuid = guests.add("lin", agent=Inside())
    take(settings, want(uuid))
    monkeypatch.setattr(Domain, "state", lambda _domain: DomainState("running", reason, 4711))
    with pytest.raises(HoldError, match="run kvm_vm_quiesce with state=resumed"):
        take(settings, want(uuid, "none"), go_on=True)
    release("h1", settings, check=False)
    assert not guests.inside[uuid].frozen


def test_an_offline_guest_that_was_started_during_the_hold_is_weakened(guests: Guests, settings: HoldSettings) -> None:
    still, started, gone = (guests.add(name, running=False) for name in ("still", "started", "gone"))
    for uuid in (still, started, gone):
        guests.domain(uuid).create()
        guests.domain(uuid).shutdown()
    rows = take(settings, *map(want, (still, started, gone)))["guests"]
    assert [row["consistency"] for row in rows] == ["offline"] * 3
    guests.domain(started).create()
    guests.domain(gone).undefine()
    rows = release("h1", settings, check=False)["guests"]
    assert [(row["consistency"], row["reason"], row["error"]) for row in rows] == [
        ("offline", "shut off", None),
        ("crash-consistent", "shut off; it was started during the hold", None),
        ("offline", "shut off", None),
    ]
    assert left(settings) == []


def test_an_offline_guest_that_cannot_be_looked_at_again_is_weakened(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = guests.add("off")
    guests.domain(uuid).shutdown()
    take(settings, want(uuid))

    def broken(_domain: Domain) -> DomainState:
        raise LibvirtError("Failed to read the state of guest off: no")

    monkeypatch.setattr(Domain, "state", broken)
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["consistency"], row["error"]) == ("crash-consistent", None)
    assert "whether it was started during the hold is not known" in row["reason"]


def test_a_frozen_guest_that_was_paused_meanwhile_can_be_thawed_later(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("lin", agent=Inside())
    take(settings, want(uuid))
    guests.domain(uuid).suspend()
    with pytest.raises(HoldError, match="it was frozen and is paused \\(user\\) now"):
        release("h1", settings, check=False)
    assert guests.state(uuid)[0] == PAUSED
    guests.domain(uuid).resume()
    assert release("h1", settings, check=False)["guests"][0]["held"] is True
    assert not guests.inside[uuid].frozen
