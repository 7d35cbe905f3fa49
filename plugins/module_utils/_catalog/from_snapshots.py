# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup whose catalog is gone: its started manifests out of the snapshots that carry them, completed by the array.

What lies in a volume may have been written by whoever may write there. Nothing of it is believed that does not fit what
the array says: the comment of the snapshots, which whoever writes into a volume cannot give, names the run, and the
index of the manifests by its SHA-256; the index names each manifest by its own. Snapshots of versions that wrote no
index prove less, and are believed only where that is asked for (``none``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import manifest as manifests
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.comment import SnapshotComment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import (
    COMPLETE,
    STARTED,
    Manifest,
    ManifestError,
    SavedVolume,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_index import (
    ManifestIndex,
    Part,
    digest_of,
    index_name,
    is_index,
    parse_index,
    part_name,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import NONE, SIGNED, Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_parts import merge
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key, Places, locate, snapshots_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import nfs_points, volumes_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.volume_directory import (
    Carried,
    UnreadableCopyError,
    read_carried,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Snapshot, format_time
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

_MOUNT_SECONDS = 10.0
"""Seconds that a mount has to answer: that of a server which is gone keeps its readers waiting for ever."""
_AT_ONCE = 8
_UNPROVEN = (
    "Nothing was touched. Choose another backup; what was made by a version that wrote no index is read with"
    " manifest_require=none (kvm_manifest_require), once you know that nobody else could write into the volume"
)


@dataclass(frozen=True)
class InSnapshots:
    """What was found: the backup, or None; the volumes whose snapshot has its manifest; the mounts that were silent.

    ``notes`` say what of it could not be had, or not be proven.
    """

    manifest: Optional[Manifest]
    volumes: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Place:
    """A mount point whose snapshot carries something: which volume is there, what it carries, and its comment."""

    point: str
    key: Key
    carried: Carried
    content: bytes
    comment: SnapshotComment


def from_snapshots(backup_id: str, *, clients: Sequence[Client], deadline: Deadline, trust: Trust) -> InSnapshots:
    """Return the backup as the snapshots that this host sees and the array tell it; its levels are unknown.

    Raises :class:`ManifestError` for a manifest that cannot be trusted, or that the array's snapshots do not bear out.
    """
    checked_id(backup_id, what="backup_id")
    points = nfs_points()
    found = dict(zip(points, _looked(points, backup_id, (index_name(backup_id),))))
    silent = tuple(point for point in points if isinstance(found[point], OverdueError))
    there = [point for point in points if found[point] is not None and point not in silent]
    shown = volumes_at(clients, there, deadline) if there else {}
    ours = _readable({point: found[point] for point in there if point in shown})
    if not ours:
        return InSnapshots(None, silent=silent)
    comments = _comments(clients, backup_id, {shown[point] for point in ours}, deadline)
    places = [
        _Place(point, shown[point], carried, carried.files[index_name(backup_id)], comments[shown[point]])
        for point, carried in ours.items()
    ]
    indexed = [place for place in places if place.comment.index is not None]
    if len(indexed) == len(places):
        started, notes = _indexed(backup_id, indexed, trust)
    elif indexed:
        raise _error(backup_id, "some of its snapshots name an index of manifests, and others do not")
    else:
        started, notes = _unproven(backup_id, places, trust)
    located = locate(clients, started.volumes, deadline=deadline)
    snapshots = snapshots_of(located, started.volumes, deadline=deadline)
    volumes = tuple(dict.fromkeys(volume.label for volume in started.volumes if volume.key in shown.values()))
    return InSnapshots(completed(started, located, snapshots), volumes, silent, notes)


def hosts_of(backup_id: str, comments: Iterable[str]) -> frozenset[str]:
    """Return the hosts whose manifests the index of a backup names that snapshots with these comments carry.

    It is read out of the snapshots that this host has mounted, and believed where a comment has its SHA-256. None is
    returned where there is none to be read.
    """
    known = {each.index for each in map(SnapshotComment.parse, comments) if each is not None}
    name = index_name(backup_id)
    for found in _looked(nfs_points(), backup_id, (name,)):
        content = found.files.get(name) if isinstance(found, Carried) else None
        if content is not None and digest_of(content) in known:
            with suppress(ManifestError):
                return frozenset(part.host for part in parse_index(content, where=name).parts)
    return frozenset()


def completed(started: Manifest, places: Places, snapshots: Mapping[Key, Mapping[str, Snapshot]]) -> Manifest:
    """Return the backup with the snapshots that the array has of it, or raise :class:`ManifestError`. Pure."""
    comment = started.stored_comment
    faults, volumes = [], []
    for volume in started.volumes:
        there = snapshots.get(volume.key, {}).get(started.backup_id)
        if volume.key not in places:
            faults.append(f"no controller given has volume {volume.label} ({volume.volume_uuid})")
        elif there is None:
            faults.append(f"volume {volume.label} has no snapshot of that name")
        elif not _fits(there.comment, comment):
            faults.append(
                f"the snapshot on {volume.label} has the comment {there.comment!r}, and the manifest's run gave"
                f" {comment!r}"
            )
        else:
            made = format_time(there.create_time) if there.create_time else None
            volumes.append(replace(volume, snapshot_uuid=there.uuid, create_time=made))
    if faults:
        raise ManifestError(
            f"Failed to trust the manifest of backup {started.backup_id} that its snapshots carry: {'; '.join(faults)}."
            " Choose another backup, or give the controllers that have its volumes. Nothing was touched",
            backup_id=started.backup_id,
        )
    guests = tuple(replace(guest, consistency=None) for guest in started.guests)
    return replace(started, phase=COMPLETE, completed=None, guests=guests, volumes=tuple(volumes))


def _fits(comment: str, wanted: str) -> bool:
    """Tell whether a snapshot's comment is the one wanted; one that names an index may have further fields."""
    known = SnapshotComment.parse(wanted)
    if known is None or known.index is None:
        return comment == wanted
    return SnapshotComment.parse(comment) == known


def _indexed(backup_id: str, places: Sequence[_Place], trust: Trust) -> tuple[Manifest, tuple[str, ...]]:
    """Return the started backup whose index and manifests fit the comments of its snapshots."""
    for place in places:
        if digest_of(place.content) != place.comment.index:
            raise _error(
                backup_id,
                f"the index below {place.point} is not the one that the comment of the snapshot names: it was swapped"
                " or damaged before the snapshot was made",
            )
    if len({place.comment for place in places}) > 1:
        raise _error(backup_id, "its snapshots are of different runs")
    first = places[0]
    index = parse_index(first.content, where=f"{index_name(backup_id)} in the snapshot below {first.point}")
    named = (index.backup_id, index.owner, index.run_id)
    if named != (backup_id, first.comment.owner, first.comment.run_id):
        raise _error(backup_id, f"its index is that of backup {named[0]} of {named[1]}, run {named[2]}")
    _refuse_unsigned(index, trust)
    found: dict[Part, Manifest] = {}
    for place in places:
        wanted = [part for part in index.parts if part.key == place.key and part.sha256 and part not in found]
        found.update(_parts_below(place, wanted, backup_id))
    if not found:
        lost = ", ".join(part.label for part in index.parts)
        raise _error(backup_id, f"its index is there, and none of its manifests ({lost})")
    merged = merge(list(found.values()))
    known = {volume.key for volume in merged.manifest.volumes}
    missing = [part.label for part in index.parts if part not in found and (part.sha256 or part.key not in known)]
    notes = [f"not seen on this host: {', '.join(missing)}; guests of those alone are missing here"] if missing else []
    notes += merged.notes
    notes += [
        f"guest {guest.name}: {', '.join(guest.left_out)} may be secret and is not in the copy; give it again"
        for guest in merged.manifest.guests
        if guest.left_out
    ]
    whole = replace(merged.manifest, owner=index.owner, run_id=index.run_id, snapshot_comment=first.comment.stored)
    return whole, tuple(notes)


def _refuse_unsigned(index: ManifestIndex, trust: Trust) -> None:
    signature = index.signature
    if signature is None:
        good: Optional[bool] = None
        reason = "it is not signed"
    else:
        good = trust.verified(signature.key_id, index.signed_bytes, signature.hmac_sha256)
        reason = f"it is signed with key {signature.key_id}, " + (
            "which was not given (manifest_key, manifest_keys)" if good is None else "and the key given does not fit"
        )
    if good is False or (good is None and trust.require == SIGNED):
        raise ManifestError(
            f"Failed to trust the manifests of backup {index.backup_id} in its snapshots: {reason}. Nothing was"
            " touched",
            backup_id=index.backup_id,
        )


def _parts_below(place: _Place, wanted: Sequence[Part], backup_id: str) -> dict[Part, Manifest]:
    """Return the manifests below one mount point that its index names; one that is not there is left out."""
    names = {part: part_name(backup_id, part.host) for part in wanted}
    (read,) = _looked([place.point], backup_id, tuple(names.values()))
    if isinstance(read, KvmsnapError):
        raise read
    found = {}
    for part, name in names.items():
        content = read.files.get(name) if read else None
        if content is None:
            continue
        where = f"{name} in the snapshot below {place.point}"
        if digest_of(content) != part.sha256:
            raise _error(
                backup_id,
                f"{where} has the SHA-256 {digest_of(content)}, and the index {part.sha256}: it was swapped or damaged"
                " before the snapshot was made",
            )
        manifest = manifests.parse_foreign(content, where=where)
        _refuse_other(manifest, where, backup_id)
        if manifest.owner != part.host or place.key not in {volume.key for volume in manifest.volumes}:
            raise _error(backup_id, f"{where} is the manifest of {manifest.owner} and not of this volume")
        found[part] = manifest
    return found


def _unproven(backup_id: str, places: Sequence[_Place], trust: Trust) -> tuple[Manifest, tuple[str, ...]]:
    """Return the started backup of a version that wrote no index, where that is to be believed."""
    if trust.require != NONE:
        raise _error(
            backup_id,
            "they are unproven: the comment of its snapshots names no index of them, so that somebody who writes into"
            " the volume could have put them there",
        )
    for place in places:
        if is_index(place.content):
            raise _error(backup_id, f"an index lies below {place.point}, and the comment of the snapshot names none")
        if place.carried.doubt:
            raise _error(backup_id, f"below {place.point}, {place.carried.doubt}")
    started = _agreed({place.point: place.content for place in places}, backup_id)
    for place in places:
        _refuse_stranger(started, place.point, place.key)
    return started, ("its manifest is unproven: no index binds it to the snapshots (manifest_require is none)",)


def _comments(
    clients: Sequence[Client], backup_id: str, keys: Iterable[Key], deadline: Deadline
) -> dict[Key, SnapshotComment]:
    """Return what the comments of the volumes' snapshots say; raises :class:`ManifestError` for one of no backup."""
    volumes = [SavedVolume("", "", svm_uuid, volume_uuid, volume_uuid) for svm_uuid, volume_uuid in keys]
    places = locate(clients, volumes, deadline=deadline)
    found = snapshots_of(places, volumes, deadline=deadline)
    comments = {}
    for volume in volumes:
        snapshot = found.get(volume.key, {}).get(backup_id)
        comment = SnapshotComment.parse(snapshot.comment) if snapshot else None
        if comment is None:
            label = places[volume.key].volume.label if volume.key in places else volume.volume_uuid
            state = f"the comment {snapshot.comment!r}, which no backup gave" if snapshot else "gone"
            raise _error(backup_id, f"the snapshot on {label} {'has ' if snapshot else 'is '}{state}")
        comments[volume.key] = comment
    return comments


def _error(backup_id: str, reason: str) -> ManifestError:
    return ManifestError(
        f"Failed to trust the manifests of backup {backup_id} in its snapshots: {reason}. {_UNPROVEN}",
        backup_id=backup_id,
    )


def _looked(points: Sequence[str], backup_id: str, names: tuple[str, ...]) -> list[Union[Carried, KvmsnapError, None]]:
    """Return for each mount point what the snapshot below it carries, None, or why it could not be read."""

    def look(point: str) -> Union[Carried, KvmsnapError, None]:
        try:
            read = partial(read_carried, point, backup_id, names)
            carried = bounded(read, seconds=_MOUNT_SECONDS, what=f"look below {point}")
        except UnreadableCopyError as exc:
            return ManifestError(exc.message, **exc.fields)
        except OverdueError as exc:
            return exc
        return carried if carried.files else None

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(look, points))


def _readable(found: Mapping[str, Union[Carried, KvmsnapError, None]]) -> dict[str, Carried]:
    """Return what is carried, or raise the first reason why it cannot be read."""
    for carried in found.values():
        if isinstance(carried, KvmsnapError):
            raise carried
    return {point: carried for point, carried in found.items() if isinstance(carried, Carried)}


def _agreed(copies: Mapping[str, bytes], backup_id: str) -> Manifest:
    """Return the manifest that all copies are."""
    sums = {point: digest_of(content) for point, content in copies.items()}
    if len(set(sums.values())) > 1:
        digests = ", ".join(f"{point} (sha256 {digest})" for point, digest in sums.items())
        raise ManifestError(
            f"Failed to trust the manifests of backup {backup_id} in its snapshots: they differ below {digests}."
            " Nothing was touched",
            backup_id=backup_id,
        )
    point, content = next(iter(copies.items()))
    where = f"{backup_id}.json in the snapshot below {point}"
    found = manifests.parse_foreign(content, where=where)
    _refuse_other(found, where, backup_id)
    return found


def _refuse_other(found: Manifest, where: str, backup_id: str) -> None:
    for what, value, wanted in (("backup", found.backup_id, backup_id), ("phase", found.phase, STARTED)):
        if value != wanted:
            raise ManifestError(
                f"Failed to trust manifest {where}: its {what} is {value}, not {wanted}; nothing was touched"
            )


def _refuse_stranger(manifest: Manifest, point: str, key: Key) -> None:
    if key not in {volume.key for volume in manifest.volumes}:
        known = ", ".join(volume.label for volume in manifest.volumes)
        raise ManifestError(
            f"Failed to trust the manifest of backup {manifest.backup_id} below {point}: volume {key[1]}, which is"
            f" mounted there, is none of its volumes ({known}); nothing was touched",
            backup_id=manifest.backup_id,
        )
