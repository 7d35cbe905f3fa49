# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/network/ip/interfaces``."""

from __future__ import annotations

import ipaddress

from .. import errors
from ..answers import collection, instance, svm_reference
from ..call import Answer, Call
from ..fields import Record, Table
from ..model import Lif
from ..router import Route

INTERFACE = Table(
    """
uuid                        string
name                        string
ip.address                  string
ip.netmask                  string
ip.family                   ipv4|ipv6
enabled                     boolean
state                       up|down
scope                       svm|cluster
ipspace.name                string
services[]                  string
service_policy.name         string
svm.name                    string
svm.uuid                    string
location.is_home            boolean
location.home_node.name     string
location.home_node.uuid     string
location.node.name          string
location.node.uuid          string
location.home_port.name     string
location.port.name          string
""",
    key=("uuid",),
    default=("uuid", "name"),
)


async def get_interfaces(call: Call) -> Answer:
    """``GET /network/ip/interfaces``."""
    return collection(call, INTERFACE, [_record(call, lif) for lif in call.array.lifs if _visible(call, lif)], _href)


async def get_interface(call: Call) -> Answer:
    """``GET /network/ip/interfaces/{uuid}``."""
    for lif in call.array.lifs:
        if lif.uuid == call.path["uuid"] and _visible(call, lif):
            return instance(call, INTERFACE, _record(call, lif), _href)
    raise errors.missing()


def _visible(call: Call, lif: Lif) -> bool:
    return call.scope is None or lif.svm == call.scope


def _href(record: Record) -> str:
    return f"/api/network/ip/interfaces/{record['uuid']}"


def _record(call: Call, lif: Lif) -> Record:
    node = call.array.nodes[0]
    place = {"name": node, "uuid": call.array.node_uuids[node]}
    family = "ipv6" if ipaddress.ip_address(lif.address).version == 6 else "ipv4"
    record: Record = {
        "uuid": lif.uuid,
        "name": lif.name,
        "enabled": lif.enabled,
        "state": lif.state if lif.enabled else "down",
        "ip": {"address": lif.address, "netmask": lif.netmask, "family": family},
        "scope": "svm" if lif.svm else "cluster",
        "ipspace": {"name": lif.ipspace},
        "services": lif.services,
        "service_policy": {"name": "default-data-files" if lif.svm else "default-management"},
        "location": {
            "is_home": True,
            "home_node": place,
            "node": place,
            "home_port": {"name": "e0c"},
            "port": {"name": "e0c"},
        },
    }
    if lif.svm:
        record["svm"] = svm_reference(call, lif.svm)
    return record


ROUTES = [
    Route("GET", "/network/ip/interfaces", get_interfaces, "network interface show"),
    Route("GET", "/network/ip/interfaces/{uuid}", get_interface, "network interface show"),
]
