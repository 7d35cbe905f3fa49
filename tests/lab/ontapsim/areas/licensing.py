# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/cluster/licensing/licenses``."""

from __future__ import annotations

from .. import errors
from ..answers import collection
from ..call import Answer, Call
from ..fields import Record, Table
from ..router import Route

LICENSE = Table(
    """
name                    string
scope                   site|cluster|node|not_available
state                   compliant|noncompliant|unlicensed|unknown
description             string
""",
    key=("name",),
    default=("name",),
)


async def get_licenses(call: Call) -> Answer:
    """``GET /cluster/licensing/licenses``: every known package, installed or not."""
    if call.scope is not None:
        raise errors.forbidden()
    records: list[Record] = [
        {
            "name": name,
            "scope": "cluster",
            "state": "compliant" if installed else "unlicensed",
            "description": f"{name} License",
        }
        for name, installed in sorted(call.simulator.switches.licenses.items())
    ]
    return collection(call, LICENSE, records, lambda record: f"/api/cluster/licensing/licenses/{record['name']}")


ROUTES = [Route("GET", "/cluster/licensing/licenses", get_licenses, "system license show")]
