# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two parts of a restore's actor, ended together."""

from __future__ import annotations

from unittest.mock import Mock, call

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.host_actor import HostActor


def test_locks_are_given_up_before_the_connections_are_closed() -> None:
    both = Mock()
    HostActor(both.guests, both.disks).close()
    assert both.mock_calls == [call.disks.unlock_all(), call.guests.close()]
