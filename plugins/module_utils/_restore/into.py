# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore into a guest that was defined anew: the same disks under another uuid than in the backup. Pure.

From the choice of the backup on the restore is about the guest of this host: the backup is read as if it had been saved
under the uuid that the guest has now. So locks, gate, fence, journal and undo know that uuid alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional
from uuid import UUID

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.known_restores import KnownRestores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedDisk, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import Chosen, guest_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import Policy, with_uuid
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError, parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskNow,
    GuestNow,
    KnownGuest,
    TwoGuests,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest

OPTION = "into_uuid"
DEFINITION: Policy = "replace"
"""What becomes of the present guest's definition unless it is said: the system on its disks was set up for that one."""


@dataclass(frozen=True)
class Into:
    """Whom a guest of the backup is restored into: ``uuid`` is that of this host's guest, ``saved`` the backup's."""

    uuid: str
    saved: SavedGuest

    @property
    def noted(self) -> dict[str, str]:
        """What the journal keeps of it."""
        return {self.uuid: self.saved.uuid}

    def under_new_uuid(self, chosen: Chosen) -> Chosen:
        """Return the backup as if the guest had been saved under its present uuid.

        A definition that is not that guest's, or is none, stays as it is; a restore that needs it is refused.
        """
        guests = tuple(self._renamed(each) for each in chosen.manifest.guests)
        lost = {self.uuid if uuid == self.saved.uuid else uuid: kinds for uuid, kinds in chosen.lost.items()}
        return replace(chosen, manifest=replace(chosen.manifest, guests=guests), lost=lost)

    def settled(self, request: RestoreRequest) -> RestoreRequest:
        """Return the request with the guest by its present uuid, and with what becomes of its definition."""
        guests = tuple(self.uuid if self._is_meant(word) else word for word in request.guests)
        definition = request.definition or (None if request.disks else DEFINITION)
        return replace(request, guests=guests, definition=definition)

    def _is_meant(self, word: str) -> bool:
        return word == self.saved.name or word.lower() == self.saved.uuid

    def _renamed(self, guest: SavedGuest) -> SavedGuest:
        if guest.uuid != self.saved.uuid:
            return guest
        try:
            own = parse_guest(guest.xml).uuid == guest.uuid
        except DomainXmlError:
            own = False
        return replace(guest, uuid=self.uuid, xml=with_uuid(guest.xml, self.uuid) if own else guest.xml)


def decided(asked: Optional[str], chosen: Chosen, guests: Sequence[str], begun: Optional[Journal]) -> Optional[Into]:
    """Return whom the guest is restored into, None when its uuid is that of the backup.

    ``asked`` is the option, ``begun`` the journal of a restore that is gone on with, or undone: it has the last word.
    Raises :class:`InputError`.
    """
    wanted = _uuid_of(asked) if asked else None
    if begun is None:
        return _chosen(wanted, chosen, guests) if wanted else None
    known = next(iter(begun.into.items()), None)
    if wanted is not None and (known is None or known[0] != wanted):
        was = f"into guest {known[0]}" if known else "into the guest of the backup"
        raise InputError(
            f"Restore {begun.restore_id} was begun {was}, not into {wanted}; give another restore_id. Nothing was"
            " touched",
            option=OPTION,
        )
    return Into(known[0], guest_of(chosen, known[1])) if known else None


def refuse_half_restored(into: Into, found: KnownRestores) -> None:
    """Refuse disks that a restore of the backup's own uuid left neither old nor new; raises :class:`InputError`."""
    half = found.half_restored(into.saved.uuid)
    if half is not None:
        raise InputError(
            f"Restore {half.restore_id} of guest {into.saved.name} ({into.saved.uuid}) failed part-way through its"
            f" disks, and knows what they held before. Take guest {into.uuid} out of libvirt's hands (virsh dumpxml,"
            " virsh undefine) and end that restore first, with define_missing. Nothing was touched",
            restore_id=half.restore_id,
        )


def two_guests(into: Into, present: GuestNow) -> TwoGuests:
    """Return both guests for the plan; ``present`` has the definition of now."""
    then = (f"{disk.target} {disk.storage.label}" for disk in into.saved.saved_disks if disk.storage)
    now = (
        f"{disk.target} {disk.storage.label if disk.storage else disk.host_path}"
        for disk in present.disks
        if disk.storage or disk.host_path
    )
    return TwoGuests(
        KnownGuest(into.saved.name, into.saved.uuid, tuple(then)), KnownGuest(present.name, present.uuid, tuple(now))
    )


def unfit(
    into: Into, present: Optional[GuestNow], names_now: Mapping[str, str], disks: Sequence[SavedDisk], *, begun: bool
) -> list[Problem]:
    """Return why the backup must not be restored into the guest; ``names_now`` are the uuids of this host's guests.

    ``present`` has the definition of now, ``disks`` are those that are to be restored. ``begun``: an earlier run of the
    restore has seen the guest with them, and may have moved one aside.
    """
    saved = into.saved
    if present is None:
        known = ", ".join(f"{name} ({uuid})" for name, uuid in sorted(names_now.items())) or "none"
        what = f"guest {into.uuid}, which {saved.name} is to be restored into, is not on this host, which has {known}"
        return [Problem("guest-not-defined", "error", what, "Name the guest by the uuid that it has now.", saved.name)]
    reasons = []
    own = next((name for name, uuid in names_now.items() if uuid == saved.uuid), None)
    if own is not None:
        reasons.append(f"guest {own} ({saved.uuid}) of the backup is on this host itself, beside {into.uuid}")
    third = names_now.get(saved.name)
    if third not in (None, into.uuid, saved.uuid):
        reasons.append(f"guest {saved.name} is {third} on this host, neither the backup's {saved.uuid} nor {into.uuid}")
    if not begun and not any(_has(present, disk) for disk in disks):
        places = ", ".join(disk.storage.label for disk in disks if disk.storage) or "no disk"
        reasons.append(f"guest {present.name} ({into.uuid}) has no disk of {saved.name} in the backup ({places})")
    return [problem_of("guest-identity", reason, guest=saved.name) for reason in reasons]


def _chosen(wanted: str, chosen: Chosen, guests: Sequence[str]) -> Into:
    named = {guest_of(chosen, word).uuid: guest_of(chosen, word) for word in guests}
    if len(named) != 1:
        raise InputError(
            f"{OPTION} is for one guest, and {', '.join(guests)} are to be restored; name one. Nothing was touched",
            option=OPTION,
        )
    (saved,) = named.values()
    other = chosen.manifest.guest(wanted)
    if other is not None:
        advice = f"restore it without {OPTION}" if other is saved else f"it is not {saved.name}"
        raise InputError(
            f"Guest {other.name} is {wanted} in backup {chosen.manifest.backup_id}, too: {advice}, or choose another"
            " backup. Nothing was touched",
            option=OPTION,
        )
    return Into(wanted, saved)


def _has(present: GuestNow, saved: SavedDisk) -> bool:
    """Tell whether a guest has a disk of the backup; one whose file is gone is known by its path."""
    return any(_is_same(disk, saved) for disk in present.disks)


def _is_same(disk: DiskNow, saved: SavedDisk) -> bool:
    if disk.storage is None or saved.storage is None:
        return bool(disk.host_path) and disk.host_path == saved.source
    now, then = disk.storage, saved.storage
    return (now.kind, now.svm_uuid, now.volume_uuid, now.path) == (
        then.kind,
        then.svm_uuid,
        then.volume_uuid,
        then.path,
    )


def _uuid_of(asked: str) -> str:
    try:
        return str(UUID(asked.strip()))
    except ValueError as exc:
        message = f"{OPTION} is {asked!r}, which is no uuid of a guest; nothing was touched"
        raise InputError(message, option=OPTION) from exc
