# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables and the state of an emulated TPM in a restore: which of them go where. Pure.

They go to where the guest has them now, never to a path out of a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os.path import normpath
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import (
    NVRAM,
    TPM,
    TPM_STATE,
    WHAT,
    Manifest,
    SavedFile,
    SavedGuest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Aside


@dataclass(frozen=True)
class FileRestore:
    """What is put to ``path``: the content of ``source``, whose checksum is known; nothing where that is None."""

    kind: str
    path: str
    source: Optional[str]
    sha256: str


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
