# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore was asked for and how far it came, kept on the host so that a second run goes on where one broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import json_store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import alone_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Taken

SCHEMA = "kvmsnap.restore/1"
MOVE = "move"
"""The kind of a request that moves a disk's file aside."""
UNDO = ".undo"
"""What the undo of a restore has at the end of its name."""


@dataclass(frozen=True)
class SideFileAttributes:
    """Owner, mode and SELinux label of a side file, such as the UEFI variables."""

    uid: int
    gid: int
    mode: int
    label: Optional[str] = None


@dataclass(frozen=True)
class Aside:
    """What was at ``path`` before a restore and is kept as ``stored_as``, which is empty when nothing was there.

    ``kept_by``: the restore that set it aside, when another one took its place.
    """

    kind: str
    path: str
    stored_as: str = ""
    sha256: str = ""
    attributes: Optional[SideFileAttributes] = None
    kept_by: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Aside:
        """Read an entry of a journal; raises :class:`InputError` when its name would lead out of the directory."""
        # Journals that were begun with an earlier version have them as the look of the file.
        kept = record.get("attributes") or record.get("look")
        name, by = str(record["stored_as"]), str(record.get("kept_by") or "")
        return cls(
            kind=str(record["kind"]),
            path=str(record["path"]),
            stored_as=checked_id(name, what="stored_as") if name else "",
            sha256=str(record["sha256"]),
            attributes=SideFileAttributes(**{each.name: kept[each.name] for each in fields(SideFileAttributes)})
            if kept
            else None,
            kept_by=checked_id(by, what="kept_by") if by else "",
        )

    @property
    def place(self) -> str:
        """Where it is kept, seen from the directory of the restore that tells of it; empty when nothing was there."""
        return f"../{self.kept_by}.files/{self.stored_as}" if self.kept_by and self.stored_as else self.stored_as


@dataclass(frozen=True)
class TemporaryFile:
    """A file that was asked for under a name of ours: ``place`` on the host, ``path`` inside its volume.

    ``disk`` is the place of the disk that it was made for (``svm:/vol/volume/path``). It stays in the journal until it
    is certain that nobody makes it any more.
    """

    disk: str
    place: str
    path: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TemporaryFile:
        """Read one entry."""
        return cls(**{key: str(record[key]) for key in cls.__dataclass_fields__})


@dataclass(frozen=True)
class MovedAside:
    """A disk's file that has another name while the disks of its guest are neither old nor new: nobody can start it."""

    disk: str
    path: str
    place: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> MovedAside:
        """Read one entry."""
        return cls(**{key: str(record[key]) for key in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Pending:
    """A request to overwrite a disk in place that may be under way: written down before it is sent.

    ``kind`` is ``file``, ``lun`` or ``move``, ``since`` the time in ISO 8601, ``job`` the uuid of its job where the
    array named one, ``source`` that of the temporary LUN that it copies, or the place that a file is moved to.
    """

    disk: str
    kind: str
    since: str
    job: str = ""
    source: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Pending:
        """Read one entry."""
        return cls(**{key: str(record[key]) for key in cls.__dataclass_fields__})


@dataclass(frozen=True)
class GuestProgress:
    """How far one guest's restore came. ``disks`` are the paths (``svm:/vol/volume/path``) whose overwrite was begun.

    ``written``: all disks were overwritten and compared; from then on none of them may be overwritten again, since the
    guest may have been started. ``done``: it is in the state it was to be in. ``autostart``: the guest starts with its
    host, and was kept from it until its disks are whole again. ``as_before``: it failed, and disks and power are as
    they were; nothing is left to do. ``took_over``: the ids of restores of this guest that broke off and end with this
    one. ``saved_image``: where the guest's managed-save image was moved to; ``image_to_bring``: the one that an undo is
    to bring back with the disks. ``files`` are what was set aside before it was replaced beside the disks. ``created``
    are those of ``disks`` that were not there before. ``definition`` is the guest's from before it was changed, with no
    name when it was not defined. ``transient``: libvirt did not keep its definition, and does so until it runs again.
    ``temporaries`` are the files that may be there, or come, under names of ours; ``moved_aside`` is the disk that has
    no name while the guest must not start; ``pending`` are the overwriting requests whose fate is not known;
    ``accepted`` are those of them that a person released. ``holds`` says out of which snapshot each disk was brought
    last, by the disk's place.
    """

    state_before: str
    disks: tuple[str, ...] = ()
    written: bool = False
    done: bool = False
    autostart: bool = False
    as_before: bool = False
    took_over: tuple[str, ...] = ()
    saved_image: str = ""
    image_to_bring: str = ""
    files: tuple[Aside, ...] = ()
    created: tuple[str, ...] = ()
    definition: Optional[Aside] = None
    transient: bool = False
    temporaries: tuple[TemporaryFile, ...] = ()
    moved_aside: Optional[MovedAside] = None
    pending: tuple[Pending, ...] = ()
    accepted: tuple[Pending, ...] = ()
    holds: Mapping[str, str] = field(default_factory=dict)

    @property
    def was_absent(self) -> bool:
        """Whether the guest was not defined before."""
        return self.definition is not None and not self.definition.stored_as

    @property
    def open(self) -> bool:
        """Whether the guest has yet to be brought to an end."""
        return not self.done and not self.as_before

    @property
    def half(self) -> bool:
        """Whether the disks may be neither old nor new."""
        return self.open and bool(self.disks) and not self.written

    def with_temporary(self, file: TemporaryFile) -> GuestProgress:
        """Return the progress with one more temporary file."""
        return replace(self, temporaries=(*self.without_temporary(file).temporaries, file))

    def without_temporary(self, file: TemporaryFile) -> GuestProgress:
        """Return the progress once a temporary file has got its name, or is gone for good."""
        return replace(self, temporaries=tuple(each for each in self.temporaries if each.place != file.place))

    def with_pending(self, disk: str, request: Optional[Pending]) -> GuestProgress:
        """Return the progress with the overwriting request of a disk that is under way, None when its fate is known."""
        others = tuple(each for each in self.pending if each.disk != disk)
        return replace(self, pending=(*others, request) if request else others)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> GuestProgress:
        """Read one guest's entry."""
        return cls(
            state_before=str(record["state_before"]),
            disks=tuple(record.get("disks") or ()),
            written=bool(record.get("written")),
            done=bool(record.get("done")),
            autostart=bool(record.get("autostart")),
            as_before=bool(record.get("as_before")),
            took_over=tuple(str(each) for each in record.get("took_over") or ()),
            saved_image=str(record.get("saved_image") or ""),
            image_to_bring=str(record.get("image_to_bring") or ""),
            files=tuple(Aside.from_record(each) for each in record.get("files") or ()),
            created=tuple(str(each) for each in record.get("created") or ()),
            definition=Aside.from_record(record["definition"]) if record.get("definition") else None,
            transient=bool(record.get("transient")),
            temporaries=tuple(TemporaryFile.from_record(each) for each in record.get("temporaries") or ()),
            moved_aside=MovedAside.from_record(record["moved_aside"]) if record.get("moved_aside") else None,
            pending=tuple(Pending.from_record(each) for each in record.get("pending") or ()),
            accepted=tuple(Pending.from_record(each) for each in record.get("accepted") or ()),
            holds={str(disk): str(snapshot) for disk, snapshot in (record.get("holds") or {}).items()},
        )


@dataclass(frozen=True)
class SafetySnapshot:
    """The snapshot of one volume from before the restore."""

    svm: str
    svm_uuid: str
    volume: str
    volume_uuid: str
    uuid: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SafetySnapshot:
        """Read one snapshot's entry."""
        return cls(**{key: str(record[key]) for key in cls.__dataclass_fields__})

    @classmethod
    def of(cls, taken: Taken) -> SafetySnapshot:
        """Return one that was taken now."""
        volume = taken.volume
        return cls(volume.svm, volume.svm_uuid, volume.name, volume.uuid, taken.snapshot.uuid)


@dataclass(frozen=True)
class Safety:
    """A snapshot of one name over all volumes of some guests, taken when those were off and before any was written.

    ``guests`` are their uuids. Without ``snapshots`` it was asked for and may be there, and no guest needs it.
    """

    name: str
    guests: tuple[str, ...]
    snapshots: tuple[SafetySnapshot, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Safety:
        """Read one entry; its name becomes part of paths on the array."""
        return cls(
            name=checked_id(str(record["name"]), what="safety snapshot"),
            guests=tuple(str(each) for each in record["guests"]),
            snapshots=tuple(SafetySnapshot.from_record(each) for each in record["snapshots"]),
        )

    def uuid_on(self, svm_uuid: str, volume_uuid: str) -> Optional[str]:
        """Return the uuid of the snapshot on a volume, None when that has none."""
        found = (each.uuid for each in self.snapshots if (each.svm_uuid, each.volume_uuid) == (svm_uuid, volume_uuid))
        return next(found, None)


@dataclass(frozen=True)
class Journal:
    """The progress of one restore; ``guests`` is keyed by uuid, ``safeties`` are the snapshots from before it.

    ``disks`` are the places of the disks that it was begun for, none when it is for all disks of its guests.
    ``safety_removed`` is when what it kept from before was removed, as old as that was. ``into`` maps the uuid of a
    guest of this host to the one that it has in the backup, where these differ.
    """

    restore_id: str
    backup_id: str
    guests: dict[str, GuestProgress] = field(default_factory=dict)
    safeties: tuple[Safety, ...] = ()
    disks: tuple[str, ...] = ()
    safety_removed: str = ""
    into: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Journal:
        """Read a journal; raises KeyError, TypeError, ValueError and AttributeError for one that is odd."""
        return cls(
            restore_id=str(record["restore_id"]),
            backup_id=str(record["backup_id"]),
            guests={str(uuid): GuestProgress.from_record(item) for uuid, item in record["guests"].items()},
            safeties=tuple(Safety.from_record(item) for item in record.get("safeties") or ()),
            disks=tuple(str(each) for each in record.get("disks") or ()),
            safety_removed=str(record.get("safety_removed") or ""),
            into={str(uuid): str(was) for uuid, was in (record.get("into") or {}).items()},
        )

    def with_guest(self, uuid: str, progress: GuestProgress) -> Journal:
        """Return the journal with one guest's progress replaced."""
        return replace(self, guests={**self.guests, uuid: progress})

    def begun(self, uuid: str, state_now: str) -> GuestProgress:
        """Return the guest's progress to go on with; one that is as before begins anew."""
        known = self.guests.get(uuid)
        if known is None or known.as_before:
            return GuestProgress(
                state_before=state_now,
                took_over=known.took_over if known else (),
                temporaries=known.temporaries if known else (),
                accepted=known.accepted if known else (),
            )
        return known

    def with_safety(self, safety: Safety) -> Journal:
        """Return the journal with one more snapshot from before, which alone counts for its guests."""
        asked = tuple(each for each in self.safeties if each.snapshots or each.name != safety.name)
        journal = replace(self, safeties=asked)
        for uuid in safety.guests:
            journal = journal.without_safety_of(uuid)
        return replace(journal, safeties=(*journal.safeties, safety))

    def without_safety_of(self, uuid: str) -> Journal:
        """Return the journal once a guest is as it was before and may run: what it writes now no snapshot holds."""
        kept = (replace(each, guests=tuple(guest for guest in each.guests if guest != uuid)) for each in self.safeties)
        return replace(self, safeties=tuple(kept))

    def safety_of(self, uuid: str) -> Optional[Safety]:
        """Return the snapshot that holds a guest as it was before this restore."""
        return next((safety for safety in self.safeties if uuid in safety.guests), None)

    def done(self, uuid: str) -> bool:
        """Whether this restore has already brought the guest back."""
        progress = self.guests.get(uuid)
        return progress is not None and progress.done


def kept_directory(root: Path, restore_id: str) -> Path:
    """Return the directory of what a restore set aside; the id is checked."""
    return root / "restores" / f"{checked_id(restore_id, what='restore_id')}.files"


def load(root: Path, restore_id: str) -> Optional[Journal]:
    """Return the journal of a restore, None when it was never begun; raises :class:`CatalogError`."""
    path = _path(root, restore_id)
    return json_store.read(path, Journal.from_record, schema=SCHEMA, what=f"restore journal {path}")


def lock_of(root: Path) -> Path:
    """Return the file that a restore of this host keeps locked."""
    return root / "restores" / ".lock"


def under_way(root: Path) -> bool:
    """Say whether a restore of this host is under way now; raises :class:`CatalogError`."""
    return json_store.locked_now(lock_of(root))


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep a second restore on this host out while one is under way; raises :class:`CatalogError` when one is."""
    path = lock_of(root)
    with alone_at(path, taken=f"Another restore is under way on this host (it holds {path}); wait for its end"):
        yield


def save(root: Path, journal: Journal) -> None:
    """Write the journal; raises :class:`CatalogError`."""
    path = _path(root, journal.restore_id)
    json_store.write(path, journal, schema=SCHEMA, what=f"restore journal {path}")


def images_of(root: Path, restore_id: str) -> Path:
    """Return the directory of the managed-save images that a restore moved aside; it may not exist."""
    return root / "restores" / f"{checked_id(restore_id, what='restore_id')}.images"


def _path(root: Path, restore_id: str) -> Path:
    return root / "restores" / f"{checked_id(restore_id, what='restore_id')}.json"
