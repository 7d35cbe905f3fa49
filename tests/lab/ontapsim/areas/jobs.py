# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/cluster/jobs``."""

from __future__ import annotations

from .. import errors
from ..answers import collection, instance, svm_reference
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import Record, Table
from ..model import Job
from ..router import Route

JOB = Table(
    """
uuid                    string
description             string
state                   queued|running|paused|success|failure
message                 string
code                    integer
start_time              time
end_time                time
error.message           string  since=9.9.1
error.code              string  since=9.9.1
svm.name                string  since=9.8
svm.uuid                string  since=9.8
node.name               string  since=9.12.1
""",
    key=("uuid",),
    default=("uuid",),
)


async def get_jobs(call: Call) -> Answer:
    """``GET /cluster/jobs``."""
    call.simulator.jobs.prune()
    return collection(call, JOB, [_record(call, job) for job in call.array.jobs.values() if _visible(call, job)], _href)


async def get_job(call: Call) -> Answer:
    """``GET /cluster/jobs/{uuid}``; an ended job is gone after its time."""
    return instance(call, JOB, _record(call, _find(call)), _href)


async def patch_job(call: Call) -> Answer:
    """``PATCH /cluster/jobs/{uuid}?action=``: the jobs modelled here can be neither paused nor cancelled."""
    call.only_params("action")
    job, action = _find(call), call.params.get("action")
    if action not in ("cancel", "pause", "resume"):
        raise errors.invalid_value(action, "action", "cancel|pause|resume")
    if job.ended is not None:
        raise ApiError(errors.JOB_TERMINAL, "Job is already in a terminal state.")
    if action == "pause":
        raise ApiError(errors.JOB_NO_PAUSE, "This job does not support pause.")
    if action == "cancel":
        raise ApiError(errors.JOB_NO_CANCEL, "This job does not support cancel.")
    raise ApiError(errors.JOB_NOT_RUNNING, "The specified job is not currently paused.")


def _find(call: Call) -> Job:
    job = call.simulator.jobs.get(call.path["uuid"])
    if not _visible(call, job):
        raise errors.missing()
    return job


def _visible(call: Call, job: Job) -> bool:
    return call.scope is None or (job.svm == call.scope and call.simulator.switches.svm_reads_cluster)


def _href(record: Record) -> str:
    return f"/api/cluster/jobs/{record['uuid']}"


def _record(call: Call, job: Job) -> Record:
    record: Record = {
        "uuid": job.uuid,
        "description": job.description,
        "state": job.state,
        "message": job.message,
        "code": job.code,
        "start_time": job.start_time,
        "end_time": job.end_time,
        "node": {"name": call.array.nodes[0]},
    }
    if job.svm in call.array.svms:
        record["svm"] = svm_reference(call, str(job.svm))
    if job.code:
        record["error"] = {"message": job.message, "code": str(job.code)}
    return record


ROUTES = [
    Route("GET", "/cluster/jobs", get_jobs, "job show"),
    Route("GET", "/cluster/jobs/{uuid}", get_job, "job show"),
    Route("PATCH", "/cluster/jobs/{uuid}", patch_job, "job stop"),
]
