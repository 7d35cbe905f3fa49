# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where this host has the volumes of a backup mounted, which need not be where the backup's host had them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import names
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import Mount, mount_of, nfs_mounts, read_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import HostStorage, NfsPlace, storages
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


def mounted_volumes(
    clients: Sequence[Client], volumes: Iterable[SavedVolume], deadline: Deadline
) -> dict[Key, HostVolume]:
    """Return where this host has the volumes, as the array says of each mount point; raises ``OntapError``.

    The place of the time of the backup is preferred, then the one that shows most of the volume.
    """
    wanted = {volume.key: volume for volume in volumes}
    mounts = read_mounts()
    points = [volume.mount_point for volume in wanted.values() if volume.mount_point]
    points += [mount.mount_point for mount in nfs_mounts(mounts)]
    found: dict[Key, HostVolume] = {}
    for place, storage in _lying(clients, mounts, points, deadline):
        volume = wanted.get(storage.volume_key)
        if volume is not None and (volume.key not in found or place.realpath == volume.mount_point):
            found[volume.key] = HostVolume(place.realpath, storage.path)
    return found


def nfs_points() -> list[str]:
    """Return the mount points at which this host shows NFS; one that lies under another mount is left out."""
    mounts = read_mounts()
    return [mount.mount_point for mount in nfs_mounts(mounts) if mount_of(mounts, mount.mount_point) is mount]


def volumes_at(clients: Sequence[Client], points: Sequence[str], deadline: Deadline) -> dict[str, Key]:
    """Return which volume is at each mount point, as the array says; a point that shows none of it is left out."""
    return {place.realpath: storage.volume_key for place, storage in _lying(clients, read_mounts(), points, deadline)}


def _lying(
    clients: Sequence[Client], mounts: Sequence[Mount], points: Iterable[str], deadline: Deadline
) -> Iterator[tuple[NfsPlace, HostStorage]]:
    """Yield the points that show a volume of the array, those that show most of it first."""
    places = [place for place in (_nfs_place(mounts, point) for point in dict.fromkeys(points)) if place]
    lying = storages(clients, places, addresses_of=_addresses_of, deadline=deadline)
    for place in sorted(places, key=lambda each: len(each.remote_path)):
        storage = lying[place]
        if isinstance(storage, HostStorage):
            yield place, storage


def _nfs_place(mounts: Sequence[Mount], point: str) -> Optional[NfsPlace]:
    mount = mount_of(mounts, point)
    source = mount.nfs() if mount else None
    return NfsPlace(point, mount.remote_path(point), mount, source) if mount and source else None


def _addresses_of(server: str) -> Sequence[str]:
    return names.resolve([server], service=names.read_name_service())[server].addresses


@dataclass(frozen=True)
class HostVolume:
    """Where this host has a volume: ``mount_path`` is the directory of the volume that is at ``mount_point``."""

    mount_point: str
    mount_path: str = ""

    def on_host(self, path: str) -> Optional[str]:
        """Return where a path inside the volume is on this host, None when that part of the volume is not mounted."""
        if not self.mount_path:
            return posixpath.join(self.mount_point, path)
        inside = f"{self.mount_path}/"
        return posixpath.join(self.mount_point, path[len(inside) :]) if path.startswith(inside) else None

    def inside(self, host_path: str) -> Optional[str]:
        """Return where a file of this host is inside the volume, None when it is not below the mount point."""
        below = f"{self.mount_point}/"
        if not host_path.startswith(below):
            return None
        return posixpath.join(self.mount_path, host_path[len(below) :])
