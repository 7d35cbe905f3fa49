# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/storage/volumes/{volume.uuid}/snapshots``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import errors
from ..answers import check_identifiers, collection, encoded, in_job, instance, svm_reference
from ..call import Answer, Call
from ..clock import from_iso
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import Snapshot, Volume, new_uuid
from ..router import Route
from ..storage import Reason, StorageError

LIMIT = 1023
COMMENT_LENGTH = 255
LABEL_LENGTH = 31
RESERVED_PREFIXES = ("snapmirror.", "vserverdr.")
_NAME = re.compile(r"[A-Za-z0-9_.~:+@=-]{1,255}")

SNAPSHOT = Table(
    """
volume.uuid             string  post
volume.name             string  post
uuid                    string
svm.uuid                string  post
svm.name                string  post
name                    string  post patch
comment                 string  post patch
create_time             time
expiry_time             time    post patch
state                   valid|invalid|partial|unknown|pre_conversion
snapmirror_label        string  post patch since=9.8
snaplock_expiry_time    time    post patch since=9.8
snaplock.expiry_time    time    post patch since=9.14.1
snaplock.expired        boolean since=9.14.1
owners[]                string  since=9.7
size                    integer since=9.9.1
logical_size            integer since=9.14.1
version_uuid            string  since=9.11.1
provenance_volume.uuid  string  since=9.11.1
reclaimable_space       integer expensive since=9.10.1
delta.size_consumed     integer expensive since=9.11.1
delta.time_elapsed      duration expensive since=9.11.1
""",
    key=("uuid",),
    default=("uuid", "name"),
)


async def get_snapshots(call: Call) -> Answer:
    """``GET /storage/volumes/{volume.uuid}/snapshots``; ``*`` for the volume means all volumes."""
    volumes = call.volumes() if call.path["volume.uuid"] == "*" else [call.volume(call.path["volume.uuid"])]
    records = [record(call, volume, item) for volume in volumes for item in volume.snapshots]
    return collection(call, SNAPSHOT, records, href)


async def get_snapshot(call: Call) -> Answer:
    """``GET /storage/volumes/{volume.uuid}/snapshots/{uuid}``."""
    volume, snapshot = _find(call)
    return instance(call, SNAPSHOT, record(call, volume, snapshot), href)


async def create_snapshot(call: Call) -> Answer:
    """``POST /storage/volumes/{volume.uuid}/snapshots``."""
    call.only_params("return_timeout", "return_records")
    volume = call.volume(call.path["volume.uuid"])
    values = parse_body(SNAPSHOT, call.body, call.version, method="POST")
    check_identifiers(values, name=volume.name, uuid=volume.uuid, mismatch=errors.VOLUME_MISMATCH, kind="volume")
    if "svm.name" in values or "svm.uuid" in values:
        svm = call.svm(values)
        if svm is not None and svm.name != volume.svm:
            raise ApiError(errors.SVM_NOT_FOUND, f'The volume is not in SVM "{svm.name}".', target="svm.name")
    if values.get("name") is None:
        raise errors.required("name")
    name = values["name"]
    refuse_platform(call)
    check_name(name, errors.SNAPSHOT_NAME_INVALID)
    _check_values(volume, values, creating=True)

    def check() -> None:
        check_creatable(call, volume, name)

    async def work() -> None:
        async with call.simulator.lock(volume.uuid):
            check()
            try:
                await call.simulator.work(call.simulator.engine.create_snapshots, [volume.ref], name, cause=call.cause)
            except StorageError as exc:
                code = errors.VOLUME_UNABLE if exc.reason is Reason.NO_SPACE else errors.UNEXPECTED
                raise ApiError(code, f'Failed to create snapshot "{name}" on volume "{volume.name}": {exc}.') from exc
            used = await call.simulator.work(call.simulator.engine.used, volume.ref)
            snapshot = new_snapshot(call, volume, name, size=used)
            _apply(snapshot, values)
            volume.snapshots.append(snapshot)

    shown = {
        "volume": {"name": volume.name},
        "svm": svm_reference(call, volume.svm),
        "name": name,
        **({"comment": values["comment"]} if values.get("comment") else {}),
    }
    location = f"/api/storage/volumes/{volume.uuid}/snapshots/?name={encoded(name)}"
    return await in_job(call, check=check, work=work, svm=volume.svm, location=location, records=[shown])


async def modify_snapshot(call: Call) -> Answer:
    """``PATCH /storage/volumes/{volume.uuid}/snapshots/{uuid}``."""
    call.only_params("return_timeout")
    volume, snapshot = _find(call)
    values = parse_body(SNAPSHOT, call.body, call.version, method="PATCH")
    name = values.get("name", snapshot.name)
    check_name(name, errors.RENAME_NAME_INVALID)
    _check_values(volume, values, creating=False)

    def check() -> None:
        _still_there(volume, snapshot)
        if name != snapshot.name:
            _check_rename(call, volume, snapshot, name)
        lock = values.get("snaplock_expiry_time", values.get("snaplock.expiry_time"))
        if lock and snapshot.snaplock_expiry_time and from_iso(lock) < from_iso(snapshot.snaplock_expiry_time):
            raise ApiError(errors.EXPIRY_FAILED, "Failed to set expiry time for the snapshot: it cannot be shortened.")

    async def work() -> None:
        async with call.simulator.lock(volume.uuid):
            check()
            if name != snapshot.name:
                snapshot.pending_name = name
                call.simulator.save()
                await call.simulator.work(
                    call.simulator.engine.rename_snapshot, volume.ref, snapshot.name, name, cause=call.cause
                )
                snapshot.name, snapshot.pending_name = name, None
            _apply(snapshot, values)

    return await in_job(call, check=check, work=work, svm=volume.svm)


async def delete_snapshot(call: Call) -> Answer:
    """``DELETE /storage/volumes/{volume.uuid}/snapshots/{uuid}``."""
    call.only_params("return_timeout")
    volume, snapshot = _find(call)

    def check() -> None:
        _still_there(volume, snapshot)
        check_deletable(call, volume, snapshot)

    async def work() -> None:
        async with call.simulator.lock(volume.uuid):
            check()
            await remove(call, volume, snapshot)

    return await in_job(call, check=check, work=work, svm=volume.svm)


async def remove(call: Call, volume: Volume, snapshot: Snapshot) -> None:
    """Remove a snapshot from state and storage; the state first, so that nothing half is ever shown."""
    volume.snapshots.remove(snapshot)
    call.simulator.save()
    try:
        await call.simulator.work(call.simulator.engine.delete_snapshot, volume.ref, snapshot.name, cause=call.cause)
    except StorageError as exc:
        if exc.reason is not Reason.NOT_FOUND:
            raise


def check_creatable(call: Call, volume: Volume, name: str) -> None:
    """Raise ``ApiError`` when a snapshot of that name cannot be made now."""
    if volume.type != "rw":
        raise ApiError(errors.DP_CREATE, "Snapshots can only be created on read/write (RW) volumes.")
    if volume.state != "online" or volume.full:
        raise ApiError(
            errors.VOLUME_UNABLE,
            f'The volume "{volume.name}" is not online or does not have enough space to create a snapshot.',
        )
    if restoring(call, volume):
        raise ApiError(
            errors.RESTORE_IN_PROGRESS,
            f'Failed to create snapshot "{name}" on volume "{volume.name}" because a restore operation is in progress.',
        )
    if volume.snapshot(name) is not None:
        raise ApiError(errors.SNAPSHOT_EXISTS, f'Snapshot copy "{name}" already exists on volume "{volume.name}".')
    if len(volume.snapshots) >= LIMIT:
        raise ApiError(errors.SNAPSHOT_LIMIT, f"Cannot exceed the maximum number of snapshots ({LIMIT}).")


def check_deletable(call: Call, volume: Volume, snapshot: Snapshot) -> None:
    """Raise ``ApiError`` when a snapshot may not be deleted now."""
    if volume.type != "rw":
        raise ApiError(errors.DP_DELETE, "Snapshots can only be deleted on read/write (RW) volumes.")
    if volume.state != "online":
        raise ApiError(
            errors.VOLUME_LOCKED, "Snapshot was not deleted because the associated volume is locked or fenced."
        )
    held = owners(call, volume, snapshot)
    if held:
        raise ApiError(
            errors.SNAPSHOT_OWNED,
            f'Snapshot copy "{snapshot.name}" of volume "{volume.name}" on Vserver'
            f' "{volume.svm}" has not been deleted because it has an owner:'
            f" {', '.join(held)}.",
        )
    if locked(call, snapshot) or _ahead(call, snapshot.expiry_time):
        raise ApiError(
            errors.NOT_EXPIRED,
            f'Snapshot copy "{snapshot.name}" of volume "{volume.name}" on Vserver'
            f' "{volume.svm}" has not expired or is locked. Use the "snapshot show'
            ' -fields owners, expiry-time" command to view the expiry and lock status'
            " of the Snapshot copy.",
        )


def new_snapshot(call: Call, volume: Volume, name: str, *, size: int) -> Snapshot:
    """Return the record of a snapshot of a volume made now."""
    return Snapshot(
        name=name,
        uuid=new_uuid(),
        version_uuid=new_uuid(),
        create_time=call.simulator.clock.iso(),
        size=size,
        number=call.array.next_number(),
        luns=[lun.copy() for lun in volume.luns],
    )


def owners(call: Call, volume: Volume, snapshot: Snapshot) -> list[str]:
    """Return who owns a snapshot, set from outside, by running work or by FlexClone volumes of it."""
    clones = any(item.parent_snapshot == snapshot.uuid for item in call.array.volumes.values())
    clone_owner = {"volume_clone"} if clones else set()
    return sorted({*snapshot.owners, *call.simulator.owners(volume.uuid, snapshot.uuid), *clone_owner})


def restoring(call: Call, volume: Volume) -> bool:
    """Say whether a single-file restore is running on a volume."""
    return any("snap_restore" in call.simulator.owners(*key) for key in call.simulator.busy if key[0] == volume.uuid)


def locked(call: Call, snapshot: Snapshot) -> bool:
    """Say whether a snapshot is locked against everybody."""
    return _ahead(call, snapshot.snaplock_expiry_time)


def _ahead(call: Call, moment: str | None) -> bool:
    return moment is not None and from_iso(moment) > call.simulator.clock.now()


def refuse_platform(call: Call) -> None:
    """Raise ``ApiError`` on a cluster that has no volume snapshots."""
    if call.san_optimized:
        raise ApiError(
            "1638644",
            "POST, DELETE, and PATCH requests on the snapshot session endpoint are not supported on this platform.",
        )


def check_name(name: str, code: str) -> None:
    """Raise ``ApiError``, with ``code`` when its characters are wrong, for a name that no snapshot can have."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise ApiError(code, f'The snapshot name "{name}" is not valid.', target="name")
    if name.startswith(RESERVED_PREFIXES):
        raise ApiError(
            errors.RESERVED_PREFIX,
            f'User-created snapshot names cannot begin with "{name.split(".", maxsplit=1)[0]}."',
            target="name",
        )


def _check_values(volume: Volume, values: Mapping[str, Any], *, creating: bool) -> None:
    if len(values.get("comment") or "") > COMMENT_LENGTH:
        raise ApiError(
            errors.COMMENT_FAILED,
            f"Failed to set comment for snapshot: it is longer than {COMMENT_LENGTH} characters.",
            target="comment",
        )
    label = values.get("snapmirror_label")
    if label is not None and not (creating is False and label == "") and not 1 <= len(label) <= LABEL_LENGTH:
        raise ApiError(
            errors.LABEL_FAILED,
            "Failed to set the specified SnapMirror label for the snapshot: it must"
            f" have 1 to {LABEL_LENGTH} characters.",
            target="snapmirror_label",
        )
    if values.get("expiry_time") and volume.style == "flexgroup":
        raise ApiError(errors.EXPIRY_FLEXGROUP, 'The "expiry-time" parameter is not supported for FlexGroup volumes.')
    lock = values.get("snaplock_expiry_time") or values.get("snaplock.expiry_time")
    if lock and not volume.snapshot_locking_enabled:
        code = errors.NOT_ON_CREATE if creating else errors.EXPIRY_FAILED
        raise ApiError(
            code, "A SnapLock expiry time needs a volume with snapshot locking enabled.", target="snaplock_expiry_time"
        )


def _check_rename(call: Call, volume: Volume, snapshot: Snapshot, name: str) -> None:
    if volume.type != "rw":
        raise ApiError(errors.DP_RENAME, "Snapshots can only be renamed on read/write (RW) volumes.")
    if volume.snapshot(name) is not None:
        raise ApiError(errors.SNAPSHOT_EXISTS, f'Snapshot copy "{name}" already exists on volume "{volume.name}".')
    if owners(call, volume, snapshot):
        raise ApiError(
            errors.REFERENCE_RENAME,
            "You cannot rename a snapshot created for use as a reference snapshot by other jobs.",
        )
    if locked(call, snapshot):
        raise ApiError(errors.NOT_EXPIRED, f'Snapshot copy "{snapshot.name}" is locked and cannot be renamed.')


def _apply(snapshot: Snapshot, values: Mapping[str, Any]) -> None:
    if "comment" in values:
        snapshot.comment = values["comment"] or ""
    if "snapmirror_label" in values:
        snapshot.snapmirror_label = values["snapmirror_label"] or None
    if "expiry_time" in values:
        snapshot.expiry_time = values["expiry_time"]
    for name in ("snaplock_expiry_time", "snaplock.expiry_time"):
        if name in values:
            snapshot.snaplock_expiry_time = values[name]


def _still_there(volume: Volume, snapshot: Snapshot) -> None:
    if snapshot not in volume.snapshots:
        raise ApiError(errors.SNAPSHOT_MISSING, "The snapshot does not exist.")


def _find(call: Call) -> tuple[Volume, Snapshot]:
    volume = call.volume(call.path["volume.uuid"])
    for snapshot in volume.snapshots:
        if snapshot.uuid == call.path["uuid"]:
            return volume, snapshot
    raise errors.missing()


def href(shown: Record) -> str:
    """Return where a snapshot is read."""
    return f"/api/storage/volumes/{shown['volume']['uuid']}/snapshots/{shown['uuid']}"


def record(call: Call, volume: Volume, snapshot: Snapshot) -> Record:
    """Return a snapshot as a whole."""
    result: Record = {
        "volume": {"uuid": volume.uuid, "name": volume.name},
        "svm": svm_reference(call, volume.svm),
        "uuid": snapshot.uuid,
        "name": snapshot.name,
        "comment": snapshot.comment or None,
        "create_time": snapshot.create_time,
        "expiry_time": snapshot.expiry_time,
        "version_uuid": snapshot.version_uuid,
        "snapmirror_label": snapshot.snapmirror_label,
        "snaplock_expiry_time": snapshot.snaplock_expiry_time,
        "owners": owners(call, volume, snapshot) or None,
        "size": snapshot.size,
        "logical_size": snapshot.size,
        "provenance_volume": {"uuid": volume.uuid},
        "reclaimable_space": 0,
        "delta": {"size_consumed": 0, "time_elapsed": "PT0S"},
    }
    if volume.style == "flexgroup":
        result["state"] = "valid"
    if snapshot.snaplock_expiry_time:
        result["snaplock"] = {"expiry_time": snapshot.snaplock_expiry_time, "expired": not locked(call, snapshot)}
    return result


_PATH = "/storage/volumes/{volume.uuid}/snapshots"
ROUTES = [
    Route("GET", _PATH, get_snapshots, "volume snapshot show"),
    Route("POST", _PATH, create_snapshot, "volume snapshot create"),
    Route("GET", _PATH + "/{uuid}", get_snapshot, "volume snapshot show"),
    Route("PATCH", _PATH + "/{uuid}", modify_snapshot, "volume snapshot modify"),
    Route("DELETE", _PATH + "/{uuid}", delete_snapshot, "volume snapshot delete"),
]
