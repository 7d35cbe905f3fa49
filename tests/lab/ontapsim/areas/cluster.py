# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/cluster`` and its nodes."""

from __future__ import annotations

from .. import errors
from ..answers import collection, instance
from ..call import Answer, Call
from ..fields import Record, Table
from ..router import Route

CLUSTER = Table(
    """
name                    string  patch
uuid                    string
contact                 string  patch
location                string  patch
version.full            string
version.generation      integer
version.major           integer
version.minor           integer
san_optimized           boolean since=9.11.1
disaggregated           boolean since=9.16.1
timezone.name           string
""",
    key=("uuid",),
    default=("name", "uuid"),
)

NODE = Table(
    """
uuid                    string
name                    string
model                   string
serial_number           string
location                string
state                   up|booting|down|taken_over|waiting_for_giveback|degraded|unknown since=9.8
uptime                  integer
version.full            string
version.generation      integer
version.major           integer
version.minor           integer
""",
    key=("uuid",),
    default=("uuid", "name"),
)


async def get_cluster(call: Call) -> Answer:
    """``GET /cluster``."""
    if call.scope is not None and not call.simulator.switches.svm_reads_cluster:
        raise errors.forbidden()
    record = {
        "name": call.array.name,
        "uuid": call.array.uuid,
        "contact": "",
        "location": "",
        "version": _version(call),
        "san_optimized": call.san_optimized,
        "disaggregated": call.disaggregated,
        "timezone": {"name": "Etc/UTC"},
    }
    return instance(call, CLUSTER, record, lambda _record: "/api/cluster")


async def get_nodes(call: Call) -> Answer:
    """``GET /cluster/nodes``."""
    if call.scope is not None:
        raise errors.forbidden()
    records = [_node(call, name) for name in call.array.nodes]
    return collection(call, NODE, records, lambda record: f"/api/cluster/nodes/{record['uuid']}")


async def get_node(call: Call) -> Answer:
    """``GET /cluster/nodes/{uuid}``."""
    if call.scope is not None:
        raise errors.forbidden()
    for name in call.array.nodes:
        if call.array.node_uuids[name] == call.path["uuid"]:
            return instance(call, NODE, _node(call, name), lambda record: f"/api/cluster/nodes/{record['uuid']}")
    raise errors.missing()


def _version(call: Call) -> Record:
    generation, major, minor = call.version
    return {
        "full": f"NetApp Release {call.array.version}: Mon Jun 01 12:00:00 UTC 2026",
        "generation": generation,
        "major": major,
        "minor": minor,
    }


def _node(call: Call, name: str) -> Record:
    return {
        "uuid": call.array.node_uuids[name],
        "name": name,
        "model": "SIMBOX",
        "serial_number": "4055000-01-1",
        "location": "",
        "state": "up",
        "uptime": 86400,
        "version": _version(call),
    }


ROUTES = [
    Route("GET", "/cluster", get_cluster, "version"),
    Route("GET", "/cluster/nodes", get_nodes, "system node show"),
    Route("GET", "/cluster/nodes/{uuid}", get_node, "system node show"),
]
