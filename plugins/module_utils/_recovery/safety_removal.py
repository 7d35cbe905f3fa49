# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what restores that ended long ago kept from before: safety snapshots, files and images set aside.

The snapshots go first, what was set aside next, the journals are reduced last: killed in between, the next run goes on.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.known_restores import read_restores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key, Places
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import SafetySnapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.safety_snapshots import (
    DAY,
    Family,
    due,
    reduced,
    safety_mark_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import is_locked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import deletable
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import snapshot_sets
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import (
    Known,
    Snapshot,
    SnapshotPlan,
    SnapshotRequest,
    plan_absent,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.leftover import Leftover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

Snapshots = Mapping[Key, Mapping[str, Snapshot]]


@dataclass(frozen=True)
class Keeper:
    """What ``host`` keeps from before its restores, and for how many ``days``; ``now`` is seconds since the epoch."""

    root: Path
    host: str
    days: int
    now: float

    def due(self) -> list[Family]:
        """Return the restores whose time is over."""
        found = read_restores(self.root)
        ended = {each.restore_id: self._written(each.restore_id) for each in found.journals}
        holding = {name for name in ended if any(map(_is_there, self._set_aside(name)))}
        return due(found, ended, holding=holding, now=self.now, days=self.days)

    def outlived(
        self, families: Iterable[Family], places: Places, snapshots: Snapshots, *, time: Callable[[], Deadline]
    ) -> Iterator[Leftover]:
        """Yield what there is to say of each; ``snapshots`` is what the array has on their volumes, by name."""
        hindrance = self._hindrance()
        for family in families:
            there = _there(family, snapshots)
            what = f"it ended {(self.now - family.ended) / DAY:.0f} days ago{self._kept(family, places, there)}"
            reason = hindrance or self._untouchable(family, places, there, time())
            if reason:
                yield Leftover("safety", ", ".join(family.ids), f"{what}; {reason}")
                continue
            act = partial(self._remove, family, places, there, time)
            yield Leftover("safety", ", ".join(family.ids), what, "removed", act)

    def strays(
        self, places: Places, snapshots: Snapshots, *, remove: bool, time: Callable[[], Deadline]
    ) -> Iterator[Leftover]:
        """Yield safety snapshots as old that no journal knows, as of a lost catalog, and of any age those nobody needs.

        A restore that was killed before it knew of its snapshot takes another one when it goes on.
        Those of other hosts' restores are theirs: the journals that know them are there.
        """
        if self.days == 0 or self._hindrance():
            return
        found = read_restores(self.root)
        safeties = [safety for journal in found.journals for safety in journal.safeties]
        known = {each.uuid for safety in safeties for each in safety.snapshots}
        asked = {safety.name for safety in safeties if not safety.snapshots}
        for key, named in snapshots.items():
            place = places[key]
            before = place.client.array_time() - timedelta(days=self.days)
            for each in named.values():
                mark = safety_mark_of(each.comment)
                young = each.create_time is None or each.create_time > before
                if mark is None or mark.host != self.host or each.uuid in known:
                    continue
                if young and each.name not in asked:
                    continue
                if found.goes_on(mark.restore_id):
                    continue
                why = "which ended without it" if each.name in asked else "and no journal knows it"
                what = f"it is on {place.volume.label}, made before restore {mark.restore_id}, {why}"
                if not remove and each.name not in asked:
                    yield Leftover("snapshot", each.name, what)
                    continue
                act = partial(self._delete, each.name, places, {key: each}, time)
                yield Leftover("snapshot", each.name, what, "removed", act)

    def _written(self, restore_id: str) -> float:
        """Return when a journal was last written, in seconds since the epoch."""
        try:
            return (self.root / "restores" / f"{restore_id}.json").stat().st_mtime
        except OSError:
            return self.now

    def _set_aside(self, restore_id: str) -> tuple[Path, Path]:
        return journals.kept_directory(self.root, restore_id), journals.images_of(self.root, restore_id)

    def _hindrance(self) -> Optional[str]:
        """Return why nothing at all may be removed now: a restore is under way, or a journal cannot be read."""
        try:
            if is_locked(journals.lock_of(self.root)):
                return "a restore of this host is under way"
        except OSError as exc:
            return f"whether a restore is under way is not known: {exc.strerror}"
        read = {each.restore_id for each in read_restores(self.root).journals}
        unread = sorted({path.stem for path in (self.root / "restores").glob("*.json")} - read)
        return f"what restore {', '.join(unread)} needs is not known, its journal cannot be read" if unread else None

    def _kept(self, family: Family, places: Places, there: Mapping[str, Mapping[Key, Snapshot]]) -> str:
        parts = [
            f"; safety snapshot {name} is on {', '.join(sorted(places[key].volume.label for key in found))}"
            for name, found in there.items()
        ]
        aside = [str(path) for each in family.ids for path in self._set_aside(each) if _is_there(path)]
        return "".join(parts) + (f"; it set aside {', '.join(aside)}" if aside else "")

    def _untouchable(
        self, family: Family, places: Places, there: Mapping[str, Mapping[Key, Snapshot]], deadline: Deadline
    ) -> Optional[str]:
        unseen = {f"{each.svm}:{each.volume}" for _name, each in family.snapshots if _key(each) not in places}
        if unseen:
            return f"no controller that was given has {', '.join(sorted(unseen))}"
        for name, found in there.items():
            marks = {key: safety_mark_of(each.comment) for key, each in found.items()}
            foreign = [key for key, mark in marks.items() if mark is None or mark.restore_id not in family.ids]
            if foreign:
                key = foreign[0]
                return f"snapshot {name} on {places[key].volume.label} is not of it ({found[key].comment!r})"
            refusals = self._plan(name, places, found, deadline).refusals
            if refusals:
                reasons = "; ".join(f"{each.volume.label}: {each.reason}" for each in refusals)
                return f"snapshot {name} stays, {reasons}"
        return None

    def _plan(self, name: str, places: Places, found: Mapping[Key, Snapshot], deadline: Deadline) -> SnapshotPlan:
        clients = {key[1]: places[key].client for key in found}
        known = [Known(places[key].volume, snapshot) for key, snapshot in found.items()]
        wanted = _wanted(name, found)
        plan = plan_absent(wanted, known, now=lambda volume: clients[volume.uuid].array_time())
        return snapshot_sets.name_clones(plan, clients=clients, deadline=deadline)

    def _delete(self, name: str, places: Places, found: Mapping[Key, Snapshot], time: Callable[[], Deadline]) -> None:
        deadline = time()
        plan = self._plan(name, places, found, deadline)
        plan.raise_refusals("delete")
        clients = {key[1]: places[key].client for key in found}
        wanted = _wanted(name, found)
        with deletable(self.root, [name]):
            snapshot_sets.delete_all(plan, wanted, clients=clients, deadline=deadline)

    def _remove(
        self,
        family: Family,
        places: Places,
        there: Mapping[str, Mapping[Key, Snapshot]],
        time: Callable[[], Deadline],
    ) -> None:
        """Remove a family's snapshots, then what it set aside, then note it in its journals."""
        with journals.alone(self.root):
            if family not in self.due():
                raise KvmsnapError(
                    f"Failed to remove what restore {', '.join(family.ids)} kept: a restore ran meanwhile; look again"
                )
            for name, found in there.items():
                self._delete(name, places, found, time)
            for restore_id in family.ids:
                for path in self._set_aside(restore_id):
                    _remove_tree(path)
            at = datetime.fromtimestamp(self.now, timezone.utc).isoformat(timespec="seconds")
            for each in family.journals:
                journals.save(self.root, reduced(each, at=at))


def _wanted(name: str, found: Mapping[Key, Snapshot]) -> SnapshotRequest:
    """Return the set of safety snapshots, which one restore made: all bear the owner of its backup."""
    marks = [mark for mark in (safety_mark_of(each.comment) for each in found.values()) if mark]
    return SnapshotRequest.checked(name=name, owner=marks[0].owner) if marks else SnapshotRequest.checked(name=name)


def volumes_of(families: Iterable[Family]) -> list[SavedVolume]:
    """Return the volumes that may have safety snapshots of these restores."""
    found = [each for family in families for _name, each in family.snapshots]
    return [SavedVolume("", each.svm, each.svm_uuid, each.volume, each.volume_uuid) for each in found]


def _there(family: Family, snapshots: Snapshots) -> dict[str, dict[Key, Snapshot]]:
    """Return the family's snapshots that still are, by name and volume: the very same ones, by uuid."""
    found: dict[str, dict[Key, Snapshot]] = {}
    for name, each in family.snapshots:
        now = snapshots.get(_key(each), {}).get(name)
        if now is not None and now.uuid == each.uuid:
            found.setdefault(name, {})[_key(each)] = now
    return found


def _key(snapshot: SafetySnapshot) -> Key:
    return (snapshot.svm_uuid, snapshot.volume_uuid)


def _is_there(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _remove_tree(path: Path) -> None:
    """Remove a directory that a restore made; a link in its place leads nowhere."""
    if not _is_there(path):
        return
    try:
        shutil.rmtree(path)
    except OSError as exc:
        raise KvmsnapError(f"Failed to remove {path}: {exc.strerror}") from exc
