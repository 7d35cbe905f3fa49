# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a copy of a guest is made of, decided before anything is made. Pure: nothing is asked or done.

Each disk's file, and each file below it, is cloned out of the snapshot into a file of the copy's own in the same
volume, each LUN into a LUN; an overlay is pointed to the copy of what lies below it. What does not lie in one of the
backup's snapshots cannot be kept apart from the original and is refused.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.clone_record import (
    NO_INTERFACES,
    ORIGINAL,
    ClonedFile,
    ClonedLun,
    CloneRecord,
    file_name,
    lun_name,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import (
    Manifest,
    SavedDisk,
    SavedGuest,
    SavedVolume,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import CopyMark, NewSource
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import relative_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import Igroup
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem

NFS = "nfs"
UNKNOWN_DEVICE = "/dev/mapper/unknown-until-it-is-made"
_NETWORKS = {NO_INTERFACES: "none", ORIGINAL: "those of the original, with new addresses"}


class CloneRefusedError(KvmsnapError):
    """A copy was refused before anything was made; ``problems`` says why, each with its remedy."""


@dataclass(frozen=True)
class NewClone:
    """A copy as it is asked for; ``uuid`` is the copy's own. ``nvram`` and ``tpm`` are None when it has none."""

    name: str
    uuid: str
    owner: str
    network: Optional[str]
    created: str
    nvram: Optional[str] = None
    tpm: Optional[str] = None
    interfaces: str = NO_INTERFACES


@dataclass(frozen=True)
class CloneWorld:
    """What array and host say before a copy is made.

    ``snapshots`` maps a volume to the uuid of its snapshot of the backup's name now; ``mounts`` tells where this host
    has the volumes; ``directories`` holds (volume, directory inside it) of those that are still there; ``igroups`` maps
    an SVM's uuid to the igroup of this host alone.
    """

    snapshots: Mapping[Key, str]
    mounts: Mapping[Key, HostVolume]
    directories: Collection[tuple[Key, str]] = ()
    igroups: Mapping[str, Igroup] = field(default_factory=dict)


def plan_clone(
    manifest: Manifest,
    guest: SavedGuest,
    wanted: NewClone,
    seen: CloneWorld,
) -> CloneRecord:
    """Return the record of a copy that is to be made, or raise :class:`CloneRefusedError` with every reason."""
    problems: list[Problem] = []
    files: list[ClonedFile] = []
    luns: list[ClonedLun] = []
    if not guest.saved_disks:
        problems.append(_problem("no-disk-saved", guest, None, "the backup holds none of its disks"))
    for disk in guest.saved_disks:
        if disk.storage is not None and disk.storage.lun is not None:
            made: Union[Problem, ClonedLun, list[ClonedFile]] = _lun(manifest, guest, disk, wanted, seen)
        else:
            made = _disk(manifest, guest, disk, wanted, seen)
        if isinstance(made, Problem):
            problems.append(made)
        elif isinstance(made, ClonedLun):
            luns.append(made)
        else:
            files.extend(made)
    if problems:
        raise CloneRefusedError(
            f"Refused to copy guest {guest.name} from backup {manifest.backup_id}, nothing was made: "
            + "; ".join(problem.message for problem in problems),
            problems=[problem.as_dict() for problem in problems],
            guest=guest.name,
            backup_id=manifest.backup_id,
        )
    return CloneRecord(
        name=wanted.name,
        uuid=wanted.uuid,
        phase="making",
        mark=CopyMark(wanted.owner, manifest.backup_id, guest.name, guest.uuid, wanted.created),
        network=wanted.network,
        files=tuple(files),
        luns=tuple(luns),
        nvram=wanted.nvram,
        tpm=wanted.tpm,
        interfaces=wanted.interfaces,
    )


def sources_of(record: CloneRecord) -> dict[str, NewSource]:
    """Return what the copy's definition says of each disk."""
    found = {item.target: NewSource("file", item.host_path, item.format) for item in record.files if not item.layer}
    return {**found, **{lun.target: NewSource("block", lun.device or UNKNOWN_DEVICE, "raw") for lun in record.luns}}


def chain_of(record: CloneRecord, target: str) -> list[ClonedFile]:
    """Return a disk's files, its own first, then what lies below."""
    return sorted((item for item in record.files if item.target == target), key=lambda item: item.layer)


def described(record: Optional[CloneRecord], name: str) -> str:
    """Return a copy as the text that ``--diff`` shows."""
    if record is None:
        return f"copy {name}: absent\n"
    lines = [
        f"copy {name} ({record.mark.owner}): guest {record.mark.guest} from backup {record.mark.backup_id}",
        f"  network: {record.network or _NETWORKS[record.interfaces]}",
    ]
    lines += [f"  {item.target}: {item.storage.label} at {item.host_path}" for item in record.files]
    lines += [f"  {lun.target}: {lun_label(lun)} for igroup {lun.igroup}" for lun in record.luns]
    lines += [f"  {what}: {path}" for what, path in (("nvram", record.nvram), ("tpm", record.tpm)) if path]
    return "\n".join(lines) + "\n"


def lun_label(lun: ClonedLun) -> str:
    """Return where a LUN lies, in the words of KVM_VM_MAPPING."""
    return f"{lun.svm}:/vol/{lun.volume}/{lun.path}"


def _disk(
    manifest: Manifest, guest: SavedGuest, disk: SavedDisk, wanted: NewClone, seen: CloneWorld
) -> Union[Problem, list[ClonedFile]]:
    storage = disk.storage
    volume = manifest.volume_of(storage) if storage else None
    if storage is None or volume is None:
        return _problem("manifest-incomplete", guest, disk, "the backup does not say where it lies")
    refusal = _snapshot_problem(manifest, guest, disk, volume, seen)
    if refusal is not None:
        return refusal
    places = [(volume, storage.path)]
    for layer in disk.backing:
        place = _located(layer.path, manifest, seen)
        if place is None:
            reason = f"its image stands on {layer.path}, which no snapshot holds"
            return _problem("backing-file-outside", guest, disk, reason)
        refusal = _snapshot_problem(manifest, guest, disk, place[0], seen)
        if refusal is not None:
            return refusal
        places.append(place)
    files = []
    for number, (where, path) in enumerate(places):
        made = _file(disk, where, path, number=number, uuid=wanted.uuid, seen=seen)
        if made is None:
            reason = f"this host does not have the directory of {where.svm}:/vol/{where.volume}/{path} mounted"
            return _problem("volume-not-mounted", guest, disk, reason)
        files.append(made)
    return files


def _lun(
    manifest: Manifest, guest: SavedGuest, disk: SavedDisk, wanted: NewClone, seen: CloneWorld
) -> Union[Problem, ClonedLun]:
    storage = disk.storage
    volume = manifest.volume_of(storage) if storage else None
    if storage is None or storage.lun is None or volume is None:
        return _problem("manifest-incomplete", guest, disk, "the backup does not say where it lies")
    refusal = _snapshot_problem(manifest, guest, disk, volume, seen)
    if refusal is not None:
        return refusal
    igroup = seen.igroups.get(storage.svm_uuid)
    if igroup is None:
        reason = f"SVM {storage.svm} has no igroup that holds initiators of this host and of no other"
        return _problem("no-igroup-of-this-host", guest, disk, reason)
    return ClonedLun(
        target=disk.target,
        controller=storage.controller,
        svm=storage.svm,
        svm_uuid=storage.svm_uuid,
        volume=storage.volume,
        volume_uuid=storage.volume_uuid,
        path=posixpath.join(posixpath.dirname(storage.path), lun_name(wanted.uuid, disk.target)),
        source=storage.path,
        size=storage.lun.size,
        igroup=igroup.name,
        igroup_uuid=igroup.uuid,
    )


def _file(
    disk: SavedDisk, volume: SavedVolume, path: str, *, number: int, uuid: str, seen: CloneWorld
) -> Optional[ClonedFile]:
    """Return the copy of one file: beside it, or where the volume is mounted when its directory is gone."""
    mount = seen.mounts.get(volume.key)
    if mount is None:
        return None
    directory = posixpath.dirname(path)
    place = directory if (volume.key, directory) in seen.directories else mount.mount_path
    destination = posixpath.join(place, file_name(uuid, disk.target, number))
    host_path = mount.on_host(destination)
    if host_path is None:
        return None
    storage = Storage(
        kind=NFS,
        controller=volume.controller,
        svm=volume.svm,
        svm_uuid=volume.svm_uuid,
        volume=volume.volume,
        volume_uuid=volume.volume_uuid,
        path=destination,
    )
    return ClonedFile(disk.target, number, storage, host_path, path, disk.format if number == 0 else "")


def _located(host_path: str, manifest: Manifest, seen: CloneWorld) -> Optional[tuple[SavedVolume, str]]:
    """Return the volume of the backup that a file of the host lies in, and where; names of a manifest are data.

    The volume had its place at the time of the backup; where mounts nest, the innermost counts.
    """
    found: list[tuple[int, SavedVolume, str]] = []
    for volume in manifest.volumes:
        mount = HostVolume(volume.mount_point, volume.mount_path) if volume.mount_point else seen.mounts.get(volume.key)
        path = mount.inside(host_path) if mount else None
        if mount is None or path is None:
            continue
        try:
            found.append((len(mount.mount_point), volume, relative_path(path)))
        except InputError:
            continue
    return max(found, key=lambda each: each[0])[1:] if found else None


def _snapshot_problem(
    manifest: Manifest,
    guest: SavedGuest,
    disk: SavedDisk,
    volume: SavedVolume,
    seen: CloneWorld,
) -> Optional[Problem]:
    now = seen.snapshots.get(volume.key)
    where = f"{volume.svm}:{volume.volume}"
    if now is None:
        reason = f"volume {where} has no snapshot {manifest.backup_id}, or is not reached by the controllers given"
        return _problem("snapshot-missing", guest, disk, reason)
    if volume.snapshot_uuid is None or now != volume.snapshot_uuid:
        reason = f"snapshot {manifest.backup_id} of {where} has uuid {now}, the backup's was {volume.snapshot_uuid}"
        return _problem("snapshot-replaced", guest, disk, reason)
    return None


_REMEDIES = {
    "no-disk-saved": "Choose another backup.",
    "manifest-incomplete": "Choose another backup.",
    "no-igroup-of-this-host": "Make an igroup with the initiators of this host alone; one of a cluster never serves.",
    "snapshot-missing": "Choose another backup, or give the controller that has the volume.",
    "snapshot-replaced": "Choose another backup: this snapshot is not the one that it made.",
    "volume-not-mounted": "Mount the volume on this host.",
    "backing-file-outside": "Restore the guest in place, or copy it after its image was made to stand alone.",
}


def _problem(code: Code, guest: SavedGuest, disk: Optional[SavedDisk], reason: str) -> Problem:
    what = f"disk {disk.target} of guest {guest.name}" if disk else f"guest {guest.name}"
    target = disk.target if disk else None
    return Problem(code, "error", f"{what}: {reason}", _REMEDIES[code], guest=guest.name, disk=target)
