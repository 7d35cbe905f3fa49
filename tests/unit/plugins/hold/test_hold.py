# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding and releasing guests of libvirt's test driver, whose agents can misbehave in every way."""

from __future__ import annotations

import json
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest
from hurried import Hurry
from virt import Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import quiesce as kvm_quiesce
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.decide import decide, phases
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold, hold_all, release, release_all
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.look import prepare
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldError,
    HoldRequest,
    HoldSettings,
    Observation,
    Step,
    TakenError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.quiesce import quiesce, resume, wait_for_others
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecord,
    HoldRecordError,
    Row,
    claiming,
    guests_in_holds,
    locked,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.request import QuiesceRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Domain,
    DomainState,
    Host,
    LibvirtError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DiskXml, GuestXml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import BOOT_ID, boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import WorkerPool
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import guest_locks, lock_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

WINDOWS = "http://microsoft.com/win/11"
RUNNING, PAUSED = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED)
ON = DomainState("running", "booted", 3)


def want(uuid: str, asked: str = "auto", disks: Any = None) -> HoldRequest:
    return HoldRequest("", uuid, asked, disks)  # type: ignore[arg-type]


def take(
    settings: HoldSettings,
    *wanted: HoldRequest,
    check: bool = False,
    go_on: bool = False,
    hold_id: str = "h1",
    **more: Any,
) -> Any:
    return hold(list(wanted), hold_id, settings, check=check, go_on=go_on, **more)


def record_of(settings: HoldSettings, hold_id: str = "h1") -> Any:
    return json.loads((settings.directory / f"{hold_id}.json").read_text(encoding="utf-8"))


def left(settings: HoldSettings) -> list[str]:
    return sorted(path.name for path in settings.directory.iterdir()) if settings.directory.exists() else []


# Decisions


def seen(state: DomainState = ON, *, cache: str = "none", os: str = "linux", **more: Any) -> Observation:
    disk = DiskXml("vda", "disk", "file", "/a", cache=cache)
    other = DiskXml("vdb", "disk", "file", "/b", cache="none")
    definition = GuestXml("g", "u", os, None, "none", (disk, other), None, False)  # type: ignore[arg-type]
    return Observation("g", "u", state, definition, **more)


@pytest.mark.parametrize(
    ("asked", "guest", "step"),
    [
        ("auto", seen(agent="connected", status="thawed"), Step("agent", "filesystem-consistent")),
        ("agent", seen(agent="connected", status="thawed"), Step("agent", "filesystem-consistent")),
        ("agent", seen(os="windows", agent="connected", status="thawed"), Step("agent", "application-consistent")),
        ("auto", seen(), Step("suspend", "crash-consistent", "suspended: it has no guest agent")),
        (
            "auto",
            seen(agent="disconnected"),
            Step("suspend", "crash-consistent", "suspended: no agent is connected to its agent channel"),
        ),
        ("suspend", seen(agent="connected"), Step("suspend", "crash-consistent", "suspended as asked")),
        ("none", seen(agent="connected"), Step("none", "crash-consistent", "not to be held")),
        (
            "agent",
            seen(),
            Step("none", "crash-consistent", "it has no guest agent", "it has no guest agent, so it cannot be frozen"),
        ),
        (
            "auto",
            seen(agent="connected", agent_error="silence"),
            Step("none", "crash-consistent", "silence", "silence"),
        ),
        (
            "auto",
            seen(agent="connected", status="frozen"),
            Step("none", "crash-consistent", "someone else froze it before; it is left as it is"),
        ),
        (
            "agent",
            seen(agent="connected", status="frozen"),
            Step(
                "none",
                "crash-consistent",
                "someone else froze it before; it is left as it is",
                "someone else froze it before; it is left as it is",
            ),
        ),
        (
            "auto",
            seen(DomainState("paused", "user", 3), agent="connected"),
            Step("none", "crash-consistent", "it was paused (user) before and is left as it is"),
        ),
        (
            "suspend",
            seen(DomainState("paused", "user", 3)),
            Step("none", "crash-consistent", "it was paused (user) before and is left as it is"),
        ),
        (
            "agent",
            seen(DomainState("paused", "I/O error", 3)),
            Step(
                "none",
                "crash-consistent",
                "it was paused (I/O error) before and is left as it is",
                "it was paused (I/O error) before and is left as it is, so it cannot be frozen",
            ),
        ),
        (
            "auto",
            seen(DomainState("pmsuspended", "unknown", 3)),
            Step("none", "crash-consistent", "it was pmsuspended (unknown) before and is left as it is"),
        ),
        ("agent", seen(DomainState("shutoff", "shutdown", None)), Step("none", "offline", "shut off")),
        (
            "agent",
            seen(DomainState("shutoff", "destroyed", None)),
            Step("none", "crash-consistent", "off, but not known to be cleanly shut down (destroyed)"),
        ),
        (
            "auto",
            seen(DomainState("shutoff", "unknown", None)),
            Step(
                "none",
                "crash-consistent",
                "off, but not known to be cleanly shut down (libvirt does not know how)",
            ),
        ),
        (
            "auto",
            seen(cache="unsafe", agent="connected", status="thawed"),
            Step("agent", "inconsistent", "disk vda has cache='unsafe', which ignores the guest's flushes"),
        ),
        (
            "suspend",
            seen(cache="unsafe"),
            Step(
                "suspend",
                "inconsistent",
                "suspended as asked; disk vda has cache='unsafe', which ignores the guest's flushes",
            ),
        ),
    ],
)
def test_decide(asked: Any, guest: Observation, step: Step) -> None:
    assert decide(asked, guest) == step


ROOT = FileSystem("/", "vda1", "ext4", ("vda",))
DATA = FileSystem("/srv", "vdb1", "xfs", ("vdb",))
ZFS = FileSystem("/tank", "tank", "zfs", ("vdb",))


@pytest.mark.parametrize(
    ("asked", "mounts", "filesystems", "step"),
    [
        ("auto", (ROOT, DATA), None, Step("agent", "filesystem-consistent", expected=2)),
        ("agent+suspend", (ROOT, DATA), None, Step("agent+suspend", "filesystem-consistent", expected=2)),
        ("auto", (ROOT, ZFS), None, Step("agent", "crash-consistent", "/tank (zfs) is not frozen", expected=1)),
        (
            "agent+suspend",
            (ROOT, ZFS),
            None,
            Step("agent+suspend", "crash-consistent", "/tank (zfs) is not frozen", expected=1),
        ),
        ("auto", (ROOT, DATA), ("/srv",), Step("agent", "crash-consistent", "/ (ext4) is not frozen", expected=1)),
        (
            "auto",
            (ROOT,),
            ("/data",),
            Step(
                "none",
                "crash-consistent",
                "nothing is mounted at /data, which was to be frozen",
                "nothing is mounted at /data, which was to be frozen",
            ),
        ),
    ],
)
def test_what_a_freeze_covers_decides_the_level(asked: Any, mounts: Any, filesystems: Any, step: Step) -> None:
    guest = seen(agent="connected", status="thawed", mounts=mounts)
    assert decide(asked, guest, None, filesystems) == step


def test_a_guest_with_devices_passed_through_is_suspended_only_when_asked() -> None:
    guest = seen()
    guest = replace(guest, definition=replace(guest.definition, passthrough=("pci 0000:3b:00.0",)))
    step = decide("auto", guest)
    assert (step.method, step.error) == ("none", None)
    assert "pci 0000:3b:00.0" in step.reason
    assert decide("suspend", guest).method == "suspend"


@pytest.mark.parametrize(
    ("os", "mounts", "vss"),
    [
        ("windows", None, True),
        ("linux", None, False),
        ("unknown", None, None),
        ("unknown", (ROOT,), False),
        ("unknown", (FileSystem("C:", "c", "NTFS"),), True),
    ],
)
def test_who_thaws_by_itself(os: str, mounts: Any, vss: Any) -> None:
    assert seen(os=os, mounts=mounts).vss is vss


def test_phases() -> None:
    def row(name: str, method: str, **more: Any) -> Row:
        return Row(name, name, "auto", method=method, **more)

    rows = [
        row("quick", "suspend"),
        row("linux", "agent"),
        row("win", "agent", limit=8.0),
        row("later", "agent", order=1),
        row("both", "agent+suspend"),
    ]
    found = [[each.name for each in phase] for phase in phases(rows)]
    assert found == [["linux", "both"], ["win", "quick"], ["later"]]


def test_the_cache_of_a_disk_outside_the_backup_does_not_count() -> None:
    guest = seen(cache="unsafe", agent="connected", status="thawed")
    assert decide("auto", guest, ["vdb"]) == Step("agent", "filesystem-consistent")
    assert decide("auto", guest, ["vda"]).consistency == "inconsistent"
    readonly = replace(guest.definition, disks=tuple(replace(disk, readonly=True) for disk in guest.definition.disks))
    assert decide("auto", replace(guest, definition=readonly)) == Step("agent", "filesystem-consistent")


def test_the_disks_of_the_backup_come_from_the_options() -> None:
    given = {"name": "g", "uuid": None, "method": "auto"}
    assert HoldRequest.from_option({**given, "disks": ["vdb"]}).disks == ("vdb",)
    assert HoldRequest.from_option({**given, "disks": None}).disks is None


def test_a_guest_of_another_hold_is_left_and_named() -> None:
    guest = seen(agent="connected", holder="h9")
    assert "h9" in str(decide("auto", guest).error)
    assert decide("none", guest).error is None


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


def test_an_agent_that_freezes_nothing_is_no_hold(guests: Guests, settings: HoldSettings) -> None:
    inside = Inside(freezes=["nothing"])
    uuid = guests.add("raw", agent=inside)
    with pytest.raises(HoldError, match="the agent froze no file system"):
        take(settings, want(uuid))
    assert inside.journal.count("freeze") == 1


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


def test_a_hold_waits_until_the_records_are_free(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    with claiming(private_directory(settings.directory)):
        with pytest.raises(HoldRecordError, match="another process has them"), claiming(settings.directory, timeout=0):
            pass
        second = threading.Thread(target=take, args=(settings, want(uuid)))
        second.start()
        second.join(timeout=0.5)
        assert second.is_alive()
        assert guests.state(uuid)[0] == RUNNING
    second.join(timeout=30)
    assert guests.state(uuid)[0] == PAUSED
    release("h1", settings, check=False)


def test_another_hold_of_an_earlier_run_of_the_guest_does_not_count(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid), hold_id="h1")
    guests.domain(uuid).destroy()
    guests.domain(uuid).create()
    assert take(settings, want(uuid), hold_id="h2")["guests"][0]["held"] is True
    release("h2", settings, check=False)


# What goes wrong while releasing


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


def test_a_hold_can_wait_for_another_one(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid), hold_id="h1")
    began = time.monotonic()
    wait_for_others([want(uuid)], "h2", settings, Deadline.after(0.3))
    assert time.monotonic() - began >= 0.3
    release("h1", settings, check=False)
    wait_for_others([want(uuid)], "h2", settings, Deadline.after(60))
    assert time.monotonic() - began < 30


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


# Records


def test_the_record_of_another_boot_is_void(guests: Guests, settings: HoldSettings, tmp_path: Path) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid))
    (tmp_path / "boot_id").write_text("next-boot\n", encoding="ascii")
    released = release("h1", settings, check=False)
    assert (released["changed"], released["guests"]) == (False, [])
    assert guests.state(uuid)[0] == PAUSED, "no guest is touched on the word of a void record"
    assert left(settings) == []


@pytest.mark.parametrize("hold_id", ["", "../x", "a/b", ".hidden", "a b", "x" * 201])
def test_bad_hold_ids(settings: HoldSettings, hold_id: str) -> None:
    with pytest.raises(InputError, match="hold id"):
        release(hold_id, settings, check=False)
    with pytest.raises(InputError, match="hold id"):
        release(hold_id, settings, check=True)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"schema": "other/1"}', '{"schema": "kvmsnap.hold/1", "boot_id": "this-boot", "guests": [{}]}'],
)
def test_an_unreadable_record_is_an_error(guests: Guests, settings: HoldSettings, content: str) -> None:
    uuid = guests.add("sol")
    settings.directory.mkdir(mode=0o700)
    (settings.directory / "h1.json").write_text(content, encoding="utf-8")
    for hold_id in ("h1", "h2"):
        with pytest.raises(HoldRecordError, match=r"h1\.json"):
            take(settings, want(uuid), hold_id=hold_id)
    assert guests.state(uuid)[0] == RUNNING


def test_a_directory_that_others_can_write_to_is_refused(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    settings.directory.mkdir()
    settings.directory.chmod(0o777)
    with pytest.raises(HoldRecordError, match="others can write there"):
        take(settings, want(uuid))
    assert guests.state(uuid)[0] == RUNNING


def test_a_record_that_cannot_be_written_holds_nothing(guests: Guests, settings: HoldSettings, tmp_path: Path) -> None:
    uuid = guests.add("sol")
    settings.directory.mkdir(mode=0o700)
    (settings.directory / "h1.json").mkdir()
    with pytest.raises(HoldRecordError):
        take(settings, want(uuid))
    assert guests.state(uuid)[0] == RUNNING


# The module's options


def options(settings: HoldSettings, **more: Any) -> dict[str, Any]:
    return {
        "hold_id": "h1",
        "hold_dir": str(settings.directory),
        "uri": "test:///default",
        "retry_count": 0,
        "freeze_timeout": 20,
        "agent_ping_timeout": 5,
        "on_failure": "fail",
        "refuse_vss": False,
        "hold_deadline": 30.0,
        "hold_margin": 0.5,
        "vss_hold_deadline": 8.0,
        "unquiesce_timeout": None,
        "concurrency_timeout": 0.0,
        "state": "quiesced",
        **more,
    }


def request_of(settings: HoldSettings, **more: Any) -> QuiesceRequest:
    return QuiesceRequest.from_options(options(settings, **more))


def test_quiesce_and_resume_from_options(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    given = request_of(settings, guests=[{"uuid": None, "name": " sol ", "method": "auto", "disks": None}])
    assert quiesce(given, check=False)["guests"][0]["uuid"] == uuid
    assert guests.state(uuid)[0] == PAUSED
    ended = request_of(settings, state="resumed", guests=[{"name": " "}])
    assert resume(ended, check=False)["guests"][0]["held"] is True, "whom it names does not matter"
    assert guests.state(uuid)[0] == RUNNING


def test_quiesce_waits_also_for_a_hold_that_was_begun_after_it_had_looked(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = guests.add("sol")
    take(replace(settings, boot=BOOT_ID), want(uuid), hold_id="h9")
    looks: list[str] = []
    waits = kvm_quiesce.wait_for_others

    def late(*given: Any) -> None:
        """Overlook the other hold once, as one that is not written down yet; release it at the next look."""
        looks.append("looked")
        if len(looks) == 2:
            release("h9", replace(settings, boot=BOOT_ID), check=False)
            waits(*given)

    monkeypatch.setattr(kvm_quiesce, "wait_for_others", late)
    given = request_of(settings, guests=[{"name": "sol"}])
    with pytest.raises(TakenError, match="held by another hold, h9"):
        quiesce(given, check=False)
    looks.clear()
    patient = request_of(settings, guests=[{"name": "sol"}], concurrency_timeout=60.0)
    held = quiesce(replace(patient, settings=replace(patient.settings, clock=Hurry(100.0).clock)), check=False)
    assert (held["guests"][0]["held"], len(looks)) == (True, 2)
    resume(given, check=False)


def test_a_guest_without_any_name() -> None:
    with pytest.raises(InputError, match="needs a uuid or a name"):
        HoldRequest.from_option({"name": " ", "uuid": None})


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


def test_a_record_of_a_version_that_knew_no_locked_guests_is_read() -> None:
    row = Row("g", "u", "auto")
    old = {key: value for key, value in vars(row).items() if key != "locked"}
    assert Row.from_record(old) == row
