# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: what they are, whose they are, and what is to be done to a set of them (pure decisions).

A snapshot is ours when its comment begins with ``kvmsnap/<owner>:``. Acting on the decisions is ``snapshot_sets``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError, during
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import segment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

FIELDS = (
    "uuid",
    "name",
    "create_time",
    "comment",
    "snapmirror_label",
    "expiry_time",
    "snaplock_expiry_time",
    "owners",
)
MAX_NAME = 255
MAX_COMMENT = 255
MAX_LABEL = 31
CLONE_OWNERS = frozenset({"volume_clone", "volume_clone_dependent"})
"""Owners that are FlexClones, which ``clones_of`` can name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+:-]*\Z")
_FRACTION = re.compile(r"\.[0-9]+")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")

Action = Literal["create", "modify", "delete", "nothing"]


class SnapshotRefusedError(KvmsnapError):
    """What was asked for may not be done to these volumes; nothing has been changed. ``refusals`` tells each."""


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of one volume; times are aware datetimes or ``None``."""

    uuid: str
    name: str
    create_time: Optional[datetime] = None
    comment: str = ""
    snapmirror_label: Optional[str] = None
    expiry_time: Optional[datetime] = None
    snaplock_expiry_time: Optional[datetime] = None
    owners: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Snapshot:
        """Read a record of ``GET /storage/volumes/{uuid}/snapshots``."""
        return cls(
            uuid=str(record["uuid"]),
            name=str(record["name"]),
            create_time=_time_of(record, "create_time"),
            comment=str(record.get("comment") or ""),
            snapmirror_label=record.get("snapmirror_label") or None,
            expiry_time=_time_of(record, "expiry_time"),
            snaplock_expiry_time=_time_of(record, "snaplock_expiry_time"),
            owners=tuple(str(owner) for owner in record.get("owners") or ()),
        )

    def is_of(self, owner: str) -> bool:
        """Tell whether ``owner`` made it, by its comment."""
        return self.comment.startswith(f"kvmsnap/{owner}:")

    def kept_until(self) -> Optional[datetime]:
        """Return the moment before which it cannot be deleted, the later of expiry and lock."""
        times = [each for each in (self.expiry_time, self.snaplock_expiry_time) if each]
        return max(times) if times else None


@dataclass(frozen=True)
class SnapshotRequest:
    """What the snapshots of a set shall be like; ``None`` leaves a property alone.

    One of the name that the owner did not make is an error, unless it is as good as one of ours (``allow_foreign``) or,
    where snapshots are removed, none of our business (``keep_foreign``; one with another comment is none of ours either
    when there is a ``comment``). With ``only_new`` one of the owner's is an error, too, where snapshots are created.
    """

    name: str
    owner: str = "kvmsnap"
    comment: Optional[str] = None
    snapmirror_label: Optional[str] = None
    expiry_time: Optional[datetime] = None
    allow_foreign: bool = False
    keep_foreign: bool = False
    only_new: bool = False

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        owner: str = "kvmsnap",
        comment: Optional[str] = None,
        snapmirror_label: Optional[str] = None,
        expiry_time: Optional[str] = None,
        allow_foreign: bool = False,
        keep_foreign: bool = False,
        only_new: bool = False,
    ) -> SnapshotRequest:
        """Read options as a user gives them; ``expiry_time`` is ISO 8601 with an offset.

        :raises InputError: one of them cannot be used.
        """
        if not _OWNER.match(owner):
            raise InputError(f"Failed to use owner {owner!r}: only letters, digits, '_', '-' and '.' are allowed")
        if snapmirror_label is not None and not 1 <= len(snapmirror_label) <= MAX_LABEL:
            reason = f"a label has 1 to {MAX_LABEL} characters"
            raise InputError(f"Failed to use snapmirror_label {snapmirror_label!r}: {reason}")
        wanted = cls(
            name=name,
            owner=owner,
            comment=comment,
            snapmirror_label=snapmirror_label,
            expiry_time=None if expiry_time is None else parse_time(expiry_time, what="expiry_time"),
            allow_foreign=allow_foreign,
            keep_foreign=keep_foreign,
            only_new=only_new,
        )
        if len(wanted.stored_comment) > MAX_COMMENT or not wanted.stored_comment.isprintable():
            reason = f"with its prefix it must be printable, on one line, and at most {MAX_COMMENT} characters long"
            raise InputError(f"Failed to use comment {comment!r}: {reason}")
        return wanted

    @property
    def stored_comment(self) -> str:
        """The comment as it stands on the array."""
        return f"kvmsnap/{self.owner}: {self.comment or ''}".rstrip()

    def leaves(self, snapshot: Snapshot) -> bool:
        """Tell whether a snapshot of the name is to stay where the owner's are removed."""
        other = self.comment is not None and snapshot.comment != self.stored_comment
        return self.keep_foreign and (other or not snapshot.is_of(self.owner))

    def late_properties(self) -> dict[str, str]:
        """Return what is set once all snapshots exist, as fields of a PATCH; the one that can be undone first."""
        expiry = None if self.expiry_time is None else format_time(self.expiry_time)
        late = {"snapmirror_label": self.snapmirror_label, "expiry_time": expiry}
        return {key: value for key, value in late.items() if value is not None}


@dataclass(frozen=True)
class Known:
    """A volume and its snapshot of the name in question; ``asked_at``: when the array was asked (host monotonic s)."""

    volume: Volume
    snapshot: Optional[Snapshot]
    asked_at: Optional[float] = None


@dataclass(frozen=True)
class VolumeStep:
    """What is to be done on one volume; ``changes`` are fields of a PATCH."""

    known: Known
    action: Action
    changes: Mapping[str, str]

    @property
    def volume(self) -> Volume:
        """The volume it is about."""
        return self.known.volume


@dataclass(frozen=True)
class Refusal:
    """Why nothing may be done on one volume."""

    volume: Volume
    reason: str
    owners: tuple[str, ...] = ()
    kept_until: Optional[datetime] = None


@dataclass(frozen=True)
class SnapshotPlan:
    """The decision: one step per volume, or refusals. It feeds check mode, ``changed``, diff and acting alike."""

    name: str
    steps: tuple[VolumeStep, ...]
    refusals: tuple[Refusal, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return any(step.action != "nothing" for step in self.steps)

    def raise_refusals(self, action: str) -> None:
        """Raise when a volume's step was refused; ``action`` is ``create`` or ``delete``.

        :raises SnapshotRefusedError: with every refusal in ``refusals``.
        """
        if not self.refusals:
            return
        reasons = "; ".join(f"{refusal.volume.label}: {refusal.reason}" for refusal in self.refusals)
        raise SnapshotRefusedError(
            f"Failed to {action} snapshot {self.name!r}: {reasons}",
            snapshot=self.name,
            refusals=[_refusal_data(refusal) for refusal in self.refusals],
        )


@dataclass(frozen=True)
class Taken:
    """A snapshot as it is, with the proof of when it came to be (seconds on the host's monotonic clock).

    The name was absent when asked at ``absent_at``, the request went out at ``requested_at``, and that it exists was
    answered at ``confirmed_at``. All three are ``None`` for one that existed before. ``array_ahead`` is how far the
    array's clock was ahead of the host's monotonic one then, least and most, where it gave its time.
    """

    volume: Volume
    snapshot: Snapshot
    created: bool = False
    absent_at: Optional[float] = None
    requested_at: Optional[float] = None
    confirmed_at: Optional[float] = None
    array_ahead: Optional[tuple[float, float]] = None


def parse_time(text: str, *, what: str) -> datetime:
    """Read an ISO 8601 time with an offset (or Z), to the second; ``what`` names it in the message.

    :raises InputError: it is none, or it has no offset and could mean another moment on another host.
    """
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", _FRACTION.sub("", text.strip())))
    except ValueError as exc:
        reason = "it is not a time in ISO 8601 (2026-12-31T23:59:00+01:00)"
        raise InputError(f"Failed to read {what} {text!r}: {reason}", option=what) from exc
    if moment.tzinfo is None:
        raise InputError(f"Failed to read {what} {text!r}: its offset from UTC is missing (+01:00, Z)", option=what)
    return moment


def format_time(moment: datetime) -> str:
    """Return a time as ISO 8601 with its offset, as ONTAP reads it."""
    return moment.isoformat(timespec="seconds")


def check_name(name: str, *, new: bool) -> None:
    """Check a snapshot's name before anything is sent.

    A ``new`` one may hold letters, digits and ``_ . + : -`` and begins with a letter or digit; of an existing one only
    what cannot be a name at all is refused.

    :raises InputError:
    """
    reason = None
    if not name or len(name) > MAX_NAME:
        reason = f"a name has 1 to {MAX_NAME} characters"
    elif new and not _NAME.match(name):
        reason = "only letters, digits and '_', '.', '+', ':', '-' are allowed, a letter or digit first"
    elif name in (".", "..") or "/" in name or not name.isprintable():
        reason = "it holds a character that no snapshot name can have"
    if reason:
        raise InputError(f"Failed to use snapshot name {name!r}: {reason}", snapshot=name)


def plan_present(wanted: SnapshotRequest, known: Iterable[Known]) -> SnapshotPlan:
    """Decide what makes ``wanted`` true on all volumes; pure.

    Refused: a volume that cannot have snapshots, a snapshot of the name that is not ours (unless ``allow_foreign``) or
    is ours though all are to be new (``only_new``), and a set that exists on some volumes only: completed now, it would
    not be of one moment.
    """
    known = list(known)
    steps: list[VolumeStep] = []
    refusals: list[Refusal] = []
    for each in known:
        reason = each.volume.unfit()
        if reason is None and each.snapshot and not wanted.allow_foreign and not each.snapshot.is_of(wanted.owner):
            reason = _foreign(each.snapshot, wanted.owner)
        if reason is None and each.snapshot and wanted.only_new:
            reason = f"a snapshot of this name is there already (its comment is {each.snapshot.comment!r}); it stays"
        if reason is not None:
            refusals.append(Refusal(each.volume, reason))
        elif each.snapshot is None:
            steps.append(VolumeStep(each, "create", wanted.late_properties()))
        else:
            changes = _changes(wanted, each.snapshot)
            steps.append(VolumeStep(each, "modify" if changes else "nothing", changes))
    missing = [each.volume for each in known if each.snapshot is None]
    if missing and len(missing) < len(known) and not refusals:
        present = ", ".join(each.volume.label for each in known if each.snapshot)
        reason = (
            f"it exists already on {present}, and added here it would not be of the same moment;"
            " delete it there first (state: absent), or choose another name"
        )
        refusals.extend(Refusal(volume, reason) for volume in missing)
    return SnapshotPlan(wanted.name, tuple(steps), tuple(refusals))


def plan_absent(wanted: SnapshotRequest, known: Iterable[Known], *, now: Callable[[Volume], datetime]) -> SnapshotPlan:
    """Decide what removes the snapshots of the name; pure. ``now`` tells the time on the array of a volume."""
    steps: list[VolumeStep] = []
    refusals: list[Refusal] = []
    for each in known:
        if each.snapshot is None or wanted.leaves(each.snapshot):
            steps.append(VolumeStep(each, "nothing", {}))
            continue
        refusal = undeletable(each.volume, each.snapshot, wanted, now=now(each.volume))
        if refusal:
            refusals.append(refusal)
        else:
            steps.append(VolumeStep(each, "delete", {}))
    return SnapshotPlan(wanted.name, tuple(steps), tuple(refusals))


def undeletable(volume: Volume, snapshot: Snapshot, wanted: SnapshotRequest, *, now: datetime) -> Optional[Refusal]:
    """Return why a snapshot may not be deleted, or ``None``; pure. ``now`` is the time on its array."""
    unfit = volume.unfit()
    if unfit:
        return Refusal(volume, unfit)
    if not wanted.allow_foreign and not snapshot.is_of(wanted.owner):
        return Refusal(volume, _foreign(snapshot, wanted.owner))
    if snapshot.owners:
        reason = f"the snapshot is busy, it is in use by {', '.join(snapshot.owners)}"
        return Refusal(volume, reason, owners=snapshot.owners)
    until = snapshot.kept_until()
    if until is not None and until > now:
        locked = snapshot.snaplock_expiry_time is not None and snapshot.snaplock_expiry_time > now
        reason = f"the snapshot is {'locked' if locked else 'kept'} until {format_time(until)}"
        return Refusal(volume, reason, kept_until=until)
    return None


def read_snapshot(client: Client, volume: Volume, *, name: str, deadline: Deadline) -> Optional[Snapshot]:
    """Return the snapshot of a volume by its name, or ``None``. :raises OntapError:"""
    try:
        records = client.records(snapshot_path(volume), {"name": name}, fields=FIELDS, deadline=deadline)
    except OntapError as exc:
        action = f"look for snapshot {name!r} on {volume.label}"
        raise during(exc, action, **names_of(volume, name)) from exc
    matching = [Snapshot.from_record(record) for record in records if record.get("name") == name]
    return matching[0] if matching else None


def list_snapshots(client: Client, volume: Volume, *, deadline: Optional[Deadline] = None) -> list[Snapshot]:
    """Return all snapshots of a volume. Source: ``GET /storage/volumes/{uuid}/snapshots``. :raises OntapError:"""
    try:
        records = client.records(snapshot_path(volume), fields=FIELDS, deadline=deadline)
    except OntapError as exc:
        action = f"list the snapshots of {volume.label}"
        raise during(exc, action, svm=volume.svm, volume=volume.name) from exc
    return [Snapshot.from_record(record) for record in records]


def clones_of(client: Client, volume: Volume, snapshot: str, *, deadline: Deadline) -> list[str]:
    """Return the volumes (``svm:volume``) that are FlexClones of a snapshot.

    Source: ``GET /storage/volumes?clone.parent_snapshot.name=``. :raises OntapError:
    """
    params = {
        "clone.parent_volume.name": volume.name,
        "clone.parent_snapshot.name": snapshot,
        "clone.parent_svm.name": volume.svm,
    }
    records = client.records("/storage/volumes", params, fields=("name", "svm.name"), deadline=deadline)
    return sorted(f"{(record.get('svm') or {}).get('name', volume.svm)}:{record['name']}" for record in records)


def snapshot_path(volume: Volume, snapshot_uuid: Optional[str] = None) -> str:
    """Return the path of a volume's snapshots, or of one of them."""
    base = f"/storage/volumes/{segment(volume.uuid)}/snapshots"
    return base if snapshot_uuid is None else f"{base}/{segment(snapshot_uuid)}"


def names_of(volume: Volume, snapshot: str) -> dict[str, Any]:
    """Return the machine fields that name a snapshot in an error."""
    return {"controller": volume.controller, "svm": volume.svm, "volume": volume.name, "snapshot": snapshot}


def as_result(taken: Taken) -> dict[str, Any]:
    """Return a snapshot as the modules return it."""
    snapshot = taken.snapshot
    return {
        "controller": taken.volume.controller,
        "svm": taken.volume.svm,
        "svm_uuid": taken.volume.svm_uuid,
        "volume": taken.volume.name,
        "volume_uuid": taken.volume.uuid,
        "name": snapshot.name,
        "uuid": snapshot.uuid or None,
        "create_time": snapshot.create_time and format_time(snapshot.create_time),
        "comment": snapshot.comment,
        "snapmirror_label": snapshot.snapmirror_label,
        "expiry_time": snapshot.expiry_time and format_time(snapshot.expiry_time),
        "created": taken.created,
        "absent_at": taken.absent_at,
        "requested_at": taken.requested_at,
        "confirmed_at": taken.confirmed_at,
        "array_ahead": taken.array_ahead and list(taken.array_ahead),
    }


def diff_of(plan: SnapshotPlan, wanted: SnapshotRequest) -> dict[str, Any]:
    """Return ``before`` and ``after`` of the plan, keyed by ``svm:volume``; ``None`` where no snapshot is."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for step in plan.steps:
        now = _diffable(step.known.snapshot)
        before[step.volume.label] = now
        if step.action == "delete":
            after[step.volume.label] = None
        else:
            after[step.volume.label] = _diffable(_as_planned(step, wanted)) if step.action != "nothing" else now
    return {"before": before, "after": after}


def as_planned(plan: SnapshotPlan, wanted: SnapshotRequest) -> list[Taken]:
    """Return what a plan for ``present`` would lead to, as far as it can be known before: check mode's result."""
    return [Taken(step.volume, _as_planned(step, wanted), created=step.action == "create") for step in plan.steps]


def _as_planned(step: VolumeStep, wanted: SnapshotRequest) -> Snapshot:
    new = Snapshot(uuid="", name=wanted.name, comment=wanted.stored_comment)
    snapshot = step.known.snapshot or new
    return replace(
        snapshot,
        comment=step.changes.get("comment", snapshot.comment),
        snapmirror_label=step.changes.get("snapmirror_label", snapshot.snapmirror_label),
        expiry_time=wanted.expiry_time if "expiry_time" in step.changes else snapshot.expiry_time,
    )


def _diffable(snapshot: Optional[Snapshot]) -> Optional[dict[str, Any]]:
    if snapshot is None:
        return None
    return {
        "name": snapshot.name,
        "comment": snapshot.comment,
        "snapmirror_label": snapshot.snapmirror_label,
        "expiry_time": snapshot.expiry_time and format_time(snapshot.expiry_time.astimezone(timezone.utc)),
    }


def _changes(wanted: SnapshotRequest, snapshot: Snapshot) -> dict[str, str]:
    changes: dict[str, str] = {}
    if wanted.comment is not None and snapshot.comment != wanted.stored_comment:
        changes["comment"] = wanted.stored_comment
    if wanted.snapmirror_label is not None and snapshot.snapmirror_label != wanted.snapmirror_label:
        changes["snapmirror_label"] = wanted.snapmirror_label
    if wanted.expiry_time is not None and snapshot.expiry_time != wanted.expiry_time:
        changes["expiry_time"] = format_time(wanted.expiry_time)
    return changes


def _foreign(snapshot: Snapshot, owner: str) -> str:
    comment = f"its comment is {snapshot.comment!r}" if snapshot.comment else "it has no comment"
    return f"a snapshot of this name exists that owner {owner!r} did not make ({comment}); allow_foreign is off"


def _refusal_data(refusal: Refusal) -> dict[str, Any]:
    return {
        "controller": refusal.volume.controller,
        "svm": refusal.volume.svm,
        "volume": refusal.volume.name,
        "reason": refusal.reason,
        "owners": list(refusal.owners),
        "kept_until": refusal.kept_until and format_time(refusal.kept_until),
    }


def _time_of(record: Mapping[str, Any], key: str) -> Optional[datetime]:
    text = record.get(key)
    return parse_time(str(text), what=key) if text else None
