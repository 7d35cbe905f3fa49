# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/security/roles`` and ``/security/accounts``, for reading."""

from __future__ import annotations

from .. import errors
from ..answers import collection
from ..call import Answer, Call
from ..fields import Record, Table
from ..rbac import Role
from ..router import Route

ROLE = Table(
    """
owner.uuid              string
owner.name              string
name                    string
scope                   cluster|svm
builtin                 boolean
privileges[].path       string
privileges[].access     none|readonly|read_create|read_modify|read_create_modify|all
""",
    key=("owner.uuid", "name"),
    default=("owner.uuid", "owner.name", "name"),
)

ACCOUNT = Table(
    """
owner.uuid              string
owner.name              string
name                    string
scope                   cluster|svm
role.name               string
locked                  boolean
comment                 string
applications[].application  string
""",
    key=("owner.uuid", "name"),
    default=("owner.uuid", "owner.name", "name"),
)


async def get_roles(call: Call) -> Answer:
    """``GET /security/roles``."""
    return collection(
        call,
        ROLE,
        [
            _role(call, role)
            for role in call.simulator.config.roles
            if call.scope is None or role.svm in (None, call.scope)
        ],
        lambda record: f"/api/security/roles/{record['owner']['uuid']}/{record['name']}",
    )


async def get_accounts(call: Call) -> Answer:
    """``GET /security/accounts``."""
    records: list[Record] = [
        {
            "owner": _owner(call, item.svm),
            "name": item.name,
            "scope": "svm" if item.svm else "cluster",
            "role": {"name": item.role},
            "locked": item.locked,
            "applications": [{"application": "http"}],
        }
        for item in call.simulator.config.accounts
        if call.scope in (None, item.svm)
    ]
    return collection(
        call, ACCOUNT, records, lambda record: f"/api/security/accounts/{record['owner']['uuid']}/{record['name']}"
    )


def _owner(call: Call, svm: str | None) -> Record:
    if svm is None:
        return {"uuid": call.array.uuid, "name": call.array.name}
    if svm not in call.array.svms:
        raise errors.missing("owner.name")
    return {"uuid": call.array.svms[svm].uuid, "name": svm}


def _role(call: Call, role: Role) -> Record:
    return {
        "owner": _owner(call, role.svm),
        "name": role.name,
        "scope": "svm" if role.svm else "cluster",
        "builtin": role.builtin,
        "privileges": [{"path": path, "access": access} for path, access in role.privileges],
    }


ROUTES = [
    Route("GET", "/security/roles", get_roles, "security login role show"),
    Route("GET", "/security/accounts", get_accounts, "security login show"),
]
