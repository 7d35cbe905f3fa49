# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""FlexClone volumes: what ``clone`` means in ``POST`` and ``DELETE /storage/volumes``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import errors
from ..answers import svm_reference
from ..call import Call
from ..errors import ApiError
from ..fields import Record
from ..model import Lun, Snapshot, Volume, new_uuid, serial_of
from ..seed import new_volume
from ..storage import StorageError
from . import snapshots

OWNER = "volume_clone"
_NOT_WITH_CLONE = ("size", "style", "snapshot_policy.name", "state")


@dataclass(frozen=True)
class Origin:
    """What a FlexClone volume is made of; without ``snapshot`` one is made for it."""

    volume: Volume
    snapshot: Snapshot | None


def origin(call: Call, svm: str, values: Mapping[str, Any]) -> Origin | None:
    """Return the parent that a body of ``POST /storage/volumes`` names, or None when it makes a new volume."""
    given = {name: value for name, value in values.items() if name.startswith("clone.") and value is not None}
    if not given:
        return None
    if call.san_optimized:
        raise ApiError(
            errors.PLATFORM_VOLUME, "The specified operation on the volume endpoint is not supported on this platform."
        )
    if not given.get("clone.is_flexclone"):
        raise errors.required("clone.is_flexclone")
    for name in _NOT_WITH_CLONE:
        if values.get(name) is not None:
            raise ApiError(
                errors.CLONE_VALUE, "Specifying a value is not valid for a volume FlexClone creation.", target=name
            )
    if values.get("type") not in (None, "rw"):
        raise ApiError(errors.CLONE_TYPE, 'Invalid "volume.type" for clone volume.', target="type")
    parent_svm = given.get("clone.parent_svm.name"), given.get("clone.parent_svm.uuid")
    if any(parent_svm) and values.get("nas.path"):
        raise ApiError(errors.CLONE_PATH_OTHER_SVM, '"nas.path" cannot be given with "clone.parent_svm".')
    if any(item not in (None, svm, call.array.svms[svm].uuid) for item in parent_svm):
        raise ApiError(errors.CLONE_CREATE_FAILED, "Failed to create the clone volume: the parent is of another SVM.")
    volume = _parent(call, svm, given)
    return Origin(volume, _snapshot(volume, given))


def _parent(call: Call, svm: str, given: Mapping[str, Any]) -> Volume:
    name, uuid = given.get("clone.parent_volume.name"), given.get("clone.parent_volume.uuid")
    if name is None and uuid is None:
        raise ApiError(
            errors.VOLUME_IDENTIFIER_MISSING, "The specified volume identifier fields must be provided.", target="clone"
        )
    volumes = [item for item in call.array.volumes.values() if item.svm == svm]
    found = [item for item in volumes if name in (None, item.name) and uuid in (None, item.uuid)]
    if found:
        return found[0]
    if name is not None and uuid is not None and any(item.name == name or item.uuid == uuid for item in volumes):
        raise ApiError(
            errors.VOLUME_MISMATCH,
            'The specified "parent_volume.uuid" and "parent_volume.name" do not refer to the same volume.',
        )
    raise ApiError(errors.PARENT_NOT_FOUND, f'Parent volume "{name or uuid}" not found.', target="clone.parent_volume")


def _snapshot(volume: Volume, given: Mapping[str, Any]) -> Snapshot | None:
    name, uuid = given.get("clone.parent_snapshot.name"), given.get("clone.parent_snapshot.uuid")
    if name is None and uuid is None:
        return None
    for item in volume.snapshots:
        if name in (None, item.name) and uuid in (None, item.uuid):
            return item
    if name is not None and volume.snapshot(name) is not None:
        raise ApiError(
            errors.SNAPSHOT_MISMATCH, "The specified snapshot UUID is not correct for the specified snapshot name."
        )
    raise ApiError(errors.SNAPSHOT_INFORMATION, "Failed to retrieve snapshot information.", target="clone")


def check(call: Call, parent: Origin) -> None:
    """Raise ``ApiError`` for what the array's state forbids."""
    volume = parent.volume
    if not call.licensed("flexclone"):
        raise ApiError(errors.CLONE_CREATE_FAILED, "Failed to create the clone volume: no FlexClone license.")
    if volume.uuid not in call.array.volumes:
        raise ApiError(errors.PARENT_NOT_FOUND, f'Parent volume "{volume.name}" not found.')
    if volume.state != "online":
        raise ApiError(errors.PARENT_NOT_ONLINE, f'Volume "{volume.svm}:{volume.name}" is not online.')
    if parent.snapshot is not None and parent.snapshot not in volume.snapshots:
        raise ApiError(errors.SNAPSHOT_INFORMATION, "Failed to retrieve snapshot information.")


async def create(call: Call, parent: Origin, name: str, spec: Mapping[str, Any]) -> None:
    """Make the FlexClone volume; its LUNs have new uuids and serials and are not mapped."""
    simulator, volume = call.simulator, parent.volume
    async with simulator.lock(volume.uuid):
        snapshot = parent.snapshot or await _own_snapshot(call, volume, name)
        clone = new_volume(call.array, simulator.clock, volume.svm, {"size": volume.size, **spec, "name": name})
        clone.parent_volume, clone.parent_snapshot = volume.uuid, snapshot.uuid
        clone.luns = [_new_lun(call, lun) for lun in snapshot.luns]
        try:
            await simulator.work(simulator.engine.clone_volume, volume.ref, snapshot.name, clone.ref, cause=call.cause)
        except StorageError as exc:
            raise ApiError(errors.CLONE_CREATE_FAILED, f"Failed to create the clone volume: {exc}.") from exc
        call.array.volumes[clone.uuid] = clone


async def _own_snapshot(call: Call, volume: Volume, clone: str) -> Snapshot:
    name = f"clone_{clone}.{call.simulator.clock.iso().replace('+00:00', '').replace('T', '_').replace(':', '')}"
    snapshots.check_creatable(call, volume, name)
    engine = call.simulator.engine
    await call.simulator.work(engine.create_snapshots, [volume.ref], name, cause=call.cause)
    made = snapshots.new_snapshot(call, volume, name, size=0)
    volume.snapshots.append(made)
    return made


def _new_lun(call: Call, lun: Lun) -> Lun:
    new = lun.copy()
    new.uuid = new_uuid()
    new.serial = serial_of(new.uuid)
    new.enabled = call.simulator.switches.flexclone_luns_online
    return new


def check_split(volume: Volume, *, wanted: bool) -> None:
    """Raise ``ApiError`` when a split is wanted of what is no FlexClone volume."""
    if wanted and volume.parent_volume is None:
        raise ApiError(errors.CLONE_CREATE_FAILED, f'Volume "{volume.name}" is not a FlexClone volume.')


def split(volume: Volume, *, wanted: bool) -> None:
    """Let a FlexClone volume go its own way, when that is wanted."""
    if wanted:
        volume.parent_volume = volume.parent_snapshot = None


def deleted(call: Call, clone: Volume, *, forced: bool) -> None:
    """Let a deleted FlexClone volume own its parent's snapshot while it is in the recovery queue."""
    seconds = call.simulator.switches.recovery_queue_seconds
    if clone.parent_volume and clone.parent_snapshot and not forced and seconds > 0:
        call.simulator.mark_busy(clone.parent_volume, clone.parent_snapshot, OWNER)
        call.simulator.jobs.background(_leave_queue(call, clone.parent_volume, clone.parent_snapshot, seconds))


async def _leave_queue(call: Call, volume: str, snapshot: str, seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        call.simulator.release(volume, snapshot, OWNER)


def record(call: Call, volume: Volume) -> Record:
    """Return what a volume's record says of its parents."""
    parent = call.array.volumes.get(volume.parent_volume or "")
    if parent is None:
        return {"is_flexclone": False, "split_initiated": False}
    snapshot = next((item for item in parent.snapshots if item.uuid == volume.parent_snapshot), None)
    return {
        "is_flexclone": True,
        "split_initiated": False,
        "split_complete_percent": 0,
        "parent_volume": {"name": parent.name, "uuid": parent.uuid},
        "parent_svm": svm_reference(call, parent.svm),
        **({"parent_snapshot": {"name": snapshot.name, "uuid": snapshot.uuid}} if snapshot else {}),
    }
