# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backing chains of a disk, then and now: which overlays came or went, and how to get rid of them. Pure.

A backing file is never overwritten. An image whose chain is not the one of the backup is refused: its bytes mean
something only over the very files that they were written over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import BackingFile, SavedDisk
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import argument, domain

MISMATCH: Code = "backing-chain-mismatch"
CHANGED: Code = "backing-file-changed"
BRING_BACK = "Bring the backing file back first, from the snapshot of the same backup."
AS_A_COPY = "Restore the guest as a copy (kvm_vm_clone), which brings the whole chain, or choose a later backup."


def compared(guest: str, disk: SavedDisk, now: DiskNow) -> Optional[Problem]:
    """Return what does not fit of the chain below a disk that lies at its place, None when all does."""
    if now.unreadable and disk.backing:
        return Problem(CHANGED, "error", f"what lies below it cannot be read: {now.unreadable}", BRING_BACK)
    if _paths(now.backing) != _paths(disk.backing):
        return _other_chain(guest, disk, now)
    missing = [layer.path for layer in now.backing if layer.size is None]
    if missing:
        return Problem(
            CHANGED, "error", f"its backing file {', '.join(missing)} is missing or cannot be read", BRING_BACK
        )
    changed = [(here, then) for here, then in zip(now.backing, disk.backing) if here != then]
    if changed:
        files = ", ".join(f"{here.path} ({here.size} bytes now, {then.size} then)" for here, then in changed)
        return Problem(CHANGED, "error", f"a file of its backing chain is not what it was: {files}", BRING_BACK)
    return None


def moved_in_chain(guest: str, disk: SavedDisk, label: str, disks: Sequence[DiskNow]) -> Optional[Problem]:
    """Return that a disk is not at its place since its chain grew or shrank, None when it is not that.

    ``label`` is the place of the disk in the backup, ``disks`` are all of the guest now.
    """
    for now in disks:
        below = _paths(now.backing)
        if disk.source in below:
            came = (now.host_path, *below[: below.index(disk.source)])
            what = (
                f"it was {label} in the backup, and lies below {_chain(came)} now: external snapshots that were taken"
                " since"
            )
            return Problem(MISMATCH, "error", what, _flatten(guest, now, disk.source))
        if now.host_path in _paths(disk.backing):
            what = (
                f"it was the overlay {_chain((disk.source, *_paths(disk.backing)))} in the backup, and is"
                f" {now.host_path} now: the overlay was committed or left since"
            )
            return Problem(MISMATCH, "error", what, AS_A_COPY)
    return None


def _other_chain(guest: str, disk: SavedDisk, now: DiskNow) -> Problem:
    then, here = _paths(disk.backing), _paths(now.backing)
    what = f"its backing chain is {_chain(here)} now and was {_chain(then)} in the backup"
    came, gone = [path for path in here if path not in then], [path for path in then if path not in here]
    described = [
        f"{', '.join(paths)} {word} since" for paths, word in ((came, "came"), (gone, "was pulled in or left")) if paths
    ]
    if described:
        what += f" ({'; '.join(described)})"
    base = next((path for path in here if path in then), None)
    return Problem(MISMATCH, "error", what, _flatten(guest, now, base) if came else AS_A_COPY)


def _flatten(guest: str, now: DiskNow, base: Optional[str]) -> str:
    """Say how to merge what came; ``base`` is the file that is to be the top again, None when all is to be one file."""
    name, target = domain(guest), argument(now.target)
    if base is None:
        return (
            f"Merge the chain while the guest runs: virsh blockpull {name} {target} --wait. Then take a new"
            " backup, or restore this one as a copy (kvm_vm_clone)."
        )
    return (
        f"Merge them while the guest runs: virsh blockcommit {name} {target} --base {argument(base)} --active --pivot"
        f" --wait, then forget the snapshots: virsh snapshot-delete {name} NAME --metadata. Or restore the guest as a"
        " copy (kvm_vm_clone)."
    )


def _paths(layers: Sequence[BackingFile]) -> tuple[str, ...]:
    return tuple(layer.path for layer in layers)


def _chain(paths: Sequence[str]) -> str:
    return " <- ".join(paths) or "none"
