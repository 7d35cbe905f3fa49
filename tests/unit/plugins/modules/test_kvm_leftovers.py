# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recovery module as a user runs it, on a host that has no array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running_module import run, undocumented

from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_leftovers

pytest.importorskip("libvirt")


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """The options that all runs of a test share."""
    (tmp_path / "run").mkdir()
    return {
        "controllers": [],
        "owner": "hv1",
        "hold_dir": str(tmp_path / "run" / "holds"),
        "catalog_dir": str(tmp_path / "catalog"),
        "uri": "test:///default",
        "retry_count": 0,
    }


def test_a_record_of_an_earlier_boot_is_shown_then_removed(options: dict[str, Any], tmp_path: Path) -> None:
    holds = tmp_path / "run" / "holds"
    holds.mkdir(mode=0o700)
    stale = holds / "old.json"
    stale.write_text('{"schema": "kvmsnap.hold/1", "boot_id": "another", "guests": []}', encoding="ascii")
    shown = run("kvm_leftovers", options, check=True)
    assert (shown["changed"], [item["action"] for item in shown["leftovers"]]) == (True, ["removed"])
    assert stale.exists()
    done = run("kvm_leftovers", options)
    assert (done["changed"], done["leftovers"]) == (True, shown["leftovers"])
    assert list(holds.iterdir()) == []
    again = run("kvm_leftovers", options)
    assert (again["changed"], again["leftovers"], again["summary"]) == (False, [], ["Nothing is left of any crash."])
    for result in (shown, done, again):
        for key in ("invocation", "changed", "diff"):
            result.pop(key)
        assert undocumented(kvm_leftovers.RETURN, result) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grace_period": -1}, "grace_period is -1"),
        ({"owner": "../x"}, "owner '../x' cannot be used"),
        ({"uri": "qemu+unix:///system?socket=/no/such"}, "Failed to connect to libvirt"),
    ],
)
def test_failures_are_told(options: dict[str, Any], change: dict[str, Any], message: str) -> None:
    result = run("kvm_leftovers", {**options, **change})
    assert result["failed"] is True
    assert message in result["msg"]


def test_a_hold_is_put_right_although_the_guests_cannot_be_asked(options: dict[str, Any], tmp_path: Path) -> None:
    holds = tmp_path / "run" / "holds"
    holds.mkdir(mode=0o700)
    (holds / "old.json").write_text(
        '{"schema": "kvmsnap.hold/1", "boot_id": "another", "guests": []}', encoding="ascii"
    )
    result = run("kvm_leftovers", {**options, "uri": "qemu+unix:///system?socket=/no/such"})
    assert result["failed"] is True
    assert "which guests are frozen is not known" in str(result["leftovers"])
    assert "Failed to connect to libvirt" in result["msg"]
    assert not (holds / "old.json").exists()
