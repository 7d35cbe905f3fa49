# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore from its options to its result: read, decide, act, tell. What ``kvm_app_restore`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import (
    catalog,
    journal,
    restore,
    restore_guard,
    restore_open,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.firmware import with_kept
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.host_actor import HostActor, file_size
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.ids import backup_id, checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.info import (
    Key,
    Places,
    locate,
    missing_volumes,
    snapshots_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.journal import Journal, Safety
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.lun_actor import LunActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import (
    BackingFile,
    Manifest,
    SavedGuest,
    Storage,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_definition import with_changes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_disks import (
    NOT_ASKED,
    NOT_WRITTEN,
    choose,
    narrowed,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_firmware import with_firmware
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import (
    DiskNow,
    GuestNow,
    RestorePlan,
    SnapshotNow,
    in_host_snapshot,
    restore_plan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.safety_retention import refuse_removed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import lun_device
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import file_state
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import discover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import Hindrance
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, connected
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import choose_lun_method
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy

Where = tuple[str, str, str]

LATEST = "latest"

# A disk with one of these findings must not be written while it has it.
NOT_FREE = (
    "disk-used-by-several-guests",
    "lun-activated-on-host",
    "lun-used-by-several-guests",
    "multipathd-not-running",
    "no-working-path",
    "shareable-disk",
)
# Findings that other hosts may use the disk's LUN, about which only a person can know.
ELSEWHERE = ("lun-mapped-elsewhere", "lun-maps-unknown")
# Findings about a disk that a person wants to read in the plan.
WORTH_A_NOTE = (*ELSEWHERE, "path-failed")
OTHERS_OFF = "Make sure that no guest of another host uses the LUN, then say so with other_hosts_off=true."


class RestoreFailedError(KvmsnapError):
    """Guests were not brought back; ``guests`` tells each one's fate, the same ``restore_id`` goes on from there."""


def run(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Return the module's result, with ``check`` that of what would be done.

    Raises :class:`InputError` and :class:`RestoreRefusedError` before anything was touched, and
    :class:`RestoreFailedError` when a guest was not brought back.
    """
    root = Path(options["catalog_dir"])
    if not options["guests"]:
        raise InputError("The list of guests to restore is empty; nothing was touched", option="guests")
    with _alone(root, check):
        return _run(root, options, check=check)


def _run(root: Path, options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    known = journal.load(root, checked_id(options["restore_id"], what="restore_id")) if options["restore_id"] else None
    deadline = Deadline.after(options["timeout"])
    policy = RetryPolicy(retry_count=options["retry_count"])
    with connected(options["controllers"], policy=policy, deadline=deadline) as clients:
        whole = _manifest(root, options, known, clients, deadline)
        found = restore_open.survey(root)
        manifest, record = _begun(root, options, whole, known, found)
        todo = [name for name in _unique(manifest, options["guests"]) if not _done(manifest, record, name)]
        places = locate(clients, manifest.volumes, deadline=deadline)
        record = _heir(record, found, manifest, todo)
        saved = catalog.backup_directory(root, manifest.backup_id)
        plan = restore_open.told(_plan(options, manifest, record, todo, places, saved, deadline), record, found)
        if check or not todo:
            return _result(plan, record, [], changed=bool(todo))
        results, record = _carried_out(root, options, manifest, record, plan, places)
    return _told(plan, record, results)


def _begun(
    root: Path, options: Mapping[str, Any], whole: Manifest, known: Optional[Journal], found: restore_open.Survey
) -> tuple[Manifest, Journal]:
    """Return the backup as far as it is to be restored, and the journal that says so.

    Without an id it is that of the restore of these guests from this backup that broke off, if there is one.
    """
    begun = known or _broken_off(root, options, whole, found)
    disks = choose(
        whole,
        guests=options["guests"],
        wanted=options["disks"],
        begun=begun.disks if begun else (),
        resumed=begun is not None,
    )
    name = options["restore_id"] or f"restore_{datetime.now(timezone.utc):%Y%m%d%H%M%S}"
    record = begun or Journal(name, whole.backup_id, disks=disks)
    return narrowed(whole, disks, reason=NOT_ASKED), record


def _broken_off(
    root: Path, options: Mapping[str, Any], whole: Manifest, found: restore_open.Survey
) -> Optional[Journal]:
    if options["restore_id"]:
        return None
    broken = restore_open.to_go_on_with(found, whole.backup_id, _uuids(whole, options["guests"]))
    return journal.load(root, broken) if broken else None


def _heir(record: Journal, found: restore_open.Survey, manifest: Manifest, todo: Sequence[str]) -> Journal:
    """Return the journal with what restores of these guests that broke off remember."""
    uuids = _uuids(manifest, todo)
    restore_open.refuse_taken(record, found, uuids)
    return restore_open.taken_over(record, found, uuids)


def _uuids(manifest: Manifest, guests: Sequence[str]) -> list[str]:
    return [saved.uuid for saved in map(manifest.guest, guests) if saved is not None]


def undo(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Bring back what the guests were before the restore ``restore_id``, out of its safety snapshots.

    The result is that of a restore whose id is ``<restore_id>.undo``, from the safety snapshot in place of a backup.
    Raises as :func:`run` does.
    """
    root = Path(options["catalog_dir"])
    with _alone(root, check):
        return _undo(root, options, check=check)


def _undo(root: Path, options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    if options["disks"]:
        raise InputError(
            "An undo brings back the disks that the restore overwrote; leave disks empty. Nothing was touched",
            option="disks",
        )
    known = journal.load(root, checked_id(options["restore_id"], what="restore_id"))
    if known is None:
        raise InputError(f"There was no restore {options['restore_id']} on this host; nothing was touched")
    refuse_removed(known)
    manifest = catalog.load(root, known.backup_id)
    if manifest is None:
        raise InputError(f"Backup {known.backup_id}, from which {known.restore_id} was made, is not in {root} any more")
    safety, names = _to_undo(known, manifest, options["guests"])
    kept = with_kept(_as_before(manifest, safety), {uuid: each.files for uuid, each in known.guests.items()})
    before = narrowed(kept, known.disks, reason=NOT_WRITTEN)
    again = journal.load(root, f"{known.restore_id}.undo") or Journal(
        f"{known.restore_id}.undo", before.backup_id, disks=known.disks
    )
    deadline = Deadline.after(options["timeout"])
    with connected(
        options["controllers"], policy=RetryPolicy(retry_count=options["retry_count"]), deadline=deadline
    ) as clients:
        todo = [name for name in names if not _done(before, again, name)]
        places = locate(clients, before.volumes, deadline=deadline)
        found = restore_open.survey(root)
        again = _heir(again, found, before, todo)
        saved = journal.kept_directory(root, known.restore_id)
        plan = restore_open.told(_plan(options, before, again, todo, places, saved, deadline), again, found)
        again, plan = restore_open.with_images(known, again, plan)
        if check or not todo:
            return _result(plan, again, [], changed=bool(todo))
        results, again = _carried_out(root, options, before, again, plan, places)
    return _told(plan, again, results)


def _alone(root: Path, check: bool) -> AbstractContextManager[None]:
    """Keep other restores of this host out, from before the journal is read; a check waits for nobody."""
    return nullcontext() if check else journal.alone(root)


def _to_undo(known: Journal, manifest: Manifest, guests: Sequence[str]) -> tuple[Safety, list[str]]:
    """Return the snapshot from before the restore and the wanted guests that it holds and that were overwritten."""
    written = [uuid for uuid, progress in known.guests.items() if progress.disks or progress.written]
    wanted = [saved.uuid for saved in map(manifest.guest, guests) if saved is not None] if guests else written
    todo = [uuid for uuid in wanted if uuid in written]
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


def _carried_out(
    root: Path, options: Mapping[str, Any], manifest: Manifest, record: Journal, plan: RestorePlan, places: Places
) -> tuple[list[restore.GuestResult], Journal]:
    """Do what is planned."""
    now = datetime.now(timezone.utc)
    safety = backup_id(prefix=manifest.owner, policy="safety", taken=now) if options["safety_snapshot"] else None
    reach = partial(connect, options["uri"], retry_count=options["retry_count"])
    actor = HostActor(
        connect=reach,
        opened=[reach()],
        places=places,
        manifest=manifest,
        method=options["method"],
        graceful=options["stop"] == "shutdown",
        stop_timeout=options["stop_timeout"],
        start_timeout=options["start_timeout"],
        timeout=options["timeout"],
        restore_id=record.restore_id,
        luns=LunActor(record.restore_id),
        images=journal.images_of(root, record.restore_id),
        kept=journal.kept_directory(root, record.restore_id),
    )
    with closing(actor):
        return restore.run(
            plan, actor=actor, journal=record, save=lambda changed: journal.save(root, changed), safety=safety
        )


def _manifest(
    root: Path, options: Mapping[str, Any], known: Optional[Journal], clients: Sequence[Client], deadline: Deadline
) -> Manifest:
    """Return the backup to restore from: the one named, the one this restore began with, or the newest that serves."""
    wanted = options["backup_id"]
    if known is not None:
        if wanted not in (LATEST, known.backup_id):
            raise InputError(
                f"Restore {known.restore_id} was begun from backup {known.backup_id}, not {wanted}; give another id",
                restore_id=known.restore_id,
                backup_id=wanted,
            )
        wanted = known.backup_id
    if wanted == LATEST:
        return _latest(root, options["guests"], clients, deadline)
    found = catalog.load(root, wanted)
    if found is None:
        there = ", ".join(entry.backup_id for entry in catalog.entries(root)) or "none"
        raise InputError(f"There is no backup {wanted} in the catalog {root}; it holds {there}", backup_id=wanted)
    if not found.complete:
        raise InputError(
            f"Backup {wanted} was never completed and cannot be restored from; choose another", backup_id=wanted
        )
    return found


def _latest(root: Path, guests: Sequence[str], clients: Sequence[Client], deadline: Deadline) -> Manifest:
    serving = [
        entry.manifest
        for entry in catalog.entries(root)
        if entry.manifest is not None and entry.manifest.complete and all(map(entry.manifest.guest, guests))
    ]
    for manifest in sorted(serving, key=lambda each: each.created, reverse=True):
        places = locate(clients, manifest.volumes, deadline=deadline)
        if not missing_volumes(manifest, snapshots_of(places, manifest.volumes, deadline=deadline)):
            return manifest
    raise InputError(
        f"The catalog {root} has no backup that holds {', '.join(guests)} and whose snapshots are all there;"
        " nothing was touched",
        guests=list(guests),
    )


def _plan(
    options: Mapping[str, Any],
    manifest: Manifest,
    record: Journal,
    todo: Sequence[str],
    places: Places,
    saved: Path,
    deadline: Deadline,
) -> RestorePlan:
    wanted = [guest for guest in map(manifest.guest, todo) if guest is not None]
    snapshots = snapshots_of(places, manifest.volumes, deadline=deadline) if wanted else {}
    mine = {
        key: SnapshotNow(uuid=found[manifest.backup_id].uuid, create_time=None)
        for key, found in snapshots.items()
        if manifest.backup_id in found
    }
    found, names = _guests_now(options, wanted)
    found = restore_guard.looked_at(options, record.restore_id, found)
    sizes, unseen = _sizes(manifest, wanted, found, set(mine), places, deadline)
    plan = restore_plan(
        manifest,
        wanted=todo,
        guests=found,
        names_now=names,
        snapshots=mine,
        sizes_in_snapshot=sizes,
        unseen=unseen,
        undoes=options["undo"],
        restore_id=record.restore_id,
        power=options["power"],
        states_before={uuid: progress.state_before for uuid, progress in record.guests.items() if progress.open},
    )
    return with_changes(with_firmware(plan, manifest, found, directory=saved), manifest, found)


def _guests_now(options: Mapping[str, Any], wanted: Sequence[SavedGuest]) -> tuple[dict[str, GuestNow], dict[str, str]]:
    """Discover the guests again, now, whatever a playbook found earlier: the wanted by uuid, and all uuids by name."""
    if not wanted:
        return {}, {}
    asked = {
        "guests": ["*"],
        "exclude": [],
        "disks": "all",
        "exclude_disks": [],
        "mapping": [],
        "auto_discovery": True,
        **{key: options[key] for key in ("controllers", "uri", "config_dir", "retry_count", "timeout")},
    }
    found = discover(asked)
    if not found["libvirt_available"]:
        raise KvmsnapError(
            f"Failed to restore: libvirt at {options['uri']} does not answer, so which guests are off is unknown"
        )
    uuids = {guest.uuid for guest in wanted}
    problems: dict[tuple[str, str], list[Problem]] = {}
    for each in found["problems"]:
        problems.setdefault((each["guest"], each["disk"]), []).append(Problem(**each))
    guests = {
        guest["uuid"]: _guest_now(guest, problems, options["method"], others_off=options["other_hosts_off"])
        for guest in found["guests"]
        if guest["uuid"] in uuids
    }
    return guests, {guest["name"]: guest["uuid"] for guest in found["guests"]}


def _guest_now(
    guest: Mapping[str, Any], problems: Mapping[tuple[str, str], Sequence[Problem]], method: str, *, others_off: bool
) -> GuestNow:
    return GuestNow(
        name=guest["name"],
        uuid=guest["uuid"],
        state=guest["state"],
        managed_save=guest["managed_save"],
        nvram=guest["nvram"],
        tpm=guest["tpm"],
        xml=guest["xml"],
        persistent=guest["persistent"],
        disks=tuple(
            _disk_now(
                guest, disk, problems.get((guest["name"], disk["target"]), ()), method=method, others_off=others_off
            )
            for disk in guest["disks"]
        ),
    )


def _disk_now(
    guest: Mapping[str, Any],
    disk: Mapping[str, Any],
    problems: Sequence[Problem],
    *,
    method: str,
    others_off: bool,
) -> DiskNow:
    storage = Storage.from_record(disk["storage"]) if disk["storage"] else None
    lun = storage.lun if storage else None
    what = f"disk {disk['target']} of guest {guest['name']}"
    obstacles = [each for each in problems if each.code in NOT_FREE or (storage is None and each.severity == "error")]
    if not others_off:
        obstacles += [replace(each, severity="error", remedy=OTHERS_OFF) for each in problems if each.code in ELSEWHERE]
    fixed = disk["device"] not in ("cdrom", "floppy")
    if storage and fixed and disk["readonly"] and not disk["included"] and not obstacles:
        code = "lun-used-by-several-guests" if lun else "disk-used-by-several-guests"
        obstacles.append(problem_of(code, f"{what}: it is {disk['reason']}", guest=guest["name"], disk=disk["target"]))
    if lun:
        found = _lun_obstacles(lun, off=guest["state"] == "shutoff", method=method)
        obstacles += [
            Problem(each.code, "error", f"{what}: {each.reason}", each.remedy, guest["name"], disk["target"])
            for each in found
            if each.code not in {known.code for known in obstacles}
        ]
    return DiskNow(
        target=disk["target"],
        format=disk["format"],
        host_path=lun.device if lun else disk["path"] or disk["source"],
        mount_point=disk["storage"]["mount_point"] if disk["storage"] else None,
        size=disk["size"],
        backing=tuple(BackingFile(path, *file_state(path)) for path in disk["backing"]),
        storage=storage,
        locks=bool(disk["storage"] and disk["storage"]["locks"]),
        obstacles=tuple(obstacles),
        notes=(*(each.message for each in problems if each.code in WORTH_A_NOTE), *_reservation(lun, obstacles)),
    )


def _reservation(lun: Optional[LunIdentity], obstacles: Sequence[Problem]) -> list[str]:
    """Say whether somebody reserved the LUN; one that cannot be used is not asked."""
    if lun is None or obstacles:
        return []
    note = lun_device.reservation_note(lun.device)
    return [note] if note else []


def _lun_obstacles(lun: LunIdentity, *, off: bool, method: str) -> list[Hindrance]:
    """Return why a LUN could not be restored as asked; one whose guest is off must not be open."""
    try:
        choose_lun_method(method)
    except InputError as exc:
        return [Hindrance("method-not-for-luns", exc.message, "Use auto, file_clone, sfsr_cli or sfsr.")]
    return lun_device.obstacles(lun.device, wwid=lun.wwid, off=off)


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


def _told(plan: RestorePlan, record: Journal, results: list[restore.GuestResult]) -> dict[str, Any]:
    result = _result(plan, record, results, changed=True)
    failed = [each for each in results if each.error is not None]
    if failed:
        raise RestoreFailedError(
            f"Restore {record.restore_id} from backup {record.backup_id} did not bring back "
            + "; ".join(f"{each.name} (it is {each.state_after} now): {each.error}" for each in failed)
            + f". Run again with restore_id {record.restore_id} to go on",
            restore_id=record.restore_id,
            backup_id=record.backup_id,
            guests=result["guests"],
            summary=result["summary"],
        )
    return result


def _result(plan: RestorePlan, record: Journal, results: list[restore.GuestResult], *, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "restore_id": record.restore_id,
        "backup_id": record.backup_id,
        "plan": plan.as_dict(),
        "guests": [asdict(each) for each in results],
        "summary": _lines(plan, record, results),
        "diff": {"before": plan.before(), "after": plan.after()},
    }


def _lines(plan: RestorePlan, record: Journal, results: list[restore.GuestResult]) -> list[str]:
    lines = [f"restore {record.restore_id} from backup {record.backup_id}"]
    lines += [f"  safety snapshot {name}" for name in dict.fromkeys(each.safety for each in results) if name]
    if not plan.guests:
        return [*lines, "  all its guests were brought back by an earlier run; nothing was done"]
    if not results:
        return [*lines, *(f"  {line}" for line in plan.after().splitlines())]
    for each in results:
        lines.append(f"  {each.name}: {each.error or 'restored'}, {each.state_before} before, {each.state_after} now")
        lines.extend(f"    note: {note}" for part in plan.guests if part.uuid == each.uuid for note in part.notes)
        lines.extend(
            f"    {disk.target} {disk.path}: by {disk.method} in {disk.seconds:.2f} s, compared: {disk.verified}"
            for disk in each.disks
        )
        lines.extend(f"    {path}: replaced by what was saved" for path in each.files)
        lines.extend(f"    note: {note}" for disk in each.disks for note in disk.notes)
    return lines
