# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection of a restore to libvirt, which outlives a restart of the daemon; what a check tells of a LUN."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional
from unittest.mock import Mock

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.execute import Verified
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.host_actor import HostActor, volume_space
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


def actor(*hosts: Mock) -> HostActor:
    """Return an actor whose connections are these, one after the other."""
    anything: Any = Mock()
    return HostActor(
        connect=Mock(side_effect=hosts),
        places={},
        manifest=anything,
        method="auto",
        graceful=True,
        stop_timeout=1,
        start_timeout=1,
        timeout=1,
        unknown_wait=1,
        restore_id="r1",
        luns=anything,
        gate=anything,
        claim=Claim(frozenset()),
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


@pytest.mark.parametrize(("answer", "free"), [({"space": {"available": 5}}, 5), ({"space": {}}, None), ({}, None)])
def test_the_space_of_a_volume_is_what_the_array_says(answer: dict[str, Any], free: Optional[int]) -> None:
    client: Any = Mock(get=Mock(return_value=answer))
    assert volume_space(client, Mock(uuid="v"), deadline=Deadline.after(1)) == free


def test_what_a_lun_lost_is_a_note_of_its_check_and_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    serial, device = "81C91$QXsh5a", "/dev/mapper/a"
    lun = {"uuid": "u", "serial": serial, "wwid": wwid_of(serial), "size": 1, "os_type": "linux", "device": device}
    place = Storage.from_record(samples.storage("vol1", "a", kind="lun", mount_point=None, lun=lun))
    disk = DiskRestore("vda", "raw", place, device, None, samples.BACKUP, "vol1-snap", 1)
    found = actor()
    found.luns = Mock(
        difference=Mock(return_value=None),
        compared=Mock(return_value="identity"),
        sha256=Mock(return_value=None),
        settings_lost=Mock(return_value=("its QoS policy is none and was gold",)),
    )
    monkeypatch.setattr(found, "_place", lambda _disk: (Mock(), Mock()))
    assert found.verify(disk) == Verified("identity", None, ("its QoS policy is none and was gold",))
