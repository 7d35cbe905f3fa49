# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at all guests before a hold, which says of each how it is to be held."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import CRASH
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.decide import decide
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.freezing import done_to, paused, same_run, thaw
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    GONE,
    UNSEEN,
    Found,
    HoldError,
    HoldRequest,
    HoldSettings,
    Observation,
    TakenError,
    Unseen,
    not_held,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import HoldRecord, Row, other_holds
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Domain,
    LibvirtError,
    LibvirtMissingError,
    LibvirtUnavailableError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id, qemu_processes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import Worker, WorkerPool


def prepare(
    pool: WorkerPool,
    wanted: Sequence[HoldRequest],
    record: HoldRecord,
    settings: HoldSettings,
    *,
    check: bool,
    go_on: bool,
) -> list[Row]:
    """Read the record, look at all guests and return a row for each that says how it is to be held; holds nothing.

    The pool's connections are open afterwards, and agents that are to freeze have answered. Raises as :func:`hold`.
    """
    record.read()
    holders = other_holds(settings.directory, record.hold_id, boot_id(settings.boot))
    look = _look_at_all(
        pool, wanted, lambda worker, want: _look(worker, want, settings, record, holders, act=not check), go_on=go_on
    )
    found = list(zip(look, wanted))
    unproved = [row for row in (_unproved(guest, want, record) for guest, want in found) if row]
    if unproved:
        raise not_held(unproved, unproved, "nothing was held")
    rows = [_row_of(guest, want, record, settings, go_on=go_on) for guest, want in found]
    refused = [row for row in rows if row.error and not go_on]
    if refused:
        taken = {guest.uuid for guest in look if isinstance(guest, Observation) and guest.holder}
        kind = TakenError if all(row.uuid in taken for row in refused) else HoldError
        raise not_held(refused, rows, "nothing was held", kind)
    return rows


def _look_at_all(
    pool: WorkerPool,
    wanted: Sequence[HoldRequest],
    look: Callable[[Worker, HoldRequest], Optional[Observation]],
    *,
    go_on: bool,
) -> list[Found]:
    """Return what each guest is like; with ``go_on`` None for one with a uuid that libvirt does not know any more.

    What goes wrong with one guest is an error of that guest. Raises :class:`LibvirtError` when libvirt itself is away,
    and for a guest that is known by its name alone.
    """

    def seen(worker: Worker, want: HoldRequest) -> Found:
        found = outcome_of(lambda: look(worker, want), what=f"look at guest {want.label}")
        if not isinstance(found, KvmsnapError):
            return found
        if isinstance(found, (LibvirtUnavailableError, LibvirtMissingError)) or not want.uuid:
            raise found
        return Unseen(f"{UNSEEN}: {found.message}")

    found = pool.each(wanted, seen)
    unknown = [want.label for want, guest in zip(wanted, found) if guest is None and not (go_on and want.uuid)]
    if unknown:
        named = ", ".join(map(repr, unknown))
        raise InputError(f"Libvirt does not know the guest {named}; nothing was held", guests=unknown)
    uuids = [guest.uuid if isinstance(guest, Observation) else want.uuid for want, guest in zip(wanted, found)]
    names = [guest.name if isinstance(guest, Observation) else want.label for want, guest in zip(wanted, found)]
    twice = sorted({name for name, uuid in zip(names, uuids) if uuids.count(uuid) > 1})
    if twice:
        raise InputError(f"The guest {', '.join(twice)} is named twice; nothing was held", guests=twice)
    processes = qemu_processes()
    return [
        replace(each, process=processes.get(each.uuid)) if isinstance(each, Observation) else each for each in found
    ]


def _look(
    worker: Worker,
    want: HoldRequest,
    settings: HoldSettings,
    record: HoldRecord,
    holders: Mapping[str, tuple[str, Row]],
    *,
    act: bool,
) -> Optional[Observation]:
    domain = worker.domain(want.uuid, want.name)
    if domain is None:
        return None
    state = domain.state()
    holder, row = holders.get(domain.uuid, (None, None))
    if row is not None and row.domain_id != state.domain_id:
        holder = None
    definition = parse_guest(domain.xml())
    agent = domain.agent.channel(definition)
    seen = Observation(domain.name, domain.uuid, state, definition, agent, holder=holder)
    before = record.row(seen.uuid)
    frozen = before is not None and before.outstanding and before.by_agent
    by_agent = (want.asked in ("auto", "agent", "agent+suspend") or frozen) and agent == "connected"
    if not by_agent or holder or state.state != "running":
        return seen
    try:
        domain.agent.ping(settings.ping_timeout)
        status = domain.agent.status(settings.ping_timeout)
        if status == "thawed":
            seen = replace(seen, mounts=_mounts(domain, settings))
        if status == "frozen" and _left_by_us(before, seen):
            error = thaw(domain, settings).error if act else None
            return replace(seen, status="thawed", agent_error=error)
        return replace(seen, status=status)
    except LibvirtError as exc:
        return replace(seen, agent_error=exc.message)


def _mounts(domain: Domain, settings: HoldSettings) -> Optional[tuple[FileSystem, ...]]:
    """Return what is mounted in a guest, None when its agent does not tell (the command may be switched off)."""
    try:
        domain.agent.limit(settings.ping_timeout)
        return domain.agent.filesystems()
    except LibvirtError:
        return None


def _left_by_us(row: Optional[Row], seen: Observation) -> bool:
    """Say whether a run of this hold that broke off may have held the guest without knowing it."""
    return row is not None and row.phase == "holding" and row.domain_id == seen.state.domain_id


def _taken_over(before: Optional[Row], seen: Observation) -> Optional[Row]:
    """Return the row of a guest that an earlier run of this hold holds still, as it is now."""
    if before is None or _still_held(before, seen):
        return before
    if before.method == "suspend" and _left_by_us(before, seen) and paused(seen.state):
        return replace(before, phase="held", held=True, freeze_answered=time.monotonic(), error=None)
    return None


def _unproved(seen: Found, want: HoldRequest, record: HoldRecord) -> Optional[Row]:
    """Return the row of a guest that an earlier run of this hold may have left held; replacing it would forget that."""
    before = record.row(seen.uuid if isinstance(seen, Observation) else want.uuid)
    if before is None or not before.outstanding:
        return None
    why = seen.error if isinstance(seen, Unseen) else GONE
    if isinstance(seen, Observation):
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
    fate = f"an earlier run of the hold {record.hold_id} may have left it {done_to(before)} ({why})"
    return replace(before, error=f"{fate}; {remedy}")


def _row_of(found: Found, want: HoldRequest, record: HoldRecord, settings: HoldSettings, *, go_on: bool) -> Row:
    if isinstance(found, Observation):
        return _planned(found, want, record, settings, go_on=go_on)
    return _left_out(want, GONE if found is None else found.error)


def _planned(seen: Observation, want: HoldRequest, record: HoldRecord, settings: HoldSettings, *, go_on: bool) -> Row:
    ours = _taken_over(record.row(seen.uuid), seen)
    if ours is not None:
        return ours
    step = decide(want.asked, seen, want.disks, want.filesystems)
    frozen = step.method in ("agent", "agent+suspend")
    reason = step.error if step.error and go_on else step.reason
    return Row(
        name=seen.name,
        uuid=seen.uuid,
        requested_method=want.asked,
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
        limit=settings.vss_deadline if frozen and seen.vss is not False else None,
    )


def _left_out(want: HoldRequest, why: str) -> Row:
    """Return the row of a guest that is not here any more, or cannot be looked at: it may run, and nobody holds it."""
    return Row(name=want.label, uuid=want.uuid, requested_method=want.asked, consistency=CRASH, reason=why, error=why)


def _still_held(row: Row, seen: Observation) -> bool:
    """Say whether a guest is held as an earlier run left it; one whose release was tried is not to be relied on."""
    if row.phase != "held" or row.thaw_sent is not None or row.domain_id != seen.state.domain_id:
        return False
    return seen.status == "frozen" if row.method == "agent" else paused(seen.state)
