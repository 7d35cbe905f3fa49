# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore does to this host and to the array: guests by libvirt, disks by ONTAP and by names on the host."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import SafetySnapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.safety_snapshots import comment_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import segment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import ensure_present
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_actor import DiskActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.guest_actor import GuestActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

SHARE_OF_CLONES = 100
"""A restored clone is reckoned to need a hundredth of its size anew."""


@dataclass(frozen=True)
class HostActor:
    """Carries out the steps of a restore: those of its two parts, and the snapshot of what was before."""

    guests: GuestActor
    disks: DiskActor

    def close(self) -> None:
        """Give up what is locked, and end all connections."""
        self.disks.unlock_all()
        self.guests.close()

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Let every controller be away for as long as one disk may take."""
        with ExitStack() as patient:
            for client in {id(place.client): place.client for place in self.disks.places.values()}.values():
                patient.enter_context(client.patient(self.disks.timeout))
            yield

    def secure(self, disks: Sequence[DiskRestore], name: str) -> tuple[SafetySnapshot, ...]:
        """Create a snapshot on every volume of these disks, all or none, where there is space for what it keeps."""
        places = {(volume.svm_uuid, volume.uuid): (client, volume) for client, volume in map(self.disks.place, disks)}
        for key, (client, volume) in places.items():
            here = [disk for disk in disks if disk.storage.volume_key == key]
            self._refuse_full(client, volume, here)
        wanted = SnapshotRequest.checked(
            name=name,
            owner=self.disks.manifest.owner,
            comment=comment_of(self.disks.restore_id, os.uname().nodename),
        )
        refs = [
            VolumeRef(volume.svm, volume.name, uuid=volume.uuid, controller=client.name)
            for client, volume in places.values()
        ]
        clients = list({client.name: client for client, _volume in places.values()}.values())
        made = ensure_present(clients, refs, wanted, check_mode=False, deadline=Deadline.after(self.disks.timeout))
        return tuple(map(SafetySnapshot.of, made.taken))

    def _refuse_full(self, client: Client, volume: Volume, disks: Sequence[DiskRestore]) -> None:
        """Refuse a volume without the space that the snapshot from before will keep from being freed.

        A clone shares its blocks with the backup's snapshot and needs next to none; a copy is written anew.
        """
        sizes = sum(disk.size or 0 for disk in disks)
        needed = sizes if self.disks.method == "copy" else sizes // SHARE_OF_CLONES
        free = volume_space(client, volume, deadline=Deadline.after(self.disks.timeout))
        if free is not None and free < needed:
            raise KvmsnapError(
                f"Failed to keep what {volume.label} holds now: a safety snapshot needs up to {needed} bytes there, and"
                f" {free} are free. Make room, or restore without one (safety_snapshot)",
                svm=volume.svm,
                volume=volume.name,
            )


def volume_space(client: Client, volume: Volume, *, deadline: Deadline) -> Optional[int]:
    """Return how many bytes are free in a volume, None when the array does not say."""
    record = client.get(f"/storage/volumes/{segment(volume.uuid)}", {"fields": "space.available"}, deadline=deadline)
    free = (record.get("space") or {}).get("available")
    return None if free is None else int(free)
