# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/storage/luns``: looking, making, cloning and deleting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .. import errors, form
from ..answers import collection, instance, show, svm_reference
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import Lun, Volume, new_uuid, serial_of
from ..query import select_fields
from ..router import Route
from ..storage import FileStat, Reason, StorageError
from . import lun_attributes, lun_names

OWNER = "lun_clone"
DATA_SINCE = (9, 11, 1)
LARGEST = 128 << 40
SMALLEST = 4096
_SECTOR = 512
QOS_POLICIES = ("gold", "silver")
"""The QoS policies that each system has."""

OS_TYPES = "aix|hpux|hyper_v|linux|netware|openvms|solaris|solaris_efi|vmware|windows|windows_2008|windows_gpt|xen"

LUN = Table(
    f"""
uuid                                string
name                                string  post patch
svm.name                            string  post
svm.uuid                            string  post
auto_delete                         boolean post patch expensive
class                               regular|protocol_endpoint|vvol post
comment                             string  post patch
create_time                         time    since=9.7
enabled                             boolean post patch
location.logical_unit               string  post patch
location.node.name                  string  since=9.10.1
location.node.uuid                  string  since=9.10.1
location.qtree.name                 string  post patch
location.qtree.id                   integer
location.volume.name                string  post patch
location.volume.uuid                string  post patch
os_type                             {OS_TYPES} post patch
qos_policy.name                     string  post patch
qos_policy.uuid                     string  post patch
serial_number                       string
serial_number_hex                   string  since=9.17.1
space.size                          size    post patch
space.used                          size
space.guarantee.requested           boolean post patch
space.guarantee.reserved            boolean
space.scsi_thin_provisioning_support_enabled boolean post patch since=9.10.1
space.physical_used                 size    expensive since=9.16.1
status.container_state              online|aggregate_offline|volume_offline
status.mapped                       boolean expensive
status.read_only                    boolean
status.state                        foreign_lun_error|nvfail|offline|online|space_error
lun_maps[].logical_unit_number      integer expensive
lun_maps[].igroup.name              string  expensive
lun_maps[].igroup.uuid              string  expensive
attributes[].name                   string  expensive since=9.10.1
attributes[].value                  string  expensive since=9.10.1
clone.source.name                   string  post patch
clone.source.uuid                   string  post patch
consistency_group.name              string  since=9.10.1
consistency_group.uuid              string  since=9.10.1
""",
    key=("uuid",),
    default=("uuid", "name"),
)


async def get_luns(call: Call) -> Answer:
    """``GET /storage/luns``: live LUNs; those in snapshots are not listed."""
    pairs = [(volume, lun) for volume in call.volumes() for lun in volume.luns]
    files = await call.simulator.work(_files, call, pairs)
    return collection(call, LUN, [record(call, *pair, file) for pair, file in zip(pairs, files)], href)


async def get_lun(call: Call) -> Answer:
    """``GET /storage/luns/{uuid}``: what is known of a LUN, or with ``data.offset`` and ``data.size`` its bytes."""
    volume, lun = call.lun(call.path["uuid"])
    if call.version >= DATA_SINCE and any(name.startswith("data.") for name in call.params):
        return await _read(call, volume, lun)
    (file,) = await call.simulator.work(_files, call, [(volume, lun)])
    return instance(call, LUN, record(call, volume, lun, file), href)


async def create_lun(call: Call) -> Answer:
    """``POST /storage/luns``: a new, empty LUN, or a clone of another, live or in a snapshot."""
    call.only_params("return_timeout", "return_records")
    call.return_timeout()
    plain = {key: value for key, value in call.body.items() if key != "attributes"}
    values = parse_body(LUN, plain, call.version, method="POST")
    attributes = lun_attributes.parse(call, call.body.get("attributes"))
    svm = call.svm(values)
    assert svm is not None
    cloning = values.get("clone.source.name") is not None or values.get("clone.source.uuid") is not None
    if cloning and call.disaggregated:
        raise ApiError(
            errors.LUN_PLATFORM_CREATE,
            "The property cannot be set during the LUN create operation on this platform.",
            target="clone.source",
        )
    _check_properties(values, cloning=cloning)
    volume, path = lun_names.place(call, svm.name, values)
    source = lun_names.source(call, svm.name, values)
    lun = _new(call, path, values, source)
    lun.attributes.update(attributes)
    async with call.simulator.lock(volume.uuid):
        _check_place(call, volume, path, source)
        if source is None:
            await _make(call, volume, lun)
        else:
            await clone(call, volume, lun, source)
        volume.luns.append(lun)
        call.simulator.save()
    headers = {"Location": f"/api/storage/luns/{lun.uuid}"}
    if not call.flag("return_records", default=False):
        return Answer(201, None, headers)
    (file,) = await call.simulator.work(_files, call, [(volume, lun)])
    names = select_fields(LUN, call.version, None, instance=True, lenient=False)
    return Answer(
        201, {"num_records": 1, "records": [show(call, record(call, volume, lun, file), names, href)]}, headers
    )


async def delete_lun(call: Call) -> Answer:
    """``DELETE /storage/luns/{uuid}``."""
    call.only_params("return_timeout", "allow_delete_while_mapped")
    call.return_timeout()
    volume, lun = call.lun(call.path["uuid"])
    forced = call.flag("allow_delete_while_mapped", default=False)
    async with call.simulator.lock(volume.uuid):
        call.lun(lun.uuid)
        if mapped(call, lun) and not forced:
            raise ApiError(
                errors.LUN_MAPPED,
                "The LUN is mapped and cannot be deleted without specifying the `allow_delete_while_mapped`"
                " query parameter.",
            )
        check_volume(call, volume)
        check_not_restoring(call, lun)
        volume.luns.remove(lun)
        call.array.drop_maps()
        call.simulator.save()
        await call.simulator.san_changed()
        await call.simulator.work(
            call.simulator.engine.delete_file,
            volume.ref,
            lun.path,
            recurse=False,
            op="lun_delete",
            detail={"lun": lun.uuid},
            cause=call.cause,
        )
    return Answer(200)


async def _read(call: Call, volume: Volume, lun: Lun) -> Answer:
    call.only_params("data.offset", "data.size")
    offset, size = byte_count(call, "data.offset"), byte_count(call, "data.size")
    if size > form.LIMIT or offset + size > lun.size:
        raise errors.invalid_value(size, "data.size", f"at most {form.LIMIT} bytes of the LUN's {lun.size}")
    check_volume(call, volume)
    engine = call.simulator.engine
    return form.answer(await call.simulator.work(engine.read, volume.ref, lun.path, offset=offset, length=size))


def byte_count(call: Call, name: str) -> int:
    """Return a query parameter that must be there as a number of bytes."""
    text = call.params.get(name)
    if text is None:
        raise errors.required(name)
    if not text.isdigit():
        raise errors.invalid_value(text, name, "integer")
    return int(text)


def _check_properties(values: Mapping[str, Any], *, cloning: bool) -> None:
    for name in ("os_type", "space.size"):
        if cloning and values.get(name) is not None:
            raise ApiError(
                errors.LUN_CLONE_PROPERTY, "The property cannot be specified when creating a LUN clone.", target=name
            )
        if not cloning and values.get(name) is None:
            raise ApiError(
                errors.LUN_PROPERTY_MISSING,
                "A property that is required when creating a new LUN that is not a LUN clone or LUN copy was not"
                " supplied.",
                target=name,
            )
    if values.get("class", "regular") != "regular":
        raise errors.invalid_value(values["class"], "class", "regular")
    if not cloning:
        check_size(values["space.size"])


def check_size(size: int) -> None:
    """Raise ``ApiError`` for a size, in bytes, that no LUN can have."""
    if size < 0:
        raise ApiError(errors.LUN_SIZE_NEGATIVE, "A negative size was provided for the LUN.", target="space.size")
    if size < SMALLEST:
        raise ApiError(errors.LUN_SIZE_SMALL, "The specified size is too small for the LUN.", target="space.size")
    if size > LARGEST:
        raise ApiError(errors.LUN_SIZE_LARGE, "The specified size is too large for the LUN.", target="space.size")


def rounded(size: int) -> int:
    """Return a size in bytes as the array allots it: whole sectors."""
    return -(-size // _SECTOR) * _SECTOR


def _new(call: Call, path: str, values: Mapping[str, Any], source: lun_names.Source | None) -> Lun:
    uuid = new_uuid()
    origin = source.lun if source else None
    return Lun(
        path=path,
        uuid=uuid,
        serial=serial_of(uuid),
        size=origin.size if origin else rounded(values["space.size"]),
        os_type=origin.os_type if origin else values["os_type"],
        create_time=call.simulator.clock.iso(),
        comment=values.get("comment") or (origin.comment if origin else ""),
        enabled=values.get("enabled") is not False,
        auto_delete=bool(values.get("auto_delete")),
        guaranteed=bool(values.get("space.guarantee.requested")),
        thin=bool(values.get("space.scsi_thin_provisioning_support_enabled")),
        qos_policy=qos_policy(values) or "",
        attributes=dict(origin.attributes) if origin else {},
    )


def _check_place(call: Call, volume: Volume, path: str, source: lun_names.Source | None) -> None:
    if volume.is_svm_root:
        raise ApiError(errors.LUN_ON_ROOT, "LUNs cannot be created on an SVM root volume.", target="name")
    if source is not None:
        check_clone(call, volume, source, other=errors.LUN_CLONE_OTHER_VOLUME)
    else:
        check_volume(call, volume)
        if volume.full:
            raise ApiError(errors.NO_SPACE_LEFT, f'No space left on volume "{volume.name}".')
    if volume.lun(path) is not None:
        code = errors.LUN_EXISTS if source is None else errors.LUN_CLONE_EXISTS
        raise ApiError(code, "A LUN already exists at the specified path.", target="name")


def check_volume(call: Call, volume: Volume) -> None:
    """Raise ``ApiError`` unless a volume's LUNs can be worked on."""
    if volume.uuid not in call.array.volumes:
        raise ApiError(errors.VOLUME_NOT_FOUND, "The specified volume was not found.")
    if volume.state != "online":
        raise ApiError(errors.LUN_VOLUME_OFFLINE, "The LUN's volume is offline.")
    if volume.type != "rw" and call.method != "GET":
        raise ApiError(errors.READ_ONLY_FILE_SYSTEM, "Read-only file system.")


def check_clone(call: Call, volume: Volume, source: lun_names.Source, *, other: str) -> None:
    """Raise ``ApiError`` unless a LUN of ``volume`` can become a clone; ``other`` is the code for another volume."""
    if source.volume is not volume:
        raise ApiError(other, "Cloning a LUN to a volume different than the source volume is not supported.")
    if volume.state != "online" and other != errors.LUN_CLONE_OTHER_VOLUME:
        raise ApiError(errors.LUN_DESTINATION_OFFLINE, "The destination volume is not online.")
    if volume.state != "online" or volume.type != "rw" or volume.full:
        raise ApiError(errors.CLONE_FAILED, f'The LUN clone request failed: volume "{volume.name}" cannot be written.')
    if not call.licensed("flexclone"):
        raise ApiError(errors.CLONE_FAILED, "The LUN clone request failed: the FlexClone license is not installed.")
    gone = source.snapshot not in volume.snapshots if source.snapshot else source.lun not in volume.luns
    if gone:
        raise ApiError(errors.LUN_NAME_NOT_FOUND, "The specified `clone.source` was not found.", target="clone.source")


def check_not_restoring(call: Call, lun: Lun) -> None:
    """Raise ``ApiError`` while a single-file restore is writing a LUN."""
    if call.simulator.restoring[lun.uuid]:
        raise ApiError(
            errors.LUN_RESTORING,
            "The LUN is the destination of an ongoing restore operation and is inaccessible for I/O and management."
            " Wait for the restore to complete and try the command again.",
        )


def check_not_copying(call: Call, lun: Lun) -> None:
    """Raise ``ApiError`` while a LUN is being overwritten by an overwrite that takes its time."""
    if call.simulator.copying[lun.uuid]:
        raise ApiError(errors.LUN_COPYING, "A copy or move job exists with the same destination LUN.")


def qos_policy(values: Mapping[str, Any]) -> str | None:
    """Return the QoS policy that a body names by name or uuid (an empty name: none), None when it names none."""
    name, uuid = values.get("qos_policy.name"), values.get("qos_policy.uuid")
    if uuid is None:
        known = name is None or name in ("", *QOS_POLICIES)
    else:
        found = next((each for each in QOS_POLICIES if _qos_uuid(each) == uuid), None)
        known, name = found is not None and name in (None, found), found
    if not known:
        raise ApiError(errors.QOS_POLICY_MISSING, "The specified QoS policy does not exist.", target="qos_policy")
    return name


def _qos_uuid(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"qos:{name}"))


async def _make(call: Call, volume: Volume, lun: Lun) -> None:
    try:
        await call.simulator.work(
            call.simulator.engine.create_file,
            volume.ref,
            lun.path,
            lun.size,
            parents=False,
            op="lun_create",
            detail={"lun": lun.uuid, "size": lun.size},
            cause=call.cause,
        )
    except StorageError as exc:
        raise refusal(exc, exists=errors.LUN_EXISTS, other=errors.NO_SPACE_LEFT) from exc


async def clone(
    call: Call, volume: Volume, lun: Lun, source: lun_names.Source, *, overwrite: bool = False, size: int | None = None
) -> None:
    """Give a LUN's file the bytes of ``source``; a source in a snapshot keeps that busy while blocks are split."""
    snapshot = source.snapshot
    try:
        await call.simulator.work(
            call.simulator.engine.clone_file,
            volume.ref,
            source.lun.path,
            lun.path,
            snapshot=snapshot.name if snapshot else None,
            overwrite=overwrite,
            keep_inode=True,
            op="lun_overwrite" if overwrite else "lun_clone",
            cause=call.cause,
            size=size,
            detail={"lun": lun.uuid, "source_lun": source.lun.uuid},
        )
    except StorageError as exc:
        raise refusal(exc, exists=errors.LUN_CLONE_EXISTS, other=errors.CLONE_FAILED) from exc
    if snapshot is not None and call.simulator.switches.clone_split_seconds > 0:
        call.simulator.mark_busy(volume.uuid, snapshot.uuid, OWNER)
        call.simulator.jobs.background(_split(call, volume.uuid, snapshot.uuid))


def refusal(exc: StorageError, *, exists: str, other: str) -> ApiError:
    """Return what ONTAP says when the storage refuses a LUN."""
    if exc.reason is Reason.NOT_FOUND:
        return ApiError(errors.QTREE_NOT_FOUND, f"The specified qtree was not found: {exc}.", target="name")
    if exc.reason is Reason.EXISTS:
        return ApiError(exists, "A LUN or NVMe namespace already exists at the specified path.", target="name")
    return ApiError(other, f"The LUN request failed: {exc}.")


async def _split(call: Call, volume: str, snapshot: str) -> None:
    try:
        await asyncio.sleep(call.simulator.switches.clone_split_seconds)
    finally:
        call.simulator.release(volume, snapshot, OWNER)


def mapped(call: Call, lun: Lun) -> bool:
    """Say whether a LUN is mapped to any igroup."""
    return any(item.lun == lun.uuid for item in call.array.lun_maps)


def _files(call: Call, pairs: list[tuple[Volume, Lun]]) -> list[FileStat | None]:
    found: list[FileStat | None] = []
    for volume, lun in pairs:
        try:
            found.append(call.simulator.engine.stat(volume.ref, lun.path))
        except StorageError:
            found.append(None)
    return found


def href(shown: Record) -> str:
    """Return where a LUN is read."""
    return f"/api/storage/luns/{shown['uuid']}"


def record(call: Call, volume: Volume, lun: Lun, file: FileStat | None) -> Record:
    """Return a LUN as a whole; ``file`` is None when there is none to look at."""
    node = call.array.nodes[0]
    qtree, _slash, base = lun.path.rpartition("/")
    online = volume.state == "online"
    used = min(file.used, lun.size) if file else 0
    result: Record = {
        "uuid": lun.uuid,
        "name": base if call.disaggregated else volume.lun_name(lun),
        "svm": svm_reference(call, volume.svm),
        "auto_delete": lun.auto_delete,
        "class": "regular",
        "comment": lun.comment or None,
        "create_time": lun.create_time or None,
        "enabled": lun.enabled,
        "location": {
            "logical_unit": base,
            "node": {"name": node, "uuid": call.array.node_uuids[node]},
            "volume": {"name": volume.name, "uuid": volume.uuid},
            **({"qtree": {"name": qtree, "id": 1}} if qtree else {}),
        },
        "os_type": lun.os_type,
        "qos_policy": {"name": lun.qos_policy, "uuid": _qos_uuid(lun.qos_policy)} if lun.qos_policy else None,
        "serial_number": lun.serial,
        "serial_number_hex": lun.serial.encode("ascii").hex(),
        "space": {
            "size": lun.size,
            "used": used,
            "guarantee": {"requested": lun.guaranteed, "reserved": lun.guaranteed},
            "scsi_thin_provisioning_support_enabled": lun.thin,
            "physical_used": used,
        },
        "status": {
            "container_state": "online" if online else "volume_offline",
            "mapped": mapped(call, lun),
            "read_only": volume.type != "rw",
            "state": "online" if online and lun.enabled else "offline",
        },
        "lun_maps": [_map(call, item.igroup, item.number) for item in call.array.lun_maps if item.lun == lun.uuid],
        "attributes": [{"name": name, "value": value} for name, value in lun.attributes.items()],
    }
    group = call.array.group_of(volume)
    if group is not None:
        result["consistency_group"] = {"name": group.name, "uuid": group.uuid}
    if call.disaggregated:
        del result["location"]["volume"]
    return result


def _map(call: Call, igroup: str, number: int) -> Record:
    return {"logical_unit_number": number, "igroup": {"name": call.array.igroups[igroup].name, "uuid": igroup}}


ROUTES = [
    Route("GET", "/storage/luns", get_luns, "lun show"),
    Route("POST", "/storage/luns", create_lun, "lun create"),
    Route("GET", "/storage/luns/{uuid}", get_lun, "lun show"),
    Route("DELETE", "/storage/luns/{uuid}", delete_lun, "lun delete"),
]
