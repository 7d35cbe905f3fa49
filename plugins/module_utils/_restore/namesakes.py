# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other guests that have something of a restored guest's identity and hinder nothing: notes for the plan. Pure.

What must not be is an obstacle, and told elsewhere: the same uuid active on another host, the same name under another
uuid here, the same disk. Our own marked copies have an identity of their own and never count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.interfaces import Interface, interfaces_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestNow

OFF = "shutoff"


@dataclass(frozen=True)
class OtherGuest:
    """A guest of this host (``host`` is None) or of another one; ``copy``: it carries the mark of a copy of ours."""

    host: Optional[str]
    name: str
    uuid: str
    state: str
    interfaces: tuple[Interface, ...]
    copy: bool

    @classmethod
    def from_record(cls, host: Optional[str], record: Mapping[str, Any]) -> OtherGuest:
        """Read a guest as ``kvm_vm_discover`` returns it, interfaces and mark only if they are told."""
        return cls(
            host=host,
            name=str(record["name"]),
            uuid=str(record["uuid"]).lower(),
            state=str(record["state"]),
            interfaces=tuple(Interface.from_record(each) for each in record.get("interfaces") or ()),
            copy=bool(record.get("copy")),
        )

    def __str__(self) -> str:
        return f"guest {self.name} ({self.uuid}) of {f'host {self.host}' if self.host else 'this host'}, {self.state}"


def others_of(here: Iterable[Mapping[str, Any]], elsewhere: Mapping[str, Any]) -> tuple[OtherGuest, ...]:
    """Return all guests of this host and of the others (option ``other_hosts_guests``), our own copies left out.

    Raises :class:`InputError` when the latter does not hold guests.
    """
    found = [OtherGuest.from_record(None, guest) for guest in here]
    for host, guests in elsewhere.items():
        try:
            found += [OtherGuest.from_record(host, guest) for guest in guests or ()]
        except (KeyError, TypeError) as exc:
            message = f"Failed to read other_hosts_guests: {host} does not have a list of guests ({exc!r})"
            raise InputError(message, option="other_hosts_guests") from exc
    return tuple(each for each in found if not each.copy)


def told(guests: Mapping[str, GuestNow], others: Sequence[OtherGuest]) -> dict[str, GuestNow]:
    """Return the guests (by uuid) with a note for each other guest that shares a uuid, or the address of an interface.

    The interfaces are those of the definition that the guest is to have.
    """
    return {
        uuid: replace(now, notes=(*now.notes, *_same_uuid(now, others), *_same_addresses(now, others)))
        for uuid, now in guests.items()
    }


def _same_uuid(now: GuestNow, others: Sequence[OtherGuest]) -> list[str]:
    """Say where the guest is defined as well and off; where it is active is an obstacle."""
    return [
        f"it is defined on host {each.host}, too ({each.uuid}), and off there: nothing must start it there"
        for each in others
        if each.host is not None and each.uuid in now.identities and each.state == OFF
    ]


def _same_addresses(now: GuestNow, others: Sequence[OtherGuest]) -> list[str]:
    if now.forget:
        return []
    try:
        mine = interfaces_of(now.xml)
    except DomainXmlError:
        return []
    return [
        f"MAC address {own.mac} (on {own.network}) is one of {each}, on {theirs.network}, too"
        for own in mine
        for each in others
        for theirs in each.interfaces
        if theirs.mac == own.mac and each.uuid not in now.identities
    ]
