# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup whose catalog is gone: its started manifest out of the snapshots that carry it, completed by the array.

What lies in a volume may have been written by whoever may write there. Nothing of it is believed that does not fit what
the array says: the snapshots of that name bear the comment of the run, which whoever writes into a volume cannot give.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import manifest as manifests
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.catalog import VOLUME_DIRECTORY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.clone_mounts import nfs_points, volumes_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.info import Key, Places, locate, snapshots_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import (
    COMPLETE,
    STARTED,
    Manifest,
    ManifestError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Snapshot, Wanted, format_time
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

MAX_BYTES = 64 << 20
_MOUNT_SECONDS = 10.0
_AT_ONCE = 8
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class InSnapshots:
    """What was found: the backup, or None; the volumes whose snapshot has its manifest; the mounts that were silent."""

    manifest: Optional[Manifest]
    volumes: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def from_snapshots(backup_id: str, *, clients: Sequence[Client], deadline: Deadline) -> InSnapshots:
    """Return the backup as the snapshots that this host sees and the array tell it; its levels are unknown.

    Raises :class:`ManifestError` for a manifest that cannot be trusted, or that the array's snapshots do not bear out.
    """
    checked_id(backup_id, what="backup_id")
    points = nfs_points()
    found = dict(zip(points, _looked(points, backup_id)))
    silent = tuple(point for point in points if isinstance(found[point], OverdueError))
    there = [point for point in points if found[point] is not None and point not in silent]
    shown = volumes_at(clients, there, deadline) if there else {}
    ours = _readable({point: found[point] for point in there if point in shown})
    if not ours:
        return InSnapshots(None, silent=silent)
    started = _agreed(ours, backup_id)
    for point in ours:
        _refuse_stranger(started, point, shown[point])
    places = locate(clients, started.volumes, deadline=deadline)
    snapshots = snapshots_of(places, started.volumes, deadline=deadline)
    volumes = tuple(dict.fromkeys(volume.label for volume in started.volumes if volume.key in shown.values()))
    return InSnapshots(completed(started, places, snapshots), volumes, silent)


def completed(started: Manifest, places: Places, snapshots: Mapping[Key, Mapping[str, Snapshot]]) -> Manifest:
    """Return the backup with the snapshots that the array has of it, or raise :class:`ManifestError`. Pure."""
    comment = Wanted.checked(name=started.backup_id, owner=started.owner, comment=started.comment).stored_comment
    faults, volumes = [], []
    for volume in started.volumes:
        there = snapshots.get(volume.key, {}).get(started.backup_id)
        if volume.key not in places:
            faults.append(f"no controller given has volume {volume.label} ({volume.volume_uuid})")
        elif there is None:
            faults.append(f"volume {volume.label} has no snapshot of that name")
        elif there.comment != comment:
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


def copy_below(point: str, backup_id: str) -> Optional[bytes]:
    """Return the manifest in the snapshot below a mount point, None when there is none; no link is followed.

    Raises :class:`ManifestError` when the snapshot has something else in its place, or it cannot be read.
    """
    path = os.path.join(point, ".snapshot", backup_id, VOLUME_DIRECTORY, f"{backup_id}.json")
    opened: list[int] = []
    try:
        for name in (point, ".snapshot", backup_id):
            opened.append(os.open(name, _DIRECTORY, dir_fd=opened[-1] if opened else None))
    except OSError:
        _close(opened)
        return None
    try:
        opened.append(os.open(VOLUME_DIRECTORY, _DIRECTORY, dir_fd=opened[-1]))
        opened.append(os.open(f"{backup_id}.json", _FILE, dir_fd=opened[-1]))
        return _content(opened[-1], path)
    except FileNotFoundError:
        return None
    except OSError as exc:
        reason = "it is a link, or below one" if exc.errno in (errno.ELOOP, errno.ENOTDIR) else exc.strerror
        raise ManifestError(f"Failed to read manifest {path}: {reason}; nothing was touched", path=path) from exc
    finally:
        _close(opened)


def _content(descriptor: int, path: str) -> bytes:
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise ManifestError(f"Failed to read manifest {path}: it is no file; nothing was touched", path=path)
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ManifestError(
            f"Failed to read manifest {path}: it is larger than {MAX_BYTES} bytes; nothing was touched", path=path
        )
    return content


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _looked(points: Sequence[str], backup_id: str) -> list[Union[bytes, KvmsnapError, None]]:
    """Return for each mount point the manifest in the snapshot below it, None, or why it could not be read."""

    def look(point: str) -> Union[bytes, KvmsnapError, None]:
        try:
            return bounded(partial(copy_below, point, backup_id), seconds=_MOUNT_SECONDS, what=f"look below {point}")
        except (ManifestError, OverdueError) as exc:
            return exc

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(look, points))


def _readable(found: Mapping[str, Union[bytes, KvmsnapError, None]]) -> dict[str, bytes]:
    """Return the manifests, or raise the first reason why one is none."""
    for content in found.values():
        if isinstance(content, KvmsnapError):
            raise content
    return {point: content for point, content in found.items() if isinstance(content, bytes)}


def _agreed(copies: Mapping[str, bytes], backup_id: str) -> Manifest:
    """Return the manifest that all copies are."""
    sums = {point: hashlib.sha256(content).hexdigest() for point, content in copies.items()}
    if len(set(sums.values())) > 1:
        told = ", ".join(f"{point} (sha256 {digest})" for point, digest in sums.items())
        raise ManifestError(
            f"Failed to trust the manifests of backup {backup_id} in its snapshots: they differ below {told}."
            " Nothing was touched",
            backup_id=backup_id,
        )
    point, content = next(iter(copies.items()))
    where = f"{backup_id}.json in the snapshot below {point}"
    found = manifests.parse_foreign(content, where=where)
    for what, told, wanted in (("backup", found.backup_id, backup_id), ("phase", found.phase, STARTED)):
        if told != wanted:
            raise ManifestError(
                f"Failed to trust manifest {where}: its {what} is {told}, not {wanted}; nothing was touched"
            )
    return found


def _refuse_stranger(manifest: Manifest, point: str, key: Key) -> None:
    if key not in {volume.key for volume in manifest.volumes}:
        known = ", ".join(volume.label for volume in manifest.volumes)
        raise ManifestError(
            f"Failed to trust the manifest of backup {manifest.backup_id} below {point}: volume {key[1]}, which is"
            f" mounted there, is none of its volumes ({known}); nothing was touched",
            backup_id=manifest.backup_id,
        )
