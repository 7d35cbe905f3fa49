# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore from its options to its result: read, decide, act, tell. What ``kvm_app_restore`` does."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import known_restores, restore_journal, store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key, Places, locate, snapshots_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Journal, Safety
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.safety_snapshots import refuse_removed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import LATEST, Chosen, chosen_backup
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import mounted_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.guest_claim import claimed, refuse_busy
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import discover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.snapshot_copy import in_host_snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import backup_id, checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import leased
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import format_time
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import (
    execute,
    health,
    host_guard,
    namesakes,
    origin,
    redefine,
    resume,
    shared_disks,
    verify,
    ways,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import into as restore_into
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.checks import World
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.decide import restore_plan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.definition_diff import with_changes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_actor import DiskActor, file_size
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_selection import (
    NOT_ASKED,
    NOT_WRITTEN,
    choose,
    narrowed,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import with_kept
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware_check import with_firmware
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import examined, unexamined
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.guest_actor import GuestActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.host_actor import HostActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.look import DiskQuestion, Subject, guest_now
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.lun_actor import LunActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    ABSENT,
    GuestNow,
    RestorePlan,
    SnapshotNow,
    TwoGuests,
    refuse,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

Where = tuple[str, str, str]


class RestoreFailedError(KvmsnapError):
    """Guests were not brought back; ``guests`` tells each one's fate, the same ``restore_id`` goes on from there."""


def run(request: RestoreRequest, *, check: bool) -> dict[str, Any]:
    """Return the module's result, with ``check`` that of what would be done.

    Raises :class:`InputError` and :class:`RestoreRefusedError` before anything was touched, and
    :class:`RestoreFailedError` when a guest was not brought back.
    """
    # Other restores are kept out from before the journal is read; a check waits for nobody.
    with nullcontext() if check else restore_journal.alone(request.catalog_dir), ExitStack() as locks:
        return (_undo if request.undo else _run)(request, locks, check=check)


def _run(request: RestoreRequest, locks: ExitStack, *, check: bool) -> dict[str, Any]:
    root = request.catalog_dir
    asked = request.restore_id
    known = restore_journal.load(root, asked) if asked else None
    deadline = request.array.deadline()
    with request.array.connected(deadline) as clients:
        chosen = _chosen(request, known, clients, deadline)
        found = known_restores.read_restores(root)
        into = restore_into.decided(request.into_uuid, chosen, request.guests, known)
        if into is not None:
            request, chosen = into.settled(request), into.under_new_uuid(chosen)
        if into is not None:
            restore_into.refuse_half_restored(into, found)
        manifest, record = _begun(request, chosen.manifest, known, found, into)
        todo = [name for name in _unique(manifest, request.guests) if not _done(manifest, record, name)]
        _claim(locks, request, manifest, todo, record, check=check)
        places = locate(clients, manifest.volumes, deadline=deadline)
        record = resume.taken_over(record, found, _uuids(manifest, todo))
        _accepted(request.accept_unknown, record)
        trusted = chosen.origin.trusted
        planned = partial(_plan, request, manifest, record, todo, places, deadline, trusted=trusted, into=into)
        plan = resume.with_notes(origin.planned(chosen, root, planned), record, found)
        plan = _checked(request, plan, places, deadline, undo=False)
        if check:
            return {**_result(plan, record, [], changed=bool(todo)), **chosen.protection}
        if todo:
            chosen.keep(root)
        results, record = _carried_out(request, manifest, record, plan, places) if todo else ([], record)
    results = _with_health(request, record, results, _names_by_uuid(manifest, request.guests))
    return {**_reported(plan, record, results, changed=bool(todo)), **chosen.protection}


def _begun(
    request: RestoreRequest,
    whole: Manifest,
    known: Optional[Journal],
    found: known_restores.KnownRestores,
    into: Optional[restore_into.Into] = None,
) -> tuple[Manifest, Journal]:
    """Return the backup as far as it is to be restored, and the journal that says so.

    Without an id it is that of the restore of these guests from this backup that broke off, if there is one.
    """
    root = request.catalog_dir
    begun = known
    if begun is None and not request.restore_id:
        broken = resume.to_go_on_with(found, whole.backup_id, _uuids(whole, request.guests))
        begun = restore_journal.load(root, broken) if broken else None
    disks = choose(
        whole,
        guests=request.guests,
        wanted=request.disks,
        begun=begun.disks if begun else (),
        resumed=begun is not None,
    )
    noted = into.noted if into else {}
    record = begun or Journal(request.restore_id or _new_id(root), whole.backup_id, disks=disks, into=noted)
    return narrowed(whole, disks, reason=NOT_ASKED), record


def _new_id(root: Path) -> str:
    """Return a name for a restore that was given none; no restore of this host has it."""
    name = f"restore_{datetime.now(timezone.utc):%Y%m%d%H%M%S}"
    others = (f"{name}_{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], others) if restore_journal.load(root, each) is None)


def _uuids(manifest: Manifest, guests: Sequence[str]) -> list[str]:
    return [saved.uuid for saved in map(manifest.guest, guests) if saved is not None]


def _undo(request: RestoreRequest, locks: ExitStack, *, check: bool) -> dict[str, Any]:
    """Bring back what the guests were before the restore ``restore_id``, out of its safety snapshots.

    The result is that of a restore whose id is ``<restore_id>.undo``, from the safety snapshot in place of a backup.
    """
    root = request.catalog_dir
    known = restore_journal.load(root, checked_id(request.restore_id, what="restore_id"))
    if known is None:
        raise InputError(f"There was no restore {request.restore_id} on this host; nothing was touched")
    refuse_removed(known)
    chosen = _backup_of(request, known.backup_id)
    into = restore_into.decided(request.into_uuid, chosen, request.guests, known)
    if into is not None:
        request, chosen = into.settled(request), into.under_new_uuid(chosen)
    manifest = chosen.manifest
    safety, names = _to_undo(known, manifest, request.guests)
    kept = with_kept(_as_before(manifest, safety), {uuid: each.files for uuid, each in known.guests.items()})
    before = narrowed(kept, known.disks, reason=NOT_WRITTEN)
    again = restore_journal.load(root, f"{known.restore_id}{restore_journal.UNDO}") or Journal(
        f"{known.restore_id}{restore_journal.UNDO}", before.backup_id, disks=known.disks, into=known.into
    )
    deadline = request.array.deadline()
    with request.array.connected(deadline) as clients:
        todo = [name for name in names if not _done(before, again, name)]
        _claim(locks, request, before, todo, again, check=check)
        places = locate(clients, before.volumes, deadline=deadline)
        found = known_restores.read_restores(root)
        again = resume.taken_over(again, found, _uuids(before, todo))
        _accepted(request.accept_unknown, again)
        saved = restore_journal.kept_directory(root, known.restore_id)
        trusted = chosen.origin.trusted
        planned = _plan(request, before, again, todo, places, deadline, saved, trusted=trusted, undone=known, into=into)
        plan = resume.with_notes(origin.with_notes(chosen, planned), again, found)
        again, plan = resume.with_images(known, again, plan)
        plan = _checked(request, plan, places, deadline, undo=True)
        if check:
            return _result(plan, again, [], changed=bool(todo))
        if todo:
            chosen.keep(root)
        results, again = _carried_out(request, before, again, plan, places) if todo else ([], again)
    gone = [uuid for uuid, each in known.guests.items() if each.was_absent or each.state_before == ABSENT]
    results = _with_health(request, again, results, _names_by_uuid(before, names), forgotten=gone)
    return _reported(plan, again, results, changed=bool(todo))


def _checked(
    request: RestoreRequest, plan: RestorePlan, places: Places, deadline: Deadline, *, undo: bool
) -> RestorePlan:
    """Return the plan with how its disks are compared, once all that is to be looked at afterwards can be."""
    health.foreseen(request.condition, plan, request.reach)
    look = partial(verify.hindrance, method=request.method, places=places, deadline=deadline)
    return verify.with_verification(ways.with_ways(plan), verify=request.verify, undo=undo, look=look)


def _claim(
    locks: ExitStack,
    request: RestoreRequest,
    manifest: Manifest,
    todo: Sequence[str],
    record: Journal,
    *,
    check: bool,
) -> None:
    """Have the guests for this restore before anything is read of them: a hold's pause is no state of before.

    A guest that had another uuid in the backup is had under both. The backup, or the safety snapshot of an undo, is
    kept from being deleted from then on.
    """
    restore_id = record.restore_id
    guests = [(saved.uuid, saved.name) for saved in map(manifest.guest, todo) if saved is not None]
    guests += [(record.into[uuid], name) for uuid, name in guests if uuid in record.into]
    hold_dir = request.hold_dir
    if check:
        refuse_busy(hold_dir, guests, purpose="restore", identity=restore_id)
    else:
        locks.enter_context(claimed(hold_dir, guests, purpose="restore", identity=restore_id))
        locks.enter_context(leased(request.catalog_dir, manifest.backup_id, purpose="restore", identity=restore_id))


def _to_undo(known: Journal, manifest: Manifest, guests: Sequence[str]) -> tuple[Safety, list[str]]:
    """Return the snapshot from before the restore and the wanted guests that it holds and that were overwritten."""
    strangers = [name for name in guests if manifest.guest(name) is None]
    if strangers:
        raise InputError(
            f"Restore {known.restore_id} was made from backup {known.backup_id}, which does not hold"
            f" {', '.join(map(repr, strangers))}; it holds {', '.join(guest.name for guest in manifest.guests)}."
            " Nothing was touched",
            restore_id=known.restore_id,
        )
    written = [uuid for uuid, progress in known.guests.items() if progress.disks or progress.written]
    wanted = [saved.uuid for saved in map(manifest.guest, guests) if saved is not None] if guests else written
    todo = [uuid for uuid in wanted if uuid in written]
    if not todo:
        undoable = ", ".join(guest.name for guest in manifest.guests if guest.uuid in written) or "none"
        raise InputError(
            f"There is nothing to undo of {', '.join(guests) or 'any guest'}: restore {known.restore_id} did not"
            f" overwrite its disks, or put them back at once. It can be undone for: {undoable}. Nothing was touched",
            restore_id=known.restore_id,
        )
    safeties = {safety.name: safety for safety in map(known.safety_of, todo) if safety is not None}
    if len(safeties) != 1 or any(known.safety_of(uuid) is None for uuid in todo):
        there = ", ".join(safeties) or "none"
        raise InputError(
            f"Restore {known.restore_id} cannot be undone at once: its guests need one safety snapshot that holds them"
            f" all, and there is {there}. Name guests of one of them",
            restore_id=known.restore_id,
        )
    return next(iter(safeties.values())), todo


def _as_before(manifest: Manifest, safety: Safety) -> Manifest:
    """Return the backup's manifest as if the safety snapshot were the backup: the same disks, another moment."""
    volumes = tuple(
        replace(volume, snapshot_uuid=safety.uuid_on(*volume.key), create_time=None) for volume in manifest.volumes
    )
    guests = tuple(replace(guest, consistency=None) for guest in manifest.guests)
    return replace(manifest, backup_id=safety.name, volumes=volumes, guests=guests)


def _safety_name(owner: str) -> str:
    """Return the name of a safety snapshot, which no other restore has, here or elsewhere.

    One of the name that is there is taken for this restore's own, and a second is long enough for two restores.
    """
    taken = backup_id(prefix=owner, policy="safety", taken=datetime.now(timezone.utc))
    return f"{taken}_{secrets.token_hex(4)}"


def _carried_out(
    request: RestoreRequest, manifest: Manifest, record: Journal, plan: RestorePlan, places: Places
) -> tuple[list[execute.GuestResult], Journal]:
    """Do what is planned."""
    root = request.catalog_dir
    safety = _safety_name(manifest.owner) if request.safety_snapshot else None
    guests = GuestActor(
        connect=request.reach,
        opened=[request.reach()],
        graceful=request.stop == "shutdown",
        stop_timeout=request.stop_timeout,
        start_timeout=request.start_timeout,
        images=restore_journal.images_of(root, record.restore_id),
        kept=restore_journal.kept_directory(root, record.restore_id),
    )
    gate = Gate(lambda: guests.host)
    claim = Claim(
        frozenset(uuid for part in plan.guests for uuid in (part.uuid, *part.shares)),
        initiators=request.others.known_initiators,
        unused_elsewhere=request.others.unused_elsewhere,
    )
    disks = DiskActor(
        places=places,
        manifest=manifest,
        method=request.method,
        timeout=request.array.timeout,
        unknown_wait=request.unknown_wait,
        restore_id=record.restore_id,
        luns=LunActor(record.restore_id, gate, claim, request.array.timeout, request.unknown_wait),
        gate=gate,
        claim=claim,
    )
    actor = HostActor(guests, disks)
    with closing(actor):
        return execute.run(
            plan,
            actor=actor,
            journal=record,
            save=lambda changed: restore_journal.save(root, changed),
            safety=safety,
            stop_at_failure=request.on_failure == "stop",
            accept_unknown=_accepted(request.accept_unknown, record),
        )


def _accepted(wanted: str, record: Journal) -> bool:
    """Tell whether a person released this restore from an overwrite whose fate is not known."""
    known = {record.restore_id, *(old for progress in record.guests.values() for old in progress.took_over)}
    if wanted and wanted not in known:
        raise InputError(
            f"accept_unknown names {wanted!r}, and this is restore {record.restore_id}; nothing was touched",
            option="accept_unknown",
        )
    return bool(wanted)


def _chosen(request: RestoreRequest, known: Optional[Journal], clients: Sequence[Client], deadline: Deadline) -> Chosen:
    """Return the backup to restore from: the one that this restore began with, or the one asked for."""
    wanted = request.backup_id
    if known is not None:
        if wanted not in (LATEST, known.backup_id):
            raise InputError(
                f"Restore {known.restore_id} was begun from backup {known.backup_id}, not {wanted}; give another id",
                restore_id=known.restore_id,
                backup_id=wanted,
            )
        wanted = known.backup_id
    return chosen_backup(
        request.catalog_dir,
        wanted,
        guests=request.guests,
        clients=clients,
        deadline=deadline,
        trust=request.trust,
        given=request.backup_from,
    )


def _backup_of(request: RestoreRequest, wanted: str) -> Chosen:
    """Return the backup that a restore was made from, of which the array is asked only when the catalog lost it."""
    deadline = request.array.deadline()
    choose_from = partial(
        chosen_backup,
        request.catalog_dir,
        wanted,
        guests=(),
        deadline=deadline,
        trust=request.trust,
        given=request.backup_from,
    )
    if request.backup_from or store.load(request.catalog_dir, wanted) is not None:
        return choose_from(clients=())
    with request.array.connected(deadline) as clients:
        return choose_from(clients=clients)


def _plan(
    request: RestoreRequest,
    manifest: Manifest,
    record: Journal,
    todo: Sequence[str],
    places: Places,
    deadline: Deadline,
    saved: Path,
    *,
    trusted: bool,
    undone: Optional[Journal] = None,
    into: Optional[restore_into.Into] = None,
) -> RestorePlan:
    """Return the plan; ``saved`` is the directory of what lies beside the disks, ``undone`` the restore to undo.

    ``trusted``: the definitions of the backup were written by a run of this host. ``into``: whom the guest is restored
    into that has another uuid in the backup.
    """
    wanted = [guest for guest in map(manifest.guest, todo) if guest is not None]
    snapshots = snapshots_of(places, manifest.volumes, deadline=deadline) if wanted else {}
    mine = {
        key: SnapshotNow(found[manifest.backup_id].uuid, _formatted(found[manifest.backup_id].create_time))
        for key, found in snapshots.items()
        if manifest.backup_id in found
    }
    restored = {*(guest.uuid for guest in wanted), *(uuid for uuid in record.guests if record.done(uuid))}
    restored |= {record.into[uuid] for uuid in restored if uuid in record.into}
    now = _guests_now(request, wanted) if todo else _Found({}, {}, {}, ())
    both = _two_guests(manifest, wanted, now, record, into, undoes=undone is not None)
    found = _intended(request, manifest, wanted, now, places, undone, deadline, trusted=trusted)
    found = {uuid: replace(each, two_guests=both.get(uuid)) for uuid, each in found.items()}
    found = namesakes.with_notes(found, here=now.everyone, elsewhere=request.others.guests)
    found = shared_disks.with_obstacles(
        found,
        restored=restored,
        elsewhere=request.others.uses,
        unused_elsewhere=request.others.unused_elsewhere,
    )
    found = host_guard.looked_at(request, record.restore_id, found)
    sizes, unseen = _sizes(manifest, wanted, found, set(mine), places, deadline)
    world = World(
        guests=found,
        names=now.names,
        snapshots=mine,
        sizes=sizes,
        unseen=unseen,
        undoes=request.undo,
        power=request.power,
        states_before={uuid: progress.state_before for uuid, progress in record.guests.items() if progress.open},
        created={uuid: progress.created for uuid, progress in undone.guests.items()} if undone else {},
    )
    plan = restore_plan(manifest, world, wanted=todo, restore_id=record.restore_id)
    plan = shared_disks.once(plan, manifest, found, restored=restored)
    return with_changes(with_firmware(plan, manifest, found, directory=saved), manifest, found)


def _two_guests(
    manifest: Manifest,
    wanted: Sequence[SavedGuest],
    now: _Found,
    record: Journal,
    into: Optional[restore_into.Into],
    *,
    undoes: bool,
) -> dict[str, TwoGuests]:
    """Return, by its uuid, the guest that another one of the backup is restored into, with both for the plan.

    Raises :class:`RestoreRefusedError` when it is not the guest for that; an undo brings back what it was.
    """
    saved = next((guest for guest in wanted if into is not None and guest.uuid == into.uuid), None)
    if into is None or saved is None:
        return {}
    present = now.guests.get(into.uuid)
    if not undoes:
        begun = into.uuid in record.guests
        refuse(manifest.backup_id, restore_into.unfit(into, present, now.names, saved.saved_disks, begun=begun))
    return {into.uuid: restore_into.two_guests(into, present)} if present else {}


def _intended(
    request: RestoreRequest,
    manifest: Manifest,
    wanted: Sequence[SavedGuest],
    now: _Found,
    places: Places,
    undone: Optional[Journal],
    deadline: Deadline,
    *,
    trusted: bool,
) -> dict[str, GuestNow]:
    """Return the wanted guests as they are to be defined; ``now`` is what they are."""
    if undone is not None:
        kept = restore_journal.kept_directory(request.catalog_dir, undone.restore_id)
        before = redefine.as_before(now.guests, undone, kept)
    look = partial(_guests_now, request, wanted)
    here = {}
    if redefine.needs_places(wanted, now.guests, request.redefinition):
        clients = list({place.client.name: place.client for place in places.values()}.values())
        here = mounted_volumes(clients, manifest.volumes, deadline)
    known = before if undone is not None else now.guests
    look_through = partial(examined, request.reach, request.allowed, manifest.backup_id, wanted, known, here)
    examine = unexamined if trusted else look_through
    if undone is not None:
        found = redefine.gone_before(wanted, before, undone, here, look=look, examine=examine)
    else:
        found = redefine.redefined(
            request.redefinition, wanted, now.guests, here, reach=request.reach, look=look, examine=examine
        )
    for saved in wanted:
        if saved.uuid in found:
            used = now.paths_of_others(saved.uuid)
            found[saved.uuid] = redefine.with_missing(saved, found[saved.uuid], here=here, used=used)
    return found


def _formatted(moment: Optional[datetime]) -> Optional[str]:
    return format_time(moment) if moment else None


@dataclass(frozen=True)
class _Found:
    """The wanted guests by uuid, the uuids of all guests by name, and the paths of each guest's disks by uuid.

    ``everyone`` are all guests of the host.
    """

    guests: dict[str, GuestNow]
    names: dict[str, str]
    paths: dict[str, frozenset[str]]
    everyone: Sequence[Guest]

    def paths_of_others(self, uuid: str) -> frozenset[str]:
        """Return the paths of the disks of all guests but one."""
        return frozenset(path for owner, paths in self.paths.items() if owner != uuid for path in paths)


def _guests_now(
    request: RestoreRequest, wanted: Sequence[SavedGuest], planned: Optional[Mapping[str, str]] = None
) -> _Found:
    """Discover the guests again, now, whatever a playbook found earlier.

    ``planned`` is the XML of guests that are to be looked at as if they had it.
    """
    found = discover(request.discovery, planned=planned)
    if not found.libvirt_available:
        raise KvmsnapError(
            f"Failed to restore: libvirt at {request.uri} does not answer, so which guests are off is unknown."
            " Start its daemon, and run again; nothing was touched"
        )
    uuids = {guest.uuid for guest in wanted}
    problems: dict[Subject, list[Problem]] = {}
    for each in found.problems:
        problems.setdefault((each.guest, each.disk), []).append(each)
    shared = shared_disks.sharers_of(found.found)
    asked = DiskQuestion(request.method, request.others.unused_elsewhere)
    guests = {
        each.guest.uuid: guest_now(each, problems, shared, asked) for each in found.found if each.guest.uuid in uuids
    }
    names = {each.guest.name: each.guest.uuid for each in found.found}
    paths = {
        each.guest.uuid: frozenset(
            path for disk in each.disks for path in (disk.observed.path, disk.observed.disk.source) if path
        )
        for each in found.found
    }
    return _Found(guests, names, paths, [each.guest for each in found.found])


def _sizes(
    manifest: Manifest,
    wanted: Sequence[SavedGuest],
    guests: Mapping[str, GuestNow],
    there: set[Key],
    places: Places,
    deadline: Deadline,
) -> tuple[dict[Where, Optional[int]], set[Where]]:
    """Ask for the size in bytes of each wanted file or LUN inside its snapshot.

    Returns the sizes, and the LUNs of which the account may not ask: no host sees those, so nobody else can be asked.
    """
    sizes: dict[Where, Optional[int]] = {}
    unseen: set[Where] = set()
    for guest in wanted:
        now = {disk.storage: disk for disk in guests[guest.uuid].disks} if guest.uuid in guests else {}
        for disk in guest.saved_disks:
            saved = manifest.volume_of(disk.storage) if disk.storage else None
            if disk.storage is None or saved is None or saved.key not in there:
                continue
            place, current = places[saved.key], now.get(disk.storage)
            seen = in_host_snapshot(current.host_path, current.mount_point, manifest.backup_id) if current else None
            key = (*saved.key, disk.storage.path)
            try:
                sizes[key] = file_size(
                    place.client,
                    place.volume,
                    disk.storage.path,
                    snapshot=manifest.backup_id,
                    seen_at=seen,
                    deadline=deadline,
                )
            except OntapDeniedError:
                if disk.storage.lun is None:
                    raise
                unseen.add(key)
    return sizes, unseen


def _unique(manifest: Manifest, guests: Sequence[str]) -> list[str]:
    """Return the wanted guests, each once, whether it was asked for by name or by uuid."""
    seen: dict[str, str] = {}
    for name in guests:
        saved = manifest.guest(name)
        seen.setdefault(saved.uuid if saved else name, name)
    return list(seen.values())


def _done(manifest: Manifest, record: Journal, name: str) -> bool:
    saved = manifest.guest(name)
    return saved is not None and record.done(saved.uuid)


def _names_by_uuid(manifest: Manifest, guests: Sequence[str]) -> dict[str, str]:
    """Return the guests asked for, uuid to name."""
    return {saved.uuid: saved.name for saved in map(manifest.guest, guests) if saved is not None}


def _with_health(
    request: RestoreRequest,
    record: Journal,
    results: Sequence[execute.GuestResult],
    names: Mapping[str, str],
    *,
    forgotten: Sequence[str] = (),
) -> list[execute.GuestResult]:
    return health.looked_at(
        request.condition,
        record,
        results,
        names,
        power=request.power,
        reach=request.reach,
        forgotten=forgotten,
    )


def _reported(
    plan: RestorePlan, record: Journal, results: list[execute.GuestResult], *, changed: bool
) -> dict[str, Any]:
    result = _result(plan, record, results, changed=changed)
    failed = [each for each in results if each.error is not None]
    if failed:
        sick = health.unhealthy(record, results)
        raise RestoreFailedError(
            f"Restore {record.restore_id} from backup {record.backup_id} did not bring back "
            + "; ".join(f"{each.name} (it is {each.state_after} now): {each.error}" for each in failed)
            + f". Run again with restore_id {record.restore_id} to go on{f'. And {sick}' if sick else ''}",
            restore_id=record.restore_id,
            backup_id=record.backup_id,
            guests=result["guests"],
            summary=result["summary"],
        )
    health.refuse_unhealthy(record, result, results)
    return result


def _result(plan: RestorePlan, record: Journal, results: list[execute.GuestResult], *, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "restore_id": record.restore_id,
        "backup_id": record.backup_id,
        "plan": plan.as_dict(),
        "guests": [asdict(each) for each in results],
        "summary": _lines(plan, record, results),
        "diff": {"before": plan.before(), "after": plan.after()},
    }


def _lines(plan: RestorePlan, record: Journal, results: list[execute.GuestResult]) -> list[str]:
    lines = [f"restore {record.restore_id} from backup {record.backup_id}"]
    lines += [f"  safety snapshot {name}" for name in dict.fromkeys(each.safety for each in results) if name]
    if not plan.guests:
        lines.append("  all its guests were brought back by an earlier run; nothing was done")
    elif not results:
        return [*lines, *(f"  {line}" for line in plan.after().splitlines())]
    for each in results:
        came = each.error or ("restored" if each.restored else "brought back by an earlier run")
        lines.append(f"  {each.name}: {came}, {each.state_before} before, {each.state_after} now")
        lines.extend(f"    note: {note}" for part in plan.guests if part.uuid == each.uuid for note in part.notes)
        lines.extend(
            f"    {disk.target} {disk.path}: by {disk.method} in {disk.seconds:.2f} s, compared: {disk.verified}"
            for disk in each.disks
        )
        lines.extend(f"    {path}: replaced by what was saved" for path in each.files)
        lines.extend(f"    note: {note}" for disk in each.disks for note in disk.notes)
        lines.extend(health.lines(each))
    return lines
