# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the array knows: cluster, SVMs, LIFs, volumes, snapshots and jobs, as plain data."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .storage import VolumeRef

ROOT_VOLUME_SIZE = 1 << 30


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
class Snapshot:
    """A snapshot; ``owners`` are those set from outside, the busy ones of running work are added when read.

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


@dataclass
class Volume:
    """A volume; ``size`` in bytes, ``junction`` is None when not mounted."""

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
    pending_name: str | None = None
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def ref(self) -> VolumeRef:
        """Name the volume for the engine."""
        return VolumeRef(self.svm, self.name)

    def snapshot(self, name: str) -> Snapshot | None:
        """Find a snapshot by name."""
        return next((item for item in self.snapshots if item.name == name), None)


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
        values["volumes"] = {
            key: Volume(**{**item, "snapshots": [Snapshot(**snapshot) for snapshot in item["snapshots"]]})
            for key, item in data["volumes"].items()
        }
        return cls(**values)


def new_uuid() -> str:
    """Return a fresh uuid."""
    return str(uuid.uuid4())
