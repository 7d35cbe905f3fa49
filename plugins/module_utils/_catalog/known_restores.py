# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores of this host by their journals: which broke off, which guests they left unfinished, who took whose place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError


@dataclass(frozen=True)
class KnownRestores:
    """The journals of a host, the oldest first, and who took over which guest: (restore, guest) -> restore."""

    journals: tuple[Journal, ...]
    taken: Mapping[tuple[str, str], str]

    def unfinished(self, uuid: str) -> list[Journal]:
        """Return the restores that have not brought this guest to an end, and whose place none has taken."""
        return [each for each in self.journals if self.is_open(each, uuid)]

    def is_open(self, journal: Journal, uuid: str) -> bool:
        """Tell whether a restore has yet to bring this guest to an end."""
        progress = journal.guests.get(uuid)
        return progress is not None and progress.open and (journal.restore_id, uuid) not in self.taken

    def goes_on(self, restore_id: str) -> bool:
        """Tell whether a restore of this name has yet to bring a guest to an end."""
        mine = [each for each in self.journals if each.restore_id == restore_id]
        return any(self.is_open(each, uuid) for each in mine for uuid in each.guests)

    def half_restored(self, uuid: str) -> Optional[Journal]:
        """Return the restore that left this guest's disks neither old nor new, None when there is none."""
        return next((each for each in self.unfinished(uuid) if each.guests[uuid].half), None)


def read_restores(root: Path) -> KnownRestores:
    """Read all journals; one that cannot be read is left out here; the recovery reports it."""
    found = []
    for path in sorted((root / "restores").glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            journal = journals.load(root, path.stem)
        except KvmsnapError:
            continue
        if journal is not None:
            found.append(journal)
    return restores_of(found)


def restores_of(found: Iterable[Journal]) -> KnownRestores:
    """Return the restores of these journals."""
    known = tuple(found)
    taken = {
        (old, uuid): each.restore_id
        for each in known
        for uuid, progress in each.guests.items()
        for old in progress.took_over
    }
    return KnownRestores(known, taken)
