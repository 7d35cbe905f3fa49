# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asynchronous operations, followed by ourselves: the official client loses a failed job's code.

Source: ``GET /cluster/jobs/{uuid}``; a job is forgotten 300 s after its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    JobFailedError,
    JobGoneError,
    JobTimeoutError,
    OntapError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import segment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import Outcome
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

FIELDS = ("state", "message", "code", "error")
FIRST_PAUSE = 0.05
"""Seconds before the second look at a job, doubled for each further one: a small change is done soon."""
LONGEST_PAUSE = 2.0
"""The longest such pause: a job of minutes costs the array few requests, and its end is seen soon enough."""

_SUCCESS = frozenset({"success"})
_FAILURE = frozenset({"failure", "error", "cancelled", "expired", "dead", "quit"})


@dataclass(frozen=True)
class Job:
    """One look at a job; ``code`` is ONTAP's error code as a string, ``None`` when there is none."""

    uuid: str
    state: str
    message: str
    code: Optional[str]

    @classmethod
    def from_record(cls, uuid: str, record: Mapping[str, Any]) -> Job:
        """Read a job record; the code stands in ``error.code`` (text) or in ``code`` (number, 0 for none)."""
        error = record.get("error") or {}
        code = str(error.get("code") or record.get("code") or 0)
        return cls(
            uuid=uuid,
            state=str(record.get("state", "unknown")),
            message=str(error.get("message") or record.get("message") or ""),
            code=None if code == "0" else code,
        )

    @property
    def ended(self) -> bool:
        """Tell whether it can have no effect any more."""
        return self.state in _SUCCESS | _FAILURE


def job_uuids(answer: Mapping[str, Any]) -> list[str]:
    """Return the uuids of the jobs that an answer names (``job``, or ``jobs`` of the CLI pass-through)."""
    links = [answer.get("job"), *(answer.get("jobs") or [])]
    return [str(link["uuid"]) for link in links if link and link.get("uuid")]


def look(uuid: str, *, read: Callable[[str], Mapping[str, Any]]) -> Optional[Job]:
    """Return a job as it is now, None when ONTAP does not know it (any more). :raises OntapError:"""
    try:
        return Job.from_record(uuid, read(f"/cluster/jobs/{segment(uuid)}"))
    except OntapError as exc:
        if exc.has_code(codes.ENTRY_NOT_FOUND):
            return None
        raise


def wait(uuid: str, *, read: Callable[[str], Mapping[str, Any]], action: str, deadline: Deadline) -> Job:
    """Poll a job until it has succeeded and return its last record.

    ``read`` takes ``/cluster/jobs/<uuid>`` and returns the record. Pauses double from 0.05 s to 2 s.

    :raises JobFailedError: it ended otherwise. :raises JobTimeoutError: it had not ended at ``deadline``.
    :raises JobGoneError: ONTAP does not know it (any more).
    """
    pause = FIRST_PAUSE
    state = "unknown"
    while True:
        try:
            job = look(uuid, read=read)
        except OntapError as exc:
            if deadline.remaining() <= 0:
                raise _timeout(uuid, state, action=action) from exc
            raise
        if job is None:
            reason = f"ONTAP no longer knows job {uuid}, so how it ended is unknown"
            raise JobGoneError(action, reason, outcome=Outcome("lost"), job=uuid, seen=state != "unknown")
        if job.state in _SUCCESS:
            return job
        if job.state in _FAILURE:
            reason = f"{job.message or 'no reason given'} (job {uuid} ended as {job.state})"
            outcome = Outcome("answered", code=job.code)
            raise JobFailedError(action, reason, outcome=outcome, ontap_code=job.code, job=uuid, job_state=job.state)
        state = job.state
        if deadline.remaining() <= 0:
            raise _timeout(uuid, state, action=action)
        deadline.clock.sleep(min(pause, deadline.remaining()))
        pause = min(pause * 2, LONGEST_PAUSE)


def _timeout(uuid: str, state: str, *, action: str) -> JobTimeoutError:
    reason = f"job {uuid} has not ended within the time allowed (its state: {state})"
    return JobTimeoutError(action, reason, outcome=Outcome("lost"), job=uuid, job_state=state)
