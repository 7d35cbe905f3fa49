# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore does to this host and to the array: power by libvirt, bytes by ONTAP, the check by direct reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.info import Places, locate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import DiskRestore, GuestRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import (
    copy_over,
    drop_cached,
    file_state,
    first_difference,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import in_use
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, Host, State
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.power import power_off, power_on
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError, OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


class CheckFailedError(KvmsnapError):
    """A restored disk does not hold what the snapshot holds; the guest was not started."""


@dataclass
class HostActor:
    """Carries out the steps of a restore.

    ``places`` is where each volume is now, ``method`` auto or one way of ``_ontap.files``; ``refused`` remembers, per
    controller, the ways the array would not go. Times are in seconds; ``timeout`` bounds what ONTAP is asked per disk.
    """

    host: Host
    places: Places
    manifest: Manifest
    method: str
    graceful: bool
    stop_timeout: float
    start_timeout: float
    timeout: float
    refused: dict[str, set[str]] = field(default_factory=dict)

    def stop(self, guest: GuestRestore) -> None:
        """Bring the guest to ``shutoff``: asked to, or by force when it is to be or does not obey in time."""
        power_off(self._domain(guest), graceful=self.graceful, timeout=self.stop_timeout)

    def start(self, guest: GuestRestore) -> None:
        """Start the guest, paused when it was paused."""
        state: State = "paused" if guest.state_after == "paused" else "running"
        power_on(self._domain(guest), state=state, timeout=self.start_timeout)

    def state(self, guest: GuestRestore) -> str:
        """Ask libvirt what the guest is doing."""
        return self._domain(guest).state().state

    def overwrite(self, disk: DiskRestore) -> str:
        """Overwrite the disk's file from the snapshot by the first way that the array goes; return that way."""
        self._refuse_in_use(disk)
        client, volume = self._place(disk)
        refused = self._refused(client)
        while True:
            way = files.choose_method(self.method, client.version, refused)[0]
            try:
                self._by(way, client, volume, disk)
            except OntapError as exc:
                if not files.refuses_method(exc) or self.method != "auto":
                    raise
                refused.add(way)
                continue
            self._forget_cached(disk)
            return way

    def verify(self, disk: DiskRestore) -> str:
        """Compare size and sampled blocks with the snapshot's copy, past this host's caches.

        Where ``.snapshot`` is not to be seen on the host, the array's word on the sizes has to do.
        """
        client, volume = self._place(disk)
        there = ((disk.snapshot, disk.host_source), (None, disk.host_path))
        sizes = [
            file_size(client, volume, disk.storage.path, snapshot=snapshot, seen_at=seen, deadline=self._deadline())
            for snapshot, seen in there
        ]
        if sizes[0] is None or sizes[0] != sizes[1]:
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: it has {sizes[1]} bytes, the snapshot's copy {sizes[0]}",
                path=disk.label,
            )
        source = disk.host_source
        if source is None or not os.path.exists(source):
            return "size"
        with _telling(f"compare {disk.host_path} with {source}"):
            offset = first_difference(source, disk.host_path)
        if offset is not None:
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: it differs from {disk.snapshot} at byte {offset}",
                path=disk.label,
            )
        return "size and sampled blocks"

    def _refused(self, client: Client) -> set[str]:
        """Return the ways that this system does not go; with auto, those without a licence from the start."""
        if client.name not in self.refused:
            unlicensed = files.unlicensed_methods(client, deadline=self._deadline()) if self.method == "auto" else ()
            self.refused[client.name] = set(unlicensed)
        return self.refused[client.name]

    def _forget_cached(self, disk: DiskRestore) -> None:
        """Make this host forget the old bytes, which a guest with a host page cache would read and write back."""
        with _telling(f"drop what this host cached of {disk.host_path}"):
            drop_cached(disk.host_path)

    def _by(self, way: str, client: Client, volume: Volume, disk: DiskRestore) -> None:
        path = disk.storage.path
        if way == "copy":
            source = disk.host_source
            if source is None or not Path(source).is_file():
                raise KvmsnapError(f"Failed to copy {disk.label} out of its snapshot: this host does not see {source}")
            with _telling(f"copy {source} over {disk.host_path}"):
                copy_over(source, disk.host_path)
            return
        if way == "file_clone":
            files.clone_file(
                client,
                volume,
                snapshot=disk.snapshot,
                source=path,
                destination=path,
                overwrite=True,
                deadline=self._deadline(),
            )
            return
        restore: Callable[..., None] = files.restore_file_cli if way == "sfsr_cli" else files.restore_file_rest
        restore(client, volume, snapshot=disk.snapshot, path=path, deadline=self._deadline())
        files.wait_restored(client, volume, snapshot_uuid=disk.snapshot_uuid, deadline=self._deadline())

    def _deadline(self) -> Deadline:
        return Deadline.after(self.timeout)

    def _place(self, disk: DiskRestore) -> tuple[Client, Volume]:
        """Return the disk's volume under the names that it has now: some calls of the array know it by name only."""
        saved = self.manifest.volume_of(disk.storage)
        known = self.places.get(saved.key) if saved else None
        now = locate([known.client], [saved], deadline=self._deadline()) if known and saved else {}
        if saved is None or saved.key not in now:
            raise KvmsnapError(f"Failed to reach the volume of {disk.label} through any of the controllers given")
        return now[saved.key].client, now[saved.key].volume

    def _refuse_in_use(self, disk: DiskRestore) -> None:
        """Look for QEMU's lock just before the overwrite: a guest of another host may be running from the same file."""
        if disk.locks and in_use(disk.host_path, image_format=disk.format):
            raise KvmsnapError(
                f"Failed to restore {disk.label}: a QEMU holds its lock on {disk.host_path}, here or on another host."
                " Stop the guest that uses it",
                path=disk.label,
            )

    def _domain(self, guest: GuestRestore) -> Domain:
        domain = self.host.domain(uuid=guest.uuid)
        if domain is None:
            raise KvmsnapError(
                f"Guest {guest.name} ({guest.uuid}) is not defined on this host any more", guest=guest.name
            )
        return domain


def file_size(
    client: Client, volume: Volume, path: str, *, snapshot: Optional[str], seen_at: Optional[str], deadline: Deadline
) -> Optional[int]:
    """Return the size in bytes of a file of a volume, now or in a snapshot, None when it is not there.

    An account that may not list files over REST (one with a traditional role) is no obstacle: then the host looks at
    ``seen_at``, the same file below its mount.
    """
    try:
        stat = files.stat_file(client, volume, path, snapshot=snapshot, deadline=deadline)
    except OntapDeniedError:
        if seen_at is None:
            raise
        return file_state(seen_at)[0]
    return None if stat is None else stat.size


@contextmanager
def _telling(action: str) -> Iterator[None]:
    """Turn an operating system's error into a sentence of ours."""
    try:
        yield
    except OSError as exc:
        raise KvmsnapError(f"Failed to {action}: {exc.strerror or exc}") from exc
