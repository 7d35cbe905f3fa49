# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold guests still while snapshots are taken, and let go of exactly those that were held.

Freezing stops at the first failure and is undone; thawing never stops. A freeze is never repeated without a thaw and a
status query in between, since a frozen agent refuses it and a failed freeze may have frozen something.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, Optional, Protocol

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.consistency import (
    APPLICATION,
    CRASH,
    FILESYSTEM,
    INCONSISTENT,
    OFFLINE,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    AGENT_UNRESPONSIVE,
    Domain,
    DomainState,
    FreezeStatus,
    Host,
    LibvirtError,
    connect,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.crew import Crew, Lane
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import AgentState, GuestXml, parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.hold_record import (
    BOOT_ID,
    HoldRecord,
    HoldRecordError,
    Row,
    boot_id,
    locked,
    other_holds,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

Asked = Literal["auto", "agent", "suspend", "none"]
Method = Literal["agent", "suspend", "none"]

# libvirt's reasons of a guest whose run, with what was done to it, goes on: elsewhere, in a file, or here once more.
_RUN_LEFT = ("migrated", "saved", "unknown")
_RUN_RETURNED = ("migrating", "migrated", "restored", "post-copy", "post-copy failed")

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 2.0


class HoldError(KvmsnapError):
    """Guests could not be held, or not be released; ``guests`` tells of each."""


class Guard(Protocol):
    """Who watches over a hold that its process may not live to end; armed before the first guest is held."""

    def arm(self, record: Path) -> None:
        """Begin to watch over the hold with this record; when it raises, nothing is held."""

    def disarm(self, record: Path) -> None:
        """End the watch, if there is one: no guest of the hold is held any more."""


class NoGuard:
    """Nobody watches."""

    def arm(self, record: Path) -> None:
        """Begin nothing."""

    def disarm(self, record: Path) -> None:
        """End nothing."""


@dataclass(frozen=True)
class Wanted:
    """A guest to hold; ``disks`` are the targets that the backup holds, None for all."""

    name: str
    uuid: str
    asked: Asked
    disks: Optional[tuple[str, ...]] = None

    @classmethod
    def from_option(cls, option: Mapping[str, Any]) -> Wanted:
        """Read one entry of the ``guests`` option; raises :class:`InputError`."""
        name, uuid = str(option.get("name") or "").strip(), str(option.get("uuid") or "").strip().lower()
        if not name and not uuid:
            raise InputError("A guest to hold needs a uuid or a name")
        disks = option.get("disks")
        return cls(name, uuid, option.get("method") or "auto", None if disks is None else tuple(disks))

    @property
    def label(self) -> str:
        """How to call it."""
        return self.name or self.uuid


@dataclass(frozen=True)
class Seen:
    """What a guest was like just before the hold. ``holder`` is another hold that has not released it."""

    name: str
    uuid: str
    state: DomainState
    definition: GuestXml
    agent: AgentState = "none"
    status: Optional[FreezeStatus] = None
    agent_error: Optional[str] = None
    holder: Optional[str] = None


@dataclass(frozen=True)
class Step:
    """What is to be done with a guest, what that gives, and why it is not more; ``error``: what was asked cannot be."""

    method: Method
    consistency: str
    reason: str = ""
    error: Optional[str] = None


@dataclass(frozen=True)
class Ground:
    """Where and how a hold is made; times are in seconds."""

    directory: Path
    connect: Callable[[], Host]
    retry_count: int = 3
    freeze_timeout: int = 20
    ping_timeout: int = 5
    boot: str = BOOT_ID
    guard: Guard = field(default_factory=NoGuard)


def quiesce(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_quiesce`` ``state: quiesced``; ``options`` are the module's.

    Raises :class:`InputError`, :class:`LibvirtError`, and :class:`HoldError` when a guest was not held: then none is.
    """
    wanted = [Wanted.from_option(option) for option in options["guests"] or ()]
    ground = ground_of(options)
    return hold(wanted, options["hold_id"], ground, check=check, go_on=options["on_failure"] == "continue")


def resume(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_quiesce`` ``state: resumed``; raises as :func:`release` does."""
    return release(options["hold_id"], ground_of(options), check=check)


def ground_of(options: Mapping[str, Any]) -> Ground:
    """Return the ground that the module's options describe; raises :class:`InputError`."""
    for name, least in (("retry_count", 0), ("freeze_timeout", 1), ("agent_ping_timeout", 1)):
        if options[name] < least:
            raise InputError(f"{name} is {options[name]}; it must be at least {least}")
    uri, retry_count = options["uri"], options["retry_count"]
    return Ground(
        directory=Path(options["hold_dir"]),
        connect=lambda: connect(uri, retry_count=retry_count),
        retry_count=retry_count,
        freeze_timeout=options["freeze_timeout"],
        ping_timeout=options["agent_ping_timeout"],
    )


def hold(wanted: Sequence[Wanted], hold_id: str, ground: Ground, *, check: bool, go_on: bool) -> dict[str, Any]:
    """Hold all guests at once; each guest that this hold already holds is left as it is.

    With ``go_on`` a guest that cannot be held as asked is reported and left; otherwise everything is undone and
    :class:`HoldError` raised. A guest that someone else froze or paused is reported and left in any case. A guest that
    an earlier run of this hold may still hold, in a way that cannot be taken over, is a :class:`HoldError` always.
    """
    if not wanted:
        raise InputError("The list of guests is empty; name at least one guest to hold")
    boot = boot_id(ground.boot)
    with _alone(ground, hold_id, check), Crew(ground.connect, size=len(wanted)) as crew:
        record = HoldRecord(ground.directory, hold_id, boot)
        record.read()
        holders = other_holds(ground.directory, hold_id, boot)
        seen = _look_at_all(crew, wanted, lambda lane, want: _look(lane, want, ground, record, holders, act=not check))
        unproved = [row for row in (_unproved(guest, record) for guest in seen) if row]
        if unproved:
            raise _not_held(unproved, unproved, "nothing was held")
        rows = [_planned(guest, want, record, go_on=go_on) for guest, want in zip(seen, wanted)]
        refused = [row for row in rows if row.error and not go_on]
        if refused:
            raise _not_held(refused, rows, "nothing was held")
        todo = [row for row in rows if row.method != "none" and not row.held]
        if check or not (todo or any(record.row(row.uuid) != row for row in rows)):
            return _result(hold_id, rows, changed=bool(todo))
        return _result(hold_id, _hold_all(crew, rows, record, ground, go_on=go_on), changed=bool(todo))


def release(hold_id: str, ground: Ground, *, check: bool) -> dict[str, Any]:
    """Thaw and resume exactly what the hold's record names, all at once, and forget the hold.

    An unknown hold is no change. Raises :class:`HoldError` when a guest could not be released; then the record stays,
    and another call tries again.
    """
    with _alone(ground, hold_id, check):
        record = HoldRecord(ground.directory, hold_id, boot_id(ground.boot))
        record.read()
        rows = record.rows
        changed = any(row.outstanding for row in rows)
        if check:
            return _result(hold_id, rows, changed=changed)
        with Crew(ground.connect, size=len(rows)) as crew:
            return _result(hold_id, _release_all(crew, record, ground), changed=changed)


def decide(asked: Asked, seen: Seen, disks: Optional[Sequence[str]] = None) -> Step:
    """Decide how a guest is held; pure. What cannot be had is an ``error``, what is not had by default a ``reason``."""
    if not seen.state.active:
        return _inactive(seen.state)
    unsafe = [target for target in seen.definition.unsafe_cache if disks is None or target in disks]
    step = _active(asked, seen)
    if unsafe:
        why = f"disk {', '.join(unsafe)} has cache='unsafe', which ignores the guest's flushes"
        return replace(step, consistency=INCONSISTENT, reason="; ".join(filter(None, (step.reason, why))))
    return step


def _inactive(state: DomainState) -> Step:
    if (state.state, state.reason) == ("shutoff", "shutdown"):
        return Step("none", OFFLINE, "shut off")
    why = "libvirt does not know how" if state.reason == "unknown" else state.reason
    return Step("none", CRASH, f"off, but not known to be cleanly shut down ({why})")


def _active(asked: Asked, seen: Seen) -> Step:
    if asked == "none":
        return Step("none", CRASH, "not to be held")
    if seen.holder is not None:
        left = f"it is held by another hold, {seen.holder}"
        return Step("none", CRASH, left, error=f"{left}; release that one first (state=resumed, hold_id={seen.holder})")
    if seen.state.state != "running":
        left = f"it was {seen.state.state} ({seen.state.reason}) before and is left as it is"
        return Step("none", CRASH, left, error=f"{left}, so it cannot be frozen" if asked == "agent" else None)
    if asked == "suspend":
        return Step("suspend", CRASH, "suspended as asked")
    return _by_agent(asked, seen)


def _by_agent(asked: Asked, seen: Seen) -> Step:
    if seen.agent != "connected":
        why = "it has no guest agent" if seen.agent == "none" else "no agent is connected to its agent channel"
        if asked == "agent":
            return Step("none", CRASH, why, error=f"{why}, so it cannot be frozen")
        return Step("suspend", CRASH, f"suspended: {why}")
    if seen.agent_error is not None:
        return Step("none", CRASH, seen.agent_error, error=seen.agent_error)
    if seen.status == "frozen":
        left = "someone else froze it before; it is left as it is"
        return Step("none", CRASH, left, error=left if asked == "agent" else None)
    windows = seen.definition.os == "windows"
    return Step("agent", APPLICATION if windows else FILESYSTEM)


def _alone(ground: Ground, hold_id: str, check: bool) -> AbstractContextManager[None]:
    """Keep others away from the hold; a check changes nothing, so it needs no lock."""
    return nullcontext() if check else locked(ground.directory, hold_id)


def _look_at_all(crew: Crew, wanted: Sequence[Wanted], look: Callable[[Lane, Wanted], Optional[Seen]]) -> list[Seen]:
    found = crew.each(wanted, look)
    unknown = [want.label for want, guest in zip(wanted, found) if guest is None]
    if unknown:
        raise InputError(f"Libvirt does not know the guest {', '.join(unknown)}; nothing was held", guests=unknown)
    seen = [guest for guest in found if guest is not None]
    twice = sorted({guest.name for guest in seen if [other.uuid for other in seen].count(guest.uuid) > 1})
    if twice:
        raise InputError(f"The guest {', '.join(twice)} is named twice; nothing was held", guests=twice)
    return seen


def _look(
    lane: Lane,
    want: Wanted,
    ground: Ground,
    record: HoldRecord,
    holders: Mapping[str, tuple[str, Row]],
    *,
    act: bool,
) -> Optional[Seen]:
    domain = lane.domain(want.uuid, want.name)
    if domain is None:
        return None
    state = domain.state()
    holder, row = holders.get(domain.uuid, (None, None))
    if row is not None and row.domain_id != state.domain_id:
        holder = None
    definition = parse_guest(domain.xml())
    agent = domain.agent.channel(definition)
    seen = Seen(domain.name, domain.uuid, state, definition, agent, holder=holder)
    before = record.row(seen.uuid)
    frozen = before is not None and before.outstanding and before.method == "agent"
    by_agent = (want.asked in ("auto", "agent") or frozen) and agent == "connected"
    if not by_agent or holder or state.state != "running":
        return seen
    try:
        domain.agent.ping(ground.ping_timeout)
        status = domain.agent.status(ground.ping_timeout)
        if status == "frozen" and _left_by_us(before, seen):
            error = _thaw(domain, ground).error if act else None
            return replace(seen, status="thawed", agent_error=error)
        return replace(seen, status=status)
    except LibvirtError as exc:
        return replace(seen, agent_error=exc.message)


def _left_by_us(row: Optional[Row], seen: Seen) -> bool:
    """Say whether a run of this hold that broke off may have held the guest without knowing it."""
    return row is not None and row.phase == "holding" and row.domain_id == seen.state.domain_id


def _taken_over(before: Optional[Row], seen: Seen) -> Optional[Row]:
    """Return the row of a guest that an earlier run of this hold holds still, as it is now."""
    if before is None or _still_held(before, seen):
        return before
    if before.method == "suspend" and _left_by_us(before, seen) and _paused(seen.state):
        return replace(before, phase="held", held=True, freeze_answered=time.monotonic(), error=None)
    return None


def _unproved(seen: Seen, record: HoldRecord) -> Optional[Row]:
    """Return the row of a guest that an earlier run of this hold may have left held; replacing it would forget that."""
    before = record.row(seen.uuid)
    if before is None or not before.outstanding or _taken_over(before, seen) or not _same_run(before, seen.state):
        return None
    if before.method == "agent":
        released = seen.status == "thawed" and seen.agent_error is None
    else:
        released = seen.state.state == "running"
    if released:
        return None
    why = seen.agent_error or f"it is {seen.state.state} ({seen.state.reason}), its agent {seen.agent}"
    remedy = f"run kvm_vm_quiesce with state=resumed and hold_id={record.hold_id} first"
    left = f"an earlier run of the hold {record.hold_id} may have left it {_done_to(before)} ({why})"
    return replace(before, error=f"{left}; {remedy}")


def _same_run(row: Row, state: DomainState) -> bool:
    """Say whether the run of the guest that was held may go on, here, on another host or in a saved memory image."""
    if state.domain_id == row.domain_id:
        return True
    return state.reason in (_RUN_RETURNED if state.active else _RUN_LEFT)


def _done_to(row: Row) -> str:
    return "frozen" if row.method == "agent" else "paused"


def _planned(seen: Seen, want: Wanted, record: HoldRecord, *, go_on: bool) -> Row:
    ours = _taken_over(record.row(seen.uuid), seen)
    if ours is not None:
        return ours
    step = decide(want.asked, seen, want.disks)
    reason = step.error if step.error and go_on else step.reason
    return Row(
        name=seen.name,
        uuid=seen.uuid,
        asked=want.asked,
        method=step.method,
        domain_id=seen.state.domain_id,
        state_before=seen.state.state,
        consistency=step.consistency,
        reason=reason,
        error=step.error,
    )


def _still_held(row: Row, seen: Seen) -> bool:
    if row.phase != "held" or row.domain_id != seen.state.domain_id:
        return False
    return seen.status == "frozen" if row.method == "agent" else _paused(seen.state)


def _paused(state: DomainState) -> bool:
    """Say whether a guest is paused as a suspend leaves it (libvirt may forget by whom when it is restarted)."""
    return state.state == "paused" and state.reason in ("user", "unknown")


def _hold_all(crew: Crew, rows: Sequence[Row], record: HoldRecord, ground: Ground, *, go_on: bool) -> list[Row]:
    todo = {row.uuid for row in rows if row.method != "none" and not row.held}
    record.put(*rows)
    stop = threading.Event()
    try:
        if todo:
            ground.guard.arm(record.path)
        done = crew.each(rows, lambda lane, row: _hold_one(lane, row, record, ground, stop, go_on=go_on))
    except BaseException:
        _release_all(crew, record, ground)
        raise
    broken = [row for row in done if row.error and row.uuid in todo]
    if broken and not go_on:
        _undo(crew, record, ground, broken, done)
    return done


def _undo(crew: Crew, record: HoldRecord, ground: Ground, broken: Sequence[Row], done: Sequence[Row]) -> None:
    try:
        released = _release_all(crew, record, ground)
    except HoldError as exc:
        message = f"{_not_held(broken, done, 'the hold was to be undone').message}; {exc.message}"
        raise HoldError(message, guests=exc.fields["guests"]) from exc
    errors = {row.uuid: row.error for row in done}
    rows = [replace(row, error=errors.get(row.uuid)) for row in released]
    raise _not_held(broken, rows, "the hold was undone")


def _hold_one(lane: Lane, row: Row, record: HoldRecord, ground: Ground, stop: threading.Event, *, go_on: bool) -> Row:
    if row.method == "none" or row.held:
        return row
    work = _freeze if row.method == "agent" else _suspend
    try:
        domain = lane.domain(row.uuid)
        if domain is None:
            raise HoldError(f"Failed to hold guest {row.name}: libvirt does not know it any more")
        done = work(domain, row, record, ground, stop)
    except (LibvirtError, HoldError, HoldRecordError) as exc:
        done = _unheld(record.row(row.uuid) or row, exc.message)
    if done.error and not go_on:
        stop.set()
    record.put(done)
    return done


def _freeze(domain: Domain, row: Row, record: HoldRecord, ground: Ground, stop: threading.Event) -> Row:
    """Freeze by the agent; again only after a thaw that is confirmed, and only while its time lasts."""
    deadline = Deadline.after(ground.freeze_timeout)
    domain.agent.limit(ground.freeze_timeout)
    error, useless = "", False
    for attempt in range(ground.retry_count + 1):
        if stop.wait(_pause(attempt)):
            return _unheld(row, error or "given up, since another guest could not be held")
        row = _sent(row, record)
        try:
            count = domain.agent.freeze()
        except LibvirtError as exc:
            error = exc.message
        else:
            if count > 0:
                return replace(row, phase="held", held=True, filesystems=count, freeze_answered=time.monotonic())
            error, useless = f"Failed to freeze guest {row.name}: the agent froze no file system", True
        thawed = _thaw(domain, ground)
        if thawed.error:
            return _unheld(row, f"{error}; {thawed.error}")
        row = replace(row, phase="planned")
        if useless or deadline.remaining() <= 0:
            break
    return _unheld(row, error)


def _suspend(domain: Domain, row: Row, record: HoldRecord, ground: Ground, stop: threading.Event) -> Row:
    """Suspend; a guest that is paused afterwards is held, whatever the call said."""
    error = ""
    for attempt in range(ground.retry_count + 1):
        if stop.wait(_pause(attempt)):
            return _unheld(row, error or "given up, since another guest could not be held")
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
    return _unheld(row, error)


def _sent(row: Row, record: HoldRecord) -> Row:
    """Write down that the guest is about to be held, so that it can be undone whatever happens next."""
    row = replace(row, phase="holding", freeze_sent=time.monotonic(), wall_frozen=_now())
    record.put(row)
    return row


def _unheld(row: Row, error: str) -> Row:
    """Return the row of a guest that is not held: what its disks hold is what a crash would leave."""
    consistency = row.consistency if row.consistency == INCONSISTENT else CRASH
    method = row.method if row.outstanding else "none"
    return replace(row, method=method, held=False, consistency=consistency, reason=error, error=error)


def _release_all(crew: Crew, record: HoldRecord, ground: Ground) -> list[Row]:
    rows = crew.each(record.rows, lambda lane, row: _release_one(lane, row, record, ground))
    stuck = [row for row in rows if row.outstanding]
    if stuck:
        said = "; ".join(str(row.error) for row in stuck)
        raise HoldError(
            f"Failed to release {_names(stuck)}: {said}. The hold {record.hold_id} is kept; resume it again",
            guests=[row.as_dict() for row in rows],
        )
    record.remove()
    ground.guard.disarm(record.path)
    return rows


def _release_one(lane: Lane, row: Row, record: HoldRecord, ground: Ground) -> Row:
    if not row.outstanding:
        return _looked_at_again(lane, row)
    done = row
    for attempt in range(ground.retry_count + 1):
        time.sleep(_pause(attempt))
        try:
            done = _let_go_of(lane, replace(row, thaw_sent=done.thaw_sent), record, ground)
        except LibvirtError as exc:
            done = replace(row, thaw_sent=done.thaw_sent, error=exc.message)
        if not done.outstanding or lane.alive:
            break
    try:
        record.put(done)
    except HoldRecordError as exc:
        return replace(done, error="; ".join(filter(None, (done.error, exc.message))))
    return done


def _looked_at_again(lane: Lane, row: Row) -> Row:
    """Return the row of a guest that was not held; one that was off and was started meanwhile wrote to its disks."""
    if row.consistency != OFFLINE:
        return row
    try:
        domain = lane.domain(row.uuid)
        started = domain is not None and domain.state().active
    except LibvirtError as exc:
        return _broken(row, f"whether it was started during the hold is not known: {exc.message}")
    return _broken(row, "it was started during the hold") if started else row


def _let_go_of(lane: Lane, row: Row, record: HoldRecord, ground: Ground) -> Row:
    """Thaw or resume a guest if it is still the same running one; one whose connection broke can be tried again."""
    domain = lane.domain(row.uuid)
    if domain is None:
        return _astray(row, "libvirt does not know it any more", record)
    state = domain.state()
    if not _same_run(row, state):
        return _lost(row, "it was started anew" if state.active else f"it is off ({state.reason})")
    if not state.active:
        return _astray(row, f"it is off ({state.reason})", record)
    return _thawed(domain, row, ground, state) if row.method == "agent" else _resumed(domain, row, ground)


@dataclass(frozen=True)
class _Thaw:
    """How thawing went; ``early`` when there was nothing left to thaw."""

    sent: float
    answered: Optional[float]
    early: bool = False
    error: Optional[str] = None


def _thaw(domain: Domain, ground: Ground) -> _Thaw:
    """Thaw until the agent's status says thawed, or the attempts end."""
    sent = time.monotonic()
    domain.agent.limit(ground.freeze_timeout)
    answered: Optional[float] = None
    early: Optional[bool] = None
    error = ""
    for attempt in range(ground.retry_count + 1):
        time.sleep(_pause(attempt))
        try:
            count = domain.agent.thaw()
            answered = answered or time.monotonic()
            early = early if early is not None else count == 0
        except LibvirtError as exc:
            error = exc.message
            early = exc.code != AGENT_UNRESPONSIVE if early is None else early
        try:
            if domain.agent.status(ground.ping_timeout) == "thawed":
                return _Thaw(sent, answered or time.monotonic(), early=bool(early))
            error = error or f"Failed to thaw guest {domain.name}: the agent still says frozen"
        except LibvirtError as exc:
            error = exc.message
    return _Thaw(sent, None, error=error)


def _thawed(domain: Domain, row: Row, ground: Ground, state: DomainState) -> Row:
    if state.state != "running":
        why = f"it was frozen and is {state.state} ({state.reason}) now; it can be thawed once it runs"
        return replace(row, error=f"Failed to thaw guest {row.name}: {why}")
    thaw = _thaw(domain, ground)
    if thaw.error:
        return replace(row, thaw_sent=row.thaw_sent or thaw.sent, error=thaw.error)
    done = _let_go(row, thaw.sent, thaw.answered)
    if thaw.early and row.phase == "held":
        return _broken(done, "it was thawed before the hold ended")
    return done


def _resumed(domain: Domain, row: Row, ground: Ground) -> Row:
    sent = time.monotonic()
    error = ""
    for attempt in range(ground.retry_count + 1):
        time.sleep(_pause(attempt))
        state = domain.state()
        if state.state == "running":
            done = _let_go(row, sent, time.monotonic())
            early = attempt == 0 and row.phase == "held"
            return _broken(done, "it was resumed before the hold ended") if early else done
        if not _paused(state):
            error = (
                f"Failed to resume guest {row.name}: it is {state.state} ({state.reason}), which this hold did not do"
            )
            break
        try:
            domain.resume()
        except LibvirtError as exc:
            error = exc.message
            continue
        return _let_go(row, sent, time.monotonic())
    return replace(row, thaw_sent=row.thaw_sent or sent, error=error)


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
    undo = "thaw" if row.method == "agent" else "resume"
    where = f"it may still be {_done_to(row)} on the host it moved to, or in its saved memory"
    then = f"{undo} it there, then remove {record.path} if nothing else is held by it"
    return replace(row, error=f"Failed to {undo} guest {row.name}: {why}; {where}: {then}")


def _lost(row: Row, why: str) -> Row:
    """Return the row of a guest whose run ended: nothing of this hold is left in it."""
    return _broken(replace(row, phase="released", error=None), f"the guest that was held is gone: {why}")


def _broken(row: Row, why: str) -> Row:
    consistency = row.consistency if row.consistency == INCONSISTENT else CRASH
    return replace(row, held=False, consistency=consistency, reason="; ".join(filter(None, (row.reason, why))))


def _not_held(broken: Sequence[Row], rows: Sequence[Row], fate: str) -> HoldError:
    said = "; ".join(f"{row.name}: {row.error}" for row in broken)
    return HoldError(f"Failed to hold {_names(broken)}, {fate}: {said}", guests=[row.as_dict() for row in rows])


def _result(hold_id: str, rows: Sequence[Row], *, changed: bool) -> dict[str, Any]:
    return {"changed": changed, "hold_id": hold_id, "guests": [row.as_dict() for row in rows]}


def _names(rows: Sequence[Row]) -> str:
    return f"guest{'s' if len(rows) > 1 else ''} {', '.join(row.name for row in rows)}"


def _pause(attempt: int) -> float:
    return 0.0 if attempt == 0 else min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
