# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/application/consistency-groups/{consistency_group.uuid}/snapshots``, in one phase or in two."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from .. import errors
from ..answers import collection, encoded, in_job, instance, show, svm_reference
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import ConsistencyGroup, GroupSnapshot, Snapshot, Volume, new_uuid
from ..query import select_fields
from ..router import Route
from ..simulator import StartedSnapshot
from ..storage import StorageError
from . import groups, snapshots

TWO_PHASES_SINCE = (9, 11, 1)
_LONGER_SINCE = (9, 13, 1)
_DEFAULT_SECONDS = 7

SNAPSHOT = Table(
    """
uuid                            string
name                            string  post
consistency_group.name          string
consistency_group.uuid          string
svm.name                        string
svm.uuid                        string
comment                         string  post
consistency_type                crash|application post
create_time                     time
snapmirror_label                string  post
write_fence                     boolean post since=9.14.1
is_partial                      boolean expensive
missing_volumes[].name          string  expensive
missing_volumes[].uuid          string  expensive
restore_size                    size    since=9.12.1
snapshot_volumes[].volume.name  string  expensive since=9.12.1
snapshot_volumes[].volume.uuid  string  expensive since=9.12.1
snapshot_volumes[].snapshot.name string expensive since=9.12.1
snapshot_volumes[].snapshot.uuid string expensive since=9.12.1
""",
    key=("uuid",),
    default=("consistency_group.uuid", "consistency_group.name", "uuid", "name"),
)


async def get_snapshots(call: Call) -> Answer:
    """``GET .../snapshots``."""
    group = groups.find(call, "consistency_group.uuid")
    return collection(call, SNAPSHOT, [_record(call, group, item) for item in group.snapshots], _href)


async def get_snapshot(call: Call) -> Answer:
    """``GET .../snapshots/{uuid}``."""
    group, snapshot = _find(call)
    return instance(call, SNAPSHOT, _record(call, group, snapshot), _href)


async def create_snapshot(call: Call) -> Answer:
    """``POST .../snapshots``: at once, or with ``action=start`` the first of two phases."""
    params = ["return_timeout", "return_records"]
    call.only_params(*params, *(["action", "action_timeout"] if call.version >= TWO_PHASES_SINCE else []))
    group = groups.find(call, "consistency_group.uuid")
    values = parse_body(SNAPSHOT, call.body, call.version, method="POST")
    name = values.get("name")
    if name is None:
        raise errors.required("name")
    snapshots.refuse_platform(call)
    snapshots.check_name(name, errors.SNAPSHOT_NAME_INVALID)
    snapshot = _new(call, group, values)
    if "action" in call.params:
        return await _start(call, group, snapshot)
    if "action_timeout" in call.params:
        raise errors.required("action")

    def check() -> None:
        _check(call, group, name)

    async def work() -> None:
        check()
        await _take(call, group, snapshot)

    path = f"/api/application/consistency-groups/{group.uuid}/snapshots"
    return await in_job(call, check=check, work=work, svm=group.svm, location=f"{path}?name={encoded(name)}")


async def _start(call: Call, group: ConsistencyGroup, snapshot: GroupSnapshot) -> Answer:
    """Begin a snapshot: nothing is written to its volumes until it is committed, or the time is over."""
    if call.params["action"] != "start":
        raise errors.invalid_value(call.params["action"], "action", "start")
    low, high = (5, 120) if call.version >= _LONGER_SINCE else (1, 90)
    text = call.params.get("action_timeout", str(_DEFAULT_SECONDS))
    if not text.isdigit() or not low <= int(text) <= high:
        raise errors.invalid_value(text, "action_timeout", f"{low}..{high}")
    simulator = call.simulator
    seconds = int(text) * simulator.switches.fence_time_factor
    async with simulator.lock(group.uuid):
        _check(call, group, snapshot.name)
        started = simulator.started[group.uuid] = StartedSnapshot(snapshot, time.monotonic() + seconds)
        if snapshot.write_fence:
            await simulator.work(simulator.engine.put_up_fence, snapshot.uuid, seconds)
    simulator.jobs.background(_abort(call, group, started, seconds))
    record = _record(call, group, snapshot)
    headers = {"Location": _href(record)}
    if not call.flag("return_records", default=False):
        return Answer(201, None, headers)
    names = select_fields(SNAPSHOT, call.version, None, instance=True, lenient=False)
    return Answer(201, {"num_records": 1, "records": [show(call, record, names, _href)]}, headers)


async def _abort(call: Call, group: ConsistencyGroup, started: StartedSnapshot, seconds: float) -> None:
    """Give a snapshot up that nobody commits."""
    try:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(started.ended.wait(), seconds)
    finally:
        given_up = call.simulator.started.get(group.uuid) is started
        if given_up:
            del call.simulator.started[group.uuid]
            call.simulator.engine.take_down_fence(started.snapshot.uuid)
    if given_up:
        await call.simulator.san_changed()


async def commit_snapshot(call: Call) -> Answer:
    """``PATCH .../snapshots/{uuid}?action=commit``: the second phase."""
    call.only_params("return_timeout", "action")
    group = groups.find(call, "consistency_group.uuid")
    parse_body(SNAPSHOT, call.body, call.version, method="PATCH")
    if call.params.get("action") != "commit":
        raise errors.invalid_value(call.params.get("action"), "action", "commit")
    call.return_timeout()
    simulator = call.simulator
    async with simulator.lock(group.uuid):
        started = simulator.started.get(group.uuid)
        if started is None or started.snapshot.uuid != call.path["uuid"] or time.monotonic() >= started.until:
            raise ApiError(
                errors.GROUP_NO_OPERATION,
                "Failed to find a previously initiated two-phase snapshot operation for consistency group"
                f' "{group.name}".',
            )
        del simulator.started[group.uuid]
        started.ended.set()
        try:
            await _take(call, group, started.snapshot)
        finally:
            await simulator.work(simulator.engine.take_down_fence, started.snapshot.uuid)
    await simulator.san_changed()
    return Answer(200)


async def delete_snapshot(call: Call) -> Answer:
    """``DELETE .../snapshots/{uuid}`` with the snapshots of all volumes."""
    call.only_params("return_timeout")
    group, snapshot = _find(call)

    def check() -> None:
        if snapshot not in group.snapshots:
            raise errors.missing()
        for volume, item in _taken(call, snapshot):
            try:
                snapshots.check_deletable(call, volume, item)
            except ApiError as exc:
                owned = exc.code == errors.SNAPSHOT_OWNED
                code = errors.GROUP_SNAPSHOT_REFERENCED if owned else errors.GROUP_SNAPSHOT_LOCKED
                raise ApiError(code, f"Failed to delete the snapshot: {exc.message}") from exc

    async def work() -> None:
        check()
        for volume, item in _taken(call, snapshot):
            await snapshots.remove(call, volume, item)
        group.snapshots.remove(snapshot)

    return await in_job(call, check=check, work=work, svm=group.svm)


def _new(call: Call, group: ConsistencyGroup, values: Mapping[str, Any]) -> GroupSnapshot:
    fence = values.get("write_fence")
    return GroupSnapshot(
        name=values["name"],
        uuid=new_uuid(),
        create_time=call.simulator.clock.iso(),
        comment=values.get("comment") or "",
        consistency_type=values.get("consistency_type") or "crash",
        snapmirror_label=values.get("snapmirror_label"),
        write_fence=len(group.volumes) > 1 if fence is None else fence,
    )


def _check(call: Call, group: ConsistencyGroup, name: str) -> None:
    if call.array.groups.get(group.uuid) is not group:
        raise ApiError(errors.GROUP_NOT_FOUND, "Consistency group does not exist.")
    if group.uuid in call.simulator.started or not group.volumes:
        raise ApiError(errors.GROUP_SNAPSHOT_NOT_PERMITTED, "Snapshot operation not permitted.")
    for volume in groups.members(call, group):
        try:
            snapshots.check_creatable(call, volume, name)
        except ApiError as exc:
            raise ApiError(
                errors.GROUP_SNAPSHOT_FAILED,
                f'Failed to create snapshot "{name}" for consistency group "{group.name}": {exc.message}',
            ) from exc


async def _take(call: Call, group: ConsistencyGroup, snapshot: GroupSnapshot) -> None:
    """Snapshot all members: fenced at one point in time, else one after the other."""
    simulator, volumes = call.simulator, groups.members(call, group)
    async with contextlib.AsyncExitStack() as locks:
        for uuid in sorted(group.volumes):
            await locks.enter_async_context(simulator.lock(uuid))
        for part in [volumes] if snapshot.write_fence else [[volume] for volume in volumes]:
            await _take_together(call, part, snapshot, group.name)
        snapshot.create_time = simulator.clock.iso()
        group.snapshots.append(snapshot)
        simulator.save()


async def _take_together(call: Call, volumes: list[Volume], snapshot: GroupSnapshot, group: str) -> None:
    engine, name = call.simulator.engine, snapshot.name
    try:
        await call.simulator.work(engine.create_snapshots, [volume.ref for volume in volumes], name, cause=call.cause)
    except StorageError as exc:
        text = f'Failed to create snapshot "{name}" for consistency group "{group}": {exc}.'
        raise ApiError(errors.GROUP_SNAPSHOT_FAILED, text) from exc
    for volume in volumes:
        used = await call.simulator.work(engine.used, volume.ref)
        made = snapshots.new_snapshot(call, volume, name, size=used)
        made.comment, made.snapmirror_label = snapshot.comment, snapshot.snapmirror_label
        volume.snapshots.append(made)
        snapshot.members[volume.uuid] = made.uuid


def _taken(call: Call, snapshot: GroupSnapshot) -> list[tuple[Volume, Snapshot]]:
    """Return what is left of a snapshot's members, with their volumes."""
    return [
        (call.array.volumes[uuid], item)
        for uuid, taken in snapshot.members.items()
        if uuid in call.array.volumes
        for item in call.array.volumes[uuid].snapshots
        if item.uuid == taken
    ]


def _find(call: Call) -> tuple[ConsistencyGroup, GroupSnapshot]:
    group = groups.find(call, "consistency_group.uuid")
    for item in group.snapshots:
        if item.uuid == call.path["uuid"]:
            return group, item
    raise errors.missing()


def _href(record: Record) -> str:
    return f"/api/application/consistency-groups/{record['consistency_group']['uuid']}/snapshots/{record['uuid']}"


def _record(call: Call, group: ConsistencyGroup, snapshot: GroupSnapshot) -> Record:
    taken = _taken(call, snapshot)
    there = {volume.uuid for volume, _item in taken}
    missing = [volume for volume in groups.members(call, group) if volume.uuid not in there]
    return {
        "uuid": snapshot.uuid,
        "name": snapshot.name,
        "consistency_group": {"name": group.name, "uuid": group.uuid},
        "svm": svm_reference(call, group.svm),
        "comment": snapshot.comment or None,
        "consistency_type": snapshot.consistency_type,
        "create_time": snapshot.create_time,
        "snapmirror_label": snapshot.snapmirror_label,
        "write_fence": snapshot.write_fence,
        "is_partial": bool(missing),
        "missing_volumes": [{"name": volume.name, "uuid": volume.uuid} for volume in missing],
        "restore_size": sum(item.size for _volume, item in taken),
        "snapshot_volumes": [
            {
                "volume": {"name": volume.name, "uuid": volume.uuid},
                "snapshot": {"name": item.name, "uuid": item.uuid},
            }
            for volume, item in taken
        ],
    }


_PATH = "/application/consistency-groups/{consistency_group.uuid}/snapshots"
ROUTES = [
    Route("GET", _PATH, get_snapshots, "consistency-group snapshot show", since=groups.SINCE),
    Route("POST", _PATH, create_snapshot, "consistency-group snapshot create", since=groups.SINCE),
    Route("GET", _PATH + "/{uuid}", get_snapshot, "consistency-group snapshot show", since=groups.SINCE),
    Route("PATCH", _PATH + "/{uuid}", commit_snapshot, "consistency-group snapshot commit", since=TWO_PHASES_SINCE),
    Route("DELETE", _PATH + "/{uuid}", delete_snapshot, "consistency-group snapshot delete", since=groups.SINCE),
]
