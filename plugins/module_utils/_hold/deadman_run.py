# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the dead-man timer does while it waits, and when its moment has come. It runs as a program of its own.

``try`` finds out whether it could; ``start TIMER TOKEN`` leaves a process behind that does ``watch TIMER TOKEN``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import syslog
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import expire
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecordError,
    Row,
    lock_holder,
    locked,
    read_rows,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import (
    Timer,
    TimerError,
    read_timer,
    write_timer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect, require_libvirt
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id, end, started_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import visible

THAW_TIMEOUT = 5
PING_TIMEOUT = 2
"""Seconds for one answer of an agent: a silent one occupies libvirt's workers, and it is asked again anyway."""

AHEAD_TIMEOUT = 2
"""The same while others are held on, also for a thaw: the hold's lock is had meanwhile, which their release needs."""

_ANSWERS = 4
"""How many times an agent is waited for in one release: to thaw and to ask, each after libvirt got its attention."""
_LONGEST_NAP = 1.0
"""Seconds after which the files are looked at again, to see in time that the timer was disarmed or a limit came in."""
_FIRST_PAUSE = 0.25
"""Seconds before the second try to release guests, doubled for each further one: what hinders it is often over soon."""
_URGENT = 60.0
"""Seconds for which it tries often; a guest that cannot be released in them is one that somebody has to look after."""
_URGENT_PAUSE = 2.0
"""The longest pause until then: guests stand still meanwhile."""
_LONGEST_PAUSE = 30.0
"""The longest pause after that: each try occupies libvirt's workers, which the guests that are well need, too."""
_LOCK_SECONDS = 10.0
"""Seconds to wait for the hold's lock: who has it lets go of guests itself, or has just been ended by force."""
_PATIENCE = 60.0
"""Seconds that a process which lets go of the guests has for that, before it counts as hung and is ended."""
_LONGEST_PATIENCE = 600.0
"""The most that such a process gets when it says that it needs more: the others may stand still meanwhile."""
_LOOK_AGAIN = 0.1
"""Seconds between two looks at who has the lock; a look reads one small file."""
_END_SECONDS = 0.3
"""Seconds that the kernel has to end a killed process; one that it cannot end does nothing more to the guests."""


def main(arguments: Sequence[str]) -> int:
    """Run the program; its result is the exit code."""
    command, *rest = arguments
    require_libvirt()
    if command == "try":
        return 0
    path, token = Path(rest[0]), rest[1]
    if command == "start":
        return _start(path, token)
    return _watch_warmed(path, token)


def _watch_warmed(path: Path, token: str) -> int:
    """Watch, with libvirt loaded and found before the moment comes: on a slow host that takes most of a second."""
    threading.Thread(target=_find_libvirt, args=(path, token), daemon=True).start()
    return watch(path, token)


def _find_libvirt(path: Path, token: str) -> None:
    timer = _armed(path, token)
    if timer is not None:
        with suppress(KvmsnapError):
            connect(timer.uri, retry_count=0).close()


def _start(path: Path, token: str) -> int:
    """Leave a process behind that watches, and print what it is known by."""
    child = os.fork()
    if child:
        sys.stdout.write(json.dumps({"pid": child, "started": started_at(child)}))
        return 0
    os.chdir("/")
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        os.dup2(nothing, stream.fileno())
    return _watch_warmed(path, token)


def watch(path: Path, token: str, clock: Optional[Clock] = None, settings: Optional[HoldSettings] = None) -> int:
    """Wait for the moments that the timer's file and the hold's record name; release what is held until nothing is.

    It ends without a word as soon as the timer's file is gone or tells of another arming, and with the hold's record;
    nothing that fails ends it.
    """
    clock = clock or Clock()
    timer = known = _until_read(path, token, clock)
    while timer is not None:
        known, settings = timer, settings or _ground(timer, path)
        if clock.monotonic() >= timer.fires_at:
            break
        ahead = outcome_of(partial(_look_ahead, path, timer, settings, clock), what=f"watch over hold {timer.hold_id}")
        if isinstance(ahead, KvmsnapError):
            _log(ahead.message)
            ahead = _LONGEST_NAP
        clock.sleep(min(ahead, _LONGEST_NAP))
        timer = _armed(path, token, otherwise=timer)
    if timer is None or known is None or settings is None:
        return 0
    urgent, pause = Deadline.after(_URGENT, clock), _FIRST_PAUSE
    while _outstanding(path, known, settings, late=urgent.remaining() <= 0):
        clock.sleep(pause)
        pause = min(pause * 2, _URGENT_PAUSE if urgent.remaining() > 0 else _LONGEST_PAUSE)
    return 0


def _until_read(path: Path, token: str, clock: Clock) -> Optional[Timer]:
    """Return the timer of this arming as soon as its file can be read, None when there is none or it is another's."""
    while True:
        timer = outcome_of(lambda: read_timer(path), what=f"read the dead-man timer {path}")
        if not isinstance(timer, KvmsnapError):
            return timer if timer is not None and timer.token == token else None
        _log(timer.message)
        clock.sleep(_LONGEST_NAP)


def _look_ahead(path: Path, timer: Timer, settings: HoldSettings, clock: Clock) -> float:
    """Let go of the guests whose own time is over, and return the seconds until there is something to do."""
    now = clock.monotonic()
    moments = [due_at(row, timer) for row in _held(path, settings)]
    if any(at <= now for at in moments):
        _release_ahead(path, timer, settings, clock)
        now = clock.monotonic()
    return min((at - now for at in (*moments, timer.fires_at) if at > now), default=0.0)


def due_at(row: Row, timer: Timer) -> float:
    """Return the moment at which the timer lets go of a guest: of one with a limit of its own before the others. Pure.

    The limit counts from when the guest was frozen; from when it may have been, where its freeze was never answered.
    """
    if row.limit is None:
        return timer.fires_at
    since = next(at for at in (row.freeze_answered, row.freeze_sent, timer.armed_at) if at is not None)
    return min(timer.fires_at, since + row.limit + timer.margin)


def answer_seconds(seconds: float, *, guests: int, at_once: int) -> int:
    """Return how long each answer of an agent may take, so that so many guests are tried within ``seconds``. Pure.

    Zero: they are released with the others. To thaw and to ask takes two answers, and libvirt waits for an agent's
    attention before each.
    """
    waves = -(-guests // at_once)
    return min(AHEAD_TIMEOUT, int(seconds / (waves * _ANSWERS)))


def _held(path: Path, settings: HoldSettings) -> list[Row]:
    """Return the guests that the hold's record names and that are not let go; none while it cannot be read."""
    with suppress(KvmsnapError, OSError):
        rows = read_rows(path.with_suffix(".json"), boot_id(settings.boot)) or []
        return [row for row in rows if row.outstanding]
    return []


def _release_ahead(path: Path, known: Timer, settings: HoldSettings, clock: Clock) -> None:
    """Let go once of the guests whose own time is over, while the others are held on.

    A process that works on the hold sees to them itself. What fails is tried again, at the hold's end at the latest,
    which nothing here may delay.
    """

    def over(row: Row) -> bool:
        return due_at(row, known) <= clock.monotonic()

    count = sum(map(over, _held(path, settings)))
    seconds = answer_seconds(known.fires_at - clock.monotonic(), guests=count, at_once=settings.at_once)
    if seconds == 0:
        return
    quick = replace(settings, freeze_timeout=seconds, ping_timeout=seconds)
    with suppress(HoldRecordError):
        with locked(settings.directory, known.hold_id, stage="releasing", timeout=0):
            if _armed(path, known.token) is None:
                return
            before, rows = expire(known.hold_id, quick, lambda: None, over=over)
        free = [row.uuid for row in rows if not row.outstanding]
        names = ", ".join(row.name for row in before if row.uuid in free)
        if names:
            _log(f"hold {known.hold_id}: released before the others, which may be held for longer: {names}")


def _outstanding(path: Path, known: Timer, settings: HoldSettings, *, late: bool) -> bool:
    """Release once what is held, and say whether something is held still; nothing that fails ends the watch."""
    record = path.with_suffix(".json")

    def release() -> bool:
        with _alone(settings.directory, record.stem, late=late):
            timer = _armed(path, known.token, otherwise=known)
            return timer is not None and any(row.outstanding for row in fire(timer, path, settings))

    held = outcome_of(release, what=f"release hold {record.stem}")
    if isinstance(held, KvmsnapError):
        _log(f"hold {record.stem}: {held.message}")
        return True
    return held


def fire(timer: Timer, path: Path, settings: HoldSettings) -> list[Row]:
    """Release what the hold's record names and write down that it was the timer; the hold's lock must be had.

    Where that cannot be written down, as on a full file system, the guests are released all the same.
    """

    def begin() -> None:
        nonlocal timer
        if not timer.fired:
            timer = replace(timer, fired_at=time.monotonic(), wall_fired=_now())
            with suppress(TimerError):
                write_timer(path, timer)

    known = timer.error
    before, rows = expire(timer.hold_id, settings, begin)
    if before:
        stuck = [row for row in rows if row.outstanding]
        error = "; ".join(str(row.error) for row in stuck) or None
        with suppress(TimerError):
            write_timer(path, replace(timer, error=error))
        names = ", ".join(row.name for row in before if row.uuid not in [other.uuid for other in stuck])
        if not names and error == known:
            return rows
        _log(f"hold {timer.hold_id} outlived its deadline of {timer.deadline:g} s; released: {names or 'none'}")
        for row in stuck:
            _log(f"hold {timer.hold_id}: {row.error}")
    return rows


def _alone(directory: Path, hold_id: str, *, late: bool) -> AbstractContextManager[None]:
    """Take the hold's lock; a process that keeps it past the hold's end without letting go of the guests is ended.

    One that lets go of them is given time, as much as it said that it may need, and so is any that has the lock
    ``late``: it is another run by now. One that has been killed does nothing more, even where the kernel keeps it, and
    its lock, in a call that hangs.
    """
    holder = lock_holder(directory, hold_id)
    asked = 0.0 if holder is None else min(holder.seconds + _LOCK_SECONDS, _LONGEST_PATIENCE)
    patience = Deadline.after(max(_PATIENCE, asked))
    while holder is not None and (late or holder.stage == "releasing") and patience.remaining() > 0:
        patience.clock.sleep(_LOOK_AGAIN)
        holder = lock_holder(directory, hold_id)
    if holder is not None and holder.process is not None:
        _log(f"hold {hold_id}: ending process {holder.process.pid}, which keeps the hold past its deadline")
        if not end(holder.process, number=signal.SIGKILL, timeout=_END_SECONDS):
            return nullcontext()
    return locked(directory, hold_id, stage="releasing", timeout=_LOCK_SECONDS)


def _armed(path: Path, token: str, *, otherwise: Optional[Timer] = None) -> Optional[Timer]:
    """Return the timer of this arming, None when it was disarmed, ``otherwise`` when that cannot be read now."""
    timer = outcome_of(lambda: read_timer(path), what=f"read the dead-man timer {path}")
    if isinstance(timer, KvmsnapError):
        _log(timer.message)
        return otherwise
    return timer if timer is not None and timer.token == token else None


def _ground(timer: Timer, path: Path) -> HoldSettings:
    return HoldSettings(
        directory=path.parent,
        connect=lambda: connect(timer.uri, retry_count=0),
        retry_count=0,
        freeze_timeout=THAW_TIMEOUT,
        ping_timeout=PING_TIMEOUT,
        at_once=at_once(),
    )


def _log(message: str) -> None:
    """Write to the system's log, whatever a guest has put into the text."""
    syslog.openlog("kvmsnap")
    syslog.syslog(syslog.LOG_WARNING, visible(message))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
