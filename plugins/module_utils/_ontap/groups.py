# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consistency groups on the array: found, snapshotted in two phases, and their snapshots deleted as one.

Between the phases ONTAP keeps writes to the group waiting: ``start`` puts up a fence, ``commit`` takes the snapshots
and takes it down. Guests are frozen before the start, since a freeze flushes and the fence would block that. Without a
commit in the time that the start names, nothing is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    FencedError,
    OntapDeniedError,
    OntapError,
    during,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.group_plan import (
    LONGEST_FENCE,
    Group,
    GroupSeen,
    GroupUse,
    fence_seconds,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.parallel import in_parallel, values
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import Value, any_of, segment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_calls import confirmed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import (
    Known,
    SnapshotRequest,
    Taken,
    VolumeStep,
    read_snapshot,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Found, list_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

PATH = "/application/consistency-groups"
_FIELDS = (
    "uuid",
    "name",
    "svm.name",
    "svm.uuid",
    "volumes.name",
    "volumes.uuid",
    "parent_consistency_group.name",
)
_SNAPSHOT_VOLUMES_SINCE = (9, 12, 1)


@dataclass(frozen=True)
class GroupSnapshot:
    """A snapshot of a group; ``volumes`` are the uuids of those that have their part of it still."""

    group: str
    uuid: str
    name: str
    comment: str
    volumes: frozenset[str] = frozenset()


def look(found: Sequence[Found], name: str, *, deadline: Deadline) -> list[GroupSeen]:
    """Return the groups that any of the volumes are in, with what else they hold and what has a snapshot of the name.

    Source: ``GET /application/consistency-groups?volumes.uuid=``. :raises OntapError:
    """
    return [
        _seen(client, group, {volume.uuid for _client, volume in found}, name, deadline=deadline)
        for client in _clients(found)
        for group in _groups_of(client, [volume.uuid for each, volume in found if each is client], deadline=deadline)
    ]


def create(
    client: Client, use: GroupUse, steps: Sequence[VolumeStep], wanted: SnapshotRequest, *, deadline: Deadline
) -> list[Taken]:
    """Make the snapshots of a group's volumes: start, commit, look at each of ``steps``, the volumes of the backup.

    The commit is never sent when the start may have failed, and no fence is put up that could outlast ``deadline``.

    :raises KvmsnapError: there are none, or an answer got lost (its ``outcome.fate`` says so).
    """
    action = f"create snapshot {wanted.name!r} of consistency group {use.group.label}"
    requested_at = client.clock.monotonic()
    seconds = fence_seconds(deadline.remaining())
    if seconds is None:
        reason = f"{deadline.remaining():.1f} s are left of the hold, and its writes could be kept waiting for longer"
        raise KvmsnapError(f"Failed to {action}: {reason}", **_named(use.group, wanted.name))
    try:
        start_by = Deadline(deadline.at - seconds, client.clock)
        uuid = _start(client, use.group, wanted, seconds, deadline=deadline, start_by=start_by)
    except OntapError as exc:
        if exc.outcome.fate != "lost" and not exc.has_code(codes.GROUP_SNAPSHOT_NOT_PERMITTED):
            raise during(exc, action, **_named(use.group, wanted.name)) from exc
        raise _fenced(client, exc, action, use.group, wanted, seconds) from exc
    begun_at = client.clock.monotonic()
    try:
        commit_by = Deadline(min(deadline.at, requested_at + seconds), client.clock)
        _commit(client, use.group, uuid, steps, wanted, deadline=deadline, commit_by=commit_by)
    except OntapError as exc:
        remaining = begun_at + seconds - client.clock.monotonic()
        raise _fenced(client, exc, action, use.group, wanted, remaining) from exc
    look_at = partial(confirmed, client, wanted=wanted, requested_at=requested_at, action=action, deadline=deadline)
    return values(in_parallel(look_at, steps))


def _fenced(
    client: Client, exc: OntapError, action: str, group: Group, wanted: SnapshotRequest, seconds: float
) -> FencedError:
    """Return the failure with the moment from which writes are certainly not kept waiting any more."""
    fenced = FencedError(action, exc.reason, outcome=exc.outcome, **{**exc.fields, **_named(group, wanted.name)})
    fenced.until = client.clock.monotonic() + max(0.0, seconds)
    return fenced


def snapshot_of(client: Client, group: str, name: str, *, deadline: Deadline) -> Optional[GroupSnapshot]:
    """Return the snapshot of a group (its uuid) by its name, or None. :raises OntapError:"""
    records = client.records(_snapshots(group), {"name": name}, fields=("uuid", "name", "comment"), deadline=deadline)
    record = next((each for each in records if each.get("name") == name), None)
    if record is None:
        return None
    return GroupSnapshot(group, str(record["uuid"]), name, str(record.get("comment") or ""))


def whole_snapshots(
    client: Client, volumes: Iterable[str], wanted: SnapshotRequest, *, deadline: Deadline
) -> list[GroupSnapshot]:
    """Return the groups' snapshots of the name, ours, that have no parts on other volumes than these (uuids).

    One of which other volumes hold a part is left out: those may belong to another backup. An account without the right
    to look at groups makes no snapshots of them. :raises OntapError:
    """
    asked = set(volumes)
    fields = ("uuid", "consistency_group.uuid")
    records = client.records("/storage/volumes", {"uuid": any_of(asked)}, fields=fields, deadline=deadline)
    groups = {str((record.get("consistency_group") or {}).get("uuid") or "") for record in records} - {""}
    found = []
    for group in sorted(groups):
        try:
            there = snapshot_of(client, group, wanted.name, deadline=deadline)
            if there is None or not (wanted.allow_foreign or there.comment.startswith(f"kvmsnap/{wanted.owner}:")):
                continue
            parts = _parts(client, group, there.uuid, deadline=deadline)
        except OntapDeniedError:
            continue
        if parts and parts <= asked:
            found.append(GroupSnapshot(group, there.uuid, there.name, there.comment, parts))
    return found


def delete(client: Client, snapshot: GroupSnapshot, *, deadline: Deadline) -> None:
    """Delete a group's snapshot with all its parts. :raises OntapError:"""

    def gone() -> Optional[dict[str, Any]]:
        there = snapshot_of(client, snapshot.group, snapshot.name, deadline=deadline)
        return {} if there is None or there.uuid != snapshot.uuid else None

    try:
        client.delete(_snapshots(snapshot.group, snapshot.uuid), fate=gone, deadline=deadline)
    except OntapError as exc:
        if exc.has_code(codes.ENTRY_NOT_FOUND) and gone() is not None:
            return
        raise during(exc, f"delete snapshot {snapshot.name!r} of a consistency group", snapshot=snapshot.name) from exc


def _start(
    client: Client, group: Group, wanted: SnapshotRequest, seconds: int, *, deadline: Deadline, start_by: Deadline
) -> str:
    """Begin, and return the uuid of what is to be committed.

    Of an answer that got lost the array is asked; where it does not tell, a second start is refused while the first is
    under way, and that one ends by itself.
    """

    def ours() -> Optional[dict[str, Any]]:
        there = snapshot_of(client, group.uuid, wanted.name, deadline=deadline)
        return {"records": [{"uuid": there.uuid}]} if there and there.comment == wanted.stored_comment else None

    params: dict[str, Value] = {"action": "start", "action_timeout": seconds, "return_records": True}
    body = {"name": wanted.name, "comment": wanted.stored_comment}
    try:
        answer = client.post(_snapshots(group.uuid), params, body, fate=ours, deadline=start_by)
    except OntapError as exc:
        if not exc.has_code(codes.GROUP_SNAPSHOT_NOT_PERMITTED):
            raise
        reason = f"{exc.reason}; another snapshot of the group may be under way, which ends within {LONGEST_FENCE} s"
        raise type(exc)(exc.action, f"{reason} when it is ours", outcome=exc.outcome, **exc.fields) from exc
    records = answer.get("records") or (ours() or {}).get("records") or [{}]
    uuid = str(records[0].get("uuid") or "")
    if not uuid:
        raise OntapError(f"start a snapshot of {group.label}", "the array began it and tells no uuid to commit")
    return uuid


def _commit(
    client: Client,
    group: Group,
    uuid: str,
    steps: Sequence[VolumeStep],
    wanted: SnapshotRequest,
    *,
    deadline: Deadline,
    commit_by: Deadline,
) -> None:
    """Commit in time. The volumes themselves show whether one took effect whose answer got lost."""

    def made() -> Optional[dict[str, Any]]:
        def ours(step: VolumeStep) -> bool:
            there = read_snapshot(client, step.volume, name=wanted.name, deadline=deadline)
            return there is not None and there.comment == wanted.stored_comment

        return {} if all(values(in_parallel(ours, steps))) else None

    try:
        client.patch(_snapshots(group.uuid, uuid), {"action": "commit"}, {}, fate=made, deadline=commit_by)
    except OntapError as exc:
        if exc.has_code(codes.GROUP_NO_OPERATION):
            reason = f"{exc.reason}; it was committed too late, and nothing was made"
            raise type(exc)(exc.action, reason, outcome=exc.outcome, **exc.fields) from exc
        raise


def _seen(client: Client, group: Group, own: set[str], name: str, *, deadline: Deadline) -> GroupSeen:
    others = [member for member in group.members if member.uuid not in own]
    foreign = []
    if others:
        there = list_volumes(client, svms=[group.svm], names=[member.name for member in others], deadline=deadline)
        wanted = {member.uuid for member in others}
        foreign = [
            Known(volume, read_snapshot(client, volume, name=name, deadline=deadline))
            for volume in there
            if volume.uuid in wanted
        ]
    taken = snapshot_of(client, group.uuid, name, deadline=deadline) is not None
    return GroupSeen(group, tuple(foreign), taken)


def _groups_of(client: Client, volumes: Iterable[str], *, deadline: Deadline) -> list[Group]:
    params = {"volumes.uuid": any_of(volumes)}
    records = client.records(PATH, params, fields=_FIELDS, deadline=deadline)
    return [Group.from_record(record, controller=client.name) for record in records]


def _parts(client: Client, group: str, snapshot: str, *, deadline: Deadline) -> frozenset[str]:
    """Return the volumes (uuids) that have their part of a group's snapshot."""
    if client.at_least(_SNAPSHOT_VOLUMES_SINCE):
        fields = {"fields": "snapshot_volumes.volume.uuid"}
        record = client.get(_snapshots(group, snapshot), fields, deadline=deadline)
        return frozenset(str(each["volume"]["uuid"]) for each in record.get("snapshot_volumes") or ())
    members = client.get(f"{PATH}/{segment(group)}", {"fields": "volumes.uuid"}, deadline=deadline)
    fields = {"fields": "missing_volumes.uuid"}
    missing = client.get(_snapshots(group, snapshot), fields, deadline=deadline).get("missing_volumes") or ()
    return frozenset(_uuids(members.get("volumes") or ())) - frozenset(_uuids(missing))


def _uuids(records: Iterable[Mapping[str, Any]]) -> list[str]:
    return [str(record["uuid"]) for record in records]


def _clients(found: Sequence[Found]) -> list[Client]:
    return list({client.name: client for client, _volume in found}.values())


def _snapshots(group: str, snapshot: Optional[str] = None) -> str:
    base = f"{PATH}/{segment(group)}/snapshots"
    return base if snapshot is None else f"{base}/{segment(snapshot)}"


def _named(group: Group, snapshot: str) -> dict[str, Any]:
    return {"controller": group.controller, "svm": group.svm, "consistency_group": group.name, "snapshot": snapshot}
