# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of NetApp's collection netapp.ontap do ordinary work on the simulator, unmodified.

`KVMSNAP_ANSIBLE_VENV` names a virtual environment with the packages `ansible` (which brings the collection) and
`requests`; ``nox -s believable`` makes it and sets it. By hand: ``python3 -m venv V && V/bin/pip install ansible
requests``. Where it is not set the tests are skipped with that reason, and fail when ``CI`` is set.

One play runs all modules; each test looks at what one of them returned, or at the array.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ontapsim.testing import Running, start

PLAY = Path(__file__).with_name("collection_work.yml")
_SECONDS = 300


@dataclass
class Play:
    """What the play returned by task name, and the array it worked on."""

    results: dict[str, dict[str, Any]]
    sim: Running


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Run the play once."""
    venv = os.environ.get("KVMSNAP_ANSIBLE_VENV")
    if not venv:
        reason = "KVMSNAP_ANSIBLE_VENV is not set: it names a venv with ansible ('nox -s believable' sets it)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    place = tmp_path_factory.mktemp("play")
    with start(None, place) as sim:
        yield Play(_run(Path(venv), place, sim), sim)


def _run(venv: Path, place: Path, sim: Running) -> dict[str, dict[str, Any]]:
    environment = {
        "PATH": os.pathsep.join([str(venv / "bin"), os.environ.get("PATH", os.defpath)]), "HOME": str(place),
        "ANSIBLE_LOCAL_TEMP": str(place / "tmp"), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_CONFIG": str(place / "none.cfg"), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
    }  # fmt: skip
    told = place / "told.json"
    variables = {
        "array_port": sim.port, "array_ca": sim.ca_pem, "told": str(told),
        "ansible_python_interpreter": str(venv / "bin" / "python"),
    }  # fmt: skip
    command = [str(venv / "bin" / "ansible-playbook"), "-i", "localhost,", str(PLAY), "-e", json.dumps(variables)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results: dict[str, dict[str, Any]] = json.loads(told.read_text(encoding="utf-8"))
    return results


def test_snapshots_are_made_once(play: Play) -> None:
    assert [play.results[name]["changed"] for name in ("created", "created_again")] == [True, False]


def test_snapshots_are_renamed_and_deleted(play: Play) -> None:
    names = ("renamed", "deleted", "deleted_again")
    assert [play.results[name]["changed"] for name in names] == [True, True, False]
    operations = [item["op"] for item in play.sim.control.journal() if item["op"].startswith("snapshot_")]
    assert operations == ["snapshot_create", "snapshot_rename", "snapshot_delete"]


def test_volume_info(play: Play) -> None:
    info = play.results["info"]["ontap_info"]["storage_volumes"]
    assert info["num_records"] == 8
    assert {item["name"] for item in info["records"]} >= {"kvm_vol1", "kvm_nested", "svm1_root"}


def test_lookup_info(play: Play) -> None:
    info = play.results["info"]["ontap_info"]
    assert info["cluster"]["version"]["major"] == 19
    assert {item["name"] for item in info["svm_svms"]["records"]} == {"svm1", "svm2"}
    assert any(item["ip"]["address"] == "198.51.100.21" for item in info["network_ip_interfaces"]["records"])
    assert info["cluster_nodes"]["num_records"] == 2


def test_snapshot_info(play: Play) -> None:
    info = play.results["snapshots"]["ontap_info"]["storage_volumes_snapshots"]
    assert [item["name"] for item in info["records"]] == ["two"]


def test_a_volume_is_modified_once(play: Play) -> None:
    assert [play.results[name]["changed"] for name in ("commented", "commented_again")] == [True, False]


def test_raw_calls(play: Play) -> None:
    assert play.results["raw"]["response"]["records"][0]["nas"]["path"] == "/kvm_vol1"


def test_cli_calls(play: Play) -> None:
    assert play.results["cli"]["msg"]["records"][0]["junction_path"] == "/kvm_vol1"
