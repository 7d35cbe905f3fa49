# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consistency groups and their snapshots, in one phase and in two."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running, sample, start

GROUPS = "/application/consistency-groups"


def members(*names: str, action: str | None = "add") -> list[dict[str, Any]]:
    """Return the volumes of a body."""
    return [{"name": name, **({"provisioning_options": {"action": action}} if action else {})} for name in names]


def body(*names: str, **values: Any) -> dict[str, Any]:
    """Return a body that makes a group of volumes, changed by ``values``."""
    return {"name": "cg1", "svm": {"name": "svm1"}, "volumes": members(*names), **values}


@pytest.fixture
def group(api: Api) -> str:
    """The path of a group of two volumes."""
    return make(api)


def make(api: Api) -> str:
    """Make a group of two volumes and return its path."""
    api.change("POST", GROUPS, body("kvm_vol1", "kvm_vol2"))
    return f"{GROUPS}/{api.records(f'{GROUPS}?name=cg1')[0]['uuid']}"


def begin(api: Api, group: str, seconds: int = 20, **values: Any) -> str:
    """Start a two-phase snapshot ``s1`` and return its path."""
    path = f"{group}/snapshots?action=start&action_timeout={seconds}"
    response = api.request("POST", path, json={"name": "s1", **values})
    assert response.status_code == 201, response.text
    return str(response.headers["Location"])[len("/api") :]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def snapshots_of(sim: Running, *volumes: str) -> list[list[str]]:
    """Return the names of the snapshots of volumes."""
    found = {item["name"]: item["snapshots"] for item in sim.control.volumes()}
    return [found[name] for name in volumes]


def test_the_life_of_a_group(api: Api, group: str) -> None:
    shown = api.ok("GET", group)
    assert (shown["name"], shown["svm"]["name"], "volumes" in shown) == ("cg1", "svm1", False)
    (found,) = api.records(f"{GROUPS}?volumes.name=kvm_vol2&svm.name=svm1&fields=volumes")
    assert [volume["name"] for volume in found["volumes"]] == ["kvm_vol1", "kvm_vol2"]
    assert api.records(f"{GROUPS}?volumes.name=kvm_san1") == []
    volume = api.records("/storage/volumes?name=kvm_vol1&fields=consistency_group")[0]
    assert volume["consistency_group"]["name"] == "cg1"
    api.change("PATCH", group, {"volumes": members("kvm_san1")})
    api.change("PATCH", group, {"volumes": members("kvm_vol1", action="remove")})
    names = {volume["name"] for volume in api.ok("GET", f"{group}?fields=volumes")["volumes"]}
    assert names == {"kvm_vol2", "kvm_san1"}
    api.change("DELETE", group)
    assert api.refused("GET", group) == (404, "53411843")
    assert len(api.records("/storage/volumes?name=kvm_vol*")) == 3


REFUSED: list[tuple[dict[str, Any], str]] = [
    (body("kvm_vol1"), "53411860"), (body("kvm_vol1", name="cg2"), "53411865"), (body("none", name="cg2"), "53411861"),
    (body(name="cg2", volumes=members("kvm_san1", action=None)), "53411864"),
    (body(name="cg2", volumes=members("x", action="create")), "53411856"), (body(name="cg2"), "262212"),
    (body("kvm_san1", name=None), "262212"), (body("kvm_san1", name="cg2", svm={}), "2621707"),
    (body("kvm_nested", name="cg2"), "53411959"), (body("kvm_san1", name="cg2", foo=1), "262179"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code"), REFUSED)
def test_groups_that_are_not_made(api: Api, sim: Running, group: str, values: dict[str, Any], code: str) -> None:
    sim.control.change_volume("svm1", "kvm_nested", snapshot_locking_enabled=True)
    assert api.fails("POST", GROUPS, values) == code
    assert len(api.records(GROUPS)) == 1


@pytest.mark.parametrize(
    ("version", "method", "path", "content", "answer"),
    [
        ("9.9.1", "GET", "", None, (404, "3")),
        ("9.10.1", "POST", "/snapshots?action=start", {"name": "s"}, (400, "262179")),
        ("9.10.1", "PATCH", "/snapshots/x?action=commit", {}, (405, "3")),
        ("9.11.1", "PATCH", "?return_timeout=20", {"volumes": members("kvm_vol1", action="remove")}, (400, "262285")),
        ("9.13.1", "POST", "/snapshots", {"name": "s", "write_fence": True}, (400, "262179")),
    ],
)
def test_what_a_version_does_not_know(
    api: Api, sim: Running, group: str, version: str, method: str, path: str, content: Any, answer: tuple[int, str]
) -> None:
    sim.control.set_version(version)
    assert api.refused(method, f"{group}{path}", content) == answer


def test_a_snapshot_at_once(api: Api, sim: Running, group: str) -> None:
    content = {"name": "s1", "comment": "c", "snapmirror_label": "l", "consistency_type": "application"}
    api.change("POST", f"{group}/snapshots", content)
    assert snapshots_of(sim, "kvm_vol1", "kvm_vol2", "kvm_nested") == [["s1"], ["s1"], []]
    (listed,) = api.records(f"{group}/snapshots?name=s1")
    shown = api.ok("GET", f"{group}/snapshots/{listed['uuid']}?fields=**")
    assert {key: shown[key] for key in content} == content
    assert (shown["is_partial"], shown["write_fence"]) == (False, True)
    assert [item["volume"]["name"] for item in shown["snapshot_volumes"]] == ["kvm_vol1", "kvm_vol2"]
    member = shown["snapshot_volumes"][0]
    own = f"/storage/volumes/{member['volume']['uuid']}/snapshots/{member['snapshot']['uuid']}"
    assert api.ok("GET", own)["comment"] == "c"
    assert api.fails("POST", f"{group}/snapshots", {"name": "s1"}) == "53411921"
    api.change("DELETE", own)
    shown = api.ok("GET", f"{group}/snapshots/{listed['uuid']}?fields=**")
    assert (shown["is_partial"], [item["name"] for item in shown["missing_volumes"]]) == (True, ["kvm_vol1"])
    api.change("DELETE", f"{group}/snapshots/{listed['uuid']}")
    assert snapshots_of(sim, "kvm_vol1", "kvm_vol2") == [[], []]
    assert api.refused("GET", f"{group}/snapshots/{listed['uuid']}") == (404, "4")


@pytest.mark.parametrize(
    ("change", "code"),
    [({"owners": ["snapmirror"]}, "53412008"), ({"expiry_time": "2100-01-01T00:00:00Z"}, "53412007")],
)
def test_a_snapshot_that_stays(api: Api, sim: Running, group: str, change: dict[str, Any], code: str) -> None:
    api.change("POST", f"{group}/snapshots", {"name": "s1"})
    sim.control.change_snapshot("svm1", "kvm_vol2", "s1", **change)
    uuid = api.records(f"{group}/snapshots")[0]["uuid"]
    assert api.fails("DELETE", f"{group}/snapshots/{uuid}") == code
    assert snapshots_of(sim, "kvm_vol1", "kvm_vol2") == [["s1"], ["s1"]]


def test_none_when_one_volume_refuses(api: Api, sim: Running, group: str) -> None:
    sim.control.change_volume("svm1", "kvm_vol2", state="offline")
    assert api.fails("POST", f"{group}/snapshots", {"name": "s1"}) == "53411921"
    assert snapshots_of(sim, "kvm_vol1", "kvm_vol2") == [[], []]


def test_two_phases(api: Api, sim: Running, group: str) -> None:
    path = begin(api, group, comment="c")
    assert api.refused("POST", f"{group}/snapshots?action=start", {"name": "s2"}) == (400, "53411918")
    assert snapshots_of(sim, "kvm_vol1", "kvm_vol2") == [[], []]
    assert api.refused("PATCH", f"{group}/snapshots/other?action=commit", {}) == (400, "53411925")
    assert api.refused("PATCH", f"{path}?action=end", {}) == (400, "262197")
    api.ok("PATCH", f"{path}?action=commit", {})
    assert snapshots_of(sim, "kvm_vol1", "kvm_vol2") == [["s1"], ["s1"]]
    assert api.ok("GET", path)["comment"] == "c"
    assert api.refused("PATCH", f"{path}?action=commit", {}) == (400, "53411925")


def test_a_commit_that_comes_too_late(api: Api, sim: Running, group: str) -> None:
    sim.control.set_version("9.12.1")
    sim.control.set_switches(fence_time_factor=0.1)
    path = begin(api, group, 1)
    time.sleep(0.11)
    assert api.refused("PATCH", f"{path}?action=commit", {}) == (400, "53411925")
    assert snapshots_of(sim, "kvm_vol1", "kvm_vol2") == [[], []]
    api.ok("PATCH", f"{begin(api, group)}?action=commit", {})


@pytest.mark.parametrize(("version", "seconds"), [("9.19.1", 4), ("9.19.1", 121), ("9.12.1", 0), ("9.12.1", 91)])
def test_times_that_are_not_given(api: Api, sim: Running, group: str, version: str, seconds: int) -> None:
    sim.control.set_version(version)
    path = f"{group}/snapshots?action=start&action_timeout={seconds}"
    assert api.refused("POST", path, {"name": "s1"}) == (400, "262197")


_WRITER = """
import sys, time
counter = 0
while True:
    counter += 1
    for path in sys.argv[1:]:
        with open(path, "r+b") as file:
            file.write(counter.to_bytes(8, "big"))
    time.sleep(0.001)
"""


@pytest.fixture
def fenced(tmp_path: Path) -> Iterator[tuple[Running, Callable[[], list[int]]]]:
    """A simulator whose fence stops a process that writes to two volumes, and what it has written."""
    with start({**sample(), "fence_pidfiles": [str(tmp_path / "pidfile")]}, tmp_path) as running:
        files = [running.volume_root("svm1", name) / "counter" for name in ("kvm_vol1", "kvm_vol2")]
        for file in files:
            file.write_bytes(bytes(8))
        with subprocess.Popen([sys.executable, "-c", _WRITER, *map(str, files)]) as writer:
            (tmp_path / "pidfile").write_text(f"{writer.pid}\n", encoding="ascii")
            yield running, lambda: [int.from_bytes(file.read_bytes(), "big") for file in files]
            writer.kill()


def test_nothing_is_written_between_the_phases(fenced: tuple[Running, Callable[[], list[int]]]) -> None:
    running, written = fenced
    api = Api(running)
    group = make(api)
    wait_for(lambda: min(written()) > 0)
    path = begin(api, group)
    before = written()
    api.snapshot("foreign", "kvm_san1")
    time.sleep(0.1)
    assert written() == before
    api.ok("PATCH", f"{path}?action=commit", {})
    wait_for(lambda: written() > before)
    for name, number in zip(("kvm_vol1", "kvm_vol2"), before):
        taken = running.volume_root("svm1", name) / ".snapshot/s1/counter"
        assert int.from_bytes(taken.read_bytes(), "big") == number


def test_writing_goes_on_when_nobody_commits(fenced: tuple[Running, Callable[[], list[int]]]) -> None:
    running, written = fenced
    api = Api(running)
    group = make(api)
    running.control.set_version("9.12.1")
    begin(api, group, 1)
    before = written()
    wait_for(lambda: written() > before)
    assert "s1" not in running.control.volumes()[0]["snapshots"]


def test_without_a_fence_writing_goes_on(fenced: tuple[Running, Callable[[], list[int]]]) -> None:
    running, written = fenced
    api = Api(running)
    path = begin(api, make(api), write_fence=False)
    before = written()
    wait_for(lambda: written() > before)
    api.ok("PATCH", f"{path}?action=commit", {})
    assert snapshots_of(running, "kvm_vol1", "kvm_vol2") == [["s1"], ["s1"]]


def test_restoring_a_group(api: Api, sim: Running, group: str) -> None:
    files = [sim.volume_root("svm1", name) / "file" for name in ("kvm_vol1", "kvm_vol2")]
    for file in files:
        file.write_bytes(b"good")
    api.change("POST", f"{group}/snapshots", {"name": "s1"})
    for file in files:
        file.write_bytes(b"garbage")
    assert api.fails("PATCH", group, {"restore_to": {"snapshot": {"name": "none"}}}) == "1638600"
    api.change("PATCH", group, {"restore_to": {"snapshot": {"name": "s1"}}})
    assert [file.read_bytes() for file in files] == [b"good", b"good"]


def test_groups_survive_a_restart(sim: Running, group: str, api: Api) -> None:
    api.change("POST", f"{group}/snapshots", {"name": "s1"})
    before = api.records(f"{group}/snapshots?fields=**")
    sim.stop()
    sim.start()
    assert Api(sim).records(f"{group}/snapshots?fields=**") == before


def test_groups_made_and_forgotten_by_the_control_port(api: Api, sim: Running) -> None:
    uuid = sim.control.add_group("svm1", "cg9", ["kvm_vol1", "kvm_vol2"])
    api.change("POST", f"{GROUPS}/{uuid}/snapshots", {"name": "s1"})
    assert [record["name"] for record in api.records(GROUPS)] == ["cg9"]
    sim.control.remove_groups()
    assert api.records(GROUPS) == []
    assert snapshots_of(sim, "kvm_vol1", "kvm_vol2") == [["s1"], ["s1"]]
