# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to guests and images while a run is at work, or between discovery and the backup."""

from __future__ import annotations

import hashlib
import os
import socket
import uuid as uuids
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from kvmground.modules import Outcome
from kvmlab.process import wait_until

VOLUME = "kvm_vol1"
GUEST, RENAMED = "meanwhile", "meanwhile-new"
SLOW = {"method": "POST", "path": "/snapshots$"}

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def private() -> Iterator[Ground]:
    """Return a private host."""
    with Ground.beside("meanwhile") as found:
        yield found


@pytest.fixture
def ground(private: Ground) -> Iterator[Ground]:
    """Return it with a running guest, whose traces are gone afterwards."""
    private.guests.add_still(GUEST, VOLUME)
    yield private
    private.control.clear_faults()
    for name in private.guests.names():
        domain = private.guests.domain(name)
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    for path in private.seen(private.volume(VOLUME)).glob("*.img*"):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def define_anew(ground: Ground) -> None:
    """Give the guest another uuid, and start it."""
    domain = ground.guests.domain(GUEST)
    xml = domain.XMLDesc(2)
    if domain.isActive():
        domain.destroy()
    domain.undefine()
    ground.guests.connection.defineXML(xml.replace(domain.UUIDString(), str(uuids.uuid4()))).create()


def rename(ground: Ground) -> None:
    ground.guests.domain(GUEST).rename(RENAMED)


def undefine(ground: Ground) -> None:
    ground.guests.domain(GUEST).undefine()


def start(ground: Ground) -> None:
    ground.guests.domain(GUEST).create()


def content(ground: Ground) -> str:
    return hashlib.sha256(ground.guests.image(GUEST, VOLUME).read_bytes()).hexdigest()


def states(ground: Ground) -> dict[str, str]:
    return {name: ground.guests.state(name).state for name in ground.guests.names()}


@pytest.mark.parametrize(
    ("act", "restored", "after"),
    [
        pytest.param(rename, True, {RENAMED: "running"}, id="renamed"),
        pytest.param(undefine, False, {}, id="undefined"),
        pytest.param(define_anew, False, {GUEST: "running"}, id="defined anew and started"),
        pytest.param(start, False, {GUEST: "running"}, id="started by hand"),
    ],
)
def test_a_guest_that_is_off_for_its_restore(
    ground: Ground, act: Callable[[Ground], None], restored: bool, after: dict[str, str]
) -> None:
    backup = f"hv1-{act.__name__}_20261121020000"
    ground.back_up(backup)
    with ground.guests.image(GUEST, VOLUME).open("r+b") as image:
        image.seek(4096)
        image.write(b"written since")
    before = content(ground)
    ground.control.add_fault("delay", match=SLOW, seconds=5)
    asked: dict[str, Any] = {"guests": [GUEST], "backup_id": backup, "restore_id": act.__name__, "stop": "destroy"}
    running = ground.begin("kvm_app_restore", **asked)
    wait_until(lambda: ground.guests.state(GUEST).state == "shutoff", seconds=60, what="the guest's stop", pause=0.1)
    act(ground)
    done = running.wait(90)
    assert "Traceback" not in done.stderr
    assert (not done.failed, content(ground) != before, states(ground)) == (restored, restored, after), done.msg
    ground.control.clear_faults()
    ground.module("kvm_leftovers", owner="hv1", grace_period=0)
    assert states(ground) == after
    assert not list(ground.seen(ground.volume(VOLUME)).glob(".kvmsnap-*"))


def saved(ground: Ground, name: str, found: dict[str, Any]) -> Outcome:
    return ground.module("kvm_vm_backup", backup_id=name, owner="hv1", policy="daily", **found)


def test_a_guest_that_was_renamed_since_its_discovery_is_backed_up_by_its_uuid(ground: Ground) -> None:
    found, uuid = ground.discovered(), ground.guests.domain(GUEST).UUIDString()
    ground.guests.domain(GUEST).destroy()
    rename(ground)
    ground.guests.domain(RENAMED).create()
    made = saved(ground, "hv1-since_20261121020001", found)
    assert not made.failed, made.msg
    assert [guest["uuid"] for guest in made["backup"]["guests"]] == [uuid]
    assert states(ground) == {RENAMED: "running"}


def test_a_guest_of_the_same_name_with_another_uuid_is_not_taken_for_it(ground: Ground) -> None:
    found = ground.discovered()
    define_anew(ground)
    made = saved(ground, "hv1-since_20261121020002", found)
    assert made.failed
    assert "does not know the guest" in made.msg
    assert states(ground) == {GUEST: "running"}
    assert not any("hv1-since_20261121020002" in names for names in ground.snapshots().values())


def test_the_same_backup_by_three_control_nodes_at_once_is_made_once(ground: Ground) -> None:
    found = ground.discovered()
    asked = {"backup_id": "hv1-once_20261121020000", "owner": "hv1", "policy": "daily", **found}
    made = [each.wait(90) for each in [ground.begin("kvm_vm_backup", **asked) for _run in range(3)]]
    assert [each.failed for each in made] == [False] * 3
    assert sorted(each["changed"] for each in made) == [False, False, True]
    assert states(ground) == {GUEST: "running"}


def test_the_same_restore_by_three_control_nodes_at_once_is_done_once(ground: Ground) -> None:
    backup = "hv1-thrice_20261121020000"
    ground.back_up(backup)
    asked: dict[str, Any] = {"guests": [GUEST], "backup_id": backup, "stop": "destroy"}
    done = [
        each.wait(90) for each in [ground.begin("kvm_app_restore", restore_id=f"thrice_{n}", **asked) for n in range(3)]
    ]
    assert [each.failed for each in done].count(False) >= 1
    assert all("wait for its end" in each.msg for each in done if each.failed)
    assert states(ground) == {GUEST: "running"}


def bound(image: Path) -> None:
    """Leave a socket; its path is too long for the call that makes one."""
    here = os.getcwd()
    try:
        os.chdir(image.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(image.name)
    finally:
        os.chdir(here)


def huge(image: Path) -> None:
    with image.open("wb") as stream:
        stream.truncate(8 << 50)


PLACED: dict[str, Callable[[Path], None]] = {
    "a fifo": os.mkfifo,
    "a socket": bound,
    "a directory": os.mkdir,
    "a link to itself": lambda image: image.symlink_to(image.name),
    "a link to nothing": lambda image: image.symlink_to("/nowhere"),
    "a link to a file of the host": lambda image: image.symlink_to("/etc/passwd"),
    "8 PiB of nothing": huge,
}


def test_what_is_put_in_the_place_of_images_keeps_no_other_guest_from_its_backup(ground: Ground) -> None:
    for number, put in enumerate(PLACED.values()):
        name = f"placed-{number}"
        ground.guests.add_still(name, VOLUME, running=False)
        ground.guests.image(name, VOLUME).unlink()
        put(ground.guests.image(name, VOLUME))
    found = ground.module("kvm_vm_discover", within=60)
    assert "Traceback" not in found.stderr
    assert {each["guest"] for each in found["problems"]} >= {f"placed-{number}" for number in range(len(PLACED) - 1)}
    given = {key: found[key] for key in ("guests", "volumes", "problems")}
    made = ground.module(
        "kvm_vm_backup",
        within=60,
        backup_id="hv1-placed_20261121020000",
        owner="hv1",
        policy="daily",
        on_failure="continue",
        **given,
    )
    assert not made.failed, made.msg
    assert GUEST in [guest["name"] for guest in made["backup"]["guests"]]


@pytest.mark.parametrize("put", [os.mkfifo, lambda image: image.symlink_to("/etc/passwd")], ids=["a fifo", "a link"])
@pytest.mark.parametrize("method", ["auto", "copy"])
def test_what_a_snapshot_has_in_the_place_of_an_image_is_not_restored(
    ground: Ground, put: Callable[[Path], None], method: str
) -> None:
    ground.guests.domain(GUEST).destroy()
    found, image = ground.discovered(), ground.guests.image(GUEST, VOLUME)
    honest = image.read_bytes()
    image.unlink()
    put(image)
    backup = f"hv1-{uuids.uuid4().hex[:6]}_20261121020000"
    made = saved(ground, backup, found)
    assert not made.failed, made.msg
    image.unlink()
    image.write_bytes(honest)
    asked: dict[str, Any] = {"guests": [GUEST], "backup_id": backup}
    done = ground.module("kvm_app_restore", within=60, method=method, restore_id=uuids.uuid4().hex[:8], **asked)
    copied = ground.module("kvm_vm_clone", within=60, name="copy", guest=GUEST, backup_id=backup)
    assert (done.failed, copied.failed) == (True, True)
    assert "its size in the snapshot is" in done.msg
    assert image.read_bytes() == honest
    assert [path.name for path in image.parent.glob("*.img")] == [image.name]
