# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs: what they are, how a host's WWID leads to one, and to whom they are mapped. Nothing here changes any.

ONTAP gives a LUN a serial of 12 characters; what the host sees as the WWID is ``3600a0980`` and their hexadecimal form.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError, during
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import Expression, Params, any_of, literal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

WWID_PREFIX = "3600a0980"
"""SCSI type 3 (NAA), then NetApp's NAA 6 identifier as ONTAP builds it."""

_WWID = re.compile(WWID_PREFIX + "(?:[0-9a-f]{2}){12}")
_SERIAL = re.compile(r"[!-~]{12}")
_FIELDS = (
    "uuid",
    "name",
    "svm.name",
    "svm.uuid",
    "location.volume.name",
    "location.volume.uuid",
    "serial_number",
    "os_type",
    "class",
    "enabled",
    "space.size",
    "status.state",
    "status.container_state",
    "status.read_only",
)
_MAP_FIELDS = (
    "lun.uuid",
    "lun.name",
    "igroup.uuid",
    "igroup.name",
    "logical_unit_number",
)
IGROUP_FIELDS = ("uuid", "name", "svm.name", "os_type", "initiators")
_AT_ONCE = 50
"""LUNs asked for in one request, so that its address stays short."""


def is_serial(text: str) -> bool:
    """Tell whether a text can be the serial of a LUN: 12 printable ASCII characters without blanks."""
    return bool(_SERIAL.fullmatch(text))


def wwid_of(serial: str) -> str:
    """Return the WWID under which hosts see the LUN with a serial; raises :class:`ValueError` for what is none."""
    if not is_serial(serial):
        raise ValueError(f"{serial!r} is no serial of a LUN: those are 12 printable characters")
    return WWID_PREFIX + serial.encode("ascii").hex()


def serial_of(wwid: str) -> Optional[str]:
    """Return the serial that a WWID (as multipath has it, or in sysfs' form ``naa.600a…``) tells.

    ``None`` for what is no WWID of an ONTAP LUN; E-Series systems share the prefix, but not the printable rest.
    """
    text = wwid.lower()
    text = "3" + text[4:] if text.startswith("naa.") else text
    if not _WWID.fullmatch(text):
        return None
    serial = bytes.fromhex(text[len(WWID_PREFIX) :]).decode("latin-1")
    return serial if is_serial(serial) else None


@dataclass(frozen=True)
class LunIdentity:
    """What must be the same at a restore as it was at the backup; ``size`` in bytes, as the array says.

    ``device`` is the host's ``/dev/mapper/<name>`` (or a stable link to a single path), empty when not known.
    """

    uuid: str
    serial: str
    wwid: str
    size: int
    os_type: str
    device: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LunIdentity:
        """Read the ``lun`` of a disk's storage, from a discovery or from a manifest.

        :raises KeyError, ValueError: a field is missing, or serial, WWID, size or device are not what they must be.
        """
        serial, wwid, size, device = record["serial"], record["wwid"], record["size"], str(record["device"])
        if wwid != wwid_of(str(serial)):
            raise ValueError(f"the WWID {wwid!r} is not that of the serial {serial!r}")
        if not isinstance(size, int) or size < 0:
            raise ValueError(f"{size!r} is no size")
        if device and (not device.startswith("/dev/") or ".." in device.split("/") or "\0" in device):
            raise ValueError(f"{device!r} is no device")
        return cls(str(record["uuid"]), serial, wwid, size, str(record["os_type"]), device)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a module's result."""
        return asdict(self)


@dataclass(frozen=True)
class Lun:
    """One LUN. ``name`` is ``/vol/<volume>/<path>``; ``volume`` is empty on systems that have LUNs without volumes.

    ``state``: online, offline, foreign_lun_error, nvfail or space_error; ``container_state`` that of its volume and
    aggregate: online, volume_offline or aggregate_offline. ``size`` is in bytes.
    """

    controller: str
    svm: str
    svm_uuid: str
    name: str
    uuid: str
    serial: str
    size: int
    os_type: str
    volume: str = ""
    volume_uuid: str = ""
    lun_class: str = "regular"
    enabled: bool = True
    state: str = "online"
    container_state: str = "online"
    read_only: bool = False

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, controller: str) -> Lun:
        """Read a record of ``GET /storage/luns``."""
        svm, status = record.get("svm") or {}, record.get("status") or {}
        volume = (record.get("location") or {}).get("volume") or {}
        return cls(
            controller=controller,
            svm=str(svm.get("name", "")),
            svm_uuid=str(svm.get("uuid", "")),
            name=str(record["name"]),
            uuid=str(record["uuid"]),
            serial=str(record.get("serial_number", "")),
            size=int((record.get("space") or {}).get("size", 0)),
            os_type=str(record.get("os_type", "")),
            volume=str(volume.get("name", "")),
            volume_uuid=str(volume.get("uuid", "")),
            lun_class=str(record.get("class", "regular")),
            enabled=bool(record.get("enabled", True)),
            state=str(status.get("state", "online")),
            container_state=str(status.get("container_state", "online")),
            read_only=bool(status.get("read_only", False)),
        )

    @property
    def path(self) -> str:
        """The path inside the volume, without a leading slash; empty when the name is no such path."""
        prefix = f"/vol/{self.volume}/"
        return self.name[len(prefix) :] if self.volume and self.name.startswith(prefix) else ""

    @property
    def label(self) -> str:
        """``svm:/vol/volume/path``, as messages (and sanlun) name it."""
        return f"{self.svm}:{self.name}"

    def identity(self, *, device: str) -> LunIdentity:
        """Return what a backup keeps of it; raises :class:`ValueError` when its serial is none."""
        return LunIdentity(self.uuid, self.serial, wwid_of(self.serial), self.size, self.os_type, device)


@dataclass(frozen=True)
class LunMap:
    """To which igroup a LUN is shown, and under which number; ``initiators`` only where :func:`seen_by` asked."""

    lun_uuid: str
    lun: str
    igroup: str
    igroup_uuid: str
    logical_unit_number: Optional[int]
    initiators: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LunMap:
        """Read a record of ``GET /protocols/san/lun-maps``."""
        lun, igroup, number = record.get("lun") or {}, record.get("igroup") or {}, record.get("logical_unit_number")
        return cls(
            lun_uuid=str(lun.get("uuid", "")),
            lun=str(lun.get("name", "")),
            igroup=str(igroup.get("name", "")),
            igroup_uuid=str(igroup.get("uuid", "")),
            logical_unit_number=None if number is None else int(number),
        )


@dataclass(frozen=True)
class Igroup:
    """A group of initiators to which LUNs are shown; ``initiators`` are those of the groups nested in it, too."""

    uuid: str
    name: str
    os_type: str
    initiators: tuple[str, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Igroup:
        """Read a record of ``GET /protocols/san/igroups``; initiators are names, or records with one."""
        members = (each.get("name") if isinstance(each, Mapping) else each for each in record.get("initiators") or ())
        return cls(
            uuid=str(record["uuid"]),
            name=str(record["name"]),
            os_type=str(record.get("os_type", "")),
            initiators=tuple(str(each) for each in members if each),
        )


def luns_by_serial(
    clients: Sequence[Client], serials: Iterable[str], *, deadline: Optional[Deadline] = None
) -> dict[str, tuple[Lun, ...]]:
    """Return the LUNs of each serial that any of the systems knows; one found through two LIFs counts once.

    Source: ``GET /storage/luns``, a call per system and 50 serials. :raises OntapError:
    """
    wanted = sorted(set(serials))
    found: dict[str, dict[str, Lun]] = {}
    for client in clients:
        for some in _portions(wanted):
            for lun in _list(client, {"serial_number": Expression("|".join(map(_quoted, some)))}, deadline):
                if lun.serial in some:
                    found.setdefault(lun.serial, {}).setdefault(lun.uuid, lun)
    return {serial: tuple(luns.values()) for serial, luns in found.items()}


def lun_by_path(client: Client, *, svm: str, name: str, deadline: Optional[Deadline] = None) -> Optional[Lun]:
    """Return the LUN called ``/vol/<volume>/<path>`` of an SVM, ``None`` without one.

    Source: ``GET /storage/luns``. :raises OntapError:
    """
    found = _list(client, {"svm.name": svm, "name": name}, deadline)
    return next((lun for lun in found if (lun.svm, lun.name) == (svm, name)), None)


def lun_maps(client: Client, uuids: Iterable[str], *, deadline: Optional[Deadline] = None) -> list[LunMap]:
    """Return the maps of the LUNs with these uuids. Source: ``GET /protocols/san/lun-maps``. :raises OntapError:"""
    found: list[LunMap] = []
    for some in _portions(sorted(set(uuids))):
        try:
            records = client.records(
                "/protocols/san/lun-maps", {"lun.uuid": any_of(some)}, fields=_MAP_FIELDS, deadline=deadline
            )
        except OntapError as exc:
            raise during(exc, f"list the maps of LUNs at {client.name}") from exc
        found.extend(LunMap.from_record(record) for record in records)
    return found


def seen_by(client: Client, maps: Iterable[LunMap], *, deadline: Optional[Deadline] = None) -> list[LunMap]:
    """Return maps with the initiators of their igroups; with none where the array shows none.

    The igroups are asked, for they tell the initiators of nested groups, too; of a map's own list only the group's
    members are documented. Source: ``GET /protocols/san/igroups``. :raises OntapError:
    """
    given = list(maps)
    known: dict[str, Igroup] = {}
    for some in _portions(sorted({each.igroup_uuid for each in given if each.igroup_uuid})):
        try:
            records = client.records(
                "/protocols/san/igroups", {"uuid": any_of(some)}, fields=IGROUP_FIELDS, deadline=deadline
            )
        except OntapError as exc:
            raise during(exc, f"list the igroups of LUNs at {client.name}") from exc
        known.update((group.uuid, group) for group in map(Igroup.from_record, records))
    return [
        replace(each, initiators=known[each.igroup_uuid].initiators) if each.igroup_uuid in known else each
        for each in given
    ]


def foreign_initiators(maps: Iterable[LunMap], own: Collection[str]) -> tuple[str, ...]:
    """Return the initiators of other hosts in the maps of a LUN; pure. ``own`` are those of the hosts at hand."""
    ours = {initiator_key(each) for each in own}
    names = dict.fromkeys(name for each in maps for name in each.initiators)
    return tuple(name for name in names if initiator_key(name) not in ours)


def initiator_key(name: str) -> str:
    """Return the form in which initiators compare: WWPNs without colons or ``0x``, all in lower case."""
    text = name.strip().lower()
    bare = text.removeprefix("0x").replace(":", "")
    return bare if re.fullmatch(r"[0-9a-f]{16}", bare) else text


def _list(client: Client, params: Params, deadline: Optional[Deadline]) -> list[Lun]:
    try:
        records = client.records("/storage/luns", params, fields=_FIELDS, deadline=deadline)
    except OntapError as exc:
        raise during(exc, f"list LUNs at {client.name}") from exc
    return [Lun.from_record(record, controller=client.name) for record in records]


def _portions(values: Sequence[str]) -> Iterator[Sequence[str]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


def _quoted(serial: str) -> str:
    """Quote a serial always: it may hold ``$ + / ? ]`` and what else a later release may put in."""
    return literal(serial) if '"' in serial else f'"{serial}"'
