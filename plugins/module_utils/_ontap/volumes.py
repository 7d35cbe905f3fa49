# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: what they are, where they are mounted in their SVM's namespace, and how one is found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import any_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

_FIELDS = (
    "uuid",
    "name",
    "svm.name",
    "svm.uuid",
    "type",
    "state",
    "style",
    "size",
    "is_svm_root",
    "nas.path",
    "flexcache_endpoint_type",
)
_FIELDS_LATER = {"snapshot_locking_enabled": (9, 12, 1)}


@dataclass(frozen=True)
class Volume:
    """One volume. ``size`` is in bytes; ``junction`` is ``None`` when it is not mounted.

    ``type``: rw, dp or ls; ``state``: online, offline, restricted, mixed or error; ``style``: flexvol or flexgroup;
    ``flexcache``: none, cache or origin. ``controller`` names the system through which it was found.
    """

    controller: str
    svm: str
    svm_uuid: str
    name: str
    uuid: str
    type: str = "rw"
    state: str = "online"
    style: str = "flexvol"
    size: Optional[int] = None
    junction: Optional[str] = None
    is_svm_root: bool = False
    snapshot_locking: bool = False
    flexcache: str = "none"

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, controller: str) -> Volume:
        """Read a record of ``GET /storage/volumes``."""
        svm = record.get("svm") or {}
        size = record.get("size")
        return cls(
            controller=controller,
            svm=str(svm.get("name", "")),
            svm_uuid=str(svm.get("uuid", "")),
            name=str(record["name"]),
            uuid=str(record["uuid"]),
            type=str(record.get("type", "rw")),
            state=str(record.get("state", "online")),
            style=str(record.get("style", "flexvol")),
            size=None if size is None else int(size),
            junction=(record.get("nas") or {}).get("path") or None,
            is_svm_root=bool(record.get("is_svm_root", False)),
            snapshot_locking=bool(record.get("snapshot_locking_enabled", False)),
            flexcache=str(record.get("flexcache_endpoint_type", "none")),
        )

    @property
    def label(self) -> str:
        """``svm:volume``, as messages name it."""
        return f"{self.svm}:{self.name}"

    def unfit(self) -> Optional[str]:
        """Return why no snapshot can be made, deleted or restored from here, as the end of a sentence, or ``None``."""
        if self.style != "flexvol":
            return f"it is a {'FlexGroup' if self.style == 'flexgroup' else self.style} volume"
        if self.flexcache == "cache":
            return "it is a FlexCache volume"
        if self.type != "rw":
            return f"it is a {self.type} volume (a mirror's destination), and those are read-only"
        if self.state != "online":
            return f"it is {self.state}"
        return None


@dataclass(frozen=True)
class VolumeRef:
    """How a user names a volume; ``uuid`` and ``controller`` narrow it down."""

    svm: str
    volume: str
    uuid: Optional[str] = None
    controller: Optional[str] = None

    @classmethod
    def from_option(cls, option: Mapping[str, Any]) -> VolumeRef:
        """Read one entry of a ``volumes`` option.

        :raises InputError: SVM or volume is empty.
        """
        svm, volume = str(option.get("svm") or "").strip(), str(option.get("volume") or "").strip()
        if not svm or not volume:
            raise InputError(f"Failed to use the volume {svm}:{volume}: both svm and volume must be given")
        uuid, controller = option.get("volume_uuid") or None, option.get("controller") or None
        return cls(svm=svm, volume=volume, uuid=uuid, controller=controller)


Found = tuple[Client, Volume]


def list_volumes(
    client: Client, *, svms: Iterable[str], names: Iterable[str] = (), deadline: Optional[Deadline] = None
) -> list[Volume]:
    """Return the volumes of the named SVMs in one call, only those called ``names`` when any are given.

    Source: ``GET /storage/volumes``; an SVM that does not exist has none. :raises OntapError:
    """
    names = list(names)
    params = {"svm.name": any_of(svms), **({"name": any_of(names)} if names else {})}
    fields = [*_FIELDS, *(name for name, since in _FIELDS_LATER.items() if client.at_least(since))]
    records = client.records("/storage/volumes", params, fields=fields, deadline=deadline)
    return [Volume.from_record(record, controller=client.name) for record in records]


def find_volumes(
    clients: Sequence[Client], wanted: Sequence[VolumeRef], *, deadline: Optional[Deadline] = None
) -> list[Found]:
    """Return each wanted volume once, in order, with the client it was found through; one call per system.

    :raises InputError: none is wanted; one is not found, is found on several systems, or has another uuid than given.
    :raises OntapError:
    """
    if not wanted:
        raise InputError("Failed to find any volume: the list of volumes is empty")
    seen: list[Found] = []
    for client in clients:
        asked = [ref for ref in wanted if ref.controller in (None, client.name)]
        if asked:
            volumes = list_volumes(
                client, svms=[ref.svm for ref in asked], names=[ref.volume for ref in asked], deadline=deadline
            )
            seen.extend((client, volume) for volume in volumes)
    found: dict[str, Found] = {}
    for ref in wanted:
        client, volume = _pick(ref, seen, asked=[each.name for each in clients])
        found.setdefault(volume.uuid, (client, volume))
    return list(found.values())


def _pick(ref: VolumeRef, seen: Iterable[Found], *, asked: Sequence[str]) -> Found:
    """Choose among what was found; the same volume through two LIFs of one cluster is one."""
    named = {
        volume.uuid: (client, volume)
        for client, volume in reversed(list(seen))
        if (volume.svm, volume.name) == (ref.svm, ref.volume) and ref.controller in (None, client.name)
    }
    action = f"find volume {ref.svm}:{ref.volume}"
    fields = {"svm": ref.svm, "volume": ref.volume}
    if not named:
        where = ref.controller or ", ".join(asked)
        raise InputError(f"Failed to {action}: no such volume on such an SVM at {where}", **fields)
    if ref.uuid:
        if ref.uuid not in named:
            reason = f"the volume of that name has uuid {', '.join(named)}, not {ref.uuid}: it is another volume"
            raise InputError(f"Failed to {action}: {reason}", **fields, volume_uuid=ref.uuid)
        return named[ref.uuid]
    if len(named) > 1:
        where = ", ".join(client.name for client, _volume in named.values())
        reason = f"several systems have one ({where}); give volume_uuid or controller"
        raise InputError(f"Failed to {action}: {reason}", **fields)
    return next(iter(named.values()))


def volume_by_junction(volumes: Iterable[Volume], path: str) -> Optional[tuple[Volume, str]]:
    """Return the volume in which ``path`` (absolute, of an SVM's namespace) lies, and the rest inside it; pure.

    The longest junction wins, since junctions nest; junctions are case-insensitive, the rest is not. The rest has no
    leading slash and is empty for the junction itself. ``None`` when no volume is mounted on the way.
    """
    parts = [part for part in path.split("/") if part]
    best: Optional[tuple[Volume, str]] = None
    depth = -1
    for volume in volumes:
        if volume.junction is None:
            continue
        junction = [part.lower() for part in volume.junction.split("/") if part]
        if len(junction) > depth and [part.lower() for part in parts[: len(junction)]] == junction:
            best, depth = (volume, "/".join(parts[len(junction) :])), len(junction)
    return best
