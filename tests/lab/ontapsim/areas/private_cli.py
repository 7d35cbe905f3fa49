# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/private/cli``: the few commands of the CLI pass-through that clients of this kind use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import errors, paging
from ..answers import job_link
from ..call import Answer, Call
from ..clock import from_iso
from ..errors import ApiError
from ..fields import Record, Table
from ..model import Snapshot, Volume
from ..query import parse_filters, select_fields
from ..router import Route
from . import snapshots
from .restore import FileRestore, revert, volume_path

SNAPSHOT = Table(
    """
vserver                 string
volume                  string
snapshot                string
create_time             time
comment                 string
owners[]                string
size                    integer
expiry_time             time
snapmirror_label        string
instance_uuid           string
state                   string
busy                    boolean
""",
    key=("vserver", "volume", "snapshot"),
    default=("vserver", "volume", "snapshot"),
)

VOLUME = Table(
    """
vserver                 string
volume                  string
uuid                    string
aggregate               string
size                    integer
state                   string
type                    string
junction_path           string
comment                 string
instance_uuid           string
""",
    key=("vserver", "volume"),
    default=("vserver", "volume"),
)

_RESTORE_FIELDS = {"vserver": str, "volume": str, "snapshot": str, "path": str, "restore_path": str}
_REVERT_FIELDS = {"vserver": str, "volume": str, "snapshot": str, "force": bool, "preserve_lun_ids": bool}


async def show_snapshots(call: Call) -> Answer:
    """``GET /private/cli/volume/snapshot``: ``volume snapshot show``."""
    records = [_snapshot_record(call, volume, item) for volume in call.volumes() for item in volume.snapshots]
    return _shown(call, SNAPSHOT, records)


async def show_volumes(call: Call) -> Answer:
    """``GET /private/cli/volume``: ``volume show``."""
    return _shown(
        call,
        VOLUME,
        [
            {
                "vserver": item.svm,
                "volume": item.name,
                "uuid": item.uuid,
                "aggregate": call.array.aggregate,
                "size": item.size,
                "state": item.state,
                "type": item.type.upper(),
                "junction_path": item.junction,
                "comment": item.comment,
                "instance_uuid": item.uuid,
            }
            for item in call.volumes()
        ],
    )


async def show_version(call: Call) -> Answer:
    """``GET /private/cli/version``."""
    return Answer(200, {"cli_output": f"NetApp Release {call.array.version}: Mon Jun 01 12:00:00 UTC 2026\n"})


async def restore_file(call: Call) -> Answer:
    """``POST /private/cli/volume/snapshot/restore-file``."""
    values = _values(call, _RESTORE_FIELDS, "volume", "snapshot", "path")
    volume, snapshot = _restore_objects(call, values)
    source = volume_path(volume, values["path"], "path")
    target = volume_path(volume, values.get("restore_path") or values["path"], "restore-path")
    restore = FileRestore(call, volume, snapshot, source, target, errors.RESTORE_FAILED)
    seconds = call.return_timeout()
    restore.check()
    if not call.simulator.switches.cli_restore_returns_job:
        await restore.work()
        return Answer(200, {"num_records": 1, "cli_output": ""})
    job = call.simulator.jobs.start(call, restore.work, svm=volume.svm)
    if seconds:
        await call.simulator.jobs.wait(job.uuid, seconds)
    number = len(call.array.jobs)
    text = f'[Job {number}] Job is queued: Restore of "{values["path"]}" from snapshot "{snapshot.name}".'
    return Answer(202 if job.ended is None else 200, {"job": job_link(call, job.uuid), "cli_output": text})


async def revert_volume(call: Call) -> Answer:
    """``POST /private/cli/volume/snapshot/restore``: the whole volume goes back."""
    values = _values(call, _REVERT_FIELDS, "volume", "snapshot")
    volume, snapshot = _restore_objects(call, values)
    preserve = bool(values.get("preserve_lun_ids"))
    return await revert(call, volume, snapshot, forced=bool(values.get("force")), preserve=preserve)


def _values(call: Call, known: Mapping[str, type], *needed: str) -> dict[str, Any]:
    """Return a command's parameters from the body, their hyphens as underscores."""
    call.only_params("privilege_level", "return_timeout")
    level = call.params.get("privilege_level", "admin")
    if level not in ("admin", "advanced", "diagnostic"):
        raise errors.invalid_value(level, "privilege_level", "admin|advanced|diagnostic")
    values: dict[str, Any] = {}
    for name, value in call.body.items():
        kind = known.get(name.replace("-", "_"))
        if kind is None:
            raise errors.unexpected_argument(name)
        if not isinstance(value, kind):
            raise errors.invalid_value(value, name, "boolean" if kind is bool else "string")
        values[name.replace("-", "_")] = value
    for name in needed:
        if not values.get(name):
            raise errors.required(name)
    return values


def _restore_objects(call: Call, values: dict[str, Any]) -> tuple[Volume, Snapshot]:
    svm = values.get("vserver") or call.scope
    if svm is None:
        raise errors.required("vserver")
    if svm not in call.array.svms or not call.visible_svm(svm):
        raise ApiError(errors.SVM_NOT_FOUND, f'Vserver "{svm}" does not exist.', target="vserver")
    volume = call.array.volume_named(svm, values["volume"])
    if volume is None:
        raise ApiError(
            errors.VOLUME_INVALID, f'Volume "{values["volume"]}" in Vserver "{svm}" does not exist.', target="volume"
        )
    snapshot = volume.snapshot(values["snapshot"])
    if snapshot is None:
        raise ApiError(
            errors.FILE_OR_SNAPSHOT_MISSING, "The specified file or snapshot does not exist.", target="snapshot"
        )
    return volume, snapshot


def _shown(call: Call, table: Table, records: list[Record]) -> Answer:
    asked = call.params.get("fields")
    if asked is not None and "*" in asked:
        raise ApiError(
            errors.CLI_NO_WILDCARD_FIELDS, "The fields query cannot be * for CLI-based REST APIs.", target="fields"
        )
    control = {"fields", "max_records", "return_records", "return_timeout", "order_by", "privilege_level"}
    given = {name.replace("-", "_"): value for name, value in call.params.items() if name not in control}
    filters = parse_filters(table, call.version, given)
    names = select_fields(
        table,
        call.version,
        asked.replace("-", "_") if asked else None,
        instance=False,
        lenient=False,
        filtered=[item.name for item in filters],
    )
    order = paging.parse_order(table, call.version, call.params.get("order_by"))
    matching = [item for item in records if all(test.passes(item) for test in filters)]
    shown = [
        {key: value for key, value in item.items() if key in names and value not in (None, [])}
        for item in paging.sort(matching, table, order)
    ]
    return Answer(200, {"records": shown, "num_records": len(shown)})


def _snapshot_record(call: Call, volume: Volume, item: Snapshot) -> Record:
    held = snapshots.owners(call, volume, item)
    expiry = item.expiry_time if item.expiry_time and from_iso(item.expiry_time) else None
    return {
        "vserver": volume.svm,
        "volume": volume.name,
        "snapshot": item.name,
        "create_time": item.create_time,
        "comment": item.comment or None,
        "owners": held,
        "size": item.size,
        "expiry_time": expiry,
        "snapmirror_label": item.snapmirror_label,
        "instance_uuid": item.uuid,
        "state": "valid",
        "busy": bool(held),
    }


ROUTES = [
    Route("GET", "/private/cli/volume/snapshot", show_snapshots, "volume snapshot show"),
    Route("GET", "/private/cli/volume", show_volumes, "volume show"),
    Route("GET", "/private/cli/version", show_version, "version"),
    Route("POST", "/private/cli/volume/snapshot/restore-file", restore_file, "volume snapshot restore-file"),
    Route("POST", "/private/cli/volume/snapshot/restore", revert_volume, "volume snapshot restore"),
]
