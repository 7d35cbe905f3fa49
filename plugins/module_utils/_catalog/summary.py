# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules return of a backup, and the lines a person reads of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import array_clock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import COMPLETE, Manifest, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import UNKNOWN


def backup_record(
    manifest: Manifest,
    *,
    missing: Optional[Collection[tuple[str, str]]] = None,
    origin: Origin = Origin.OWN_RUN,
) -> dict[str, Any]:
    """Return a backup as the modules do; ``missing`` are the volumes (SVM uuid, volume uuid) without its snapshot.

    ``exists`` is true for a complete backup none of whose snapshots is missing, and None when nobody looked.
    """
    gone = [item.label for item in manifest.volumes if item.key in (missing or ())]
    return {
        "backup_id": manifest.backup_id,
        "phase": manifest.phase,
        "exists": None if missing is None else manifest.complete and not gone,
        "missing": gone,
        "origin": origin.value,
        "owner": manifest.owner,
        "policy": manifest.policy,
        "shared_with": list(manifest.sharers),
        "created": manifest.created,
        "completed": manifest.completed,
        "comment": manifest.comment,
        "guests": [_guest(guest) for guest in manifest.guests],
        "volumes": [
            {
                "controller": item.controller,
                "svm": item.svm,
                "svm_uuid": item.svm_uuid,
                "volume": item.volume,
                "volume_uuid": item.volume_uuid,
                "snapshot_uuid": item.snapshot_uuid,
                "create_time": item.create_time,
                "create_time_off": item.create_time_off,
            }
            for item in manifest.volumes
        ],
        "groups": [
            {
                "controller": group.controller,
                "svm": group.svm,
                "name": group.name,
                "uuid": group.uuid,
                "volumes": list(group.volumes),
                "foreign_volumes": [item.volume for item in group.foreign],
            }
            for group in manifest.groups
        ],
        "unprotected": [
            {"name": item.name, "uuid": item.uuid, "problems": list(item.problems)} for item in manifest.unprotected
        ],
        "error": None,
    }


def unreadable_record(backup_id: str, error: str) -> dict[str, Any]:
    """Return the entry of a backup whose manifest cannot be trusted."""
    return {
        "backup_id": backup_id,
        "phase": "unreadable",
        "exists": False,
        "missing": [],
        "origin": None,
        "owner": None,
        "policy": None,
        "created": None,
        "completed": None,
        "comment": None,
        "guests": [],
        "volumes": [],
        "groups": [],
        "unprotected": [],
        "error": error,
    }


def lines(record: dict[str, Any]) -> list[str]:
    """Return the lines that tell a person about one backup: what it is, each guest, who is not in it."""
    state = {True: "", False: " - CANNOT BE RESTORED FROM", None: ""}[record["exists"]]
    origin = "" if record["origin"] in (None, Origin.OWN_RUN.value) else f", {record['origin']}"
    at = record["completed"] or record["created"]
    phase = f"{record['phase']}, {at}" if at else record["phase"]
    lines = [f"{record['backup_id']} ({phase}{origin}){state}"]
    if record["error"]:
        lines.append(f"  {record['error']}")
    if record["missing"]:
        lines.append(f"  snapshots missing on {', '.join(record['missing'])}")
    for guest in record["guests"]:
        lines.append(f"  {guest['name']}: {_consistency(guest, complete=record['phase'] == COMPLETE)}")
        lines.extend(
            f"    {disk['target']} is not in the backup: {disk['reason']}"
            for disk in guest["disks"]
            if not disk["included"]
        )
    for item in record["volumes"]:
        if item["create_time_off"]:
            difference = array_clock.describe_difference(item["create_time"], item["create_time_off"])
            lines.append(f"  {item['svm']}:{item['volume']}: {difference}")
    for group in record["groups"]:
        foreign = f", and of {', '.join(group['foreign_volumes'])} (not of this backup)"
        lines.append(
            f"  consistency group {group['svm']}:{group['name']}: the snapshots of {', '.join(group['volumes'])}"
            + (foreign if group["foreign_volumes"] else "")
        )
    lines.extend(
        f"  {guest['name']}: NOT PROTECTED ({', '.join(guest['problems']) or 'see the discovery'})"
        for guest in record["unprotected"]
    )
    return lines


def _consistency(guest: Mapping[str, Any], *, complete: bool) -> str:
    """Return what a guest's disks are in a backup, and how that was reached; nothing is known before its end."""
    if guest["consistency"] == UNKNOWN:
        return "its consistency is not known" if complete else "its consistency is known once the backup is complete"
    seconds = guest["held_seconds"]
    how = ", not held" if seconds is None else f" by {guest['method']}, held {seconds:.2f} s"
    return f"{guest['consistency']}{how}" + (f" ({guest['reason']})" if guest["reason"] else "")


def _guest(guest: SavedGuest) -> dict[str, Any]:
    reached = guest.consistency
    return {
        "name": guest.name,
        "uuid": guest.uuid,
        "state": guest.state,
        "consistency": reached.level if reached else UNKNOWN,
        "requested_consistency": reached.asked if reached else None,
        "method": reached.method if reached else "none",
        "reason": reached.reason if reached else "",
        "held_seconds": reached.held_seconds if reached else None,
        "frozen_at": reached.wall_frozen if reached else None,
        "thawed_at": reached.wall_thawed if reached else None,
        "disks": [
            {
                "target": disk.target,
                "role": disk.role,
                "included": disk.included,
                "reason": disk.reason,
                "size": disk.size,
                "format": disk.format,
                "location": f"{disk.storage.svm}:/vol/{disk.storage.volume}/{disk.storage.path}"
                if disk.storage
                else None,
            }
            for disk in guest.disks
        ],
    }
