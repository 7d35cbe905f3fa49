# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep, change and bring back the definition of a guest that is off."""

from __future__ import annotations

import hashlib
from os.path import normpath
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import DEFINITION
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Aside
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestRestore


def keep(host: Host, directory: Path, guest: GuestRestore) -> Aside:
    """Keep the definition, with its passwords, in a private directory; raises :class:`KvmsnapError`."""
    domain = host.domain(uuid=guest.uuid)
    if domain is None:
        return Aside(DEFINITION, "")
    content = domain.xml(inactive=True, secure=True).encode("utf-8")
    stored = checked_id(f"{guest.uuid}.xml", what="stored_as")
    try:
        private_directory(directory)
        write_private(directory / stored, content)
    except OSError as exc:
        raise KvmsnapError(f"Failed to keep the definition of guest {guest.name} in {directory}: {exc}") from exc
    return Aside(DEFINITION, "", stored, hashlib.sha256(content).hexdigest())


def define(host: Host, guest: GuestRestore) -> None:
    """Give the guest its new definition, or take it from libvirt when it is to be forgotten.

    UEFI variables and the TPM's state are left to what was set aside of them: they may be older than the restore.
    """
    domain = host.domain(uuid=guest.uuid)
    if guest.forget:
        if domain is not None:
            domain.undefine(with_state=False)
    elif guest.definition is not None:
        existing = domain.xml(inactive=True, secure=True) if domain else None
        _define(host, guest.uuid, guest.definition.out_of(existing).xml)


def bring_back(host: Host, directory: Path, uuid: str, aside: Aside) -> None:
    """Bring back what :func:`keep` kept; a guest that was not defined is forgotten. Raises :class:`KvmsnapError`."""
    if not aside.stored_as:
        domain = host.domain(uuid=uuid)
        if domain is not None:
            domain.undefine(with_state=False)
        return
    _define(host, uuid, kept(directory, aside))


def kept(directory: Path, aside: Aside) -> str:
    """Return a definition that was kept; raises :class:`KvmsnapError` when it is gone or altered."""
    path = normpath(directory / aside.place)
    try:
        content = Path(path).read_bytes()
    except OSError as exc:
        raise KvmsnapError(f"Failed to read the definition that was kept in {path}: {exc}", path=path) from exc
    if hashlib.sha256(content).hexdigest() != aside.sha256:
        raise KvmsnapError(f"Failed to trust {path}: its checksum is not the one that was noted", path=path)
    return content.decode("utf-8")


def _define(host: Host, uuid: str, xml: str) -> None:
    domain = host.define(xml)
    if domain.uuid != uuid:
        raise KvmsnapError(f"Failed to define guest {uuid}: libvirt made {domain.uuid} of it", guest=domain.name)
