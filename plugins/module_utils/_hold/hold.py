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
from dataclasses import replace
from itertools import count
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import INCONSISTENT, OFFLINE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.decide import due, phases, taken_by
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.freezing import (
    about_to,
    broken,
    freeze,
    freeze_and_suspend,
    left_alone,
    let_go_of,
    pause,
    suspend,
    unheld,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.look import prepare
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    GONE,
    HoldError,
    HoldRequest,
    HoldSettings,
    RecordLeftError,
    TakenError,
    names_of,
    not_held,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecord,
    HoldRecordError,
    Row,
    claiming,
    locked,
    other_holds,
    releasing,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import Timer, known_timer, timer_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import Worker, WorkerPool
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import Busy, guest_locks, lock_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

_GROUP_PATIENCE = 1.0
"""Seconds after which the release goes on to the next group, whoever of this one has not answered."""

_RELEASE_SECONDS = 55.0
"""Seconds after which nobody is tried again: each try of a silent agent takes its whole time limit."""

_RELEASE_PATIENCE = 8.0
"""Seconds for which guests that could not be released are tried again at least, however few re-runs are asked for.

After a restart of libvirt's daemon agents need some of them until they are connected again, and one that is asked too
early costs the five seconds that libvirt waits for its attention.
"""

_RELEASE_WAIT = 0.5
"""Seconds that a release waits for guests that another process works on.

Then it goes on: the hold's record is what keeps the others from changing them.
"""

_WORK = {"agent": freeze, "suspend": suspend, "agent+suspend": freeze_and_suspend}


def hold(
    wanted: Sequence[HoldRequest],
    hold_id: str,
    settings: HoldSettings,
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
        busy = stack.enter_context(_guest_locks(wanted, hold_id, settings, check=check, wait=wait))
        stack.enter_context(_alone(settings, hold_id, check))
        pool = stack.enter_context(WorkerPool(settings.connect, size=len(wanted), most=settings.at_once))
        record = HoldRecord(settings.directory, hold_id, boot_id(settings.boot))
        free, busy_rows = _without_busy(wanted, busy, record)
        rows = [*prepare(pool, free, record, settings, check=check, go_on=go_on), *busy_rows]
        todo = [row for row in rows if row.method != "none" and not row.held]
        if refuse_vss:
            _refuse_vss(todo)
        if check:
            return _result(record, rows, changed=bool(todo))
        if todo:
            pool.warm([row.uuid for row in todo])
        return _result(record, hold_all(pool, rows, record, settings, go_on=go_on), changed=bool(todo))


@contextmanager
def _guest_locks(
    wanted: Sequence[HoldRequest], hold_id: str, settings: HoldSettings, *, check: bool, wait: float
) -> Iterator[tuple[Busy, ...]]:
    """Lock the guests and yield those that are busy; a check locks none, and no guest is locked that is unknown."""
    if check:
        yield ()
        return
    known = [(want.uuid, want.label) for want in wanted if want.uuid]
    if len(known) < len(wanted):
        with closing(settings.connect()) as host:
            found = [(want, host.domain(name=want.name)) for want in wanted if not want.uuid]
        known += [(domain.uuid, want.label) for want, domain in found if domain is not None]
    place = lock_directory(settings.directory)
    with guest_locks(place, known, purpose="hold", identity=hold_id, wait=wait) as busy:
        yield busy


def _without_busy(
    wanted: Sequence[HoldRequest], busy: Sequence[Busy], record: HoldRecord
) -> tuple[list[HoldRequest], list[Row]]:
    """Return the guests that can be held, and rows of those that another process works on: nobody knows their disks.

    One that an earlier run of this hold may have left held stays with the former. Raises :class:`HoldError` when none
    can be held.
    """
    record.read()
    own = {row.uuid for row in record.rows if row.outstanding}
    others = [each for each in busy if each.uuid not in own]
    refused = [
        (want, each)
        for want in wanted
        for each in others
        if (want.uuid == each.uuid if want.uuid else want.name == each.name)
    ]
    if len(refused) == len(wanted):
        guests = f"guest{'s' if len(refused) > 1 else ''} {', '.join(each.name for _want, each in refused)}"
        said = "; ".join(str(each) for _want, each in refused)
        raise HoldError(f"Failed to hold {guests}, nothing was held: {said}", guests=[])
    rows = [
        Row(
            name=each.name,
            uuid=each.uuid,
            requested_method=want.asked,
            consistency=INCONSISTENT,
            reason=str(each),
            error=str(each),
            locked=True,
        )
        for want, each in refused
    ]
    taken = [want for want, _each in refused]
    return [want for want in wanted if want not in taken], rows


@contextmanager
def briefly_locked(settings: HoldSettings, rows: Iterable[Row], hold_id: str) -> Iterator[None]:
    """Lock the guests of a hold that is to be released, as far as that is possible at once: none stays held for it."""
    guests = [(row.uuid, row.name) for row in rows if row.outstanding]
    with ExitStack() as stack:
        place = lock_directory(settings.directory)
        locks = guest_locks(place, guests, purpose="release of hold", identity=hold_id, wait=_RELEASE_WAIT)
        outcome_of(lambda: stack.enter_context(locks), what=f"lock the guests of hold {hold_id}")
        yield


def _refuse_vss(todo: Sequence[Row]) -> None:
    refused = [row for row in todo if row.vss]
    if refused:
        raise HoldError(
            f"Refused to hold {names_of(refused)}, nothing was held: VSS thaws by itself ten seconds after a freeze,"
            " sooner than this hold may end. Back up in one process (kvm_backup_mode=module, kvm_vm_backup), or choose"
            " the method suspend",
            guests=[row.as_dict() for row in todo],
        )


def release(hold_id: str, settings: HoldSettings, *, check: bool) -> dict[str, Any]:
    """Thaw and resume exactly what the hold's record names, all at once, and forget the hold and its timer.

    An unknown hold is no change. ``warnings`` name what is left of a hold whose guests are free; the next release
    removes it. Raises :class:`HoldError` when a guest could not be released; then the record stays, and another call,
    or the timer, tries again.
    """
    record = HoldRecord(settings.directory, hold_id, boot_id(settings.boot))
    record.read()
    locks = nullcontext() if check else briefly_locked(settings, record.rows, hold_id)
    with locks, _alone(settings, hold_id, check):
        record.read()
        rows = record.rows
        timer = known_timer(timer_path(record.path))
        changed = any(row.outstanding for row in rows)
        if check:
            return _result(record, rows, changed=changed, timer=timer)
        with WorkerPool(settings.connect, size=len(rows), most=settings.at_once) as pool:
            try:
                return _result(record, release_all(pool, record, settings), changed=changed, timer=timer)
            except RecordLeftError as exc:
                return {**_result(record, exc.rows, changed=changed, timer=timer), "warnings": [exc.message]}


def expire(
    hold_id: str, settings: HoldSettings, begin: Callable[[], None], *, over: Optional[Callable[[Row], bool]] = None
) -> tuple[list[Row], list[Row]]:
    """Release a hold whose time is over, or the guests of it whose time is: what the dead-man timer does.

    Returns those that were held before, and all rows. ``begin`` is called before the first guest is touched, when there
    is one. Guests that are known to be held come first, and of these the suspended ones: an agent that hung in its
    freeze delays nobody. The record is kept for whoever asks what became of the hold; its lock must be had.
    """
    record = HoldRecord(settings.directory, hold_id, boot_id(settings.boot))
    record.read()
    todo = [row for row in record.rows if row.outstanding and (over is None or over(row))]
    held = sorted(todo, key=_quickest_first)
    if held:
        begin()
        with (
            briefly_locked(settings, held, hold_id),
            WorkerPool(settings.connect, size=len(held), most=settings.at_once) as pool,
        ):
            pool.each(held, lambda worker, row: _try(worker, row, record, settings, fired=True))
        record.put()
    return held, record.rows


def _alone(settings: HoldSettings, hold_id: str, check: bool) -> AbstractContextManager[None]:
    """Keep others away from the hold; a check changes nothing, so it needs no lock."""
    return nullcontext() if check else locked(settings.directory, hold_id)


def hold_all(
    pool: WorkerPool, rows: Sequence[Row], record: HoldRecord, settings: HoldSettings, *, go_on: bool
) -> list[Row]:
    """Hold what :func:`prepare` planned, all at once, and return the rows as they are then.

    The guard is armed before, or made sure of where an earlier run holds guests. A guest whose own time ends before the
    last one is held is released then. When this raises, nothing is held any more, or the :class:`HoldError` says what
    is; a :class:`TakenError` says that another hold was begun since, and nothing was done.
    """
    record.ends_at = time.monotonic() + settings.hold_deadline
    rows = _claimed(rows, record, settings, go_on=go_on)
    todo = {row.uuid for row in rows if row.method != "none" and not row.held}
    stop = threading.Event()
    begun: set[str] = set()
    try:
        if todo or any(row.outstanding for row in rows):
            settings.guard.arm(record.path)
        deadline = Deadline.after(settings.hold_deadline)

        def work(worker: Worker, row: Row) -> Row:
            held = _hold_one(worker, row, record, settings, stop=stop, deadline=deadline)
            if held.error and not go_on:
                stop.set()
            return held

        def release_due() -> None:
            over = [row for row in due(record.rows, time.monotonic()) if row.uuid not in begun]
            release_some(pool, over, record, settings)
            begun.update(row.uuid for row in over)

        for phase in phases([row for row in rows if row.uuid in todo]):
            if not stop.is_set():
                record.put(*map(about_to, phase))
                limited = any(row.limit is not None for row in record.rows)
                pool.finish(pool.begin(phase, work), meanwhile=release_due if limited else None)
                record.put()
    except BaseException:
        with suppress(RecordLeftError):
            release_all(pool, record, settings)
        raise
    known = {row.uuid: row for row in record.rows}
    rows = [known[row.uuid] for row in rows]
    broken = [row for row in rows if row.error and row.uuid in todo]
    if broken and not go_on:
        _undo(pool, record, settings, broken, rows)
    return rows


def _claimed(rows: Sequence[Row], record: HoldRecord, settings: HoldSettings, *, go_on: bool) -> list[Row]:
    """Write down who is to be held, unless another hold has done so with one of them since it was looked at."""
    with claiming(settings.directory):
        others = other_holds(settings.directory, record.hold_id, boot_id(settings.boot))
        rows = [row if row.outstanding else _unless_taken(row, others) for row in rows]
        taken = [row for row in rows if row.uuid in others and row.error]
        if taken and not go_on:
            raise not_held(taken, rows, "nothing was held", TakenError)
        record.put(*rows)
    return rows


def _unless_taken(row: Row, others: Mapping[str, tuple[str, Row]]) -> Row:
    holder, theirs = others.get(row.uuid, ("", None))
    if row.method == "none" or theirs is None or theirs.domain_id != row.domain_id:
        return row
    return unheld(row, taken_by(holder)[1])


def _undo(
    pool: WorkerPool, record: HoldRecord, settings: HoldSettings, broken: Sequence[Row], done: Sequence[Row]
) -> None:
    try:
        released = release_all(pool, record, settings)
    except RecordLeftError as exc:
        released = list(exc.rows)
    except HoldError as exc:
        message = f"{not_held(broken, done, 'the hold was to be undone').message}; {exc.message}"
        raise HoldError(message, guests=exc.fields["guests"]) from exc
    errors = {row.uuid: row.error for row in done}
    rows = [replace(row, error=errors.get(row.uuid)) for row in released]
    raise not_held(broken, rows, "the hold was undone")


def _hold_one(
    worker: Worker, row: Row, record: HoldRecord, settings: HoldSettings, *, stop: threading.Event, deadline: Deadline
) -> Row:
    """Return the row of a guest after the try to hold it; whatever goes wrong is its error, and no other guest's."""
    done = outcome_of(
        lambda: _held(worker, row, record, settings, stop=stop, deadline=deadline), what=f"hold guest {row.name}"
    )
    if isinstance(done, KvmsnapError):
        known = record.row(row.uuid)
        done = unheld(row if known is None or known.freeze_sent is None else known, done.message)
    record.note(done)
    return done


def _held(
    worker: Worker, row: Row, record: HoldRecord, settings: HoldSettings, *, stop: threading.Event, deadline: Deadline
) -> Row:
    seen = worker.seen(row.uuid)
    if seen is None:
        raise HoldError(f"Failed to hold guest {row.name}: {GONE}")
    domain, state = seen
    if state.domain_id != row.domain_id:
        now = "it was started anew since it was looked at" if state.active else f"it is off ({state.reason})"
        raise HoldError(f"Failed to hold guest {row.name}: {now}")
    if state.state != "running":
        return left_alone(row, state)
    return _WORK[row.method](domain, row, record, settings, stop=stop, deadline=deadline)


def release_all(pool: WorkerPool, record: HoldRecord, settings: HoldSettings) -> list[Row]:
    """Let go of every guest of the record, all at once, and forget the hold; raises :class:`HoldError`.

    Raises :class:`RecordLeftError` when they are free, and the hold cannot be forgotten.

    Groups are released in the reverse of the order in which they were held, but none waits long for another.
    """
    releasing(record.path, seconds=longest_release(settings))
    rows = _release(pool, record.rows, record, settings)
    stuck = [row for row in rows if row.outstanding]
    if stuck:
        said = "; ".join(str(row.error) for row in stuck)
        raise HoldError(
            f"Failed to release {names_of(stuck)}: {said}. The hold {record.hold_id} is kept; resume it again",
            guests=[row.as_dict() for row in rows],
        )

    def forget() -> None:
        record.remove()
        settings.guard.disarm(record.path)

    failure = outcome_of(forget, what=f"forget hold {record.hold_id}")
    if isinstance(failure, KvmsnapError):
        message = f"All guests of hold {record.hold_id} were released, but what was written down of it is left"
        raise RecordLeftError(f"{message}: {failure.message}", rows) from failure
    return rows


def longest_release(settings: HoldSettings) -> float:
    """Return the seconds after which a release is over: two tries of a silent agent fit into them."""
    return max(_RELEASE_SECONDS, 2.0 * _one_try(settings))


def _one_try(settings: HoldSettings) -> float:
    return float(settings.freeze_timeout + settings.ping_timeout)


def release_some(pool: WorkerPool, rows: Iterable[Row], record: HoldRecord, settings: HoldSettings) -> None:
    """Begin to let go of some guests while the others are held on; :func:`release_all` sees to it that it succeeds."""
    pool.begin(rows, lambda worker, row: _try(worker, row, record, settings))


def _release(pool: WorkerPool, rows: Sequence[Row], record: HoldRecord, settings: HoldSettings) -> list[Row]:
    """Try each guest once, then again those that could not be released; nobody waits for another's second try.

    That goes on for as often as is asked for and for some seconds at least: agents need them when libvirt was away. It
    ends before the dead-man timer would take it for hung.
    """
    done = {row.uuid: row for row in rows}
    patience = Deadline.after(_RELEASE_PATIENCE, settings.clock)
    end = Deadline.after(longest_release(settings), settings.clock)
    for attempt in count():
        todo = [row for row in done.values() if attempt == 0 or row.outstanding]
        if not todo or (attempt > settings.retry_count and patience.remaining() <= 0):
            break
        if attempt and end.remaining() < _one_try(settings):
            break
        settings.clock.sleep(pause(attempt))
        groups = [[row for row in todo if row.order == order] for order in sorted({row.order for row in todo})]
        begun = []
        for group in reversed(groups):
            quick = sorted(group, key=_quickest_first)
            begun.append(pool.begin(quick, lambda worker, row: _try(worker, row, record, settings)))
            pool.wait(begun[-1], seconds=_GROUP_PATIENCE if len(groups) > 1 else None)
        done.update({row.uuid: row for each in begun for row in pool.finish(each)})
        with suppress(HoldRecordError):
            record.put()
    return [done[row.uuid] for row in rows]


def _quickest_first(row: Row) -> tuple[bool, bool]:
    return row.phase != "held", row.by_agent


def _try(worker: Worker, row: Row, record: HoldRecord, settings: HoldSettings, *, fired: bool = False) -> Row:
    """Let go of a guest, if that can be done at once; a connection that breaks meanwhile is opened again."""
    if not row.outstanding:
        return row if row.phase == "released" else _looked_at_again(worker, row)
    done = row
    for _again in range(2):
        done = _let_go(worker, replace(row, thaw_sent=done.thaw_sent), record, settings)
        if not done.outstanding or outcome_of(lambda: worker.alive, what="look at a connection") is True:
            break
    if fired and not done.outstanding and (done.held or row.phase == "holding"):
        done = _expired(done)
    record.note(done)
    return done


def _let_go(worker: Worker, row: Row, record: HoldRecord, settings: HoldSettings) -> Row:
    """Return the row of a guest after one try to let go of it; whatever goes wrong is its error."""
    done = outcome_of(lambda: let_go_of(worker, row, record, settings), what=f"let go of guest {row.name}")
    return replace(row, error=done.message) if isinstance(done, KvmsnapError) else done


def _expired(row: Row) -> Row:
    """Return the row of a guest that the timer released: what a snapshot before the thaw has is as it was.

    One whose freeze was never answered may not have been held at all.
    """
    if not row.held:
        return replace(broken(row, "the dead-man timer undid its hold, which was never confirmed"), fired=True)
    why = "the dead-man timer ended its hold"
    return replace(row, held=False, fired=True, reason="; ".join(filter(None, (row.reason, why))))


def _looked_at_again(worker: Worker, row: Row) -> Row:
    """Return the row of a guest that was not held; one that was off and was started meanwhile wrote to its disks."""
    if row.consistency != OFFLINE:
        return row
    started = outcome_of(lambda: _active_now(worker, row.uuid), what=f"look at guest {row.name}")
    if isinstance(started, KvmsnapError):
        return broken(row, f"whether it was started during the hold is not known: {started.message}")
    return broken(row, "it was started during the hold") if started else row


def _active_now(worker: Worker, uuid: str) -> bool:
    domain = worker.domain(uuid)
    return domain is not None and domain.state().active


def _result(record: HoldRecord, rows: Sequence[Row], *, changed: bool, timer: Optional[Timer] = None) -> dict[str, Any]:
    timer = timer or known_timer(timer_path(record.path))
    return {
        "changed": changed,
        "hold_id": record.hold_id,
        "guests": [row.as_dict() for row in rows],
        "timer": timer and timer.as_dict(),
        "fired": (timer is not None and timer.fired) or any(row.fired for row in rows),
    }
