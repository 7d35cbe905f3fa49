# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array's LUNs: made, mapped and removed over its REST API, and filled where it keeps their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from . import topology
from .errors import LabError
from .places import Places
from .process import run
from .rest import ArrayApi

MIB = 1024**2
WWID_PREFIX = "3600a0980"
_FIELDS = "uuid,svm.name,name,serial_number,space.size"


@dataclass(frozen=True)
class Lun:
    """A LUN of the array: ``name`` is its full path (``/vol/...``), ``size`` in bytes."""

    svm: str
    name: str
    uuid: str
    serial: str
    size: int

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Lun:
        """Read a record of ``/storage/luns``."""
        return cls(
            svm=record["svm"]["name"],
            name=record["name"],
            uuid=record["uuid"],
            serial=record["serial_number"],
            size=record["space"]["size"],
        )

    @property
    def wwid(self) -> str:
        """Return the identifier that the KVM host shows."""
        return WWID_PREFIX + self.serial.encode("ascii").hex()

    @property
    def device(self) -> str:
        """Return the KVM host's multipath device, unless an alias names it."""
        return f"/dev/mapper/{self.wwid}"

    @property
    def path(self) -> str:
        """Return SVM and path in one word, as ``sanlun`` prints it."""
        return f"{self.svm}:{self.name}"


def serial_of(wwid: str) -> str:
    """Return the serial that a WWID carries."""
    if not wwid.startswith(WWID_PREFIX):
        raise LabError(f"Failed to find a serial in {wwid}: it is no LUN of ONTAP")
    return bytes.fromhex(wwid[len(WWID_PREFIX) :]).decode("ascii")


def lun_file(volumes: Path, name: str, *, svm: str = topology.SAN_SVM) -> Path:
    """Return where the array keeps the bytes of ``/vol/<volume>/<path>``."""
    parts = Path(name).parts
    if parts[:2] != ("/", "vol") or len(parts) < len(("/", "vol", "volume", "path")):
        raise LabError(f"Failed to find {name} on the array: the name of a LUN is /vol/<volume>/<path>")
    return volumes.joinpath(svm, *parts[2:])


class Luns:
    """The LUNs of one lab's array, all of one SVM unless told otherwise; every method acts as the administrator."""

    def __init__(self, places: Places) -> None:
        self.places = places

    @cached_property
    def api(self) -> ArrayApi:
        """The array's REST API."""
        return ArrayApi(self.places)

    def all(self) -> list[Lun]:
        """Return every LUN of the array."""
        return [Lun.from_record(record) for record in self.api.records("/storage/luns", fields=_FIELDS)]

    def find(self, name: str, *, svm: str = topology.SAN_SVM) -> Optional[Lun]:
        """Return the LUN of a name, or None."""
        return next((lun for lun in self.all() if (lun.svm, lun.name) == (svm, name)), None)

    def get(self, name: str, *, svm: str = topology.SAN_SVM) -> Lun:
        """Return the LUN of a name; LabError when there is none."""
        lun = self.find(name, svm=svm)
        if lun is None:
            raise LabError(f"Failed to find the LUN {svm}:{name} on the array")
        return lun

    def create(self, name: str, size_mib: int = 64, *, svm: str = topology.SAN_SVM, os_type: str = "linux") -> Lun:
        """Make an empty, unmapped LUN."""
        body = {"svm": {"name": svm}, "name": name, "os_type": os_type, "space": {"size": size_mib * MIB}}
        self.api.request("POST", "/storage/luns", body)
        return self.get(name, svm=svm)

    def file(self, lun: Lun) -> Path:
        """Return where the array keeps the LUN's bytes; to write there is safe while no host uses it."""
        return lun_file(self.places.volumes, lun.name, svm=lun.svm)

    def fill(self, lun: Lun) -> None:
        """Make an ext4 file system in a LUN that holds nothing yet; nothing of it goes over the wire."""
        if run(["blkid", "--probe", self.file(lun)], check=False).returncode != 0:
            run(["mkfs.ext4", "-q", "-F", self.file(lun)])

    def maps(self, lun: Lun) -> dict[str, int]:
        """Return the igroups to which the LUN is mapped, and its number in each."""
        found = self.api.records(
            "/protocols/san/lun-maps", lun__uuid=lun.uuid, fields="igroup.name,logical_unit_number"
        )
        return {record["igroup"]["name"]: record["logical_unit_number"] for record in found}

    def map(self, lun: Lun, igroup: str = topology.IGROUP, *, number: Optional[int] = None) -> None:
        """Map the LUN to an igroup, by the next free number unless told which; one that is mapped there stays."""
        if igroup in self.maps(lun):
            return
        body: dict[str, Any] = {"svm": {"name": lun.svm}, "lun": {"name": lun.name}, "igroup": {"name": igroup}}
        if number is not None:
            body["logical_unit_number"] = number
        self.api.request("POST", "/protocols/san/lun-maps", body)

    def unmap(self, lun: Lun, igroup: str = topology.IGROUP) -> None:
        """Take the LUN from an igroup, whatever its initiators do with it; one that is not mapped there is fine."""
        for record in self.api.records("/protocols/san/igroups", name=igroup, svm__name=lun.svm, fields="uuid"):
            if igroup in self.maps(lun):
                self.api.request("DELETE", f"/protocols/san/lun-maps/{lun.uuid}/{record['uuid']}")

    def delete(self, lun: Lun) -> None:
        """Delete the LUN with its maps; one that is gone is fine."""
        if self.find(lun.name, svm=lun.svm) == lun:
            self.api.request("DELETE", f"/storage/luns/{lun.uuid}?allow_delete_while_mapped=true")
