# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the NFS server exports, as pure functions from the array's volumes to ganesha's configuration.

One server answers on every LIF, so all SVMs share one name space here; junction paths must differ between SVMs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

INSIDE = PurePosixPath("/srv/array/vols")
SQUASHING = "squash_root"
"""The export policy that maps clients' root to nobody."""
NOBODY = 65534
GRACE_SECONDS = 15
LEASE_SECONDS = 15

# By UDP alone statd tells the server's lock manager of a client that has booted anew: the locks of before are given up.
_HEAD = f"""
NFS_CORE_PARAM {{
    Protocols = 3, 4;
    Bind_addr = 0.0.0.0;
    mount_path_pseudo = true;
    Enable_UDP = true;
    Enable_NLM = true;
    Enable_RQUOTA = false;
}}
NFSv4 {{
    Minor_Versions = 0, 1, 2;
    Lease_Lifetime = {LEASE_SECONDS};
    Grace_Period = {GRACE_SECONDS};
    RecoveryBackend = fs;
    RecoveryRoot = "/run/ganesha/recovery";
    Delegations = false;
    Only_Numeric_Owners = true;
}}
NFS_KRB5 {{
    Active_krb5 = false;
}}
MDCACHE {{
    Dir_Chunk = 0;
}}
EXPORT_DEFAULTS {{
    Access_Type = RW;
    Squash = No_Root_Squash;
    SecType = sys;
    Protocols = 3, 4;
    Transports = TCP;
    Attr_Expiration_Time = 0;
}}
LOG {{
    Default_Log_Level = EVENT;
}}
"""


@dataclass(frozen=True)
class Export:
    """A volume under its junction path."""

    svm: str
    volume: str
    junction: str
    read_only: bool = False
    squash_root: bool = False

    @property
    def number(self) -> int:
        """Return a number that stays the volume's own whatever else is exported; clients' file handles hold it."""
        return zlib.crc32(f"{self.svm}/{self.volume}".encode()) % 65000 + 100

    def block(self) -> str:
        """Return ganesha's EXPORT block."""
        squash = f"    Squash = Root_Squash;\n    Anonymous_Uid = {NOBODY};\n    Anonymous_Gid = {NOBODY};\n"
        return (
            f"EXPORT {{\n"
            f"    Export_Id = {self.number};\n"
            f"    Filesystem_Id = {self.number}.1;\n"
            f"    Path = {INSIDE / self.svm / self.volume};\n"
            f"    Pseudo = {self.junction};\n"
            f"    Access_Type = {'RO' if self.read_only else 'RW'};\n"
            f"{squash if self.squash_root else ''}"
            f"    FSAL {{ Name = VFS; }}\n"
            f"}}\n"
        )


def exports_of(volumes: Iterable[Mapping[str, Any]]) -> list[Export]:
    """Return what is exported of the volumes the simulator lists: online, mounted, and the first under its junction."""
    found: dict[str, Export] = {}
    for volume in sorted(volumes, key=lambda record: (record["svm"], record["volume"])):
        junction = volume["junction"]
        if junction and junction != "/" and volume["state"] == "online":
            export = Export(
                volume["svm"],
                volume["volume"],
                junction,
                read_only=volume["type"] == "dp",
                squash_root=volume["export_policy"] == SQUASHING,
            )
            found.setdefault(junction, export)
    return list(found.values())


def nested_mount_points(exports: Iterable[Export]) -> list[PurePosixPath]:
    """Return the directories, relative to the volumes' common directory, on which other volumes' junctions lie."""
    known = list(exports)
    places = []
    for export in known:
        parents = [other for other in known if export.junction.startswith(f"{other.junction}/")]
        if parents:
            parent = max(parents, key=lambda other: len(other.junction))
            inside_parent = PurePosixPath(export.junction).relative_to(parent.junction)
            places.append(PurePosixPath(parent.svm) / parent.volume / inside_parent)
    return places


def configuration(exports: Iterable[Export]) -> str:
    """Return ganesha's configuration file."""
    ordered = sorted(exports, key=lambda export: export.junction)
    return _HEAD.lstrip() + "".join(export.block() for export in ordered)
