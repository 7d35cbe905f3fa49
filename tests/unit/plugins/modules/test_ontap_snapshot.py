# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as a user runs it, in a process of its own against the simulated array."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_module import COLLECTIONS, run

from ansible_collections.kvmsnap.ontap.plugins.modules import ontap_snapshot
from ontapsim import testing, tree
from ontapsim.testing import Running

VOLUMES = [{"svm": "svm1", "volume": "kvm_vol1"}, {"svm": "svm2", "volume": "kvm_vol3"}]
BOTH = ["svm1:kvm_vol1", "svm2:kvm_vol3"]


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulated array like the lab's."""
    with testing.start(tmp_path=tmp_path_factory.mktemp("array")) as running:
        yield running
    tree.remove_tree(running.state_dir, sealed=True)


@dataclass(frozen=True)
class User:
    """Someone with the least-privilege account, and the snapshot of a test."""

    array: Running
    name: str

    def options(self, **change: Any) -> dict[str, Any]:
        """Return the module's options; a change to ``None`` leaves one out."""
        controller = {
            "hostname": "127.0.0.1",
            "port": self.array.port,
            "username": "kvmsnap",
            "password": "lab-Kvmsnap1",
            "ca_path": self.array.ca_pem,
        }
        options = {"name": self.name, "volumes": VOLUMES, "controllers": [controller], **change}
        return {key: value for key, value in options.items() if value is not None}

    def run(self, *, check: bool = False, **change: Any) -> dict[str, Any]:
        """Run the module and return its result."""
        return run("ontap_snapshot", {**self.options(**change), "_ansible_diff": True}, check=check)

    def existing(self) -> list[str]:
        """Return the volumes on which the array has the snapshot."""
        volumes = self.array.control.volumes()
        return sorted(f"{each['svm']}:{each['name']}" for each in volumes if self.name in each["snapshots"])


@pytest.fixture
def user(array: Running, request: pytest.FixtureRequest) -> Iterator[User]:
    """A user with a snapshot name of the test's own."""
    array.control.clear_requests()
    yield User(array, re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-"))
    array.control.clear_faults()


def labels(result: dict[str, Any]) -> set[Any]:
    """Return the labels that a result tells."""
    return {each["snapmirror_label"] for each in result["snapshots"]}


def test_the_twelve_steps(user: User) -> None:
    expiry = "2099-12-31T23:59:00+01:00"
    planned = user.run(check=True, snapmirror_label="daily")
    assert (planned["changed"], labels(planned), user.existing()) == (True, {"daily"}, [])
    assert planned["diff"]["before"] == dict.fromkeys(BOTH)
    created = user.run(snapmirror_label="daily")
    assert (created["changed"], labels(created), user.existing()) == (True, {"daily"}, BOTH)
    assert created["diff"] == planned["diff"]
    for check in (True, False):
        same = user.run(check=check, snapmirror_label="daily")
        assert (same["changed"], labels(same), user.existing()) == (False, {"daily"}, BOTH)
        assert same["diff"]["before"] == same["diff"]["after"]
        assert {each["uuid"] for each in same["snapshots"]} == {each["uuid"] for each in created["snapshots"]}
    planned = user.run(check=True, snapmirror_label="weekly", comment="kept")
    assert (planned["changed"], labels(planned)) == (True, {"weekly"})
    assert labels(user.run()) == {"daily"}
    modified = user.run(snapmirror_label="weekly", comment="kept")
    assert (modified["changed"], labels(modified), modified["diff"]) == (True, {"weekly"}, planned["diff"])
    assert {each["comment"] for each in modified["snapshots"]} == {"kvmsnap/kvmsnap: kept"}
    for check in (True, False):
        same = user.run(check=check, snapmirror_label="weekly", comment="kept")
        assert (same["changed"], labels(same)) == (False, {"weekly"})
    planned = user.run(check=True, state="absent")
    assert (planned["changed"], planned["snapshots"], user.existing()) == (True, [], BOTH)
    deleted = user.run(state="absent")
    assert (deleted["changed"], deleted["diff"], user.existing()) == (True, planned["diff"], [])
    assert deleted["diff"]["after"] == dict.fromkeys(BOTH)
    for check in (True, False):
        same = user.run(check=check, state="absent")
        assert (same["changed"], user.existing()) == (False, [])
    kept = user.run(expiry_time=expiry)
    assert {each["expiry_time"] for each in kept["snapshots"]} == {expiry}
    refused = user.run(state="absent")
    assert (refused["error_kind"], user.existing()) == ("SnapshotRefusedError", BOTH)
    assert {each["kept_until"] for each in refused["refusals"]} == {expiry}


def test_the_result_is_what_the_documentation_says(user: User) -> None:
    (first, second) = user.run()["snapshots"]
    documented = yaml.safe_load(ontap_snapshot.RETURN)["snapshots"]["contains"]
    assert set(first) == set(documented)
    assert (first["controller"], first["svm"], first["volume"]) == (
        f"127.0.0.1:{user.array.port}",
        "svm1",
        "kvm_vol1",
    )
    assert (second["svm"], second["created"], second["snapmirror_label"]) == ("svm2", True, None)
    assert second["absent_at"] <= second["requested_at"] < second["confirmed_at"]


def test_nothing_is_left_of_a_set_that_fails(user: User) -> None:
    user.array.control.add_fault("job_fail", match={"method": "POST", "count": 1}, code="524479", message="no space")
    result = user.run()
    assert (result["failed"], result["error_kind"], result["ontap_code"]) == (True, "SnapshotSetError", "524479")
    assert "no space" in result["msg"]
    assert len(result["removed"]) == 1
    assert user.existing() == []


def test_a_set_that_fails_can_be_left_to_be_taken_back_later(user: User) -> None:
    user.array.control.add_fault("late", match={"method": "POST", "count": 1}, seconds=60)
    failed = user.run(comment="run 1", take_back=False, timeout=1)
    assert (failed["failed"], failed["removed"], failed["left_behind"]) == (True, [], [])
    (unanswered,) = failed["unanswered"]
    assert set(unanswered) == set(yaml.safe_load(ontap_snapshot.RETURN)["unanswered"]["contains"])
    assert unanswered["job"]
    assert len(user.existing()) == 1
    user.array.control.hasten()
    gone = user.run(state="absent", comment="run 1", keep_foreign=True, unanswered=[unanswered])
    assert (gone["changed"], user.existing()) == (True, [])
    user.array.control.settle()
    assert user.existing() == []


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"name": "a b"}, "InputError", "snapshot name 'a b'"),
        ({"volumes": []}, "InputError", "list of volumes is empty"),
        ({"controllers": []}, "InputError", "list of controllers is empty"),
        ({"not_after": 1.5}, "InputError", "was over (not_after) before anything was done"),
    ],
)
def test_bad_input_changes_nothing(user: User, change: dict[str, Any], kind: str, said: str) -> None:
    result = user.run(**change)
    assert (result["failed"], result["error_kind"]) == (True, kind)
    assert said in result["msg"]
    assert [each for each in user.array.control.requests() if each["method"] != "GET"] == []


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"password": "wrong"}, "OntapLoginError", "user name or password of user kvmsnap"),
        ({"ca_path": None}, "OntapUntrustedError", "ca_path"),
    ],
)
def test_each_failure_to_log_in_has_its_own_words(user: User, change: dict[str, Any], kind: str, said: str) -> None:
    (controller,) = user.options()["controllers"]
    controller = {key: value for key, value in {**controller, **change}.items() if value is not None}
    result = user.run(controllers=[controller], retry_count=0)
    assert (result["failed"], result["error_kind"]) == (True, kind)
    assert said in result["msg"]
    assert "lab-Kvmsnap1" not in json.dumps(result)


def test_options_that_exclude_each_other(user: User) -> None:
    (controller,) = user.options()["controllers"]
    result = user.run(controllers=[{**controller, "cert_filepath": "/c.pem"}])
    assert result["failed"] is True
    assert "mutually exclusive" in result["msg"]


def test_ansible_runs_it(user: User, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_COLLECTIONS_ON_ANSIBLE_VERSION_MISMATCH": "ignore",
        "ANSIBLE_LOCAL_TEMP": str(tmp_path),
        "ANSIBLE_REMOTE_TEMP": str(tmp_path),
        "ANSIBLE_HOME": str(tmp_path),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    arguments = json.dumps(user.options(comment="by ansible"))
    ansible = Path(sys.executable).with_name("ansible")
    done = subprocess.run(
        [ansible, "localhost", "-m", "kvmsnap.ontap.ontap_snapshot", "-a", arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kvmsnap/kvmsnap: by ansible" in done.stdout
    assert user.existing() == BOTH
