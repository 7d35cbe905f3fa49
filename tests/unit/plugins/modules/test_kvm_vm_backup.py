# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup module as a user runs it: libvirt's test driver and its guest, and the simulated array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import samples
from running_module import run, undocumented

from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_vm_backup
from ontapsim import testing, tree
from ontapsim.testing import Running

pytest.importorskip("libvirt")

GUEST = "6695eb01-f6a4-8304-79aa-97f2502e193f"


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulated array."""
    with testing.start(tmp_path=tmp_path_factory.mktemp("array")) as running:
        yield running
    tree.remove_tree(running.state_dir, sealed=True)


@pytest.fixture
def options(array: Running, tmp_path: Path) -> dict[str, Any]:
    """The options that all runs of a test share."""
    volume = next(item for item in array.control.volumes() if item["name"] == "kvm_vol1")
    place = {"svm": "svm1", "volume_uuid": volume["uuid"]}
    storage = samples.storage("kvm_vol1", "test.img", **place)
    login = {"hostname": "127.0.0.1", "port": array.port, "username": "admin", "password": "lab-Admin1"}
    return {
        "backup_id": samples.BACKUP,
        "owner": "hv1",
        "guests": [samples.guest("test", GUEST, disks=[samples.disk(storage=storage)])],
        "volumes": [samples.volume("kvm_vol1", mount_point=None, **place)],
        "controllers": [{**login, "ca_path": array.ca_pem}],
        "catalog_dir": str(tmp_path / "catalog"),
        "hold_dir": str(tmp_path / "run" / "holds"),
        "uri": "test:///default",
    }


def test_a_check_a_backup_and_the_same_again(options: dict[str, Any], array: Running, tmp_path: Path) -> None:
    svm = array_svm_uuid(options)
    for record in (options["volumes"][0], options["guests"][0]["disks"][0]["storage"]):
        record["svm_uuid"] = svm
    planned = run("kvm_vm_backup", options, check=True)
    assert (planned["changed"], planned["guests"][0]["method"]) == (True, "suspend")
    assert list(tmp_path.iterdir()) == []
    made = run("kvm_vm_backup", options)
    assert made["changed"] is True
    assert made["timing"]["hold_seconds"] >= made["timing"]["snapshot_call_seconds"] > 0
    again = run("kvm_vm_backup", options)
    assert (again["changed"], again["backup"]["exists"]) == (False, True)
    assert [item["name"] for item in array.control.volumes() if samples.BACKUP in item["snapshots"]] == ["kvm_vol1"]
    for result in (planned, made, again):
        del result["invocation"], result["changed"]
        result.pop("diff", None)
        assert undocumented(kvm_vm_backup.RETURN, result) == []


def array_svm_uuid(options: dict[str, Any]) -> str:
    """Ask the array for the uuid of the SVM."""
    wanted = {"name": "before", "volumes": [{"svm": "svm1", "volume": "kvm_vol1"}]}
    told = run("ontap_snapshot", {**wanted, "controllers": options["controllers"]}, check=True)
    return str(told["snapshots"][0]["svm_uuid"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backup_id": "../x"}, "backup_id '../x' cannot be used"),
        ({"guests": []}, "There is nothing to back up"),
        ({"quiesce": {"nobody": "agent"}}, "quiesce names 'nobody', which is no guest of this backup"),
        ({"order": [["nobody"]]}, "order names 'nobody', which is no guest"),
        ({"order": [[""]]}, "order names '', which is no guest"),
        ({"owner": ""}, "owner is empty"),
        ({"expiry_time": "tomorrow"}, "Failed to read expiry_time 'tomorrow': it is not a time in ISO 8601"),
        ({"filesystems": {"nobody": ["/"]}}, "filesystems names 'nobody', which is no guest"),
        ({"hold_deadline": 0}, "hold_deadline is 0"),
        ({"consistency": "good"}, "value of consistency must be one of"),
    ],
)
def test_failures_are_told(options: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str) -> None:
    result = run("kvm_vm_backup", {**options, **change})
    assert result["failed"] is True
    assert message in result["msg"]
    assert not (tmp_path / "catalog").exists()
