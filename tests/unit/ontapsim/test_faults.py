# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Injected faults and the control port."""

from __future__ import annotations

import os
import stat
import time
from typing import Any

import pytest
import requests

from ontapsim.control import ControlError
from ontapsim.testclient import Api
from ontapsim.testing import Running

POSTS = {"method": "POST", "path": r"/snapshots$"}


def snapshots(api: Api) -> str:
    """Return the path of a volume's snapshots."""
    return f"/storage/volumes/{api.volume()}/snapshots"


def names(api: Api) -> list[str]:
    """Return the names of a volume's snapshots."""
    return sorted(item["name"] for item in api.records(snapshots(api)))


def job_of(api: Api, uuid: str) -> dict[str, Any]:
    """Wait for a job's end and return it."""
    deadline = time.monotonic() + 10
    while True:
        job = api.ok("GET", f"/cluster/jobs/{uuid}")
        if job["state"] in ("success", "failure"):
            return job
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_delay(api: Api, sim: Running) -> None:
    sim.control.add_fault("delay", match={"path": "/cluster$"}, seconds=0.3)
    began = time.monotonic()
    api.ok("GET", "/cluster")
    assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    api.ok("GET", "/svm/svms")
    assert time.monotonic() - began < 0.25


def test_delay_of_the_job(api: Api, sim: Running) -> None:
    sim.control.add_fault("delay", match=POSTS, seconds=0.4, where="job")
    began = time.monotonic()
    uuid = api.ok("POST", snapshots(api), {"name": "s1"})["job"]["uuid"]
    assert time.monotonic() - began < 0.35
    job_of(api, uuid)
    assert time.monotonic() - began >= 0.4


def test_status(api: Api, sim: Running) -> None:
    sim.control.add_fault("status", match=POSTS, status=500, code="65552", message="generic RPC failure")
    response = api.request("POST", snapshots(api), json={"name": "s1"})
    assert response.status_code == 500
    assert response.json()["error"] == {"message": "generic RPC failure", "code": "65552"}
    assert names(api) == []


@pytest.mark.parametrize(("status", "code"), [(429, "262160"), (503, "8")])
def test_burst(api: Api, sim: Running, status: int, code: str) -> None:
    sim.control.add_fault(
        "burst", match={"method": "GET", "path": "/cluster$", "count": 2}, status=status, retry_after=1
    )
    responses = [api.request("GET", "/cluster") for _turn in range(3)]
    assert [item.status_code for item in responses] == [status, status, 200]
    assert responses[0].headers["Retry-After"] == "1"
    assert responses[0].json()["error"]["code"] == code


def test_dropped_before(api: Api, sim: Running) -> None:
    path = snapshots(api)
    sim.control.add_fault("drop_before", match={**POSTS, "count": 1})
    with pytest.raises(requests.ConnectionError):
        api.request("POST", path, json={"name": "s1"})
    assert names(api) == []
    assert next(item for item in sim.control.requests() if item["method"] == "POST")["status"] == 0


def test_dropped_after(api: Api, sim: Running) -> None:
    path = snapshots(api)
    sim.control.add_fault("drop_after", match={**POSTS, "count": 1})
    with pytest.raises(requests.ConnectionError):
        api.request("POST", path, json={"name": "s1"})
    deadline = time.monotonic() + 10
    while names(api) != ["s1"]:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("effect", [False, True])
def test_a_failing_job(api: Api, sim: Running, effect: bool) -> None:
    sim.control.add_fault("job_fail", match=POSTS, code="1638537", message="Cannot determine the status", effect=effect)
    job = job_of(api, api.ok("POST", snapshots(api), {"name": "s1"})["job"]["uuid"])
    assert (job["state"], job["code"], job["message"]) == ("failure", 1638537, "Cannot determine the status")
    assert names(api) == (["s1"] if effect else [])


@pytest.mark.parametrize("effect", [False, True])
def test_a_hanging_job(api: Api, sim: Running, effect: bool) -> None:
    sim.control.add_fault("job_hang", match=POSTS, effect=effect)
    uuid = api.ok("POST", f"{snapshots(api)}?return_timeout=1", {"name": "s1"})["job"]["uuid"]
    assert api.ok("GET", f"/cluster/jobs/{uuid}")["state"] == "running"
    assert names(api) == (["s1"] if effect else [])


def test_a_job_that_hangs_for_a_while(api: Api, sim: Running) -> None:
    sim.control.add_fault("job_hang", match=POSTS, seconds=0.3)
    assert job_of(api, api.ok("POST", snapshots(api), {"name": "s1"})["job"]["uuid"])["state"] == "success"


def test_a_missing_licence(api: Api, sim: Running) -> None:
    (sim.volume_root("svm1", "kvm_vol1") / "a").write_bytes(b"1")
    sim.control.add_fault("license", match={"count": 1, "method": "POST"}, name="flexclone")
    body = {"volume": {"uuid": api.volume(), "name": "kvm_vol1"}, "source_path": "a", "destination_path": "b"}
    assert api.fails("POST", "/storage/file/clone", body) == "13565952"
    api.change("POST", "/storage/file/clone", body)


def test_whom_and_when_a_fault_hits(api: Api, sim: Running) -> None:
    number = sim.control.add_fault("status", match={"user": "readonly", "after": 1, "count": 1}, status=500)
    reader = api.as_user("readonly", "lab-Readonly1")
    assert api.request("GET", "/cluster").status_code == 200
    assert [reader.request("GET", "/cluster").status_code for _turn in range(3)] == [200, 500, 200]
    fault = sim.control.faults()[0]
    assert (fault["id"], fault["seen"], fault["hits"]) == (number, 3, 1)
    sim.control.clear_faults()
    assert sim.control.faults() == []


MISTAKES: list[dict[str, Any]] = [
    {"action": {"type": "quake"}}, {"action": {}}, {"action": {"type": "delay", "colour": 1}},
    {"action": {"type": "delay"}, "match": {"colour": 1}}, {"action": {"type": "delay"}, "extra": 1},
]  # fmt: skip


@pytest.mark.parametrize("spec", MISTAKES)
def test_faults_with_a_mistake(sim: Running, spec: dict[str, Any]) -> None:
    with pytest.raises(ControlError):
        sim.control.request("POST", "/faults", spec)


@pytest.mark.parametrize("values", [{"colour": 1}, {"page_size": "2"}, {"check_in_job": 1}, {"sfsr_seconds": True}])
def test_switches_with_a_mistake(sim: Running, values: dict[str, Any]) -> None:
    before = sim.control.switches()
    with pytest.raises(ControlError):
        sim.control.set_switches(**values)
    assert sim.control.switches() == before


def test_switches_can_be_set_back(sim: Running) -> None:
    defaults = sim.control.switches()
    sim.control.set_switches(page_size=3, licenses={"flexclone": False})
    assert sim.control.switches()["licenses"]["snaprestore"] is True
    assert sim.control.reset_switches() == defaults


def test_health_and_requests(api: Api, sim: Running) -> None:
    assert sim.control.health()["ok"] is True
    sim.control.clear_requests()
    api.request("GET", "/cluster?fields=version")
    api.as_user("nobody", "x").request("GET", "/cluster")
    first, second = sim.control.requests()
    assert (first["method"], first["path"], first["query"]) == ("GET", "/api/cluster", "fields=version")
    assert (first["status"], first["user"], second["status"], second["user"]) == (200, "admin", 401, "nobody")
    assert first["seconds"] < 5


def test_the_socket_is_private(sim: Running) -> None:
    assert stat.S_IMODE(os.stat(sim.control.socket_path).st_mode) == 0o600


def test_the_control_port_is_not_on_https(api: Api) -> None:
    for path in ("/journal", "/faults", "/health"):
        assert api.session.get(f"{api.running.url}{path}", timeout=10).status_code == 404


@pytest.mark.parametrize("version", ["9.11.1", "9.8"])
def test_version(api: Api, sim: Running, version: str) -> None:
    sim.control.set_version(version)
    body = api.ok("GET", "/cluster?fields=version")["version"]
    assert ".".join(str(body[key]) for key in ("generation", "major", "minor")).startswith(version)
    with pytest.raises(ControlError):
        sim.control.set_version("new")


def test_volumes_by_control(api: Api, sim: Running) -> None:
    uuid = sim.control.add_volume("svm2", "extra", junction="/extra", size=1 << 30, type="dp")
    volume = api.ok("GET", f"/storage/volumes/{uuid}?fields=type,nas.path,size")
    assert (volume["type"], volume["nas"]["path"], volume["size"]) == ("dp", "/extra", 1 << 30)
    with pytest.raises(ControlError):
        sim.control.add_volume("svm2", "extra")
    with pytest.raises(ControlError):
        sim.control.change_volume("svm2", "gone", type="rw")
    assert {item["name"] for item in sim.control.volumes() if item["svm"] == "svm2"} == {
        "svm2_root",
        "kvm_vol3",
        "extra",
    }


def test_hashes_by_control(sim: Running) -> None:
    (sim.volume_root("svm1", "kvm_vol1") / "a").write_bytes(b"")
    assert sim.control.sha256("svm1", "kvm_vol1", "a").startswith("e3b0c442")
    with pytest.raises(ControlError):
        sim.control.sha256("svm1", "kvm_vol1", "gone")
    with pytest.raises(ControlError):
        sim.control.sha256("svm1", "kvm_vol1", "../kvm_vol2/x")
