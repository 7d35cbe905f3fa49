# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore from its options to its result: read, decide, act, tell. What ``kvm_app_restore`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import catalog, journal, restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.host_actor import HostActor, file_size
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.info import (
    Key,
    Places,
    locate,
    missing_volumes,
    snapshots_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.journal import Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import (
    BackingFile,
    Manifest,
    SavedGuest,
    Storage,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import (
    DiskNow,
    GuestNow,
    RestorePlan,
    SnapshotNow,
    in_host_snapshot,
    restore_plan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import file_state
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import discover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, connected
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy

LATEST = "latest"

# A disk with one of these findings must not be written while it has it.
NOT_FREE = ("disk-used-by-several-guests", "shareable-disk")


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
    known = journal.load(root, checked_id(options["restore_id"], what="restore_id"))
    deadline = Deadline.after(options["timeout"])
    policy = RetryPolicy(retry_count=options["retry_count"])
    with connected(options["controllers"], policy=policy, deadline=deadline) as clients:
        manifest = _manifest(root, options, known, clients, deadline)
        record = known or Journal(options["restore_id"], manifest.backup_id)
        todo = [name for name in _unique(manifest, options["guests"]) if not _done(manifest, record, name)]
        places = locate(clients, manifest.volumes, deadline=deadline)
        plan = _plan(options, manifest, record, todo, places, deadline)
        if check or not todo:
            return _result(plan, record, [], changed=bool(todo))
        with closing(connect(options["uri"], retry_count=options["retry_count"])) as host, journal.alone(root):
            actor = HostActor(
                host=host,
                places=places,
                manifest=manifest,
                method=options["method"],
                graceful=options["stop"] == "shutdown",
                stop_timeout=options["stop_timeout"],
                start_timeout=options["start_timeout"],
                timeout=options["timeout"],
            )
            results, record = restore.run(
                plan, actor=actor, journal=record, save=lambda changed: journal.save(root, changed)
            )
    return _told(plan, record, results)


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
    return restore_plan(
        manifest,
        wanted=todo,
        guests=found,
        names_now=names,
        snapshots=mine,
        sizes_in_snapshot=_sizes(manifest, wanted, found, set(mine), places, deadline),
        restore_id=record.restore_id,
        power=options["power"],
        states_before={uuid: progress.state_before for uuid, progress in record.guests.items()},
    )


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
    refusals: dict[tuple[str, str], list[str]] = {}
    for problem in found["problems"]:
        if problem["code"] in NOT_FREE:
            refusals.setdefault((problem["guest"], problem["disk"]), []).append(problem["message"])
    guests = {guest["uuid"]: _guest_now(guest, refusals) for guest in found["guests"] if guest["uuid"] in uuids}
    return guests, {guest["name"]: guest["uuid"] for guest in found["guests"]}


def _guest_now(guest: Mapping[str, Any], refusals: Mapping[tuple[str, str], Sequence[str]]) -> GuestNow:
    return GuestNow(
        name=guest["name"],
        uuid=guest["uuid"],
        state=guest["state"],
        managed_save=guest["managed_save"],
        persistent=guest["persistent"],
        disks=tuple(
            DiskNow(
                target=disk["target"],
                format=disk["format"],
                host_path=disk["path"] or disk["source"],
                mount_point=disk["storage"]["mount_point"] if disk["storage"] else None,
                size=disk["size"],
                backing=tuple(BackingFile(path, *file_state(path)) for path in disk["backing"]),
                storage=Storage.from_record(disk["storage"]) if disk["storage"] else None,
                locks=bool(disk["storage"] and disk["storage"]["locks"]),
                refusals=tuple(refusals.get((guest["name"], disk["target"]), ())),
            )
            for disk in guest["disks"]
        ),
    )


def _sizes(
    manifest: Manifest,
    wanted: Sequence[SavedGuest],
    guests: Mapping[str, GuestNow],
    there: set[Key],
    places: Places,
    deadline: Deadline,
) -> dict[tuple[str, str, str], Optional[int]]:
    """Ask for the size in bytes of each wanted file inside its snapshot."""
    sizes: dict[tuple[str, str, str], Optional[int]] = {}
    for guest in wanted:
        now = {disk.storage: disk for disk in guests[guest.uuid].disks} if guest.uuid in guests else {}
        for disk in guest.saved_disks:
            saved = manifest.volume_of(disk.storage) if disk.storage else None
            if disk.storage is None or saved is None or saved.key not in there:
                continue
            place, current = places[saved.key], now.get(disk.storage)
            seen = in_host_snapshot(current.host_path, current.mount_point, manifest.backup_id) if current else None
            sizes[(*saved.key, disk.storage.path)] = file_size(
                place.client,
                place.volume,
                disk.storage.path,
                snapshot=manifest.backup_id,
                seen_at=seen,
                deadline=deadline,
            )
    return sizes


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
    return lines
