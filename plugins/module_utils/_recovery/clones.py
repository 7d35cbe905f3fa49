# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of guests that a killed run left half made or half removed: found by their records, taken away as ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import clone_record
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.clone_record import CloneRecord
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.remove import check_removable, places_of, take_away
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.guest_claim import claimed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_attach import San
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.leftover import Leftover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


@dataclass(frozen=True)
class OrphanedClones:
    """Where copies are looked for, and how what they consist of is reached; ``timeout`` (seconds) is for each step.

    ``wall`` is the time since the epoch. What a killed run asked of the array may yet appear: for ``grace_period``
    seconds after it last wrote its record, nothing that it was making is taken away.
    """

    root: Path
    clients: Sequence[Client]
    connect: Callable[[], Host]
    timeout: float
    grace_period: float
    wall: float
    san: San
    hold_dir: Path

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the copies that were begun and not made, or not removed, to the end; none while one is being worked on.

        Nothing is touched. Raises :class:`KvmsnapError` when the lock cannot be looked at.
        """
        if clone_record.under_way(self.root):
            return
        for name in clone_record.names(self.root):
            try:
                record = clone_record.load(self.root, name)
            except KvmsnapError as exc:
                yield Leftover("clone", name, exc.message)
                continue
            if record is not None and record.phase != "made":
                yield self._assessed(record)

    def _assessed(self, record: CloneRecord) -> Leftover:
        verb = "made" if record.phase == "making" else "removed"
        what = f"a copy of {record.mark.guest} from {record.mark.backup_id} that was never {verb} to the end"
        try:
            remaining = self.grace_period - max(0.0, self.wall - clone_record.written(self.root, record.name))
            if record.phase == "making" and remaining > 0:
                late = "what its run asked of the array may yet appear; it will count as a leftover"
                return Leftover("clone", record.name, f"{what}; {late} in {remaining:.0f} s (grace_period)")
            with closing(self.connect()) as host:
                places = places_of(record, self.clients, deadline=Deadline.after(self.timeout))
                deadline = Deadline.after(self.timeout)
                check_removable(record, host=host, places=places, san=self.san, deadline=deadline)
        except KvmsnapError as exc:
            return Leftover("clone", record.name, f"{what}; {exc.message}")
        return Leftover("clone", record.name, what, "taken away", partial(self._remove, record.name))

    def _remove(self, name: str) -> None:
        """Take one away, unless it was made anew or removed meanwhile."""
        with clone_record.alone(self.root), closing(self.connect()) as host:
            record = clone_record.load(self.root, name)
            if record is None or record.phase == "made":
                return
            places = places_of(record, self.clients, deadline=Deadline.after(self.timeout))
            with claimed(self.hold_dir, [(record.uuid, name)], purpose="removal of copy", identity=name):
                take_away(self.root, record, host=host, places=places, san=self.san, timeout=self.timeout)
