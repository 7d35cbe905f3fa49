# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single files of a volume: looked at, and brought back from a snapshot by one of three ways of the array.

What overwrites is sent one single time (``Client.change_once``).

``file_clone`` clones out of ``.snapshot`` over the file (FlexClone licence, constant time). ``sfsr_cli`` and ``sfsr``
are single-file SnapRestore by the CLI pass-through and by REST (SnapRestore licence; it goes on in the background
after the call). ``copy`` is done on the host and is not here. Whole-volume revert does not exist here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import DEFAULT_BOUND, Client, Version
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    OntapDeniedError,
    OntapError,
    OutcomeUnknownError,
    during,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import Params, segment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import check_name, snapshot_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

Method = Literal["file_clone", "sfsr_cli", "sfsr", "copy"]

AUTO_ORDER: tuple[Method, ...] = ("file_clone", "sfsr_cli", "copy")
"""What ``auto`` tries; REST SnapRestore is only used when it is asked for: its behaviour is the least documented."""
SINCE: Mapping[Method, Version] = {
    "file_clone": (9, 11, 1),
    "sfsr_cli": (9, 11, 1),
    "sfsr": (9, 11, 1),
    "copy": (9, 11, 1),
}

_LICENCES: Mapping[Method, str] = {"file_clone": "flexclone", "sfsr_cli": "snaprestore", "sfsr": "snaprestore"}
_STAT_FIELDS = ("type", "size", "inode_number", "modified_time")
_RESTORING = frozenset({"snap_restore", "snap_restore_dependent"})
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True)
class FileStat:
    """What the array knows of one file; ``size`` in bytes, ``modified_time`` as ONTAP writes it (ISO 8601)."""

    path: str
    type: str
    size: int
    inode: Optional[int]
    modified_time: Optional[str]

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, path: str) -> FileStat:
        """Read a record of ``GET /storage/volumes/{uuid}/files/{path}?return_metadata=true``."""
        inode = record.get("inode_number")
        return cls(
            path=path,
            type=str(record.get("type", "unknown")),
            size=int(record.get("size", 0)),
            inode=None if inode is None else int(inode),
            modified_time=record.get("modified_time"),
        )


def relative_path(path: str) -> str:
    """Return ``path`` when it names a file inside a volume, from the volume's root and without a leading slash.

    :raises InputError: it is empty or absolute, has an empty, ``.`` or ``..`` part, leads through ``.snapshot``, or
        holds a NUL or what is no UTF-8: nothing of that kind may reach the array.
    """
    parts = path.split("/")
    reason = None
    if not path:
        reason = "it is empty"
    elif path.startswith("/"):
        reason = "it is absolute"
    elif "\0" in path or any("\ud800" <= char <= "\udfff" for char in path):
        reason = "it holds bytes that cannot be sent"
    elif ".." in parts or "." in parts or "" in parts:
        reason = "it has an empty, '.' or '..' part"
    elif ".snapshot" in parts:
        reason = "it leads through .snapshot"
    if reason:
        raise InputError(f"Failed to use {path!r} as a path inside a volume: {reason}", path=path)
    return path


def in_snapshot(snapshot: str, path: str) -> str:
    """Return where the state of ``path`` in a snapshot is found inside the volume.

    :raises InputError: one of them cannot be used.
    """
    check_name(snapshot, new=False)
    return f".snapshot/{snapshot}/{relative_path(path)}"


def choose_method(wanted: str, version: Version, refused: Collection[str] = ()) -> tuple[Method, ...]:
    """Return the ways to try, in order; pure. ``refused`` are those that this system has refused already.

    :raises InputError: ``wanted`` is not a way, or nothing is left of it.
    """
    named: tuple[Method, ...] = tuple(way for way in SINCE if way == wanted)
    if not named and wanted != "auto":
        raise InputError(f"Failed to choose a restore method: {wanted!r} is not one of auto, {', '.join(SINCE)}")
    order = tuple(way for way in named or AUTO_ORDER if way not in refused and version >= SINCE[way])
    if not order:
        reason = f"the system refused {', '.join(sorted(refused))}" if refused else "the system is too old for it"
        raise InputError(f"Failed to choose a restore method: of {wanted!r} none is left, {reason}")
    return order


def refuses_method(exc: OntapError) -> bool:
    """Tell whether a way was refused before it changed anything (right, licence, platform): the next may be tried."""
    if isinstance(exc, OutcomeUnknownError) or exc.outcome.fate != "answered":
        return False
    return isinstance(exc, OntapDeniedError) or exc.has_code(*codes.UNAVAILABLE)


def unlicensed_methods(client: Client, *, deadline: Optional[Deadline] = None) -> frozenset[Method]:
    """Return the ways whose licence the system says it lacks; a system that does not say is taken to have them.

    Source: ``GET /cluster/licensing/licenses``, which an SVM's account may not read. :raises OntapError:
    """
    try:
        records = client.records("/cluster/licensing/licenses", fields=("name", "state"), deadline=deadline)
    except OntapDeniedError:
        return frozenset()
    lacking = {str(record.get("name", "")).lower() for record in records if record.get("state") == "unlicensed"}
    return frozenset(way for way, licence in _LICENCES.items() if licence in lacking)


def stat_file(
    client: Client,
    volume: Volume,
    path: str,
    *,
    snapshot: Optional[str] = None,
    deadline: Optional[Deadline] = None,
) -> Optional[FileStat]:
    """Return what the array knows of a file, now or in a snapshot; ``None`` when it is not there.

    Source: ``GET /storage/volumes/{uuid}/files/{path}``. :raises InputError: :raises OntapError:
    """
    full = in_snapshot(snapshot, path) if snapshot else relative_path(path)
    target = f"/storage/volumes/{segment(volume.uuid)}/files/{segment(full)}"
    try:
        records = client.records(target, {"return_metadata": True}, fields=_STAT_FIELDS, deadline=deadline)
    except OntapError as exc:
        if exc.has_code(codes.NO_SUCH_FILE, codes.ENTRY_NOT_FOUND):
            return None
        raise during(exc, f"look at {full} of {volume.label}", **_fields_of(volume, path, snapshot)) from exc
    return FileStat.from_record(records[0], path=path) if records else None


def clone_file(
    client: Client,
    volume: Volume,
    *,
    snapshot: Optional[str],
    source: str,
    destination: str,
    begun: Optional[Callable[[str], None]] = None,
    overwrite: bool = False,
    deadline: Optional[Deadline] = None,
) -> None:
    """Clone a file within its volume, out of a snapshot when one is named.

    With ``overwrite`` the destination is replaced; without, it must not exist. With ``begun``, which ``overwrite``
    needs, it is sent one single time; ``begun`` gets the uuid of its job. Source: ``POST /storage/file/clone``
    (FlexClone licence).

    :raises InputError: a path cannot be used. :raises OntapError:
    """
    body = {
        "volume": {"uuid": volume.uuid, "name": volume.name},
        "source_path": in_snapshot(snapshot, source) if snapshot else relative_path(source),
        "destination_path": relative_path(destination),
        "overwrite_destination": overwrite,
    }
    try:
        _change(client, "POST", "/storage/file/clone", None, body, begun=begun, once=overwrite, deadline=deadline)
    except OntapError as exc:
        action = f"clone {body['source_path']} to {destination} on {volume.label}"
        raise during(exc, action, **_fields_of(volume, destination, snapshot)) from exc


def restore_file_cli(
    client: Client,
    volume: Volume,
    *,
    snapshot: str,
    path: str,
    restore_path: Optional[str] = None,
    begun: Optional[Callable[[str], None]] = None,
    deadline: Optional[Deadline] = None,
) -> None:
    """Single-file SnapRestore by the CLI's ``volume snapshot restore-file``; goes on in the background afterwards.

    Needs a user with a traditional role; ``restore_path`` is another place in the same volume; without it the file is
    overwritten, which needs ``begun`` (see :func:`clone_file`). Source: ``POST
    /private/cli/volume/snapshot/restore-file``. :raises InputError: :raises OntapError:
    """
    check_name(snapshot, new=False)
    body = {"vserver": volume.svm, "volume": volume.name, "snapshot": snapshot, "path": "/" + relative_path(path)}
    if restore_path is not None:
        body["restore-path"] = "/" + relative_path(restore_path)
    try:
        target, once = "/private/cli/volume/snapshot/restore-file", restore_path is None
        _change(client, "POST", target, None, body, begun=begun, once=once, deadline=deadline)
    except OntapError as exc:
        raise during(exc, _restoring(volume, snapshot, path), **_fields_of(volume, path, snapshot)) from exc


def restore_file_rest(
    client: Client,
    volume: Volume,
    *,
    snapshot: str,
    path: str,
    restore_path: Optional[str] = None,
    begun: Optional[Callable[[str], None]] = None,
    deadline: Optional[Deadline] = None,
) -> None:
    """Single-file SnapRestore by REST; goes on in the background afterwards.

    ``restore_path`` and ``begun`` are those of :func:`restore_file_cli`. Source: ``PATCH
    /storage/volumes/{uuid}?restore_to.snapshot.name=&restore_to.path=``. The same call without a path would put the
    whole volume back; the client refuses to send that. :raises InputError: :raises OntapError:
    """
    check_name(snapshot, new=False)
    params = {
        "restore_to.snapshot.name": snapshot,
        "restore_to.path": "/" + relative_path(path),
        "restore_to.restore_path": "/" + relative_path(path if restore_path is None else restore_path),
    }
    try:
        target, once = f"/storage/volumes/{segment(volume.uuid)}", restore_path is None
        _change(client, "PATCH", target, params, None, begun=begun, once=once, deadline=deadline)
    except OntapError as exc:
        raise during(exc, _restoring(volume, snapshot, path), **_fields_of(volume, path, snapshot)) from exc


def wait_restored(client: Client, volume: Volume, *, snapshot_uuid: str, deadline: Optional[Deadline] = None) -> None:
    """Wait until no SnapRestore out of a snapshot is under way any more (its owners tell).

    :raises OutcomeUnknownError: one still is at ``deadline`` (default: 300 s). :raises OntapError:
    """
    bound = deadline or Deadline.after(DEFAULT_BOUND, client.clock)
    action = f"wait for the restore from snapshot {snapshot_uuid} of {volume.label}"
    pause = _FIRST_PAUSE
    while True:
        try:
            record = client.get(snapshot_path(volume, snapshot_uuid), {"fields": "owners"}, deadline=bound)
        except OntapError as exc:
            raise during(exc, action, svm=volume.svm, volume=volume.name) from exc
        owners = _RESTORING.intersection(record.get("owners") or ())
        if not owners:
            return
        if pause >= bound.remaining():
            reason = f"it is still under way (owner {', '.join(sorted(owners))}) at the end of the time allowed"
            raise OutcomeUnknownError(action, reason, controller=client.name, svm=volume.svm, volume=volume.name)
        bound.clock.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _change(
    client: Client,
    method: str,
    path: str,
    params: Optional[Params],
    body: Optional[Mapping[str, Any]],
    *,
    begun: Optional[Callable[[str], None]],
    once: bool,
    deadline: Optional[Deadline],
) -> None:
    """Send one change, never a second time when it overwrites or when the caller follows its job."""
    if begun is not None:
        client.change_once(method, path, params, body, begun=begun, deadline=deadline)
    elif once:
        raise ValueError(f"{method} {path} overwrites: its job must be written down")
    elif method == "POST":
        client.post(path, params, body, deadline=deadline)
    else:
        client.patch(path, params, body, deadline=deadline)


def _restoring(volume: Volume, snapshot: str, path: str) -> str:
    return f"restore {path} of {volume.label} from snapshot {snapshot!r}"


def _fields_of(volume: Volume, path: str, snapshot: Optional[str]) -> dict[str, Any]:
    return {"svm": volume.svm, "volume": volume.name, "file": path, "snapshot": snapshot}
