# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hold module as a user runs it; each run is a process with a test driver of its own, whose guest runs anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running_module import run, undocumented

from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_vm_quiesce

pytest.importorskip("libvirt")


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """The options that all runs of a test share."""
    return {"hold_id": "h1", "hold_dir": str(tmp_path / "holds"), "uri": "test:///default", "retry_count": 0}


def quiesced(options: dict[str, Any], *, check: bool = False, **more: Any) -> dict[str, Any]:
    return run("kvm_vm_quiesce", {"state": "quiesced", "guests": [{"name": "test"}], **options, **more}, check=check)


def test_hold_and_release(options: dict[str, Any], tmp_path: Path) -> None:
    planned = quiesced(options, check=True)
    assert (planned["changed"], planned["guests"][0]["method"], planned["guests"][0]["held"]) == (
        True,
        "suspend",
        False,
    )
    assert not (tmp_path / "holds").exists()
    held = quiesced(options)
    assert (held["changed"], held["guests"][0]["held"]) == (True, True)
    assert (tmp_path / "holds" / "h1.json").exists()
    released = run("kvm_vm_quiesce", {"state": "resumed", **options})
    assert released["changed"] is True
    assert released["guests"][0]["reason"].endswith("it was resumed before the hold ended")
    again = run("kvm_vm_quiesce", {"state": "resumed", **options})
    assert (again["changed"], again["guests"]) == (False, [])
    for result in (planned, held, released):
        del result["invocation"], result["changed"]
        assert undocumented(kvm_vm_quiesce.RETURN, result) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guests": []}, "list of guests is empty"),
        ({"guests": [{"name": "nobody"}]}, "Libvirt does not know the guest 'nobody'; nothing was held"),
        ({"guests": [{}]}, "needs a uuid or a name"),
        ({"guests": None}, "guests"),
        ({"hold_id": "../x"}, "The hold id '../x' cannot be used"),
        ({"freeze_timeout": 0}, "freeze_timeout is 0"),
        ({"hold_deadline": 0}, "hold_deadline is 0"),
        ({"hold_margin": -1}, "hold_margin is -1"),
        ({"unquiesce_timeout": 0.5}, "unquiesce_timeout is 0.5"),
        ({"guests": [{"name": "test", "method": "agent"}]}, "Failed to hold guest test, nothing was held"),
        ({"uri": "qemu+unix:///system?socket=/no/such"}, "Failed to connect to libvirt"),
    ],
)
def test_failures_are_told(options: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str) -> None:
    result = quiesced(options, **change)
    assert result["failed"] is True
    assert message in result["msg"]
    assert list((tmp_path / "holds").glob("*")) == []


def test_the_timer_of_the_plugin_only_shortens(options: dict[str, Any]) -> None:
    for unquiesce, deadline in ((20, 20), (600, 30)):
        assert quiesced(options, unquiesce_timeout=unquiesce)["timer"]["deadline"] == deadline
        run("kvm_vm_quiesce", {"state": "resumed", **options})


def test_a_failure_tells_of_each_guest(options: dict[str, Any]) -> None:
    result = quiesced(options, guests=[{"name": "test", "method": "agent"}])
    (guest,) = result["guests"]
    assert guest["error"] == "it has no guest agent, so it cannot be frozen"
    assert result["error_kind"] == "HoldError"
