# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs and the restores of one file and of a whole volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running

A = "/vol/kvm_san1/luns/a"
GOOD, BAD = b"good" * 4096, b"bad!" * 4096


@pytest.fixture
def root(sim: Running) -> Path:
    """The volume of the LUNs; ``luns/a`` was "good" in the snapshot ``s1`` and is garbage now."""
    root = sim.volume_root("svm1", "kvm_san1")
    (root / "plain").write_bytes(b"file")
    _fill(root / "luns/a", GOOD)
    sim.control.add_snapshot("svm1", "kvm_san1", "s1")
    _fill(root / "luns/a", BAD)
    sim.control.set_switches(sfsr_seconds=0.05)
    return root


def _fill(file: Path, data: bytes) -> None:
    with file.open("r+b") as writer:
        writer.write(data)


def _start(file: Path) -> bytes:
    return file.read_bytes()[: len(GOOD)]


def restore(api: Api, way: str, path: str, target: str | None = None) -> tuple[str, str, dict[str, Any]]:
    """Return method, path and body that restore a path from ``s1`` in one of the two ways."""
    if way == "cli":
        body = {"vserver": "svm1", "volume": "kvm_san1", "snapshot": "s1", "path": path}
        return (
            "POST",
            "/private/cli/volume/snapshot/restore-file",
            {**body, **({"restore-path": target} if target else {})},
        )
    query = f"restore_to.snapshot.name=s1&restore_to.path={quote(path, safe='')}"
    query += f"&restore_to.restore_path={quote(target, safe='')}" if target else ""
    return "PATCH", f"/storage/volumes/{api.volume('kvm_san1')}?{query}", {}


def lun(api: Api, name: str = A) -> dict[str, Any]:
    """Return all that REST tells of a LUN."""
    (found,) = api.records(f"/storage/luns?name={name}&fields=**")
    return found


@pytest.mark.parametrize("way", ["cli", "rest"])
@pytest.mark.parametrize("path", ["/luns/a", A])
def test_in_place(api: Api, sim: Running, root: Path, way: str, path: str) -> None:
    before, inode = lun(api), (root / "luns/a").stat().st_ino
    api.change(*restore(api, way, path))
    assert _start(root / "luns/a") == GOOD
    assert lun(api) == before
    assert (root / "luns/a").stat().st_ino == inode
    entry = sim.control.journal()[-1]
    assert (entry["op"], entry["detail"]["lun"]) == ("file_restore", before["uuid"])


def test_no_map_while_a_restore_is_running(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(sfsr_seconds=30)
    api.change(*restore(api, "cli", "/luns/a"))
    body = {"svm": {"name": "svm1"}, "lun": {"name": A}, "igroup": {"name": "other"}}
    assert api.refused("POST", "/protocols/san/lun-maps", body)[1] == "5374053"
    assert api.refused("DELETE", f"/storage/luns/{lun(api)['uuid']}?allow_delete_while_mapped=true")[1] == "5374053"


def test_with_another_identity(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(sfsr_keeps_lun_identity=False)
    before = lun(api)
    api.change(*restore(api, "cli", "/luns/a"))
    after = lun(api)
    assert after["serial_number"] != before["serial_number"]
    assert "lun_maps" not in after


def test_to_another_path(api: Api, root: Path) -> None:
    api.change(*restore(api, "rest", "/luns/a", "/luns/c"))
    assert (_start(root / "luns/c"), _start(root / "luns/a")) == (GOOD, BAD)
    assert lun(api, "/vol/kvm_san1/luns/c")["serial_number"] != lun(api)["serial_number"]


def test_a_lun_that_is_gone_comes_back_unmapped(api: Api, root: Path) -> None:
    before = lun(api)
    api.ok("DELETE", f"/storage/luns/{before['uuid']}?allow_delete_while_mapped=true")
    api.change(*restore(api, "cli", "/luns/a"))
    after = lun(api)
    assert (after["uuid"], after["serial_number"]) == (before["uuid"], before["serial_number"])
    assert "lun_maps" not in after


@pytest.mark.parametrize("way", ["cli", "rest"])
@pytest.mark.parametrize(("path", "target"), [("/plain", "/luns/a"), ("/luns/a", "/plain")])
def test_files_and_luns_do_not_mix(api: Api, root: Path, way: str, path: str, target: str) -> None:
    assert api.fails(*restore(api, way, path, target)) == "524511"
    assert (_start(root / "luns/a"), (root / "plain").read_bytes()) == (BAD, b"file")


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("preserve", [True, False])
def test_a_volume_revert(api: Api, sim: Running, root: Path, keeps: bool, preserve: bool) -> None:
    sim.control.set_switches(revert_keeps_maps=keeps)
    sim.control.change_lun("svm1", "kvm_san1", "luns/a", comment="changed since")
    before = lun(api)
    api.ok("DELETE", f"/storage/luns/{lun(api, '/vol/kvm_san1/luns/b')['uuid']}?allow_delete_while_mapped=true")
    sim.control.add_lun("svm1", "kvm_san1", "luns/new", 1 << 20, maps=[{"igroup": "other"}])
    query = f"restore_to.snapshot.name=s1&preserve_lun_ids={str(preserve).lower()}"
    api.change("PATCH", f"/storage/volumes/{api.volume('kvm_san1')}?{query}")
    assert _start(root / "luns/a") == GOOD
    after = lun(api)
    assert (after["uuid"], after["serial_number"]) == (before["uuid"], before["serial_number"])
    assert ("lun_maps" in after, "comment" in after) == (keeps or preserve, False)
    assert {item["name"] for item in api.records("/storage/luns")} == {A, "/vol/kvm_san1/luns/b"}
    assert "lun_maps" not in lun(api, "/vol/kvm_san1/luns/b")


def test_a_volume_takes_its_luns_along(api: Api, sim: Running, root: Path) -> None:
    path = f"/storage/volumes/{api.volume('kvm_san1')}"
    api.change("PATCH", path, {"name": "renamed"})
    assert lun(api, "/vol/renamed/luns/a")["status"]["state"] == "online"
    api.change("PATCH", path, {"state": "offline"})
    status = lun(api, "/vol/renamed/luns/a")["status"]
    assert (status["state"], status["container_state"]) == ("offline", "volume_offline")
    api.change("DELETE", path)
    assert (api.records("/storage/luns"), api.records("/protocols/san/lun-maps")) == ([], [])
