# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup out of the catalog of another host, handed over as an option: verified, and brought into this catalog."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import manifest as manifests
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, ManifestError, SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id

WHERE = "in backup_from"


@dataclass(frozen=True)
class ImportedBackup:
    """A complete backup and the content of its side files, by the name under which the catalog has them.

    ``origin`` is that of the catalog's entry where it has the same one already. ``leased``: a lease in the catalog of
    the host that owns it keeps it from being deleted.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    origin: Origin
    leased: bool = False


def backup_from_argument() -> dict[str, Any]:
    """Return the argument spec of the option ``backup_from``; the whole of it is kept out of logs."""
    inner = {
        "manifest": {"type": "str", "required": True},
        "files": {"type": "dict", "default": {}},
        "leased": {"type": "bool", "default": False},
    }
    return {"type": "dict", "no_log": True, "options": inner}


@dataclass(frozen=True)
class BackupFrom:
    """The option ``backup_from``: a manifest and side files, each in base64, and whether a lease keeps the backup."""

    manifest: str = field(repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    leased: bool = False

    @classmethod
    def from_option(cls, option: Optional[Mapping[str, Any]]) -> Optional[BackupFrom]:
        """Read the option, None where nothing was handed over."""
        if not option:
            return None
        return cls(str(option["manifest"]), dict(option.get("files") or {}), bool(option.get("leased")))


def imported_backup(root: Path, given: BackupFrom, *, guests: Collection[str]) -> ImportedBackup:
    """Return the backup that was handed over; nothing is written.

    Each side file of the wanted guests must be given or be in this catalog already, with the manifest's checksum.
    Raises :class:`ManifestError`, :class:`InputError`, or :class:`CatalogError` when this catalog has another backup of
    that name.
    """
    found = manifests.parse_foreign(_decoded("manifest.json", given.manifest), where=WHERE)
    if not found.complete:
        raise InputError(
            f"Backup {found.backup_id} {WHERE} was never completed and cannot be used; choose another",
            backup_id=found.backup_id,
        )
    there = store.load(root, found.backup_id)
    if there is not None and there != found:
        raise CatalogError(
            f"Failed to take backup {found.backup_id} {WHERE}: the catalog {root} has another of that name, of run"
            f" {there.run_id}, and the one given is of run {found.run_id}. Leave backup_from out to use that one",
            backup_id=found.backup_id,
        )
    known = {file.stored_as: file for guest in found.guests for file in guest.files}
    files = {name: _decoded(name, text) for name, text in given.files.items()}
    for name, content in files.items():
        if checked_id(name, what="backup_from.files") not in known:
            raise InputError(f"Backup {found.backup_id} {WHERE} has no file {name}; nothing was touched", file=name)
        _verify(known[name], content)
    for wanted in guests:
        saved = found.guest(wanted)
        for file in saved.files if saved else ():
            if file.stored_as not in files:
                files[file.stored_as] = _kept(root, found, file)
    origin = Origin.IMPORTED if there is None else store.origin_of(root, found.backup_id)
    return ImportedBackup(found, files, origin, leased=given.leased)


def put_files(directory: Path, given: ImportedBackup) -> None:
    """Write the side files into a private directory; raises :class:`CatalogError`."""
    try:
        private_directory(directory)
        for name, content in given.files.items():
            write_private(directory / checked_id(name, what="stored_as"), content)
    except OSError as exc:
        raise CatalogError(f"Failed to write into {directory}: {exc}", path=str(directory)) from exc


def bring_in(root: Path, given: ImportedBackup) -> None:
    """Write the backup into this host's catalog, the manifest last; raises :class:`CatalogError`."""
    try:
        private_directory(root)
    except OSError as exc:
        raise CatalogError(f"Failed to write into {root}: {exc}", path=str(root)) from exc
    put_files(store.backup_directory(root, given.manifest.backup_id), given)
    store.save(root, given.manifest, origin=given.origin)


def _decoded(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InputError(f"File {name} {WHERE} is not base64 ({exc}); nothing was touched", file=name) from exc


def _verify(file: SavedFile, content: bytes) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise ManifestError(
            f"Failed to trust file {file.stored_as} {WHERE}: its sha256 is {found}, the manifest's {file.sha256};"
            " nothing was touched",
            file=file.stored_as,
        )


def _kept(root: Path, manifest: Manifest, file: SavedFile) -> bytes:
    """Return a side file that is in this catalog already."""
    path = store.backup_directory(root, manifest.backup_id) / file.stored_as
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise InputError(
            f"File {file.stored_as} of backup {manifest.backup_id} is neither {WHERE} nor in the catalog {root};"
            " nothing was touched",
            file=file.stored_as,
        ) from exc
    _verify(file, content)
    return content
