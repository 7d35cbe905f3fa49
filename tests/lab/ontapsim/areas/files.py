# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/storage/volumes/{volume.uuid}/files/{path}``: looking, reading, renaming and deleting."""

from __future__ import annotations

from urllib.parse import quote

from .. import errors, form
from ..answers import collection, in_job
from ..call import Answer, Call
from ..clock import to_iso
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import Volume
from ..router import Route
from ..storage import FileStat, Reason, StorageError
from ..tree import SNAPSHOT_DIR

FILE = Table(
    """
volume.uuid             string
volume.name             string
path                    string  patch
name                    string
type                    file|directory|blockdev|chardev|symlink|socket|fifo|stream|lun
size                    integer
bytes_used              integer
inode_number            integer
hard_links_count        integer
owner_id                integer
group_id                integer
unix_permissions        integer
accessed_time           time
modified_time           time
changed_time            time
creation_time           time
is_empty                boolean
is_snapshot             boolean
is_junction             boolean
is_vm_aligned           boolean
overwrite_enabled       boolean
fill_enabled            boolean
target                  string
unique_bytes            integer expensive
""",
    key=("path", "name"),
    default=("path", "name", "type"),
)

_REASONS = {
    Reason.NOT_FOUND: (errors.NO_SUCH_FILE, "No such file or directory"),
    Reason.EXISTS: (errors.FILE_EXISTS, "File exists"),
    Reason.READ_ONLY: (errors.READ_ONLY_FILE_SYSTEM, "Read-only file system"),
    Reason.NOT_EMPTY: (errors.DIRECTORY_NOT_EMPTY, "Directory not empty"),
    Reason.NO_SPACE: (errors.UNEXPECTED, "No space left on device"),
    Reason.ESCAPE: (errors.INVALID_FIELD_VALUE, "The path leaves the volume"),
    Reason.NOT_A_FILE: (errors.INVALID_FIELD_VALUE, "Not a regular file"),
    Reason.INVALID: (errors.INVALID_FIELD_VALUE, "Invalid path"),
}


async def get_file(call: Call) -> Answer:
    """``GET``: a directory's entries, a file's bytes, or with ``return_metadata`` what is known of either."""
    volume, path = _volume(call), call.path.get("path", "")
    metadata = call.flag("return_metadata", default=False)
    offset, length = call.params.pop("byte_offset", None), call.params.pop("length", None)
    call.params.pop("return_metadata", None)
    engine = call.simulator.engine
    try:
        found = await call.simulator.work(engine.stat, volume.ref, path)
        if metadata:
            call.params.setdefault("fields", "*")
            return collection(call, FILE, [_record(volume, path, path, found, name="")], _href)
        if found.kind == "directory":
            entries = await call.simulator.work(engine.entries, volume.ref, path)
            return collection(
                call,
                FILE,
                [_record(volume, path, f"{path}/{item.name}", item, name=item.name) for item in entries],
                _href,
            )
        return await _read(call, volume, path, offset, length)
    except StorageError as exc:
        raise _refusal(exc) from exc


async def rename_file(call: Call) -> Answer:
    """``PATCH {"path": ...}``: rename inside the volume."""
    call.only_params("return_timeout")
    volume, path = _volume(call), call.path["path"]
    values = parse_body(FILE, call.body, call.version, method="PATCH")
    if not values.get("path"):
        raise errors.required("path")
    return await _change(
        call, volume, lambda: call.simulator.engine.rename_file(volume.ref, path, values["path"], cause=call.cause)
    )


async def delete_file(call: Call) -> Answer:
    """``DELETE``: a file or an empty directory; a full one with ``recurse=true``."""
    call.only_params("return_timeout", "recurse", "throttle_deletion")
    volume, path, recurse = _volume(call), call.path["path"], call.flag("recurse", default=False)
    return await _change(
        call, volume, lambda: call.simulator.engine.delete_file(volume.ref, path, recurse=recurse, cause=call.cause)
    )


async def _change(call: Call, volume: Volume, change: object) -> Answer:
    def check() -> None:
        if volume.type != "rw":
            raise ApiError(errors.READ_ONLY_FILE_SYSTEM, "Read-only file system.")
        if any(f"{lun.path}/".startswith(f"{call.path['path'].strip('/')}/") for lun in volume.luns):
            raise errors.unsupported_method()

    async def work() -> None:
        async with call.simulator.lock(volume.uuid):
            check()
            try:
                await call.simulator.work(change)  # type: ignore[arg-type]
            except StorageError as exc:
                raise _refusal(exc) from exc

    return await in_job(call, check=check, work=work, svm=volume.svm)


async def _read(call: Call, volume: Volume, path: str, offset: str | None, length: str | None) -> Answer:
    for name, text in (("byte_offset", offset), ("length", length)):
        if text is not None and not text.isdigit():
            raise errors.invalid_value(text, name, "integer")
    call.only_params("fields")
    count = min(int(length), form.LIMIT) if length is not None else form.LIMIT
    data = await call.simulator.work(
        call.simulator.engine.read, volume.ref, path, offset=int(offset or 0), length=count
    )
    return form.answer(data)


def _volume(call: Call) -> Volume:
    volume = call.volume(call.path["volume.uuid"])
    if volume.state != "online":
        raise ApiError(errors.VOLUME_OFFLINE_FILES, f'Volume "{volume.name}" is offline.')
    return volume


def _refusal(exc: StorageError) -> ApiError:
    code, text = _REASONS.get(exc.reason, (errors.UNEXPECTED, "Internal error"))
    return ApiError(code, f"{text}: {exc}.", target="path")


def _href(record: Record) -> str:
    full = f"{record['path']}/{record['name']}".strip("/")
    return f"/api/storage/volumes/{record['volume']['uuid']}/files/{quote(full, safe='').replace('.', '%2E')}"


def _record(volume: Volume, directory: str, full: str, found: FileStat, *, name: str) -> Record:
    return {
        "volume": {"uuid": volume.uuid, "name": volume.name},
        "path": directory.strip("/") or "/",
        "name": name,
        "type": "lun" if volume.lun(full) is not None else found.kind,
        "size": found.size,
        "bytes_used": found.used,
        "inode_number": found.inode,
        "hard_links_count": found.links,
        "owner_id": found.owner,
        "group_id": found.group,
        "unix_permissions": int(f"{found.mode:o}"),
        "accessed_time": to_iso(found.accessed),
        "modified_time": to_iso(found.modified),
        "changed_time": to_iso(found.changed),
        "creation_time": to_iso(found.modified),
        "is_snapshot": full.strip("/").startswith(SNAPSHOT_DIR),
        "is_junction": False,
        "is_vm_aligned": False,
        "overwrite_enabled": True,
        "fill_enabled": False,
        "target": found.target,
        "unique_bytes": found.used,
    }


_PATH = "/storage/volumes/{volume.uuid}/files"
ROUTES = [
    Route("GET", _PATH, get_file, "volume file show-disk-usage"),
    Route("GET", _PATH + "/{path}", get_file, "volume file show-disk-usage"),
    Route("PATCH", _PATH + "/{path}", rename_file, "volume file modify", since=(9, 8, 0)),
    Route("DELETE", _PATH + "/{path}", delete_file, "volume file delete", since=(9, 8, 0)),
]
