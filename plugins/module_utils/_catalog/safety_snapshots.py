# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which restores ended so long ago that what they kept from before may go: a decision over journals. Pure.

Restores that hang together (one took another's place, or undid it) go together, once the last of them is old enough.
Their journals stay, so that the same restore id still changes nothing and an undo can say why there is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.known_restores import KnownRestores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    UNDO,
    Journal,
    SafetySnapshot,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

DAY = 86400.0
_IMAGES = ".images"
_MARK = re.compile(r"kvmsnap/([A-Za-z0-9][A-Za-z0-9_.-]*): before restore (\S+) on (\S+)")
"""With an owner that a snapshot can have of ours: whoever owns the array may have written anything."""


@dataclass(frozen=True)
class SafetyMark:
    """What the comment of a safety snapshot says: the owner of the backup, the restore, and the host that ran it.

    The owner need not be that host: another host restores from this one's backup, and hosts back up together.
    """

    owner: str
    restore_id: str
    host: str


def comment_of(restore_id: str, host: str) -> str:
    """Return the comment that a restore gives to its safety snapshots, without the owner."""
    return f"before restore {restore_id} on {host}"


def safety_mark_of(comment: str) -> Optional[SafetyMark]:
    """Return what the whole comment of a snapshot says, None when it is no safety snapshot's."""
    found = _MARK.fullmatch(comment)
    return SafetyMark(*found.groups()) if found else None


@dataclass(frozen=True)
class Family:
    """Restores that hang together, the oldest first; ``ended`` is when the last of them did, since the epoch."""

    journals: tuple[Journal, ...]
    ended: float

    @property
    def ids(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(each.restore_id for each in self.journals)

    @property
    def snapshots(self) -> tuple[tuple[str, SafetySnapshot], ...]:
        """Their safety snapshots, each with its name."""
        found = (
            (safety.name, each) for known in self.journals for safety in known.safeties for each in safety.snapshots
        )
        return tuple(dict.fromkeys(found))


def families(found: KnownRestores, ended: Mapping[str, float]) -> list[Family]:
    """Return the restores of a host, those together that hang together; ``ended`` is by their names."""
    safeties = {safety.name for each in found.journals for safety in each.safeties}
    groups: list[tuple[set[str], list[Journal]]] = []
    for journal in found.journals:
        marks, members = _marks(journal, safeties), [journal]
        apart = []
        for known, others in groups:
            if known & marks:
                marks, members = known | marks, [*others, *members]
            else:
                apart.append((known, others))
        groups = [*apart, (marks, members)]
    order = {each.restore_id: number for number, each in enumerate(found.journals)}
    sorted_ones = [sorted(members, key=lambda each: order[each.restore_id]) for _marks_of, members in groups]
    return [Family(tuple(each), max(ended[known.restore_id] for known in each)) for each in sorted_ones]


def due(
    found: KnownRestores, ended: Mapping[str, float], *, holding: Collection[str], now: float, days: int
) -> list[Family]:
    """Return those whose safety snapshots, and whatever else they set aside, are to go.

    Every guest of every one of them was brought to an end, and the last ended ``days`` ago or more; 0 keeps all for
    ever. ``holding`` are the restores with something set aside on the host; a family with nothing left is not due.
    """
    if days == 0:
        return []
    return [
        each
        for each in families(found, ended)
        if now - each.ended >= days * DAY
        and not any(map(found.goes_on, each.ids))
        and (each.snapshots or not set(each.ids).isdisjoint(holding))
    ]


def reduced(journal: Journal, *, at: str) -> Journal:
    """Return the journal once nothing from before the restore is kept any more; ``at`` says since when."""
    guests = {
        uuid: replace(progress, files=(), definition=None, saved_image="", image_to_bring="")
        for uuid, progress in journal.guests.items()
    }
    return replace(journal, guests=guests, safeties=(), safety_removed=at)


def refuse_removed(journal: Journal) -> None:
    """Refuse to undo a restore of which nothing from before is kept any more; raises :class:`InputError`."""
    if journal.safety_removed and not journal.safeties:
        raise InputError(
            f"Restore {journal.restore_id} cannot be undone any more: its safety snapshot was removed at"
            f" {journal.safety_removed}, as old as it was (safety_days). Restore from a backup. Nothing was touched",
            restore_id=journal.restore_id,
            safety_removed=journal.safety_removed,
        )


def _marks(journal: Journal, safeties: Collection[str]) -> set[str]:
    """Return what a restore has in common with those it hangs together with."""
    restores = [journal.restore_id, _without(journal.restore_id, UNDO)]
    for progress in journal.guests.values():
        aside = (*progress.files, *filter(None, [progress.definition]))
        restores += [*progress.took_over, *(each.kept_by for each in aside)]
        images = (progress.saved_image, progress.image_to_bring)
        restores += [_without(PurePath(place).parent.name, _IMAGES) for place in images]
    snapshots = [safety.name for safety in journal.safeties]
    snapshots += [journal.backup_id] if journal.backup_id in safeties else []
    return {*(f"restore {each}" for each in restores if each), *(f"snapshot {each}" for each in snapshots)}


def _without(name: str, end: str) -> str:
    """Return the name without this end, empty when it has another."""
    return name[: -len(end)] if name.endswith(end) else ""
