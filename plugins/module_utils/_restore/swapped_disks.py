# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a guest that took each other's place in its definition since the backup. Pure.

Each file and LUN gets its own bytes back, whatever the guest calls it. But a guest whose vda is now what vdb was would
find the restored disks the wrong way round: it may boot from the one or mount the other, and nothing would tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem

SWAPPED: Code = "disk-swapped"


def swapped(saved: SavedGuest, now: Iterable[tuple[str, Storage]]) -> list[Problem]:
    """Return a finding for each saved disk that has the target of another one of the backup now.

    ``now`` is the guest's disks, each target with its place. A disk under a target that the backup does not know is
    none: it was attached to another bus, and no other disk is taken for it.
    """
    targets = {_key(storage): target for target, storage in now}
    then = {disk.target: disk.storage for disk in saved.disks if disk.storage is not None}
    problems = []
    for disk in saved.saved_disks:
        target = targets.get(_key(disk.storage), disk.target) if disk.storage else disk.target
        other = then.get(target)
        if target == disk.target or disk.storage is None or other is None:
            continue
        what = (
            f"disk {disk.target} of guest {saved.name}: {disk.storage.label} was {disk.target} in the backup and is"
            f" {target} now, which was {other.label} then; the guest would find its disks in each other's place"
        )
        remedy = "Give the disks the targets that they had (virsh edit), or choose a backup from after the change."
        problems.append(Problem(SWAPPED, "error", what, remedy, saved.name, disk.target))
    return problems


def _key(storage: Storage) -> tuple[str, str, str, str]:
    return (storage.kind, storage.svm_uuid, storage.volume_uuid, storage.path)
