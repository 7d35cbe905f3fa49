# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of LUNs: ``/vol/<volume>/[.snapshot/<snapshot>/][<qtree>/]<LUN>``, and what they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import errors
from ..call import Call
from ..errors import ApiError
from ..model import Lun, Snapshot, Volume, lun_at
from ..tree import SNAPSHOT_DIR

_LENGTH = 255
_PART = re.compile(r"[A-Za-z0-9._{}-]+")


@dataclass(frozen=True)
class LunName:
    """A LUN's name in its parts; ``path`` is inside the volume, or inside the ``snapshot``."""

    volume: str
    snapshot: str | None
    path: str


@dataclass(frozen=True)
class Source:
    """What a LUN is cloned from: a LUN of the volume, as it is or as it was in ``snapshot``."""

    volume: Volume
    lun: Lun
    snapshot: Snapshot | None


def parse(name: str, target: str) -> LunName:
    """Take a name apart; raises ``ApiError`` with ``target`` for one that no LUN can have."""
    if not name.startswith("/vol/"):
        raise ApiError(errors.LUN_NAME_INVALID, f'The LUN name "{name}" is invalid.', target=target)
    volume, *parts = name[len("/vol/") :].split("/")
    snapshot = None
    if parts[:1] == [SNAPSHOT_DIR] and len(parts) > 2:
        snapshot, parts = parts[1], parts[2:]
        if len(snapshot) > _LENGTH:
            raise ApiError(
                errors.LUN_SNAPSHOT_NAME_LONG, "The snapshot portion of the LUN name is too long.", target=target
            )
    if not volume:
        raise ApiError(errors.LUN_NO_VOLUME, "No volume was specified for the LUN.", target=target)
    if not parts or not parts[-1]:
        raise ApiError(errors.LUN_NO_BASE, "No LUN path base name was provided for the LUN.", target=target)
    path = "/".join(parts)
    if len(path) > _LENGTH:
        raise ApiError(errors.LUN_NAME_LONG, "The specified LUN name is too long.", target=target)
    if any(part in ("", ".", "..") for part in parts):
        raise ApiError(errors.LUN_NAME_INVALID, f'The LUN name "{name}" is invalid.', target=target)
    if not all(_PART.fullmatch(part) for part in parts):
        raise ApiError(
            errors.LUN_NAME_CHARACTERS,
            'A LUN name can only contain characters A-Z, a-z, 0-9, "-", ".", "_", "{" and "}".',
            target=target,
        )
    return LunName(volume, snapshot, path)


def place(call: Call, svm: str, values: Mapping[str, Any]) -> tuple[Volume, str]:
    """Return the volume and the path in it that a body names with ``name`` or ``location``."""
    name, base = values.get("name"), values.get("location.logical_unit")
    volume_name, volume_uuid = values.get("location.volume.name"), values.get("location.volume.uuid")
    named = parse(name, "name") if name is not None else None
    if named is None:
        if base is None:
            raise ApiError(errors.LUN_NO_BASE, "No LUN path base name was provided for the LUN.", target="name")
        if volume_name is None and volume_uuid is None:
            raise ApiError(errors.LUN_NO_VOLUME, "No volume was specified for the LUN.", target="location.volume")
    elif base is not None and base != named.path.rpartition("/")[2]:
        raise ApiError(
            errors.LUN_BASE_MISMATCH, "The LUN base name is not the same as that of the name.", target="name"
        )
    if named is not None and named.snapshot is not None:
        raise ApiError(errors.LUN_IN_SNAPSHOT, "LUNs cannot be created in snapshots.", target="name")
    volume = _volume(call, svm, named.volume if named else volume_name, volume_uuid)
    if volume_name not in (None, volume.name) or volume_uuid not in (None, volume.uuid):
        code = errors.LUN_VOLUME_MISMATCH if named else errors.VOLUME_MISMATCH
        raise ApiError(code, "The LUN's name and location name different volumes.", target="location.volume")
    if named is not None:
        return volume, named.path
    qtree = values.get("location.qtree.name")
    return volume, parse(f"/vol/{volume.name}/{f'{qtree}/' if qtree else ''}{base}", "location.logical_unit").path


def _volume(call: Call, svm: str, name: str | None, uuid: str | None) -> Volume:
    if name is not None:
        found = call.array.volume_named(svm, name)
        if found is None:
            raise ApiError(errors.VOLUME_NOT_FOUND, f'The volume "{name}" was not found.', target="name")
        return found
    volume = call.array.volumes.get(uuid or "")
    if volume is None or volume.svm != svm:
        raise ApiError(
            errors.VOLUME_INVALID, f"A volume with UUID {uuid} was not found.", target="location.volume.uuid"
        )
    return volume


def source(call: Call, svm: str, values: Mapping[str, Any]) -> Source | None:
    """Return the LUN that ``clone.source`` of a body names, or None when it names none."""
    name, uuid = values.get("clone.source.name"), values.get("clone.source.uuid")
    if name is None and uuid is None:
        return None
    if name is None:
        for volume, lun in call.array.luns():
            if lun.uuid == uuid and volume.svm == svm:
                return Source(volume, lun, None)
        raise ApiError(
            errors.LUN_UUID_NOT_FOUND, "The specified `clone.source` was not found.", target="clone.source.uuid"
        )
    wanted = parse(name, "clone.source.name")
    if wanted.snapshot is not None and uuid is not None:
        raise ApiError(
            errors.LUN_SOURCE_UUID_OF_SNAPSHOT,
            "The `clone.source.uuid` property is not supported when specifying a source LUN from a snapshot.",
            target="clone.source.uuid",
        )
    home = call.array.volume_named(svm, wanted.volume)
    snapshot = home.snapshot(wanted.snapshot) if home and wanted.snapshot else None
    luns = snapshot.luns if snapshot else home.luns if home and wanted.snapshot is None else []
    found = lun_at(luns, wanted.path)
    if home is None or found is None:
        raise ApiError(
            errors.LUN_NAME_NOT_FOUND, "The specified `clone.source` was not found.", target="clone.source.name"
        )
    if uuid not in (None, found.uuid):
        raise ApiError(
            errors.LUN_SOURCE_MISMATCH,
            "The specified `clone.source.uuid` and `clone.source.name` do not refer to the same LUN.",
            target="clone.source.uuid",
        )
    return Source(home, found, snapshot)
