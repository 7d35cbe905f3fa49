# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs are followed to their end, and their codes are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import jobs
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    JobFailedError,
    JobGoneError,
    JobTimeoutError,
    OntapError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import Outcome
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline


class Jobs:
    """Answers each look at a job with the next scripted record, the last one for ever; time passes by sleeping."""

    def __init__(self, *records: Any) -> None:
        self.records = list(records)
        self.looks: list[str] = []
        self.pauses: list[float] = []
        self.deadline = Deadline.after(10.0, Clock(monotonic=lambda: sum(self.pauses), sleep=self.pauses.append))

    def read(self, path: str) -> Mapping[str, Any]:
        """Answer one look."""
        self.looks.append(path)
        record = self.records.pop(0) if len(self.records) > 1 else self.records[0]
        if isinstance(record, Exception):
            raise record
        found: Mapping[str, Any] = record
        return found

    def wait(self) -> jobs.Job:
        """Follow the job j1."""
        return jobs.wait("j1", read=self.read, action="create something", deadline=self.deadline)


def test_a_job_is_followed_with_growing_pauses() -> None:
    script = Jobs({"state": "queued"}, *[{"state": "running"}] * 6, {"state": "success", "code": 0})
    assert script.wait().state == "success"
    assert script.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert set(script.looks) == {"/cluster/jobs/j1"}


@pytest.mark.parametrize(
    ("record", "code", "said"),
    [
        ({"state": "failure", "message": "no space", "code": 524479}, "524479", "no space"),
        ({"state": "failure", "message": "Failed", "code": 1, "error": {"code": "524479", "message": "no space"}},
         "524479", "no space"),
        ({"state": "error", "message": "not authorized", "code": 6}, "6", "not authorized"),
        ({"state": "cancelled", "code": 0}, None, "no reason given"),
        ({"state": "expired"}, None, "no reason given"),
    ],
)  # fmt: skip
def test_a_failed_job_keeps_its_code(record: dict[str, Any], code: Any, said: str) -> None:
    with pytest.raises(JobFailedError, match="Failed to create something: ") as caught:
        Jobs({"state": "running"}, record).wait()
    assert said in caught.value.reason
    assert (caught.value.code, caught.value.fields["job"]) == (code, "j1")
    assert caught.value.outcome == Outcome("answered", code=code)


def test_a_job_that_is_no_longer_known_ended_somehow() -> None:
    gone = OntapError("GET", "entry doesn't exist", ontap_code="4", http_status=404)
    with pytest.raises(JobGoneError) as caught:
        Jobs({"state": "running"}, gone).wait()
    assert caught.value.outcome.fate == "lost"


def test_another_error_of_the_look_is_told_as_it_is() -> None:
    denied = OntapError("GET", "not authorized", ontap_code="6", http_status=403)
    with pytest.raises(OntapError) as caught:
        Jobs(denied).wait()
    assert caught.value is denied


@pytest.mark.parametrize("state", ["running", "paused", "queued", "a state of some later release"])
def test_a_job_without_end_is_named_at_the_deadline(state: str) -> None:
    script = Jobs({"state": state})
    with pytest.raises(JobTimeoutError, match="job j1") as caught:
        script.wait()
    assert sum(script.pauses) == pytest.approx(10.0)
    assert (caught.value.fields["job"], caught.value.fields["job_state"]) == ("j1", state)


def test_a_look_that_fails_at_the_deadline_is_the_job_s_time_out() -> None:
    script = Jobs({"state": "running"})
    with pytest.raises(JobTimeoutError):
        jobs.wait("j1", read=Late(script).read, action="create something", deadline=script.deadline)


class Late:
    """Fails once the time is used up, as a real request does."""

    def __init__(self, script: Jobs) -> None:
        self.script = script

    def read(self, path: str) -> Mapping[str, Any]:
        """Answer, or fail when it is too late."""
        if self.script.deadline.remaining() <= 0:
            raise OntapError("GET", "the time allowed is used up", outcome=Outcome("not-sent"))
        return self.script.read(path)


@pytest.mark.parametrize(
    ("answer", "uuids"),
    [
        ({}, []),
        ({"job": {"uuid": "j1"}}, ["j1"]),
        ({"jobs": [{"uuid": "j1"}, {"uuid": "j2"}], "num_records": 2}, ["j1", "j2"]),
        ({"job": None, "jobs": None, "cli_output": "done"}, []),
        ({"job": {}}, []),
    ],
)
def test_the_jobs_that_an_answer_names(answer: dict[str, Any], uuids: list[str]) -> None:
    assert jobs.job_uuids(answer) == uuids
