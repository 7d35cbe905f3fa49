# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole backup in one process: what ``kvm_vm_backup`` does around the critical section.

The started manifest is written before the first guest is held, and what breaks is taken back. What cannot be taken back
stays in the catalog as started, so that a second run with the same name removes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import critical_section, left_out, manifest_writer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.host_lock import backup_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.plan import (
    BackupPlan,
    MadeSnapshot,
    backup_plan,
    hold_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BackupRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedGroup, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import (
    locate,
    missing_volumes,
    refs_of,
    snapshots_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.summary import backup_record
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import hold, models, quiesce
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.healing import heal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import HoldRecord, Row
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import unexpected
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import (
    PATIENCE,
    guest_locks,
    lock_directory,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import deletable
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes, groups
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.group_plan import (
    NEVER,
    GroupPlan,
    check_hold,
    group_plan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import (
    CreatedSet,
    Ensured,
    SnapshotSetError,
    ensure_absent,
    ensure_present,
    settle,
    undo,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import (
    SnapshotRequest,
    Taken,
    as_planned,
    as_result,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Found, VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

FAIL_GUEST = "fail_guest"
FAIL_RUN = "fail_run"
RECORD = "record"


class BackupError(KvmsnapError):
    """There is no backup, or it is not what was asked for; the message says what is left."""


def back_up(request: BackupRequest, *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_backup``.

    A backup of the name that exists stays as it is; one that was begun and not completed is taken back first.

    :raises InputError: it cannot be begun. :raises BusyError: another one is under way.
    :raises BackupError: there is no backup, or the guests of the one there is could not all be released.
    """
    began = time.monotonic()
    place = request.hold_settings.directory.parent
    lock = nullcontext() if check else backup_lock(place, request.name, wait=request.patience)
    with lock, request.array.connected(request.array.deadline()) as clients:
        known = store.load(request.root, request.name)
        if known is not None and not known.complete:
            _refuse_shared(known)
        if known is not None and known.complete:
            result = _as_it_is(request, known, clients, check=check)
        elif check:
            result = _foreseen(request, clients)
        else:
            if known is not None:
                _take_back_begun(request, known, clients)
            result = _made(request, clients)
    result["timing"]["run_seconds"] = round(time.monotonic() - began, 6)
    return result


def timing_of(rows: Iterable[Row], taken: Iterable[Taken]) -> dict[str, Optional[float]]:
    """Return how long the parts of a hold took, in seconds on the host's monotonic clock; None for what was not done.

    ``hold_seconds`` is the longest that a guest was held, ``snapshot_call_seconds`` the slowest single snapshot.
    """
    held = [row for row in rows if row.freeze_sent is not None]
    calls = [(each.requested_at, each.confirmed_at) for each in taken if each.created]
    slowest = max((end - begin for begin, end in calls if begin is not None and end is not None), default=None)
    return {
        "hold_seconds": max((row.held_seconds for row in held if row.held_seconds is not None), default=None),
        "freeze_seconds": _span([row.freeze_sent for row in held], [row.freeze_answered for row in held]),
        "snapshot_seconds": _span([begin for begin, _end in calls], [end for _begin, end in calls]),
        "snapshot_call_seconds": None if slowest is None else round(slowest, 6),
        "thaw_seconds": _span([row.thaw_sent for row in held], [row.thaw_answered for row in held]),
        "run_seconds": None,
    }


def _span(begins: Iterable[Optional[float]], ends: Iterable[Optional[float]]) -> Optional[float]:
    first = min((moment for moment in begins if moment is not None), default=None)
    last = max((moment for moment in ends if moment is not None), default=None)
    return None if first is None or last is None else round(last - first, 6)


def _as_it_is(request: BackupRequest, known: Manifest, clients: Sequence[Client], *, check: bool) -> dict[str, Any]:
    """Return the backup that exists, once its snapshots have the label and the expiry that an earlier run did not set.

    :raises BackupError: it cannot be restored from.
    """
    places = locate(clients, known.volumes, deadline=request.array.deadline())
    found = snapshots_of(places, known.volumes, deadline=request.array.deadline())
    origin = store.origin_of(request.root, request.name)
    backup = backup_record(known, missing=missing_volumes(known, found), origin=origin)
    if backup["missing"]:
        raise BackupError(
            f"Backup {request.name} is in the catalog {request.root} and cannot be restored from: its snapshots are"
            f" missing on {', '.join(backup['missing'])}. It is left as it is; choose another backup_id",
            backup=backup,
        )
    there = [snapshots[request.name] for snapshots in found.values()]
    lacking = replace(
        request.wanted,
        snapmirror_label=request.wanted.snapmirror_label if any(not each.snapmirror_label for each in there) else None,
        expiry_time=request.wanted.expiry_time if any(each.expiry_time is None for each in there) else None,
    )
    late = _set_late(request, lacking, known, clients, check=check)
    result = manifest_writer.result_of(known, before="complete", notes=[])
    return {
        **result,
        "changed": late is not None and late.changed,
        "backup": backup,
        "diff": {"before": result["diff"]["after"], "after": result["diff"]["after"]},
        "guests": [],
        "snapshots": [as_result(each) for each in late.taken] if late else [],
        "guests_below_consistency": manifest_writer.guests_below(known, request.asked),
        "timing": timing_of([], []),
    }


def _refuse_shared(known: Manifest) -> None:
    """Refuse to take back what other hosts of one point in time may need; raises :class:`InputError`."""
    others = known.sharers
    if others:
        raise InputError(
            f"Backup {known.backup_id} was begun as one point in time with {', '.join(others)}, whose parts of it may"
            " need its snapshots. Nothing was touched. Choose another backup_id, and remove what is left of it with the"
            " playbook recover",
            backup_id=known.backup_id,
        )


def _take_back_begun(request: BackupRequest, known: Manifest, clients: Sequence[Client]) -> None:
    """Undo what a run that broke off left: its hold, its snapshots and, once those are gone, its manifest."""
    hold.release(request.name, request.hold_settings, check=False)
    manifest_writer.withdraw(request.root, request.name, check=False, run_id=known.run_id)
    wanted = SnapshotRequest(request.name, owner=request.wanted.owner, keep_foreign=True)
    refs = refs_of(clients, known, deadline=request.array.deadline())
    with deletable(request.root, [request.name]):
        ensure_absent(clients, refs, wanted, check_mode=False, deadline=request.array.deadline())
    manifest_writer.remove(request.root, request.name, check=False, run_id=known.run_id)


def _foreseen(request: BackupRequest, clients: Sequence[Client]) -> dict[str, Any]:
    """Return what would be done, after trying all that can be tried without a change."""
    busy = left_out.locked_now(request.hold_settings.directory, request.scope.protected)
    request = _without_half_restored(_without(request, busy))
    manifest, plan = manifest_writer.planned(request.name, request.scope)
    found = find_volumes(clients, _refs(manifest), deadline=request.array.deadline())
    grouped = _grouped(request, found)
    manifest = replace(manifest, groups=_saved(grouped))
    planned = as_planned(
        critical_section.absent(request.wanted, found, deadline=request.array.deadline()), request.wanted
    )
    begun = manifest_writer.foreseen(manifest, key=request.scope.key)
    held = hold.hold(_guests(request, plan), request.name, request.hold_settings, check=True, go_on=request.go_on)
    return {
        **manifest_writer.result_of(begun.manifest, before="absent", notes=[*begun.notes, *grouped.notes()]),
        "guests": held["guests"],
        "snapshots": [as_result(each) for each in planned],
        "guests_below_consistency": [],
        "timing": timing_of([], []),
    }


def _made(request: BackupRequest, clients: Sequence[Client]) -> dict[str, Any]:
    """Make the backup of the guests that nobody works on, whose locks are had before the first one is held."""
    patience = Deadline.after(request.patience)
    plan = backup_plan(request.scope)
    healed = heal(request.hold_settings, but=request.name)
    quiesce.wait_for_others(_guests(request, plan), request.name, request.hold_settings, patience)
    with ExitStack() as locks:
        busy = locks.enter_context(
            guest_locks(
                lock_directory(request.hold_settings.directory),
                [(guest.uuid, guest.name) for guest in plan.guests],
                purpose="backup",
                identity=request.name,
                wait=min(PATIENCE, patience.remaining()),
            )
        )
        return _made_of(_without_half_restored(_without(request, left_out.locked(busy))), clients, locks, healed)


def _without(request: BackupRequest, excluded: left_out.LeftOut) -> BackupRequest:
    """Return the request without guests that are left out; they are not protected by this backup."""
    return replace(request, scope=left_out.without(request.scope, excluded))


def _without_half_restored(request: BackupRequest) -> BackupRequest:
    """Return the request without guests whose disks are neither old nor new, and with that said of each of them.

    One whose file is moved aside is not protected anyway, and the reason is worth knowing.
    """
    return _without(request, left_out.half_restored(request.root, request.scope.everyone))


def _made_of(
    request: BackupRequest, clients: Sequence[Client], locks: ExitStack, healed: Sequence[str]
) -> dict[str, Any]:
    """Make the backup and return the result; an error says whether there is one, and what is left of it if not.

    The ``locks`` of the guests end with the hold.
    """
    manifest, plan = manifest_writer.planned(request.name, request.scope)
    guests = _guests(request, plan)
    found = find_volumes(clients, _refs(manifest), deadline=request.array.deadline())
    critical_section.absent(request.wanted, found, deadline=request.array.deadline())
    grouped = _grouped(request, found)
    manifest = replace(manifest, groups=_saved(grouped))
    wanted = request.wanted
    by_uuid = {volume.uuid: client for client, volume in found}
    made = CreatedSet(())
    try:
        begun = manifest_writer.start(request.root, manifest, request.scope.guests, key=request.scope.key)
        manifest, wanted = begun.manifest, replace(request.wanted, comment=begun.manifest.comment)
        critical = critical_section.run(
            guests, wanted, found, request.hold_settings, go_on=request.go_on, uses=grouped.uses
        )
        made = critical.made
        locks.close()
        if critical.broken is not None:
            raise critical.broken
        taken = settle(made, wanted, clients=by_uuid)
        done = _completed(request, manifest, critical, taken)
        manifest_writer.finish(request.root, done)
    except BaseException as exc:
        raise _undone(request, exc, wanted, made, run_id=manifest.run_id, clients=by_uuid) from exc
    rows = list(critical.rows)
    result = {
        **manifest_writer.result_of(
            done, before="absent", notes=[*healed, *begun.notes, *grouped.notes(), *critical.notes]
        ),
        "guests": [row.as_dict() for row in rows],
        "snapshots": [as_result(each) for each in taken],
        "guests_below_consistency": manifest_writer.guests_below(done, request.asked),
        "timing": timing_of(rows, taken),
    }
    try:
        late = _set_late(request, request.wanted, done, clients, check=False)
    except KvmsnapError as exc:
        raise _but(request, exc, result) from exc
    if critical.stuck is not None:
        raise _but(request, critical.stuck, result) from critical.stuck
    return {**result, "snapshots": [as_result(each) for each in _with_late(taken, late)]}


def _grouped(request: BackupRequest, found: Sequence[Found]) -> GroupPlan:
    """Decide which consistency groups make the snapshots; nothing is asked when none are wanted.

    :raises InputError: a volume lacks one that is required, or the hold is too short for any.
    """
    mode = request.consistency_groups
    if mode == NEVER:
        return GroupPlan()
    seen = groups.look(found, request.name, deadline=request.array.deadline())
    grouped = group_plan(mode, [volume for _client, volume in found], seen)
    check_hold(grouped.uses, request.hold_settings.hold_deadline)
    return grouped


def _saved(grouped: GroupPlan) -> tuple[SavedGroup, ...]:
    return tuple(
        SavedGroup(
            controller=use.group.controller,
            svm=use.group.svm,
            svm_uuid=use.group.svm_uuid,
            name=use.group.name,
            uuid=use.group.uuid,
            volumes=tuple(volume.name for volume in use.own),
            foreign=tuple(
                SavedVolume(volume.controller, volume.svm, volume.svm_uuid, volume.name, volume.uuid)
                for volume in use.foreign
            ),
        )
        for use in grouped.uses
    )


def _completed(
    request: BackupRequest, started: Manifest, critical: critical_section.CriticalResult, taken: Sequence[Taken]
) -> Manifest:
    """Return the complete manifest; raises :class:`BackupError` when the run is to be taken back."""
    if critical.ended_early:
        raise BackupError("the process was asked to end")
    outcome = manifest_writer.BackupOutcome(
        holds=tuple(map(hold_of, critical.rows)),
        snapshots=tuple(map(MadeSnapshot.of, taken)),
        asked=request.asked,
        other_hosts=request.other_hosts,
    )
    done = manifest_writer.completed(started, outcome)
    below = manifest_writer.guests_below(done, request.asked)
    if below and request.below == FAIL_RUN:
        levels = "; ".join(
            f"{guest.name} reached {guest.consistency.level} ({guest.consistency.reason or 'no more could be had'})"
            for guest in done.guests
            if guest.consistency and guest.name in below
        )
        guests = [row.as_dict() for row in critical.rows]
        raise BackupError(f"{request.asked} was asked for, and {levels}", guests_below_consistency=below, guests=guests)
    return done


def _undone(
    request: BackupRequest,
    exc: BaseException,
    wanted: SnapshotRequest,
    made: CreatedSet,
    *,
    run_id: str,
    clients: Mapping[str, Client],
) -> BaseException:
    """Take back what was made, and return the error that says why there is no backup and what is left of it."""
    if isinstance(exc, SnapshotSetError):
        remaining = [str(each["volume"]) for each in exc.fields.get("left_behind", ())]
        remaining += [f"{each}, where a snapshot of that name came meanwhile" for each in _met(exc)]
    else:
        remaining = [volume.label for volume, _error in undo(made, wanted, clients=clients)[1]]
    if _held_still(request):
        remaining.append("guests that are held")
    if not remaining:
        manifest_writer.remove(request.root, request.name, check=False, run_id=run_id)
    if isinstance(exc, Exception) and not isinstance(exc, KvmsnapError):
        exc = unexpected(exc, f"make backup {request.name}")
    if not isinstance(exc, KvmsnapError):
        return exc
    fate = "What had been made of it was taken back."
    if remaining:
        fate = (
            f"Not all of it could be taken back ({', '.join(remaining)}). Run again with the same backup_id to finish"
            " the roll-back"
        )
    message = f"Backup {request.name} was not made: {exc.message.rstrip('.')}. {fate}"
    return BackupError(message, **{"failure_kind": type(exc).__name__, **exc.fields})


def _met(exc: SnapshotSetError) -> list[str]:
    """Return the volumes on which a snapshot of the name was met: before the hold there was none.

    An earlier run's may come late; its manifest stays, so that a second run with the same name removes it.
    """
    failures = exc.fields.get("failures", ())
    return [str(each["volume"]) for each in failures if each.get("ontap_code") in codes.SNAPSHOT_MET]


def _held_still(request: BackupRequest) -> bool:
    known = HoldRecord(request.hold_settings.directory, request.name, boot_id(request.hold_settings.boot))
    return known.read()


def _but(request: BackupRequest, exc: KvmsnapError, result: dict[str, Any]) -> BackupError:
    message = f"Backup {request.name} was made and can be restored from, but: {exc.message}"
    return BackupError(message, **{**exc.fields, **result, "changed": True})


def _set_late(
    request: BackupRequest, wanted: SnapshotRequest, manifest: Manifest, clients: Sequence[Client], *, check: bool
) -> Optional[Ensured]:
    """Set label and expiry, now that all snapshots exist; None when there is nothing to set."""
    if wanted.snapmirror_label is None and wanted.expiry_time is None:
        return None
    return ensure_present(clients, _refs(manifest), wanted, check_mode=check, deadline=request.array.deadline())


def _with_late(taken: Iterable[Taken], late: Optional[Ensured]) -> list[Taken]:
    """Return the snapshots with the label and the expiry that they have now."""
    now = {each.snapshot.uuid: each.snapshot for each in late.taken} if late else {}
    found = []
    for each in taken:
        latest = now.get(each.snapshot.uuid, each.snapshot)
        snapshot = replace(each.snapshot, snapmirror_label=latest.snapmirror_label, expiry_time=latest.expiry_time)
        found.append(replace(each, snapshot=snapshot))
    return found


def _guests(request: BackupRequest, plan: BackupPlan) -> list[models.HoldRequest]:
    scope = request.scope
    return plan.holds(scope.methods, order=scope.order, filesystems=scope.filesystems)


def _refs(manifest: Manifest) -> list[VolumeRef]:
    return [VolumeRef(item.svm, item.volume, item.volume_uuid) for item in manifest.volumes]
