# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore invalidates besides what it overwrites: snapshots, checkpoints, dirty bitmaps. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import domain


def invalidated_of_guest(guest: str, *, snapshots: Sequence[str], checkpoints: Sequence[str]) -> tuple[str, ...]:
    """Return what to say of the snapshots and checkpoints (names) that libvirt has of a guest."""
    notes = []
    if snapshots:
        notes.append(
            f"libvirt's snapshots {', '.join(snapshots)} do not fit the restored disks: those that came after the"
            " backup are gone, and libvirt goes on listing them"
            f" (virsh snapshot-delete {domain(guest)} NAME --metadata)"
        )
    if checkpoints:
        notes.append(
            f"libvirt's checkpoints {', '.join(checkpoints)} are of no use afterwards: the next incremental backup must"
            f" be a full one (virsh checkpoint-delete {domain(guest)} NAME --metadata)"
        )
    return tuple(notes)


def invalidated_in_image(*, snapshots: Sequence[str], bitmaps: Sequence[str]) -> tuple[str, ...]:
    """Return what to say of the snapshots and the persistent dirty bitmaps (names) inside an image."""
    notes = []
    if snapshots:
        notes.append(
            f"the snapshots inside its image of now ({', '.join(snapshots)}) go; those of the time of the backup come"
            " back"
        )
    if bitmaps:
        notes.append(
            f"its dirty bitmaps of now ({', '.join(bitmaps)}) go; an incremental backup that counts on them must begin"
            " with a full one"
        )
    return tuple(notes)
