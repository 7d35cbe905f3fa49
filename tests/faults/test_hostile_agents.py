# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest in the wrong hands beside nine honest ones: nine backups, nobody held, timer and recovery work.

Each cell has one kind of hostile answer and one time at which it begins. The hostile guest has to live with what it
does to itself; its agent is good again at the end, and then it must be free, and nothing may be left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import libvirt
import pytest

from kvmground import Ground, Outcome
from kvmground.hostile import hostile, kinds
from kvmground.played import Played, Results
from kvmground.scene import HOLDS, held_on_record
from kvmground.stand_in import Manner
from kvmlab.errors import LabError
from kvmlab.process import wait_until

OPERATION = "hostile-agent"
AT_ONCE, ONCE_FROZEN, TIMER = "from the start", "once frozen", "timer"
PART = {
    (AT_ONCE, "5000 digits"),
    (AT_ONCE, "an error that draws"),
    (ONCE_FROZEN, "5000 digits"),
    (ONCE_FROZEN, "a byte a second"),
    (TIMER, "5000 digits"),
    (TIMER, "invalid UTF-8"),
}
"""The cells that stand for the others."""

BAD = "bad"
FROZEN = {"r1": "kvm_vol1", "r2": "kvm_vol2", "r3": "kvm_vol3", "r4": "kvm_vol4"}
STILL = {"s1": "kvm_vol1", "s2": "kvm_vol2", "s3": "kvm_vol3", "s4": "kvm_vol4"}
REAL = "real"
LEVELS = {
    **dict.fromkeys(FROZEN, "filesystem-consistent"),
    REAL: "filesystem-consistent",
    **dict.fromkeys(STILL, "crash-consistent"),
}
QUICK: dict[str, Any] = {"freeze_timeout": 2, "agent_ping_timeout": 2, "retry_count": 1}
HOLD_DEADLINE = 20
SHORT_DEADLINE = 3
SETTLED = 60


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each cell, or of those that stand for the others."""
    if "kind" not in metafunc.fixturenames:
        return
    short = metafunc.config.getoption("--representative")
    played = metafunc.config.getoption("--operation") in (None, OPERATION)
    cells = [(at, kind) for at in (AT_ONCE, ONCE_FROZEN, TIMER) for kind in kinds(once_frozen=at != AT_ONCE)]
    wanted = [
        pytest.param(at, kind, id=f"{at}: {kind}", marks=() if (at, kind) in PART else pytest.mark.long)
        for at, kind in cells
        if played and (not short or (at, kind) in PART)
    ]
    metafunc.parametrize(("at", "kind"), wanted)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host of its own with nine honest guests and the one in the wrong hands."""
    with Ground.beside("hostile") as found:
        guests = found.guests
        guests.in_parallel(
            [
                partial(guests.add_linux, REAL, "kvm_vol1"),
                partial(guests.add_relayed, BAD, "kvm_vol1"),
                *(partial(guests.add_relayed, name, volume) for name, volume in FROZEN.items()),
                *(partial(guests.add_still, name, volume) for name, volume in STILL.items()),
            ]
        )
        guests.agent(BAD).mounted = "ext4"
        yield found


def test_cell(ground: Ground, results: Results, at: str, kind: str) -> None:
    """Play one cell; the table has it in any case."""
    began = time.monotonic()
    name = "hostile_" + "".join(each if each.isalnum() else "-" for each in f"{at}-{kind}")
    try:
        complaints = [*(_at_the_timer if at == TIMER else _in_a_backup)(ground, name, kind, once_frozen=at != AT_ONCE)]
        complaints += _afterwards(ground)
    except Exception as exc:
        results.add(Played(OPERATION, at, kind, False, repr(exc), round(time.monotonic() - began, 1)))
        _amend(ground)
        raise
    detail = "; ".join(complaints) or "nine backups, nobody held"
    results.add(Played(OPERATION, at, kind, not complaints, detail, round(time.monotonic() - began, 1)))
    assert not complaints, detail


@pytest.mark.parametrize("once_frozen", [False, True])
def test_without_leave_to_go_on_it_fails_with_a_sentence(ground: Ground, once_frozen: bool) -> None:
    """And nobody is held afterwards."""
    hostile(ground.guests.agent(BAD), "5000 digits", once_frozen=once_frozen)
    outcome = _backed_up(ground, f"hostile_fail-{once_frozen}", on_failure="fail")
    assert outcome.failed
    assert [*_unfit(outcome)] == []
    assert f"guest {BAD}" in outcome.msg
    assert ground.guests.state(BAD).state == "running"
    assert [*_held_still(ground, SETTLED)] == []
    assert [*_afterwards(ground)] == []


def _in_a_backup(ground: Ground, name: str, kind: str, *, once_frozen: bool) -> Iterator[str]:
    """Make a backup of all ten; yield what is wrong with it."""
    hostile(ground.guests.agent(BAD), kind, once_frozen=once_frozen)
    outcome = _backed_up(ground, name)
    yield from _unfit(outcome)
    if outcome.failed and not outcome.msg.startswith(f"Backup {name} was made and can be restored from, but: "):
        yield f"there is no backup: {outcome.msg}"
    yield from _held_still(ground, HOLD_DEADLINE)
    yield from _not_saved(ground, name)
    yield from _stopped_by_it(ground, f"{name}n")


def _at_the_timer(ground: Ground, name: str, kind: str, *, once_frozen: bool) -> Iterator[str]:
    """Hold all ten, and let go of none: the process is gone. One of the honest refuses its first thaws."""
    hostile(ground.guests.agent(BAD), kind, once_frozen=once_frozen)
    ground.guests.agent("r1").behave("thaw", Manner(error="not now", effect=False, count=2))
    guests = [{"name": each} for each in (BAD, *LEVELS)]
    outcome = ground.module(
        "kvm_vm_quiesce",
        state="quiesced",
        hold_id=name,
        guests=guests,
        on_failure="continue",
        hold_deadline=SHORT_DEADLINE,
        **QUICK,
    )
    yield from _unfit(outcome)
    if outcome.failed:
        yield f"nobody was held: {outcome.msg}"
    yield from _held_still(ground, SHORT_DEADLINE + SETTLED)
    if not ground.guests.agent("r1").last("thaw"):
        yield "r1 was never told to thaw"
    # Until the timer has ended its try it has their locks, and a backup would leave them out.
    try:
        honest_free = "the record of the honest"
        wait_until(lambda: {*held_on_record(ground)} <= {BAD}, seconds=SETTLED, what=honest_free, pause=0.2)
    except LabError:
        yield f"{', '.join(held_on_record(ground))} on record still"
    yield from _stopped_by_it(ground, f"{name}n")


def _stopped_by_it(ground: Ground, name: str) -> Iterator[str]:
    """Make the next night's backup and recover while the agent is hostile; yield what they cannot do for the rest."""
    outcome = _backed_up(ground, name)
    yield from _unfit(outcome)
    if outcome.failed and " was made and can be restored from, but: " not in outcome.msg:
        yield f"there is no next backup: {outcome.msg}"
    yield from _held_still(ground, HOLD_DEADLINE)
    yield from _not_saved(ground, name)
    recovered = ground.module("kvm_leftovers", owner="hv1", grace_period=0)
    yield from _unfit(recovered)
    left = recovered.result.get("leftovers")
    if left is None:
        yield f"recovery looked at nothing: {recovered.msg}"
    wrong = [each for each in left or () if each["error"] and BAD not in each["error"]]
    if wrong:
        yield f"recovery could not put right {wrong}"


def _afterwards(ground: Ground) -> Iterator[str]:
    """Let the hostile agent be a good one; it must become free by what is there to free it, and nothing be left."""
    _amend(ground, thawed=False)
    try:
        wait_until(lambda: not held_on_record(ground), seconds=SETTLED, what="the timers' last try", pause=0.2)
    except LabError:
        yield f"{', '.join(held_on_record(ground))} on record still"
    recovered = ground.module("kvm_leftovers", owner="hv1", grace_period=0)
    if recovered.failed:
        yield f"recovery failed: {recovered.msg}"
    if ground.guests.agent(BAD).frozen:
        yield f"{BAD} is frozen still"
    again = ground.module("kvm_leftovers", owner="hv1", grace_period=0)
    if again.failed or again["changed"]:
        yield f"a second recovery found {again.result.get('summary')}"
    for path in ground.seen(HOLDS).rglob("*.json"):
        yield f"{path.name} of a hold is left"


def _amend(ground: Ground, *, thawed: bool = True) -> None:
    """Make all agents good ones; libvirt, which talks no more to one that spoke no JSON, is restarted if need be."""
    agent = ground.guests.agent(BAD)
    if thawed:
        agent.recover()
    agent.forgive()
    for name in FROZEN:
        ground.guests.agent(name).forgive()
    # It may have to end an answer first that comes byte by byte.
    deadline = time.monotonic() + 20
    while not _answers(ground):
        if time.monotonic() > deadline:
            raise LabError(f"the agent of {BAD} does not come back")
        ground.restart_libvirtd(kill=True)
    if not agent.frozen:
        agent.recover()


def _answers(ground: Ground) -> bool:
    try:
        return bool(ground.guests.ask(BAD, "guest-fsfreeze-status") in ("frozen", "thawed"))
    except libvirt.libvirtError:
        return False


def _backed_up(ground: Ground, name: str, *, on_failure: str = "continue") -> Outcome:
    return ground.module(
        "kvm_vm_backup",
        backup_id=name,
        owner="hv1",
        policy="daily",
        on_failure=on_failure,
        hold_deadline=HOLD_DEADLINE,
        concurrency_timeout=2,
        **QUICK,
        **ground.discovered(),
    )


def _unfit(outcome: Outcome) -> Iterator[str]:
    """Yield what no module may end with: no result, a traceback, characters that draw on a terminal."""
    if not outcome.result or "Traceback" in outcome.msg:
        yield f"{outcome.name} ended with a traceback: {outcome.stderr[-300:]}"
    drawn = [each for each in _texts(outcome.result) if not each.replace("\n", "").isprintable()]
    if drawn:
        yield f"{outcome.name} shows {drawn[0][:80]!r}"
    long = [each for each in _texts({**outcome.result, "diff": None}) if len(each) > 20_000]
    if long:
        yield f"{outcome.name} tells {len(long[0])} characters: {long[0][:80]!r}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _held_still(ground: Ground, seconds: float) -> Iterator[str]:
    """Yield the honest guests that are held, and are still after so many seconds."""
    try:
        wait_until(lambda: not _held(ground), seconds=seconds, what="everybody free", pause=0.1)
    except LabError:
        yield f"{', '.join(_held(ground))} held after {seconds} s"


def _held(ground: Ground) -> list[str]:
    paused = [name for name in LEVELS if ground.guests.state(name).state != "running"]
    return [*paused, *(name for name in FROZEN if ground.guests.agent(name).frozen), *_frozen_inside(ground)]


def _frozen_inside(ground: Ground) -> list[str]:
    try:
        return [REAL] if ground.guests.frozen(REAL) else []
    except libvirt.libvirtError as exc:
        return [f"{REAL} ({exc})"]


def _not_saved(ground: Ground, name: str) -> Iterator[str]:
    """Yield who is not in the backup's manifest as it should be, and which snapshot is not on the array."""
    path = ground.seen(ground.catalog) / "backups" / name / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"phase": "missing"}
    if manifest["phase"] != "complete":
        yield f"the manifest of {name} is {manifest['phase']}"
        return
    levels: dict[str, str] = {guest["name"]: guest["consistency"]["level"] for guest in manifest["guests"]}
    for guest, level in LEVELS.items():
        if levels.get(guest) != level:
            yield f"in {name} {guest} is {levels.get(guest)}"
    lacking = [volume for volume, names in ground.snapshots().items() if name not in names]
    if lacking or len(ground.snapshots()) != len(ground.volume_names):
        yield f"there is no snapshot {name} on {', '.join(lacking) or 'all volumes'}"
