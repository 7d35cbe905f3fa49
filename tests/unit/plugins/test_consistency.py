# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The level a backup reached: a table of holds and stamps."""

from __future__ import annotations

from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import Hold, Stamp, at_least, reached

INSIDE = Stamp("svm1:vol1", 10.5, 11.5)
SECOND = Stamp("svm1:vol2", 10.6, 11.9)


@pytest.mark.parametrize(
    ("changes", "stamps", "level"),
    [
        ({}, [INSIDE], "filesystem-consistent"),
        ({}, [INSIDE, SECOND], "filesystem-consistent"),
        ({"method": "suspend", "consistency": "crash-consistent"}, [INSIDE, SECOND], "crash-consistent"),
        # asked for before the freeze had answered
        ({}, [Stamp("svm1:vol1", 9.9, 11.0)], "crash-consistent"),
        ({}, [INSIDE, Stamp("svm1:vol2", 9.9, 11.0)], "inconsistent"),
        # known to exist only after the thaw was sent
        ({}, [INSIDE, Stamp("svm1:vol2", 10.6, 12.1)], "inconsistent"),
        # no proof at all
        ({}, [Stamp("svm1:vol1", None, None)], "crash-consistent"),
        ({"freeze_answered": None}, [INSIDE], "crash-consistent"),
        ({"thaw_sent": None}, [INSIDE, SECOND], "inconsistent"),
        # never held
        ({"held": False, "method": "none", "consistency": "offline"}, [INSIDE, SECOND], "offline"),
        ({"held": False, "method": "none", "consistency": "crash-consistent"}, [INSIDE], "crash-consistent"),
        ({"held": False, "method": "none", "consistency": "crash-consistent"}, [INSIDE, SECOND], "inconsistent"),
        ({"held": False, "method": "none", "consistency": "inconsistent"}, [INSIDE], "inconsistent"),
        # let go by the dead-man timer, after and before the last snapshot existed
        ({"held": False, "fired": True}, [INSIDE, SECOND], "filesystem-consistent"),
        ({"held": False, "fired": True}, [Stamp("svm1:vol1", 10.5, 12.1)], "inconsistent"),
        ({"held": False, "fired": True}, [INSIDE, Stamp("svm1:vol2", 10.6, None)], "inconsistent"),
    ],
)
def test_a_hold_counts_only_when_it_spans_every_snapshot(
    changes: dict[str, Any], stamps: list[Stamp], level: str
) -> None:
    assert reached(Hold.from_record(samples.hold(**changes)), stamps).level == level


@pytest.mark.parametrize(
    ("changes", "stamps", "level"),
    [
        ({"method": "none", "held": False, "consistency": "offline"}, [INSIDE], "crash-consistent"),
        ({"method": "none", "held": False, "consistency": "offline"}, [INSIDE, SECOND], "inconsistent"),
        ({}, [INSIDE], "filesystem-consistent"),
    ],
)
def test_a_guest_that_runs_on_another_host_is_not_offline(
    changes: dict[str, Any], stamps: list[Stamp], level: str
) -> None:
    found = reached(Hold.from_record(samples.hold(**changes)), stamps, ["hv2"])
    assert found.level == level
    assert found.reason.startswith("off here, and active on hv2" if changes else "")


def test_the_reason_names_the_volume_that_fell_out() -> None:
    found = reached(Hold.from_record(samples.hold()), [INSIDE, Stamp("svm1:vol2", 10.6, 12.1)])
    assert "svm1:vol2" in found.reason
    assert "svm1:vol1" not in found.reason


def test_a_guest_without_a_hold_is_never_called_consistent() -> None:
    assert reached(None, [INSIDE]).level == "crash-consistent"
    assert reached(None, [INSIDE, SECOND]).level == "inconsistent"


@pytest.mark.parametrize(
    ("level", "floor", "enough"),
    [
        ("offline", "crash-consistent", True),
        ("crash-consistent", "crash-consistent", True),
        ("inconsistent", "crash-consistent", False),
        ("filesystem-consistent", "application-consistent", False),
        ("unknown", "inconsistent", False),
        ("a word of tomorrow", "unknown", False),
    ],
)
def test_levels_are_ordered(level: str, floor: str, enough: bool) -> None:
    assert at_least(level, floor) is enough
