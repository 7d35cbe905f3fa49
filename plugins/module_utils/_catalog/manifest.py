# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a backup: guests, disks, where they lie, which snapshots hold them. JSON, versioned, checksummed.

Two phases: ``started`` is written before the first guest is held (what is meant to be saved), ``complete`` after the
last was released (what was reached). A backup exists only with the second. A manifest read back is foreign data: its
checksum, its schema and every name in it that may become part of a path are verified before anything else looks at it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.comment import SnapshotComment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import Reached
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._guest_words import called
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import xml_root
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

SCHEMA = "kvmsnap.manifest/1"
STARTED = "started"
COMPLETE = "complete"


class ManifestError(KvmsnapError):
    """A manifest that cannot be trusted: unreadable, of another schema, or altered since it was written."""


@dataclass(frozen=True)
class BackingFile:
    """A file below a disk's own image; ``size`` (bytes) and ``modified`` (ns since the epoch) show a change."""

    path: str
    size: Optional[int] = None
    modified: Optional[int] = None

    @classmethod
    def from_record(cls, record: Any) -> BackingFile:
        """Read a layer: a path, from a discovery, or a dictionary, from a manifest."""
        if isinstance(record, str):
            return cls(record)
        return cls(str(record["path"]), record.get("size"), record.get("modified"))


@dataclass(frozen=True)
class SavedDisk:
    """One disk of a guest at the time of the backup; ``size`` is the image file's size in bytes."""

    target: str
    role: str
    device: str
    source: str
    format: str
    size: Optional[int]
    backing: tuple[BackingFile, ...]
    included: bool
    reason: str
    storage: Optional[Storage]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SavedDisk:
        """Read a disk, from a discovery or from a manifest."""
        storage = record.get("storage")
        size = record.get("size")
        return cls(
            target=str(record["target"]),
            role=str(record.get("role") or "data"),
            device=str(record.get("device") or "disk"),
            source=str(record.get("source") or ""),
            format=str(record.get("format") or "raw"),
            size=None if size is None else int(size),
            backing=tuple(BackingFile.from_record(item) for item in record.get("backing") or ()),
            included=bool(record.get("included")),
            reason=str(record.get("reason") or ""),
            storage=Storage.from_record(storage) if storage else None,
        )


@dataclass(frozen=True)
class SavedFile:
    """A side file of a guest (NVRAM, vTPM state) kept in the catalog beside the manifest."""

    kind: str
    path: str
    stored_as: str
    sha256: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SavedFile:
        """Read a side file; its stored name may not leave the backup's directory."""
        stored = checked_id(str(record["stored_as"]), what="stored_as")
        return cls(kind=str(record["kind"]), path=str(record["path"]), stored_as=stored, sha256=str(record["sha256"]))


@dataclass(frozen=True)
class SavedGuest:
    """One guest at the time of the backup. ``xml`` carries no passwords (it is read without the secure flag).

    ``left_out`` names what a volume's copy of ``xml`` lacks, since it may be secret.
    """

    name: str
    uuid: str
    state: str
    os: str
    persistent: bool
    autostart: bool
    xml: str
    disks: tuple[SavedDisk, ...]
    files: tuple[SavedFile, ...] = ()
    consistency: Optional[Reached] = None
    left_out: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SavedGuest:
        """Read a guest, from a discovery or from a manifest."""
        consistency = record.get("consistency")
        return cls(
            name=str(record["name"]),
            uuid=str(record["uuid"]),
            state=str(record.get("state") or "unknown"),
            os=str(record.get("os") or "unknown"),
            persistent=bool(record.get("persistent", True)),
            autostart=bool(record.get("autostart")),
            xml=str(record.get("xml") or ""),
            disks=tuple(SavedDisk.from_record(disk) for disk in record.get("disks") or ()),
            files=tuple(SavedFile.from_record(item) for item in record.get("files") or ()),
            consistency=Reached.from_record(consistency) if consistency else None,
            left_out=tuple(str(name) for name in record.get("left_out") or ()),
        )

    @property
    def saved_disks(self) -> tuple[SavedDisk, ...]:
        """The disks that the backup holds."""
        return tuple(disk for disk in self.disks if disk.included and disk.storage is not None)


@dataclass(frozen=True)
class SavedVolume:
    """One volume of the backup; ``snapshot_uuid`` and ``create_time`` (the array's clock) are known once it exists.

    ``create_time_off`` is by how many seconds the array dates the snapshot outside of what this host knows of it: 0.0
    when both agree, None when they were not compared.
    """

    controller: str
    svm: str
    svm_uuid: str
    volume: str
    volume_uuid: str
    mount_point: Optional[str] = None
    mount_path: str = ""
    snapshot_uuid: Optional[str] = None
    create_time: Optional[str] = None
    requested_at: Optional[float] = None
    confirmed_at: Optional[float] = None
    create_time_off: Optional[float] = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SavedVolume:
        """Read a volume, from a discovery or from a manifest."""
        known = {key: record.get(key) for key in cls.__dataclass_fields__}
        names = ("controller", "svm", "svm_uuid", "volume", "volume_uuid")
        unnamed = [key for key in names if not isinstance(known[key], str)]
        if unnamed:
            raise ValueError(f"its {unnamed[0]!r} is missing or is no text")
        known["mount_path"] = str(known["mount_path"] or "")
        return cls(**known)  # type: ignore[arg-type]

    @property
    def label(self) -> str:
        """The volume with its SVM, for people."""
        return f"{self.svm}:{self.volume}"

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the volume: its SVM's and its own uuid."""
        return (self.svm_uuid, self.volume_uuid)


@dataclass(frozen=True)
class SavedGroup:
    """A consistency group that made snapshots of the backup; ``foreign`` are its volumes that are not of the backup."""

    controller: str
    svm: str
    svm_uuid: str
    name: str
    uuid: str
    volumes: tuple[str, ...]
    foreign: tuple[SavedVolume, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SavedGroup:
        """Read a group from a manifest."""
        return cls(
            controller=str(record["controller"]),
            svm=str(record["svm"]),
            svm_uuid=str(record["svm_uuid"]),
            name=str(record["name"]),
            uuid=str(record["uuid"]),
            volumes=tuple(str(name) for name in record["volumes"]),
            foreign=tuple(SavedVolume.from_record(item) for item in record.get("foreign") or ()),
        )


@dataclass(frozen=True)
class Unprotected:
    """A guest that the run was asked to save and could not, with the codes of the problems that say why."""

    name: str
    uuid: str
    problems: tuple[str, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Unprotected:
        """Read an entry of ``unprotected``."""
        return cls(name=str(record["name"]), uuid=str(record["uuid"]), problems=tuple(record.get("problems") or ()))


@dataclass(frozen=True)
class Manifest:
    """A whole backup. ``created`` and ``completed`` are ISO 8601 in UTC on the KVM host's clock.

    ``shared_with`` names the other hosts of one point in time, by the uuid of the volume whose snapshot they share.
    ``snapshot_comment`` is the whole comment of its snapshots. A volume's copy has none, since the comment has the hash
    of that copy; neither has a backup of a version that wrote no index.
    """

    backup_id: str
    phase: str
    owner: str
    policy: str
    run_id: str
    created: str
    completed: Optional[str]
    guests: tuple[SavedGuest, ...]
    volumes: tuple[SavedVolume, ...]
    unprotected: tuple[Unprotected, ...] = ()
    groups: tuple[SavedGroup, ...] = ()
    snapshot_comment: Optional[str] = None
    shared_with: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def foreign(self) -> tuple[SavedVolume, ...]:
        """The volumes that have the snapshot, since they are in a group, and are not of the backup."""
        return tuple(volume for group in self.groups for volume in group.foreign)

    @property
    def sharers(self) -> tuple[str, ...]:
        """The other hosts of one point in time that need snapshots of this backup."""
        return tuple(sorted({host for hosts in self.shared_with.values() for host in hosts} - {self.owner}))

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return self.phase == COMPLETE

    @property
    def comment(self) -> str:
        """The comment of its snapshots without the prefix that names their owner."""
        known = SnapshotComment.parse(self.snapshot_comment) if self.snapshot_comment else None
        return known.text if known else f"run {self.run_id}, {len(self.guests)} guests"

    @property
    def snapshot_owner(self) -> str:
        """Who owns its snapshots; at one point in time of several hosts it is the first of them."""
        known = SnapshotComment.parse(self.snapshot_comment) if self.snapshot_comment else None
        return known.owner if known else self.owner

    @property
    def stored_comment(self) -> str:
        """The comment of its snapshots as it stands on the array."""
        return f"kvmsnap/{self.snapshot_owner}: {self.comment}"

    def guest(self, wanted: str) -> Optional[SavedGuest]:
        """Find a guest by uuid or name; one whose name is the uuid of another is not that one."""
        return next(iter(called(wanted, self.guests)), None)

    def disk_at(self, storage: Storage) -> Optional[SavedDisk]:
        """Return the disk that lay at a place of a volume, None when none did."""
        wanted = storage.key
        disks = (disk for guest in self.guests for disk in guest.saved_disks)
        found = ((each, each.storage) for each in disks if each.storage)
        return next((disk for disk, at in found if at.key == wanted), None)

    def volume_of(self, storage: Storage) -> Optional[SavedVolume]:
        """Find the volume that a disk lies on."""
        return next((item for item in self.volumes if item.key == storage.volume_key), None)

    def completed_with(self, *, guests: tuple[SavedGuest, ...], volumes: tuple[SavedVolume, ...], at: str) -> Manifest:
        """Return the complete manifest of this started one."""
        return replace(self, phase=COMPLETE, guests=guests, volumes=volumes, completed=at)


def dump(manifest: Manifest) -> str:
    """Return the manifest as JSON text with its schema and checksum, ending in a newline."""
    record = {"schema": SCHEMA, **asdict(manifest)}
    return json.dumps({**record, "checksum": _checksum(record)}, indent=1, sort_keys=True) + "\n"


def parse(text: str, *, where: str) -> Manifest:
    """Read a manifest; ``where`` names the file in errors. Raises :class:`ManifestError`."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ManifestError(f"Failed to read manifest {where}: it is not JSON ({exc})", path=where) from exc
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise ManifestError(f"Failed to read manifest {where}: its schema is {found!r}, not {SCHEMA!r}", path=where)
    claimed = record.pop("checksum", None)
    if claimed != _checksum(record):
        raise ManifestError(
            f"Failed to trust manifest {where}: its checksum does not match its content; it was altered or damaged",
            path=where,
        )
    try:
        return _from_record(record)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise ManifestError(f"Failed to read manifest {where}: {why_unreadable(exc)}", path=where) from exc


def parse_foreign(content: bytes, *, where: str) -> Manifest:
    """Read a manifest from outside of the catalog, the guests' definitions too: they are well-formed, without DOCTYPE.

    Raises :class:`ManifestError`.
    """
    try:
        found = parse(content.decode("utf-8"), where=where)
        for guest in found.guests:
            xml_root(guest.xml)
    except ManifestError:
        raise
    except (KvmsnapError, UnicodeDecodeError) as exc:
        raise ManifestError(f"Failed to trust manifest {where}: {getattr(exc, 'message', exc)}", path=where) from exc
    return found


def _from_record(record: Mapping[str, Any]) -> Manifest:
    return Manifest(
        backup_id=checked_id(str(record["backup_id"]), what="backup_id"),
        phase=str(record["phase"]),
        owner=str(record["owner"]),
        policy=str(record["policy"]),
        run_id=str(record["run_id"]),
        created=str(record["created"]),
        completed=record.get("completed"),
        guests=tuple(SavedGuest.from_record(item) for item in record["guests"]),
        volumes=tuple(SavedVolume.from_record(item) for item in record["volumes"]),
        unprotected=tuple(Unprotected.from_record(item) for item in record.get("unprotected") or ()),
        groups=tuple(SavedGroup.from_record(item) for item in record.get("groups") or ()),
        snapshot_comment=record.get("snapshot_comment"),
        shared_with={
            str(volume): tuple(str(host) for host in hosts)
            for volume, hosts in (record.get("shared_with") or {}).items()
        },
    )


def _checksum(record: Mapping[str, Any]) -> str:
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(canonical.encode("ascii")).hexdigest()


NVRAM, TPM, DEFINITION = "nvram", "tpm", "definition"

TPM_STATE = "/var/lib/libvirt/swtpm"

WHAT = {NVRAM: "UEFI variables", TPM: "state of the TPM", DEFINITION: "definition"}
