# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the manifest of a backup down, phase by phase: what ``kvm_backup_manifest`` does."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import catalog
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.consistency import UNKNOWN, at_least
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.firmware import TPM_STATE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import (
    STARTED,
    BackingFile,
    Manifest,
    SavedGuest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.plan import BackupPlan, backup_plan, complete
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_open import refuse_half_restored
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.summary import backup_record, lines
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import file_state
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import deletable


def write(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Bring the manifest to ``options['state']`` and return the module's result; with ``check`` nothing is written."""
    root = Path(options["catalog_dir"])
    name = checked_id(options["backup_id"], what="backup_id")
    state = options["state"]
    if state == "started":
        return _start(root, name, options, check=check)
    if state == "complete":
        return _complete(root, name, options, check=check)
    return remove(root, name, check=check)


def _start(root: Path, name: str, options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    known = catalog.load(root, name)
    if known is not None and (known.complete or not check):
        raise InputError(
            f"Backup {name} is already in the catalog {root} ({known.phase}); use another backup_id or remove it first",
            backup_id=name,
            path=str(root),
        )
    manifest, plan = planned(name, options)
    holds = plan.holds(options["quiesce"], order=options["order"], filesystems=options["filesystems"])
    remarks: list[str] = []
    if not check:
        manifest, remarks = start(root, manifest, options["guests"])
    result = result_of(manifest, before="absent", remarks=remarks)
    volumes = [{key: item[key] for key in ("svm", "volume", "volume_uuid")} for item in result["backup"]["volumes"]]
    unprotected = result["backup"]["unprotected"]
    comment = manifest.comment
    return {
        **result,
        "plan": {"holds": holds, "volumes": volumes, "comment": comment, "unprotected": unprotected},
    }


def planned(name: str, options: Mapping[str, Any]) -> tuple[Manifest, BackupPlan]:
    """Return the manifest of a backup that is to be made, and its plan, from what a discovery found; writes nothing.

    Raises :class:`InputError` when nothing can be protected, or a restore broke off amid a guest's disks.
    """
    plan = backup_plan(options["guests"], volumes=options["volumes"], problems=options["problems"])
    refuse_half_restored(Path(options["catalog_dir"]), [(guest.name, guest.uuid) for guest in plan.guests])
    manifest = Manifest(
        backup_id=name,
        phase=STARTED,
        owner=checked_id(options["owner"], what="owner"),
        policy=options["policy"],
        run_id=str(uuid.uuid4()),
        created=_now(),
        completed=None,
        guests=tuple(_with_backing_state(guest) for guest in plan.guests),
        volumes=plan.volumes,
        unprotected=plan.unprotected,
    )
    return manifest, plan


def start(root: Path, manifest: Manifest, guests: Sequence[Mapping[str, Any]]) -> tuple[Manifest, list[str]]:
    """Write the started manifest into the catalog and into the volumes; return it and remarks about what could not be.

    ``guests`` are those of the discovery: their UEFI variables and TPM states go into the catalog, and the manifest
    that is returned names them. Raises :class:`CatalogError`.
    """
    saved = {guest.uuid for guest in manifest.guests}
    own = [guest for guest in guests if guest["uuid"] in saved]
    manifest, remarks = catalog.keep_side_files(root, manifest, _side_files(own))
    catalog.save(root, manifest, origin=Origin.OWN_RUN)
    return manifest, remarks + catalog.put_into_volumes(manifest)


def _complete(root: Path, name: str, options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    known = catalog.load(root, name)
    if known is None:
        raise InputError(f"Backup {name} was never started in the catalog {root}", backup_id=name, path=str(root))
    floor = options["consistency"]
    if known.complete:
        return {**result_of(known, before="complete", remarks=[]), "weaker": weaker(known, floor), "changed": False}
    done = completed(
        known,
        holds=options["holds"],
        snapshots=options["snapshots"],
        asked=floor,
        other_hosts=options["other_hosts"],
    )
    if not check:
        finish(root, done)
    return {**result_of(done, before="started", remarks=[]), "weaker": weaker(done, floor)}


def completed(
    started: Manifest,
    *,
    holds: Sequence[Mapping[str, Any]],
    snapshots: Sequence[Mapping[str, Any]],
    asked: str,
    other_hosts: Mapping[str, Sequence[str]],
) -> Manifest:
    """Return the complete manifest of this moment; raises as :func:`complete` does."""
    return complete(started, holds=holds, snapshots=snapshots, asked=asked, at=_now(), other_hosts=other_hosts)


def finish(root: Path, manifest: Manifest) -> None:
    """Write the complete manifest, and take the started one out of the live volumes; raises :class:`CatalogError`."""
    catalog.save(root, manifest, origin=Origin.OWN_RUN)
    catalog.take_out_of_volumes(manifest)


def weaker(manifest: Manifest, floor: str) -> list[str]:
    """Return the names of the guests that did not reach the level asked for."""
    levels = {guest.name: guest.consistency.level if guest.consistency else UNKNOWN for guest in manifest.guests}
    return [name for name, level in levels.items() if not at_least(level, floor)]


def remove(root: Path, name: str, *, check: bool) -> dict[str, Any]:
    """Remove a manifest that was never completed; raises :class:`InputError` for one that was or cannot be read."""
    entry = next((item for item in catalog.entries(root) if item.backup_id == name), None)
    if entry is not None and (entry.manifest is None or entry.manifest.complete):
        state = "complete" if entry.manifest else "unreadable"
        raise InputError(
            f"Backup {name} is {state}: without its manifest its snapshots could not be restored from",
            backup_id=name,
            path=str(root),
        )
    changed = catalog.backup_directory(root, name).exists()
    if changed and not check:
        with deletable(root, [name]):
            if entry is not None and entry.manifest is not None:
                catalog.take_out_of_volumes(entry.manifest)
            catalog.remove(root, name)
    before = entry.manifest.phase if entry and entry.manifest else ("unreadable" if changed else "absent")
    diff = {"before": f"backup {name}: {before}\n", "after": f"backup {name}: absent\n"}
    return {"changed": changed, "backup": None, "summary": [], "remarks": [], "diff": diff}


def result_of(manifest: Manifest, *, before: str, remarks: list[str]) -> dict[str, Any]:
    """Return what modules tell of a backup that they changed from ``before``."""
    record = backup_record(manifest)
    after = "\n".join(lines(record)) + "\n"
    return {
        "changed": True,
        "backup": record,
        "summary": lines(record),
        "remarks": remarks,
        "diff": {"before": f"backup {manifest.backup_id}: {before}\n", "after": after},
    }


def _with_backing_state(guest: SavedGuest) -> SavedGuest:
    """Note size and time of each backing file: a restore of the top alone is only right while they are unchanged."""
    disks = tuple(
        replace(disk, backing=tuple(BackingFile(layer.path, *file_state(layer.path)) for layer in disk.backing))
        for disk in guest.disks
    )
    return replace(guest, disks=disks)


def _side_files(guests: Sequence[Mapping[str, Any]]) -> list[catalog.SideFile]:
    """Return what of a guest lies on the host: UEFI variables, and the state of an emulated TPM."""
    found = []
    for guest in guests:
        uuid = str(guest["uuid"])
        if guest.get("nvram"):
            found.append(catalog.SideFile(uuid, "nvram", str(guest["nvram"])))
        if guest.get("tpm"):
            found.append(catalog.SideFile(uuid, "tpm", f"{TPM_STATE}/{uuid}"))
    return found


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
