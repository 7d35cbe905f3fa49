# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead-man timer: what it does when its moment comes, how it is armed and disarmed, and whom it makes way for."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import syslog
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import libvirt
import pytest
from virt import URI, FakeAgent, Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import Hold, Stamp, reached
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import deadman, deadman_run
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
    TimerError,
    known_timer,
    read_timer,
    write_timer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import processes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import LibvirtError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import Process, own_process, started_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

RUNNING, PAUSED = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED
SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


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


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the test."""
    with subprocess.Popen(SLEEPER) as process:
        yield process
        process.kill()


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


# When its moment comes


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

    settings = replace(settings, guard=guard(settings))
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


# Guests whose own time is over before


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


# One at a time


def test_it_waits_for_a_release_that_is_under_way(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    path = armed(settings)
    done: list[int] = []
    with locked(settings.directory, "h1"):
        releasing(settings.directory / "h1.json")
        thread = threading.Thread(target=lambda: done.append(fire(settings, path)))
        thread.start()
        time.sleep(0.3)
        assert guests.state(uuid)[0] == PAUSED
        guests.domain(uuid).resume()
        HoldRecord(settings.directory, "h1", "this-boot").remove()
        path.unlink()
    thread.join(10)
    assert done == [0]


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


def test_a_lock_whose_owner_has_not_said_who_it_is(settings: HoldSettings) -> None:
    settings.directory.mkdir(mode=0o700)
    with (settings.directory / "h1.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        holder = lock_holder(settings.directory, "h1")
        assert holder is not None
        assert (holder.process, holder.stage) == (None, "holding")
    assert lock_holder(settings.directory, "h1") is None
    assert lock_holder(settings.directory, "h2") is None


def test_only_the_owner_of_the_lock_says_that_it_releases(settings: HoldSettings) -> None:
    with locked(settings.directory, "h1"):
        path = settings.directory / "h1.lock"
        own = path.read_text(encoding="ascii")
        path.write_text(json.dumps({"pid": 1, "started": 0, "stage": "holding"}), encoding="ascii")
        releasing(settings.directory / "h1.json")
        assert json.loads(path.read_text(encoding="ascii"))["stage"] == "holding"
        path.write_text(own, encoding="ascii")
        releasing(settings.directory / "h1.json")
        assert json.loads(path.read_text(encoding="ascii"))["stage"] == "releasing"
        assert json.loads(own)["pid"] == own_process().pid


# Arming


@pytest.fixture
def record(settings: HoldSettings) -> Path:
    """The record of a hold that holds nothing."""
    settings.directory.mkdir(mode=0o700)
    return settings.directory / "h1.json"


def guard(settings: HoldSettings, **more: Any) -> DeadMan:
    return DeadMan(URI, boot=settings.boot, **{"systemd": Path("/nonexistent"), **more})


def test_a_process_of_its_own(settings: HoldSettings, record: Path) -> None:
    guard(settings).arm(record)
    timer = read_timer(record.with_suffix(".timer"))
    assert timer is not None
    assert timer.process is not None
    try:
        assert timer.fires_at - timer.armed_at == pytest.approx(30.5)
        assert timer.armed_at <= time.monotonic()
        assert deadman.watches(timer)
        assert os.getsid(timer.process.pid) != os.getsid(0)
        links = {os.readlink(f"/proc/{timer.process.pid}/fd/{number}") for number in range(3)}
        assert links == {"/dev/null"}
        assert os.readlink(f"/proc/{timer.process.pid}/cwd") == "/"
        (program,) = (settings.directory / "timer").iterdir()
        assert stat.S_IMODE(program.stat().st_mode) == 0o600
        assert stat.S_IMODE(program.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(record.with_suffix(".timer").stat().st_mode) == 0o600
        guard(settings, deadline=99.0).arm(record)
        assert read_timer(record.with_suffix(".timer")) == timer, "holding again does not prolong the hold"
    finally:
        guard(settings).disarm(record)
    assert not timer.process.running
    assert not record.with_suffix(".timer").exists()
    guard(settings).disarm(record)


def test_a_process_that_was_killed_is_replaced(settings: HoldSettings, record: Path) -> None:
    guard(settings).arm(record)
    first = read_timer(record.with_suffix(".timer"))
    assert first is not None
    assert first.process is not None
    assert processes.end(first.process, number=signal.SIGKILL)
    guard(settings).arm(record)
    second = read_timer(record.with_suffix(".timer"))
    assert second is not None
    assert second.token != first.token
    assert deadman.watches(second)
    guard(settings).disarm(record)
    assert not deadman.watches(second)


def test_the_armed_process_fires(guests: Guests, settings: HoldSettings) -> None:
    """In a process of its own the test driver has guests of its own, of which the record knows none."""
    uuid = guests.add("sol")
    settings = replace(settings, guard=guard(settings, deadline=1.0, margin=0.0))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    Path(settings.boot).write_text(boot, encoding="ascii")
    held = take(settings, uuid)
    assert held["timer"]["kind"] == "process"
    path = settings.directory / "h1.timer"
    end = time.monotonic() + 10
    while not (timer := read_timer(path)) or not timer.error:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert 1.0 <= (timer.fired_at or 0) - timer.armed_at < 2.0
    assert "libvirt does not know it any more" in (timer.error or "")
    assert release("h1", settings, check=False)["fired"] is True
    assert not deadman.watches(timer)


SYSTEMD_RUN = """#!{python}
import json, sys
open({log!r}, "a").write(json.dumps(sys.argv[1:]) + chr(10))
{then}
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of systemd that write down what they are asked; the file ``systemd-run`` can be replaced."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemd-run", "systemctl"):
        (programs / name).write_text(
            SYSTEMD_RUN.format(python=sys.executable, log=str(tmp_path / f"{name}.log"), then="print('active')"),
            encoding="ascii",
        )
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return programs


def asked(tmp_path: Path, name: str) -> list[list[str]]:
    log = tmp_path / f"{name}.log"
    return [json.loads(line) for line in log.read_text(encoding="ascii").splitlines()] if log.exists() else []


def test_a_transient_unit_where_systemd_runs(
    settings: HoldSettings, record: Path, systemd: Path, tmp_path: Path
) -> None:
    guard(settings, systemd=tmp_path).arm(record)
    timer = read_timer(record.with_suffix(".timer"))
    assert timer is not None
    (command,) = asked(tmp_path, "systemd-run")
    unit = deadman.unit_name(record)
    assert unit.startswith("kvmsnap-hold-h1-")
    assert (timer.kind, timer.unit, timer.pid) == ("systemd", unit, None)
    assert f"--unit={unit}" in command
    assert {"--timer-property=AccuracySec=100ms", "--timer-property=RemainAfterElapse=no", "--collect"} <= {*command}
    assert "--on-active=15500ms" in command, "it starts before its moment, and waits for that itself"
    program = command[command.index("--") + 1 :]
    assert program[0] == sys.executable
    assert program[2:] == ["watch", str(record.with_suffix(".timer")), timer.token]
    assert Path(program[1]).is_file()
    assert deadman.watches(timer)
    guard(settings, systemd=tmp_path).disarm(record)
    assert asked(tmp_path, "systemctl")[-1] == ["stop", f"{unit}.timer", f"{unit}.service"]


def test_a_unit_starts_in_time_for_the_guest_that_is_let_go_first(
    guests: Guests, settings: HoldSettings, systemd: Path, tmp_path: Path
) -> None:
    settings = replace(settings, guard=guard(settings, systemd=tmp_path, deadline=60.0), vss_deadline=20.0)
    take(settings, guests.add("lin", agent=Inside()), guests.add("who", agent=Inside(mounts_fail=True)))
    (command,) = asked(tmp_path, "systemd-run")
    assert "--on-active=5500ms" in command
    release("h1", settings, check=False)


def test_a_process_where_systemd_refuses(settings: HoldSettings, record: Path, systemd: Path, tmp_path: Path) -> None:
    (systemd / "systemd-run").write_text("#!/bin/sh\necho no bus >&2; exit 1\n", encoding="ascii")
    guard(settings, systemd=tmp_path).arm(record)
    timer = read_timer(record.with_suffix(".timer"))
    assert timer is not None
    assert timer.kind == "process"
    assert "systemd-run ended with 1: no bus" in (timer.remark or "")
    guard(settings).disarm(record)


def test_nothing_is_left_when_it_cannot_be_armed(
    settings: HoldSettings, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TimerError, match="Failed to arm the dead-man timer: false ended with 1"):
        guard(settings).arm(record)
    assert not record.with_suffix(".timer").exists()
    assert list((settings.directory / "timer").iterdir()) == []


def test_units_of_different_directories_and_strange_names_do_not_meet(tmp_path: Path) -> None:
    names = {
        deadman.unit_name(tmp_path / place / f"{name}.json") for place in "ab" for name in ("h+1", "h_1", "x" * 200)
    }
    assert len(names) == 6
    assert all(len(name) < 200 and not set(name) & set("+ /") for name in names)


def test_the_program_is_the_same_every_time_and_needs_nothing_else(tmp_path: Path) -> None:
    first = deadman.program()
    assert deadman.program() == first
    path = tmp_path / "program.pyz"
    path.write_bytes(first)
    alone = [sys.executable, "-I", str(path), "try"]
    assert subprocess.run(alone, cwd="/", env={}, timeout=60, check=False).returncode == 0
    with zipfile.ZipFile(path, "a") as brought:
        for name, text in deadman._sources(deadman.__name__):
            inside = f"{name.replace('.', '/')}.py"
            if inside not in brought.namelist():
                brought.writestr(inside, text)
    again = (
        f"import sys; sys.path.insert(0, {str(path)!r})\n"
        "from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import deadman\n"
        "sys.stdout.buffer.write(deadman.program())"
    )
    packed = [sys.executable, "-I", "-c", again]
    made = subprocess.run(packed, cwd="/", env={}, timeout=60, check=True, capture_output=True).stdout
    assert made == first, "Ansible brings modules in an archive, too"


@pytest.mark.parametrize("content", ["{", '{"schema": "other"}', '{"schema": "kvmsnap.timer/1"}'])
def test_an_unreadable_timer_is_told_and_does_not_keep_a_hold(
    guests: Guests, settings: HoldSettings, content: str
) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    path = settings.directory / "h1.timer"
    path.write_text(content, encoding="ascii")
    with pytest.raises(TimerError):
        read_timer(path)
    told = release("h1", replace(settings, guard=guard(settings)), check=False)
    assert (told["fired"], told["timer"]) == (False, None)
    assert guests.state(uuid)[0] == RUNNING
    assert not path.exists()


# Processes


def test_a_process_is_known_by_its_start(sleeper: subprocess.Popen[bytes]) -> None:
    started = started_at(sleeper.pid)
    assert started is not None
    process = Process(sleeper.pid, started)
    assert process.running
    assert processes.end(Process(sleeper.pid, started - 1)), "that one is gone"
    assert process.running
    assert processes.end(process)
    assert sleeper.wait(5) == -signal.SIGTERM
    assert started_at(sleeper.pid) is None


def test_a_process_that_ignores_the_signal() -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not processes.end(Process(process.pid, started_at(process.pid) or 0), timeout=0.1)
        process.kill()


def test_qemu_is_found_by_the_uuid_of_its_guest(tmp_path: Path) -> None:
    uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"
    stats = "42 (qemu (x) system) S " + " ".join(str(number) for number in range(4, 53))
    for pid, arguments in (("42", f"qemu\0-uuid\0{uuid.upper()}\0-x"), ("43", "sh\0-uuid"), ("44", "")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_text(arguments, encoding="ascii")
        (tmp_path / pid / "stat").write_text(stats, encoding="ascii")
    (tmp_path / "45").mkdir()
    (tmp_path / "version").write_text("", encoding="ascii")
    assert processes.qemu_processes(tmp_path) == {uuid: Process(42, 22)}


def test_a_uuid_that_two_qemus_have_tells_neither(tmp_path: Path) -> None:
    """The release of a hold would take another's end for that of its guest, and leave the guest held."""
    stats = "42 (qemu) S " + " ".join(str(number) for number in range(4, 53))
    for pid, name in (("42", "one"), ("43", "twin"), ("44", "twin")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_text(f"qemu\0-uuid\0{name}\0-x", encoding="ascii")
        (tmp_path / pid / "stat").write_text(stats, encoding="ascii")
    assert processes.qemu_processes(tmp_path) == {"one": Process(42, 22)}
