# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/storage/volumes``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import errors
from ..answers import collection, encoded, in_job, instance, svm_reference
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import Volume
from ..router import Route
from ..seed import add_volume, stable_uuid
from . import flexclone
from .restore import restore_by_query

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,202}")

VOLUME = Table(
    """
uuid                                string
name                                string  post patch
comment                             string  post patch
create_time                         time
size                                size    post patch
state                               error|mixed|offline|online|restricted post patch
type                                rw|dp|ls post
style                               flexvol|flexgroup|flexgroup_constituent post
language                            string
msid                                integer since=9.10.1
svm.name                            string  post
svm.uuid                            string  post
aggregates[].name                   string  post
aggregates[].uuid                   string  post
snapshot_count                      integer since=9.9.1
snapshot_policy.name                string  post patch
snapshot_policy.uuid                string
analytics.state                     unknown|initializing|initialization_paused|off|on since=9.8
activity_tracking.state             off|on  since=9.10.1
snapshot_locking_enabled            boolean post patch since=9.12.1
snapshot_directory_access_enabled   boolean post patch since=9.13.1
access_time_enabled                 boolean since=9.8
is_object_store                     boolean since=9.8
is_svm_root                         boolean expensive since=9.7
guarantee.type                      volume|none
guarantee.honored                   boolean
tiering.policy                      all|auto|none|snapshot_only
tiering.supported                   boolean since=9.7
tiering.min_cooling_days            integer since=9.8
tiering.object_tags[]               string  since=9.8
encryption.enabled                  boolean
encryption.state                    encrypted|encrypting|partial|rekeying|unencrypted
encryption.type                     none|volume|aggregate
efficiency.compression              inline|background|both|none|mixed
efficiency.dedupe                   inline|background|both|none|mixed
efficiency.policy.name              string  since=9.7
efficiency.state                    disabled|enabled|mixed|custom since=9.9.1
quota.state                         corrupt|initializing|mixed|off|on|resizing
qos.policy.name                     string
qos.policy.uuid                     string
autosize.mode                       grow|grow_shrink|off
autosize.maximum                    size
autosize.minimum                    size
autosize.grow_threshold             integer
autosize.shrink_threshold           integer
error_state.has_bad_blocks          boolean
error_state.is_inconsistent         boolean
flexcache_endpoint_type             none|cache|origin
snaplock.type                       compliance|enterprise|non_snaplock expensive
snapmirror.is_protected             boolean since=9.7
snapmirror.destinations.is_ontap    boolean since=9.9.1
snapmirror.destinations.is_cloud    boolean since=9.9.1
clone.is_flexclone                  boolean post
clone.parent_volume.name            string  post expensive
clone.parent_volume.uuid            string  post expensive
clone.parent_snapshot.name          string  post expensive
clone.parent_snapshot.uuid          string  post expensive
clone.parent_svm.name               string  post expensive
clone.parent_svm.uuid               string  post expensive
clone.split_initiated               boolean patch expensive
clone.split_complete_percent        integer expensive
nas.path                            string  post patch expensive fold
nas.security_style                  mixed|ntfs|unified|unix expensive
nas.unix_permissions                integer post patch expensive
nas.uid                             integer expensive
nas.gid                             integer expensive
nas.export_policy.name              string  post patch
nas.export_policy.id                integer expensive
nas.junction_parent.name            string  expensive since=9.9.1
nas.junction_parent.uuid            string  expensive since=9.9.1
files.maximum                       integer expensive
files.used                          integer expensive
space.size                          size
space.available                     size
space.used                          size
space.afs_total                     size    since=9.9.1
space.percent_used                  integer since=9.9.1
space.logical_space.available       size
space.logical_space.used            size
space.logical_space.enforcement     boolean
space.logical_space.reporting       boolean
space.snapshot.reserve_percent      integer expensive
space.snapshot.used                 size    expensive
space.snapshot.autodelete_enabled   boolean expensive
space.snapshot.autodelete.enabled   boolean expensive since=9.13.1
space.full_threshold_percent        integer since=9.9.1
space.nearly_full_threshold_percent integer since=9.9.1
space.large_size_enabled            boolean since=9.12.1
consistency_group.name              string  since=9.10.1
consistency_group.uuid              string  since=9.10.1
_tags[]                             string  since=9.13.1
""",
    key=("uuid",),
    default=("uuid", "name"),
)


async def get_volumes(call: Call) -> Answer:
    """``GET /storage/volumes``."""
    used = await call.simulator.work(_used, call, call.volumes())
    return collection(call, VOLUME, [_record(call, item, used[item.uuid]) for item in call.volumes()], _href)


async def get_volume(call: Call) -> Answer:
    """``GET /storage/volumes/{uuid}``."""
    volume = call.volume(call.path["uuid"])
    used = await call.simulator.work(_used, call, [volume])
    return instance(call, VOLUME, _record(call, volume, used[volume.uuid]), _href)


async def create_volume(call: Call) -> Answer:
    """``POST /storage/volumes``: a new, empty volume, or the FlexClone of another."""
    call.only_params("return_timeout", "return_records")
    values = parse_body(
        VOLUME, {key: value for key, value in call.body.items() if key != "aggregates"}, call.version, method="POST"
    )
    svm = call.svm(values)
    name = values.get("name")
    if name is None:
        raise errors.required("name")
    if svm is None or not _NAME.fullmatch(name):
        raise errors.invalid_value(name, "name", "volume name")
    spec = _settings(values)
    if values.get("nas.path"):
        spec["junction"] = _junction(values["nas.path"])
    origin = flexclone.origin(call, svm.name, values)

    def check() -> None:
        if call.array.volume_named(svm.name, name) is not None:
            raise ApiError(errors.VOLUME_DUPLICATE, f'Volume "{name}" already exists in SVM "{svm.name}".')
        if "junction" in spec and call.array.volume_at(svm.name, spec["junction"]) is not None:
            raise ApiError(errors.NAS_PATH_INVALID, f'"nas.path" {spec["junction"]} is already in use.')
        if origin is not None:
            flexclone.check(call, origin)

    async def work() -> None:
        check()
        if origin is not None:
            await flexclone.create(call, origin, name, spec)
            await call.simulator.exports_changed()
            return
        add_volume(
            call.array, call.simulator.engine, call.simulator.clock, svm.name, {"name": name, **spec}, cause=call.cause
        )
        await call.simulator.exports_changed()

    return await in_job(
        call, check=check, work=work, svm=svm.name, location=f"/api/storage/volumes/?name={encoded(name)}"
    )


async def modify_volume(call: Call) -> Answer:
    """``PATCH /storage/volumes/{uuid}``: settings, or a restore when ``restore_to`` is in the query."""
    volume = call.volume(call.path["uuid"])
    if any(name.startswith("restore_to.") for name in call.params):
        return await restore_by_query(call, volume)
    call.only_params("return_timeout")
    values = parse_body(VOLUME, call.body, call.version, method="PATCH")
    spec = _settings(values)
    path, split = values.get("nas.path"), bool(values.get("clone.split_initiated"))

    def check() -> None:
        if volume.uuid not in call.array.volumes:
            raise errors.missing()
        if path:
            other = call.array.volume_at(volume.svm, _junction(path))
            if volume.state != "online" or (other is not None and other is not volume):
                raise ApiError(errors.NAS_PATH_INVALID, f'"nas.path" {path} is invalid.')
        name = spec.get("name", volume.name)
        if name != volume.name and call.array.volume_named(volume.svm, name) is not None:
            raise ApiError(errors.VOLUME_DUPLICATE, f'Volume "{name}" already exists in SVM "{volume.svm}".')
        flexclone.check_split(volume, wanted=split)

    async def work() -> None:
        async with call.simulator.lock(volume.uuid):
            check()
            flexclone.split(volume, wanted=split)
            await _rename(call, volume, spec.pop("name", volume.name))
            for key, value in spec.items():
                setattr(volume, key, value)
            if path is not None:
                volume.junction = _junction(path) if path else None
            if volume.state != "online":
                volume.junction = None
            await call.simulator.exports_changed()
            await call.simulator.san_changed()

    return await in_job(call, check=check, work=work, svm=volume.svm)


async def delete_volume(call: Call) -> Answer:
    """``DELETE /storage/volumes/{uuid}``."""
    call.only_params("return_timeout", "force")
    volume = call.volume(call.path["uuid"])
    forced = call.flag("force", default=False)

    def check() -> None:
        if volume.uuid not in call.array.volumes:
            raise errors.missing()
        if call.san_optimized:
            raise errors.unsupported_method()
        others = [item for item in call.array.volumes.values() if item.svm == volume.svm and item is not volume]
        if volume.is_svm_root and others:
            raise ApiError("917531", "Cannot delete the root volume because the SVM contains other volumes.")
        if any(item.parent_volume == volume.uuid for item in call.array.volumes.values()):
            raise ApiError(errors.HAS_CLONES, "Failed to delete volume because it has one or more clones.")

    async def work() -> None:
        async with call.simulator.lock(volume.uuid):
            check()
            await call.simulator.work(call.simulator.engine.delete_volume, volume.ref, cause=call.cause)
            del call.array.volumes[volume.uuid]
            group = call.array.group_of(volume)
            if group is not None:
                group.volumes.remove(volume.uuid)
            call.array.drop_maps()
            flexclone.deleted(call, volume, forced=forced)
            call.simulator.save()
            await call.simulator.exports_changed()
            await call.simulator.san_changed()

    return await in_job(call, check=check, work=work, svm=volume.svm)


async def _rename(call: Call, volume: Volume, name: str) -> None:
    if name == volume.name:
        return
    volume.pending_name = name
    call.simulator.save()
    await call.simulator.work(call.simulator.engine.rename_volume, volume.ref, name, cause=call.cause)
    volume.name, volume.pending_name = name, None


_ATTRIBUTES = {
    "name": "name",
    "comment": "comment",
    "size": "size",
    "state": "state",
    "type": "type",
    "style": "style",
    "snapshot_policy.name": "snapshot_policy",
    "nas.export_policy.name": "export_policy",
    "nas.unix_permissions": "unix_permissions",
    "snapshot_locking_enabled": "snapshot_locking_enabled",
    "snapshot_directory_access_enabled": "snapshot_directory_access_enabled",
}


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    spec = {attribute: values[name] for name, attribute in _ATTRIBUTES.items() if values.get(name) is not None}
    if "name" in spec and not _NAME.fullmatch(spec["name"]):
        raise errors.invalid_value(spec["name"], "name", "volume name")
    return spec


def _junction(path: str) -> str:
    if not path.startswith("/") or path == "/" or path.endswith("/") or "//" in path:
        raise ApiError(errors.NAS_PATH_INVALID, f'"nas.path" {path} is invalid.', target="nas.path")
    return path


def _used(call: Call, volumes: list[Volume]) -> dict[str, int]:
    return {volume.uuid: call.simulator.engine.used(volume.ref) for volume in volumes}


def _href(record: Record) -> str:
    return f"/api/storage/volumes/{record['uuid']}"


def _record(call: Call, volume: Volume, used: int) -> Record:
    online = volume.state == "online"
    record: Record = {
        "uuid": volume.uuid,
        "name": volume.name,
        "comment": volume.comment,
        "create_time": volume.create_time,
        "size": volume.size,
        "state": volume.state,
        "type": volume.type,
        "style": volume.style,
        "msid": volume.msid,
        "language": volume.language,
        "svm": svm_reference(call, volume.svm),
        "aggregates": [{"name": call.array.aggregate, "uuid": call.array.aggregate_uuid}],
        "snapshot_count": len(volume.snapshots),
        "snapshot_policy": {
            "name": volume.snapshot_policy,
            "uuid": stable_uuid("snapshot-policy", volume.snapshot_policy),
        },
        "analytics": {"state": "off"},
        "activity_tracking": {"state": "off"},
        "snapshot_locking_enabled": volume.snapshot_locking_enabled,
        "access_time_enabled": True,
        "snapshot_directory_access_enabled": volume.snapshot_directory_access_enabled,
        "is_object_store": False,
        "is_svm_root": volume.is_svm_root,
        "guarantee": {"type": "none", "honored": True},
        "tiering": {"policy": "none", "supported": False},
        "quota": {"state": "off"},
        "encryption": {"enabled": False, "state": "unencrypted", "type": "none"},
        "efficiency": {"compression": "none", "dedupe": "none", "state": "disabled"},
        "autosize": {
            "mode": "off",
            "maximum": volume.size,
            "minimum": volume.size,
            "grow_threshold": 90,
            "shrink_threshold": 50,
        },
        "error_state": {"has_bad_blocks": False, "is_inconsistent": False},
        "flexcache_endpoint_type": "none",
        "snaplock": {"type": "non_snaplock"},
        "snapmirror": {
            "is_protected": volume.is_protected,
            "destinations": {"is_ontap": volume.is_protected, "is_cloud": False},
        },
        "clone": flexclone.record(call, volume),
        "nas": _nas(call, volume),
    }
    group = call.array.group_of(volume)
    if group is not None:
        record["consistency_group"] = {"name": group.name, "uuid": group.uuid}
    if online:
        record["space"] = _space(volume, used)
        record["files"] = {"maximum": 311286, "used": 96}
    return record


def _nas(call: Call, volume: Volume) -> Record:
    nas: Record = {"export_policy": {"name": volume.export_policy, "id": 1}}
    if volume.state == "online":
        nas.update(security_style="unix", unix_permissions=volume.unix_permissions, uid=0, gid=0)
    if volume.junction is not None:
        nas["path"] = volume.junction
        parent = call.array.junction_parent(volume)
        if parent is not None:
            nas["junction_parent"] = {"name": parent.name, "uuid": parent.uuid}
    return nas


def _space(volume: Volume, used: int) -> Record:
    used = volume.size if volume.full else min(used, volume.size)
    free = volume.size - used
    return {
        "size": volume.size,
        "available": free,
        "used": used,
        "afs_total": volume.size,
        "percent_used": used * 100 // volume.size if volume.size else 0,
        "logical_space": {"available": free, "used": used, "enforcement": False, "reporting": False},
        "snapshot": {"reserve_percent": 0, "used": 0, "autodelete_enabled": False, "autodelete": {"enabled": False}},
        "full_threshold_percent": 98,
        "nearly_full_threshold_percent": 95,
        "large_size_enabled": False,
    }


ROUTES = [
    Route("GET", "/storage/volumes", get_volumes, "volume show"),
    Route("POST", "/storage/volumes", create_volume, "volume create"),
    Route("GET", "/storage/volumes/{uuid}", get_volume, "volume show"),
    Route("PATCH", "/storage/volumes/{uuid}", modify_volume, "volume modify"),
    Route("DELETE", "/storage/volumes/{uuid}", delete_volume, "volume delete"),
]
