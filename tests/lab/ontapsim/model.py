# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the array knows: cluster, SVMs, LIFs, volumes, snapshots and jobs, as plain data."""

from __future__ import annotations

import hashlib
import string
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .storage import VolumeRef

ROOT_VOLUME_SIZE = 1 << 30
_SERIAL = string.ascii_letters + string.digits + "$+/?]"


@dataclass
class Lif:
    """A logical interface; ``svm`` is None for one of the cluster's."""

    name: str
    address: str
    svm: str | None = None
    netmask: str = "24"
    services: list[str] = field(default_factory=lambda: ["data_core", "data_nfs"])
    ipspace: str = "Default"
    enabled: bool = True
    state: str = "up"
    uuid: str = ""


@dataclass
class Svm:
    """A storage virtual machine."""

    name: str
    uuid: str
    state: str = "running"
    subtype: str = "default"
    comment: str = ""
    create_time: str = ""


@dataclass
class Lun:
    """A LUN; ``path`` inside its volume without a leading slash, ``size`` in bytes, ``attributes`` by their names.

    ``thin``: SCSI thin provisioning is supported. ``qos_policy`` is a name, empty for none.
    """

    path: str
    uuid: str
    serial: str
    size: int
    os_type: str = "linux"
    create_time: str = ""
    comment: str = ""
    enabled: bool = True
    auto_delete: bool = False
    guaranteed: bool = False
    thin: bool = False
    qos_policy: str = ""
    pending_path: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Lun:
        """Return the LUN as it is now, for a snapshot or out of one."""
        return replace(self, attributes=dict(self.attributes))


@dataclass
class Igroup:
    """A group of initiators; ``target`` counts the igroups of an SVM, the first of which has its SVM's target name.

    It has either ``initiators`` of its own or other groups nested in it, ``igroups`` by their uuids.
    """

    name: str
    svm: str
    uuid: str
    target: int
    os_type: str = "linux"
    protocol: str = "iscsi"
    comment: str = ""
    initiators: list[str] = field(default_factory=list)
    igroups: list[str] = field(default_factory=list)


@dataclass
class LunMap:
    """A LUN that the initiators of an igroup see as ``number``; ``lun`` and ``igroup`` are uuids."""

    lun: str
    igroup: str
    number: int


@dataclass
class Snapshot:
    """A snapshot; ``owners`` are those set from outside, the busy ones of running work are added when read.

    ``luns`` are the volume's LUNs as they were then.

    ``pending_name`` is set while the snapshot is being renamed, so that a crash does not lose it.
    """

    name: str
    uuid: str
    version_uuid: str
    create_time: str
    size: int = 0
    comment: str = ""
    snapmirror_label: str | None = None
    expiry_time: str | None = None
    snaplock_expiry_time: str | None = None
    owners: list[str] = field(default_factory=list)
    number: int = 0
    pending_name: str | None = None
    luns: list[Lun] = field(default_factory=list)


@dataclass
class Volume:
    """A volume; ``size`` in bytes, ``junction`` is None when not mounted, parents are the uuids of a FlexClone's."""

    name: str
    svm: str
    uuid: str
    msid: int
    create_time: str
    size: int = 10 << 30
    type: str = "rw"
    state: str = "online"
    style: str = "flexvol"
    junction: str | None = None
    comment: str = ""
    export_policy: str = "default"
    snapshot_policy: str = "none"
    snapshot_locking_enabled: bool = False
    snapshot_directory_access_enabled: bool = True
    unix_permissions: int = 755
    is_svm_root: bool = False
    is_protected: bool = False
    full: bool = False
    language: str = "c.utf_8"
    parent_volume: str | None = None
    parent_snapshot: str | None = None
    pending_name: str | None = None
    snapshots: list[Snapshot] = field(default_factory=list)
    luns: list[Lun] = field(default_factory=list)

    @property
    def ref(self) -> VolumeRef:
        """Name the volume for the engine."""
        return VolumeRef(self.svm, self.name)

    def snapshot(self, name: str) -> Snapshot | None:
        """Find a snapshot by name."""
        return next((item for item in self.snapshots if item.name == name), None)

    def lun(self, path: str) -> Lun | None:
        """Find a LUN by its path inside the volume."""
        return lun_at(self.luns, path)

    def lun_name(self, lun: Lun) -> str:
        """Return the full path of one of the volume's LUNs."""
        return f"/vol/{self.name}/{lun.path}"


@dataclass
class GroupSnapshot:
    """A snapshot of a consistency group; ``members`` are its snapshots' uuids by their volumes'."""

    name: str
    uuid: str
    create_time: str
    comment: str = ""
    consistency_type: str = "crash"
    snapmirror_label: str | None = None
    write_fence: bool = True
    members: dict[str, str] = field(default_factory=dict)


@dataclass
class ConsistencyGroup:
    """Volumes, by their uuids, whose snapshots are made together."""

    name: str
    svm: str
    uuid: str
    volumes: list[str] = field(default_factory=list)
    snapshots: list[GroupSnapshot] = field(default_factory=list)


@dataclass
class Job:
    """A job; ``code`` 0 is success."""

    uuid: str
    description: str
    start_time: str
    svm: str | None = None
    state: str = "queued"
    message: str = ""
    code: int = 0
    end_time: str | None = None
    ended: float | None = None
    effective: bool = False


@dataclass
class Array:
    """One cluster with everything in it."""

    name: str
    uuid: str
    version: str
    nodes: list[str]
    node_uuids: dict[str, str]
    aggregate: str
    aggregate_uuid: str
    san_optimized: bool = False
    disaggregated: bool = False
    svms: dict[str, Svm] = field(default_factory=dict)
    lifs: list[Lif] = field(default_factory=list)
    volumes: dict[str, Volume] = field(default_factory=dict)
    igroups: dict[str, Igroup] = field(default_factory=dict)
    lun_maps: list[LunMap] = field(default_factory=list)
    groups: dict[str, ConsistencyGroup] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    seeded: list[str] = field(default_factory=list)
    last_number: int = 0

    def volume_named(self, svm: str, name: str) -> Volume | None:
        """Find a volume by the name of its SVM and its own."""
        return next((item for item in self.volumes.values() if item.svm == svm and item.name == name), None)

    def volume_at(self, svm: str, junction: str) -> Volume | None:
        """Find the volume mounted exactly at a junction path."""
        wanted = junction.lower()
        return next(
            (
                item
                for item in self.volumes.values()
                if item.svm == svm and item.junction is not None and item.junction.lower() == wanted
            ),
            None,
        )

    def junction_parent(self, volume: Volume) -> Volume | None:
        """Find the volume in whose tree a volume is mounted."""
        if not volume.junction or volume.junction == "/":
            return None
        above = volume.junction.rpartition("/")[0]
        while above:
            parent = self.volume_at(volume.svm, above)
            if parent is not None:
                return parent
            above = above.rpartition("/")[0]
        return self.volume_at(volume.svm, "/")

    def luns(self) -> Iterator[tuple[Volume, Lun]]:
        """Yield every LUN with its volume."""
        for volume in self.volumes.values():
            for lun in volume.luns:
                yield volume, lun

    def igroup_named(self, svm: str, name: str) -> Igroup | None:
        """Find an igroup by the name of its SVM and its own."""
        return next((item for item in self.igroups.values() if item.svm == svm and item.name == name), None)

    def members(self, igroup: Igroup) -> Iterator[tuple[str, Igroup]]:
        """Yield the initiators that see what is mapped to an igroup, each with the group that directly holds it."""
        for name in igroup.initiators:
            yield name, igroup
        for uuid_ in igroup.igroups:
            if uuid_ in self.igroups:
                yield from self.members(self.igroups[uuid_])

    def initiators(self, igroup: Igroup) -> list[str]:
        """Return the initiators of an igroup and of those nested in it."""
        return [name for name, _home in self.members(igroup)]

    def drop_maps(self) -> None:
        """Forget the maps whose LUN or igroup is gone."""
        luns = {lun.uuid for _volume, lun in self.luns()}
        self.lun_maps = [item for item in self.lun_maps if item.lun in luns and item.igroup in self.igroups]

    def group_of(self, volume: Volume) -> ConsistencyGroup | None:
        """Find the consistency group that a volume is in."""
        return next((item for item in self.groups.values() if volume.uuid in item.volumes), None)

    def target_name(self, svm: str, number: int = 1) -> str:
        """Return the IQN of an SVM's iSCSI service, or of the target that stands for its ``number``-th igroup."""
        serial = uuid.uuid5(uuid.UUID(self.svms[svm].uuid), f"target {number}").hex
        return f"iqn.1992-08.com.netapp:sn.{serial}:vs.{2 + list(self.svms).index(svm)}"

    def next_number(self) -> int:
        """Return the next number of creation."""
        self.last_number += 1
        return self.last_number

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Array:
        """Read an array out of its JSON data."""
        values = dict(data)
        values["svms"] = {key: Svm(**item) for key, item in data["svms"].items()}
        values["lifs"] = [Lif(**item) for item in data["lifs"]]
        values["jobs"] = {key: Job(**item) for key, item in data["jobs"].items()}
        values["volumes"] = {key: _volume(item) for key, item in data["volumes"].items()}
        values["igroups"] = {key: Igroup(**item) for key, item in data.get("igroups", {}).items()}
        values["groups"] = {
            key: ConsistencyGroup(**{**item, "snapshots": [GroupSnapshot(**made) for made in item["snapshots"]]})
            for key, item in data.get("groups", {}).items()
        }
        values["lun_maps"] = [LunMap(**item) for item in data.get("lun_maps", [])]
        return cls(**values)


def _volume(item: Mapping[str, Any]) -> Volume:
    snapshots = [
        Snapshot(**{**snapshot, "luns": [Lun(**lun) for lun in snapshot.get("luns", [])]})
        for snapshot in item["snapshots"]
    ]
    return Volume(**{**item, "snapshots": snapshots, "luns": [Lun(**lun) for lun in item.get("luns", [])]})


def lun_at(luns: Iterable[Lun], path: str) -> Lun | None:
    """Find a LUN by its path inside the volume."""
    wanted = path.strip("/")
    return next((item for item in luns if item.path == wanted), None)


def serial_of(lun_uuid: str) -> str:
    """Return the serial number that a LUN made with a uuid gets: 12 printable characters, as ONTAP's are."""
    digest = hashlib.sha256(lun_uuid.encode()).digest()
    return "".join(_SERIAL[byte % len(_SERIAL)] for byte in digest[:12])


def new_uuid() -> str:
    """Return a fresh uuid."""
    return str(uuid.uuid4())
