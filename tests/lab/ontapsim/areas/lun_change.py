# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``PATCH /storage/luns/{uuid}``: settings, another size or name, overwriting as a clone, and writing data."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Callable

from .. import errors, form
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import parse_body
from ..model import Lun, Volume
from ..router import Route
from ..storage import StorageError
from . import lun_names, luns

_SETTINGS = {
    "comment": "comment",
    "enabled": "enabled",
    "auto_delete": "auto_delete",
    "os_type": "os_type",
    "space.guarantee.requested": "guaranteed",
    "space.scsi_thin_provisioning_support_enabled": "thin",
}


async def modify_lun(call: Call) -> Answer:
    """``PATCH /storage/luns/{uuid}``."""
    volume, lun = call.lun(call.path["uuid"])
    if call.multipart:
        return await _write(call, volume, lun)
    call.only_params("return_timeout")
    call.return_timeout()
    values = parse_body(luns.LUN, call.body, call.version, method="PATCH")
    async with call.simulator.lock(volume.uuid):
        call.lun(lun.uuid)
        luns.check_not_copying(call, lun)
        source = _source(call, volume, lun, values)
        size, path = _size(lun, values, source), _path(call, volume, lun, values)
        policy = luns.qos_policy(values)
        if source is None:
            luns.check_volume(call, volume)
        if size is not None and size > lun.size and volume.full:
            raise ApiError(errors.NO_SPACE_LEFT, f'No space left on volume "{volume.name}".')
        if source is not None:
            await _overwrite(call, volume, lun, source)
        if size is not None:
            await _resize(call, volume, lun, size)
        if path is not None:
            await _rename(call, volume, lun, path)
        _set(lun, values)
        if policy is not None:
            lun.qos_policy = policy
        call.simulator.save()
        await call.simulator.san_changed()
    return Answer(200)


async def begin_overwrite(call: Call) -> Callable[[], Awaitable[Answer]]:
    """Begin ``PATCH /storage/luns/{uuid}`` with a clone, and return what ends it.

    The source is read now. Until the end every change of the LUN is refused, and its bytes are the old ones.
    """
    volume, lun = call.lun(call.path["uuid"])
    values = parse_body(luns.LUN, call.body, call.version, method="PATCH")
    async with call.simulator.lock(volume.uuid):
        luns.check_not_copying(call, lun)
        source = _source(call, volume, lun, values)
        if source is None or source.snapshot is not None:
            raise ApiError(errors.UNEXPECTED, "only an overwrite with a LUN can have begun")
        origin = source.lun.copy()
        kept = await call.simulator.work(call.simulator.engine.keep_file, volume.ref, origin.path)
        call.simulator.copying[lun.uuid] += 1

    async def end() -> Answer:
        async with call.simulator.lock(volume.uuid):
            call.simulator.copying[lun.uuid] -= 1
            await call.simulator.work(
                call.simulator.engine.put_kept,
                volume.ref,
                kept,
                lun.path,
                op="lun_overwrite",
                detail={"lun": lun.uuid, "source_lun": origin.uuid},
                cause=call.cause,
            )
            _take(lun, origin)
            _set(lun, values)
            call.simulator.save()
        return Answer(200)

    return end


async def _write(call: Call, volume: Volume, lun: Lun) -> Answer:
    if call.version < luns.DATA_SINCE:
        raise ApiError(errors.INVALID_JSON, "Invalid JSON input")
    call.only_params("data.offset")
    offset, data = luns.byte_count(call, "data.offset"), form.received(call)
    if offset + len(data) > lun.size:
        raise errors.invalid_value(offset, "data.offset", f"within the LUN's {lun.size} bytes")
    async with call.simulator.lock(volume.uuid):
        luns.check_volume(call, volume)
        luns.check_not_restoring(call, lun)
        await call.simulator.work(
            call.simulator.engine.write_file,
            volume.ref,
            lun.path,
            data,
            offset=offset,
            op="lun_write",
            detail={"lun": lun.uuid, "offset": offset, "length": len(data)},
            cause=call.cause,
        )
    return Answer(200)


def _source(call: Call, volume: Volume, lun: Lun, values: Mapping[str, Any]) -> lun_names.Source | None:
    """Return the LUN to overwrite this one with, if any, when that is allowed."""
    if values.get("clone.source.name") is None and values.get("clone.source.uuid") is None:
        return None
    if call.disaggregated:
        raise ApiError(
            errors.LUN_PLATFORM_MODIFY,
            "The property cannot be set during the LUN modify operation on this platform.",
            target="clone.source",
        )
    source = lun_names.source(call, volume.svm, values)
    assert source is not None
    if source.snapshot is not None and not call.simulator.switches.lun_overwrite_from_snapshot:
        raise ApiError(errors.LUN_NAME_NOT_FOUND, "The specified LUN was not found.", target="clone.source.name")
    luns.check_clone(call, volume, source, other=errors.CLONE_FAILED)
    luns.check_not_restoring(call, lun)
    if source.lun is lun:
        raise ApiError(errors.CLONE_FAILED, "The LUN clone request failed: source and destination are the same.")
    return source


async def _overwrite(call: Call, volume: Volume, lun: Lun, source: lun_names.Source) -> None:
    """Give a LUN the source's data and properties.

    Its own stay uuid, serial, maps, state and automatic deletion, and whether SCSI thin provisioning is supported.
    """
    keep = None if call.simulator.switches.lun_overwrite_takes_size else lun.size
    await luns.clone(call, volume, lun, source, overwrite=True, size=keep)
    lun.size = keep or source.lun.size
    _take(lun, source.lun)


def _take(lun: Lun, origin: Lun) -> None:
    """Give a LUN the properties of its source that come with the data."""
    lun.os_type, lun.comment = origin.os_type, origin.comment
    lun.guaranteed, lun.qos_policy = origin.guaranteed, origin.qos_policy
    lun.attributes = dict(origin.attributes)


def _set(lun: Lun, values: Mapping[str, Any]) -> None:
    """Give a LUN the settings that a body names."""
    for name, attribute in _SETTINGS.items():
        if values.get(name) is not None:
            setattr(lun, attribute, values[name])


def _size(lun: Lun, values: Mapping[str, Any], source: lun_names.Source | None) -> int | None:
    if values.get("space.size") is None:
        return None
    luns.check_size(values["space.size"])
    size, current = luns.rounded(values["space.size"]), source.lun.size if source else lun.size
    if size < current:
        raise ApiError(errors.LUN_SHRINK, "An attempt was made to reduce the size of a LUN.", target="space.size")
    if size == current:
        raise ApiError(errors.LUN_SAME_SIZE, "Cannot patch a LUN's size to its current size.", target="space.size")
    return size


def _path(call: Call, volume: Volume, lun: Lun, values: Mapping[str, Any]) -> str | None:
    """Return the new path of a LUN that is renamed; moving it to another volume is refused."""
    name = values.get("name")
    if name is None or name == volume.lun_name(lun):
        return None
    wanted = lun_names.parse(name, "name")
    if wanted.snapshot is not None:
        raise ApiError(
            errors.LUN_RENAME_TO_SNAPSHOT, "An attempt was made to rename a LUN to a snapshot name.", target="name"
        )
    if wanted.volume != volume.name:
        if call.array.volume_named(volume.svm, wanted.volume) is None:
            raise ApiError(errors.VOLUME_NOT_FOUND, "The specified volume was not found.", target="name")
        raise errors.invalid_value(name, "name", f"path in volume {volume.name}")
    if volume.lun(wanted.path) is not None:
        raise ApiError(errors.LUN_EXISTS_ON_RENAME, "A LUN already exists at the specified path.", target="name")
    return wanted.path


async def _resize(call: Call, volume: Volume, lun: Lun, size: int) -> None:
    detail = {"lun": lun.uuid, "size": size}
    await call.simulator.work(
        call.simulator.engine.resize_file,
        volume.ref,
        lun.path,
        size,
        op="lun_resize",
        detail=detail,
        cause=call.cause,
    )
    lun.size = size


async def _rename(call: Call, volume: Volume, lun: Lun, path: str) -> None:
    lun.pending_path = path
    call.simulator.save()
    try:
        await call.simulator.work(
            call.simulator.engine.rename_file,
            volume.ref,
            lun.path,
            path,
            op="lun_rename",
            detail={"lun": lun.uuid},
            cause=call.cause,
        )
        lun.path = path
    except StorageError as exc:
        raise luns.refusal(exc, exists=errors.LUN_EXISTS_ON_RENAME, other=errors.LUN_NAME_INVALID) from exc
    finally:
        lun.pending_path = None


ROUTES = [
    Route("PATCH", "/storage/luns/{uuid}", modify_lun, "lun modify", multipart=True, begin=begin_overwrite),
]
