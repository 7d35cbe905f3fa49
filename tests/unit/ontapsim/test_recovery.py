# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interruption leaves: nothing half, on the storage and in the state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from ontapsim.control import ControlClient
from ontapsim.engine import Engine
from ontapsim.storage import VolumeRef
from ontapsim.testclient import Api
from ontapsim.testing import Running, sample

VOLUME = VolumeRef("svm1", "vol1")


class KilledError(BaseException):
    """Stands for the end of the process."""


def engine_with_disk(root: Path) -> tuple[Engine, Path]:
    """Return an engine whose volume has a snapshot ``s1`` of ``disk.img`` ("good") and a changed live file."""
    engine = Engine(str(root), require_reflink=False)
    engine.create_volume(VOLUME, mode=0o755, cause={})
    disk = Path(engine.volume_root(VOLUME)) / "disk.img"
    disk.write_bytes(b"good" * 2000)
    engine.create_snapshots([VOLUME], "s1", cause={})
    disk.write_bytes(b"garbage" * 3000)
    return engine, disk


def recovered(engine: Engine, *names: str) -> Engine:
    """Return a new engine on the same directory, recovered with ``names`` as the known snapshots."""
    again = Engine(str(engine.root), require_reflink=False)
    again.recover({VOLUME: names})
    assert list((engine.root / "tmp").iterdir()) == []
    assert list((engine.root / "intents").iterdir()) == []
    return again


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str, after: int = 0) -> None:
    """Let the ``after``-th next call of an engine's helper be where the process ends."""
    module, _dot, attribute = name.rpartition(".")
    calls = 0
    original = getattr(sys.modules[module], attribute)

    def ends(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KilledError
        return original(*args, **options)

    monkeypatch.setattr(name, ends)


def test_overwriting_in_place_is_completed(engine_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, disk = engine_with_disk(engine_root)
    inode = disk.stat().st_ino
    with monkeypatch.context() as patch:
        interrupt(patch, "ontapsim.tree.overwrite_file")
        patch.setattr("ontapsim.tree.remove_tree", lambda *_args, **_options: None)
        with pytest.raises(KilledError):
            engine.clone_file(
                VOLUME, "disk.img", "disk.img", snapshot="s1", overwrite=True, keep_inode=True, op="x", cause={}
            )
        disk.write_bytes(b"half")
    recovered(engine, "s1")
    assert disk.read_bytes() == b"good" * 2000
    assert disk.stat().st_ino == inode


def test_a_revert_is_completed(engine_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, disk = engine_with_disk(engine_root)
    (disk.parent / "new").write_bytes(b"1")
    with monkeypatch.context() as patch:
        interrupt(patch, "ontapsim.tree.overwrite_file")
        with pytest.raises(KilledError):
            engine.revert(VOLUME, "s1", cause={})
    recovered(engine, "s1")
    assert disk.read_bytes() == b"good" * 2000
    assert sorted(item.name for item in disk.parent.iterdir()) == [".snapshot", "disk.img"]


def test_a_snapshot_that_nobody_knows_is_removed(engine_root: Path) -> None:
    engine, disk = engine_with_disk(engine_root)
    engine.create_snapshots([VOLUME], "s2", cause={})
    again = recovered(engine, "s1")
    assert again.snapshot_names(VOLUME) == ["s1"]
    assert disk.read_bytes() == b"garbage" * 3000


def test_leftovers_are_swept(engine_root: Path) -> None:
    engine, _disk = engine_with_disk(engine_root)
    (engine.root / "tmp" / "tree" / "deep").mkdir(parents=True)
    (engine.root / "tmp" / "tree" / "deep" / "file").write_bytes(b"1")
    (engine.root / "intents" / "half.new").write_text("{", encoding="ascii")
    if engine.seals:
        engine.create_snapshots([VOLUME], "s2", cause={})
        engine.delete_snapshot(VOLUME, "s2", cause={})
    again = recovered(engine, "s1")
    assert again.snapshot_names(VOLUME) == ["s1"]
    assert list((again.root / "tmp").iterdir()) == []


def test_a_snapshot_that_is_gone_is_not_reported(engine_root: Path) -> None:
    engine, _disk = engine_with_disk(engine_root)
    assert engine.recover({VOLUME: ["s1", "s2"]}) == {VOLUME: {"s1"}}


class Process:
    """The simulator as its own process, to be killed."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca_pem = str(directory / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_pem)
        pem = str(directory / "server.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
        self.state_dir = directory / "array"
        self.control = ControlClient(str(directory / "control.sock"))
        self.config = directory / "config.json"
        data = {
            **sample(), "state_dir": str(self.state_dir), "control_socket": self.control.socket_path,
            "listeners": [{"address": "127.0.0.1", "port": 0}], "tls": {"cert": pem, "key": pem},
            "require_reflink": False, "seal_snapshots": False, "switches": {"job_tail_seconds": 5},
        }  # fmt: skip
        self.config.write_text(json.dumps(data), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Return the base address."""
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it serves."""
        command = [sys.executable, "-m", "ontapsim", "--config", str(self.config)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                self._port = self.control.health()["ports"]["127.0.0.1"]
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def end(self, number: signal.Signals) -> int:
        """End it and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


def test_a_killed_simulator_comes_back_whole(tmp_path: Path) -> None:
    simulator = Process(tmp_path)
    simulator.start()
    api = Api(simulator)
    base = f"/storage/volumes/{api.volume()}/snapshots"
    disk = simulator.state_dir / "vols/svm1/kvm_vol1/disk.img"
    disk.write_bytes(b"good")
    done = api.ok("POST", base, {"name": "s1"})["job"]["uuid"]
    deadline = time.monotonic() + 10
    while not api.records(f"{base}?name=s1"):
        assert time.monotonic() < deadline
    simulator.control.add_fault("job_hang", match={"method": "POST"})
    hanging = api.ok("POST", base, {"name": "s2"})["job"]["uuid"]
    assert simulator.end(signal.SIGKILL) == -signal.SIGKILL
    simulator.start()
    api = Api(simulator)
    try:
        assert [item["name"] for item in api.records(base)] == ["s1"]
        assert api.ok("GET", f"/cluster/jobs/{done}")["state"] == "success"
        assert api.ok("GET", f"/cluster/jobs/{hanging}")["state"] == "failure"
        assert [item["op"] for item in simulator.control.journal()].count("snapshot_create") == 1
    finally:
        assert simulator.end(signal.SIGTERM) == 0


def test_state_survives_a_restart(sim: Running, api: Api) -> None:
    uuid = api.snapshot("s1", comment="kept", snapmirror_label="daily", expiry_time="2020-01-01T00:00:00Z")
    api.change("PATCH", f"/storage/volumes/{api.volume('kvm_vol2')}", {"nas": {"path": "/elsewhere"}})
    api.change("DELETE", f"/storage/volumes/{api.volume('kvm_nested')}", {})
    base = f"/storage/volumes/{api.volume()}/snapshots"
    before = api.ok("GET", f"{base}/{uuid}")
    sim.stop()
    sim.start()
    assert api.ok("GET", f"{base}/{uuid}") == before
    assert api.records("/storage/volumes?name=kvm_vol2&fields=nas.path")[0]["nas"]["path"] == "/elsewhere"
    assert api.records("/storage/volumes?name=kvm_nested") == []


def test_a_rename_cut_short_loses_no_snapshot(sim: Running, api: Api) -> None:
    uuid = api.snapshot("s1")
    sim.stop()
    state_file = Path(sim.state_dir) / "state.json"
    state = json.loads(state_file.read_text(encoding="utf-8"))
    snapshot = next(item for volume in state["volumes"].values() for item in volume["snapshots"])
    snapshot["pending_name"] = "s2"
    state_file.write_text(json.dumps(state), encoding="utf-8")
    sim.start()
    path = f"/storage/volumes/{api.volume()}/snapshots/{uuid}"
    assert api.ok("GET", path)["name"] == "s1"
    sim.stop()
    state_file.write_text(json.dumps(state), encoding="utf-8")
    Engine(sim.state_dir, require_reflink=False, seal=False).rename_snapshot(
        VolumeRef("svm1", "kvm_vol1"), "s1", "s2", cause={}
    )
    sim.start()
    assert api.ok("GET", path)["name"] == "s2"


def test_a_volume_rename_cut_short_loses_no_volume(sim: Running, api: Api) -> None:
    uuid = api.volume()
    sim.stop()
    state_file = Path(sim.state_dir) / "state.json"
    state = json.loads(state_file.read_text(encoding="utf-8"))
    state["volumes"][uuid]["pending_name"] = "renamed"
    state_file.write_text(json.dumps(state), encoding="utf-8")
    Engine(sim.state_dir, require_reflink=False, seal=False).rename_volume(
        VolumeRef("svm1", "kvm_vol1"), "renamed", cause={}
    )
    sim.start()
    assert api.ok("GET", f"/storage/volumes/{uuid}")["name"] == "renamed"
