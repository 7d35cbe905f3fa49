# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consistency groups: what they are, and which of them take the snapshots of a backup. Pure.

A volume is in one group at most, so the volumes of a backup tell which groups it can use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Known
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume

NEVER, AUTO, REQUIRE = MODES = ("never", "auto", "require")

SHORTEST_FENCE = 5
"""Seconds; no release that knows two phases lets a fence end earlier by itself."""
LONGEST_FENCE = 7
"""Seconds after which ONTAP gives a snapshot up that was begun and not committed; its own default."""
SHORTEST_HOLD = SHORTEST_FENCE + 2
"""Seconds; a shorter hold has no room for freezing, a start and the fence."""


@dataclass(frozen=True)
class Member:
    """A volume of a group."""

    name: str
    uuid: str


@dataclass(frozen=True)
class Group:
    """A consistency group; ``parent`` is the group that it is nested in."""

    controller: str
    svm: str
    svm_uuid: str
    name: str
    uuid: str
    members: tuple[Member, ...]
    parent: Optional[str] = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, controller: str) -> Group:
        """Read a record of ``GET /application/consistency-groups``."""
        svm = record.get("svm") or {}
        return cls(
            controller=controller,
            svm=str(svm.get("name", "")),
            svm_uuid=str(svm.get("uuid", "")),
            name=str(record["name"]),
            uuid=str(record["uuid"]),
            members=tuple(Member(str(each["name"]), str(each["uuid"])) for each in record.get("volumes") or ()),
            parent=(record.get("parent_consistency_group") or {}).get("name"),
        )

    @property
    def label(self) -> str:
        """``svm:group``, as messages name it."""
        return f"{self.svm}:{self.name}"


@dataclass(frozen=True)
class GroupSeen:
    """A group that has volumes of the backup: its other volumes, and whether it has a snapshot of the name.

    ``foreign`` are the members that are no volumes of the backup, each with its snapshot of the name, if any.
    """

    group: Group
    foreign: tuple[Known, ...] = ()
    taken: bool = False


@dataclass(frozen=True)
class GroupUse:
    """A group that takes the snapshots of ``own``; the volumes ``foreign`` are not of the backup and get one too."""

    group: Group
    own: tuple[Volume, ...]
    foreign: tuple[Volume, ...] = ()

    @property
    def note(self) -> str:
        """A sentence about it for people."""
        sentence = f"consistency group {self.group.label} takes the snapshots of {_volumes_in_words(self.own)} at once"
        if not self.foreign:
            return sentence
        foreign = _volumes_in_words(self.foreign)
        return f"{sentence}; it also holds {foreign}, not of this backup; the snapshot is made there as well"


@dataclass(frozen=True)
class GroupPlan:
    """The decision: the groups to use, and why volumes get their snapshots one by one."""

    uses: tuple[GroupUse, ...] = ()
    reasons: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """Return sentences about it for people."""
        alone = [f"without a consistency group, held all the same: {reason}" for reason in self.reasons]
        return [*(use.note for use in self.uses), *alone]


def group_plan(mode: str, volumes: Sequence[Volume], seen: Sequence[GroupSeen]) -> GroupPlan:
    """Decide which groups take the snapshots; ``seen`` are those that have any of the volumes.

    With ``auto`` the volumes of no group, and of one that cannot be used, get theirs one by one.

    :raises InputError: with ``require``, when there is such a volume; it names all of them and what to do.
    """
    uses: list[GroupUse] = []
    reasons: list[str] = []
    alone: list[str] = []
    grouped: set[str] = set()
    for each in seen:
        uuids = {member.uuid for member in each.group.members}
        own = tuple(volume for volume in volumes if volume.uuid in uuids)
        grouped |= uuids
        reason = unusable(each)
        if reason is None:
            uses.append(GroupUse(each.group, own, tuple(known.volume for known in each.foreign)))
        else:
            reasons.append(f"group {each.group.label} of {_volumes_in_words(own)} {reason}")
            alone.extend(volume.label for volume in own)
    for volume in volumes:
        if volume.uuid not in grouped:
            reasons.append(f"{volume.label} is in no consistency group{_why_not(volume)}")
            alone.append(volume.label)
    if mode == REQUIRE and reasons:
        raise InputError(
            f"consistency_groups is require, and not all volumes have a group that can be used: {'; '.join(reasons)}."
            " Nothing was touched; put that right, or set consistency_groups to auto",
            volumes=alone,
            groups=[each.group.label for each in seen],
        )
    return GroupPlan(tuple(uses), tuple(reasons), tuple(alone))


def unusable(seen: GroupSeen) -> Optional[str]:
    """Return why a group cannot take the snapshot, with what to do, or None."""
    if seen.group.parent is not None:
        return f"is nested in {seen.group.parent}; only a group of its own can be used, take it out of that one"
    if seen.taken:
        return "has a snapshot of that name already; delete that, or choose another backup_id"
    for known in seen.foreign:
        unfit = known.volume.unfit()
        if unfit is not None:
            return f"holds {known.volume.name}, of which no snapshot can be made: {unfit}; take it out of the group"
        if known.snapshot is not None:
            return f"holds {known.volume.name}, which has a snapshot of that name; choose another backup_id"
    return None


def fence_seconds(remaining: float) -> Optional[int]:
    """Return after how many seconds a fence is to end by itself, which begins within one second; None for no room.

    ``remaining`` are the seconds left of the hold, which the fence does not outlast.
    """
    seconds = min(LONGEST_FENCE, int(remaining) - 1)
    return seconds if seconds >= SHORTEST_FENCE else None


def check_hold(uses: Sequence[GroupUse], hold_deadline: float) -> None:
    """Refuse a hold that is too short for a group. :raises InputError:"""
    if uses and hold_deadline < SHORTEST_HOLD:
        raise InputError(
            f"hold_deadline is {hold_deadline:g} s; with consistency groups it must be {SHORTEST_HOLD} or more,"
            f" since ONTAP keeps the writes of a group waiting for at least {SHORTEST_FENCE} s when a snapshot that was"
            " begun is not completed. Nothing was touched"
        )


def _why_not(volume: Volume) -> str:
    if volume.snapshot_locking:
        return ", and cannot be in one while snapshot locking is on"
    if volume.style != "flexvol":
        return ", and only FlexVol volumes can be"
    return "; add it to one"


def _volumes_in_words(volumes: Sequence[Volume]) -> str:
    return ", ".join(volume.name for volume in volumes)
