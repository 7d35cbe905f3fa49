# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore may be asked for, and what not together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asked import restore_request

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("r1.undo", "give restore_id r1 and state=undone"),
        ("r" * 101, "be at most 100 characters long$"),
        ("a/b", "be at most 100 characters long$"),
    ],
)
def test_a_restore_has_a_name_that_leaves_room_for_its_undo_and_is_not_that_of_one(
    tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        restore_request(tmp_path, restore_id=name)
    restore_request(tmp_path, restore_id="r" * 100)


@pytest.mark.parametrize("changes", [{"definition": "replace"}, {"definition": "merge"}, {"define_missing": True}])
def test_some_disks_alone_go_with_no_other_definition(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="leave disks empty"):
        restore_request(tmp_path, disks=["vda"], **changes)
    restore_request(tmp_path, **changes)


def test_an_undo_takes_no_choice_of_disks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave disks empty"):
        restore_request(tmp_path, restore_id="r1", state="undone", disks=["vdb"])


@pytest.mark.parametrize("name", ["stop_timeout", "start_timeout", "unknown_wait"])
@pytest.mark.parametrize("state", ["restored", "undone"])
@pytest.mark.parametrize("value", [-1, 2**31, 10**400])
def test_a_time_that_is_none_is_refused_by_name(tmp_path: Path, state: str, name: str, value: int) -> None:
    """A restore with a time that no clock counts would find that out once the guest was started."""
    message = f"^{name} is {value}; give a number of seconds from 0 to 2147483647. Nothing was touched$"
    with pytest.raises(InputError, match=message):
        restore_request(tmp_path, state=state, **{name: value})


def test_a_request_that_is_shown_shows_no_password(tmp_path: Path) -> None:
    request = restore_request(
        tmp_path, controllers=[{"hostname": "cluster1", "username": "kvmsnap", "password": "lab-Secret1"}]
    )
    assert "lab-Secret1" not in f"{request!r} {request.discovery!r}"
    assert request.discovery.array == request.array
