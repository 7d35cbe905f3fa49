# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: 202, waiting, failing, ending, and being forgotten."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running


def snapshots(api: Api) -> str:
    """Return the path of a volume's snapshots."""
    return f"/storage/volumes/{api.volume()}/snapshots"


def ended(api: Api, uuid: str) -> dict[str, Any]:
    """Wait for the end of a job and return it."""
    deadline = time.monotonic() + 10
    while True:
        job = api.ok("GET", f"/cluster/jobs/{uuid}")
        if job["state"] not in ("queued", "running"):
            return job
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_change_answers_202_with_its_job(api: Api) -> None:
    path = snapshots(api)
    response = api.request("POST", path, json={"name": "a b".replace(" ", "_")})
    assert response.status_code == 202
    uuid = response.json()["job"]["uuid"]
    assert response.json()["job"]["_links"]["self"]["href"] == f"/api/cluster/jobs/{uuid}"
    location = f"/api{path}/?name=a_b"
    assert response.headers["Location"] == location
    job = ended(api, uuid)
    assert (job["state"], job["code"], job["message"]) == ("success", 0, "success")
    assert job["description"] == f"POST {location}"
    assert job["svm"]["name"] == "svm1"
    assert "error" not in job
    assert api.ok("GET", location[len("/api") :])["num_records"] == 1


def test_changes_that_create_nothing_have_no_location(api: Api) -> None:
    path = f"{snapshots(api)}/{api.snapshot('s1')}"
    response = api.request("PATCH", path, json={"comment": "x"})
    assert response.status_code == 202
    assert "Location" not in response.headers


@pytest.mark.parametrize(("version", "status"), [("9.11.1", 202), ("9.12.1", 202), ("9.13.1", 201), ("9.19.1", 201)])
def test_waiting(api: Api, sim: Running, version: str, status: int) -> None:
    sim.control.set_version(version)
    response = api.request("POST", f"{snapshots(api)}?return_timeout=20", json={"name": "s1"})
    assert response.status_code == status
    assert api.ok("GET", f"/cluster/jobs/{response.json()['job']['uuid']}")["state"] == "success"
    uuid = api.records(snapshots(api))[0]["uuid"]
    response = api.request("DELETE", f"{snapshots(api)}/{uuid}?return_timeout=20", json={})
    assert response.status_code == min(status, 200) if status == 201 else 202


def test_waiting_not_long_enough(api: Api, sim: Running) -> None:
    sim.control.set_switches(job_seconds=3)
    began = time.monotonic()
    response = api.request("POST", f"{snapshots(api)}?return_timeout=1", json={"name": "s1"})
    assert response.status_code == 202
    assert 0.9 < time.monotonic() - began < 2.5
    assert api.ok("GET", f"/cluster/jobs/{response.json()['job']['uuid']}")["state"] == "running"


@pytest.mark.parametrize("value", ["-1", "121", "x", "1.5"])
def test_how_long_one_may_wait(api: Api, value: str) -> None:
    assert api.refused("POST", f"{snapshots(api)}?return_timeout={value}", {"name": "s1"}) == (400, "262197")


def test_records_with_the_job(api: Api) -> None:
    body = api.ok("POST", f"{snapshots(api)}?return_records=true", {"name": "s1", "comment": "c"})
    assert body["num_records"] == 1
    assert body["records"][0]["name"] == "s1"
    assert "job" in body


@pytest.mark.parametrize(
    ("in_job", "in_wait", "status"), [(True, "error", 400), (True, "job", 201), (False, "error", 400)]
)
def test_how_a_failure_is_told(api: Api, sim: Running, in_job: bool, in_wait: str, status: int) -> None:
    api.snapshot("s1")
    sim.control.set_switches(check_in_job=in_job, failure_in_wait=in_wait)
    at_once = api.request("POST", snapshots(api), json={"name": "s1"})
    waited = api.request("POST", f"{snapshots(api)}?return_timeout=20", json={"name": "s1"})
    assert at_once.status_code == (202 if in_job else 400)
    assert waited.status_code == status
    if status == 400:
        assert waited.json()["error"]["code"] == "525059"
    if in_job:
        job = ended(api, at_once.json()["job"]["uuid"])
        assert (job["state"], job["code"], job["error"]["code"]) == ("failure", 525059, "525059")
        assert job["message"] == job["error"]["message"]


def test_the_error_of_a_job_has_a_version(api: Api, sim: Running) -> None:
    api.snapshot("s1")
    uuid = api.ok("POST", snapshots(api), {"name": "s1"})["job"]["uuid"]
    ended(api, uuid)
    sim.control.set_version("9.8")
    assert "error" not in api.ok("GET", f"/cluster/jobs/{uuid}")
    assert api.refused("GET", f"/cluster/jobs/{uuid}?fields=error") == (400, "262197")


def test_a_job_is_forgotten(api: Api, sim: Running) -> None:
    uuid = api.ok("POST", snapshots(api), {"name": "s1"})["job"]["uuid"]
    ended(api, uuid)
    sim.control.set_switches(clock_offset=299)
    assert api.ok("GET", f"/cluster/jobs/{uuid}")["state"] == "success"
    sim.control.set_switches(clock_offset=301)
    assert api.refused("GET", f"/cluster/jobs/{uuid}") == (404, "4")
    assert api.records("/cluster/jobs") == []


def test_jobs_are_listed(api: Api) -> None:
    api.snapshot("s1")
    found = api.records("/cluster/jobs?fields=state,description&state=success")
    assert [item["state"] for item in found] == ["success"]


@pytest.mark.parametrize(("action", "code"), [("cancel", "458784"), ("pause", "458783"), ("resume", "458776")])
def test_jobs_cannot_be_stopped(api: Api, sim: Running, action: str, code: str) -> None:
    sim.control.add_fault("job_hang")
    uuid = api.ok("POST", snapshots(api), {"name": "s1"})["job"]["uuid"]
    assert api.refused("PATCH", f"/cluster/jobs/{uuid}?action={action}", {}) == (400, code)


def test_an_ended_job_cannot_be_stopped(api: Api) -> None:
    uuid = api.ok("POST", snapshots(api), {"name": "s1"})["job"]["uuid"]
    ended(api, uuid)
    assert api.refused("PATCH", f"/cluster/jobs/{uuid}?action=cancel", {}) == (400, "458762")
    assert api.refused("PATCH", f"/cluster/jobs/{uuid}?action=dance", {}) == (400, "262197")


def test_work_under_way_is_waited_for_and_what_hangs_is_not(api: Api, sim: Running) -> None:
    sim.control.add_fault("job_hang", match={"method": "POST", "count": 1})
    api.ok("POST", snapshots(api), {"name": "hangs"})
    sim.control.set_switches(job_seconds=0.3)
    api.ok("POST", snapshots(api), {"name": "comes"})
    with pytest.raises(TimeoutError, match="of the array's work are still going on"):
        sim.control.settle(0.05)
    sim.control.settle()
    (volume,) = [item for item in sim.control.volumes() if item["name"] == "kvm_vol1"]
    assert ("comes" in volume["snapshots"], "hangs" in volume["snapshots"]) == (True, False)
