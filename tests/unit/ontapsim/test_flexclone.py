# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""FlexClone volumes over REST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running


@pytest.fixture
def root(sim: Running) -> Path:
    """A volume with a file and LUNs; the file was "good" in the snapshot ``s1`` and is garbage now."""
    root = sim.volume_root("svm1", "kvm_san1")
    (root / "file").write_bytes(b"good")
    sim.control.add_snapshot("svm1", "kvm_san1", "s1")
    (root / "file").write_bytes(b"garbage")
    return root


def body(parent: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    """Return a body that makes the clone ``drill`` of ``s1``, changed by ``values`` (None: left out)."""
    clone = {
        "is_flexclone": True,
        "parent_volume": {"name": "kvm_san1"},
        "parent_snapshot": {"name": "s1"},
        **(parent or {}),
    }
    result = {"name": "drill", "svm": {"name": "svm1"}, "clone": clone, **values}
    return {key: value for key, value in result.items() if value is not None}


def owners(api: Api) -> list[str]:
    """Return who owns the snapshot ``s1``."""
    found = api.records(f"/storage/volumes/{api.volume('kvm_san1')}/snapshots?name=s1&fields=owners")[0]
    return list(found.get("owners", []))


def test_a_clone_with_a_junction(api: Api, sim: Running, root: Path) -> None:
    values = body(nas={"path": "/drill", "export_policy": {"name": "drill_ro"}})
    response = api.request("POST", "/storage/volumes?return_timeout=20", json=values)
    assert (response.status_code, response.headers["Location"]) == (201, "/api/storage/volumes/?name=drill")
    found = api.records("/storage/volumes?clone.parent_snapshot.name=s1&fields=clone.*,nas.path,size,state")[0]
    assert (found["name"], found["nas"]["path"], found["state"]) == ("drill", "/drill", "online")
    assert (found["clone"]["is_flexclone"], found["clone"]["parent_volume"]["name"]) == (True, "kvm_san1")
    assert found["size"] == 10 << 30
    copy = sim.volume_root("svm1", "drill")
    assert (copy / "file").read_bytes() == b"good"
    (copy / "file").write_bytes(b"changed")
    assert (root / ".snapshot/s1/file").read_bytes() == b"good"
    assert (root / "file").read_bytes() == b"garbage"
    entry = sim.control.journal()[-1]
    assert (entry["op"], entry["volume"], entry["snapshot"], entry["detail"]) == (
        "volume_clone", "drill", "s1", {"parent": "kvm_san1"},
    )  # fmt: skip
    api.snapshot("own", "drill")


@pytest.mark.parametrize("online", [True, False])
def test_luns_of_a_clone_are_others(api: Api, sim: Running, root: Path, online: bool) -> None:
    sim.control.set_switches(flexclone_luns_online=online)
    api.change("POST", "/storage/volumes", body())
    by_name = {item["name"]: item for item in api.records("/storage/luns?fields=**")}
    old, new = by_name["/vol/kvm_san1/luns/a"], by_name["/vol/drill/luns/a"]
    assert len({old["uuid"], new["uuid"], old["serial_number"], new["serial_number"]}) == 4
    assert ("lun_maps" in new, new["enabled"], new["space"]["size"]) == (False, online, old["space"]["size"])


def test_the_parent_is_bound(api: Api, sim: Running, root: Path) -> None:
    api.change("POST", "/storage/volumes", body())
    assert owners(api) == ["volume_clone"]
    snapshot = api.records(f"/storage/volumes/{api.volume('kvm_san1')}/snapshots?name=s1")[0]["uuid"]
    path = f"/storage/volumes/{api.volume('kvm_san1')}"
    assert api.fails("DELETE", f"{path}/snapshots/{snapshot}", {}) == "1638543"
    assert api.fails("DELETE", path, {}) == "524615"
    api.change("DELETE", f"/storage/volumes/{api.volume('drill')}?force=true")
    assert (owners(api), sim.volume_root("svm1", "drill").exists()) == ([], False)
    api.change("DELETE", f"{path}/snapshots/{snapshot}")


def test_the_recovery_queue(api: Api, sim: Running, root: Path) -> None:
    api.change("POST", "/storage/volumes", body())
    api.change("DELETE", f"/storage/volumes/{api.volume('drill')}")
    assert owners(api) == ["volume_clone"]
    sim.control.set_switches(recovery_queue_seconds=0)
    api.change("POST", "/storage/volumes", body(name="second"))
    api.change("DELETE", f"/storage/volumes/{api.volume('second')}")
    assert api.records("/storage/volumes?name=second|drill") == []


def test_a_split_lets_go(api: Api, root: Path) -> None:
    api.change("POST", "/storage/volumes", body())
    path = f"/storage/volumes/{api.volume('drill')}"
    api.change("PATCH", path, {"clone": {"split_initiated": True}})
    assert api.ok("GET", path)["clone"]["is_flexclone"] is False
    assert owners(api) == []
    assert api.fails("PATCH", path, {"clone": {"split_initiated": True}}) == "524819"


def test_without_a_snapshot_one_is_made(api: Api, root: Path) -> None:
    api.change("POST", "/storage/volumes", body({"parent_snapshot": {}}))
    found = api.records("/storage/volumes?name=drill&fields=clone.parent_snapshot.name")[0]
    assert found["clone"]["parent_snapshot"]["name"].startswith("clone_drill.")


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"is_flexclone": None}, {}, "262212"), ({"parent_volume": {}}, {}, "918232"),
    ({"parent_volume": {"name": "none"}}, {}, "524601"),
    ({"parent_volume": {"name": "kvm_san1", "uuid": "x"}}, {}, "918236"),
    ({"parent_snapshot": {"name": "none"}}, {}, "1638400"),
    ({"parent_snapshot": {"name": "s1", "uuid": "x"}}, {}, "918243"), ({}, {"size": 1 << 30}, "918247"),
    ({}, {"type": "dp"}, "918244"), ({}, {"name": "kvm_vol1"}, "917526"), ({}, {"svm": {"name": "svm2"}}, "524601"),
    ({"parent_svm": {"name": "svm1"}}, {"nas": {"path": "/x"}}, "1520442"),
    ({"parent_svm": {"name": "svm2"}}, {}, "524819"), ({}, {"nas": {"path": "/kvm_vol1"}}, "918252"),
]  # fmt: skip


@pytest.mark.parametrize(("parent", "values", "code"), REFUSED)
def test_what_is_not_cloned(api: Api, root: Path, parent: dict[str, Any], values: dict[str, Any], code: str) -> None:
    assert api.fails("POST", "/storage/volumes", body(parent, **values)) == code
    assert api.records("/storage/volumes?clone.is_flexclone=true") == []


def test_what_the_array_forbids(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(licenses={"flexclone": False})
    assert api.fails("POST", "/storage/volumes", body()) == "524819"
    sim.control.reset_switches()
    sim.control.set_switches(san_optimized=True)
    assert api.fails("POST", "/storage/volumes", body()) == "918701"
    sim.control.reset_switches()
    sim.control.change_volume("svm1", "kvm_san1", state="offline")
    assert api.fails("POST", "/storage/volumes", body()) == "917775"


def test_a_clone_survives_a_restart(api: Api, sim: Running, root: Path) -> None:
    api.change("POST", "/storage/volumes", body())
    sim.stop()
    sim.start()
    again = Api(sim)
    assert again.records("/storage/volumes?clone.is_flexclone=true")[0]["name"] == "drill"
    assert owners(again) == ["volume_clone"]
