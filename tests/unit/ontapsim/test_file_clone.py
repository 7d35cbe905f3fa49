# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""File clones over REST."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running


@pytest.fixture
def root(sim: Running) -> Path:
    """A volume whose ``dir/disk.img`` was "good" in the snapshot ``s1`` and is garbage now."""
    root = sim.volume_root("svm1", "kvm_vol1")
    (root / "dir").mkdir()
    (root / "dir/disk.img").write_bytes(b"good" * 1000)
    (root / "dir/neighbour.img").write_bytes(b"mine")
    sim.control.add_snapshot("svm1", "kvm_vol1", "s1")
    (root / "dir/disk.img").write_bytes(b"garbage" * 5000)
    return root


def body(api: Api, **values: Any) -> dict[str, Any]:
    """Return a body that restores ``dir/disk.img`` in place, changed by ``values`` (None: left out)."""
    result = {
        "volume": {"uuid": api.volume(), "name": "kvm_vol1"},
        "source_path": ".snapshot/s1/dir/disk.img",
        "destination_path": "dir/disk.img",
        "overwrite_destination": True,
        **values,
    }
    return {key: value for key, value in result.items() if value is not None}


@pytest.mark.parametrize("keeps", [True, False])
def test_in_place(api: Api, sim: Running, root: Path, keeps: bool) -> None:
    sim.control.set_switches(file_clone_keeps_inode=keeps)
    inode = (root / "dir/disk.img").stat().st_ino
    api.change("POST", "/storage/file/clone", body(api))
    assert (root / "dir/disk.img").read_bytes() == b"good" * 1000
    assert ((root / "dir/disk.img").stat().st_ino == inode) is keeps
    assert sim.control.sha256("svm1", "kvm_vol1", "dir/disk.img") == sim.control.sha256(
        "svm1", "kvm_vol1", "dir/disk.img", "s1"
    )
    entry = sim.control.journal()[-1]
    assert (entry["op"], entry["path"], entry["snapshot"], entry["user"]) == (
        "file_clone", "dir/disk.img", "s1", "admin",
    )  # fmt: skip
    assert entry["request"] in {item["id"] for item in sim.control.requests()}


def test_to_a_new_name(api: Api, root: Path) -> None:
    values = {"source_path": "./.snapshot/s1/dir/disk.img", "destination_path": "dir/copy.img"}
    api.change("POST", "/storage/file/clone", body(api, **values, overwrite_destination=None))
    assert (root / "dir/copy.img").read_bytes() == b"good" * 1000
    assert (root / "dir/disk.img").read_bytes() == b"garbage" * 5000


def test_part_of_a_file(api: Api, root: Path) -> None:
    (root / "dir/disk.img").write_bytes(b"z" * 8192)
    api.change("POST", "/storage/file/clone", body(api, source_path="dir/neighbour.img", range=["0:1:1"]))
    assert (root / "dir/disk.img").read_bytes() == b"z" * 4096 + b"mine" + b"z" * 4092


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"destination_path": "/dir/x"}, "917812"), ({"source_path": "/dir/x"}, "917812"),
    ({"source_path": ".snapshot/none/dir/disk.img"}, "917864"), ({"source_path": "gone"}, "917864"),
    ({"source_path": "../kvm_vol2/x"}, "917864"), ({"overwrite_destination": False}, "13565952"),
    ({"destination_path": "none/x"}, "917864"), ({"destination_path": "dir"}, "13565952"),
    ({"destination_path": ".snapshot/s1/x"}, "13565952"), ({"source_path": "dir", "destination_path": "x"}, "13565952"),
    ({"source_path": None}, "262212"), ({"destination_path": None}, "262212"), ({"volume": {}}, "918232"),
    ({"volume": {"name": "kvm_vol1"}}, "918232"), ({"volume": {"uuid": "none"}}, "918235"),
    ({"range": ["0:0"]}, "917898"),
    ({"range": ["0:0:1"], "is_backup": True}, "13565988"), ({"token_uuid": "x"}, "13565952"), ({"foo": 1}, "262179"),
    ({"overwrite_destination": "yes"}, "262197"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code"), REFUSED)
def test_what_is_refused(api: Api, root: Path, values: dict[str, Any], code: str) -> None:
    assert api.fails("POST", "/storage/file/clone", body(api, **values)) == code
    assert (root / "dir/disk.img").read_bytes() == b"garbage" * 5000
    assert (root / "dir/neighbour.img").read_bytes() == b"mine"


def test_uuid_and_name_must_fit(api: Api, root: Path) -> None:
    values = {"volume": {"uuid": api.volume(), "name": "kvm_vol2"}}
    assert api.fails("POST", "/storage/file/clone", body(api, **values)) == "918236"


@pytest.mark.parametrize(("version", "enough"), [("9.13.1", False), ("9.14.1", True)])
def test_the_uuid_alone(api: Api, sim: Running, root: Path, version: str, enough: bool) -> None:
    sim.control.set_version(version)
    values = body(api, volume={"uuid": api.volume()})
    if enough:
        api.change("POST", "/storage/file/clone", values)
    else:
        assert api.fails("POST", "/storage/file/clone", values) == "918232"


@pytest.mark.parametrize("change", [{"type": "dp"}, {"state": "offline"}, {"full": True}])
def test_volumes_that_do_not_let(api: Api, sim: Running, root: Path, change: dict[str, Any]) -> None:
    sim.control.change_volume("svm1", "kvm_vol1", **change)
    assert api.fails("POST", "/storage/file/clone", body(api)) == "13565952"


@pytest.mark.parametrize(("version", "fits"), [("9.13.1", False), ("9.14.1", True)])
def test_flexgroups(api: Api, sim: Running, root: Path, version: str, fits: bool) -> None:
    sim.control.change_volume("svm1", "kvm_vol1", style="flexgroup")
    sim.control.set_version(version)
    if fits:
        api.change("POST", "/storage/file/clone", body(api))
    else:
        assert api.fails("POST", "/storage/file/clone", body(api)) == "13565952"
    assert api.fails("POST", "/storage/file/clone", body(api, autodelete=True)) == "13565998"


def test_without_the_licence(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(licenses={"flexclone": False})
    assert api.fails("POST", "/storage/file/clone", body(api)) == "13565952"


def test_the_snapshot_stays_busy_while_blocks_are_split(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(clone_split_seconds=0.5)
    api.change("POST", "/storage/file/clone", body(api))
    snapshot = f"/storage/volumes/{api.volume()}/snapshots/{_uuid(api)}"
    assert api.ok("GET", f"{snapshot}?fields=owners")["owners"] == ["file_clone_dependent"]
    assert api.fails("DELETE", snapshot, {}) == "1638543"
    deadline = time.monotonic() + 10
    while "owners" in api.ok("GET", f"{snapshot}?fields=owners"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    api.change("DELETE", snapshot, {})


def _uuid(api: Api) -> str:
    return str(api.records(f"/storage/volumes/{api.volume()}/snapshots?name=s1")[0]["uuid"])
