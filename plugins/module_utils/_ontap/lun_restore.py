# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a LUN back to its state in a snapshot with its uuid, serial, maps and reservations kept.

The snapshot's LUN is cloned to a temporary LUN beside the target (documented: ``POST /storage/luns`` from
``.snapshot``), the target is overwritten as a clone of that (``PATCH /storage/luns/{uuid}``), the temporary is deleted.
A temporary LUN is known as ours by its name and its comment together; no other LUN is ever deleted.

The overwrite is sent one single time and names its source by uuid. When its fate is unknown the source is deleted: what
begins later must fail then. What had begun has a settle time to end, and has not ended while the array takes no change
of the LUN's settings, since something is copied over it.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    JobGoneError,
    OntapError,
    OutcomeUnknownError,
    during,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import in_snapshot, relative_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import Expression, Params, any_of, segment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


class StillOpenError(OutcomeUnknownError):
    """The fate of an overwrite is unknown: it may begin, since its source could not be taken away, or is under way."""


LunMethod = Literal["lun_clone", "sfsr_cli", "sfsr"]

TEMPORARY = "kvmsnap-tmp-"
BLOCK_LIMIT = 1 << 20
"""Bytes of a LUN that ONTAP gives out in one answer."""

_WAYS: Mapping[str, tuple[LunMethod, ...]] = {
    "auto": ("lun_clone", "sfsr_cli"),
    "file_clone": ("lun_clone",),
    "sfsr_cli": ("sfsr_cli",),
    "sfsr": ("sfsr",),
}
_OURS = "kvmsnap: temporary clone"
_COMMENT = re.compile(rf"{_OURS} of (?P<of>\S+) in snapshot (?P<snapshot>\S+) for restore (?P<restore_id>.+)")
_FIELDS = (
    "uuid",
    "name",
    "comment",
    "enabled",
    "space.size",
    "space.guarantee.requested",
    "space.scsi_thin_provisioning_support_enabled",
    "qos_policy.uuid",
    "qos_policy.name",
    "serial_number",
    "os_type",
    "location.volume.uuid",
)
_REMOVAL_SECONDS = 60.0
"""Time for one step of the removal of a temporary LUN, granted even when the restore's own is used up."""
UNKNOWN_WAIT = 900.0
SETTLE = 15.0
"""Seconds that an overwrite which had begun has to end once its source is gone."""
_CLONE_TRIES = 3
"""How often a clone that the array would not start is tried: the load that hinders it may pass, a fault does not."""
_FIRST_PAUSE = 0.5
"""Seconds before the second try, or look, while the array copies something else; doubled for each further one."""
_LONGEST_PAUSE = 8.0
"""The longest such pause: copies of large LUNs take minutes, and a guest is off meanwhile."""

REMEDIES = {
    codes.LUN_IN_IMPORT: "End the foreign LUN import of this LUN first",
    codes.LUN_AGGREGATE_OFFLINE: "Bring the aggregate online",
    codes.LUN_VOLUME_OFFLINE: "Bring the volume online",
    codes.LUN_DESTINATION_OFFLINE: "Bring the volume online",
    codes.CLONE_START_FAILED: "Look at the space of the volume and at the node's load of clone splits",
    codes.LUN_OPERATIONS_LIMIT: "Wait for the copies and moves of files and LUNs that are under way",
    codes.LUN_SNAPSHOT_NAME_TOO_LONG: "Use a shorter prefix for backups; restore this one with method sfsr_cli",
    codes.LUN_MAPPED: "Unmap it; nobody but a person has mapped it",
}
"""What to do about a refusal, by ONTAP's code."""


@dataclass(frozen=True)
class LunNow:
    """A LUN as the array has it at this moment; ``name`` is ``/vol/<volume>/<path>``, ``size`` in bytes.

    ``reserved``: its space is; ``unmaps``: hosts may give blocks back (SCSI thin provisioning). None is what the array
    does not tell. ``qos_uuid`` and ``qos_policy`` (its name) are empty without a policy.
    """

    uuid: str
    name: str
    comment: str
    size: int
    serial: str
    os_type: str
    volume_uuid: str
    enabled: Optional[bool] = None
    reserved: Optional[bool] = None
    unmaps: Optional[bool] = None
    qos_uuid: str = ""
    qos_policy: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LunNow:
        """Read a record of ``GET /storage/luns``."""
        space, policy = record.get("space") or {}, record.get("qos_policy") or {}
        return cls(
            uuid=str(record["uuid"]),
            name=str(record["name"]),
            comment=str(record.get("comment") or ""),
            size=int(space.get("size", 0)),
            serial=str(record.get("serial_number", "")),
            os_type=str(record.get("os_type", "")),
            volume_uuid=str(((record.get("location") or {}).get("volume") or {}).get("uuid", "")),
            enabled=record.get("enabled"),
            reserved=(space.get("guarantee") or {}).get("requested"),
            unmaps=space.get("scsi_thin_provisioning_support_enabled"),
            qos_uuid=str(policy.get("uuid") or ""),
            qos_policy=str(policy.get("name") or policy.get("uuid") or ""),
        )

    def is_temporary_of(self, lun_uuid: str) -> bool:
        """Tell whether it is a temporary clone that a restore of the LUN with this uuid made."""
        name = posixpath.basename(self.name)
        return name.startswith(TEMPORARY) and self.comment.startswith(f"{_OURS} of {lun_uuid} ")


@dataclass(frozen=True)
class TemporaryLun:
    """What looks like a temporary clone: of which LUN (its uuid) and for which restore, as name and comment tell.

    Both are empty unless the comment is one of ours and the name is the one that goes with it.
    """

    lun: LunNow
    svm: str
    of: str
    restore_id: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TemporaryLun:
        """Read a record of ``GET /storage/luns``."""
        lun = LunNow.from_record(record)
        svm, name = str((record.get("svm") or {}).get("name", "")), posixpath.basename(lun.name)
        parts = _COMMENT.fullmatch(lun.comment)
        if parts is None:
            return cls(lun, svm, "", "")
        of, snapshot, restore_id = parts.group("of", "snapshot", "restore_id")
        if name != temporary_path(name, restore_id=restore_id, lun_uuid=of, snapshot_uuid=snapshot):
            return cls(lun, svm, "", "")
        return cls(lun, svm, of, restore_id)

    @property
    def label(self) -> str:
        """Where it lies: ``svm:/vol/volume/path``."""
        return f"{self.svm}:{self.lun.name}"


def choose_lun_method(wanted: str, refused: Collection[str] = ()) -> tuple[LunMethod, ...]:
    """Return the ways to try for a LUN, in order; pure. ``file_clone`` means the clone, as for files.

    :raises InputError: ``wanted`` is no way for LUNs, or nothing is left of it.
    """
    order = tuple(way for way in _WAYS.get(wanted, ()) if way not in refused)
    if order:
        return order
    reason = f"the system refused {', '.join(sorted(refused))}"
    if wanted not in _WAYS:
        reason = (
            f"those for LUNs are {', '.join(_WAYS)}; no host sees the LUNs inside a snapshot, so none can be copied"
        )
    raise InputError(f"Failed to choose a restore method: of {wanted!r} none is left for a LUN, {reason}")


def lun_ways(refused: Collection[str]) -> frozenset[str]:
    """Return the ways of a LUN that fall with these ways of a file (a licence serves both); pure."""
    return frozenset("lun_clone" if way == "file_clone" else way for way in refused)


def differences(then: LunIdentity, now: LunNow) -> list[str]:
    """Return what of a LUN's identity is not as it was, each as a phrase with both values; pure."""
    pairs = (
        ("uuid", now.uuid, then.uuid),
        ("serial", now.serial, then.serial),
        ("size", now.size, then.size),
        ("os_type", now.os_type, then.os_type),
    )
    return [f"its {what} is {found} and was {wanted}" for what, found, wanted in pairs if found != wanted]


def settings_lost(before: LunNow, now: LunNow) -> tuple[str, ...]:
    """Return what of a LUN's settings is not as it was, each as a sentence with both values and the remedy; pure."""
    pairs = (
        ("QoS policy", now.qos_policy or "none", before.qos_policy or "none"),
        ("space reservation (space.guarantee.requested)", now.reserved, before.reserved),
        ("SCSI thin provisioning (space.scsi_thin_provisioning_support_enabled)", now.unmaps, before.unmaps),
        ("state (enabled)", now.enabled, before.enabled),
        ("comment", now.comment or "none", before.comment or "none"),
    )
    return tuple(
        f"the {what} of LUN {now.name} is {_word(found)} and was {_word(wanted)}: set it again"
        for what, found, wanted in pairs
        if found != wanted
    )


def temporary_path(path: str, *, restore_id: str, lun_uuid: str, snapshot_uuid: str) -> str:
    """Return where the temporary clone for the LUN at ``path`` of its volume goes: beside it. Pure.

    One of another snapshot goes elsewhere: made late, by a request whose answer got lost, it is never taken for this
    one. A LUN's name holds letters, digits and ``- . _ { }`` only.
    """
    part = re.sub(r"[^A-Za-z0-9._-]", "_", restore_id)[:64]
    mark = hashlib.sha256(f"{lun_uuid} {snapshot_uuid} {restore_id}".encode()).hexdigest()[:12]
    return posixpath.join(posixpath.dirname(relative_path(path)), f"{TEMPORARY}{part}-{mark}")


def temporary_comment(*, restore_id: str, lun_uuid: str, snapshot_uuid: str) -> str:
    """Return the comment of a temporary clone, of at most ONTAP's 254 characters; pure."""
    return f"{_OURS} of {lun_uuid} in snapshot {snapshot_uuid} for restore {restore_id}"


def read_lun(client: Client, uuid: str, *, deadline: Optional[Deadline] = None) -> Optional[LunNow]:
    """Return the LUN with a uuid, None when there is none. Source: ``GET /storage/luns/{uuid}``. :raises OntapError:"""
    try:
        record = client.get(f"/storage/luns/{segment(uuid)}", {"fields": ",".join(_FIELDS)}, deadline=deadline)
    except OntapError as exc:
        if exc.has_code(*codes.NO_SUCH_LUN):
            return None
        raise during(exc, f"read LUN {uuid} at {client.name}") from exc
    return LunNow.from_record(record)


def read_data(client: Client, lun: LunNow, offset: int, *, length: int, deadline: Optional[Deadline] = None) -> bytes:
    """Return ``length`` bytes (at most 1 MB, fewer at the end) of a LUN's content as the array has it.

    Source: ``GET /storage/luns/{uuid}?data.offset=&data.size=``. :raises OntapError:
    """
    size = min(length, lun.size - offset, BLOCK_LIMIT)
    path = f"/storage/luns/{segment(lun.uuid)}"
    try:
        return client.get_bytes(path, {"data.offset": offset, "data.size": size}, deadline=deadline)
    except OntapError as exc:
        raise during(exc, f"read LUN {lun.name} at byte {offset}") from exc


def leftovers(
    client: Client, volume: Volume, *, lun_uuid: str, deadline: Optional[Deadline] = None
) -> tuple[LunNow, ...]:
    """Return the temporary clones that earlier restores of a LUN left on its volume; :raises OntapError:"""
    params: Params = {"location.volume.uuid": volume.uuid, "name": Expression(f"*{TEMPORARY}*")}
    try:
        records = client.records("/storage/luns", params, fields=_FIELDS, deadline=deadline)
    except OntapError as exc:
        raise during(exc, f"list the LUNs of {volume.label}", svm=volume.svm, volume=volume.name) from exc
    found = (LunNow.from_record(record) for record in records)
    return tuple(lun for lun in found if lun.is_temporary_of(lun_uuid) and lun.volume_uuid == volume.uuid)


def temporary_luns(
    client: Client, volumes: Iterable[str], *, deadline: Optional[Deadline] = None
) -> list[TemporaryLun]:
    """Return the LUNs with the name of a temporary clone on volumes (uuids), whoever made them; :raises OntapError:"""
    params: Params = {"location.volume.uuid": any_of(volumes), "name": Expression(f"*{TEMPORARY}*")}
    try:
        records = client.records("/storage/luns", params, fields=(*_FIELDS, "svm.name"), deadline=deadline)
    except OntapError as exc:
        raise during(exc, f"list the temporary LUNs at {client.name}") from exc
    found = map(TemporaryLun.from_record, records)
    return [each for each in found if posixpath.basename(each.lun.name).startswith(TEMPORARY)]


def clone_over(
    client: Client,
    volume: Volume,
    *,
    path: str,
    identity: LunIdentity,
    snapshot: str,
    snapshot_uuid: str,
    restore_id: str,
    look: Callable[[LunNow], None],
    deadline: Deadline,
    unknown_wait: float = UNKNOWN_WAIT,
    settle: float = SETTLE,
) -> Optional[str]:
    """Overwrite the LUN at ``path`` of its volume with its state in a snapshot, by way of a temporary clone.

    ``look`` is called with the temporary clone directly before it is used: it holds what the LUN will hold, and is to
    be written down. The time that it takes is not counted. Temporary clones of earlier restores of this LUN are removed
    first. Safe to repeat after a break anywhere. Returns None, or a phrase: it names the temporary clone that could not
    be removed, or says that the overwrite was not answered; it is over then, and the bytes tell how it ended.

    :raises StillOpenError: it may still take effect, after ``unknown_wait`` seconds of trying to take its source away
        and of waiting for its end. :raises OntapError: with what to do about it. The temporary clone is removed then,
        too, or named.
    """
    names = {"svm": volume.svm, "volume": volume.name, "snapshot": snapshot, "path": path}
    label = f"{volume.svm}:/vol/{volume.name}/{path}"
    made: list[LunNow] = []
    try:
        for old in leftovers(client, volume, lun_uuid=identity.uuid, deadline=deadline):
            delete_temporary(client, old, deadline=deadline)
        made.append(
            _temporary(
                client,
                volume,
                path=path,
                lun=identity,
                snapshot=snapshot,
                snapshot_uuid=snapshot_uuid,
                restore_id=restore_id,
                deadline=deadline,
            )
        )
        if made[0].size != identity.size:
            reason = f"the LUN has {identity.size} bytes, and had {made[0].size} in the snapshot"
            raise OntapError("compare the sizes", reason)
        began = client.clock.monotonic()
        look(made[0])
        deadline = replace(deadline, at=deadline.at + client.clock.monotonic() - began)
        _overwrite(client, read_lun(client, identity.uuid, deadline=deadline), made[0], deadline)
    except _OverwriteUnknownError as exc:
        revoke(
            client,
            made[0].uuid,
            target=identity.uuid,
            job=exc.fields.get("job"),
            unknown_wait=unknown_wait,
            settle=settle,
        )
        return f"its overwrite was not answered ({exc.reason}); its source was taken away, and the content decided"
    except OntapError as exc:
        action = f"bring LUN {label} back to snapshot {snapshot}"
        said = [_reason_with_remedy(exc), *filter(None, (_removed(client, volume, lun) for lun in made))]
        raise type(exc)(action, "; ".join(said), outcome=exc.outcome, **{**exc.fields, **names}) from exc
    except BaseException:
        for lun in made:
            _removed(client, volume, lun)
        raise
    return _removed(client, volume, made[0])


def delete_temporary(client: Client, lun: LunNow, *, deadline: Deadline) -> None:
    """Delete a temporary clone; one that is mapped (by a person: nobody else maps it) stays. :raises OntapError:"""

    def gone() -> Optional[dict[str, Any]]:
        return {} if read_lun(client, lun.uuid, deadline=deadline) is None else None

    try:
        client.delete(f"/storage/luns/{segment(lun.uuid)}", fate=gone, deadline=deadline)
    except OntapError as exc:
        if not exc.has_code(*codes.NO_SUCH_LUN):
            raise during(exc, f"delete the temporary LUN {lun.name}") from exc


def _temporary(
    client: Client,
    volume: Volume,
    *,
    path: str,
    lun: LunIdentity,
    snapshot: str,
    snapshot_uuid: str,
    restore_id: str,
    deadline: Deadline,
) -> LunNow:
    """Clone the LUN out of the snapshot; an answer that got lost is met by looking for what it would have made."""
    temporary = temporary_path(path, restore_id=restore_id, lun_uuid=lun.uuid, snapshot_uuid=snapshot_uuid)
    name = f"/vol/{volume.name}/{temporary}"
    comment = temporary_comment(restore_id=restore_id, lun_uuid=lun.uuid, snapshot_uuid=snapshot_uuid)
    body = {
        "svm": {"name": volume.svm},
        "name": name,
        "comment": comment,
        "clone": {"source": {"name": f"/vol/{volume.name}/{in_snapshot(snapshot, path)}"}},
    }

    def find() -> Optional[LunNow]:
        found = leftovers(client, volume, lun_uuid=lun.uuid, deadline=deadline)
        return next((each for each in found if (each.name, each.comment) == (name, comment)), None)

    def there() -> Optional[dict[str, Any]]:
        return {} if find() else None

    def make() -> None:
        client.post("/storage/luns", None, body, fate=there, deadline=deadline)

    _patiently(make, client, deadline)
    made = find()
    if made is None:
        raise OntapError(f"find the temporary LUN {name}", "it is not there although it was made")
    return made


def revoke(client: Client, source: str, *, target: str, job: Optional[str], unknown_wait: float, settle: float) -> None:
    """Take the source (a temporary LUN's uuid) of an overwrite away whose fate is unknown, and let that settle.

    What has not begun by then fails; a ``job`` that the array named must have ended, too. After ``settle`` seconds the
    LUN ``target`` (its uuid) must take a change of its settings: none is taken while something is copied over it.

    :raises StillOpenError: not all that was so after ``unknown_wait`` seconds, the settle time not counted.
    """
    bound = Deadline.after(unknown_wait, client.clock)
    begins = f"take away the temporary LUN {source}, the source of an overwrite whose fate is unknown"
    _until(client, partial(_may_begin, client, source, job), bound, begins, waited=unknown_wait, job=job)
    client.clock.sleep(settle)
    bound = replace(bound, at=bound.at + settle)
    goes_on = f"see the end of an overwrite of LUN {target} whose fate is unknown"
    _until(client, partial(_goes_on, client, target), bound, goes_on, waited=unknown_wait, job=job)


def _until(
    client: Client,
    hindrance: Callable[[Deadline], Optional[str]],
    bound: Deadline,
    action: str,
    *,
    waited: float,
    job: Optional[str],
) -> None:
    """Ask until there is no hindrance any more, each time bounded. :raises StillOpenError: there is one at the end."""
    pause = _FIRST_PAUSE
    while True:
        try:
            reason = hindrance(Deadline.after(min(_REMOVAL_SECONDS, max(bound.remaining(), 1.0)), bound.clock))
        except OntapError as exc:
            reason = exc.reason
        if reason is None:
            return
        if pause >= bound.remaining():
            raise StillOpenError(action, f"{reason} after {waited:g} s", controller=client.name, job=job)
        bound.clock.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _may_begin(client: Client, source: str, job: Optional[str], step: Deadline) -> Optional[str]:
    """Delete a temporary LUN and read it back as gone; return why an overwrite from it may still take effect."""
    found = client.job(job, deadline=step) if job else None
    if found is not None and not found.ended:
        return f"job {job} is {found.state}"
    lun = read_lun(client, source, deadline=step)
    if lun is not None:
        delete_temporary(client, lun, deadline=step)
    return None if read_lun(client, source, deadline=step) is None else "it is still there"


def _goes_on(client: Client, target: str, step: Deadline) -> Optional[str]:
    """Give a LUN the comment that it has; return why the array does not take even that, None when it does.

    Source: ``PATCH /storage/luns/{uuid}``, code 7018919 ("A copy or move job exists with the same destination LUN").
    """
    lun = read_lun(client, target, deadline=step)
    if lun is None:
        return None
    client.patch(f"/storage/luns/{segment(target)}", None, {"comment": lun.comment}, retry_safe=True, deadline=step)
    return None


class _OverwriteUnknownError(OutcomeUnknownError):
    """The overwrite may be under way."""


def _overwrite(client: Client, lun: Optional[LunNow], source: LunNow, deadline: Deadline) -> None:
    """Overwrite, asked for one single time: a repetition could take effect when the guest runs again."""
    if lun is None:
        raise OntapError("overwrite the LUN", "it is gone")
    body = {"clone": {"source": {"uuid": source.uuid}}, **_kept(lun)}

    def patch() -> None:
        path = f"/storage/luns/{segment(lun.uuid)}"
        try:
            client.change_once("PATCH", path, None, body, begun=lambda _job: None, deadline=deadline)
        except JobGoneError:
            return
        except OutcomeUnknownError as exc:
            raise _OverwriteUnknownError(exc.action, exc.reason, outcome=exc.outcome, **exc.fields) from exc
        except OntapError as exc:
            if not exc.has_code(codes.LUN_OVERWRITTEN_PARTLY_SET):
                raise

    _patiently(patch, client, deadline)


def _kept(lun: LunNow) -> dict[str, Any]:
    """Return the part of an overwrite's body that lets a LUN keep its settings; pure.

    ONTAP says it keeps class, automatic deletion, maps, serial, state and uuid "unless otherwise specified"; what else
    a LUN has may become the source's, a temporary clone's without a QoS policy.
    """
    space: dict[str, Any] = {}
    if lun.reserved is not None:
        space["guarantee"] = {"requested": lun.reserved}
    if lun.unmaps is not None:
        space["scsi_thin_provisioning_support_enabled"] = lun.unmaps
    policy = {"qos_policy": {"uuid": lun.qos_uuid}} if lun.qos_uuid else {}
    return {"comment": lun.comment, **({"space": space} if space else {}), **policy}


def _word(value: Union[str, bool, None]) -> str:
    return value if isinstance(value, str) else {True: "on", False: "off", None: "unknown"}[value]


def _patiently(change: Callable[[], None], client: Client, deadline: Deadline) -> None:
    """Make a change, again while the array is busy with other copies, and a few times when a clone would not start.

    An overwrite is made again only where its refusal proves that it did not begin.
    """
    pause, tries = _FIRST_PAUSE, 0
    while True:
        tries += 1
        try:
            change()
        except _OverwriteUnknownError:
            raise
        except OntapError as exc:
            busy = exc.has_code(codes.LUN_OPERATIONS_LIMIT, codes.LUN_COPY_UNDER_WAY, codes.LUN_IN_RESTORE)
            once_more = exc.has_code(codes.CLONE_START_FAILED) and tries < _CLONE_TRIES
            if not (busy or once_more) or pause >= deadline.remaining():
                raise
        else:
            return
        client.clock.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _removed(client: Client, volume: Volume, lun: LunNow) -> Optional[str]:
    """Delete a temporary clone in a time of its own; return a phrase that names it when that fails."""
    try:
        delete_temporary(client, lun, deadline=Deadline.after(_REMOVAL_SECONDS, client.clock))
    except OntapError as exc:
        return f"the temporary LUN {volume.svm}:{lun.name} is left behind, delete it ({_reason_with_remedy(exc)})"
    return None


def _reason_with_remedy(exc: OntapError) -> str:
    """Return the reason with what to do about it."""
    remedy = REMEDIES.get(exc.code or "")
    return f"{exc.reason}. {remedy}" if remedy else exc.reason
