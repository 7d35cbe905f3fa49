# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold guests still while snapshots are taken, and let go of exactly those that were held.

Freezing stops at the first failure and is undone; thawing never stops.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, Optional, Protocol, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.consistency import (
    APPLICATION,
    CRASH,
    FILESYSTEM,
    INCONSISTENT,
    OFFLINE,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.agent_answers import FreezeStatus, few
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Domain,
    DomainState,
    Host,
    LibvirtError,
    LibvirtMissingError,
    LibvirtUnavailableError,
    connect,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem, coverage, is_windows
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.crew import MOST_WORKERS, Crew, Lane
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.deadman import DEADLINE, DeadMan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import AgentState, GuestXml, parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.freezing import (
    about_to,
    broken,
    done_to,
    freeze,
    freeze_and_suspend,
    left_alone,
    let_go_of,
    pause,
    paused,
    same_run,
    suspend,
    thaw,
    unheld,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.healing import heal, long_over
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.hold_record import (
    BOOT_ID,
    HoldRecord,
    HoldRecordError,
    Row,
    boot_id,
    claiming,
    locked,
    other_holds,
    releasing,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import Process, qemu_processes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.timer_record import Timer, known_timer, timer_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import (
    PATIENCE,
    Busy,
    guest_locks,
    lock_directory,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

Asked = Literal["auto", "agent", "suspend", "agent+suspend", "none"]
Method = Literal["agent", "suspend", "agent+suspend", "none"]

VSS_DEADLINE = 8.0
"""Seconds that a Windows guest, or one whose system is not known, is held: VSS thaws by itself after ten."""

_LOOK_AGAIN = 0.5
_GROUP_PATIENCE = 1.0
_RELEASE_PATIENCE = 8.0
"""Seconds after which the release goes on to the next group, whoever of this one has not answered."""

_RELEASE_WAIT = 0.5
"""Seconds that a release waits for guests that another process works on.

Then it goes on: the hold's record is what keeps the others from changing them.
"""

_GONE = "libvirt does not know it any more"
_UNSEEN = "it cannot be looked at"
_WORK = {"agent": freeze, "suspend": suspend, "agent+suspend": freeze_and_suspend}


class HoldError(KvmsnapError):
    """Guests could not be held, or not be released; ``guests`` tells of each."""


class RecordLeftError(KvmsnapError):
    """All guests of a hold are free, and ``rows`` tells of them; its record or its timer could not be removed."""

    def __init__(self, message: str, rows: Sequence[Row]) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class TakenError(HoldError):
    """Guests could not be held since another hold has them; nothing was held."""


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
    """A guest to hold; ``disks`` are the targets that the backup holds, None for all.

    ``filesystems`` are the mount points to freeze, None for all. Guests of a lower ``order`` are held first and
    released last.
    """

    name: str
    uuid: str
    asked: Asked
    disks: Optional[tuple[str, ...]] = None
    filesystems: Optional[tuple[str, ...]] = None
    order: int = 0

    @classmethod
    def from_option(cls, option: Mapping[str, Any]) -> Wanted:
        """Read one entry of the ``guests`` option; raises :class:`InputError`."""
        name, uuid = str(option.get("name") or "").strip(), str(option.get("uuid") or "").strip().lower()
        if not name and not uuid:
            raise InputError("A guest to hold needs a uuid or a name")
        disks, chosen = option.get("disks"), option.get("filesystems")
        return cls(
            name,
            uuid,
            option.get("method") or "auto",
            disks=None if disks is None else tuple(disks),
            filesystems=tuple(chosen) if chosen else None,
            order=option.get("order") or 0,
        )

    @property
    def label(self) -> str:
        """How to call it."""
        return self.name or self.uuid


@dataclass(frozen=True)
class Seen:
    """What a guest was like just before the hold, and its QEMU ``process`` when it was found.

    ``holder`` is another hold that has not released it.
    """

    name: str
    uuid: str
    state: DomainState
    definition: GuestXml
    agent: AgentState = "none"
    status: Optional[FreezeStatus] = None
    agent_error: Optional[str] = None
    holder: Optional[str] = None
    mounts: Optional[tuple[FileSystem, ...]] = None

    @property
    def vss(self) -> Optional[bool]:
        """Whether it is a Windows guest, which thaws by itself; None when nothing tells."""
        if self.definition.os != "unknown":
            return self.definition.os == "windows"
        return is_windows(self.mounts or ())

    process: Optional[Process] = None


@dataclass(frozen=True)
class Unseen:
    """A guest that could not be looked at, and why; the others can."""

    error: str


Found = Union[Seen, Unseen, None]


@dataclass(frozen=True)
class Step:
    """What is to be done with a guest, what that gives, and why it is not more; ``error``: what was asked cannot be.

    ``expected``: how many file systems the agent should freeze, None when that is not known.
    """

    method: Method
    consistency: str
    reason: str = ""
    error: Optional[str] = None
    expected: Optional[int] = None


@dataclass(frozen=True)
class Ground:
    """Where and how a hold is made; times are in seconds. ``hold_deadline`` bounds the hold from its beginning on.

    ``vss_deadline`` bounds that of a guest which may thaw by itself, from the answer of its freeze on. ``at_once`` is
    how many guests libvirt works on at a time.
    """

    directory: Path
    connect: Callable[[], Host]
    retry_count: int = 3
    freeze_timeout: int = 20
    ping_timeout: int = 5
    hold_deadline: float = DEADLINE
    vss_deadline: float = VSS_DEADLINE
    at_once: int = MOST_WORKERS
    boot: str = BOOT_ID
    guard: Guard = field(default_factory=NoGuard)


def quiesce(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_quiesce`` ``state: quiesced``; ``options`` are the module's.

    Raises :class:`InputError`, :class:`LibvirtError`, and :class:`HoldError` when a guest was not held: then none is.
    """
    wanted = [Wanted.from_option(option) for option in options["guests"] or ()]
    hold_id, ground, go_on = options["hold_id"], ground_of(options), options["on_failure"] == "continue"
    deadline = Deadline.after(0 if check else options["concurrency_timeout"])
    remarks = [] if check else heal(ground, but=hold_id)
    while True:
        wait_for_others(wanted, hold_id, ground, deadline)
        try:
            held = hold(
                wanted,
                hold_id,
                ground,
                check=check,
                go_on=go_on,
                refuse_vss=options["refuse_vss"],
                wait=min(PATIENCE, deadline.remaining()),
            )
            return {**held, "remarks": remarks}
        except TakenError:
            if deadline.remaining() <= 0 or not _to_end(wanted, hold_id, ground):
                raise
        deadline.clock.sleep(min(_LOOK_AGAIN, deadline.remaining()))


def resume(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_quiesce`` ``state: resumed``; raises as :func:`release` does."""
    return {**release(options["hold_id"], ground_of(options), check=check), "remarks": []}


def ground_of(options: Mapping[str, Any]) -> Ground:
    """Return the ground that the module's options describe; raises :class:`InputError`."""
    for name, least in (("retry_count", 0), ("freeze_timeout", 1), ("agent_ping_timeout", 1)):
        if options[name] < least:
            raise InputError(f"{name} is {options[name]}; it must be at least {least}")
    uri, retry_count, deadline = options["uri"], options["retry_count"], _deadline_of(options)
    return Ground(
        directory=Path(options["hold_dir"]),
        connect=lambda: connect(uri, retry_count=retry_count),
        retry_count=retry_count,
        freeze_timeout=options["freeze_timeout"],
        ping_timeout=options["agent_ping_timeout"],
        hold_deadline=deadline,
        vss_deadline=options["vss_hold_deadline"],
        at_once=at_once(),
        guard=DeadMan(uri, deadline=deadline, margin=options["hold_margin"]),
    )


def _deadline_of(options: Mapping[str, Any]) -> float:
    """Return how long a hold may last; the time after which the plug-in's agent resumed guests can only shorten it."""
    for name, least in (("hold_deadline", 1), ("hold_margin", 0), ("unquiesce_timeout", 1)):
        if options[name] is not None and options[name] < least:
            raise InputError(f"{name} is {options[name]:g}; it must be at least {least}")
    return float(min(filter(None, (options["hold_deadline"], options["unquiesce_timeout"]))))


def hold(
    wanted: Sequence[Wanted],
    hold_id: str,
    ground: Ground,
    *,
    check: bool,
    go_on: bool,
    refuse_vss: bool = False,
    wait: float = 0.0,
) -> dict[str, Any]:
    """Hold all guests at once; each guest that this hold already holds is left as it is.

    With ``go_on`` a guest that cannot be held as asked is reported and left; otherwise everything is undone and
    :class:`HoldError` raised. A guest that someone else froze or paused is reported and left in any case. A guest that
    an earlier run of this hold may still hold, in a way that cannot be taken over, is a :class:`HoldError` always. With
    ``refuse_vss`` so is a guest that would thaw by itself. Without ``go_on`` one that another hold has is a
    :class:`TakenError`, also when that was begun after the look at it. A guest that another process works on, such as a
    restore, is waited for ``wait`` seconds, and is then reported (``locked``) and left; it is a :class:`HoldError` when
    there is no other guest.
    """
    if not wanted:
        raise InputError("The list of guests is empty; name at least one guest to hold")
    with ExitStack() as stack:
        busy = stack.enter_context(_guest_locks(wanted, hold_id, ground, check=check, wait=wait))
        stack.enter_context(_alone(ground, hold_id, check))
        crew = stack.enter_context(Crew(ground.connect, size=len(wanted), most=ground.at_once))
        record = HoldRecord(ground.directory, hold_id, boot_id(ground.boot))
        free, left = _without_busy(wanted, busy, record)
        rows = [*prepare(crew, free, record, ground, check=check, go_on=go_on), *left]
        todo = [row for row in rows if row.method != "none" and not row.held]
        if refuse_vss:
            _refuse_vss(todo)
        if check:
            return _result(record, rows, changed=bool(todo))
        if todo:
            crew.warm([row.uuid for row in todo])
        return _result(record, hold_all(crew, rows, record, ground, go_on=go_on), changed=bool(todo))


@contextmanager
def _guest_locks(
    wanted: Sequence[Wanted], hold_id: str, ground: Ground, *, check: bool, wait: float
) -> Iterator[tuple[Busy, ...]]:
    """Lock the guests and yield those that are busy; a check locks none, and no guest is locked that is unknown."""
    if check:
        yield ()
        return
    known = [(want.uuid, want.label) for want in wanted if want.uuid]
    if len(known) < len(wanted):
        with closing(ground.connect()) as host:
            found = [(want, host.domain(name=want.name)) for want in wanted if not want.uuid]
        known += [(domain.uuid, want.label) for want, domain in found if domain is not None]
    place = lock_directory(ground.directory)
    with guest_locks(place, known, purpose="hold", identity=hold_id, wait=wait) as busy:
        yield busy


def _without_busy(wanted: Sequence[Wanted], busy: Sequence[Busy], record: HoldRecord) -> tuple[list[Wanted], list[Row]]:
    """Return the guests that can be held, and rows of those that another process works on: nobody knows their disks.

    One that an earlier run of this hold may have left held stays with the former. Raises :class:`HoldError` when none
    can be held.
    """
    record.read()
    own = {row.uuid for row in record.rows if row.outstanding}
    why = {key: each for each in busy if each.uuid not in own for key in (each.uuid, each.name)}
    left = [(want, why[want.uuid or want.name]) for want in wanted if (want.uuid or want.name) in why]
    if len(left) == len(wanted):
        guests = f"guest{'s' if len(left) > 1 else ''} {', '.join(each.name for _want, each in left)}"
        said = "; ".join(str(each) for _want, each in left)
        raise HoldError(f"Failed to hold {guests}, nothing was held: {said}", guests=[])
    rows = [
        Row(
            name=each.name,
            uuid=each.uuid,
            asked=want.asked,
            consistency=INCONSISTENT,
            reason=str(each),
            error=str(each),
            locked=True,
        )
        for want, each in left
    ]
    gone = {row.uuid for row in rows} | {want.name for want, _each in left if not want.uuid}
    return [want for want in wanted if (want.uuid or want.name) not in gone], rows


@contextmanager
def briefly_locked(ground: Ground, rows: Iterable[Row], hold_id: str) -> Iterator[None]:
    """Lock the guests of a hold that is to be released, as far as that is possible at once: none stays held for it."""
    guests = [(row.uuid, row.name) for row in rows if row.outstanding]
    with ExitStack() as stack:
        place = lock_directory(ground.directory)
        locks = guest_locks(place, guests, purpose="release of hold", identity=hold_id, wait=_RELEASE_WAIT)
        outcome_of(lambda: stack.enter_context(locks), what=f"lock the guests of hold {hold_id}")
        yield


def _refuse_vss(todo: Sequence[Row]) -> None:
    refused = [row for row in todo if row.vss]
    if refused:
        raise HoldError(
            f"Refused to hold {_names(refused)}, nothing was held: VSS thaws by itself ten seconds after a freeze,"
            " sooner than this hold may end. Back up in one process (kvm_backup_mode=module, kvm_vm_backup), or choose"
            " the method suspend",
            guests=[row.as_dict() for row in todo],
        )


def prepare(
    crew: Crew, wanted: Sequence[Wanted], record: HoldRecord, ground: Ground, *, check: bool, go_on: bool
) -> list[Row]:
    """Read the record, look at all guests and return a row for each that says how it is to be held; holds nothing.

    The crew's connections are open afterwards, and agents that are to freeze have answered. Raises as :func:`hold`.
    """
    record.read()
    holders = other_holds(ground.directory, record.hold_id, boot_id(ground.boot))
    look = _look_at_all(
        crew, wanted, lambda lane, want: _look(lane, want, ground, record, holders, act=not check), go_on=go_on
    )
    found = list(zip(look, wanted))
    unproved = [row for row in (_unproved(guest, want, record) for guest, want in found) if row]
    if unproved:
        raise _not_held(unproved, unproved, "nothing was held")
    rows = [_row_of(guest, want, record, ground, go_on=go_on) for guest, want in found]
    refused = [row for row in rows if row.error and not go_on]
    if refused:
        taken = {guest.uuid for guest in look if isinstance(guest, Seen) and guest.holder}
        kind = TakenError if all(row.uuid in taken for row in refused) else HoldError
        raise _not_held(refused, rows, "nothing was held", kind)
    return rows


def wait_for_others(wanted: Sequence[Wanted], hold_id: str, ground: Ground, deadline: Deadline) -> None:
    """Wait until no other hold has any of the guests, at most until the deadline; a holder is told of later.

    For a hold that is long over and still has guests, nobody waits: they could not be released, and may never be.
    """
    while deadline.remaining() > 0 and _to_end(wanted, hold_id, ground):
        deadline.clock.sleep(min(_LOOK_AGAIN, deadline.remaining()))


def _to_end(wanted: Sequence[Wanted], hold_id: str, ground: Ground) -> bool:
    """Say whether another hold that is to end soon has one of the guests."""
    names = {want.uuid or want.name for want in wanted}
    held = other_holds(ground.directory, hold_id, boot_id(ground.boot)).values()
    return any(
        names & {row.uuid, row.name}
        and not long_over([row], known_timer(ground.directory / f"{holder}.timer"), time.monotonic())
        for holder, row in held
    )


def release(hold_id: str, ground: Ground, *, check: bool) -> dict[str, Any]:
    """Thaw and resume exactly what the hold's record names, all at once, and forget the hold and its timer.

    An unknown hold is no change. What is left of a hold whose guests are free is told in ``warnings``, and removed by
    the next one. Raises :class:`HoldError` when a guest could not be released; then the record stays,
    and another call, or the timer, tries again.
    """
    record = HoldRecord(ground.directory, hold_id, boot_id(ground.boot))
    record.read()
    locks = nullcontext() if check else briefly_locked(ground, record.rows, hold_id)
    with locks, _alone(ground, hold_id, check):
        record.read()
        rows = record.rows
        timer = known_timer(timer_path(record.path))
        changed = any(row.outstanding for row in rows)
        if check:
            return _result(record, rows, changed=changed, timer=timer)
        with Crew(ground.connect, size=len(rows), most=ground.at_once) as crew:
            try:
                return _result(record, release_all(crew, record, ground), changed=changed, timer=timer)
            except RecordLeftError as exc:
                return {**_result(record, exc.rows, changed=changed, timer=timer), "warnings": [exc.message]}


def expire(
    hold_id: str, ground: Ground, begin: Callable[[], None], *, over: Optional[Callable[[Row], bool]] = None
) -> tuple[list[Row], list[Row]]:
    """Release a hold whose time is over, or the guests of it whose time is: what the dead-man timer does.

    Returns those that were held before, and all rows. ``begin`` is called before the first guest is touched, when there
    is one. Guests that are known to be held come first, and of these the suspended ones: an agent that hung in its
    freeze delays nobody. The record is kept for whoever asks what became of the hold; its lock must be had.
    """
    record = HoldRecord(ground.directory, hold_id, boot_id(ground.boot))
    record.read()
    todo = [row for row in record.rows if row.outstanding and (over is None or over(row))]
    held = sorted(todo, key=_quickest_first)
    if held:
        begin()
        with briefly_locked(ground, held, hold_id), Crew(ground.connect, size=len(held), most=ground.at_once) as crew:
            crew.each(held, lambda lane, row: _try(lane, row, record, ground, fired=True))
        record.put()
    return held, record.rows


def decide(
    asked: Asked, seen: Seen, disks: Optional[Sequence[str]] = None, filesystems: Optional[Sequence[str]] = None
) -> Step:
    """Decide how a guest is held; pure. What cannot be had is an ``error``, what is not had by default a ``reason``."""
    if not seen.state.active:
        return _inactive(seen.state)
    unsafe = [target for target in seen.definition.unsafe_cache if disks is None or target in disks]
    step = _active(asked, seen, disks, filesystems)
    if unsafe:
        why = f"disk {', '.join(unsafe)} has cache='unsafe', which ignores the guest's flushes"
        return replace(step, consistency=INCONSISTENT, reason="; ".join(filter(None, (step.reason, why))))
    return step


def _inactive(state: DomainState) -> Step:
    if (state.state, state.reason) == ("shutoff", "shutdown"):
        return Step("none", OFFLINE, "shut off")
    why = "libvirt does not know how" if state.reason == "unknown" else state.reason
    return Step("none", CRASH, f"off, but not known to be cleanly shut down ({why})")


def _active(asked: Asked, seen: Seen, disks: Optional[Sequence[str]], filesystems: Optional[Sequence[str]]) -> Step:
    if asked == "none":
        return Step("none", CRASH, "not to be held")
    if seen.holder is not None:
        return Step("none", CRASH, *_taken_by(seen.holder))
    if seen.state.state != "running":
        left = f"it was {seen.state.state} ({seen.state.reason}) before and is left as it is"
        insists = asked in ("agent", "agent+suspend")
        return Step("none", CRASH, left, error=f"{left}, so it cannot be frozen" if insists else None)
    if asked == "suspend":
        return Step("suspend", CRASH, "suspended as asked")
    return _by_agent(asked, seen, disks, filesystems)


def _taken_by(holder: str) -> tuple[str, str]:
    """Return why a guest of another hold is not held, and what to do about it."""
    left = f"it is held by another hold, {holder}"
    return left, f"{left}; release that one first (state=resumed, hold_id={holder})"


def _by_agent(asked: Asked, seen: Seen, disks: Optional[Sequence[str]], filesystems: Optional[Sequence[str]]) -> Step:
    insists = asked in ("agent", "agent+suspend")
    if seen.agent != "connected":
        why = "it has no guest agent" if seen.agent == "none" else "no agent is connected to its agent channel"
        if insists:
            return Step("none", CRASH, why, error=f"{why}, so it cannot be frozen")
        if seen.definition.passthrough:
            devices = ", ".join(seen.definition.passthrough)
            return Step(
                "none",
                CRASH,
                f"{why}, and with devices of the host passed through ({devices}) it is only"
                " suspended when that is asked for",
            )
        return Step("suspend", CRASH, f"suspended: {why}")
    if seen.agent_error is not None:
        return Step("none", CRASH, seen.agent_error, error=seen.agent_error)
    if seen.status == "frozen":
        left = "someone else froze it before; it is left as it is"
        return Step("none", CRASH, left, error=left if insists else None)
    return _covered("agent+suspend" if asked == "agent+suspend" else "agent", seen, disks, filesystems)


def _covered(method: Method, seen: Seen, disks: Optional[Sequence[str]], filesystems: Optional[Sequence[str]]) -> Step:
    """Return what a freeze by the agent gives, by what it covers of the guest."""
    level = APPLICATION if seen.vss else FILESYSTEM
    if seen.mounts is None:
        return Step(method, level)
    unknown = set(filesystems or ()) - {each.mountpoint for each in seen.mounts}
    if unknown:
        why = f"nothing is mounted at {', '.join(sorted(unknown))}, which was to be frozen"
        return Step("none", CRASH, why, error=why)
    targets = [disk.target for disk in seen.definition.disks if not (disk.removable or disk.readonly)]
    saved = targets if disks is None else disks
    found = coverage(seen.mounts, saved=saved, chosen=filesystems)
    if found.missed:
        return Step(method, CRASH, "; ".join(few(found.missed)), expected=found.devices)
    return Step(method, level, expected=found.devices or None)


def _alone(ground: Ground, hold_id: str, check: bool) -> AbstractContextManager[None]:
    """Keep others away from the hold; a check changes nothing, so it needs no lock."""
    return nullcontext() if check else locked(ground.directory, hold_id)


def _look_at_all(
    crew: Crew, wanted: Sequence[Wanted], look: Callable[[Lane, Wanted], Optional[Seen]], *, go_on: bool
) -> list[Found]:
    """Return what each guest is like; with ``go_on`` None for one with a uuid that libvirt does not know any more.

    What goes wrong with one guest is told of that one. Raises :class:`LibvirtError` when libvirt itself is away, and
    for a guest that is known by its name alone.
    """

    def seen(lane: Lane, want: Wanted) -> Found:
        found = outcome_of(lambda: look(lane, want), what=f"look at guest {want.label}")
        if not isinstance(found, KvmsnapError):
            return found
        if isinstance(found, (LibvirtUnavailableError, LibvirtMissingError)) or not want.uuid:
            raise found
        return Unseen(f"{_UNSEEN}: {found.message}")

    found = crew.each(wanted, seen)
    unknown = [want.label for want, guest in zip(wanted, found) if guest is None and not (go_on and want.uuid)]
    if unknown:
        raise InputError(f"Libvirt does not know the guest {', '.join(unknown)}; nothing was held", guests=unknown)
    uuids = [guest.uuid if isinstance(guest, Seen) else want.uuid for want, guest in zip(wanted, found)]
    names = [guest.name if isinstance(guest, Seen) else want.label for want, guest in zip(wanted, found)]
    twice = sorted({name for name, uuid in zip(names, uuids) if uuids.count(uuid) > 1})
    if twice:
        raise InputError(f"The guest {', '.join(twice)} is named twice; nothing was held", guests=twice)
    processes = qemu_processes()
    return [replace(each, process=processes.get(each.uuid)) if isinstance(each, Seen) else each for each in found]


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
    frozen = before is not None and before.outstanding and before.by_agent
    by_agent = (want.asked in ("auto", "agent", "agent+suspend") or frozen) and agent == "connected"
    if not by_agent or holder or state.state != "running":
        return seen
    try:
        domain.agent.ping(ground.ping_timeout)
        status = domain.agent.status(ground.ping_timeout)
        if status == "thawed":
            seen = replace(seen, mounts=_mounts(domain, ground))
        if status == "frozen" and _left_by_us(before, seen):
            error = thaw(domain, ground).error if act else None
            return replace(seen, status="thawed", agent_error=error)
        return replace(seen, status=status)
    except LibvirtError as exc:
        return replace(seen, agent_error=exc.message)


def _mounts(domain: Domain, ground: Ground) -> Optional[tuple[FileSystem, ...]]:
    """Return what is mounted in a guest, None when its agent does not tell (the command may be switched off)."""
    try:
        domain.agent.limit(ground.ping_timeout)
        return domain.agent.filesystems()
    except LibvirtError:
        return None


def _left_by_us(row: Optional[Row], seen: Seen) -> bool:
    """Say whether a run of this hold that broke off may have held the guest without knowing it."""
    return row is not None and row.phase == "holding" and row.domain_id == seen.state.domain_id


def _taken_over(before: Optional[Row], seen: Seen) -> Optional[Row]:
    """Return the row of a guest that an earlier run of this hold holds still, as it is now."""
    if before is None or _still_held(before, seen):
        return before
    if before.method == "suspend" and _left_by_us(before, seen) and paused(seen.state):
        return replace(before, phase="held", held=True, freeze_answered=time.monotonic(), error=None)
    return None


def _unproved(seen: Found, want: Wanted, record: HoldRecord) -> Optional[Row]:
    """Return the row of a guest that an earlier run of this hold may have left held; replacing it would forget that."""
    before = record.row(seen.uuid if isinstance(seen, Seen) else want.uuid)
    if before is None or not before.outstanding:
        return None
    why = seen.error if isinstance(seen, Unseen) else _GONE
    if isinstance(seen, Seen):
        if _taken_over(before, seen) or not same_run(before, seen.state):
            return None
        if before.by_agent:
            released = seen.status == "thawed" and seen.agent_error is None
        else:
            released = seen.state.state == "running"
        if released:
            return None
        why = seen.agent_error or f"it is {seen.state.state} ({seen.state.reason}), its agent {seen.agent}"
    remedy = f"run kvm_vm_quiesce with state=resumed and hold_id={record.hold_id} first"
    left = f"an earlier run of the hold {record.hold_id} may have left it {done_to(before)} ({why})"
    return replace(before, error=f"{left}; {remedy}")


def _row_of(found: Found, want: Wanted, record: HoldRecord, ground: Ground, *, go_on: bool) -> Row:
    if isinstance(found, Seen):
        return _planned(found, want, record, ground, go_on=go_on)
    return _left_out(want, _GONE if found is None else found.error)


def _planned(seen: Seen, want: Wanted, record: HoldRecord, ground: Ground, *, go_on: bool) -> Row:
    ours = _taken_over(record.row(seen.uuid), seen)
    if ours is not None:
        return ours
    step = decide(want.asked, seen, want.disks, want.filesystems)
    frozen = step.method in ("agent", "agent+suspend")
    reason = step.error if step.error and go_on else step.reason
    return Row(
        name=seen.name,
        uuid=seen.uuid,
        asked=want.asked,
        method=step.method,
        domain_id=seen.state.domain_id,
        qemu_pid=None if seen.process is None else seen.process.pid,
        qemu_started=None if seen.process is None else seen.process.started,
        state_before=seen.state.state,
        consistency=step.consistency,
        reason=reason,
        error=step.error,
        expected=step.expected,
        mountpoints=want.filesystems or () if frozen else (),
        order=want.order,
        vss=frozen and seen.vss is True,
        limit=ground.vss_deadline if frozen and seen.vss is not False else None,
    )


def _left_out(want: Wanted, why: str) -> Row:
    """Return the row of a guest that is not here any more, or cannot be looked at: it may run, and nobody holds it."""
    return Row(name=want.label, uuid=want.uuid, asked=want.asked, consistency=CRASH, reason=why, error=why)


def _still_held(row: Row, seen: Seen) -> bool:
    """Say whether a guest is held as an earlier run left it; one whose release was tried is not to be relied on."""
    if row.phase != "held" or row.thaw_sent is not None or row.domain_id != seen.state.domain_id:
        return False
    return seen.status == "frozen" if row.method == "agent" else paused(seen.state)


def hold_all(crew: Crew, rows: Sequence[Row], record: HoldRecord, ground: Ground, *, go_on: bool) -> list[Row]:
    """Hold what :func:`prepare` planned, all at once, and return the rows as they are then.

    The guard is armed before, or made sure of where an earlier run holds guests. A guest whose own time ends before the
    last one is held is released then. When this raises, nothing is held any more, or the :class:`HoldError` says what
    is; a :class:`TakenError` says that another hold was begun since, and nothing was done.
    """
    record.ends_at = time.monotonic() + ground.hold_deadline
    rows = _claimed(rows, record, ground, go_on=go_on)
    todo = {row.uuid for row in rows if row.method != "none" and not row.held}
    stop = threading.Event()
    begun: set[str] = set()
    try:
        if todo or any(row.outstanding for row in rows):
            ground.guard.arm(record.path)
        deadline = Deadline.after(ground.hold_deadline)

        def work(lane: Lane, row: Row) -> Row:
            held = _hold_one(lane, row, record, ground, stop=stop, deadline=deadline)
            if held.error and not go_on:
                stop.set()
            return held

        def release_due() -> None:
            over = [row for row in due(record.rows, time.monotonic()) if row.uuid not in begun]
            release_some(crew, over, record, ground)
            begun.update(row.uuid for row in over)

        for phase in phases([row for row in rows if row.uuid in todo]):
            if not stop.is_set():
                record.put(*map(about_to, phase))
                limited = any(row.limit is not None for row in record.rows)
                crew.finish(crew.begin(phase, work), meanwhile=release_due if limited else None)
                record.put()
    except BaseException:
        with suppress(RecordLeftError):
            release_all(crew, record, ground)
        raise
    known = {row.uuid: row for row in record.rows}
    rows = [known[row.uuid] for row in rows]
    broken = [row for row in rows if row.error and row.uuid in todo]
    if broken and not go_on:
        _undo(crew, record, ground, broken, rows)
    return rows


def _claimed(rows: Sequence[Row], record: HoldRecord, ground: Ground, *, go_on: bool) -> list[Row]:
    """Write down who is to be held, unless another hold has done so with one of them since it was looked at."""
    with claiming(ground.directory):
        others = other_holds(ground.directory, record.hold_id, boot_id(ground.boot))
        rows = [row if row.outstanding else _unless_taken(row, others) for row in rows]
        taken = [row for row in rows if row.uuid in others and row.error]
        if taken and not go_on:
            raise _not_held(taken, rows, "nothing was held", TakenError)
        record.put(*rows)
    return rows


def _unless_taken(row: Row, others: Mapping[str, tuple[str, Row]]) -> Row:
    holder, theirs = others.get(row.uuid, ("", None))
    if row.method == "none" or theirs is None or theirs.domain_id != row.domain_id:
        return row
    return unheld(row, _taken_by(holder)[1])


def due(rows: Iterable[Row], now: float) -> list[Row]:
    """Return the held guests whose own time is over before the hold's; pure."""
    return [
        row
        for row in rows
        if row.limit is not None
        and row.phase == "held"
        and row.freeze_answered is not None
        and now >= row.freeze_answered + row.limit
    ]


def phases(rows: Iterable[Row]) -> list[list[Row]]:
    """Return who is held together, one phase after the other; pure.

    Groups keep their order. Within one, guests that must not be held for long (VSS) or are held in no time (suspended)
    come when the others are held.
    """
    found: dict[tuple[int, bool], list[Row]] = {}
    for row in rows:
        late = row.limit is not None or not row.by_agent
        found.setdefault((row.order, late), []).append(row)
    return [sorted(found[key], key=lambda row: not row.by_agent) for key in sorted(found)]


def _undo(crew: Crew, record: HoldRecord, ground: Ground, broken: Sequence[Row], done: Sequence[Row]) -> None:
    try:
        released = release_all(crew, record, ground)
    except RecordLeftError as exc:
        released = list(exc.rows)
    except HoldError as exc:
        message = f"{_not_held(broken, done, 'the hold was to be undone').message}; {exc.message}"
        raise HoldError(message, guests=exc.fields["guests"]) from exc
    errors = {row.uuid: row.error for row in done}
    rows = [replace(row, error=errors.get(row.uuid)) for row in released]
    raise _not_held(broken, rows, "the hold was undone")


def _hold_one(
    lane: Lane, row: Row, record: HoldRecord, ground: Ground, *, stop: threading.Event, deadline: Deadline
) -> Row:
    """Return the row of a guest after the try to hold it; whatever goes wrong is told there, and is of this guest."""
    done = outcome_of(
        lambda: _held(lane, row, record, ground, stop=stop, deadline=deadline), what=f"hold guest {row.name}"
    )
    if isinstance(done, KvmsnapError):
        known = record.row(row.uuid)
        done = unheld(row if known is None or known.freeze_sent is None else known, done.message)
    record.note(done)
    return done


def _held(
    lane: Lane, row: Row, record: HoldRecord, ground: Ground, *, stop: threading.Event, deadline: Deadline
) -> Row:
    seen = lane.seen(row.uuid)
    if seen is None:
        raise HoldError(f"Failed to hold guest {row.name}: {_GONE}")
    domain, state = seen
    if state.domain_id != row.domain_id:
        now = "it was started anew since it was looked at" if state.active else f"it is off ({state.reason})"
        raise HoldError(f"Failed to hold guest {row.name}: {now}")
    if state.state != "running":
        return left_alone(row, state)
    return _WORK[row.method](domain, row, record, ground, stop=stop, deadline=deadline)


def release_all(crew: Crew, record: HoldRecord, ground: Ground) -> list[Row]:
    """Let go of every guest of the record, all at once, and forget the hold; raises :class:`HoldError`.

    Raises :class:`RecordLeftError` when they are free, and the hold cannot be forgotten.

    Groups are released in the reverse of the order in which they were held, but none waits long for another.
    """
    releasing(record.path)
    rows = _release(crew, record.rows, record, ground)
    stuck = [row for row in rows if row.outstanding]
    if stuck:
        said = "; ".join(str(row.error) for row in stuck)
        raise HoldError(
            f"Failed to release {_names(stuck)}: {said}. The hold {record.hold_id} is kept; resume it again",
            guests=[row.as_dict() for row in rows],
        )

    def forget() -> None:
        record.remove()
        ground.guard.disarm(record.path)

    left = outcome_of(forget, what=f"forget hold {record.hold_id}")
    if isinstance(left, KvmsnapError):
        told = f"All guests of hold {record.hold_id} were released, but what was written down of it is left"
        raise RecordLeftError(f"{told}: {left.message}", rows) from left
    return rows


def release_some(crew: Crew, rows: Iterable[Row], record: HoldRecord, ground: Ground) -> None:
    """Begin to let go of some guests while the others are held on; :func:`release_all` sees to it that it succeeds."""
    crew.begin(rows, lambda lane, row: _try(lane, row, record, ground))


def _release(crew: Crew, rows: Sequence[Row], record: HoldRecord, ground: Ground) -> list[Row]:
    """Try each guest once, then again those that could not be released; nobody waits for another's second try.

    That goes on for as often as is asked for and for some seconds at least: agents need them when libvirt was away.
    """
    done = {row.uuid: row for row in rows}
    patience = Deadline.after(_RELEASE_PATIENCE)
    for attempt in count():
        todo = [row for row in done.values() if attempt == 0 or row.outstanding]
        if not todo or (attempt > ground.retry_count and patience.remaining() <= 0):
            break
        time.sleep(pause(attempt))
        groups = [[row for row in todo if row.order == order] for order in sorted({row.order for row in todo})]
        begun = []
        for group in reversed(groups):
            quick = sorted(group, key=_quickest_first)
            begun.append(crew.begin(quick, lambda lane, row: _try(lane, row, record, ground)))
            crew.wait(begun[-1], seconds=_GROUP_PATIENCE if len(groups) > 1 else None)
        done.update({row.uuid: row for each in begun for row in crew.finish(each)})
        with suppress(HoldRecordError):
            record.put()
    return [done[row.uuid] for row in rows]


def _quickest_first(row: Row) -> tuple[bool, bool]:
    return row.phase != "held", row.by_agent


def _try(lane: Lane, row: Row, record: HoldRecord, ground: Ground, *, fired: bool = False) -> Row:
    """Let go of a guest, if that can be done at once; a connection that breaks meanwhile is opened again."""
    if not row.outstanding:
        return row if row.phase == "released" else _looked_at_again(lane, row)
    done = row
    for _again in range(2):
        done = _let_go(lane, replace(row, thaw_sent=done.thaw_sent), record, ground)
        if not done.outstanding or outcome_of(lambda: lane.alive, what="look at a connection") is True:
            break
    if fired and not done.outstanding and (done.held or row.phase == "holding"):
        done = _expired(done)
    record.note(done)
    return done


def _let_go(lane: Lane, row: Row, record: HoldRecord, ground: Ground) -> Row:
    """Return the row of a guest after one try to let go of it; whatever goes wrong is told there."""
    done = outcome_of(lambda: let_go_of(lane, row, record, ground), what=f"let go of guest {row.name}")
    return replace(row, error=done.message) if isinstance(done, KvmsnapError) else done


def _expired(row: Row) -> Row:
    """Return the row of a guest that the timer released: what a snapshot before the thaw has is as it was.

    One whose freeze was never answered may not have been held at all.
    """
    if not row.held:
        return replace(broken(row, "the dead-man timer undid its hold, which was never confirmed"), fired=True)
    why = "the dead-man timer ended its hold"
    return replace(row, held=False, fired=True, reason="; ".join(filter(None, (row.reason, why))))


def _looked_at_again(lane: Lane, row: Row) -> Row:
    """Return the row of a guest that was not held; one that was off and was started meanwhile wrote to its disks."""
    if row.consistency != OFFLINE:
        return row
    started = outcome_of(lambda: _active_now(lane, row.uuid), what=f"look at guest {row.name}")
    if isinstance(started, KvmsnapError):
        return broken(row, f"whether it was started during the hold is not known: {started.message}")
    return broken(row, "it was started during the hold") if started else row


def _active_now(lane: Lane, uuid: str) -> bool:
    domain = lane.domain(uuid)
    return domain is not None and domain.state().active


def _not_held(broken: Sequence[Row], rows: Sequence[Row], fate: str, kind: type[HoldError] = HoldError) -> HoldError:
    said = "; ".join(f"{row.name}: {row.error}" for row in broken)
    return kind(f"Failed to hold {_names(broken)}, {fate}: {said}", guests=[row.as_dict() for row in rows])


def _result(record: HoldRecord, rows: Sequence[Row], *, changed: bool, timer: Optional[Timer] = None) -> dict[str, Any]:
    timer = timer or known_timer(timer_path(record.path))
    return {
        "changed": changed,
        "hold_id": record.hold_id,
        "guests": [row.as_dict() for row in rows],
        "timer": timer and timer.as_dict(),
        "fired": (timer is not None and timer.fired) or any(row.fired for row in rows),
    }


def _names(rows: Sequence[Row]) -> str:
    return f"guest{'s' if len(rows) > 1 else ''} {', '.join(row.name for row in rows)}"
