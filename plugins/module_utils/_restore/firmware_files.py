# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set aside, put and put back UEFI variables and TPM states on this host, with owner, mode and SELinux label."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os.path import normpath
from pathlib import Path
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import TPM, WHAT
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Aside, SideFileAttributes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import content_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import directory_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import mount_of, read_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.file_attributes import attributes_of, put_label
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore

_MOST_LINKS = 40
"""How many links Linux itself follows in one path."""


def fault(file: FileRestore) -> Optional[str]:
    """Return why a file could not be put or what is there not be set aside, None when nothing speaks against it."""
    try:
        content = _trusted(file.source, file.sha256)
        if file.kind == TPM and content is not None:
            _check_archive(content)
        _there(file.kind, file.path)
    except KvmsnapError as exc:
        return exc.message
    return None


def keep(directory: Path, uuid: str, file: FileRestore) -> Aside:
    """Copy what is at the file's place into a private directory; raises :class:`KvmsnapError`."""
    attributes = _there(file.kind, file.path)
    if attributes is None:
        return Aside(file.kind, file.path)
    stored = checked_id(f"{uuid}.{file.kind}", what="stored_as")
    with _telling(f"set the {WHAT[file.kind]} at {file.path} aside in {directory}"):
        content = content_of(Path(file.path))
        if file.kind == TPM:
            _check_archive(content)
        private_directory(directory)
        write_private(directory / stored, content)
    return Aside(file.kind, file.path, stored, hashlib.sha256(content).hexdigest(), attributes)


def put(file: FileRestore, attributes: Optional[SideFileAttributes]) -> None:
    """Replace what is at the file's place; ``attributes`` are those of what was there. Raises :class:`KvmsnapError`."""
    _put(file.kind, Path(file.path), _trusted(file.source, file.sha256), attributes)


def put_back(directory: Path, aside: Aside) -> None:
    """Bring back what :func:`keep` set aside; raises :class:`KvmsnapError`."""
    source = normpath(directory / aside.place) if aside.place else None
    _put(aside.kind, Path(aside.path), _trusted(source, aside.sha256), aside.attributes)


def unpack_tpm(archive: bytes, directory: Path, *, bits: int = 0o770) -> None:
    """Unpack the state of a TPM into a directory of another name; owners and modes are kept, links and devices refused.

    The archive holds one directory, named as the original's; ``bits`` are those of a mode that are kept. Raises
    :class:`KvmsnapError`, :class:`OSError`.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member, inside in _members(tar):
            target = directory / inside
            if member.isdir():
                target.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                stream = tar.extractfile(member)
                write_private(target, stream.read() if stream else b"")
            os.chown(target, member.uid, member.gid)
            os.chmod(target, member.mode & bits)


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    members = tar.getmembers()
    top = members[0].name if members else ""
    for member in members:
        inside = Path(member.name).relative_to(top) if Path(member.name).parts[:1] == (top,) else None
        if inside is None or ".." in inside.parts or not (member.isdir() or member.isfile()):
            raise KvmsnapError(f"Refused to unpack the TPM's state: it holds {member.name!r}")
        yield member, inside


def _check_archive(content: bytes) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            found = list(_members(tar))
    except tarfile.TarError as exc:
        raise KvmsnapError(f"Failed to read the TPM's state: {exc}") from exc
    if not found or not found[0][0].isdir():
        raise KvmsnapError("Failed to read the TPM's state: it is no directory")


def _trusted(source: Optional[str], sha256: str) -> Optional[bytes]:
    if source is None:
        return None
    with _telling(f"read {source}"):
        content = Path(source).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise KvmsnapError(f"Failed to trust {source}: its checksum is not the one that was noted", path=source)
    return content


def _there(kind: str, path: str) -> Optional[SideFileAttributes]:
    """Return the attributes of what is at a place, None when nothing is; a link or another kind of file is refused."""
    with _telling(f"look at {path}"):
        _real_directory(kind, path)
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            return None
        wanted = stat.S_ISDIR(state.st_mode) if kind == TPM else stat.S_ISREG(state.st_mode)
        if not wanted:
            raise KvmsnapError(
                f"Refused to replace the {WHAT[kind]} at {path}: it is no {'directory' if kind == TPM else 'file'}",
                path=path,
            )
        return attributes_of(path)


def _real_directory(kind: str, path: str) -> Path:
    """Return the directory of a place without links; one to which a link in an NFS mount leads is refused.

    Whoever may write into such a mount would choose what is replaced. A link of the host itself, such as one that moves
    /var/lib/libvirt, is the host's own choice. Raises :class:`OSError`, too.
    """
    mounts, here, links = read_mounts(), Path("/"), 0
    steps = list(reversed(Path(path).parent.parts))
    while steps:
        name = steps.pop()
        step = here.parent if name == ".." else here / name
        if not step.is_symlink():
            here = step
            continue
        mount = mount_of(mounts, str(here))
        if mount is not None and mount.nfs() is not None:
            reason = f"{step} is a link in a volume"
            raise KvmsnapError(f"Refused to replace the {WHAT[kind]} at {path}: {reason}", path=path)
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        steps += reversed(Path(os.readlink(step)).parts)
    return here


def _put(kind: str, path: Path, content: Optional[bytes], attributes: Optional[SideFileAttributes]) -> None:
    with _telling(f"put the {WHAT[kind]} to {path}"):
        place = _real_directory(kind, str(path)) / path.name
        if kind == TPM:
            _put_directory(path, content, attributes)
            _sync(path.parent)
        elif content is not None or place.parent.is_dir():
            with directory_of(str(place)) as directory:
                _put_file(directory, path.name, content, attributes)
                os.fsync(directory)


def _put_file(directory: int, name: str, content: Optional[bytes], attributes: Optional[SideFileAttributes]) -> None:
    """Write a temporary file and rename it, so that after a crash the old or the new one is there; None: remove it.

    The name of the former leaves room for it, however long the file's own is. ``directory`` is open, so that no link
    that is put in its place meanwhile leads elsewhere.
    """
    if content is None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        return
    temporary = f".kvmsnap-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            if attributes is not None:
                os.fchown(descriptor, attributes.uid, attributes.gid)
                os.fchmod(descriptor, attributes.mode)
                _set_label(descriptor, attributes.label)
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise


def _put_directory(path: Path, content: Optional[bytes], attributes: Optional[SideFileAttributes]) -> None:
    """Unpack into a temporary directory and exchange by renaming; what a killed run left of it is removed first."""
    new, old = (path.with_name(f".{path.name}.kvmsnap-{word}") for word in ("new", "old"))
    for each in (new, old):
        if each.exists():
            shutil.rmtree(each)
    if content is not None:
        new.mkdir(mode=0o700)
        unpack_tpm(content, new, bits=0o777)
        for each in (new, *new.rglob("*")):
            _set_label(each, attributes.label if attributes else None)
    if path.exists():
        os.rename(path, old)
    if content is not None:
        os.rename(new, path)
    if old.exists():
        shutil.rmtree(old)


def _set_label(file: Union[Path, int], label: Optional[str]) -> None:
    if label is not None:
        put_label(file, label)


def _sync(directory: Path) -> None:
    if directory.is_dir():
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _telling(action: str) -> Iterator[None]:
    try:
        yield
    except (OSError, tarfile.TarError) as exc:
        raise KvmsnapError(f"Failed to {action}: {getattr(exc, 'strerror', None) or exc}") from exc
