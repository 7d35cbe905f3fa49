# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/storage/file/clone``."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from .. import errors
from ..answers import in_job
from ..call import Answer, Call
from ..engine import BLOCK
from ..errors import ApiError
from ..fields import Table, parse_body
from ..model import Snapshot, Volume, lun_at
from ..router import Route
from ..storage import Reason, StorageError
from ..tree import SNAPSHOT_DIR, PathEscapeError, split_path

FILE_CLONE = Table(
    """
volume.name             string  post
volume.uuid             string  post
source_path             string  post
destination_path        string  post
overwrite_destination   boolean post
is_backup               boolean post since=9.8
range[]                 string  post since=9.8
autodelete              boolean post since=9.8
token_uuid              string  post since=9.10.1
""",
    key=(),
    default=(),
)
OWNER = "file_clone_dependent"
_RANGE = re.compile(r"(\d+):(\d+):(\d+)")


async def clone_file(call: Call) -> Answer:
    """``POST /storage/file/clone``."""
    call.only_params("return_timeout", "return_records")
    values = parse_body(FILE_CLONE, call.body, call.version, method="POST")
    volume = _volume(call, values)
    for name in ("source_path", "destination_path"):
        if values.get(name) is None:
            raise errors.required(name)
        if values[name].startswith("/"):
            raise ApiError(
                errors.RELATIVE_PATH,
                f'A relative path must be used for "{name}" when a volume is specified.',
                target=name,
            )
    ranges = _ranges(values)
    snapshot, source = _source(volume, values["source_path"])
    if volume.style == "flexgroup" and values.get("autodelete"):
        raise ApiError(
            errors.AUTODELETE_FLEXGROUP, "File clone using autodelete is not supported on a FlexGroup volume."
        )

    def check() -> None:
        _check(call, volume, values)
        if volume.lun(values["destination_path"]) is not None or lun_at(
            snapshot.luns if snapshot else volume.luns, source
        ):
            raise ApiError(errors.CLONE_FAILED, "Clone start failed: a LUN is cloned with its own API.")

    async def work() -> None:
        async with call.simulator.lock(volume.uuid):
            check()
            await _clone(call, volume, values, snapshot, source, ranges)
            if snapshot is not None and call.simulator.switches.clone_split_seconds > 0:
                call.simulator.mark_busy(volume.uuid, snapshot.uuid, OWNER)
                call.simulator.jobs.background(_split(call, volume, snapshot))

    return await in_job(call, check=check, work=work, svm=volume.svm, location="/api/storage/file/clone")


def _volume(call: Call, values: dict[str, Any]) -> Volume:
    uuid, name = values.get("volume.uuid"), values.get("volume.name")
    if uuid is None or (name is None and call.version < (9, 14, 1)):
        raise ApiError(
            errors.VOLUME_IDENTIFIER_MISSING,
            'The specified volume identifier fields "volume.uuid" and "volume.name" must be provided.',
            target="volume",
        )
    volume = call.array.volumes.get(uuid)
    if volume is None or not call.visible_svm(volume.svm):
        raise ApiError(errors.VOLUME_INVALID, f"A volume with UUID {uuid} was not found.", target="volume.uuid")
    if name not in (None, volume.name):
        raise ApiError(
            errors.VOLUME_MISMATCH,
            "The specified volume.uuid and volume.name refer to different volumes.",
            target="volume.name",
        )
    return volume


def _ranges(values: dict[str, Any]) -> list[tuple[int, int, int]]:
    result = []
    for text in values.get("range") or []:
        match = _RANGE.fullmatch(text)
        if match is None:
            raise ApiError(
                errors.BAD_RANGE,
                f'Invalid value "{text}" for the field -range. Value must be provided in the'
                " format <source start block>:<destination start block>:<block length>.",
                target="range",
            )
        start, target, count = (int(number) * BLOCK for number in match.groups())
        result.append((start, target, count))
    if result and values.get("is_backup"):
        raise ApiError(
            errors.BACKUP_CLONE_RANGE,
            "The destination file cannot be marked as a backup clone as only a full-file clone can be a backup clone.",
        )
    return result


def _source(volume: Volume, path: str) -> tuple[Snapshot | None, str]:
    try:
        names = split_path(path)
    except PathEscapeError:
        return None, path
    if len(names) > 2 and names[0] == SNAPSHOT_DIR:
        snapshot = volume.snapshot(names[1])
        if snapshot is not None:
            return snapshot, "/".join(names[2:])
    return None, path


def _check(call: Call, volume: Volume, values: dict[str, Any]) -> None:
    if not call.licensed("flexclone"):
        raise ApiError(errors.CLONE_FAILED, "Clone start failed: the FlexClone license is not installed.")
    if volume.state != "online" or volume.type != "rw" or volume.full:
        raise ApiError(errors.CLONE_FAILED, f'Clone start failed: volume "{volume.name}" cannot be written.')
    if volume.style == "flexgroup" and call.version < (9, 14, 1):
        raise ApiError(errors.CLONE_FAILED, "Clone start failed: not supported on a FlexGroup volume.")
    if values.get("token_uuid"):
        raise ApiError(errors.CLONE_FAILED, "Clone start failed: no such clone token.")


async def _clone(
    call: Call,
    volume: Volume,
    values: dict[str, Any],
    snapshot: Snapshot | None,
    source: str,
    ranges: list[tuple[int, int, int]],
) -> None:
    engine, keep = call.simulator.engine, call.simulator.switches.file_clone_keeps_inode
    name = snapshot.name if snapshot else None
    await _refuse_locked(call, volume, values["destination_path"])
    try:
        if ranges:
            await call.simulator.work(
                engine.clone_ranges,
                volume.ref,
                source,
                values["destination_path"],
                ranges,
                snapshot=name,
                keep_inode=keep,
                op="file_clone_part",
                cause=call.cause,
            )
        else:
            await call.simulator.work(
                engine.clone_file,
                volume.ref,
                source,
                values["destination_path"],
                snapshot=name,
                overwrite=bool(values.get("overwrite_destination")),
                keep_inode=keep,
                op="file_clone",
                cause=call.cause,
            )
    except StorageError as exc:
        code = errors.NO_FILE_HANDLE if exc.reason in (Reason.NOT_FOUND, Reason.ESCAPE) else errors.CLONE_FAILED
        text = "Failed to get the file handle" if code == errors.NO_FILE_HANDLE else "Clone start failed"
        raise ApiError(code, f"{text}: {exc}.") from exc


async def _refuse_locked(call: Call, volume: Volume, path: str) -> None:
    """Refuse to overwrite a file that somebody has locked, where the switch says so."""
    simulator = call.simulator
    if simulator.switches.file_clone_refuses_locked and await simulator.work(
        simulator.engine.is_locked, volume.ref, path
    ):
        raise ApiError(errors.CLONE_FAILED, f'Clone start failed: file "{path}" is locked.')


async def _split(call: Call, volume: Volume, snapshot: Snapshot) -> None:
    try:
        await asyncio.sleep(call.simulator.switches.clone_split_seconds)
    finally:
        call.simulator.release(volume.uuid, snapshot.uuid, OWNER)


ROUTES = [Route("POST", "/storage/file/clone", clone_file, "volume file clone create")]
