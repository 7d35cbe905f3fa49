# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hold does to one guest: freeze or suspend it, thaw or resume it, and say in its row what became of it.

A freeze is never repeated without a thaw and a status query in between, since a frozen agent refuses it and a failed
freeze may have frozen something.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Optional, Protocol

from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import CRASH, INCONSISTENT
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import HoldRecord, Row
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    OPERATION_INVALID,
    Domain,
    DomainState,
    LibvirtError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import started_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import Worker
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

# libvirt's reasons of a guest whose run, with what was done to it, goes on: elsewhere, in a file, or here once more.
_RUN_LEFT = ("migrated", "saved", "unknown")
_RUN_RETURNED = ("migrating", "migrated", "restored", "post-copy", "post-copy failed")

ATTENTION = 5.0
"""Seconds that libvirt waits for an agent's attention before each command."""
VSS_SECONDS = 10.0
"""Seconds after which VSS in a Windows guest thaws by itself, whoever asked for the freeze."""

# libvirt has one code for whatever an agent answers instead of a number, so this is known by qemu-ga's words only.
_NOT_RUN = re.compile(r"guest-fsfreeze-freeze(-list)? has been disabled")

_FIRST_PAUSE = 0.2
"""Seconds before the second try to freeze or thaw a guest, doubled for each further one: a busy agent is done soon."""
_LONGEST_PAUSE = 2.0
"""The longest such pause: a guest that cannot be released stands still, and is not left so for longer than that."""


class Bounds(Protocol):
    """How often something is tried and how long it may take; times are in seconds."""

    @property
    def retry_count(self) -> int:
        """How often it is tried again."""

    @property
    def freeze_timeout(self) -> int:
        """How long an agent may take to freeze or to thaw."""

    @property
    def ping_timeout(self) -> int:
        """How long an agent may take to answer a question."""

    @property
    def clock(self) -> Clock:
        """How time passes between two tries."""


def same_run(row: Row, state: DomainState) -> bool:
    """Say whether the run of the guest that was held may go on, here, on another host or in a saved memory image.

    After a restart libvirt's daemon may give the number of a guest that is gone to another run.
    """
    process_ended = row.qemu_pid is not None and started_at(row.qemu_pid) != row.qemu_started
    if state.domain_id == row.domain_id and not process_ended:
        return True
    return state.reason in (_RUN_RETURNED if state.active else _RUN_LEFT)


def done_to(row: Row) -> str:
    """Return the word for what the hold did to a guest."""
    return {"agent": "frozen", "agent+suspend": "frozen and paused"}.get(row.method, "paused")


def paused(state: DomainState) -> bool:
    """Say whether a guest is paused as a suspend leaves it (libvirt may forget by whom when it is restarted)."""
    return state.state == "paused" and state.reason in ("user", "unknown")


def freeze(
    domain: Domain, row: Row, record: HoldRecord, bounds: Bounds, *, stop: threading.Event, deadline: Deadline
) -> Row:
    """Freeze by the agent; again only after a thaw that is confirmed, and only while its time lasts.

    A guest whose freeze is not answered, or whose thaw is not confirmed at once, stays ``holding`` and is thawed when
    the hold ends: others wait for nobody who is silent. One whose freeze was never begun is not thawed.
    """
    own = Deadline.after(min(bounds.freeze_timeout, deadline.remaining()))
    error, useless = "", False
    for attempt in range(bounds.retry_count + 1):
        if bounds.clock.wait(stop, pause(attempt)) or deadline.remaining() <= 0:
            return unheld(row, error or "given up, since another guest could not be held in time")
        domain.agent.limit(_whole(bounds.freeze_timeout, deadline))
        row = _sent(row, record)
        try:
            count = domain.agent.freeze(row.mountpoints)
        except LibvirtError as exc:
            error = exc.message
            untouched = _untouched(domain, row, exc, bounds)
            if untouched or exc.unanswered:
                return untouched or unheld(row, error)
        else:
            if count > 0:
                return _frozen(row, count)
            error, useless = f"Failed to freeze guest {row.name}: the agent froze no file system", True
        thawed = thaw(domain, bounds, tries=1, seconds=_whole(bounds.freeze_timeout, deadline))
        if thawed.error:
            return unheld(row, f"{error}; {thawed.error}")
        row = replace(row, phase="planned")
        record.note(row)
        if useless or own.remaining() <= 0:
            break
    return unheld(row, error)


def _untouched(domain: Domain, row: Row, exc: LibvirtError, bounds: Bounds) -> Optional[Row]:
    """Return the row of a guest whose freeze was never begun, None when it may have been.

    libvirt sends nothing to the agent of a guest that does not run. qemu-ga refuses to freeze where its administrator
    switched that off, and while the guest is frozen: by somebody else, since nothing of ours is left unthawed here.
    """
    row = replace(row, phase="planned")
    if exc.code == OPERATION_INVALID:
        state = domain.state()
        return left_alone(row, state) if state.active and state.state != "running" else None
    if not _NOT_RUN.search(exc.message):
        return None
    try:
        frozen = domain.agent.status(bounds.ping_timeout) == "frozen"
    except LibvirtError as silent:
        return unheld(row, f"{exc.message}; {silent.message}")
    return (
        _left_to_others(row, "someone else froze it meanwhile; it is left as it is")
        if frozen
        else unheld(row, exc.message)
    )


def _frozen(row: Row, count: int) -> Row:
    """Return the row of a guest whose agent froze so many file systems."""
    row = replace(row, phase="held", held=True, filesystems=count, freeze_answered=time.monotonic())
    if row.expected is not None and count < row.expected:
        why = f"the agent froze {count} of {row.expected} file systems"
        consistency = row.consistency if row.consistency == INCONSISTENT else CRASH
        return replace(row, consistency=consistency, reason="; ".join(filter(None, (row.reason, why))))
    return row


def _whole(seconds: int, deadline: Deadline) -> int:
    """Return the seconds that an agent may take now, when libvirt waits for its attention first."""
    return max(1, min(seconds, int(deadline.remaining() - ATTENTION)))


def freeze_and_suspend(
    domain: Domain, row: Row, record: HoldRecord, bounds: Bounds, *, stop: threading.Event, deadline: Deadline
) -> Row:
    """Freeze, then suspend, so that what no freeze holds stands still too."""
    frozen = freeze(domain, row, record, bounds, stop=stop, deadline=deadline)
    if not frozen.held:
        return frozen
    record.put(frozen)
    error = ""
    try:
        domain.suspend()
    except LibvirtError as exc:
        error = exc.message
    state = domain.state()
    if paused(state) and state.domain_id == row.domain_id:
        return replace(frozen, freeze_answered=time.monotonic())
    error = error or f"Failed to suspend guest {row.name}: it is {state.state} ({state.reason})"
    return unheld(frozen, error)


def suspend(
    domain: Domain, row: Row, record: HoldRecord, bounds: Bounds, *, stop: threading.Event, deadline: Deadline
) -> Row:
    """Suspend a running guest; one that is paused afterwards is held, whatever the call said."""
    error = ""
    for attempt in range(bounds.retry_count + 1):
        if bounds.clock.wait(stop, pause(attempt)) or deadline.remaining() <= 0:
            return unheld(row, error or "given up, since another guest could not be held")
        row = _sent(row, record)
        try:
            domain.suspend()
        except LibvirtError as exc:
            error = exc.message
        state = domain.state()
        if state.state == "paused" and state.domain_id == row.domain_id:
            return replace(row, phase="held", held=True, freeze_answered=time.monotonic())
        error = error or f"Failed to suspend guest {row.name}: it is {state.state} ({state.reason})"
        row = replace(row, phase="planned")
        record.note(row)
    return unheld(row, error)


def left_alone(row: Row, state: DomainState) -> Row:
    """Return the row of a guest that does not run, as others left it since it was looked at; it stays as it is."""
    return _left_to_others(row, f"it was {state.state} meanwhile ({state.reason}), and is left so")


def _left_to_others(row: Row, why: str) -> Row:
    """Return the row of a guest that others hold; that is no failure unless a freeze was asked for."""
    unfrozen = unheld(row, why)
    return unfrozen if row.requested_method in ("agent", "agent+suspend") else replace(unfrozen, error=None)


def about_to(row: Row) -> Row:
    """Return the row of a guest that is about to be held; written down first, it can be undone whatever happens."""
    return replace(row, phase="holding")


def _sent(row: Row, record: HoldRecord) -> Row:
    """Write down that the guest is about to be held, if that is not on record already."""
    row = replace(about_to(row), freeze_sent=time.monotonic(), wall_frozen=_now())
    known = record.row(row.uuid)
    if known is not None and known.phase == "holding":
        record.note(row)
    else:
        record.put(row)
    return row


def unheld(row: Row, error: str) -> Row:
    """Return the row of a guest that is not held: what its disks hold is what a crash would leave."""
    consistency = row.consistency if row.consistency == INCONSISTENT else CRASH
    method = row.method if row.outstanding else "none"
    return replace(row, method=method, held=False, consistency=consistency, reason=error, error=error)


def let_go_of(worker: Worker, row: Row, record: HoldRecord, bounds: Bounds) -> Row:
    """Thaw or resume a guest if it is still the same running one; one whose connection broke can be tried again."""
    seen = worker.seen(row.uuid)
    if seen is None:
        return _astray(row, "libvirt does not know it any more", record)
    domain, state = seen
    if not same_run(row, state):
        return _lost(row, "it was started anew" if state.active else f"it is off ({state.reason})")
    if not state.active:
        return _astray(row, f"it is off ({state.reason})", record)
    if not row.by_agent:
        return _resumed(domain, row, state)
    first = row.thaw_sent is None
    if row.method == "agent+suspend":
        row, state = _running_again(domain, row, state)
    return _thawed(domain, row, bounds, state, first=first)


def proof_of_freedom(worker: Worker, row: Row, bounds: Bounds) -> Optional[str]:
    """Return why a guest that a hold names is certainly not held any more, None when nothing proves it.

    A frozen guest runs for libvirt: only its agent's word, or another process than that of then, is proof. Nothing is
    done to it. Raises :class:`LibvirtError`.
    """
    seen = worker.seen(row.uuid)
    if seen is None:
        return None
    domain, state = seen
    if not same_run(row, state):
        return "it was started anew since" if state.active else f"it was ended since ({state.reason})"
    if state.state != "running":
        return None
    if not row.by_agent:
        return "it runs"
    return "its agent says that it is thawed" if domain.agent.status(bounds.ping_timeout) == "thawed" else None


def _running_again(domain: Domain, row: Row, state: DomainState) -> tuple[Row, DomainState]:
    """Resume a guest that was frozen and suspended, so that its agent can thaw it; raises :class:`LibvirtError`."""
    if paused(state):
        row = replace(row, thaw_sent=row.thaw_sent or time.monotonic())
        domain.resume()
        return row, domain.state()
    if row.phase == "held" and row.thaw_sent is None and state.state == "running":
        return broken(row, "it was resumed before the hold ended"), state
    return row, state


@dataclass(frozen=True)
class Thawed:
    """How thawing went; ``early`` when there was nothing left to thaw."""

    sent: float
    answered: Optional[float]
    early: bool = False
    error: Optional[str] = None


def thaw(domain: Domain, bounds: Bounds, *, tries: Optional[int] = None, seconds: Optional[int] = None) -> Thawed:
    """Thaw until the agent's status says thawed, or the attempts end; ``seconds`` bound each."""
    sent = time.monotonic()
    domain.agent.limit(seconds or bounds.freeze_timeout)
    answered: Optional[float] = None
    early: Optional[bool] = None
    error = ""
    for attempt in range(tries or bounds.retry_count + 1):
        bounds.clock.sleep(pause(attempt))
        try:
            count = domain.agent.thaw()
            answered = answered or time.monotonic()
            early = early if early is not None else count == 0
        except LibvirtError as exc:
            error = exc.message
            early = not exc.unanswered if early is None else early
        try:
            if domain.agent.status(bounds.ping_timeout) == "thawed":
                return Thawed(sent, answered or time.monotonic(), early=bool(early))
            error = error or f"Failed to thaw guest {domain.name}: the agent still says frozen"
        except LibvirtError as exc:
            error = exc.message
    return Thawed(sent, None, error=error)


def _thawed(domain: Domain, row: Row, bounds: Bounds, state: DomainState, *, first: bool) -> Row:
    """Thaw a guest; ``first``: nothing was sent to release it before, so it must be frozen still."""
    if state.state != "running":
        was = "it was" if row.held else "it may be"
        why = f"{was} frozen and is {state.state} ({state.reason}) now; it can be thawed once it runs"
        return replace(row, error=f"Failed to thaw guest {row.name}: {why}")
    went = thaw(domain, bounds, tries=1)
    if went.error:
        return replace(row, thaw_sent=row.thaw_sent or went.sent, error=went.error)
    done = _let_go(row, went.sent, went.answered)
    if row.phase != "held":
        return done
    if row.vss and row.freeze_answered is not None and went.sent - row.freeze_answered >= VSS_SECONDS:
        return broken(done, f"VSS thawed it by itself {VSS_SECONDS:g} s after the freeze")
    if went.early and first:
        return broken(done, "it was thawed before the hold ended")
    return done


def _resumed(domain: Domain, row: Row, state: DomainState) -> Row:
    """Resume a guest that is as ``state`` says, if it stands as this hold left it."""
    sent = time.monotonic()
    if state.state == "running":
        done = _let_go(row, sent, time.monotonic())
        early = row.phase == "held" and row.thaw_sent is None
        return broken(done, "it was resumed before the hold ended") if early else done
    if not paused(state):
        error = f"Failed to resume guest {row.name}: it is {state.state} ({state.reason}), which this hold did not do"
        return replace(row, thaw_sent=row.thaw_sent or sent, error=error)
    try:
        domain.resume()
    except LibvirtError as exc:
        return replace(row, thaw_sent=row.thaw_sent or sent, error=exc.message)
    return _let_go(row, sent, time.monotonic())


def _let_go(row: Row, sent: float, answered: Optional[float]) -> Row:
    held = answered - row.freeze_sent if row.held and answered is not None and row.freeze_sent is not None else None
    return replace(
        row,
        phase="released",
        thaw_sent=row.thaw_sent or sent,
        thaw_answered=answered,
        held_seconds=None if held is None else round(held, 6),
        wall_thawed=_now(),
        error=None if row.held else row.error,
    )


def _astray(row: Row, why: str, record: HoldRecord) -> Row:
    """Return the row of a guest whose run may go on where it cannot be reached from here: it stays outstanding."""
    undo = {"agent": "thaw", "agent+suspend": "resume and thaw"}.get(row.method, "resume")
    where = f"it may still be {done_to(row)} on the host it moved to, or in its saved memory"
    then = f"{undo} it there, then remove {record.path} if nothing else is held by it"
    return replace(row, error=f"Failed to {undo} guest {row.name}: {why}; {where}: {then}")


def _lost(row: Row, why: str) -> Row:
    """Return the row of a guest whose run ended: nothing of this hold is left in it."""
    return broken(replace(row, phase="released", error=None), f"the guest that was held is gone: {why}")


def broken(row: Row, why: str) -> Row:
    """Return the row of a guest that was not held until the hold ended."""
    consistency = row.consistency if row.consistency == INCONSISTENT else CRASH
    return replace(row, held=False, consistency=consistency, reason="; ".join(filter(None, (row.reason, why))))


def pause(attempt: int) -> float:
    """Return the seconds to wait before an attempt, counted from 0."""
    return 0.0 if attempt == 0 else min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
