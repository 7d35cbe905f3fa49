# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who comes to a disk in the middle of its restore: the guest, started by hand, or a QEMU that libvirt knows not of."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import libvirt
import pytest
from image_users import qemu

from kvmground import Ground
from kvmground.modules import Running
from kvmlab.process import wait_until
from shown import shown

BACKUP = "hv1-daily_20261121020000"
GUEST, VOLUMES = "w1", ("kvm_vol1", "kvm_vol2")
CLONE = r"/storage/file/clone$"
CHANGED = b"written after the backup"
SECONDS = 12.0
"""How long the array takes for a clone of the first disk: longer than a guest takes to start on a busy machine."""
OPERATION = pytest.mark.parametrize("operation", ["restore", "undo"])
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest on two volumes and a backup of it."""
    with Ground.beside("old-started") as found:
        found.guests.add_still(GUEST, *VOLUMES)
        found.back_up(BACKUP)
        yield found


@pytest.fixture(autouse=True)
def running(ground: Ground) -> Iterator[None]:
    """Have the guest running on other bytes than the backup's, and the array as it is; nothing is left half done."""
    domain = ground.guests.domain(GUEST)
    if domain.isActive():
        domain.destroy()
    for volume in VOLUMES:
        with ground.guests.image(GUEST, volume).open("r+b") as image:
            image.seek(65536)
            image.write(CHANGED)
    domain.create()
    yield
    ground.control.settle(60)
    ground.control.clear_faults()


def content(ground: Ground, volume: str) -> str:
    return hashlib.sha256(ground.guests.image(GUEST, volume).read_bytes()).hexdigest()


def begun(ground: Ground, operation: str) -> Running:
    """Begin the operation; the array takes its time for the first disk, and has been asked for it when we return."""
    asked: dict[str, Any] = {
        "guests": [GUEST],
        "backup_id": BACKUP,
        "restore_id": f"started-{operation}-{len(ground.control.late())}",
        "stop": "destroy",
    }
    if operation == "undo":
        done = ground.module("kvm_app_restore", **asked)
        assert not done.failed, done.msg
        asked["state"] = "undone"
    known = len(ground.control.late())
    match = {"method": "POST", "path": CLONE, "count": 1}
    ground.control.add_fault("late", match=match, seconds=SECONDS, answer="now", job="running")
    module = ground.begin("kvm_app_restore", **asked)
    wait_until(lambda: len(ground.control.late()) > known or module.ended, seconds=60, what="the clone", pause=0.02)
    assert len(ground.control.late()) > known, module.wait().msg
    return module


@OPERATION
def test_a_guest_that_is_started_in_the_middle_keeps_the_disk_that_it_was_started_on(
    ground: Ground, operation: str
) -> None:
    """Somebody tries to start it by hand until that works, or the restore is over."""
    domain = ground.guests.domain(GUEST)
    module = begun(ground, operation)
    started = False
    while not started and not module.ended:
        try:
            started = domain.create() == 0
        except libvirt.libvirtError:
            time.sleep(0.02)
    on = [(ground.guests.image(GUEST, volume).stat().st_ino, content(ground, volume)) for volume in VOLUMES]
    run = domain.ID()
    outcome = module.wait()
    ground.control.settle(60)
    ends = [(ground.guests.image(GUEST, volume).stat().st_ino, content(ground, volume)) for volume in VOLUMES]
    assert ground.guests.state(GUEST).state == "running"
    with shown("11.3: a guest can be started while its disk is overwritten", operation=operation):
        assert not started or domain.ID() != run or ends == on
    assert not started or outcome.failed, "it was started before the restore was done, and that is no restore"


@OPERATION
def test_a_disk_that_a_qemu_opens_in_the_middle_is_not_overwritten(ground: Ground, operation: str) -> None:
    """It is one of another host, or was started by hand: it opens the second disk once the guest lets go of it."""
    module = begun(ground, operation)
    image = ground.guests.image(GUEST, VOLUMES[1])
    with ExitStack() as stack:
        opened = False
        while not opened and not module.ended:
            try:
                stack.enter_context(qemu(image, image_format="raw"))
                opened = True
            except AssertionError:
                assert ground.guests.state(GUEST).state in ("running", "shutoff")
        on = (image.stat().st_ino, content(ground, VOLUMES[1])) if opened else None
        outcome = module.wait()
        ends = (image.stat().st_ino, content(ground, VOLUMES[1]))
        with shown("11.3: nobody asks again directly before an overwrite who uses the disk", operation=operation):
            assert on is None or ends == on
    assert on is None or outcome.failed
