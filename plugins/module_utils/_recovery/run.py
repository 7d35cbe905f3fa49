# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What crashes left on a host and on the array, found, shown and put right.

Nothing is touched that is not provably ours, or that may belong to a run that is still alive.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import read_records
from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal, store, volume_copies
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.comment import SnapshotComment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.from_snapshots import hosts_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.known_restores import read_restores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key, Places, locate, snapshots_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import is_locked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import leftovers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import DeadMan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.leftovers import HoldSeen
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_attach import San
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.volume_directory import VOLUME_DIRECTORY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import guest_lock, lease
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import deletable
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess, Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import ensure_absent
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Snapshot, SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import check_numbers, directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.clones import OrphanedClones
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.leftover import Leftover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.safety_removal import Keeper, volumes_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.temporary_files import leftover_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.temporary_luns import leftover_luns
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

BACKUP_LOCK = "backup.lock"
GRACE_PERIOD = 3600
"""Seconds for which a started backup, and a hold that holds nobody, may belong to a run that is alive."""

_TEMPORARY_FILE = re.compile(r"\..+\.[0-9a-f]{16}")
_MOUNT_SECONDS = 10.0
_BOOT_TIME = re.compile(r"^btime (\d+)$", re.MULTILINE)

# The least and the most that an option may be.
_LEAST = {"grace_period": 0, "safety_days": 0, "freeze_timeout": 1, "agent_ping_timeout": 1}
_MOST = {"safety_days": 36500}

Snapshots = Mapping[Key, Mapping[str, Snapshot]]


class RecoveryError(KvmsnapError):
    """Not everything could be put right; ``leftovers`` tells of each."""


@dataclass(frozen=True)
class RecoveryRequest:
    """Where recovery looks, what it may remove, and when it began; ``grace_period`` and ``timeout`` are in seconds.

    ``array`` is None when no array is to be asked, and the error when one cannot be: that keeps nothing on the host
    from being put right. ``volumes`` are looked at beside those of the catalog's backups. ``wall`` is the time since
    the epoch, ``now`` monotonic.
    """

    root: Path
    hold_settings: HoldSettings
    owner: str
    grace_period: float
    timeout: float
    safety_days: int
    remove_orphans: bool
    array: Union[ArrayAccess, InputError, None]
    volumes: tuple[SavedVolume, ...]
    wall: float
    now: float
    booted: float

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> RecoveryRequest:
        """Read the module's options; raises :class:`InputError`."""
        check_numbers(options, _LEAST, _MOST)
        uri, retry_count = options["uri"], options["retry_count"]
        hold_settings = HoldSettings(
            directory=directory(options, "hold_dir"),
            connect=lambda: connect(uri, retry_count=retry_count),
            retry_count=retry_count,
            freeze_timeout=options["freeze_timeout"],
            ping_timeout=options["agent_ping_timeout"],
            at_once=at_once(),
            guard=DeadMan(uri),
        )
        array: Union[ArrayAccess, InputError, None]
        volumes: tuple[SavedVolume, ...] = ()
        try:
            array = ArrayAccess.from_options(options) if options["controllers"] else None
            volumes = read_records(options["volumes"], SavedVolume.from_record, option="volumes")
        except InputError as exc:
            array = exc
        return cls(
            root=directory(options, "catalog_dir"),
            hold_settings=hold_settings,
            owner=checked_id(options["owner"], what="owner"),
            grace_period=options["grace_period"],
            timeout=options["timeout"],
            safety_days=options["safety_days"],
            remove_orphans=options["orphans"] == "absent",
            array=array,
            volumes=volumes,
            wall=time.time(),
            now=time.monotonic(),
            booted=_booted(),
        )

    def time(self) -> Deadline:
        """Return the deadline of one step on the array."""
        return Deadline.after(self.timeout)


def recover(request: RecoveryRequest, *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_leftovers``; with ``check`` nothing is touched.

    The host comes first: what holds guests must not wait for an array. Raises :class:`RecoveryError` when something
    could not be put right; the rest is.
    """
    found = _on_host(request)
    done, errors = _settled(found, check=check)
    try:
        if isinstance(request.array, InputError):
            raise request.array
        if request.array is not None:
            with request.array.connected(request.time()) as clients:
                of_backups = _in_backups(request, clients)
                more, failures = _settled(of_backups, check=check)
            found, errors, done = [*found, *of_backups], [*errors, *failures], done or more
    except KvmsnapError as exc:
        found.append(Leftover("backup", "*", "what is left of backups is not known"))
        errors.append(exc.message)
    result = _result(found, errors, changed=done)
    failed = [item for item in result["leftovers"] if item["error"]]
    if failed:
        faults = "; ".join(f"{item['kind']} {item['name']}: {item['error']}" for item in failed)
        raise RecoveryError(f"Failed to put right what was left: {faults}", **result)
    return result


def _settled(found: Sequence[Leftover], *, check: bool) -> tuple[bool, list[Optional[str]]]:
    """Put right what can be, one failure not keeping it from the next; return whether anything was, and the errors."""
    done, errors = False, []
    for item in found:
        error = item.fault
        if item.act is not None:
            outcome = None if check else outcome_of(item.act, what=f"put right {item.kind} {item.name}")
            error = outcome.message if isinstance(outcome, KvmsnapError) else None
            done = done or error is None
        errors.append(error)
    return done, errors


def _result(found: Sequence[Leftover], errors: Sequence[Optional[str]], *, changed: bool) -> dict[str, Any]:
    before = [item.line for item in found]
    after = [item.line for item, error in zip(found, errors) if item.act is None or error]
    return {
        "changed": changed,
        "leftovers": [item.as_dict(error=error) for item, error in zip(found, errors)],
        "summary": [_line(item, error) for item, error in zip(found, errors)] or ["Nothing is left of any crash."],
        "diff": {"before": _in_lines(before), "after": _in_lines(after)},
    }


def _line(item: Leftover, error: Optional[str]) -> str:
    return f"{item.line} - {error or item.action or 'left alone'}"


def _in_lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _on_host(request: RecoveryRequest) -> list[Leftover]:
    """Return what is left on the host: holds with their timers and locks, frozen guests, files, restores."""
    holds = leftovers.holds_on(request.hold_settings, wall=request.wall)
    found = [item for item in (_of_hold(seen, request) for seen in holds) if item is not None]
    known = {row.uuid for seen in holds for row in seen.outstanding}
    found.extend(_frozen_guests(request, known))
    found.extend(_temporary_files(request))
    found.extend(_interrupted_restores(request.root))
    found.extend(leftover_files(request.root, request.hold_settings.connect))
    found.extend(_leftover_locks(request))
    return found


def _frozen_guests(request: RecoveryRequest, known: Collection[str]) -> Iterator[Leftover]:
    """Yield the frozen guests that no hold explains; that they cannot be asked for keeps no hold from its end."""
    frozen = outcome_of(
        lambda: leftovers.frozen_guests(request.hold_settings, known=known), what="look for frozen guests"
    )
    if isinstance(frozen, KvmsnapError):
        yield Leftover("guest", "*", "which guests are frozen is not known", fault=frozen.message)
        return
    for name in frozen:
        yield Leftover("guest", name, "its file systems are frozen, and no hold of this host is known to have done it")


def _leftover_locks(request: RecoveryRequest) -> Iterator[Leftover]:
    """Yield the locks on guests, and the leases on backups with their locks, that processes left which died."""
    for path in guest_lock.left_locks(guest_lock.lock_directory(request.hold_settings.directory)):
        act = partial(guest_lock.remove_left, path)
        yield Leftover("file", str(path), "the process that had this lock on a guest died", "removed", act)
    for path in lease.left_locks(request.root):
        act = partial(lease.remove_left, path)
        yield Leftover("file", str(path), "the process that had this lock on a backup's leases died", "removed", act)
    for each in lease.outlived(request.root):
        what = f"{each.purpose} {each.identity} on {each.host} read the backup and is over"
        yield Leftover("lease", each.name, what, "removed", partial(lease.end, request.root, each.name, each.lease_id))


def _of_hold(seen: HoldSeen, request: RecoveryRequest) -> Optional[Leftover]:
    assessed = leftovers.assess(seen, now=request.now, grace_period=request.grace_period)
    if assessed.fate == "alive":
        return None
    act, remedy = None, None
    if assessed.fate != "keep":
        remedy = "released" if assessed.fate == "release" else "removed"

        def act() -> None:
            leftovers.put_right(
                seen,
                request.hold_settings,
                now=request.now,
                wall=request.wall,
                grace_period=request.grace_period,
            )

    return Leftover("hold", seen.hold_id, assessed.why, remedy, act)


def _temporary_files(request: RecoveryRequest) -> Iterator[Leftover]:
    """Yield the files that a process was writing when it died, beside those that they were to replace."""
    places = [request.hold_settings.directory, *sorted((request.root / "backups").glob("*/"))]
    places += [request.root / "restores", request.root / "clones"]
    for place in places:
        for path in sorted(place.glob(".*")) if place.is_dir() else ():
            age = max(0.0, request.wall - _modified(path, request.wall))
            if _TEMPORARY_FILE.fullmatch(path.name) and age >= request.grace_period:
                yield Leftover("file", str(path), "it was never finished", "removed", partial(_unlink, path))


def _interrupted_restores(root: Path) -> Iterator[Leftover]:
    known = read_restores(root)
    for path in sorted((root / "restores").glob("*.json")):
        try:
            found = restore_journal.load(root, path.stem)
        except KvmsnapError as exc:
            yield Leftover("restore", path.stem, exc.message)
            continue
        open_guests = [uuid for uuid in found.guests if known.is_open(found, uuid)] if found else []
        if open_guests:
            undone = path.stem[: -len(restore_journal.UNDO)] if path.stem.endswith(restore_journal.UNDO) else ""
            how = f"with restore_id {undone} and state=undone" if undone else "with this restore_id"
            what = f"it broke off before {len(open_guests)} of its guests were back: run it again {how}{_held(found)}"
            yield Leftover("restore", path.stem, what)


def _held(found: Optional[restore_journal.Journal]) -> str:
    """Say what keeps guests of a restore from being started meanwhile; empty when nothing does."""
    guests = found.guests.values() if found else ()
    aside = [progress.moved_aside.path for progress in guests if progress.moved_aside]
    disks = [request.disk for progress in guests for request in progress.pending]
    names = f". {', '.join(aside)} has another name until then" if aside else ""
    return names + (f". The array may still overwrite {', '.join(disks)}: do not start its guest" if disks else "")


def _in_backups(request: RecoveryRequest, clients: Sequence[Client]) -> list[Leftover]:
    """Return what backups and restores left: manifests without a backup, snapshots without a manifest or out of time,
    temporary LUNs, half-made copies.
    """
    root, remove = request.root, request.remove_orphans
    keeper = Keeper(root, os.uname().nodename, request.safety_days, request.wall)
    families = keeper.due()
    entries = store.entries(root)
    manifests = [entry.manifest for entry in entries if entry.manifest]
    volumes = {volume.key: volume for manifest in manifests for volume in _touched(manifest)}
    volumes.update({volume.key: volume for volume in request.volumes})
    volumes = {**{volume.key: volume for volume in volumes_of(families)}, **volumes}
    places = locate(clients, volumes.values(), deadline=request.time())
    snapshots = snapshots_of(places, volumes.values(), deadline=request.time())
    found = [Leftover("backup", entry.backup_id, entry.error or "") for entry in entries if entry.manifest is None]
    found.extend(_copies([manifest for manifest in manifests if manifest.complete]))
    if not _backup_under_way(request):
        started = [manifest for manifest in manifests if not manifest.complete]
        alive = _held_now(request)
        found.extend(
            _half_made(manifest, request, places, snapshots) for manifest in started if manifest.backup_id not in alive
        )
        # Read after the snapshots: a backup that began meanwhile had its manifest there before its first snapshot.
        known = {entry.backup_id for entry in store.entries(root)}
        found.extend(_orphans(request, places, snapshots, known, remove=remove))
    found.extend(keeper.outlived(families, places, snapshots, time=request.time))
    found.extend(keeper.strays(places, snapshots, remove=remove, time=request.time))
    gate = Gate(request.hold_settings.connect)
    found.extend(leftover_luns(root, places, time=request.time, gate=gate))
    found.extend(_orphaned_clones(request, clients).leftovers())
    return found


def _orphaned_clones(request: RecoveryRequest, clients: Sequence[Client]) -> OrphanedClones:
    return OrphanedClones(
        request.root,
        clients,
        request.hold_settings.connect,
        timeout=request.timeout,
        grace_period=request.grace_period,
        wall=request.wall,
        san=San(),
        hold_dir=request.hold_settings.directory,
    )


def _backup_under_way(request: RecoveryRequest) -> bool:
    """Say whether a process makes a backup of this host now: what has no hold yet, or no more, may be of that one."""
    lock = request.hold_settings.directory.parent / BACKUP_LOCK
    try:
        return is_locked(lock)
    except OSError as exc:
        raise RecoveryError(f"Failed to look at {lock}: {exc.strerror}") from exc


def _held_now(request: RecoveryRequest) -> set[str]:
    """Return the names of the backups whose hold is in progress."""
    holds = leftovers.holds_on(request.hold_settings, wall=request.wall)
    assessed = {
        seen.hold_id: leftovers.assess(seen, now=request.now, grace_period=request.grace_period) for seen in holds
    }
    return {hold_id for hold_id, verdict in assessed.items() if verdict.fate == "alive"}


def _half_made(manifest: Manifest, request: RecoveryRequest, places: Places, snapshots: Snapshots) -> Leftover:
    """Return a backup that was never completed, with what takes it back when that is certainly right."""
    name = manifest.backup_id
    named = {key: found[name] for key, found in snapshots.items() if key in _keys(manifest) and name in found}
    there = {key: snapshot for key, snapshot in named.items() if snapshot.is_of(manifest.owner)}
    what = f"it was started at {manifest.created} and never completed"
    reason = _untouchable(manifest, request, places, there)
    if reason:
        return Leftover("backup", name, f"{what}; {reason}")
    if there:
        what += f"; its snapshot is on {_labels(places, there)}"
    shared = {key: manifest.shared_with[key[1]] for key in there if manifest.shared_with.get(key[1])}
    if shared:
        hosts = ", ".join(sorted({host for each in shared.values() for host in each}))
        what += f". On {_labels(places, shared)} it is that of {hosts}, too, and stays"
    alone = [key for key in there if key not in shared]

    def act() -> None:
        refs = [_ref(places, key) for key in alone]
        with deletable(request.root, [name]):
            if not _is_still(request.root, manifest):
                return
            # Whoever is killed in here leaves a mark, where there is room for it; nobody can complete it until then.
            with suppress(CatalogError):
                store.withdraw(request.root, name)
            if refs:
                wanted = SnapshotRequest.checked(name=name, owner=manifest.owner)
                clients = list({places[key].client.name: places[key].client for key in alone}.values())
                ensure_absent(clients, refs, wanted, check_mode=False, deadline=request.time())
            volume_copies.take_out(manifest)
            store.remove(request.root, name)

    return Leftover("backup", name, what, "taken back: snapshots, then manifest", act)


def _untouchable(
    manifest: Manifest, request: RecoveryRequest, places: Places, there: Mapping[Key, Snapshot]
) -> Optional[str]:
    """Return why a started backup is not to be taken back, or None; pure; when it began is the request's."""
    created = datetime.fromisoformat(manifest.created).timestamp()
    remaining = request.grace_period - max(0.0, request.wall - created)
    if created >= request.booted and remaining > 0:
        return f"it may be under way still; it will count as a leftover in {remaining:.0f} s (grace_period)"
    unseen = [volume.label for volume in manifest.volumes if volume.key not in places]
    if unseen:
        return f"no controller that was given has {', '.join(unseen)}"
    for key, snapshot in there.items():
        if manifest.run_id not in snapshot.comment:
            return f"the snapshot of its name on {places[key].volume.label} is not of this run ({snapshot.comment!r})"
    return None


def _is_still(root: Path, started: Manifest) -> bool:
    """Say whether a started backup is in the catalog still; raises :class:`KvmsnapError` when it has come to life.

    It was looked at a while ago: its run may have lived, or another recovery have taken it back.
    """
    now = store.load(root, started.backup_id)
    if now is not None and (now.complete or now.run_id != started.run_id):
        what = "completed" if now.complete else "begun anew"
        raise KvmsnapError(f"Failed to take back backup {started.backup_id}: it was {what} meanwhile")
    return now is not None


def _orphans(
    request: RecoveryRequest, places: Places, snapshots: Snapshots, known: Iterable[str], *, remove: bool
) -> Iterator[Leftover]:
    """Yield the snapshots that a backup of this owner made and no manifest of the catalog knows."""
    names: dict[str, list[Key]] = {}
    for key, found in snapshots.items():
        for snapshot in found.values():
            comment = SnapshotComment.parse(snapshot.comment)
            if snapshot.name not in known and comment is not None and comment.owner == request.owner:
                names.setdefault(snapshot.name, []).append(key)
    for name, keys in sorted(names.items()):
        where = f"it is on {_labels(places, keys)}, made by a backup of {request.owner}"
        what = f"{where}, and the catalog {request.root} has no manifest of it"
        comments = [snapshots[key][name].comment for key in keys]
        others = sorted(hosts_of(name, comments) - {request.owner}) if remove else []
        if others:
            yield Leftover("snapshot", name, f"{what}; {', '.join(others)} may have it as a backup, and it stays")
            continue

        def act(name: str = name, keys: Sequence[Key] = keys) -> None:
            clients = list({places[key].client.name: places[key].client for key in keys}.values())
            wanted = SnapshotRequest.checked(name=name, owner=request.owner)
            refs = [_ref(places, key) for key in keys]
            with deletable(request.root, [name]):
                if store.load(request.root, name) is not None:
                    raise KvmsnapError(f"Failed to remove snapshot {name}: the catalog has a manifest of it by now")
                ensure_absent(clients, refs, wanted, check_mode=False, deadline=request.time())

        yield Leftover("snapshot", name, what, "removed", act) if remove else Leftover("snapshot", name, what)


def _copies(manifests: Sequence[Manifest]) -> Iterator[Leftover]:
    """Yield the copies of complete manifests that were not taken out of the live volumes again."""
    mounts = {volume.mount_point for manifest in manifests for volume in manifest.volumes if volume.mount_point}
    there: set[str] = set()
    for mount in sorted(mounts):
        directory = Path(mount) / VOLUME_DIRECTORY
        try:
            there.update(bounded(partial(_names_in, directory), seconds=_MOUNT_SECONDS, what=f"list {directory}"))
        except KvmsnapError as exc:
            yield Leftover("file", str(directory), exc.message)
    for manifest in manifests:
        copies = [name for name in volume_copies.names_of(manifest) if name in there]
        if copies:
            what = "a copy of its manifest is in a live volume, though it is complete"
            yield Leftover(
                "file",
                f"{VOLUME_DIRECTORY}/{copies[0]}",
                what,
                "removed",
                partial(volume_copies.take_out, manifest),
            )


def _ref(places: Places, key: Key) -> VolumeRef:
    place = places[key]
    return VolumeRef(place.volume.svm, place.volume.name, uuid=place.volume.uuid, controller=place.client.name)


def _labels(places: Places, keys: Iterable[Key]) -> str:
    return ", ".join(sorted(places[key].volume.label for key in keys))


def _keys(manifest: Manifest) -> set[Key]:
    return {volume.key for volume in _touched(manifest)}


def _touched(manifest: Manifest) -> tuple[SavedVolume, ...]:
    """Return the volumes that may have its snapshot: its own, and the others of its consistency groups."""
    return manifest.volumes + manifest.foreign


def _names_in(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise KvmsnapError(f"Failed to list {directory}: {exc.strerror}") from exc


def _modified(path: Path, otherwise: float) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return otherwise


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise KvmsnapError(f"Failed to remove {path}: {exc.strerror}") from exc


def _booted() -> float:
    """Return when this host was booted, in seconds since the epoch."""
    match = _BOOT_TIME.search(Path("/proc/stat").read_text(encoding="ascii"))
    return float(match[1]) if match else 0.0
