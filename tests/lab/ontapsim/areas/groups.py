# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/application/consistency-groups``: groups of existing volumes."""

from __future__ import annotations

from typing import Any

from .. import errors
from ..answers import collection, encoded, in_job, instance, svm_reference
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import ConsistencyGroup, GroupSnapshot, Volume, new_uuid
from ..router import Route
from . import snapshots
from .restore import VolumeRevert

SINCE = (9, 10, 1)
REMOVE_SINCE = (9, 12, 1)
MOST_VOLUMES = 80

GROUP = Table(
    """
uuid                            string
name                            string  post
svm.name                        string  post
svm.uuid                        string  post
parent_consistency_group.name   string
parent_consistency_group.uuid   string
replicated                      boolean
snapshot_policy.name            string
space.size                      size
space.used                      size
space.available                 size
volumes[].name                  string  expensive
volumes[].uuid                  string  expensive
restore_to.snapshot.name        string  patch
restore_to.snapshot.uuid        string  patch
""",
    key=("uuid",),
    default=("uuid", "name"),
)


async def get_groups(call: Call) -> Answer:
    """``GET /application/consistency-groups``."""
    return collection(call, GROUP, [_record(call, item) for item in _visible(call)], _href)


async def get_group(call: Call) -> Answer:
    """``GET /application/consistency-groups/{uuid}``."""
    return instance(call, GROUP, _record(call, find(call, "uuid")), _href)


async def create_group(call: Call) -> Answer:
    """``POST /application/consistency-groups`` of existing volumes."""
    call.only_params("return_timeout", "return_records")
    plain = {key: value for key, value in call.body.items() if key != "volumes"}
    values = parse_body(GROUP, plain, call.version, method="POST")
    svm = call.svm(values)
    assert svm is not None
    name = values.get("name")
    if name is None:
        raise errors.required("name")
    wanted = _actions(call, svm.name, call.body.get("volumes"))
    if not wanted:
        raise errors.required("volumes")
    group = ConsistencyGroup(name, svm.name, new_uuid())

    def check() -> None:
        if any(item.svm == svm.name and item.name == name for item in call.array.groups.values()):
            raise ApiError(errors.GROUP_EXISTS, "An object with the same identifier in the same scope exists.")
        for volume, action in wanted:
            _check_member(call, group, volume, action)

    async def work() -> None:
        check()
        group.volumes = [volume.uuid for volume, _action in wanted]
        call.array.groups[group.uuid] = group

    location = f"/api/application/consistency-groups/?name={encoded(name)}"
    return await in_job(call, check=check, work=work, svm=svm.name, location=location)


async def modify_group(call: Call) -> Answer:
    """``PATCH /application/consistency-groups/{uuid}``: other members, or a restore of all of them."""
    call.only_params("return_timeout")
    group = find(call, "uuid")
    plain = {key: value for key, value in call.body.items() if key != "volumes"}
    values = parse_body(GROUP, plain, call.version, method="PATCH")
    wanted = _actions(call, group.svm, call.body.get("volumes"))
    restored = _restored(call, group, values)
    if restored is not None and wanted:
        raise ApiError(errors.GROUP_FIELDS_CONFLICT, "Fields provided in the request conflict with each other.")

    def check() -> None:
        for volume, action in wanted:
            _check_member(call, group, volume, action)

    async def work() -> None:
        check()
        for volume, action in wanted:
            if action == "remove":
                group.volumes.remove(volume.uuid)
            else:
                group.volumes.append(volume.uuid)
        for uuid, taken in (restored.members if restored else {}).items():
            volume = call.array.volumes[uuid]
            snapshot = next((item for item in volume.snapshots if item.uuid == taken), None)
            if snapshot is None:
                raise ApiError(errors.SNAPSHOT_MISSING, "The snapshot does not exist.")
            await VolumeRevert(call, volume, snapshot, forced=False, preserve=True).work()

    return await in_job(call, check=check, work=work, svm=group.svm)


async def delete_group(call: Call) -> Answer:
    """``DELETE /application/consistency-groups/{uuid}``; the volumes stay."""
    call.only_params("return_timeout")
    group = find(call, "uuid")

    def check() -> None:
        if group.uuid not in call.array.groups:
            raise _missing()

    async def work() -> None:
        check()
        del call.array.groups[group.uuid]

    return await in_job(call, check=check, work=work, svm=group.svm)


def find(call: Call, name: str) -> ConsistencyGroup:
    """Return the group of the path; one that is not there is refused with 404."""
    for item in _visible(call):
        if item.uuid == call.path[name]:
            return item
    raise _missing()


def _missing() -> ApiError:
    return ApiError(errors.GROUP_UUID_NOT_FOUND, "A consistency group with specified UUID was not found.", status=404)


def members(call: Call, group: ConsistencyGroup) -> list[Volume]:
    """Return the volumes of a group."""
    return [call.array.volumes[uuid] for uuid in group.volumes]


def _visible(call: Call) -> list[ConsistencyGroup]:
    return [item for item in call.array.groups.values() if call.visible_svm(item.svm)]


def _actions(call: Call, svm: str, given: Any) -> list[tuple[Volume, str]]:
    """Return the volumes of a body with what is to become of them: ``add`` or ``remove``."""
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise ApiError(errors.ARRAY_EXPECTED, 'Field "volumes" must be an array', target="volumes")
    result = []
    for item in given:
        action = (item.get("provisioning_options") or {}).get("action")
        surplus = set(item) - {"name", "uuid", "provisioning_options"}
        if surplus:
            raise errors.unexpected_argument(f"volumes.{sorted(surplus)[0]}")
        if action is None:
            raise ApiError(
                errors.GROUP_VOLUME_INSUFFICIENT,
                "Request content insufficient to add an existing volume to an application.",
                target="volumes",
            )
        if action not in ("add", "remove"):
            raise ApiError(
                errors.GROUP_NEW_VOLUME, f"The action {action} of a volume is not modelled.", target="volumes"
            )
        found = [
            volume
            for volume in call.array.volumes.values()
            if volume.svm == svm
            and item.get("name") in (None, volume.name)
            and item.get("uuid") in (None, volume.uuid)
            and (item.get("name") or item.get("uuid"))
        ]
        if not found:
            raise ApiError(errors.GROUP_VOLUME_NOT_FOUND, "The specified volume does not exist.", target="volumes")
        result.append((found[0], action))
    return result


def _check_member(call: Call, group: ConsistencyGroup, volume: Volume, action: str) -> None:
    there = volume.uuid in group.volumes
    if action == "remove":
        if call.version < REMOVE_SINCE:
            raise ApiError(errors.GROUP_CANNOT_REMOVE, "PATCH cannot remove elements of an array.", target="volumes")
        if not there:
            raise ApiError(errors.GROUP_VOLUME_NOT_FOUND, "The specified volume is not in the consistency group.")
        return
    if call.array.group_of(volume) is not None:
        raise ApiError(
            errors.GROUP_VOLUME_TAKEN,
            "Volumes contained in one consistency group cannot be added to a different consistency group.",
        )
    if volume.snapshot_locking_enabled:
        raise ApiError(
            errors.GROUP_LOCKING_VOLUME, "Volumes with snapshot locking enabled cannot be added to a consistency group."
        )
    if volume.style != "flexvol" or len(group.volumes) >= MOST_VOLUMES:
        raise ApiError(errors.GROUP_FIELDS_CONFLICT, f'Volume "{volume.name}" cannot be in the consistency group.')


def _restored(call: Call, group: ConsistencyGroup, values: dict[str, Any]) -> GroupSnapshot | None:
    name, uuid = values.get("restore_to.snapshot.name"), values.get("restore_to.snapshot.uuid")
    if name is None and uuid is None:
        return None
    for item in group.snapshots:
        if name in (None, item.name) and uuid in (None, item.uuid):
            snapshots.refuse_platform(call)
            return item
    raise ApiError(errors.SNAPSHOT_MISSING, "The snapshot does not exist.", target="restore_to.snapshot")


def _href(record: Record) -> str:
    return f"/api/application/consistency-groups/{record['uuid']}"


def _record(call: Call, group: ConsistencyGroup) -> Record:
    volumes = members(call, group)
    size = sum(volume.size for volume in volumes)
    return {
        "uuid": group.uuid,
        "name": group.name,
        "svm": svm_reference(call, group.svm),
        "replicated": False,
        "snapshot_policy": {"name": "none"},
        "space": {"size": size, "used": 0, "available": size},
        "volumes": [{"name": volume.name, "uuid": volume.uuid} for volume in volumes],
    }


_PATH = "/application/consistency-groups"
ROUTES = [
    Route("GET", _PATH, get_groups, "consistency-group show", since=SINCE),
    Route("POST", _PATH, create_group, "consistency-group create", since=SINCE),
    Route("GET", _PATH + "/{uuid}", get_group, "consistency-group show", since=SINCE),
    Route("PATCH", _PATH + "/{uuid}", modify_group, "consistency-group modify", since=SINCE),
    Route("DELETE", _PATH + "/{uuid}", delete_group, "consistency-group delete", since=SINCE),
]
