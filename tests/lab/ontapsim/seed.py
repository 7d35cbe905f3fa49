# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the array's first state out of the configuration."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from .clock import Clock
from .config import Config
from .engine import Engine
from .model import ROOT_VOLUME_SIZE, Array, Igroup, Lif, Lun, LunMap, Svm, Volume, serial_of
from .storage import Cause

_NAMESPACE = uuid.UUID("6f6e7461-7073-496d-a000-000000000000")
_CAUSE: Cause = {"user": "configuration"}


def new_array(config: Config) -> Array:
    """Return the cluster of a configuration, still without SVMs; uuids follow from names, so they are stable."""
    name = config.cluster.get("name", "cluster1")
    nodes = config.cluster.get("nodes", [f"{name}-01", f"{name}-02"])
    aggregate = config.cluster.get("aggregate", "aggr1")
    return Array(
        name=name,
        uuid=stable_uuid(name),
        version=config.version,
        nodes=nodes,
        node_uuids={node: stable_uuid(name, node) for node in nodes},
        aggregate=aggregate,
        aggregate_uuid=stable_uuid(name, aggregate),
    )


def stable_uuid(*names: str) -> str:
    """Return the uuid that belongs to a path of names."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(names)))


def seed(array: Array, config: Config, engine: Engine, clock: Clock) -> None:
    """Add what the configuration names and the array has never had; what was deleted since stays deleted."""
    array.san_optimized = config.cluster.get("san_optimized", False)
    array.disaggregated = config.cluster.get("disaggregated", False)
    for lif in config.cluster.get("lifs", []):
        _seed_lif(array, lif, None)
    for svm in config.svms:
        name = svm["name"]
        if f"svm:{name}" not in array.seeded:
            array.seeded.append(f"svm:{name}")
            array.svms[name] = Svm(
                name=name,
                uuid=stable_uuid(array.name, name),
                state=svm.get("state", "running"),
                subtype=svm.get("subtype", "default"),
                comment=svm.get("comment", ""),
                create_time=clock.iso(),
            )
            add_volume(
                array,
                engine,
                clock,
                name,
                {"name": f"{name}_root", "junction": "/", "size": ROOT_VOLUME_SIZE},
                is_svm_root=True,
                cause=_CAUSE,
            )
        for lif in svm.get("lifs", []):
            _seed_lif(array, lif, name)
        for volume in svm.get("volumes", []):
            if f"volume:{name}/{volume['name']}" not in array.seeded:
                add_volume(array, engine, clock, name, volume, cause=_CAUSE)
        for igroup in svm.get("igroups", []):
            _seed_igroup(array, igroup, name)
        for volume in svm.get("volumes", []):
            for lun in volume.get("luns", []):
                _seed_lun(array, config, engine, clock, name, volume["name"], lun)


def _seed_lif(array: Array, spec: Mapping[str, Any], svm: str | None) -> None:
    key = f"lif:{svm or ''}/{spec['name']}"
    if key in array.seeded:
        return
    array.seeded.append(key)
    services = spec.get("services") or (
        ["management_core", "management_https"] if svm is None else ["data_core", "data_nfs"]
    )
    array.lifs.append(Lif(**{**spec, "services": list(services), "svm": svm, "uuid": stable_uuid(array.name, key)}))


def add_volume(
    array: Array,
    engine: Engine,
    clock: Clock,
    svm: str,
    spec: Mapping[str, Any],
    *,
    cause: Cause,
    is_svm_root: bool = False,
) -> Volume:
    """Add a volume and its directory. ``spec`` has the keys of the configuration."""
    volume = new_volume(array, clock, svm, spec, is_svm_root=is_svm_root)
    engine.create_volume(volume.ref, mode=int(str(volume.unix_permissions), 8), cause=cause)
    array.volumes[volume.uuid] = volume
    return volume


def new_volume(array: Array, clock: Clock, svm: str, spec: Mapping[str, Any], *, is_svm_root: bool = False) -> Volume:
    """Return a volume that has neither directory nor place in the array yet; ``spec`` as of `add_volume`."""
    values = {key: value for key, value in spec.items() if key != "luns"}
    values["unix_permissions"] = int(str(values.get("unix_permissions", "755")))
    key = f"volume:{svm}/{spec['name']}"
    array.seeded.append(key)
    digest = hashlib.sha256(key.encode()).digest()
    return Volume(
        svm=svm,
        uuid=stable_uuid(array.name, key, str(array.seeded.count(key))),
        msid=2147483648 + int.from_bytes(digest[:3], "big"),
        create_time=clock.iso(),
        is_svm_root=is_svm_root,
        **values,
    )


def _seed_igroup(array: Array, spec: Mapping[str, Any], svm: str) -> None:
    key = f"igroup:{svm}/{spec['name']}"
    if key not in array.seeded:
        array.seeded.append(key)
        add_igroup(array, svm, spec, identity=stable_uuid(array.name, key))


def add_igroup(array: Array, svm: str, spec: Mapping[str, Any], *, identity: str) -> Igroup:
    """Add an igroup to an SVM; ``spec`` has the keys of the configuration and ``igroups``, ``identity`` is its uuid."""
    numbers = [item.target for item in array.igroups.values() if item.svm == svm]
    values = {**spec, **{name: list(spec.get(name, [])) for name in ("initiators", "igroups")}}
    igroup = Igroup(svm=svm, uuid=identity, target=1 + max(numbers, default=0), **values)
    array.igroups[identity] = igroup
    return igroup


def _seed_lun(
    array: Array, config: Config, engine: Engine, clock: Clock, svm: str, volume: str, spec: Mapping[str, Any]
) -> None:
    key = f"lun:{svm}/{volume}/{spec['path']}"
    home = array.volume_named(svm, volume)
    if key in array.seeded or home is None:
        return
    array.seeded.append(key)
    lun = add_lun(array, engine, clock, home, spec, identity=stable_uuid(array.name, key), cause=_CAUSE)
    map_lun(array, home, lun, spec, first=config.san.first_number)


def map_lun(array: Array, volume: Volume, lun: Lun, spec: Mapping[str, Any], *, first: int) -> None:
    """Map a LUN as the configuration's ``maps`` say; without ``lun_id`` under the lowest free number from ``first``."""
    for item in spec.get("maps", []):
        igroup = array.igroup_named(volume.svm, item["igroup"])
        if igroup is None:
            raise KeyError(f"igroup {item['igroup']} of {lun.path}")
        number = item.get("lun_id", free_number(array, igroup, first))
        array.lun_maps.append(LunMap(lun.uuid, igroup.uuid, number))


def add_lun(
    array: Array, engine: Engine, clock: Clock, volume: Volume, spec: Mapping[str, Any], *, identity: str, cause: Cause
) -> Lun:
    """Add an empty LUN and the directories above it; ``identity`` is its uuid."""
    lun = Lun(
        path=spec["path"].strip("/"),
        uuid=identity,
        serial=serial_of(identity),
        size=int(spec["size"]),
        os_type=spec.get("os_type", "linux"),
        create_time=clock.iso(),
    )
    detail = {"lun": identity, "size": lun.size}
    engine.create_file(volume.ref, lun.path, lun.size, parents=True, op="lun_create", detail=detail, cause=cause)
    volume.luns.append(lun)
    return lun


def free_number(array: Array, igroup: Igroup, first: int) -> int:
    """Return the lowest number from ``first`` that no LUN has for an igroup."""
    used = {item.number for item in array.lun_maps if item.igroup == igroup.uuid}
    return next(number for number in range(first, 4096) if number not in used)
