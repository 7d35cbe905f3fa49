# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file: what the array is made of when it starts for the first time, and how it is reached."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .auth import Account
from .fields import parse_version
from .rbac import BUILTIN, Role
from .san import NoTarget, San
from .tgt import Portal, Tgt


class ConfigError(ValueError):
    """The configuration cannot be used; the message says where."""


@dataclass(frozen=True)
class Listener:
    """Where HTTPS is served; ``scope`` as in `auth.authenticate` (from the LIFs when not given)."""

    address: str
    port: int
    scope: str | None = None


@dataclass(frozen=True)
class Config:
    """The whole configuration; ``cluster`` and ``svms`` stay as given, `seed` reads them."""

    state_dir: str
    version: str
    listeners: tuple[Listener, ...]
    certificate: str
    key: str
    control_socket: str | None
    cluster: dict[str, Any]
    svms: list[dict[str, Any]]
    accounts: list[Account]
    roles: list[Role]
    fence_pidfiles: list[str] = field(default_factory=list)
    export_hook: list[str] = field(default_factory=list)
    san: San = field(default_factory=NoTarget)
    require_reflink: bool = True
    seal_snapshots: bool = True
    switches: dict[str, Any] = field(default_factory=dict)


KEYS = {
    "state_dir",
    "control_socket",
    "listeners",
    "tls",
    "version",
    "cluster",
    "svms",
    "users",
    "roles",
    "fence_pidfiles",
    "export_hook",
    "san",
    "require_reflink",
    "seal_snapshots",
    "switches",
}
_CLUSTER_KEYS = {"name", "nodes", "aggregate", "lifs", "san_optimized", "disaggregated"}
_SVM_KEYS = {"name", "state", "subtype", "comment", "lifs", "volumes", "igroups"}
_LIF_KEYS = {"name", "address", "netmask", "services", "ipspace", "enabled", "state"}
VOLUME_KEYS = {
    "name",
    "junction",
    "size",
    "type",
    "state",
    "style",
    "comment",
    "export_policy",
    "unix_permissions",
    "snapshot_locking_enabled",
    "snapshot_directory_access_enabled",
    "is_protected",
    "full",
    "luns",
}
LUN_KEYS = {"path", "size", "os_type", "maps"}
_MAP_KEYS = {"igroup", "lun_id"}
_IGROUP_KEYS = {"name", "os_type", "protocol", "initiators"}


def load(data: Mapping[str, Any]) -> Config:
    """Check a configuration; raises ``ConfigError`` for an unknown key or a wrong value."""
    _only(data, KEYS, "the configuration")
    version = data.get("version", "9.19.1")
    roles = [*BUILTIN, *(_role(item) for item in data.get("roles", []))]
    try:
        for role in roles:
            role.check(parse_version(version))
    except ValueError as exc:
        raise ConfigError(str(exc)) from exc
    _only(data.get("cluster", {}), _CLUSTER_KEYS, "cluster")
    for svm in data.get("svms", []):
        _only(svm, _SVM_KEYS, "svms")
        for volume in svm.get("volumes", []):
            _only(volume, VOLUME_KEYS, f"volumes of {svm['name']}")
            for lun in volume.get("luns", []):
                _only(lun, LUN_KEYS, f"luns of {volume['name']}")
                for item in lun.get("maps", []):
                    _only(item, _MAP_KEYS, f"maps of {lun['path']}")
        for igroup in svm.get("igroups", []):
            _only(igroup, _IGROUP_KEYS, f"igroups of {svm['name']}")
    for lif in [
        *data.get("cluster", {}).get("lifs", []),
        *(lif for svm in data.get("svms", []) for lif in svm.get("lifs", [])),
    ]:
        _only(lif, _LIF_KEYS, "lifs")
    hook = data.get("export_hook") or []
    return Config(
        state_dir=data["state_dir"],
        version=version,
        certificate=data["tls"]["cert"],
        key=data["tls"]["key"],
        listeners=tuple(Listener(**item) for item in data["listeners"]),
        control_socket=data.get("control_socket"),
        cluster=dict(data.get("cluster", {})),
        svms=list(data.get("svms", [])),
        accounts=[_account(item, roles) for item in data.get("users", [])],
        roles=roles,
        fence_pidfiles=list(data.get("fence_pidfiles", [])),
        export_hook=shlex.split(hook) if isinstance(hook, str) else list(hook),
        san=_san(data.get("san")),
        require_reflink=data.get("require_reflink", True),
        seal_snapshots=data.get("seal_snapshots", True),
        switches=dict(data.get("switches", {})),
    )


def _only(data: Mapping[str, Any], known: set[str], place: str) -> None:
    surplus = set(data) - known
    if surplus:
        raise ConfigError(f"unknown in {place}: {', '.join(sorted(surplus))}")


def _san(data: Mapping[str, Any] | None) -> San:
    if data is None:
        return NoTarget()
    _only(data, {"tgtadm", "portals"}, "san")
    return Tgt(data["tgtadm"], [Portal(**item) for item in data["portals"]])


def _role(item: Mapping[str, Any]) -> Role:
    _only(item, {"name", "svm", "privileges"}, "roles")
    return Role(item["name"], tuple((entry["path"], entry["access"]) for entry in item["privileges"]), item.get("svm"))


def _account(item: Mapping[str, Any], roles: Sequence[Role]) -> Account:
    _only(item, {"name", "password", "role", "svm", "locked"}, "users")
    if item["role"] not in {role.name for role in roles}:
        raise ConfigError(f"user {item['name']} has the unknown role {item['role']}")
    return Account(item["name"], item["password"], item["role"], item.get("svm"), item.get("locked", False))
