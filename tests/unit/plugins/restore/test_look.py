# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a discovery keeps a disk from being overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import found
import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import MapPath, MapState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.reservations import Held
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import look
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.look import DiskQuestion, disk_now
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskNow, Sharer

STORAGE = {
    "kind": "nfs",
    "controller": "cluster1",
    "svm": "svm1",
    "svm_uuid": "svm1-uuid",
    "volume": "vol1",
    "volume_uuid": "vol1-uuid",
    "path": "a.img",
    "mount_point": "/mnt/vol1",
    "locks": True,
    "lun": None,
}
DISK: dict[str, Any] = {
    "target": "vdb",
    "device": "disk",
    "format": "raw",
    "path": "/mnt/vol1/a.img",
    "source": "/mnt/vol1/a.img",
    "size": 4096,
    "backing": [],
    "readonly": False,
    "included": True,
    "reason": "",
    "storage": STORAGE,
}
GUEST = found.guest({"name": "web1", "state": "shutoff", "disks": []})


def seen(record: dict[str, Any], problems: Sequence[Problem] = (), *, unused_elsewhere: bool = False) -> DiskNow:
    """The disk as a restore sees it."""
    return disk_now(GUEST, found.disk(record), problems, asked=DiskQuestion("auto", unused_elsewhere))


def obstacles(*codes: str, unused_elsewhere: bool = False, **disk: Any) -> list[tuple[str, str]]:
    """The codes and severities of what keeps a disk with these findings from being overwritten."""
    problems = [problem_of(code, "disk vdb of guest web1: found", guest="web1", disk="vdb") for code in codes]
    now = seen({**DISK, **disk}, problems, unused_elsewhere=unused_elsewhere)
    return [(each.code, each.severity) for each in now.obstacles]


@pytest.mark.parametrize("code", ["lun-mapped-elsewhere", "lun-maps-unknown"])
def test_what_other_hosts_may_use_takes_a_word_of_a_person(code: str) -> None:
    assert obstacles(code) == [(code, "error")]
    assert obstacles(code, unused_elsewhere=True) == []


@pytest.mark.parametrize("unused_elsewhere", [False, True])
@pytest.mark.parametrize("code", look.NOT_FREE)
def test_what_is_not_free_is_not_overwritten_whatever_a_person_says(code: str, unused_elsewhere: bool) -> None:
    assert [each for each, _severity in obstacles(code, unused_elsewhere=unused_elsewhere)] == [code]


LUN: dict[str, Any] = {
    "uuid": "lun-1",
    "serial": "81C91$QXsh5a",
    "wwid": wwid_of("81C91$QXsh5a"),
    "size": 4096,
    "os_type": "linux",
    "device": "/dev/mapper/lun1",
}
LUN_STORAGE = {**STORAGE, "kind": "lun", "path": "lun1", "lun": LUN}


@pytest.mark.parametrize(
    ("held", "unused_elsewhere", "refused"),
    [
        (None, False, False),
        (Held("a reservation by this host", foreign=False), False, False),
        (Held("a reservation by hv2", foreign=True), False, True),
        (Held("a reservation by hv2", foreign=True), True, False),
    ],
)
def test_a_reservation_of_another_host_takes_a_word_of_a_person(
    monkeypatch: pytest.MonkeyPatch, held: Optional[Held], unused_elsewhere: bool, refused: bool
) -> None:
    monkeypatch.setattr(look.lun_device, "obstacles", lambda *_device, **_how: [])
    monkeypatch.setattr(look, "reservation_on", lambda device, _own: held if "lun1" in device else None)
    now = seen({**DISK, "storage": LUN_STORAGE}, unused_elsewhere=unused_elsewhere)
    assert [(each.code, each.severity) for each in now.obstacles] == ([("lun-reserved", "error")] if refused else [])
    assert now.notes == ((held.text,) if held else ())


@pytest.mark.parametrize(
    ("state", "sharers", "refused"),
    [
        pytest.param("shutoff", (), True, id="off"),
        pytest.param("shutoff", (False, False), True, id="off-and-so-are-those-that-share-it"),
        pytest.param("shutoff", (False, True), False, id="off-and-one-that-shares-it-is-not"),
        pytest.param("running", (), False, id="running"),
        pytest.param("running", (False,), False, id="running-and-one-that-shares-it-is-off"),
    ],
)
def test_a_lun_is_in_use_only_where_no_guest_has_it_open(
    monkeypatch: pytest.MonkeyPatch, state: str, sharers: tuple[bool, ...], refused: bool
) -> None:
    """Nothing can be had exclusively here: there is no such device."""
    path = MapState("/dev/no-such-path", LUN["wwid"], 4096, False, (MapPath("no-such-path", True),), is_map=False)
    monkeypatch.setattr(look.lun_device, "map_state", lambda _device, **_how: path)
    monkeypatch.setattr(look, "reservation_on", lambda _device, _own: None)
    guest = found.guest({"name": "web1", "state": state, "disks": []})
    others = tuple(Sharer(f"u{at}", f"g{at}", "vdb", active) for at, active in enumerate(sharers))
    disk = found.disk({**DISK, "storage": LUN_STORAGE})
    now = disk_now(guest, disk, (), sharers=others, asked=DiskQuestion("auto", unused_elsewhere=False))
    assert [each.code for each in now.obstacles] == (["lun-in-use"] if refused else [])


@pytest.mark.parametrize("unused_elsewhere", [False, True])
def test_a_disk_of_several_guests_is_refused_whatever_is_said(unused_elsewhere: bool) -> None:
    code = "disk-used-by-several-guests"
    assert obstacles(code, unused_elsewhere=unused_elsewhere) == [(code, "error")]


@pytest.mark.parametrize(
    ("disk", "refused"),
    [
        ({"readonly": True, "included": False, "reason": "read-only, and used by other guests too"}, True),
        ({"readonly": True}, False),
        ({"device": "cdrom", "readonly": True, "included": False, "reason": "a medium in a drive"}, False),
    ],
)
def test_a_disk_that_another_guest_has_by_now_is_refused_where_it_is_read_only_too(
    disk: dict[str, Any], refused: bool
) -> None:
    assert obstacles(**disk) == ([("disk-used-by-several-guests", "error")] if refused else [])
