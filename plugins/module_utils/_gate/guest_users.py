# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests of this host have an object as a disk, or below one: compared by what it is, guests by uuid."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import unquote

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.file_users import NfsVolumes, ServerFile, file_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.processes import PROC
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget, Target
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import SYSFS, device_number, storage_marks
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import (
    INSPECTED,
    ImageError,
    files_named,
    image_chain,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import mount_of, read_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import FileFacts, HostFiles
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host, LibvirtError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DiskXml, parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest, guests_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import argument, domain, visible

LOOK = "guests of this host"
BY_ITSELF = "nfs://"
"""What QEMU reaches on a server by itself, without this host's mounts, locks and open files."""


def guests_answer(target: Target, claim: Claim, host: Host, *, proc: Path = PROC, sysfs: Path = SYSFS) -> Answer:
    """Say which guests have an object as a disk or below one, active or not; those of the claim may, while off.

    Raises :class:`LibvirtError`: without libvirt nobody knows which guests are off.
    """
    look = _Look(target, host, proc, sysfs)
    guests, unread = guests_of(host)
    users: list[User] = []
    blind = [each.message for each in unread]
    for guest in guests:
        if guest.uuid in claim.uuids and (claim.still_run or not guest.state.active):
            continue
        used = look.uses(guest)
        users += used.users
        blind += used.blind
    return Answer(LOOK, tuple(dict.fromkeys(users)), "; ".join(dict.fromkeys(blind)))


@dataclass(frozen=True)
class _Used:
    users: tuple[User, ...]
    blind: tuple[str, ...]


class _Look:
    """Compares the disks of guests with one object; a path is looked at once."""

    def __init__(self, target: Target, host: Host, proc: Path, sysfs: Path) -> None:
        self._target, self._host, self._proc, self._sysfs = target, host, proc, sysfs
        self._files = HostFiles(read_mounts, sysfs=sysfs)
        self._volumes = NfsVolumes()
        self._file: Optional[ServerFile] = None
        self._marks: frozenset[str] = frozenset()
        self._remote: Optional[str] = None
        if isinstance(target, FileTarget):
            mount = mount_of(read_mounts(), target.host_path)
            self._remote = mount.remote_path(target.host_path) if mount and mount.nfs() else None
            try:
                self._file = file_id(target.host_path, self._volumes, proc=proc)
            except (OSError, OverdueError):
                self._file = None
        elif target.device is not None and os.path.exists(target.device):
            self._marks = frozenset(storage_marks(device_number(target.device), sysfs=sysfs))

    def uses(self, guest: Guest) -> _Used:
        """Return how a guest uses the object, and what of its disks could not be looked at.

        A running guest has two definitions: that of now, and that of its next start.
        """
        users: list[User] = []
        blind: list[str] = []
        disks = dict.fromkeys((*guest.definition.disks, *parse_guest(guest.xml).disks))
        for disk in disks:
            path = self._path(disk)
            if path is None:
                continue
            if self._is_object(path):
                users.append(_user(guest, disk, "has it as its disk"))
                continue
            try:
                if any(self._is_object(below) for below in self._below(disk, path, active=guest.state.active)):
                    users.append(_user(guest, disk, "has it below its disk"))
            except ImageError as exc:
                blind.append(f"what lies below disk {disk.target} of guest {visible(guest.name)}: {exc.message}")
        return _Used(tuple(users), tuple(blind))

    def _path(self, disk: DiskXml) -> Optional[str]:
        if disk.kind == "volume" and not disk.protocol:
            try:
                return self._host.pool_volume(disk.pool or "", disk.volume or "").path
            except LibvirtError:
                return None
        if disk.protocol == "nfs":
            return disk.source
        return disk.path if disk.path and disk.path.startswith("/") else None

    def _below(self, disk: DiskXml, path: str, *, active: bool) -> Iterator[str]:
        """Yield what lies below a disk, or holds its data: as its definition and its image say, in the stated format.

        The image of a guest that runs is believed to be what its definition says; what its QEMU has open is looked at
        elsewhere. Raises :class:`ImageError`, at the end also for what cannot be followed.
        """
        yield from filter(None, (layer.path or _by_itself(layer.source) for layer in disk.backing))
        if disk.data_store:
            yield from files_named(disk.data_store, image=path)
            yield from filter(None, (_by_itself(disk.data_store),))
        if (disk.backing_known and active) or disk.format not in INSPECTED or not os.path.lexists(path):
            return
        chain = image_chain(path, image_format=disk.format)
        for layer in chain:
            for name in filter(None, (layer.backing, *layer.data_files)):
                yield from files_named(name, image=layer.path)
                yield from filter(None, (_by_itself(name),))
        last = chain[-1].backing
        if last is not None and not last.startswith("/") and chain[-1].backing_format in INSPECTED:
            raise ImageError(f"Failed to inspect what lies below {last!r}: it is no plain path", path=path)

    def _is_object(self, path: str) -> bool:
        if _by_itself(path):
            return self._remote in _on_server(path)
        facts = self._files.look(path)
        if not isinstance(facts, FileFacts):
            return False
        if isinstance(self._target, FileTarget):
            return self._is_file(facts, self._target.host_path)
        marks = storage_marks(facts.device, sysfs=self._sysfs) if facts.device else ()
        return not self._marks.isdisjoint(marks)

    def _is_file(self, facts: FileFacts, host_path: str) -> bool:
        if facts.realpath == host_path:
            return True
        if self._file is None or not facts.identity:
            return False
        device, _colon, inode = facts.identity.partition(":")
        fsid = self._volumes.fsid(int(device), self._proc / "self")
        return self._file.is_same(int(device), int(inode), fsid)


def _by_itself(source: str) -> str:
    return source if source.startswith(BY_ITSELF) else ""


def _on_server(source: str) -> frozenset[str]:
    """Return the path on its server; which server that is, its name does not tell, so the path alone counts.

    A definition has the path as it is. An image has a URI, with escapes and options: both readings count.
    """
    path = source[len(BY_ITSELF) :].partition("/")[2]
    readings = (path, unquote(re.split("[?#]", path, maxsplit=1)[0]))
    return frozenset(posixpath.normpath("/" + each.lstrip("/")) for each in readings)


def _user(guest: Guest, disk: DiskXml, how: str) -> User:
    name = visible(guest.name)
    remedy = (
        f"Stop guest {name} and take the disk out of it (virsh detach-disk --persistent {domain(guest.name)}"
        f" {argument(disk.target)}), or restore under another name (kvm_restore_as)."
    )
    state = guest.state.state
    return User(f"guest {name} ({guest.uuid}), {state},", f"{how} {disk.target}", remedy, uuid=guest.uuid)
