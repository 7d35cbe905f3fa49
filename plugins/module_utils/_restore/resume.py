# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores that broke off: which guests they left unfinished, who goes on with them, and who takes their place.

Run again without an id, a restore of the same backup goes on with the unfinished one. Another id or another backup is
a new decision: it brings every disk anew and takes over what the old one remembers of the guest from before it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.known_restores import KnownRestores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    GuestProgress,
    Journal,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestRestore, RestorePlan, refuse


def to_go_on_with(found: KnownRestores, backup_id: str, uuids: Collection[str]) -> Optional[str]:
    """Return the unfinished restore of these guests from this backup, None when there is none.

    Raises :class:`InputError` when there are several: one run goes on with one of them.
    """
    mine = dict.fromkeys(
        each.restore_id for uuid in uuids for each in found.unfinished(uuid) if each.backup_id == backup_id
    )
    if len(mine) > 1:
        raise InputError(
            f"Restores {', '.join(mine)} from backup {backup_id} broke off before their guests were back; go on with"
            " one after the other (restore_id), or give a new restore_id to begin anew. Nothing was touched",
            restores=list(mine),
        )
    return next(iter(mine), None)


def _refuse_taken(record: Journal, found: KnownRestores, uuids: Collection[str]) -> None:
    """Refuse to go on with a restore whose place another has taken; raises :class:`InputError`."""
    for uuid in uuids:
        by = found.taken.get((record.restore_id, uuid))
        if by is not None and not record.done(uuid):
            raise InputError(
                f"Restore {record.restore_id} broke off and restore {by} took its place for guest {uuid}; go on with"
                f" {by}, or give a new restore_id. Nothing was touched",
                restore_id=by,
            )


def taken_over(record: Journal, found: KnownRestores, uuids: Collection[str]) -> Journal:
    """Return the journal with what unfinished restores of these guests remember: nothing is written yet.

    A guest that one of them half restored keeps the safety snapshot of that one, the only one that holds it whole; its
    begun disks count as begun here, so that none of them is forgotten. Raises :class:`InputError` when the place of
    this restore has been taken itself.
    """
    _refuse_taken(record, found, uuids)
    for uuid in uuids:
        own = record.guests.get(uuid)
        others = [each for each in found.unfinished(uuid) if each.restore_id != record.restore_id]
        if not others or (own is not None and (own.open or own.done)):
            continue
        known = [each.guests[uuid] for each in others]
        record = record.with_guest(
            uuid,
            GuestProgress(
                state_before=known[-1].state_before,
                disks=tuple(dict.fromkeys(disk for each in known if each.half for disk in each.disks)),
                files=_set_aside(others, uuid),
                created=tuple(dict.fromkeys(disk for each in known if each.half for disk in each.created)),
                definition=_definition(others, uuid),
                autostart=any(each.autostart for each in known),
                transient=any(each.transient for each in known),
                moved_aside=next((each.moved_aside for each in known if each.half and each.moved_aside), None),
                pending=tuple(request for each in known for request in each.pending),
                saved_image=next((each.saved_image for each in known if each.saved_image and not each.written), ""),
                took_over=(*(own.took_over if own else ()), *(each.restore_id for each in others)),
            ),
        )
        half = found.half_restored(uuid)
        safety = half.safety_of(uuid) if half else None
        if safety is not None:
            record = record.with_safety(replace(safety, guests=(uuid,)))
    return record


def _set_aside(others: Sequence[Journal], uuid: str) -> tuple[Aside, ...]:
    """Return what the half-done restores set aside, of each file what was there before the first of them."""
    found: dict[str, Aside] = {}
    for each in others:
        for aside in each.guests[uuid].files if each.guests[uuid].half else ():
            found.setdefault(aside.path, replace(aside, kept_by=aside.kept_by or each.restore_id))
    return tuple(found.values())


def _definition(others: Sequence[Journal], uuid: str) -> Optional[Aside]:
    """Return the guest's definition from before the first of the half-done restores that changed it."""
    for each in others:
        kept = each.guests[uuid].definition if each.guests[uuid].half else None
        if kept is not None:
            return replace(kept, kept_by=kept.kept_by or each.restore_id) if kept.stored_as else kept
    return None


def with_notes(plan: RestorePlan, record: Journal, found: KnownRestores) -> RestorePlan:
    """Return the plan with notes about what each guest's unfinished restores left.

    Raises :class:`RestoreRefusedError` when one of them began a disk or a file that this one does not bring back.
    """
    by_id = {each.restore_id: each for each in found.journals}
    problems = []
    parts = []
    for part in plan.guests:
        progress = record.guests.get(part.uuid)
        missing = _left_out(part, progress)
        if missing:
            what = f"guest {part.name}: a restore that broke off began {', '.join(missing)}, which this one leaves out"
            problems.append(problem_of("restore-unfinished", what, guest=part.name))
        ids = [record.restore_id, *(progress.took_over if progress else ())]
        open_ones = [by_id[each] for each in ids if each in by_id and found.is_open(by_id[each], part.uuid)]
        notes = [_note(each, record, part.uuid) for each in open_ones]
        parts.append(replace(part, notes=(*part.notes, *notes)))
    refuse(plan.backup_id, problems)
    return replace(plan, guests=tuple(parts))


def with_images(undone: Journal, record: Journal, plan: RestorePlan) -> tuple[Journal, RestorePlan]:
    """Return the journal and the plan of an undo with the managed-save images that the undone restore moved aside."""
    parts = []
    for part in plan.guests:
        place = undone.guests[part.uuid].saved_image
        progress = record.begun(part.uuid, part.state_now)
        notes: tuple[str, ...] = ()
        if place and not progress.written:
            record = record.with_guest(part.uuid, replace(progress, image_to_bring=place))
            notes = ("its managed-save image of that time is brought back; its next start resumes it",)
        parts.append(replace(part, notes=(*part.notes, *notes)))
    return record, replace(plan, guests=tuple(parts))


def _left_out(part: GuestRestore, progress: Optional[GuestProgress]) -> list[str]:
    restored = {*(disk.label for disk in part.disks), *(file.path for file in part.files)}
    begun = (*progress.disks, *(aside.path for aside in progress.files)) if progress else ()
    return [label for label in begun if label not in restored]


def _note(old: Journal, record: Journal, uuid: str) -> str:
    progress = old.guests[uuid]
    if progress.written:
        far = "all its disks were written"
    elif progress.disks:
        far = f"{len(progress.disks)} of its disks were begun"
    else:
        far = "none of its disks was begun"
    if old.restore_id == record.restore_id:
        return f"restore {old.restore_id} broke off, {far}; it goes on"
    return f"restore {old.restore_id} from {old.backup_id} broke off, {far}; this restore takes its place"
