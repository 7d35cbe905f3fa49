# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables and the state of an emulated TPM in a restore: which of them go where. Pure.

They go to where the guest has them now, never to a path out of a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from os.path import normpath
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Manifest, SavedFile, SavedGuest

NVRAM, TPM, DEFINITION = "nvram", "tpm", "definition"
TPM_STATE = "/var/lib/libvirt/swtpm"
WHAT = {NVRAM: "UEFI variables", TPM: "state of the TPM", DEFINITION: "definition"}


@dataclass(frozen=True)
class FileRestore:
    """What is put to ``path``: the content of ``source``, whose checksum is known; nothing where that is None."""

    kind: str
    path: str
    source: Optional[str]
    sha256: str


@dataclass(frozen=True)
class Look:
    """Owner, mode and SELinux label of a file."""

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
    look: Optional[Look] = None
    kept_by: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Aside:
        """Read an entry of a journal; raises :class:`InputError` when its name would lead out of the directory."""
        look = record.get("look")
        name, by = str(record["stored_as"]), str(record.get("kept_by") or "")
        return cls(
            kind=str(record["kind"]),
            path=str(record["path"]),
            stored_as=checked_id(name, what="stored_as") if name else "",
            sha256=str(record["sha256"]),
            look=Look(**{field.name: look[field.name] for field in fields(Look)}) if look else None,
            kept_by=checked_id(by, what="kept_by") if by else "",
        )

    @property
    def place(self) -> str:
        """Where it is kept, seen from the directory of the restore that tells of it; empty when nothing was there."""
        return f"../{self.kept_by}.files/{self.stored_as}" if self.kept_by and self.stored_as else self.stored_as


def firmware_plan(
    saved: SavedGuest, *, nvram: Optional[str], tpm: bool, directory: Path
) -> tuple[tuple[FileRestore, ...], tuple[str, ...]]:
    """Return what is put where, and notes about what is not; ``nvram`` and ``tpm`` are what the guest has now.

    ``directory`` holds what was saved.
    """
    places = {NVRAM: nvram, TPM: f"{TPM_STATE}/{saved.uuid}" if tpm else None}
    kept = {file.kind: file for file in saved.files}
    found, notes = [], []
    for kind, path in places.items():
        file = kept.get(kind)
        if file is not None and path is not None:
            source = normpath(directory / file.stored_as) if file.stored_as else None
            found.append(FileRestore(kind, path, source, file.sha256))
        elif file is not None:
            notes.append(f"its {WHAT[kind]} was saved and is not put back: its definition has none now")
        elif path is not None:
            notes.append(f"its {WHAT[kind]} at {path} is not restored: the backup does not have it")
    return tuple(found), tuple(notes)


def with_kept(manifest: Manifest, kept: Mapping[str, tuple[Aside, ...]]) -> Manifest:
    """Return a manifest whose guests have the files that a restore set aside; ``kept`` is keyed by uuid."""
    guests = tuple(
        replace(
            guest,
            files=tuple(
                SavedFile(kind=each.kind, path=each.path, stored_as=each.place, sha256=each.sha256)
                for each in kept.get(guest.uuid, ())
            ),
        )
        for guest in manifest.guests
    )
    return replace(manifest, guests=guests)
