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
from .model import ROOT_VOLUME_SIZE, Array, Lif, Svm, Volume
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
    values = dict(spec)
    mode = int(str(values.get("unix_permissions", "755")), 8)
    values["unix_permissions"] = int(str(values.get("unix_permissions", "755")))
    key = f"volume:{svm}/{spec['name']}"
    array.seeded.append(key)
    digest = hashlib.sha256(key.encode()).digest()
    volume = Volume(
        svm=svm,
        uuid=stable_uuid(array.name, key, str(array.seeded.count(key))),
        msid=2147483648 + int.from_bytes(digest[:3], "big"),
        create_time=clock.iso(),
        is_svm_root=is_svm_root,
        **values,
    )
    engine.create_volume(volume.ref, mode=mode, cause=cause)
    array.volumes[volume.uuid] = volume
    return volume
