# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hold is asked for, as the module's options say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import DeadMan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.request import QuiesceRequest


def options(**changes: Any) -> dict[str, Any]:
    """The options of ``kvm_vm_quiesce``, as Ansible gives them."""
    return {
        "state": "quiesced",
        "hold_id": "h1",
        "guests": [{"uuid": None, "name": "sol", "method": "auto", "disks": None, "filesystems": None, "order": 0}],
        "on_failure": "fail",
        "refuse_vss": False,
        "retry_count": 3,
        "freeze_timeout": 20,
        "agent_ping_timeout": 5,
        "concurrency_timeout": 0.0,
        "hold_deadline": 30.0,
        "vss_hold_deadline": 8.0,
        "hold_margin": 0.5,
        "unquiesce_timeout": None,
        "hold_dir": "/run/kvmsnap/holds",
        "uri": "test:///default",
        **changes,
    }


@pytest.mark.parametrize(("unquiesce", "deadline"), [(None, 30.0), (20.0, 20.0), (600.0, 30.0)])
def test_a_hold_lasts_no_longer_than_what_thaws_it(unquiesce: Optional[float], deadline: float) -> None:
    settings = QuiesceRequest.from_options(options(unquiesce_timeout=unquiesce)).settings
    assert (settings.directory, settings.hold_deadline) == (Path("/run/kvmsnap/holds"), deadline)
    assert settings.guard == DeadMan("test:///default", deadline=deadline, margin=0.5)


def test_whom_a_release_names_does_not_matter() -> None:
    assert [guest.name for guest in QuiesceRequest.from_options(options()).guests] == ["sol"]
    assert QuiesceRequest.from_options(options(state="resumed", guests=[{"name": " "}])).guests == ()
    assert QuiesceRequest.from_options(options(state="resumed", guests=None)).guests == ()


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [
        ("retry_count", -1, 0),
        ("freeze_timeout", 0, 1),
        ("agent_ping_timeout", 0, 1),
        ("hold_deadline", 0.5, 1),
        ("hold_margin", -0.1, 0),
        ("unquiesce_timeout", 0.0, 1),
        ("vss_hold_deadline", -1.0, 0),
        ("concurrency_timeout", -1.0, 0),
        ("hold_deadline", float("nan"), 1),
        ("hold_margin", float("nan"), 0),
    ],
)
def test_what_is_too_little_is_refused(option: str, value: float, least: int) -> None:
    with pytest.raises(InputError, match=rf"^{option} is {value:g}; it must be at least {least}$") as caught:
        QuiesceRequest.from_options(options(**{option: value}))
    assert caught.value.fields == {"option": option}


@pytest.mark.parametrize(("option", "value", "most"), [("hold_deadline", 601.0, 600), ("hold_margin", 61.0, 60)])
def test_a_hold_that_nobody_would_end_is_refused(option: str, value: float, most: int) -> None:
    with pytest.raises(InputError, match=rf"^{option} is {value:g}; it must be at most {most}$"):
        QuiesceRequest.from_options(options(**{option: value}))
    QuiesceRequest.from_options(options(**{option: float(most)}))


@pytest.mark.parametrize("option", ["hold_deadline", "hold_margin", "vss_hold_deadline", "unquiesce_timeout"])
def test_a_hold_without_an_end_is_refused(option: str) -> None:
    with pytest.raises(InputError, match=f"^{option} is inf; it must be at most"):
        QuiesceRequest.from_options(options(**{option: float("inf")}))
