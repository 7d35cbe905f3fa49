# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a path on this host to the volume on ONTAP and the path inside it, or to the reason why there is none.

path → realpath → mount → NFS server's address → LIF → SVM → volume with the longest junction → path inside. ONTAP is
asked once per system for all addresses and once for all volumes, whatever the number of guests. Where a device leads,
``lun_storage`` tells.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import SYSFS, block_device, lies_on_san
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import Mount, NfsSource, mount_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import LunPlace, lun_place
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.network import (
    Lif,
    find_lifs,
    lifs_by_address,
    normal_address,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import (
    Volume,
    list_volumes,
    volume_by_junction,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

FileKind = Literal["file", "block", "directory", "other", "missing"]

LOOK_TIMEOUT = 10.0
SNAPSHOT_DIRECTORY = ".snapshot"

_MEMORY_AND_LOCAL = ("aufs", "bcachefs", "btrfs", "overlay", "ramfs", "rootfs", "tmpfs", "zfs")


@dataclass(frozen=True)
class FileFacts:
    """What the host sees at a path. ``device`` is ``major:minor`` of a block device; ``identity`` tells hard links."""

    path: str
    realpath: str
    kind: FileKind
    size: Optional[int] = None
    device: Optional[str] = None
    identity: str = ""
    error: str = ""


@dataclass(frozen=True)
class NfsPlace:
    """A file on an NFS mount; ``remote_path`` is its path in the server's namespace."""

    realpath: str
    remote_path: str
    mount: Mount
    source: NfsSource


@dataclass(frozen=True)
class HostStorage(Storage):
    """Where a disk's bytes lie on the array, and how this host reaches them.

    ``mount_point`` is the host's directory of the volume's root or, when a directory inside the volume is mounted, of
    that directory, which is then ``mount_path``. ``locks``: whether the mount takes locks to the server.
    """

    mount_point: Optional[str] = None
    mount_path: str = ""
    junction: Optional[str] = None
    nfs_source: Optional[str] = None
    nfs_version: Optional[str] = None
    locks: Optional[bool] = None

    @property
    def on_array(self) -> Storage:
        """The place on the array alone, by which disks are compared."""
        return Storage(*(getattr(self, each.name) for each in fields(Storage)))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a module's result."""
        return {key: value for key, value in asdict(self).items() if key not in ("mount_path", "junction")}


Place = Union[NfsPlace, LunPlace]
Placed = Union[NfsPlace, LunPlace, Problem]
Stored = Union[HostStorage, Problem]


class HostFiles:
    """Looks at paths, each once; a file system that did not answer is not asked again.

    ``multipath_required`` refuses LUNs that are reached by a single path only.
    """

    def __init__(
        self,
        read_mounts: Callable[[], list[Mount]],
        *,
        sysfs: Path = SYSFS,
        timeout: float = LOOK_TIMEOUT,
        multipath_required: bool = True,
    ) -> None:
        self._read_mounts = read_mounts
        self._sysfs = sysfs
        self._multipath_required = multipath_required
        self._timeout = timeout
        self._mounts = read_mounts()
        self._silent: set[int] = set()
        self._facts: dict[str, Union[FileFacts, Problem]] = {}

    def look(self, path: str) -> Union[FileFacts, Problem]:
        """Return what is at a path, or that its file system does not answer."""
        if path not in self._facts:
            self._facts[path] = self._look(path)
        return self._facts[path]

    def place(self, facts: FileFacts) -> Placed:
        """Return the place of a file or device; mounts are read after the look, which may have mounted something."""
        self._mounts = self._read_mounts()
        return place_of(facts, self._mounts, sysfs=self._sysfs, multipath_required=self._multipath_required)

    def _look(self, path: str) -> Union[FileFacts, Problem]:
        mount = mount_of(self._mounts, posixpath.normpath(path))
        where = mount.mount_point if mount else "/"
        try:
            if mount is None or mount.mount_id not in self._silent:
                return bounded(lambda: look_at(path), seconds=self._timeout, what=f"look at {path}")
        except OverdueError:
            if mount is not None:
                self._silent.add(mount.mount_id)
        return problem_of(
            "mount-not-responding", f"the file system at {where} did not answer within {self._timeout:g} s"
        )


def look_at(path: str) -> FileFacts:
    """Return what is at an absolute path, symlinks followed. May block as long as the file system does."""
    try:
        realpath = os.path.realpath(path)
        found = os.stat(realpath)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        return FileFacts(path, posixpath.normpath(path), "missing", error=reason)
    mode = found.st_mode
    if stat.S_ISREG(mode):
        return FileFacts(path, realpath, "file", found.st_size, identity=f"{found.st_dev}:{found.st_ino}")
    if stat.S_ISBLK(mode):
        return FileFacts(path, realpath, "block", device=f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}")
    return FileFacts(path, realpath, "directory" if stat.S_ISDIR(mode) else "other")


def place_of(
    facts: FileFacts, mounts: Sequence[Mount], *, sysfs: Path = SYSFS, multipath_required: bool = True
) -> Placed:
    """Return the NFS place of a file or the LUN that a device is, or why there is none."""
    if facts.kind == "missing":
        return problem_of("image-missing", f"there is no such file on this host ({facts.error})")
    if facts.kind == "block":
        return _block_place(facts, sysfs, multipath_required)
    if facts.kind != "file":
        return problem_of(
            "not-a-file", f"{facts.realpath} is {'a directory' if facts.kind == 'directory' else 'no file'}"
        )
    mount = mount_of(mounts, facts.realpath)
    if mount is None:
        return problem_of("local-file", f"the mount of {facts.realpath} is unknown")
    source = mount.nfs()
    if source is None:
        return _other_file_system(facts, mount, sysfs)
    return NfsPlace(facts.realpath, mount.remote_path(facts.realpath), mount, source)


def storages(
    clients: Sequence[Client],
    places: Iterable[NfsPlace],
    *,
    addresses_of: Callable[[str], Sequence[str]],
    deadline: Optional[Deadline] = None,
) -> dict[Place, Stored]:
    """Return where each place lies on the systems behind ``clients``; raises ``OntapError``.

    ``addresses_of`` resolves a server's name on this host, for mounts that do not tell the address.
    """
    wanted = list(dict.fromkeys(places))
    servers = {place: _addresses(place.source, addresses_of) for place in wanted}
    addresses = {address for found in servers.values() for address in found}
    lifs = lifs_by_address(lif for client in clients for lif in find_lifs(client, addresses, deadline=deadline))
    volumes: list[Volume] = []
    for client in clients:
        here = {lif.svm for found in lifs.values() for lif in found if lif.svm and lif.controller == client.name}
        if here:
            volumes.extend(list_volumes(client, svms=here, deadline=deadline))
    return {place: storage_of(place, servers[place], lifs=lifs, volumes=volumes) for place in wanted}


def storage_of(
    place: NfsPlace, addresses: Sequence[str], *, lifs: Mapping[str, Sequence[Lif]], volumes: Iterable[Volume]
) -> Stored:
    """Decide where a place lies; pure. ``addresses`` are those of its server, ``lifs`` those found by address."""
    server = place.source.server
    if not addresses:
        return problem_of("unresolvable-server", f"the NFS server's name {server} does not resolve on this host")
    found = [lif for address in addresses for lif in lifs.get(address, ()) if lif.svm_uuid]
    said = server if list(addresses) == [server] else f"{server} ({', '.join(addresses)})"
    if not found:
        return problem_of("not-an-ontap-address", f"its NFS server {said} is no data LIF of the given controllers")
    if len({lif.svm_uuid for lif in found}) > 1:
        where = ", ".join(f"{lif.svm} at {lif.controller} (IPspace {lif.ipspace or 'unknown'})" for lif in found)
        return problem_of("ambiguous-address", f"the address of its NFS server {said} belongs to several SVMs: {where}")
    lif = found[0]
    hit = volume_by_junction([each for each in volumes if each.svm_uuid == lif.svm_uuid], place.remote_path)
    if hit is None:
        return problem_of("no-volume-at-path", f"SVM {lif.svm} has no volume mounted on the way to {place.remote_path}")
    return fitting(hit[0]) or _stored(place, hit[0], hit[1])


def fitting(volume: Volume) -> Optional[Problem]:
    """Return why single files and LUNs of a volume cannot be saved and restored, None when they can."""
    if volume.is_svm_root:
        return problem_of("volume-is-svm-root", f"it lies in {volume.label}, the root volume of the SVM")
    if volume.style != "flexvol":
        return problem_of("flexgroup", f"its volume {volume.label} is a {volume.style}, not a FlexVol")
    if volume.flexcache == "cache":
        return problem_of("flexcache", f"its volume {volume.label} is a FlexCache")
    if volume.type != "rw":
        return problem_of("volume-read-only", f"its volume {volume.label} is of type {volume.type}")
    if volume.state != "online":
        return problem_of("volume-offline", f"its volume {volume.label} is {volume.state}")
    return None


def _stored(place: NfsPlace, volume: Volume, path: str) -> Stored:
    if SNAPSHOT_DIRECTORY in path.split("/"):
        return problem_of("inside-snapshot", f"it lies inside a snapshot: {volume.label}:{path}")
    mount_point, mount_path = _mounted_at(place, volume)
    return HostStorage(
        kind="nfs",
        controller=volume.controller,
        svm=volume.svm,
        svm_uuid=volume.svm_uuid,
        volume=volume.name,
        volume_uuid=volume.uuid,
        path=path,
        mount_point=mount_point,
        mount_path=mount_path,
        junction=volume.junction,
        nfs_source=place.mount.source,
        nfs_version=place.source.version,
        locks=place.source.locks,
    )


def _mounted_at(place: NfsPlace, volume: Volume) -> tuple[Optional[str], str]:
    """Return the host's directory for the volume, and which directory of the volume it is."""
    depth = len(_steps(volume.junction or "/"))
    mounted = _steps(place.mount.remote_path(place.mount.mount_point))
    if len(mounted) < depth:
        return posixpath.join(place.mount.mount_point, *_steps(place.remote_path)[len(mounted) : depth]), ""
    if place.mount.mount_point == place.realpath:
        return None, ""
    return place.mount.mount_point, "/".join(mounted[depth:])


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step]


def _addresses(source: NfsSource, addresses_of: Callable[[str], Sequence[str]]) -> list[str]:
    known = [source.address] if source.address else addresses_of(source.server)
    return [normal_address(address) for address in known]


def _block_place(facts: FileFacts, sysfs: Path, multipath_required: bool) -> Placed:
    number = facts.device or ""
    device = block_device(number, sysfs=sysfs)
    on_san = lies_on_san(number, sysfs=sysfs)
    if device.kind == "lvm":
        return problem_of("logical-volume", f"{facts.realpath} is a logical volume of the host{' on a LUN' * on_san}")
    if device.kind == "partition" and on_san:
        return problem_of("lun-partition", f"{facts.realpath} is a partition of a LUN, not a whole one")
    if device.kind == "multipath" or (device.kind == "disk" and on_san):
        return lun_place(facts.realpath, device, multipath_required=multipath_required, sysfs=sysfs)
    return problem_of("unsupported-block-device", f"{facts.realpath} is a block device, but no LUN")


def _other_file_system(facts: FileFacts, mount: Mount, sysfs: Path) -> Problem:
    where = f"{facts.realpath} lies on {mount.fs_type} at {mount.mount_point}"
    device = _device_of(mount)
    if device is not None and lies_on_san(device, sysfs=sysfs):
        return problem_of("image-on-san-file-system", f"{where}, which is on a SAN device ({mount.source})")
    if device is not None or mount.fs_type in _MEMORY_AND_LOCAL:
        return problem_of("local-file", f"{where}, a local file system")
    return problem_of("unsupported-file-system", f"{where}, which is no NFS mount")


def _device_of(mount: Mount) -> Optional[str]:
    """Return ``major:minor`` of the device under a file system, None for one without (btrfs tells it by its source)."""
    if not mount.device.startswith("0:"):
        return mount.device
    if not mount.source.startswith("/dev/"):
        return None
    facts = look_at(mount.source)
    return facts.device
