# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other guests that have something of a restored guest's identity and hinder nothing: notes for the plan. Pure.

What must not be is an obstacle, and refused elsewhere: the same uuid active on another host, the same name under
another uuid here, the same disk. Our own marked copies have an identity of their own and never count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.interfaces import interfaces_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.other_hosts import OtherGuest

OFF = "shutoff"


def with_notes(
    guests: Mapping[str, GuestNow], *, here: Iterable[Guest], elsewhere: Iterable[OtherGuest]
) -> dict[str, GuestNow]:
    """Return the guests (by uuid) with a note for each other guest that shares a uuid, or the address of an interface.

    The interfaces are those of the definition that the guest is to have. ``here`` are all guests of this host,
    ``elsewhere`` those of the others.
    """
    others = [each for each in (*map(OtherGuest.of_this_host, here), *elsewhere) if not each.copy]
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
