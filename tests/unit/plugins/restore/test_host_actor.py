# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two parts of a restore's actor, ended together."""

from __future__ import annotations

from typing import Any, Optional
from unittest.mock import Mock, call

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.host_actor import HostActor, volume_space
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


def test_locks_are_given_up_before_the_connections_are_closed() -> None:
    both = Mock()
    HostActor(both.guests, both.disks).close()
    assert both.mock_calls == [call.disks.unlock_all(), call.guests.close()]


@pytest.mark.parametrize(("answer", "free"), [({"space": {"available": 5}}, 5), ({"space": {}}, None), ({}, None)])
def test_the_space_of_a_volume_is_what_the_array_says(answer: dict[str, Any], free: Optional[int]) -> None:
    client: Any = Mock(get=Mock(return_value=answer))
    assert volume_space(client, Mock(uuid="v"), deadline=Deadline.after(1)) == free
