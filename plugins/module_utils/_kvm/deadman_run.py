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
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect, require_libvirt
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.hold import Ground, expire
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.hold_record import (
    Row,
    lock_holder,
    locked,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import end, started_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.timer_record import (
    Timer,
    TimerError,
    read_timer,
    write_timer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

THAW_TIMEOUT = 5
PING_TIMEOUT = 2
"""Seconds for one answer of an agent: a silent one occupies libvirt's workers, and it is asked again anyway."""

_LONGEST_NAP = 1.0
_FIRST_PAUSE = 0.25
_URGENT = 60.0
_URGENT_PAUSE = 2.0
_LONGEST_PAUSE = 30.0
_LOCK_SECONDS = 10.0
_PATIENCE = 60.0
_LOOK_AGAIN = 0.1
_END_SECONDS = 0.3


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


def watch(path: Path, token: str, clock: Optional[Clock] = None, ground: Optional[Ground] = None) -> int:
    """Wait for the moment that the timer's file names, then release what is held until nothing is.

    It ends without a word as soon as the timer's file is gone or tells of another arming, and with the hold's record.
    """
    clock = clock or Clock()
    timer: Optional[Timer] = None
    while True:
        timer = _armed(path, token, otherwise=timer)
        if timer is None:
            return 0
        ground, left = ground or _ground(timer, path), timer.fires_at - clock.monotonic()
        if left <= 0:
            break
        clock.sleep(min(left, _LONGEST_NAP))
    urgent, pause = Deadline.after(_URGENT, clock), _FIRST_PAUSE
    while _outstanding(path, timer, ground, late=urgent.remaining() <= 0):
        clock.sleep(pause)
        pause = min(pause * 2, _URGENT_PAUSE if urgent.remaining() > 0 else _LONGEST_PAUSE)
    return 0


def _outstanding(path: Path, known: Timer, ground: Ground, *, late: bool) -> bool:
    """Release once what is held, and say whether something is held still; nothing that fails ends the watch."""
    record = path.with_suffix(".json")
    try:
        with _alone(ground.directory, record.stem, late=late):
            timer = _armed(path, known.token, otherwise=known)
            if timer is None:
                return False
            rows = fire(timer, path, ground)
    except (KvmsnapError, OSError, RuntimeError) as exc:
        _log(f"hold {record.stem}: {exc}")
        return True
    return any(row.outstanding for row in rows)


def fire(timer: Timer, path: Path, ground: Ground) -> list[Row]:
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
    before, rows = expire(timer.hold_id, ground, begin)
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

    One that lets go of them is given time, and so is any that has the lock ``late``: it is another run by now. One that
    has been killed does nothing more, even where the kernel keeps it, and its lock, in a call that hangs.
    """
    holder = lock_holder(directory, hold_id)
    patience = Deadline.after(_PATIENCE)
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
    try:
        timer = read_timer(path)
    except TimerError as exc:
        _log(exc.message)
        return otherwise
    return timer if timer is not None and timer.token == token else None


def _ground(timer: Timer, path: Path) -> Ground:
    return Ground(
        directory=path.parent,
        connect=lambda: connect(timer.uri, retry_count=0),
        retry_count=0,
        freeze_timeout=THAW_TIMEOUT,
        ping_timeout=PING_TIMEOUT,
        at_once=at_once(),
    )


def _log(message: str) -> None:
    syslog.openlog("kvmsnap")
    syslog.syslog(syslog.LOG_WARNING, message)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
