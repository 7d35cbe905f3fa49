# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The copies of a backup's manifest that its volumes carry into the snapshots, and the index that binds them to these.

They are put into each mounted NFS volume before the hold and taken out of the live volumes after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import manifest as manifests
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.comment import SnapshotComment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_index import (
    ManifestIndex,
    Part,
    digest_of,
    index_name,
    made_index,
    part_name,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import ManifestKey
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_parts import part_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import write_private_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import volume_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import mount_of, read_mounts

_ATTEMPTS = 3
"""Another backup that ends removes the directory once it is empty, which may be just before we write into it."""


@dataclass(frozen=True)
class Copies:
    """What the volumes carry: one part per volume, and notes about what they could not take."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...]


def refuse_foreign(manifest: Manifest) -> list[str]:
    """Refuse volumes whose directory for the copies is not ours; return a note where only writing can show it.

    Nothing is changed. Raises ``ForeignDirectoryError``.
    """
    mounts = read_mounts()
    notes = []
    for volume in manifest.volumes:
        if volume.mount_point is None:
            continue
        mount = mount_of(mounts, volume.mount_point)
        mapped = mount is not None and mount.nfs() is not None
        try:
            owner = volume_directory.refuse_foreign(volume.mount_point, ours=None if mapped else os.geteuid())
        except OSError:
            continue
        if owner not in (None, os.geteuid()):
            notes.append(
                f"{volume.label} at {volume.mount_point}: {volume_directory.VOLUME_DIRECTORY} there belongs to uid"
                f" {owner}; it is used only if the export gives what this host writes to that user, too"
            )
    return notes


def put_parts(manifest: Manifest, *, check: bool = False) -> Copies:
    """Put into each mounted NFS volume what it is to carry of the manifest; with ``check`` only say what that were.

    Volumes with nothing but LUNs take none; one note tells when there is no other. Raises ``ForeignDirectoryError``.
    """
    parts, notes = [], []
    with_files = _volumes_with_files(manifest)
    for volume in manifest.volumes:
        digest = None
        if volume.mount_point is not None:
            content = manifests.dump(part_of(manifest, volume)).encode("utf-8")
            reason = None if check else _put(volume, part_name(manifest.backup_id, manifest.owner), content)
            if reason:
                notes.append(f"{volume.label} at {volume.mount_point}: {reason}")
            else:
                digest = digest_of(content)
        elif volume.key in with_files:
            notes.append(f"{volume.label} is not mounted on this host")
        parts.append(Part(manifest.owner, volume.svm_uuid, volume.volume_uuid, volume.label, digest))
    if not any(volume.mount_point or volume.key in with_files for volume in manifest.volumes):
        notes.append("no snapshot carries the manifest; it is in the catalog of this host alone")
    return Copies(tuple(parts), tuple(notes))


def put_index(
    manifest: Manifest,
    parts: Iterable[Part],
    *,
    owner: str,
    run_id: str,
    key: Optional[ManifestKey] = None,
    check: bool = False,
) -> tuple[Manifest, list[str]]:
    """Put the index of all hosts' parts beside this host's; return the manifest with its snapshots' comment, notes.

    ``owner`` and ``run_id`` are those of the snapshots. Raises :class:`KvmsnapError`.
    """
    index = made_index(manifest.backup_id, owner=owner, run_id=run_id, parts=tuple(parts)).signed(key)
    content = index.dump()
    carrying = {part.key for part in index.parts if part.host == manifest.owner and part.sha256 is not None}
    notes = []
    for volume in manifest.volumes:
        if volume.mount_point is None or volume.key not in carrying or check:
            continue
        reason = _put(volume, index_name(manifest.backup_id), content)
        if reason:
            notes.append(f"{volume.label} at {volume.mount_point}: {reason}")
    comment = SnapshotComment.checked(owner=owner, run_id=run_id, index=digest_of(content))
    return replace(manifest, snapshot_comment=comment.stored, shared_with=_shared(manifest, index)), notes


def _shared(manifest: Manifest, index: ManifestIndex) -> dict[str, tuple[str, ...]]:
    """Return which other hosts have a part on the volumes of this one, by the volume's uuid; pure."""
    mine = {volume.key for volume in manifest.volumes}
    hosts: dict[str, set[str]] = {}
    for part in index.parts:
        if part.key in mine and part.host != manifest.owner:
            hosts.setdefault(part.volume_uuid, set()).add(part.host)
    return {volume: tuple(sorted(found)) for volume, found in sorted(hosts.items())}


def take_out(manifest: Manifest) -> None:
    """Remove from the live volumes what was put there; a volume that cannot be reached keeps its copies."""
    for volume in manifest.volumes:
        if volume.mount_point is None:
            continue
        try:
            volume_directory.remove_files(volume.mount_point, names_of(manifest))
        except (OSError, KvmsnapError):
            continue


def names_of(manifest: Manifest) -> tuple[str, str]:
    """Return the names of the files of a backup in a volume: its index, and this host's manifest."""
    return (index_name(manifest.backup_id), part_name(manifest.backup_id, manifest.owner))


def _put(volume: SavedVolume, name: str, content: bytes) -> Optional[str]:
    """Write a file into the volume's directory; return why that could not be done, or None."""
    reason = None
    for _attempt in range(_ATTEMPTS):
        try:
            with volume_directory.opened(volume.mount_point or "") as directory:
                write_private_at(directory, name, content)
            return None
        except FileNotFoundError as exc:
            reason = exc.strerror
        except OSError as exc:
            return exc.strerror or str(exc)
    return reason


def _volumes_with_files(manifest: Manifest) -> set[tuple[str, str]]:
    places = (disk.storage for guest in manifest.guests for disk in guest.saved_disks)
    return {place.volume_key for place in places if place is not None and place.lun is None}
