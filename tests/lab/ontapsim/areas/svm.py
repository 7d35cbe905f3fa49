# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/svm/svms``."""

from __future__ import annotations

from .. import errors
from ..answers import collection, instance
from ..call import Answer, Call
from ..fields import Record, Table
from ..model import Svm
from ..router import Route

SVM = Table(
    """
uuid                    string
name                    string
state                   starting|running|stopping|stopped|deleting|initializing
subtype                 default|dp_destination|sync_source|sync_destination|data_engine
comment                 string
language                string
ipspace.name            string
ipspace.uuid            string
aggregates[].name       string
aggregates[].uuid       string
snapshot_policy.name    string
max_volumes             string  since=9.9.1
nfs.allowed             boolean since=9.7
nfs.enabled             boolean
cifs.allowed            boolean since=9.7
cifs.enabled            boolean
iscsi.allowed           boolean since=9.7
iscsi.enabled           boolean
fcp.allowed             boolean since=9.7
fcp.enabled             boolean
nvme.allowed            boolean since=9.7
nvme.enabled            boolean
""",
    key=("uuid",),
    default=("uuid", "name"),
)


async def get_svms(call: Call) -> Answer:
    """``GET /svm/svms``: data SVMs only."""
    return collection(
        call, SVM, [_record(call, item) for item in call.array.svms.values() if call.visible_svm(item.name)], _href
    )


async def get_svm(call: Call) -> Answer:
    """``GET /svm/svms/{uuid}``."""
    for item in call.array.svms.values():
        if item.uuid == call.path["uuid"] and call.visible_svm(item.name):
            return instance(call, SVM, _record(call, item), _href)
    raise errors.missing()


def _href(record: Record) -> str:
    return f"/api/svm/svms/{record['uuid']}"


def _record(call: Call, item: Svm) -> Record:
    services = {service for lif in call.array.lifs if lif.svm == item.name for service in lif.services}
    on = {name: {"allowed": True, "enabled": f"data_{name}" in services} for name in ("nfs", "cifs", "iscsi", "fcp")}
    return {
        "uuid": item.uuid,
        "name": item.name,
        "state": item.state,
        "subtype": item.subtype,
        "comment": item.comment,
        "language": "c.utf_8",
        "ipspace": {"name": "Default", "uuid": call.array.uuid},
        "aggregates": [{"name": call.array.aggregate, "uuid": call.array.aggregate_uuid}],
        "snapshot_policy": {"name": "default"},
        "max_volumes": "unlimited",
        **on,
        "nvme": {"allowed": False, "enabled": False},
    }


ROUTES = [
    Route("GET", "/svm/svms", get_svms, "vserver show"),
    Route("GET", "/svm/svms/{uuid}", get_svm, "vserver show"),
]
