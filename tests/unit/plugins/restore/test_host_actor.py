# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two parts of a restore's actor, ended together."""

from __future__ import annotations

from typing import Any, Optional
from unittest.mock import MagicMock, Mock, call

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.host_actor import HostActor, volume_space
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


def test_locks_are_given_up_before_the_connections_are_closed() -> None:
    both = Mock()
    HostActor(both.guests, both.disks).close()
    assert both.mock_calls == [call.disks.unlock_all(), call.guests.close()]


@pytest.mark.parametrize(("answer", "free"), [({"space": {"available": 5}}, 5), ({"space": {}}, None), ({}, None)])
def test_the_space_of_a_volume_is_what_the_array_says(answer: dict[str, Any], free: Optional[int]) -> None:
    client: Any = Mock(get=Mock(return_value=answer))
    assert volume_space(client, Mock(uuid="v"), deadline=Deadline.after(1)) == free


@pytest.mark.parametrize(("method", "free", "needed"), [("copy", 199, 200), ("file_clone", 1, 2)])
def test_a_volume_without_the_space_for_a_safety_snapshot_is_refused_before_it_is_made(
    method: str, free: int, needed: int
) -> None:
    client: Any = Mock(get=Mock(return_value={"space": {"available": free}}))
    volume = Volume("cluster1", "svm1", "svm1-uuid", "vol1", "vol1-uuid")
    storage = Storage.from_record(samples.storage())
    disk = DiskRestore("vda", "raw", storage, "/mnt/vol1/web1.img", "/mnt/vol1", samples.BACKUP, "vol1-snap", 200)
    disks: Any = Mock(place=lambda _disk: (client, volume), method=method, timeout=30.0)
    with pytest.raises(KvmsnapError, match=f"svm1:vol1 .* up to {needed} bytes there, and {free} are free"):
        HostActor(Mock(), disks).secure([disk], "hv1-safety")
    (asked,) = client.mock_calls
    assert asked.kwargs["deadline"].remaining() <= 30.0


def test_each_controller_is_waited_for_as_long_as_a_disk_may_take() -> None:
    one, other = MagicMock(), MagicMock()
    places = {("s", "a"): Mock(client=one), ("s", "b"): Mock(client=one), ("s", "c"): Mock(client=other)}
    disks: Any = Mock(places=places, timeout=600.0)
    with HostActor(Mock(), disks).patience():
        for client in (one, other):
            client.patient.assert_called_once_with(600.0)
            assert not client.patient.return_value.__exit__.called
    for client in (one, other):
        assert client.patient.return_value.__exit__.called
