# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a discovery found, out of the records that its result has of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.assess import FoundDisk, FoundGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import Discovery
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.inspection import DiskObservation, Layer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import HostStorage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DomainState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DiskXml, GuestXml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem


def storage(record: Mapping[str, Any]) -> HostStorage:
    """Return a disk's place on the array as this host reaches it."""
    lun = record.get("lun")
    return HostStorage(**{**record, "lun": LunIdentity.from_record(lun) if lun else None})


def disk(record: Mapping[str, Any]) -> FoundDisk:
    """Return a disk; what its record does not tell is as usual."""
    xml = DiskXml(
        target=record["target"],
        device=record.get("device", "disk"),
        kind=record.get("type", "file"),
        source=record.get("source", ""),
        path=record.get("path"),
        format=record.get("format", "raw"),
        readonly=record.get("readonly", False),
        shareable=record.get("shareable", False),
        role=record.get("role", "data"),
    )
    layers = tuple(
        Layer(source, problem_of("image-missing", "not looked at"), "") for source in record.get("backing", ())
    )
    return FoundDisk(
        DiskObservation(xml, path=record.get("path"), size=record.get("size"), layers=layers),
        included=record.get("included", True),
        reason=record.get("reason", ""),
        storage=storage(record["storage"]) if record["storage"] else None,
    )


def guest(record: Mapping[str, Any]) -> FoundGuest:
    """Return a guest of this host; what its record does not tell is as usual."""
    disks = tuple(disk(each) for each in record["disks"])
    name, uuid, nvram, tpm = record["name"], record.get("uuid", ""), record.get("nvram"), record.get("tpm", False)
    plain = f"<domain><name>{name}</name><uuid>{uuid}</uuid></domain>"
    definition = GuestXml(name, uuid, "linux", None, "none", tuple(each.observed.disk for each in disks), nvram, tpm)
    found = Guest(
        name=name,
        uuid=uuid,
        state=DomainState(record.get("state", "running"), "booted", None),
        persistent=record.get("persistent", True),
        autostart=record.get("autostart", False),
        managed_save=record.get("managed_save", False),
        source="libvirt",
        definition=definition,
        xml=plain if record.get("xml") in (None, "<domain/>") else record["xml"],
    )
    return FoundGuest(found, disks, ())


def discovery(*guests: Mapping[str, Any], problems: Sequence[Problem] = ()) -> Discovery:
    """Return what a discovery with these guests found."""
    return Discovery(
        found=tuple(map(guest, guests)),
        mapped=(),
        problems=tuple(problems),
        mapping=(),
        libvirt_available=True,
        initiators=(),
        systems=(),
    )
