# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore plan with the guests' UEFI variables and TPM states, each proved before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import firmware_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import firmware_plan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestNow, RestorePlan, refuse

REMEDY = "Bring the file back to what the backup says, choose another backup, or restore the disks by name (disks)."


def with_firmware(
    plan: RestorePlan, manifest: Manifest, guests: Mapping[str, GuestNow], *, directory: Path
) -> RestorePlan:
    """Return the plan with what is put beside the disks; ``directory`` holds what was saved of it.

    Raises :class:`RestoreRefusedError` with every file that cannot be trusted or put.
    """
    parts, problems = [], []
    for part in plan.guests:
        saved, now = manifest.guest(part.uuid), guests[part.uuid]
        if saved is None:
            continue
        files, notes = firmware_plan(saved, nvram=now.nvram, tpm=now.tpm, directory=directory)
        parts.append(replace(part, files=files, notes=(*part.notes, *notes)))
        for what in filter(None, map(firmware_files.fault, files)):
            problems.append(Problem("firmware-state", "error", f"guest {part.name}: {what}", REMEDY, guest=part.name))
    refuse(manifest.backup_id, problems)
    return replace(plan, guests=tuple(parts))
