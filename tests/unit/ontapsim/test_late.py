# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that take effect late: long after the request, whatever became of its connection and its answer."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from ontapsim.control import ControlError
from ontapsim.testclient import Api
from ontapsim.testing import Running

GOOD, BAD = b"good" * 4096, b"bad!" * 4096
LATE = 0.25


@pytest.fixture
def files(sim: Running) -> Path:
    """A volume whose ``disk.img`` was good in the snapshot ``s1`` and is bad now."""
    root = sim.volume_root("svm1", "kvm_vol1")
    (root / "disk.img").write_bytes(GOOD)
    sim.control.add_snapshot("svm1", "kvm_vol1", "s1")
    (root / "disk.img").write_bytes(BAD)
    sim.control.set_switches(sfsr_seconds=0.0)
    return root


@pytest.fixture
def luns(sim: Running) -> Path:
    """The volume of the LUNs, ``luns/a`` bad now; ``luns/source`` is good."""
    root = sim.volume_root("svm1", "kvm_san1")
    size = (root / "luns/a").stat().st_size
    sim.control.add_lun("svm1", "kvm_san1", "luns/source", size)
    for name, data in (("a", BAD), ("source", GOOD)):
        with (root / "luns" / name).open("r+b") as writer:
            writer.write(data)
    return root


def lun(api: Api, name: str) -> str:
    """Return the uuid of a LUN of the volume."""
    (found,) = api.records(f"/storage/luns?name=/vol/kvm_san1/luns/{name}")
    return str(found["uuid"])


def clone(api: Api, target: str = "disk.img", **more: Any) -> tuple[str, str, Any]:
    """Return the request that clones the good file over one of the volume."""
    volume = {"name": "kvm_vol1", "uuid": api.volume()}
    paths = {"source_path": ".snapshot/s1/disk.img", "destination_path": target}
    return "POST", "/storage/file/clone", {"volume": volume, **paths, "overwrite_destination": True, **more}


def restore_rest(api: Api, target: str = "disk.img") -> tuple[str, str, Any]:
    """Return the request that restores the good file by REST."""
    query = f"restore_to.snapshot.name=s1&restore_to.path=/disk.img&restore_to.restore_path=/{target}"
    return "PATCH", f"/storage/volumes/{api.volume()}?{query}", {}


def restore_cli(_api: Api, target: str = "disk.img") -> tuple[str, str, Any]:
    """Return the request that restores the good file by the CLI."""
    body = {"vserver": "svm1", "volume": "kvm_vol1", "snapshot": "s1", "path": "/disk.img"}
    return "POST", "/private/cli/volume/snapshot/restore-file", {**body, "restore-path": f"/{target}"}


def overwrite(api: Api) -> tuple[str, str, Any]:
    """Return the request that overwrites a LUN with another."""
    return "PATCH", f"/storage/luns/{lun(api, 'a')}", {"clone": {"source": {"uuid": lun(api, "source")}}}


FILE_REQUESTS = pytest.mark.parametrize("request_of", [clone, restore_rest, restore_cli])


def send(api: Api, request: tuple[str, str, Any]) -> requests.Response | None:
    """Send a request; None when its connection is cut."""
    method, path, body = request
    try:
        return api.request(method, path, json=body)
    except requests.exceptions.ConnectionError:
        return None


def status_of(response: requests.Response | None) -> int | None:
    """Return the status of an answer, None for no answer."""
    return None if response is None else response.status_code


def late(sim: Running, method: str, **options: Any) -> None:
    """Let the next change of a method be late."""
    sim.control.add_fault("late", match={"method": method, "count": 1}, **{"seconds": LATE, **options})


def the_effect(sim: Running) -> dict[str, Any]:
    """Wait until all is done and return the one late effect."""
    sim.control.settle()
    (effect,) = sim.control.late()
    return effect


@FILE_REQUESTS
@pytest.mark.parametrize("answer", ["now", "after", "drop", "error"])
def test_the_bytes_come_when_they_are_due(
    api: Api, sim: Running, files: Path, request_of: Callable[..., Any], answer: str
) -> None:
    request, before = request_of(api), len(sim.control.journal())
    late(sim, request[0], answer=answer, status=503)
    assert status_of(send(api, request)) == {"now": 202, "after": 202, "drop": None, "error": 503}[answer]
    answered = time.time()
    effect = the_effect(sim)
    (change,) = sim.control.journal(before)
    assert effect["arrived"] + LATE <= effect["due"] + 0.01 <= change["time"] + 0.01 <= effect["ended"] + 0.01
    assert (answered >= effect["ended"]) is (answer == "after")
    assert effect["status"] in (200, 202)
    assert (files / "disk.img").read_bytes() == GOOD


@pytest.mark.parametrize("answer", ["now", "after", "drop", "error"])
def test_a_lun_is_overwritten_when_it_is_due(api: Api, sim: Running, luns: Path, answer: str) -> None:
    request = overwrite(api)
    late(sim, "PATCH", answer=answer, job="none", status=500)
    assert status_of(send(api, request)) == {"now": 200, "after": 200, "drop": None, "error": 500}[answer]
    answered = time.time()
    effect = the_effect(sim)
    assert (effect["status"], answered >= effect["ended"]) == (200, answer == "after")
    assert sim.control.journal()[-1]["time"] >= effect["due"]
    assert (luns / "luns/a").read_bytes()[: len(GOOD)] == GOOD


@pytest.mark.parametrize("gone", ["source", "a"])
def test_a_lun_whose_source_or_place_is_gone_by_then_is_not_overwritten(
    api: Api, sim: Running, luns: Path, gone: str
) -> None:
    request = overwrite(api)
    late(sim, "PATCH", answer="drop")
    assert send(api, request) is None
    api.change("DELETE", f"/storage/luns/{lun(api, gone)}?allow_delete_while_mapped=true")
    assert the_effect(sim)["status"] >= 400
    if gone == "source":
        assert (luns / "luns/a").read_bytes()[: len(BAD)] == BAD
    else:
        assert not (luns / "luns/a").exists()


def test_an_overwrite_that_had_begun_needs_its_source_no_more(api: Api, sim: Running, luns: Path) -> None:
    request = overwrite(api)
    late(sim, "PATCH", answer="drop", begun=True)
    assert send(api, request) is None
    api.change("DELETE", f"/storage/luns/{lun(api, 'source')}")
    refused = api.request("PATCH", f"/storage/luns/{lun(api, 'a')}", json={"comment": "c"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "7018919")
    assert (luns / "luns/a").read_bytes()[: len(BAD)] == BAD
    assert the_effect(sim)["status"] == 200
    assert (luns / "luns/a").read_bytes()[: len(GOOD)] == GOOD
    api.change("PATCH", f"/storage/luns/{lun(api, 'a')}", {"comment": "c"})


def test_only_the_overwrite_of_a_lun_can_have_begun(api: Api, sim: Running, files: Path) -> None:
    late(sim, "POST", begun=True)
    response = send(api, clone(api))
    assert response is not None
    assert response.status_code == 500
    assert (files / "disk.img").read_bytes() == BAD


@pytest.mark.parametrize("request_of", [clone, restore_rest, restore_cli])
def test_a_snapshot_that_is_gone_by_then_fails_the_job(
    api: Api, sim: Running, files: Path, request_of: Callable[..., Any]
) -> None:
    request = request_of(api)
    late(sim, request[0])
    response = send(api, request)
    assert response is not None
    job = response.json()["job"]["uuid"]
    assert api.ok("GET", f"/cluster/jobs/{job}")["state"] in ("queued", "running")
    (snapshot,) = api.records(f"/storage/volumes/{api.volume()}/snapshots?name=s1")
    api.change("DELETE", f"/storage/volumes/{api.volume()}/snapshots/{snapshot['uuid']}")
    assert the_effect(sim)["status"] >= 400
    assert api.ok("GET", f"/cluster/jobs/{job}")["state"] == "failure"
    assert (files / "disk.img").read_bytes() == BAD


@FILE_REQUESTS
def test_a_name_that_is_gone_by_then_is_made(
    api: Api, sim: Running, files: Path, request_of: Callable[..., Any]
) -> None:
    late(sim, request_of(api)[0], answer="drop")
    assert send(api, request_of(api)) is None
    (files / "disk.img").rename(files / "aside.img")
    the_effect(sim)
    assert (files / "disk.img").read_bytes() == GOOD
    assert (files / "aside.img").read_bytes() == BAD


@pytest.mark.parametrize("request_of", [restore_rest, restore_cli])
def test_a_late_restore_to_another_name_leaves_the_old_one(
    api: Api, sim: Running, files: Path, request_of: Callable[..., Any]
) -> None:
    request = request_of(api, "new.img")
    late(sim, request[0], answer="after")
    assert send(api, request) is not None
    assert ((files / "new.img").read_bytes(), (files / "disk.img").read_bytes()) == (GOOD, BAD)


@pytest.mark.parametrize(("job", "state"), [("running", "running"), ("ended", "success"), ("none", None)])
def test_the_job_of_an_answer_that_came_first(api: Api, sim: Running, files: Path, job: str, state: str | None) -> None:
    late(sim, "POST", job=job)
    response = send(api, clone(api))
    assert response is not None
    link = response.json().get("job")
    assert (link is None) == (state is None)
    seen: set[str | None] = set()
    while not sim.control.late()[0]["ended"]:
        seen.add(api.ok("GET", f"/cluster/jobs/{link['uuid']}")["state"] if link else None)
    assert state in seen
    the_effect(sim)
    assert (files / "disk.img").read_bytes() == GOOD


def test_a_connection_is_cut_at_its_time(api: Api, sim: Running, files: Path) -> None:
    late(sim, "POST", answer="drop", answer_seconds=LATE, seconds=0)
    began = time.monotonic()
    assert send(api, clone(api)) is None
    assert time.monotonic() - began >= LATE
    assert (files / "disk.img").read_bytes() == GOOD


@pytest.mark.parametrize(("status", "code"), [(429, "262160"), (503, "8")])
def test_an_overload_with_effect(api: Api, sim: Running, status: int, code: str) -> None:
    snapshots = f"/storage/volumes/{api.volume()}/snapshots"
    late(sim, "POST", answer="error", seconds=0, status=status, retry_after=3)
    response = send(api, ("POST", snapshots, {"name": "s2", "comment": "c"}))
    assert response is not None
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.headers["Retry-After"] == "3"
    assert [item["name"] for item in api.records(snapshots)] == ["s2"]


def test_a_snapshot_may_come_late(api: Api, sim: Running, files: Path) -> None:
    snapshots = f"/storage/volumes/{api.volume()}/snapshots"
    late(sim, "POST")
    response = send(api, ("POST", f"{snapshots}?return_timeout=0", {"name": "s2"}))
    assert response is not None
    (files / "disk.img").write_bytes(GOOD * 2)
    assert [item["name"] for item in api.records(snapshots)] == ["s1"]
    the_effect(sim)
    assert sorted(item["name"] for item in api.records(snapshots)) == ["s1", "s2"]
    assert (files / ".snapshot/s2/disk.img").read_bytes() == GOOD * 2


@pytest.mark.parametrize("kept", [True, False])
def test_late_bytes_follow_the_inode(api: Api, sim: Running, files: Path, kept: bool) -> None:
    sim.control.set_switches(sfsr_seconds=LATE, sfsr_bytes_at_end=True)
    api.change(*restore_rest(api, "new.img"))
    assert (files / "new.img").read_bytes() == b""
    if kept:
        (files / "new.img").replace(files / "disk.img")
    else:
        (files / "new.img").unlink()
    sim.control.settle()
    assert (files / "disk.img").read_bytes() == (GOOD if kept else BAD)
    assert not (files / "new.img").exists()


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("locked", [True, False])
def test_a_clone_over_a_locked_file(api: Api, sim: Running, files: Path, refuses: bool, locked: bool) -> None:
    sim.control.set_switches(file_clone_refuses_locked=refuses)
    with (files / "disk.img").open("r+b") as holder:
        if locked:
            fcntl.fcntl(holder, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0))
        assert send(api, clone(api)) is not None
        sim.control.settle()
        done = (files / "disk.img").read_bytes() == GOOD
    assert done is not (refuses and locked)


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ({}, {}),
        ({"method": "GET"}, {}),
        ({"method": "POST"}, {"answer": "never"}),
        ({"method": "POST"}, {"job": "lost"}),
        ({"method": "POST"}, {"seconds": "soon"}),
    ],
)
def test_what_cannot_be_late(sim: Running, match: dict[str, Any], options: dict[str, Any]) -> None:
    with pytest.raises(ControlError):
        sim.control.add_fault("late", match=match, **{"seconds": 1, **options})


def test_what_is_to_come_can_be_let_come_now(api: Api, sim: Running, files: Path) -> None:
    late(sim, "POST", seconds=3600)
    assert status_of(send(api, clone(api))) == 202
    assert (files / "disk.img").read_bytes() == BAD
    sim.control.hasten()
    assert the_effect(sim)["ended"] is not None
    assert (files / "disk.img").read_bytes() == GOOD
