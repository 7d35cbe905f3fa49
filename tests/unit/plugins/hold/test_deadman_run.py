# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the dead-man timer does when its moment comes, and whom it makes way for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import syslog
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import libvirt
import pytest
from virt import URI, FakeAgent, Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import Hold, Stamp, reached
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import deadman_run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import DeadMan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold, release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldError, HoldRequest, HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecord,
    Row,
    lock_holder,
    locked,
    releasing,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import (
    Timer,
    known_timer,
    read_timer,
    write_timer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import LibvirtError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import Process, started_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

RUNNING, PAUSED = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED


@dataclass
class Hands:
    """A clock that a test turns: sleeping moves it on, and may let something happen."""

    now: float = 0.0
    naps: int = 0
    most: int = 1000

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps += 1
        assert self.naps <= self.most, "it waits for ever"

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


def armed(settings: HoldSettings, *, hold_id: str = "h1", **more: Any) -> Path:
    """Write down a timer as arming does, and return its file."""
    path = settings.directory / f"{hold_id}.timer"
    timer = Timer(hold_id, "this-boot", "token", "process", URI, 30.0, 0.5, 0.0, 30.5)
    write_timer(path, replace(timer, **more))
    return path


def take(settings: HoldSettings, *uuids: str) -> Any:
    return hold([HoldRequest("", uuid, "auto") for uuid in uuids], "h1", settings, check=False, go_on=False)


def fire(settings: HoldSettings, path: Path, hands: Optional[Hands] = None) -> int:
    return deadman_run.watch(path, "token", (hands or Hands()).clock(), replace(settings, retry_count=0))


def test_it_releases_what_is_held_and_the_release_tells(guests: Guests, settings: HoldSettings) -> None:
    linux, solaris, idle = guests.add("lin", agent=Inside()), guests.add("sol"), guests.add("idle")
    take(settings, linux, solaris)
    guests.domain(idle).suspend()
    hands = Hands()
    path = armed(settings)
    before = time.monotonic()
    assert fire(settings, path, hands) == 0
    assert hands.now == pytest.approx(30.5)
    assert not guests.inside[linux].frozen
    assert guests.state(solaris)[0] == RUNNING
    assert guests.state(idle)[0] == PAUSED, "who paused it was not this hold"
    timer = read_timer(path)
    assert timer is not None
    assert (timer.fired, timer.error) == (True, None)
    assert before <= (timer.fired_at or 0) <= time.monotonic()
    assert (timer.wall_fired or "").endswith("+00:00")

    settings = replace(settings, guard=DeadMan(URI, boot=settings.boot, systemd=Path("/nonexistent")))
    told = release("h1", settings, check=False)
    assert (told["fired"], told["timer"]["fired_at"]) == (True, timer.fired_at)
    for row in told["guests"]:
        assert (row["fired"], row["held"], row["error"]) == (True, False, None)
        assert row["reason"].endswith("the dead-man timer ended its hold")
        assert (timer.fired_at or 0) <= row["thaw_sent"] <= row["thaw_answered"]
        assert row["held_seconds"] == pytest.approx(row["thaw_answered"] - row["freeze_sent"], abs=1e-5)
    assert [row["consistency"] for row in told["guests"]] == ["filesystem-consistent", "crash-consistent"]
    assert release("h1", settings, check=False)["fired"] is False


def test_a_file_that_cannot_be_read_ends_no_watch(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    path = armed(settings, fires_at=30.5)
    hands = Hands()

    def nap(seconds: float) -> None:
        hands.sleep(seconds)
        path.write_text("{", encoding="ascii")

    assert deadman_run.watch(path, "token", Clock(lambda: hands.now, nap), settings) == 0
    assert hands.now == pytest.approx(30.5)
    assert guests.state(uuid)[0] == RUNNING


def test_it_fires_at_its_moment_and_not_before(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    path = armed(settings, fires_at=30.5)
    hands = Hands(now=29.0)
    states = []
    clock = Clock(lambda: hands.now, lambda seconds: (states.append(guests.state(uuid)[0]), hands.sleep(seconds))[1])
    deadman_run.watch(path, "token", clock, settings)
    assert set(states) == {PAUSED}
    assert guests.state(uuid)[0] == RUNNING


@pytest.mark.parametrize("change", ["released", "rearmed"])
def test_it_ends_without_touching_anything_when_it_is_not_armed_any_more(
    guests: Guests, settings: HoldSettings, change: str
) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    path = armed(settings)
    hands = Hands()

    def nap(seconds: float) -> None:
        hands.sleep(seconds)
        if hands.naps == 3:
            if change == "released":
                path.unlink()
            else:
                armed(settings, token="another")

    assert deadman_run.watch(path, "token", Clock(lambda: hands.now, nap), settings) == 0
    assert hands.naps == 3
    assert guests.state(uuid)[0] == PAUSED


def test_nothing_held_is_nothing_fired(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    release("h1", settings, check=False)
    path = armed(settings)
    assert fire(settings, path) == 0
    assert known_timer(path) == read_timer(path)
    assert read_timer(path).fired is False  # type: ignore[union-attr]


def test_a_hung_agent_does_not_keep_it_from_the_others(guests: Guests, settings: HoldSettings) -> None:
    """Suspended guests come first, and the silent agent is asked again until it thaws."""
    mute = guests.add("mute", agent=Inside())
    others = [guests.add(f"lin{n}", agent=Inside()) for n in range(3)] + [guests.add("sol")]
    take(settings, mute, *others)
    guests.inside[mute].thaws = ["silent"] * 5
    path = armed(settings)
    hands = Hands()
    found = []

    def nap(seconds: float) -> None:
        hands.sleep(seconds)
        if hands.now > 30.5:
            found.append([guests.inside[uuid].frozen for uuid in (mute, *others)])

    assert deadman_run.watch(path, "token", Clock(lambda: hands.now, nap), replace(settings, retry_count=0)) == 0
    assert found == [[True, False, False, False, False]] * 5
    assert not guests.inside[mute].frozen
    rows = {row["name"]: row for row in release("h1", settings, check=False)["guests"]}
    assert rows["mute"]["fired"] is True
    assert rows["mute"]["thaw_sent"] < rows["mute"]["thaw_answered"]


LONG = 2 * 3600.0


@dataclass
class Later(Hands):
    """A clock on which something happens at a moment, once."""

    at: float = 30.5 + LONG
    then: Optional[Callable[[], None]] = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.now >= self.at and self.then:
            self.then, then = None, self.then
            then()


def test_guests_that_are_known_to_be_held_come_first(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that hung in its freeze may hang in its thaw too, and where libvirt is busy others wait for it."""
    hung = guests.add("hung", agent=Inside())
    held = [guests.add(f"lin{n}", agent=Inside()) for n in range(2)]
    solaris = guests.add("sol")
    take(settings, hung, *held, solaris)
    record = HoldRecord(settings.directory, "h1", "this-boot")
    record.read()
    record.put(replace(record.rows[0], phase="holding", held=False, freeze_answered=None))
    found: list[tuple[str, int]] = []
    thaw = FakeAgent.thaw

    def thawed(self: FakeAgent) -> int:
        found.append((self._domain.name(), guests.state(solaris)[0]))
        return thaw(self)

    monkeypatch.setattr(FakeAgent, "thaw", thawed)
    assert fire(replace(settings, at_once=1), armed(settings)) == 0
    assert found == [("lin0", RUNNING), ("lin1", RUNNING), ("hung", RUNNING)]


def test_it_says_why_a_guest_is_held_still_and_never_gives_up(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _level, message: said.append(message))
    mute = guests.add("mute", agent=Inside())
    take(settings, mute)
    guests.inside[mute].thaws = ["silent"] * 10_000
    path = armed(settings)

    def answers() -> None:
        timer = read_timer(path)
        assert timer is not None
        assert "not responding" in (timer.error or "")
        assert guests.inside[mute].frozen
        with pytest.raises(HoldError, match="mute"):
            release("h1", replace(settings, retry_count=0), check=False)
        assert known_timer(path) is not None, "what may still be frozen stays on record"
        guests.inside[mute].thaws = []

    hands = Later(most=10_000, then=answers)
    assert fire(settings, path, hands) == 0
    assert 0 <= hands.now - 30.5 - LONG <= 30
    assert not guests.inside[mute].frozen
    assert hands.naps < 32 + 60 + LONG / 30
    assert len(said) == 3, "every half a minute is too often to be told"
    assert ["released: none" in said[0], "not responding" in said[1], "released: mute" in said[2]] == [True] * 3


@pytest.mark.parametrize("gone", ["released", "record removed", "destroyed", "started anew"])
def test_it_ends_with_what_it_waits_for(guests: Guests, settings: HoldSettings, gone: str) -> None:
    """Recovery takes the record away, a guest that is off or started anew is not frozen any more."""
    uuid = guests.add("lin", agent=Inside())
    take(settings, uuid)
    guests.domain(uuid).suspend()
    path = armed(settings)

    def end() -> None:
        if gone == "released":
            path.unlink()
        elif gone == "record removed":
            path.with_suffix(".json").unlink()
        else:
            guests.domain(uuid).destroy()
        if gone == "started anew":
            guests.domain(uuid).create()

    hands = Later(at=200.0, then=end)
    assert fire(settings, path, hands) == 0
    assert hands.then is None, "it ended before"
    assert hands.now <= hands.at + 30
    assert guests.inside[uuid].frozen, "nobody thawed it"


def test_a_guest_that_an_administrator_paused_is_thawed_once_it_runs(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("lin", agent=Inside())
    take(settings, uuid)
    guests.domain(uuid).suspend()
    path = armed(settings)
    hands = Hands()

    def nap(seconds: float) -> None:
        hands.sleep(seconds)
        if hands.now > 40:
            assert guests.inside[uuid].frozen
            if guests.state(uuid)[0] == PAUSED:
                guests.domain(uuid).resume()

    assert deadman_run.watch(path, "token", Clock(lambda: hands.now, nap), settings) == 0
    assert not guests.inside[uuid].frozen
    assert guests.state(uuid)[0] == RUNNING


def test_a_guest_that_was_started_anew_is_not_touched(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    guests.domain(uuid).destroy()
    guests.domain(uuid).create()
    guests.domain(uuid).suspend()
    fire(settings, armed(settings))
    assert guests.state(uuid)[0] == PAUSED
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["fired"], row["held"]) == (False, False)
    assert "it was started anew" in row["reason"]


def test_a_domain_id_that_came_back_is_not_the_guest_that_was_held(
    guests: Guests, settings: HoldSettings, sleeper: subprocess.Popen[bytes]
) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    record = HoldRecord(settings.directory, "h1", "this-boot")
    record.read()
    started = started_at(sleeper.pid)
    record.put(replace(record.rows[0], qemu_pid=sleeper.pid, qemu_started=started))
    sleeper.kill()
    sleeper.wait()
    fire(settings, armed(settings))
    assert guests.state(uuid)[0] == PAUSED
    (row,) = release("h1", settings, check=False)["guests"]
    assert "the guest that was held is gone" in row["reason"]


def test_a_freeze_that_was_not_answered_is_undone(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("lin", agent=Inside())
    take(settings, uuid)
    record = HoldRecord(settings.directory, "h1", "this-boot")
    record.read()
    record.put(replace(record.rows[0], phase="holding", held=False, freeze_answered=None))
    fire(settings, armed(settings))
    assert not guests.inside[uuid].frozen
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["fired"], row["held"], row["freeze_answered"]) == (True, False, None)
    assert (row["consistency"], row["reason"]) == (
        "crash-consistent",
        "the dead-man timer undid its hold, which was never confirmed",
    )


def test_libvirt_may_be_away_for_a_while(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    tries = []

    def connect() -> Any:
        tries.append(1)
        if hands.now < 30.5 + LONG:
            raise LibvirtError("Failed to connect to libvirt: it restarts")
        return guests.connect()

    path = armed(settings)
    hands = Hands(most=10_000)
    assert fire(replace(settings, connect=connect), path, hands) == 0
    assert len(tries) < 2 * (60 + LONG / 30), "it must not spin meanwhile"
    assert guests.state(uuid)[0] == RUNNING
    timer = read_timer(path)
    assert timer is not None
    assert (timer.fired, timer.error) == (True, None)


def test_a_second_thaw_does_not_call_the_first_one_early(guests: Guests, settings: HoldSettings) -> None:
    """The first was done and its answer got lost, so that the second finds nothing frozen."""
    uuid = guests.add("lin", agent=Inside())
    take(settings, uuid)
    guests.inside[uuid].thaws = ["lost"]
    guests.inside[uuid].status_fails = 1
    fire(settings, armed(settings))
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["fired"], row["consistency"]) == (True, "filesystem-consistent")


@pytest.mark.parametrize(
    ("row", "moment"),
    [
        ({"limit": None, "freeze_answered": 101.0}, 130.5),
        ({"limit": 8.0, "freeze_answered": 101.0}, 109.5),
        ({"limit": 8.0, "freeze_answered": 101.0, "freeze_sent": 100.2}, 109.5),
        ({"limit": 8.0, "freeze_answered": 125.0}, 130.5),
        ({"limit": 60.0, "freeze_answered": 101.0}, 130.5),
        # never answered, or not on record when it was sent
        ({"limit": 8.0, "phase": "holding", "freeze_sent": 103.0}, 111.5),
        ({"limit": 8.0, "phase": "holding"}, 108.5),
    ],
)
def test_when_a_guest_is_let_go(row: dict[str, Any], moment: float) -> None:
    timer = Timer("h1", "this-boot", "token", "process", URI, 30.0, 0.5, armed_at=100.0, fires_at=130.5)
    held = Row("lin", "1", "auto", **{"method": "agent", "phase": "held", **row})
    assert deadman_run.due_at(held, timer) == moment


@pytest.mark.parametrize(
    ("left", "guests", "at_once", "seconds"),
    [(21.0, 1, 16, 2), (7.9, 16, 16, 1), (8.0, 17, 16, 1), (8.0, 16, 16, 2), (3.9, 1, 16, 0), (0.0, 1, 16, 0)],
)
def test_what_is_released_ahead_does_not_delay_the_end(left: float, guests: int, at_once: int, seconds: int) -> None:
    assert deadman_run.answer_seconds(left, guests=guests, at_once=at_once) == seconds


def answered(settings: HoldSettings) -> float:
    """Return the moment at which the last freeze of the hold was answered."""
    record = HoldRecord(settings.directory, "h1", "this-boot")
    record.read()
    return max(row.freeze_answered or 0.0 for row in record.rows)


def test_a_guest_that_may_thaw_by_itself_is_let_go_before_the_others(guests: Guests, settings: HoldSettings) -> None:
    linux, unknown = guests.add("lin", agent=Inside()), guests.add("who", agent=Inside(mounts_fail=True))
    take(settings, linux, unknown)
    frozen = answered(settings)
    path = armed(settings, armed_at=frozen, fires_at=frozen + 30.5)
    hands = Hands(now=frozen)
    seen: list[tuple[float, bool, bool]] = []

    def nap(seconds: float) -> None:
        hands.sleep(seconds)
        seen.append((hands.now - frozen, guests.inside[unknown].frozen, guests.inside[linux].frozen))
        if hands.now > frozen + 20:
            path.unlink()

    assert deadman_run.watch(path, "token", Clock(lambda: hands.now, nap), settings) == 0
    assert [at for at, who, _lin in seen if who][-1] == pytest.approx(8.5)
    assert next(at for at, who, _lin in seen if not who) > 8.5
    assert all(lin for _at, _who, lin in seen)
    timer = read_timer(armed(settings))
    assert timer is not None
    assert timer.fired is False, "the hold goes on"
    told = release("h1", settings, check=False)
    rows = {row["name"]: row for row in told["guests"]}
    assert told["fired"] is True
    assert [(row["fired"], row["held"]) for row in (rows["who"], rows["lin"])] == [(True, False), (False, True)]
    hold = Hold.from_record(rows["who"])
    inside = Stamp("svm1:vol1", hold.freeze_answered, hold.thaw_sent)
    late = Stamp("svm1:vol2", hold.freeze_answered, (hold.thaw_sent or 0) + 0.1)
    assert [reached(hold, [inside]).level, reached(hold, [inside, late]).level] == [
        "filesystem-consistent",
        "inconsistent",
    ]


def test_whoever_works_on_the_hold_lets_go_of_such_a_guest_itself(guests: Guests, settings: HoldSettings) -> None:
    """Up to the deadline: its process is neither ended nor overtaken before."""
    uuid = guests.add("who", agent=Inside(mounts_fail=True))
    take(settings, uuid)
    frozen = answered(settings)
    path = armed(settings, armed_at=frozen, fires_at=frozen + 30.5)
    hands = Hands(now=frozen)

    def nap(seconds: float) -> None:
        hands.sleep(seconds)
        assert guests.inside[uuid].frozen
        if hands.now > frozen + 20:
            path.unlink()

    with locked(settings.directory, "h1"):
        assert deadman_run.watch(path, "token", Clock(lambda: hands.now, nap), settings) == 0
    assert guests.inside[uuid].frozen
    assert hands.naps < 30, "it must not spin meanwhile"


def test_a_freeze_whose_maker_died_counts_from_the_beginning(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("who", agent=Inside(mounts_fail=True))
    take(settings, uuid)
    record = HoldRecord(settings.directory, "h1", "this-boot")
    record.read()
    record.put(replace(record.rows[0], phase="holding", held=False, freeze_sent=None, freeze_answered=None))
    path = armed(settings, armed_at=100.0, fires_at=130.5)
    hands = Later(now=100.0, at=109.0, then=path.unlink)
    assert fire(settings, path, hands) == 0
    assert not guests.inside[uuid].frozen
    (row,) = release("h1", settings, check=False)["guests"]
    assert (row["fired"], row["held"], row["consistency"]) == (True, False, "crash-consistent")


def test_such_a_guest_whose_agent_hangs_is_tried_again(guests: Guests, settings: HoldSettings) -> None:
    """The moment of its first thaw counts: it may have had its effect."""
    uuid = guests.add("who", agent=Inside(mounts_fail=True))
    take(settings, uuid)
    guests.inside[uuid].thaws = ["silent"] * 3
    frozen = answered(settings)
    path = armed(settings, armed_at=frozen, fires_at=frozen + 30.5)
    before = time.monotonic()
    hands = Later(now=frozen, at=frozen + 14, then=path.unlink)
    assert fire(settings, path, hands) == 0
    assert not guests.inside[uuid].frozen
    (row,) = release("h1", settings, check=False)["guests"]
    assert row["fired"] is True
    assert before <= row["thaw_sent"] < row["thaw_answered"]


def test_it_says_what_failed_when_it_looked_for_such_a_guest_and_goes_on(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _level, message: said.append(message))
    take(settings, guests.add("who", agent=Inside(mounts_fail=True)))
    frozen = answered(settings)
    path = armed(settings, armed_at=frozen, fires_at=frozen + 30.5)

    def odd(*_what: Any, **_how: Any) -> Any:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(deadman_run, "expire", odd)
    hands = Later(now=frozen, at=frozen + 20, then=path.unlink)
    assert fire(settings, path, hands) == 0
    assert hands.now >= frozen + 20
    assert "nobody thought of this" in said[0]


def test_it_waits_for_a_release_that_is_under_way(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    path = armed(settings)
    done: list[int] = []
    with locked(settings.directory, "h1"):
        releasing(settings.directory / "h1.json", seconds=55)
        thread = threading.Thread(target=lambda: done.append(fire(settings, path)))
        thread.start()
        time.sleep(0.3)
        assert guests.state(uuid)[0] == PAUSED
        guests.domain(uuid).resume()
        HoldRecord(settings.directory, "h1", "this-boot").remove()
        path.unlink()
    thread.join(10)
    assert done == [0]


@pytest.mark.parametrize(("seconds", "ended"), [(0.0, True), (55.0, False)])
def test_a_release_has_the_time_that_it_says(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch, seconds: float, ended: bool
) -> None:
    monkeypatch.setattr(deadman_run, "_PATIENCE", 0.3)
    monkeypatch.setattr(deadman_run, "_LOCK_SECONDS", 0.3)
    ends: list[Process] = []
    monkeypatch.setattr(deadman_run, "end", lambda process, **_how: ends.append(process))
    take(settings, guests.add("sol"))
    path = armed(settings)
    thread = threading.Thread(target=fire, args=(settings, path))
    with locked(settings.directory, "h1", stage="releasing", seconds=seconds):
        thread.start()
        thread.join(2 if ended else 1)
        assert bool(ends) is ended
        path.unlink()
    thread.join(10)
    assert bool(ends) is ended


@pytest.mark.parametrize("stage", ["holding", "releasing"])
def test_it_ends_a_process_that_keeps_the_hold_past_its_end(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(deadman_run, "_PATIENCE", 0.3)
    uuid = guests.add("sol")
    take(settings, uuid)
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import locked\n"
        "with locked(Path(sys.argv[1]), 'h1', stage=sys.argv[2]):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(settings.directory), stage], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        process.send_signal(signal.SIGSTOP)
        holder = lock_holder(settings.directory, "h1")
        assert holder is not None
        assert (holder.process, holder.stage) == (Process(process.pid, started_at(process.pid) or 0), stage)
        assert fire(settings, armed(settings)) == 0
        assert process.wait(5) == -signal.SIGKILL
    assert guests.state(uuid)[0] == RUNNING
    assert lock_holder(settings.directory, "h1") is None


def test_a_new_run_that_has_the_lock_long_after_is_given_time(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the one that outlived its hold: the timer may be at work for days."""
    monkeypatch.setattr(deadman_run, "_LOCK_SECONDS", 0.0)
    ended: list[Process] = []
    monkeypatch.setattr(deadman_run, "end", lambda process, **_how: ended.append(process))
    uuid = guests.add("lin", agent=Inside())
    take(settings, uuid)
    path = armed(settings)
    timer = read_timer(path)
    assert timer is not None
    with locked(settings.directory, "h1"):
        thread = threading.Thread(target=lambda: deadman_run._outstanding(path, timer, settings, late=True))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        path.unlink()
    thread.join(10)
    assert ended == []
    assert guests.inside[uuid].frozen, "its file was gone when it had the lock"
