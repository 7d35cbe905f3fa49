# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One snapshot of one volume: created, changed, deleted, and what came of it when an answer got lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError, OutcomeUnknownError, during
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import (
    Snapshot,
    SnapshotRequest,
    Taken,
    VolumeStep,
    names_of,
    read_snapshot,
    snapshot_path,
    undeletable,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import Outcome
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

LONGEST_WAIT = 15
"""Seconds that the array is asked to wait for a creation's job before it answers; waiting there needs no polling."""


def create_one(client: Client, step: VolumeStep, wanted: SnapshotRequest, *, deadline: Deadline) -> Taken:
    """Create a snapshot with name and comment only, and look at it. :raises KvmsnapError:"""
    volume = step.volume
    body = {"name": wanted.name, "comment": wanted.stored_comment}

    def ours() -> Optional[dict[str, Any]]:
        there = read_snapshot(client, volume, name=wanted.name, deadline=deadline)
        return {} if there and there.comment == wanted.stored_comment else None

    requested_at = client.clock.monotonic()
    action = f"create snapshot {wanted.name!r} of {volume.label}"
    try:
        client.post(snapshot_path(volume), _waiting(client, deadline), body, fate=ours, deadline=deadline)
    except OntapError as exc:
        raise during(exc, action, **names_of(volume, wanted.name)) from exc
    return confirmed(client, step, wanted, requested_at=requested_at, action=action, deadline=deadline)


def confirmed(
    client: Client, step: VolumeStep, wanted: SnapshotRequest, *, requested_at: float, action: str, deadline: Deadline
) -> Taken:
    """Return the snapshot that the array says it made, once it was looked at. :raises KvmsnapError: it is not there."""
    volume = step.volume
    try:
        snapshot = read_snapshot(client, volume, name=wanted.name, deadline=deadline)
    except OntapError as exc:
        reason = f"it was accepted, but cannot be looked at: {exc.reason}"
        raise OutcomeUnknownError(action, reason, outcome=Outcome("lost"), **exc.fields) from exc
    if snapshot is None or snapshot.comment != wanted.stored_comment:
        there = "there is none" if snapshot is None else f"it is another one, with comment {snapshot.comment!r}"
        reason = f"the array reported success, but of this name {there}"
        raise KvmsnapError(f"Failed to {action}: {reason}", **names_of(volume, wanted.name))
    return Taken(
        volume,
        snapshot,
        created=True,
        absent_at=step.known.asked_at,
        requested_at=requested_at,
        confirmed_at=client.clock.monotonic(),
        array_ahead=client.array_ahead,
    )


def _waiting(client: Client, deadline: Deadline) -> dict[str, Any]:
    """Return how long the array is to wait for the job: a second less than its answer is waited for."""
    seconds = min(LONGEST_WAIT, client.controller.timeout - 1, int(deadline.remaining()) - 1)
    return {"return_timeout": seconds} if seconds > 0 else {}


def modify_one(
    client: Client, volume: Volume, snapshot: Snapshot, changes: Mapping[str, str], *, deadline: Deadline
) -> None:
    """Set properties of a snapshot. :raises OntapError:"""
    try:
        client.patch(snapshot_path(volume, snapshot.uuid), None, changes, retry_safe=True, deadline=deadline)
    except OntapError as exc:
        action = f"set {', '.join(changes)} of snapshot {snapshot.name!r} of {volume.label}"
        raise during(exc, action, **names_of(volume, snapshot.name)) from exc


def delete_one(
    client: Client, volume: Volume, snapshot: Snapshot, wanted: SnapshotRequest, *, deadline: Deadline
) -> None:
    """Delete a snapshot by its uuid; one that has vanished meanwhile is deleted. :raises OntapError:"""

    def gone() -> Optional[dict[str, Any]]:
        there = read_snapshot(client, volume, name=snapshot.name, deadline=deadline)
        return {} if there is None or there.uuid != snapshot.uuid else None

    action = f"delete snapshot {snapshot.name!r} of {volume.label}"
    try:
        client.delete(snapshot_path(volume, snapshot.uuid), fate=gone, deadline=deadline)
    except OntapError as exc:
        if exc.has_code(codes.ENTRY_NOT_FOUND, codes.SNAPSHOT_GONE) and gone() is not None:
            return
        fields: dict[str, Any] = names_of(volume, snapshot.name)
        if exc.has_code(codes.SNAPSHOT_HAS_OWNER, codes.SNAPSHOT_LOCKED):
            there = read_snapshot(client, volume, name=snapshot.name, deadline=deadline)
            refusal = there and undeletable(volume, there, wanted, now=client.array_time())
            if refusal:
                details = {**exc.fields, **fields, "owners": list(refusal.owners)}
                raise OntapError(action, refusal.reason, outcome=exc.outcome, **details) from exc
        raise during(exc, action, **fields) from exc
