# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The critical section of a backup, in one process: hold all guests, take all snapshots, let go of all guests.

Everything is opened and tried before the first guest is held; inside the hold there is nothing but freeze, snapshot and
thaw, and nothing that fails is taken back before the guests run again.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.decide import due, phases
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold_all, release_all, release_some
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.look import prepare
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldError,
    HoldRequest,
    HoldSettings,
    RecordLeftError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import HoldRecord, Row, locked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import known_timer, timer_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import WorkerPool
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import snapshots as snap
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.group_plan import GroupUse
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import CreatedSet, Creation, read_known
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Found
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

WARM_SECONDS = 60.0
"""Time for opening the connections and looking for snapshots of the name, before anything is held."""

_LOOK_AGAIN = 0.1
"""Seconds after which guests whose own time is over are let go, while the snapshots are waited for."""


@dataclass(frozen=True)
class CriticalResult:
    """What a hold came to: each guest's row, what came of the snapshots, and who could not be released, if any.

    ``ended_early``: the process was asked to end meanwhile. ``notes`` tell of what made the hold longer, and of a
    record of it that is left. ``broken``: what ended it before its end, when snapshots had been asked for already;
    ``made`` is to be taken back then.
    """

    rows: tuple[Row, ...]
    made: CreatedSet
    stuck: Optional[HoldError] = None
    ended_early: bool = False
    notes: tuple[str, ...] = ()
    broken: Optional[BaseException] = None


def run(
    guests: Sequence[HoldRequest],
    wanted: snap.SnapshotRequest,
    found: Sequence[Found],
    settings: HoldSettings,
    *,
    go_on: bool,
    uses: Sequence[GroupUse] = (),
) -> CriticalResult:
    """Hold the guests, create the snapshots, release the guests; the name of the snapshots is that of the hold.

    The consistency groups ``uses`` make the snapshots of their volumes, started when all guests are held.
    From the first request for a snapshot on, what fails is returned, not raised: what was made is known in any case.
    :raises HoldError: a guest could not be held as asked; none is held any more, or the error names it.
    :raises InputError: a snapshot of the name is there; nothing was held.
    """
    clients = {volume.uuid: client for client, volume in found}
    directory, boot = settings.directory, boot_id(settings.boot)
    pool = WorkerPool(settings.connect, size=len(guests), most=settings.at_once)
    creation: Optional[Creation] = None
    with _deferred() as to_end:
        try:
            with locked(directory, wanted.name), pool:
                record = HoldRecord(directory, wanted.name, boot)
                rows = prepare(pool, guests, record, settings, check=False, go_on=go_on)
                pool.warm([row.uuid for row in rows])
                plan = absent(wanted, found, deadline=Deadline.after(WARM_SECONDS))
                hold_all(pool, rows, record, settings, go_on=go_on)
                try:
                    deadline = Deadline(at=_began(record) + settings.hold_deadline)
                    creation = Creation(plan, wanted, clients=clients, deadline=deadline, uses=uses)
                    begun: set[str] = set()
                    while not (over(creation, deadline) or to_end.is_set()):
                        now_due = [row for row in due(record.rows, time.monotonic()) if row.uuid not in begun]
                        release_some(pool, now_due, record, settings)
                        begun.update(row.uuid for row in now_due)
                except BaseException:
                    with suppress(RecordLeftError):
                        release_all(pool, record, settings)
                    raise
                stuck, unfinished = None, []
                try:
                    rows = release_all(pool, record, settings)
                except RecordLeftError as exc:
                    rows, unfinished = list(exc.rows), [exc.message]
                except HoldError as exc:
                    rows, stuck = record.rows, exc
                notes = (*waves(rows, pool.size), *unfinished)
                return CriticalResult(tuple(rows), creation.outcome(), stuck, to_end.is_set(), notes)
        except BaseException as exc:
            if creation is None:
                raise
            return CriticalResult((), creation.outcome(), broken=exc)


def _began(record: HoldRecord) -> float:
    """Return the moment from which the hold's deadline counts, the dead-man timer's too: when that was armed."""
    timer = known_timer(timer_path(record.path))
    sent = [row.freeze_sent for row in record.rows if row.freeze_sent is not None]
    return timer.armed_at if timer is not None else min(sent, default=time.monotonic())


def absent(wanted: snap.SnapshotRequest, found: Sequence[Found], *, deadline: Deadline) -> snap.SnapshotPlan:
    """Return the plan that creates all snapshots; as many connections as there are volumes stand open afterwards.

    :raises SnapshotRefusedError: a volume cannot have one, or has another's. :raises InputError: it has one of ours.
    """
    plan = snap.plan_present(wanted, read_known(found, wanted.name, deadline=deadline, warm=True))
    plan.raise_refusals("create")
    there = [step.volume.label for step in plan.steps if step.action != "create"]
    if there:
        raise InputError(
            f"Snapshot {wanted.name} of {wanted.owner} is on {', '.join(there)} already, without a backup of that name;"
            " nothing was touched; choose another backup_id",
            snapshot=wanted.name,
            volumes=there,
        )
    return plan


def over(creation: Creation, deadline: Deadline) -> bool:
    """Wait a moment, and say whether the hold is to end: all snapshots exist, one cannot, or its time is over."""
    return (
        creation.done(within=min(_LOOK_AGAIN, deadline.remaining())) or creation.failed() or deadline.remaining() <= 0
    )


def waves(rows: Sequence[Row], at_once: int) -> list[str]:
    """Return notes about guests that could not be held at once, since libvirt works on so many at a time; pure."""
    found = []
    for phase in phases([row for row in rows if row.method != "none"]):
        if len(phase) > at_once:
            count = -(-len(phase) // at_once)
            found.append(
                f"{len(phase)} guests were held in {count} waves, since libvirt's daemon works on {at_once} at once;"
                " raise its max_workers for a shorter hold"
            )
    return found


@contextmanager
def _deferred() -> Iterator[threading.Event]:
    """Note a request to end (SIGTERM, SIGINT) instead of obeying it in the middle of a hold.

    A lost terminal (SIGHUP) ends nothing: the hold ends by itself, soon. Only a main thread can have handlers.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda _number, _frame: asked.set()),
        signal.SIGINT: signal.signal(signal.SIGINT, lambda _number, _frame: asked.set()),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
