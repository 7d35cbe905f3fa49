# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""NetApp's own Python client does ordinary work on the simulator, unmodified, in a process of its own.

`KVMSNAP_PY_NETAPP919` names an interpreter with netapp-ontap 9.19, `KVMSNAP_PY_NETAPP917` one of Python 3.9 with 9.17;
``nox -s believable`` makes both and sets them. By hand:
``python3 -m venv V && V/bin/pip install 'netapp-ontap==9.19.*'`` and ``KVMSNAP_PY_NETAPP919=V/bin/python``.
Where a variable is not set its tests are skipped with that reason, and fail when ``CI`` is set.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ontapsim.testing import Running

WORK = Path(__file__).with_name("client_work.py")
_SECONDS = 120


def run(python: Path, sim: Running, work: str) -> dict[str, Any]:
    """Let an interpreter do one kind of work and return what it tells."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REQUESTS_"))}
    command = [str(python), str(WORK), str(sim.port), sim.ca_pem, work]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


CREATED, RENAMED, DELETED = "snapshot_create", "snapshot_rename", "snapshot_delete"


def snapshots(python: Path, sim: Running) -> list[str]:
    """Create, list, rename and delete snapshots; return what the array did."""
    told = run(python, sim, "snapshots")
    assert told["comment"] == "from the client"
    assert told["listed"] == told["fast"] == ["one", "two"]
    assert (told["renamed"], told["label"]) == ("uno", "daily")
    assert "already exists" in told["refused"]
    assert told["left"] == []
    return [item["op"] for item in sim.control.journal() if item["op"].startswith("snapshot")]


def test_looking(netapp_919: Path, sim: Running) -> None:
    assert run(netapp_919, sim, "look") == {
        "version": "9.19.1",
        "svms": ["svm1", "svm2"],
        "lifs": ["svm1-nfs", "svm1-nfs-b", "svm2-nfs"],
        "volumes": ["kvm_nested", "kvm_san1", "kvm_san2", "kvm_vol1", "kvm_vol2", "svm1_root"],
        "count": 3,
        "found": "kvm_vol1",
        "junction": "/kvm_vol1/nested",
    }


def test_snapshots(netapp_919: Path, sim: Running) -> None:
    assert snapshots(netapp_919, sim) == [CREATED, CREATED, RENAMED, DELETED, DELETED]


def test_files(netapp_919: Path, sim: Running) -> None:
    root = sim.volume_root("svm1", "kvm_vol1")
    (root / "disk.img").write_bytes(b"good" * 1000)
    assert run(netapp_919, sim, "files")["names"] == ["cli.img", "copy.img", "disk.img"]
    assert (root / "copy.img").read_bytes() == (root / "cli.img").read_bytes() == b"good" * 1000


def test_luns(netapp_919: Path, sim: Running) -> None:
    assert run(netapp_919, sim, "luns") == {
        "with": ["gold", True, True],
        "without": [None, False, True],
        "initiators": [["iqn.2026-01.org.example:hv1", "hv1"], ["iqn.2026-01.org.example:elsewhere", "other"]],
    }


def test_denied(netapp_919: Path, sim: Running) -> None:
    assert run(netapp_919, sim, "denied") == {"statuses": [401, 403]}


@pytest.mark.parametrize("empty_pages", [False, True])
def test_pages(netapp_919: Path, sim: Running, empty_pages: bool) -> None:
    sim.control.add_snapshot("svm1", "kvm_vol2", "many", count=9)
    sim.control.set_switches(page_size=2, empty_pages=empty_pages)
    assert run(netapp_919, sim, "pages")["names"] == [f"many{number}" for number in range(9)]


def test_the_oldest_array(netapp_919: Path, sim: Running) -> None:
    sim.control.set_version("9.11.1")
    assert snapshots(netapp_919, sim) == [CREATED, CREATED, RENAMED, DELETED, DELETED]


def test_the_oldest_client(netapp_917: Path, sim: Running) -> None:
    assert snapshots(netapp_917, sim) == [CREATED, CREATED, RENAMED, DELETED, DELETED]
