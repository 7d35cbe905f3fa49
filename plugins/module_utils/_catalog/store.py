# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog of one KVM host: a directory per backup with its manifest and the guests' side files.

Layout below the catalog directory (0700, files 0600)::

    backups/<backup id>/manifest.json       the started, later the complete manifest
    backups/<backup id>/origin              where it came from (own-run, rebuilt, imported, adopted)
    backups/<backup id>/withdrawn           it is being taken back, and cannot be completed any more
    backups/<backup id>/<uuid>.nvram        UEFI variables, as they were at the start of the backup
    backups/<backup id>/<uuid>.tpm          the state of an emulated TPM, as a tar archive
    restores/<restore id>.json              what a restore was asked for and how far it came

Each NFS volume carries a copy of what concerns it, so that its snapshot has it (``_catalog/volume_copies``). A volume
of LUNs has no file system that this host could put it into; a backup of nothing else has its manifest in this catalog
alone.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import manifest as manifests
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import (
    Origin,
    read_origin,
    write_origin,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import refuse_doctype
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import file_lock

_MANIFEST = "manifest.json"
_WITHDRAWN = "withdrawn"

MAX_STATE_BYTES = 64 << 20
"""More than UEFI variables have: 64 MiB."""
_NO_STATE = (errno.EINVAL, errno.ELOOP, errno.EFBIG, errno.ENXIO)
"""What a path that leads to no state of a guest ends in; the other guests are saved all the same."""


class CatalogError(KvmsnapError):
    """The catalog on the host cannot be read or written."""


@dataclass(frozen=True)
class Entry:
    """One backup of the catalog: its manifest and its origin, or the error that keeps them from being read."""

    backup_id: str
    manifest: Optional[Manifest]
    error: Optional[str]
    origin: Optional[Origin] = None


def backup_directory(root: Path, backup_id: str) -> Path:
    """Return the directory of one backup; the id is checked."""
    return root / "backups" / checked_id(backup_id, what="backup_id")


def load(root: Path, backup_id: str) -> Optional[Manifest]:
    """Return the manifest of one backup, None when there is none; raises :class:`ManifestError` or CatalogError."""
    path = backup_directory(root, backup_id) / _MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise CatalogError(f"Failed to read manifest {path}: {exc}", path=str(path)) from exc
    try:
        found = manifests.parse(text, where=str(path))
        for guest in found.guests:
            refuse_doctype(guest.xml)
    except manifests.ManifestError:
        raise
    except KvmsnapError as exc:
        message = f"Failed to trust manifest {path}: {exc.message}"
        raise manifests.ManifestError(message, path=str(path)) from exc
    if found.backup_id != backup_id:
        raise manifests.ManifestError(
            f"Failed to trust manifest {path}: it is that of backup {found.backup_id}", path=str(path)
        )
    return found


def entries(root: Path) -> list[Entry]:
    """Return all backups of the catalog in the order of their ids; one that cannot be read carries its error."""
    directory = root / "backups"
    try:
        names = sorted(item.name for item in directory.iterdir() if item.is_dir())
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise CatalogError(f"Failed to list catalog {directory}: {exc}", path=str(directory)) from exc
    return [entry for entry in (_entry(root, name) for name in names) if entry is not None]


def origin_of(root: Path, backup_id: str) -> Origin:
    """Return where an entry of the catalog came from; raises :class:`KvmsnapError` when that cannot be read."""
    return read_origin(backup_directory(root, backup_id))


def save(root: Path, manifest: Manifest, *, origin: Origin) -> Path:
    """Write a manifest and where it came from into the catalog; return its path. Raises :class:`CatalogError`."""
    directory = backup_directory(root, manifest.backup_id)
    path = directory / _MANIFEST
    try:
        private_directory(directory)
        write_origin(directory, origin)
        write_private(path, manifests.dump(manifest).encode("utf-8"))
    except OSError as exc:
        raise CatalogError(f"Failed to write manifest {path}: {exc}", path=str(path)) from exc
    return path


@contextmanager
def alone_at(path: Path, *, taken: str) -> Iterator[None]:
    """Have a lock of the catalog; raises :class:`CatalogError`, with the words ``taken`` when it is had."""
    with ExitStack() as locks:
        try:
            had = locks.enter_context(file_lock.locked(path))
        except OSError as exc:
            raise CatalogError(f"Failed to lock {path}: {exc.strerror}", path=str(path)) from exc
        if had is None:
            raise CatalogError(taken, path=str(path))
        yield


def withdraw(root: Path, backup_id: str) -> None:
    """Mark a started backup as one that is being taken back; raises :class:`CatalogError`."""
    path = backup_directory(root, backup_id) / _WITHDRAWN
    try:
        write_private(path, b"")
    except OSError as exc:
        raise CatalogError(f"Failed to write {path}: {exc}", path=str(path)) from exc


def unmark(root: Path, backup_id: str) -> None:
    """Take away the mark that a removal which broke off has left; raises :class:`CatalogError`."""
    path = backup_directory(root, backup_id) / _WITHDRAWN
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise CatalogError(f"Failed to remove {path}: {exc}", path=str(path)) from exc


def is_withdrawn(root: Path, backup_id: str) -> bool:
    """Say whether a backup is being taken back."""
    return (backup_directory(root, backup_id) / _WITHDRAWN).exists()


def remove(root: Path, backup_id: str) -> bool:
    """Take one backup out of the catalog; the manifest goes first, so that none is left without its side files."""
    directory = backup_directory(root, backup_id)
    if not directory.exists():
        return False
    try:
        (directory / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(directory)
    except OSError as exc:
        raise CatalogError(f"Failed to remove backup {backup_id} from {directory}: {exc}", path=str(directory)) from exc
    return True


@dataclass(frozen=True)
class SideFile:
    """Something of a guest that lies on the host beside its disks: ``kind`` nvram (a file) or tpm (a directory)."""

    uuid: str
    kind: str
    path: str


def keep_side_files(root: Path, manifest: Manifest, found: Iterable[SideFile]) -> tuple[Manifest, list[str]]:
    """Copy side files into the catalog; return the manifest that names them, and a note for each not there yet.

    A guest that was never started has none. Raises :class:`CatalogError` when one that is there cannot be kept.
    """
    directory = backup_directory(root, manifest.backup_id)
    kept: dict[str, list[SavedFile]] = {}
    notes = []
    for item in found:
        stored = checked_id(f"{item.uuid}.{item.kind}", what="stored_as")
        try:
            content = content_of(Path(item.path))
            private_directory(directory)
            write_private(directory / stored, content)
        except FileNotFoundError:
            notes.append(f"guest {item.uuid} has no {item.kind} state yet at {item.path}; none was saved")
            continue
        except OSError as exc:
            if exc.errno in _NO_STATE:
                reason = exc.strerror or str(exc)
                notes.append(f"guest {item.uuid}: its {item.kind} state at {item.path} was not saved: {reason}")
                continue
            message = f"Failed to save {item.kind} state {item.path} of guest {item.uuid}: {exc}"
            raise CatalogError(message, path=item.path) from exc
        kept.setdefault(item.uuid, []).append(
            SavedFile(item.kind, item.path, stored, hashlib.sha256(content).hexdigest())
        )
    guests = tuple(replace(guest, files=(*guest.files, *kept.get(guest.uuid, ()))) for guest in manifest.guests)
    return replace(manifest, guests=guests), notes


def content_of(path: Path) -> bytes:
    """Return a file's bytes, or a directory as a tar archive (names, owners, modes and times kept).

    The file may lie in a volume, where somebody else may have put a link to a file of this host there, or a FIFO, which
    keeps whoever opens it waiting. Raises :class:`OSError`: EINVAL, ELOOP or EFBIG for what is no state of a guest.
    """
    if str(path).startswith("/dev/"):  # links that the host itself makes
        path = Path(os.path.realpath(path))
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise OSError(errno.EINVAL, "it is neither a file nor a block device", str(path))
            content = stream.read(MAX_STATE_BYTES + 1)
        if len(content) > MAX_STATE_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MAX_STATE_BYTES} bytes", str(path))
        return content
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(path, arcname=path.name)
    return archive.getvalue()


def _entry(root: Path, name: str) -> Optional[Entry]:
    try:
        found = load(root, name)
        return None if found is None else Entry(name, found, None, origin_of(root, name))
    except KvmsnapError as exc:
        return Entry(name, None, exc.message)
