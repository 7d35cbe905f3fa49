# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a copy of a guest consists of, written on the host before any of it is made.

``clones/<name>.json`` below the catalog directory (0600). Every name in it holds the copy's own uuid, which nobody else
can have chosen: what carries it is the copy's, also when a run was killed half-way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import json_store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError, alone_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import CopyMark
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import relative_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage

SCHEMA = "kvmsnap.clone/1"
PREFIX = "kvmsnap-clone-"
NO_INTERFACES, ORIGINAL = "none", "original"
_NUMBER = "last-lun-number"

Phase = Literal["making", "made", "removing"]


@dataclass(frozen=True)
class ClonedFile:
    """One file of a copy: a disk's own image (``layer`` 0) or one below it.

    ``storage`` is its place on the array, ``host_path`` the same file on this host. ``source`` is the path inside the
    volume of what it was cloned from.
    """

    target: str
    layer: int
    storage: Storage
    host_path: str
    source: str
    format: str

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the volume that it lies on."""
        return self.storage.volume_key

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ClonedFile:
        """Read an entry of ``files``."""
        return cls(
            target=str(record["target"]),
            layer=int(record["layer"]),
            storage=Storage.from_record(record["storage"]),
            host_path=str(record["host_path"]),
            source=str(record["source"]),
            format=str(record["format"]),
        )


@dataclass(frozen=True)
class ClonedLun:
    """One LUN of a copy; ``path`` and ``source`` are inside the volume, ``size`` in bytes.

    ``igroup_uuid`` is that of the igroup it is shown to. What the array and the host decide is None until they have:
    its serial, the number that it is shown under, and its device on this host.
    """

    target: str
    controller: str
    svm: str
    svm_uuid: str
    volume: str
    volume_uuid: str
    path: str
    source: str
    size: int
    igroup: str
    igroup_uuid: str
    serial: Optional[str] = None
    number: Optional[int] = None
    device: Optional[str] = None

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the volume that it lies on."""
        return (self.svm_uuid, self.volume_uuid)

    @property
    def wwid(self) -> Optional[str]:
        """The WWID under which hosts see it, None until its serial is known."""
        return wwid_of(self.serial) if self.serial else None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ClonedLun:
        """Read an entry of ``luns``."""
        device = record.get("device")
        if device is not None and not str(device).startswith("/dev/"):
            raise ValueError(f"device {device!r}")
        values = {key: record.get(key) for key in cls.__dataclass_fields__}
        values["path"] = relative_path(str(record["path"]))
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class CloneRecord:
    """A copy: whose it is, of what, and all that it consists of beside its definition."""

    name: str
    uuid: str
    phase: Phase
    mark: CopyMark
    network: Optional[str]
    files: tuple[ClonedFile, ...]
    luns: tuple[ClonedLun, ...] = ()
    nvram: Optional[str] = None
    tpm: Optional[str] = None
    interfaces: str = NO_INTERFACES

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CloneRecord:
        """Read a record from the host."""
        phase = record["phase"]
        if phase not in ("making", "made", "removing"):
            raise ValueError(f"phase {phase!r}")
        return cls(
            name=checked_id(str(record["name"]), what="name"),
            uuid=str(record["uuid"]),
            phase=phase,
            mark=CopyMark(**{key: str(record["mark"][key]) for key in CopyMark.__dataclass_fields__}),
            network=record.get("network"),
            files=tuple(ClonedFile.from_record(item) for item in record["files"]),
            luns=tuple(ClonedLun.from_record(item) for item in record["luns"]),
            nvram=record.get("nvram"),
            tpm=record.get("tpm"),
            interfaces=ORIGINAL if record.get("interfaces") == ORIGINAL else NO_INTERFACES,
        )

    def at(self, phase: Phase) -> CloneRecord:
        """Return the record with another phase."""
        return replace(self, phase=phase)

    def with_lun(self, lun: ClonedLun) -> CloneRecord:
        """Return the record with more known of one of its LUNs."""
        return replace(self, luns=tuple(lun if each.target == lun.target else each for each in self.luns))

    def late(self) -> CloneRecord:
        """Return the record of what may yet appear of a copy that was taken back: another one may have its name."""
        return replace(self, name=f"late-{self.uuid}", phase="making")

    def comment_of(self, lun: ClonedLun) -> str:
        """Return the comment that marks a LUN of the copy on the array."""
        return f"kvmsnap: disk {_word(lun.target)} of copy {self.uuid}"


def file_name(uuid: str, target: str, layer: int) -> str:
    """Return the name of a copy's file; ``target`` may hold letters and digits only, anything else is left out."""
    return f"{lun_name(uuid, target)}{f'-{layer}' if layer else ''}.img"


def lun_name(uuid: str, target: str) -> str:
    """Return the name of a copy's LUN, which may hold letters, digits and ``- . _ { }`` only."""
    return f"{PREFIX}{uuid}-{_word(target)}"


def load(root: Path, name: str) -> Optional[CloneRecord]:
    """Return what is known of a copy, None when nothing is; raises :class:`CatalogError`."""
    path = _path(root, name)
    what = f"what is known of copy {name} in {path}"
    found = json_store.read(path, CloneRecord.from_record, schema=SCHEMA, what=what)
    if found is not None and found.name != name:
        raise CatalogError(f"Failed to trust {path}: it is that of copy {found.name}", path=str(path))
    return found


def save(root: Path, record: CloneRecord) -> None:
    """Write a record, durably; raises :class:`CatalogError`."""
    path = _path(root, record.name)
    json_store.write(path, record, schema=SCHEMA, what=str(path))


def forget(root: Path, name: str) -> None:
    """Remove a record; one that is not there is no error. Raises :class:`CatalogError`."""
    path = _path(root, name)
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise CatalogError(f"Failed to remove {path}: {exc}", path=str(path)) from exc


def names(root: Path) -> list[str]:
    """Return the names of the copies of which there are records."""
    return sorted(path.stem for path in (root / "clones").glob("*.json"))


def written(root: Path, name: str) -> float:
    """Return when a record was written last, in seconds since the epoch; raises :class:`CatalogError`."""
    path = _path(root, name)
    try:
        return path.stat().st_mtime
    except OSError as exc:
        raise CatalogError(f"Failed to look at {path}: {exc.strerror}", path=str(path)) from exc


def last_number(root: Path) -> int:
    """Return the number that was given to a LUN last, 0 when none was; numbers are not given again at once."""
    try:
        return int((root / "clones" / _NUMBER).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def save_number(root: Path, number: int) -> None:
    """Note a number that is about to be given to a LUN; raises :class:`CatalogError`."""
    path = root / "clones" / _NUMBER
    try:
        write_private(path, f"{number}\n".encode("ascii"))
    except OSError as exc:
        raise CatalogError(f"Failed to write {path}: {exc}", path=str(path)) from exc


def under_way(root: Path) -> bool:
    """Say whether a copy is being made or removed on this host now; raises :class:`CatalogError`."""
    return json_store.locked_now(root / "clones" / ".lock")


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep a second maker or remover of copies on this host out; raises :class:`CatalogError` when there is one."""
    path = root / "clones" / ".lock"
    taken = f"Another copy is being made or removed on this host (it holds {path}); wait for its end"
    with alone_at(path, taken=taken):
        yield


def _word(target: str) -> str:
    return "".join(char for char in target if char.isascii() and char.isalnum())


def _path(root: Path, name: str) -> Path:
    return root / "clones" / f"{checked_id(name, what='name')}.json"
