# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which other hosts the array gives a LUN to, and who holds a reservation on it."""

from __future__ import annotations

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, LunTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import own_initiators
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.reservations import reservation_on
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import foreign_initiators, lun_maps, seen_by
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

MAPS = "hosts that the array gives the LUN to"
RESERVATIONS = "reservations on the LUN"
_SAID = "a person said that no other host uses it (disks_unused_elsewhere)"
_REMEDY = "Make sure that no guest of another host uses the LUN, then say so (kvm_restore_disks_unused_elsewhere)."


def array_answers(target: LunTarget, claim: Claim, client: Client, *, deadline: Deadline) -> tuple[Answer, ...]:
    """Say which foreign initiators the LUN is mapped to, and whether another host holds a reservation on it.

    ``claim.initiators`` are no news, nor is any when ``claim.unused_elsewhere``.
    """
    if claim.unused_elsewhere:
        return (Answer(MAPS, impossible=_SAID), Answer(RESERVATIONS, impossible=_SAID))
    own = own_initiators()
    return (_maps(target, (*own, *claim.initiators), client, deadline), _reservations(target, own))


def _maps(target: LunTarget, known: tuple[str, ...], client: Client, deadline: Deadline) -> Answer:
    if target.uuid is None:
        return Answer(MAPS)
    try:
        maps = seen_by(client, lun_maps(client, [target.uuid], deadline=deadline), deadline=deadline)
    except OntapError as exc:
        return Answer(MAPS, impossible=exc.message)
    foreign = foreign_initiators(maps, known)
    users = (User("the array", f"gives the LUN to {', '.join(foreign)}, too", _REMEDY),) if foreign else ()
    return Answer(MAPS, users)


def _reservations(target: LunTarget, own: tuple[str, ...]) -> Answer:
    if target.device is None:
        return Answer(RESERVATIONS, impossible="this host has no device of the LUN")
    held = reservation_on(target.device, own)
    if held is None or not held.foreign:
        return Answer(RESERVATIONS)
    return Answer(RESERVATIONS, (User("another host", f"may write: {held.text}", _REMEDY),))
