# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the manifest of a backup down, phase by phase: what ``kvm_backup_manifest`` does."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import left_out
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.plan import (
    BackupPlan,
    MadeSnapshot,
    backup_plan,
    complete,
    without,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import (
    BackupScope,
    DiscoveredGuest,
    read_records,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store, volume_copies
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.comment import SnapshotComment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import (
    STARTED,
    TPM_STATE,
    BackingFile,
    Manifest,
    SavedGuest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_index import Part, digest_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import ManifestKey
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.summary import backup_record, lines
from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import UNKNOWN, Hold, at_least
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import file_state
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import changing, deletable
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import directory


class TakenBackError(KvmsnapError):
    """Another run of the same name takes a backup back, or has done so: there is no backup."""


@dataclass(frozen=True)
class IndexStep:
    """What binds a backup to the manifests of all hosts of one point in time: their parts, and who owns the snapshots.

    ``run_id`` names the run in their comment, ``key`` signs the index.
    """

    parts: tuple[Part, ...]
    owner: str
    run_id: str
    key: Optional[ManifestKey]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> IndexStep:
        """Read the options of ``state: indexed``; raises :class:`InputError`."""
        return cls(
            parts=read_records(options["parts"], Part.from_record, option="parts", source="kvm_backup_manifest"),
            owner=checked_id(options["snapshot_owner"], what="snapshot_owner"),
            run_id=options["run_id"],
            key=ManifestKey.from_options(options),
        )


@dataclass(frozen=True)
class BackupOutcome:
    """What hold and snapshots came to, the level asked for, and the uuids of the guests active on each other host."""

    holds: tuple[Hold, ...]
    snapshots: tuple[MadeSnapshot, ...]
    asked: str
    other_hosts: Mapping[str, Sequence[str]]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BackupOutcome:
        """Read the options of ``state: complete``; raises :class:`InputError`."""
        return cls(
            holds=read_records(options["holds"], Hold.from_record, option="holds", source="kvm_vm_quiesce"),
            snapshots=read_records(
                options["snapshots"], MadeSnapshot.from_record, option="snapshots", source="ontap_snapshot"
            ),
            asked=options["consistency"],
            other_hosts=options["other_hosts"],
        )


@dataclass(frozen=True)
class ManifestRequest:
    """Which manifest is to be brought where: started, bound, completed, withdrawn or removed.

    With ``run_id`` only that of this run is touched.
    """

    root: Path
    name: str
    run_id: Optional[str]
    hold_dir: Path
    step: Union[BackupScope, IndexStep, BackupOutcome, Literal["withdrawn", "absent"]]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ManifestRequest:
        """Read the module's options, those of the other states left alone; raises :class:`InputError`."""
        state = options["state"]
        step: Union[BackupScope, IndexStep, BackupOutcome, Literal["withdrawn", "absent"]]
        if state == "started":
            step = BackupScope.from_options(options)
        elif state == "indexed":
            step = IndexStep.from_options(options)
        elif state == "complete":
            step = BackupOutcome.from_options(options)
        else:
            step = state
        return cls(
            root=directory(options, "catalog_dir"),
            name=checked_id(options["backup_id"], what="backup_id"),
            run_id=options["run_id"],
            hold_dir=directory(options, "hold_dir"),
            step=step,
        )


def write(request: ManifestRequest, *, check: bool) -> dict[str, Any]:
    """Bring the manifest where it is wanted and return the module's result; with ``check`` nothing is written."""
    step = request.step
    if isinstance(step, BackupScope):
        return _start(request, step, check=check)
    if isinstance(step, IndexStep):
        return _indexed(request, step, check=check)
    if isinstance(step, BackupOutcome):
        return _complete(request, step, check=check)
    act = withdraw if step == "withdrawn" else remove
    return act(request.root, request.name, check=check, run_id=request.run_id)


def _start(request: ManifestRequest, scope: BackupScope, *, check: bool) -> dict[str, Any]:
    root, name = request.root, request.name
    known = store.load(root, name)
    if known is not None and (known.complete or not check):
        raise _there_already(root, known)
    excluded = {
        **left_out.locked_now(request.hold_dir, scope.protected),
        **left_out.half_restored(root, scope.everyone),
    }
    scope = left_out.without(scope, excluded)
    manifest, plan = planned(name, scope)
    holds = plan.holds(scope.methods, order=scope.order, filesystems=scope.filesystems)
    options = [hold.as_option(ordered=bool(scope.order)) for hold in holds]
    begun = foreseen(manifest, key=scope.key) if check else start(root, manifest, scope.guests, key=scope.key)
    result = result_of(begun.manifest, before="absent", notes=list(begun.notes))
    volumes = [{key: item[key] for key in ("svm", "volume", "volume_uuid")} for item in result["backup"]["volumes"]]
    unprotected = result["backup"]["unprotected"]
    comment = begun.manifest.comment
    return {
        **result,
        "plan": {"holds": options, "volumes": volumes, "comment": comment, "unprotected": unprotected},
        "run_id": manifest.run_id,
        "parts": [asdict(part) for part in begun.parts],
    }


def _indexed(request: ManifestRequest, step: IndexStep, *, check: bool) -> dict[str, Any]:
    """Bind the backup to the manifests of all hosts that make it at one point in time."""
    root, name = request.root, request.name
    known = store.load(root, name)
    if known is None or known.complete:
        state = "complete already" if known else "never started"
        raise InputError(f"Backup {name} was {state} in the catalog {root}", backup_id=name, path=str(root))
    given = {(part.host, part.key) for part in step.parts}
    lacking = [volume.label for volume in known.volumes if (known.owner, volume.key) not in given]
    if lacking:
        raise InputError(f"parts lacks what this host has on {', '.join(lacking)}; nothing was touched", option="parts")
    bound, notes = volume_copies.put_index(
        known, step.parts, owner=step.owner, run_id=step.run_id, key=step.key, check=check
    )
    if not check:
        _save_own(root, bound)
    return {**result_of(bound, before="started", notes=notes), "changed": bound != known}


def planned(name: str, scope: BackupScope) -> tuple[Manifest, BackupPlan]:
    """Return the manifest of a backup that is to be made, and its plan, from what a discovery found; writes nothing.

    Raises :class:`InputError` when nothing can be protected.
    """
    plan = backup_plan(scope)
    manifest = Manifest(
        backup_id=name,
        phase=STARTED,
        owner=scope.owner,
        policy=scope.policy,
        run_id=str(uuid.uuid4()),
        created=_now(),
        completed=None,
        guests=tuple(_with_backing_state(guest) for guest in plan.guests),
        volumes=plan.volumes,
        unprotected=plan.unprotected,
    )
    SnapshotComment.checked(owner=manifest.owner, run_id=manifest.run_id, index=digest_of(b""))
    return manifest, plan


@dataclass(frozen=True)
class Begun:
    """A started manifest, what its volumes carry of it, and notes about what could not be done."""

    manifest: Manifest
    parts: tuple[Part, ...]
    notes: tuple[str, ...]


def foreseen(manifest: Manifest, *, key: Optional[ManifestKey]) -> Begun:
    """Return what :func:`start` would make of a manifest; writes nothing. Raises as that does."""
    notes = volume_copies.refuse_foreign(manifest)
    copies = volume_copies.put_parts(manifest, check=True)
    bound, _none = _bound(manifest, copies, key, check=True)
    return Begun(bound, copies.parts, (*notes, *copies.notes))


def start(root: Path, manifest: Manifest, guests: Sequence[DiscoveredGuest], *, key: Optional[ManifestKey]) -> Begun:
    """Write the started manifest into the catalog and into the volumes; nothing is left of it when that fails.

    ``guests`` are those of the discovery: their UEFI variables and TPM states go into the catalog, and the manifest
    that is returned names them. Raises :class:`CatalogError`, and ``ForeignDirectoryError`` for a volume in which
    somebody else has put something where the copies go.
    """
    volume_copies.refuse_foreign(manifest)
    saved = {guest.uuid for guest in manifest.guests}
    own = [guest for guest in guests if guest.uuid in saved]
    with changing(root, manifest.backup_id):
        known = store.load(root, manifest.backup_id)
        if known is not None:
            raise _there_already(root, known)
        store.unmark(root, manifest.backup_id)
        manifest, notes = store.keep_side_files(root, manifest, _side_files(own))
        store.save(root, manifest, origin=Origin.OWN_RUN)
    try:
        copies = volume_copies.put_parts(manifest)
        bound, more = _bound(manifest, copies, key)
        _save_own(root, bound)
    except BaseException:
        remove(root, manifest.backup_id, check=False, run_id=manifest.run_id)
        raise
    return Begun(bound, copies.parts, (*notes, *copies.notes, *more))


def _bound(
    manifest: Manifest, copies: volume_copies.Copies, key: Optional[ManifestKey], *, check: bool = False
) -> tuple[Manifest, list[str]]:
    """Bind a manifest to the parts of this host alone."""
    return volume_copies.put_index(
        manifest, copies.parts, owner=manifest.owner, run_id=manifest.run_id, key=key, check=check
    )


def _complete(request: ManifestRequest, outcome: BackupOutcome, *, check: bool) -> dict[str, Any]:
    root, name = request.root, request.name
    known = store.load(root, name)
    if request.run_id and (known is None or known.run_id != request.run_id):
        raise _taken_back(name)
    if known is None:
        raise InputError(f"Backup {name} was never started in the catalog {root}", backup_id=name, path=str(root))
    if known.complete:
        result = result_of(known, before="complete", notes=[])
        return {**result, "guests_below_consistency": guests_below(known, outcome.asked), "changed": False}
    # In tasks a guest that was whole at the start may have been taken by a restore that broke off before the hold. One
    # that is under way now began after the hold, which refuses guests that are locked.
    guests = [(guest.uuid, guest.name) for guest in known.guests]
    half = left_out.half_restored(root, guests)
    busy = left_out.locked_now(request.hold_dir, guests) if half else {}
    half = {uuid: problem for uuid, problem in half.items() if uuid not in busy}
    done = completed(without(known, dict.fromkeys(half, left_out.HALF_RESTORED)), outcome)
    if not check:
        finish(root, done)
    below = guests_below(done, outcome.asked)
    return {**result_of(done, before="started", notes=[]), "guests_below_consistency": below}


def completed(started: Manifest, outcome: BackupOutcome) -> Manifest:
    """Return the complete manifest of this moment; raises as :func:`complete` does."""
    return complete(
        started,
        holds=outcome.holds,
        snapshots=outcome.snapshots,
        asked=outcome.asked,
        at=_now(),
        other_hosts=outcome.other_hosts,
    )


def finish(root: Path, manifest: Manifest) -> None:
    """Write the complete manifest, and take the started one out of the live volumes; raises :class:`CatalogError`.

    Raises :class:`TakenBackError` when another run of the same name has begun to take it back.
    """
    _save_own(root, manifest)
    volume_copies.take_out(manifest)


def _save_own(root: Path, manifest: Manifest) -> None:
    """Write the manifest of a backup that this run has begun, unless another run of the name takes it back."""
    with changing(root, manifest.backup_id):
        known = store.load(root, manifest.backup_id)
        if known is None or known.run_id != manifest.run_id or store.is_withdrawn(root, manifest.backup_id):
            raise _taken_back(manifest.backup_id)
        store.save(root, manifest, origin=Origin.OWN_RUN)


def guests_below(manifest: Manifest, floor: str) -> list[str]:
    """Return the names of the guests that did not reach the level asked for."""
    levels = {guest.name: guest.consistency.level if guest.consistency else UNKNOWN for guest in manifest.guests}
    return [name for name, level in levels.items() if not at_least(level, floor)]


def withdraw(root: Path, name: str, *, check: bool, run_id: Optional[str] = None) -> dict[str, Any]:
    """Keep the run that began a backup, should it live, from completing it; only then may its snapshots be removed.

    With ``run_id`` that of another run stays as it is. Raises :class:`InputError` for one that is complete or cannot be
    read.
    """
    there = store.backup_directory(root, name).exists()
    with changing(root, name) if there and not check else nullcontext():
        known = _unfinished(root, name, run_id)
        mine = known is not None and run_id in (None, "", known.run_id)
        changed = mine and not store.is_withdrawn(root, name)
        if changed and not check:
            store.withdraw(root, name)
    before = known.phase if known else "absent"
    return _without_backup(name, before=before, after="being taken back" if mine else before, changed=changed)


def remove(root: Path, name: str, *, check: bool, run_id: Optional[str] = None) -> dict[str, Any]:
    """Remove a manifest that was never completed; raises :class:`InputError` for one that was or cannot be read.

    With ``run_id`` that of another run stays as it is.
    """
    there = store.backup_directory(root, name).exists()
    with deletable(root, [name]) if there and not check else nullcontext():
        known = _unfinished(root, name, run_id)
        before = known.phase if known else "absent"
        if known is not None and run_id not in (None, "", known.run_id):
            return _without_backup(name, before=before, after=before, changed=False)
        changed = store.backup_directory(root, name).exists()
        if changed and not check:
            if known is not None:
                volume_copies.take_out(known)
            store.remove(root, name)
    before = before if known else ("unreadable" if changed else "absent")
    return _without_backup(name, before=before, after="absent", changed=changed)


def _unfinished(root: Path, name: str, run_id: Optional[str]) -> Optional[Manifest]:
    """Return the manifest of a backup that was never completed, or that is of another run than this.

    Raises :class:`InputError` for any other.
    """
    entry = next((item for item in store.entries(root) if item.backup_id == name), None)
    other = entry is not None and entry.manifest is not None and run_id not in (None, "", entry.manifest.run_id)
    if entry is not None and not other and (entry.manifest is None or entry.manifest.complete):
        state = "complete" if entry.manifest else "unreadable"
        raise InputError(
            f"Backup {name} is {state}: without its manifest its snapshots could not be restored from",
            backup_id=name,
            path=str(root),
        )
    return entry.manifest if entry else None


def _without_backup(name: str, *, before: str, after: str, changed: bool) -> dict[str, Any]:
    diff = {"before": f"backup {name}: {before}\n", "after": f"backup {name}: {after}\n"}
    return {"changed": changed, "backup": None, "summary": [], "notes": [], "diff": diff}


def _there_already(root: Path, known: Manifest) -> InputError:
    return InputError(
        f"Backup {known.backup_id} is already in the catalog {root} ({known.phase}); use another backup_id or remove it"
        " first",
        backup_id=known.backup_id,
        path=str(root),
    )


def _taken_back(name: str) -> TakenBackError:
    return TakenBackError(
        f"Failed to complete backup {name}: another run of this backup_id has taken it back", backup_id=name
    )


def result_of(manifest: Manifest, *, before: str, notes: list[str]) -> dict[str, Any]:
    """Return what modules tell of a backup that they changed from ``before``."""
    record = backup_record(manifest)
    after = "\n".join(lines(record)) + "\n"
    return {
        "changed": True,
        "backup": record,
        "summary": lines(record),
        "notes": notes,
        "diff": {"before": f"backup {manifest.backup_id}: {before}\n", "after": after},
    }


def _with_backing_state(guest: SavedGuest) -> SavedGuest:
    """Note size and time of each backing file: a restore of the top alone is only right while they are unchanged."""
    disks = tuple(
        replace(disk, backing=tuple(BackingFile(layer.path, *file_state(layer.path)) for layer in disk.backing))
        for disk in guest.disks
    )
    return replace(guest, disks=disks)


def _side_files(guests: Sequence[DiscoveredGuest]) -> list[store.SideFile]:
    """Return what of a guest lies on the host: UEFI variables, and the state of an emulated TPM."""
    found = []
    for guest in guests:
        if guest.nvram:
            found.append(store.SideFile(guest.uuid, "nvram", guest.nvram))
        if guest.tpm:
            found.append(store.SideFile(guest.uuid, "tpm", f"{TPM_STATE}/{guest.uuid}"))
    return found


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
