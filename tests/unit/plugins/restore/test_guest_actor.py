# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection of a restore to libvirt, which outlives a restart of the daemon."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.guest_actor import GuestActor


def actor(*hosts: Mock) -> GuestActor:
    """Return an actor whose connections are these, one after the other."""
    return GuestActor(
        connect=Mock(side_effect=hosts),
        graceful=True,
        stop_timeout=1,
        start_timeout=1,
        images=Path("/nowhere"),
        kept=Path("/nowhere"),
    )


def test_a_connection_that_stands_is_kept() -> None:
    host = Mock(alive=True)
    found = actor(host)
    assert found.host is host
    assert found.host is host


def test_a_broken_connection_is_opened_again_and_all_are_closed() -> None:
    first, second = Mock(alive=True), Mock(alive=True)
    found = actor(first, second)
    assert found.host is first
    first.alive = False
    assert found.host is second
    found.close()
    first.close.assert_called_once_with()
    second.close.assert_called_once_with()
