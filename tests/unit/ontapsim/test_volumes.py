# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: finding them, junctions, and changing them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running, sample, start


def test_a_list_shows_identities(shared_api: Api) -> None:
    found = shared_api.records("/storage/volumes?svm.name=svm1&name=kvm_vol1")
    assert [set(item) for item in found] == [{"uuid", "name", "svm", "_links"}]


def test_an_instance_shows_all_but_the_expensive(shared_api: Api) -> None:
    volume = shared_api.ok("GET", f"/storage/volumes/{shared_api.volume()}")
    assert (volume["type"], volume["state"], volume["style"]) == ("rw", "online", "flexvol")
    assert volume["size"] == volume["space"]["size"] == 10 << 30
    assert volume["clone"] == {"is_flexclone": False}
    assert volume["snapmirror"]["is_protected"] is False
    assert volume["snapshot_locking_enabled"] is False
    assert volume["msid"] > 2147483648
    assert "path" not in volume["nas"]
    assert "snaplock" not in volume
    assert "is_svm_root" not in volume


JUNCTIONS: list[tuple[str, list[str]]] = [
    ("nas.path=/kvm_vol1", ["kvm_vol1"]), ("nas.path=/KVM_VOL1", ["kvm_vol1"]),
    ("nas.path=/kvm_vol1/nested", ["kvm_nested"]), ("nas.path=/", ["svm1_root", "svm2_root"]),
    ("nas.path=/kvm_vol1/nested/deep", []), ("nas.path=/kvm_vol1*", ["kvm_nested", "kvm_vol1"]),
    ("is_svm_root=true", ["svm1_root", "svm2_root"]),
]  # fmt: skip


@pytest.mark.parametrize(("query", "expected"), JUNCTIONS)
def test_junctions(shared_api: Api, query: str, expected: list[str]) -> None:
    assert [item["name"] for item in shared_api.records(f"/storage/volumes?{query}&order_by=name")] == expected


def test_a_nested_junction_has_its_parent(shared_api: Api) -> None:
    nested = shared_api.records("/storage/volumes?name=kvm_nested&fields=nas.path,nas.junction_parent")[0]["nas"]
    assert (nested["path"], nested["junction_parent"]["name"]) == ("/kvm_vol1/nested", "kvm_vol1")
    flat = shared_api.records("/storage/volumes?name=kvm_vol1&fields=nas.junction_parent")[0]["nas"]
    assert flat["junction_parent"]["name"] == "svm1_root"


def test_used_space_is_that_of_the_files(api: Api, sim: Running) -> None:
    (sim.volume_root("svm1", "kvm_vol1") / "a").write_bytes(b"x" * (4 << 20))
    space = api.records("/storage/volumes?name=kvm_vol1&fields=space")[0]["space"]
    assert 4 << 20 <= space["used"] < 5 << 20
    assert space["available"] == space["size"] - space["used"]


def test_mounting(api: Api) -> None:
    path = f"/storage/volumes/{api.volume('kvm_vol2')}"
    assert api.fails("PATCH", path, {"nas": {"path": "/kvm_vol1"}}) == "918252"
    for bad in ("kvm", "/", "/a/", "/a//b"):
        assert api.fails("PATCH", path, {"nas": {"path": bad}}) == "918252"
    api.change("PATCH", path, {"nas": {"path": ""}})
    assert "nas" not in api.ok("GET", f"{path}?fields=nas.path")
    api.change("PATCH", path, {"nas": {"path": "/kvm_vol1/two"}})
    nas = api.ok("GET", f"{path}?fields=nas.path,nas.junction_parent.name")["nas"]
    assert (nas["path"], nas["junction_parent"]["name"]) == ("/kvm_vol1/two", "kvm_vol1")


def test_offline(api: Api) -> None:
    path = f"/storage/volumes/{api.volume('kvm_vol2')}"
    api.change("PATCH", path, {"state": "offline"})
    volume = api.ok("GET", f"{path}?fields=state,nas.path,space")
    assert volume["state"] == "offline"
    assert "space" not in volume
    assert "nas" not in volume
    assert api.fails("PATCH", path, {"nas": {"path": "/x"}}) == "918252"
    api.change("PATCH", path, {"state": "online"})
    api.change("PATCH", path, {"nas": {"path": "/x"}})


def test_a_life(api: Api, sim: Running) -> None:
    body = {"name": "new_vol", "svm": {"name": "svm1"}, "size": "1GB", "nas": {"path": "/new"}, "comment": "c"}
    response = api.request(
        "POST", "/storage/volumes?return_timeout=20", json={**body, "aggregates": [{"name": "aggr1"}]}
    )
    assert response.headers["Location"] == "/api/storage/volumes/?name=new_vol"
    uuid = api.records("/storage/volumes/?name=new_vol&fields=size")[0]["uuid"]
    assert sim.volume_root("svm1", "new_vol").is_dir()
    assert api.fails("POST", "/storage/volumes", body) == "917526"
    api.snapshot("s1", volume="new_vol")
    api.change("PATCH", f"/storage/volumes/{uuid}", {"name": "renamed", "comment": "d", "size": 2 << 30})
    assert (sim.volume_root("svm1", "renamed") / ".snapshot/s1").is_dir()
    assert api.fails("PATCH", f"/storage/volumes/{uuid}", {"name": "kvm_vol1"}) == "917526"
    api.change("DELETE", f"/storage/volumes/{uuid}", {})
    assert not sim.volume_root("svm1", "renamed").exists()
    assert api.refused("GET", f"/storage/volumes/{uuid}") == (404, "4")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "x"}, "2621707"), ({"name": "x", "svm": {"name": "gone"}}, "2621462"),
    ({"svm": {"name": "svm1"}}, "262212"),
    ({"name": "a-b", "svm": {"name": "svm1"}}, "262197"),
    ({"name": "x", "svm": {"name": "svm1"}, "uuid": "u"}, "262196"),
    ({"name": "x", "svm": {"name": "svm1"}, "clone": {"is_flexclone": True}}, "918232"),
    ({"name": "x", "svm": {"name": "svm1"}, "nas": {"path": "/kvm_vol1"}}, "918252"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code"), REFUSED)
def test_volumes_that_cannot_be_made(shared_api: Api, body: dict[str, Any], code: str) -> None:
    assert shared_api.fails("POST", "/storage/volumes", body) == code


def test_svm_name_and_uuid_that_do_not_fit(shared_api: Api) -> None:
    uuid = shared_api.records("/svm/svms?name=svm2")[0]["uuid"]
    assert (
        shared_api.fails("POST", "/storage/volumes", {"name": "x", "svm": {"name": "svm1", "uuid": uuid}}) == "2621706"
    )


def test_the_root_volume_stays(shared_api: Api) -> None:
    assert shared_api.fails("DELETE", f"/storage/volumes/{shared_api.volume('svm1_root')}", {}) == "917531"


@pytest.mark.parametrize(
    ("field", "since"),
    [("snapshot_locking_enabled", "9.12.1"), ("_tags", "9.13.1"), ("msid", "9.10.1"), ("snapshot_count", "9.9.1")],
)
def test_fields_by_version(api: Api, sim: Running, field: str, since: str) -> None:
    sim.control.set_version("9.8")
    assert api.refused("GET", f"/storage/volumes?fields={field}") == (400, "262197")
    assert api.refused("GET", f"/storage/volumes?{field}=1") == (400, "262179")
    sim.control.set_version(since)
    api.ok("GET", f"/storage/volumes?fields={field}")


def test_the_hook_is_told_of_junctions(tmp_path: Path) -> None:
    target = tmp_path / "told"
    script = f"import sys, pathlib; pathlib.Path({str(target)!r}).write_text(sys.stdin.read())"
    with start({**sample(), "export_hook": [sys.executable, "-c", script]}, tmp_path) as running:
        api = Api(running)
        told = {item["volume"]: item for item in json.loads(target.read_text(encoding="utf-8"))["volumes"]}
        assert told["kvm_nested"]["junction"] == "/kvm_vol1/nested"
        assert told["kvm_vol1"]["root"] == str(running.volume_root("svm1", "kvm_vol1"))
        api.change("PATCH", f"/storage/volumes/{api.volume('kvm_vol2')}", {"nas": {"path": "/two"}})
        told = {item["volume"]: item for item in json.loads(target.read_text(encoding="utf-8"))["volumes"]}
        assert told["kvm_vol2"]["junction"] == "/two"


def test_a_hook_that_fails_does_not_fail_the_change(tmp_path: Path) -> None:
    with start({**sample(), "export_hook": "false"}, tmp_path) as running:
        api = Api(running)
        api.change("PATCH", f"/storage/volumes/{api.volume('kvm_vol2')}", {"nas": {"path": "/two"}})
        assert api.records("/storage/volumes?name=kvm_vol2&fields=nas.path")[0]["nas"]["path"] == "/two"
