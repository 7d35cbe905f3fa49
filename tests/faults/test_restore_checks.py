# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore looks at afterwards, with a real libvirtd: a disk's bytes, an image's tables, a guest's health.

Each guest is restored by a module of its own; bytes are read where the array keeps them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from kvmground import Ground
from kvmground.ground import CONTROLLER
from kvmground.modules import Outcome
from kvmground.scene import Happenings
from kvmlab import topology
from kvmlab.process import run, wait_until

VOLUME = "kvm_vol1"
MIB = 1 << 20
CLUSTER = 1 << 16
WIDE = 32 * MIB
# Between two samples of an image of this size.
UNSEEN = 700_000


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host of its own."""
    with Ground.beside("checks") as found:
        yield found


@pytest.fixture(scope="module")
def still(ground: Ground) -> str:
    """Return a backup of a guest without a system, whose disk is wider than what samples cover."""
    ground.guests.add_still("still", VOLUME, running=False)
    os.truncate(ground.guests.image("still", VOLUME), WIDE)
    return backed_up(ground, "still", "still-backup")


@pytest.fixture(scope="module")
def linux(ground: Ground) -> str:
    """Return a backup of a guest with a real agent."""
    ground.guests.add_linux("linux", VOLUME)
    return backed_up(ground, "linux", "linux-backup")


def backed_up(ground: Ground, guest: str, backup_id: str) -> str:
    ground.back_up(backup_id, guest)
    return backup_id


def restored(ground: Ground, guest: str, restore_id: str, **options: Any) -> Outcome:
    """Restore a guest; one without a system does not obey a shutdown."""
    return ground.module("kvm_app_restore", guests=[guest], restore_id=restore_id, stop="destroy", **options)


def content(ground: Ground, guest: str) -> str:
    return hashlib.sha256(ground.guests.image(guest, VOLUME).read_bytes()).hexdigest()


def changed(ground: Ground, guest: str, data: bytes, *, at: int = 4096) -> str:
    """Write something into the image and return its hash."""
    with ground.guests.image(guest, VOLUME).open("r+b") as stream:
        stream.seek(at)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return content(ground, guest)


def amid(ground: Ground, guest: str, act: Callable[[], Any], **options: Any) -> Outcome:
    """Restore a guest while something happens to the file that is to take its disk's place, before the comparison."""
    volume = next(str(row["uuid"]) for row in ground.control.volumes() if row["name"] == VOLUME)
    scene = Happenings(ground.control)
    scene.when(scene.requested("GET", f"{volume}/files/%2Ekvmsnap-tmp-", seconds=1.0), act, "it")
    try:
        return restored(ground, guest, **options)
    finally:
        scene.end()
        assert not scene.missed


def test_one_byte_between_the_samples_is_found_by_a_full_comparison_alone(ground: Ground, still: str) -> None:
    saved, before = content(ground, "still"), changed(ground, "still", b"before the restore")

    def spoil() -> None:
        (made,) = ground.seen(ground.volume(VOLUME)).glob(".kvmsnap-tmp-*")
        with made.open("r+b") as stream:
            stream.seek(UNSEEN)
            stream.write(b"!")
            os.fsync(stream.fileno())

    sampled = amid(ground, "still", spoil, restore_id="sampled", backup_id=still)
    assert not sampled.failed, sampled.msg
    assert content(ground, "still") not in (saved, before), "it went unseen"
    before = changed(ground, "still", b"before the full one")
    full = amid(ground, "still", spoil, restore_id="full", backup_id=still, verify="full")
    assert full.failed
    assert f"it differs from {still} at byte {UNSEEN}" in full.msg
    assert "Nothing of the guest was overwritten" in full.msg
    assert content(ground, "still") == before
    again = restored(ground, "still", "full", backup_id=still, verify="full")
    (disk,) = again["guests"][0]["disks"]
    assert (disk["verified"], disk["sha256"], content(ground, "still")) == ("size and all content", saved, saved)


def qcow2(ground: Ground, guest: str) -> Path:
    """Make a guest whose disk is a qcow2 image, off, and return the image."""
    ground.guests.add_still(guest, VOLUME, running=False)
    image = ground.guests.image(guest, VOLUME)
    raw = image.with_name(f"{guest}.raw")
    image.rename(raw)
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image])
    raw.unlink()
    xml = ground.guests.domain(guest).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    ground.guests.connection.defineXML(xml.replace("type='raw'", "type='qcow2'"))
    return image


def set_users(image: Path, cluster: int, count: int) -> None:
    """Change how many users the image's table says that a cluster has."""
    with image.open("r+b") as stream:
        stream.seek(2 * CLUSTER + 2 * cluster)
        stream.write(count.to_bytes(2, "big"))


def test_an_image_with_leaks_passes_with_a_remark_and_a_corrupt_one_is_put_back(ground: Ground) -> None:
    image = qcow2(ground, "tables")
    last = image.stat().st_size // CLUSTER + 1
    set_users(image, last, 1)
    os.truncate(image, (last + 1) * CLUSTER)
    leaky = backed_up(ground, "tables", "leaky-backup")
    saved = content(ground, "tables")
    set_users(image, 3, 0)
    corrupt = backed_up(ground, "tables", "corrupt-backup")
    set_users(image, 3, 1)
    changed(ground, "tables", b"before the restore", at=last * CLUSTER)

    found = restored(ground, "tables", "leaky", backup_id=leaky, power="running")
    (disk,) = found["guests"][0]["disks"]
    assert disk["notes"] == [
        "qemu-img check found 1 leaked clusters, which cost space and harm nothing (qemu-img check -r leaks)"
    ]
    assert any("1 leaked clusters" in line for line in found["summary"])
    assert content(ground, "tables") == saved
    assert ground.guests.state("tables").state == "running"

    refused = restored(ground, "tables", "corrupt", backup_id=corrupt)
    assert refused.failed
    assert "it is corrupt, with 1 faults in its tables" in refused.msg
    assert not refused.result["guests"][0]["restored"]
    assert content(ground, "tables") == saved
    assert ground.guests.state("tables").state == "running"


def test_wrong_input_touches_nothing(ground: Ground, still: str) -> None:
    before = changed(ground, "still", b"before the wrong input")
    refused = restored(ground, "still", "wrong", backup_id=still, power="running", health={"condition": "agent"})
    assert [each["code"] for each in refused.result["problems"]] == ["health-impossible"]
    for health in ({"condition": "tcp"}, {"condition": "tcp", "port": 70000}, {"condition": "agent", "ping": True}):
        refused = restored(ground, "still", "wrong", backup_id=still, health=health)
        assert refused.failed
    assert content(ground, "still") == before
    assert not (ground.seen(ground.catalog) / "restores" / "wrong.json").exists()


def test_a_port_that_nobody_serves_fails_in_its_time_and_the_undo_that_is_named_works(
    ground: Ground, still: str
) -> None:
    saved = hashlib.sha256(ground.guests.image("still", VOLUME, snapshot=still).read_bytes()).hexdigest()
    before = changed(ground, "still", b"before the closed port")
    health = {"condition": "tcp", "port": 9, "address": "127.0.0.1", "timeout": 2}
    found = restored(ground, "still", "closed", backup_id=still, power="running", health=health)
    assert found.failed
    assert found.result["error_kind"] == "RestoreUnhealthyError"
    assert "restore still with restore_id closed and state=undone" in found.msg
    (guest,) = found.result["guests"]
    assert (guest["restored"], guest["healthy"], guest["state_after"]) == (True, False, "running")
    assert guest["health"]["seen"] == "TCP port 9 accepted no connection (127.0.0.1: Connection refused)"
    assert 2 <= guest["health"]["seconds"] < 4
    assert (content(ground, "still"), ground.guests.state("still").state) == (saved, "running")
    open_port = {**health, "port": topology.REST_PORT, "address": topology.NAMES[CONTROLLER]}
    undone = restored(ground, "still", "closed", state="undone", power="running", health=open_port)
    assert undone["guests"][0]["healthy"] is True
    assert content(ground, "still") == before


def test_an_agent_is_waited_for_and_a_rerun_looks_again_without_restoring(ground: Ground, linux: str) -> None:
    began = time.monotonic()
    found = restored(ground, "linux", "agent", backup_id=linux, health={"condition": "agent", "timeout": 60})
    (guest,) = found["guests"]
    assert (guest["healthy"], guest["health"]["seen"]) == (True, "its agent answered")
    assert 0 < guest["health"]["seconds"] < time.monotonic() - began
    assert ground.guests.ask("linux", "guest-ping") == {}
    this_run = ground.guests.state("linux").domain_id
    fine = restored(
        ground, "linux", "agent", backup_id=linux, health={"condition": "command", "command": ["ls", "/data"]}
    )
    assert (fine["changed"], fine["guests"][0]["healthy"], fine["guests"][0]["restored"]) == (False, True, False)
    assert fine["guests"][0]["health"]["seen"] == "ls ended with exit code 0"
    assert ground.guests.state("linux").domain_id == this_run, "nothing stopped it"


@pytest.mark.long
def test_a_program_that_fails_in_the_guest_is_told_and_stops_nothing(ground: Ground, linux: str) -> None:
    assert not restored(ground, "linux", "program", backup_id=linux).failed
    this_run = ground.guests.state("linux").domain_id
    failing = {"condition": "command", "command": ["cat", "/nothing"], "timeout": 8}
    failed = restored(ground, "linux", "program", backup_id=linux, health=failing)
    assert (failed.result["error_kind"], failed.result["changed"]) == ("RestoreUnhealthyError", False)
    assert "cat ended with exit code 1: cat: can't open '/nothing'" in failed.msg
    assert ground.guests.state("linux").domain_id == this_run, "nothing stopped it"


@pytest.mark.long
def test_a_restore_killed_while_it_looks_at_the_health_restores_nothing_again(ground: Ground, still: str) -> None:
    changed(ground, "still", b"before the kill")
    health = {"condition": "tcp", "port": 9, "address": "127.0.0.1", "timeout": 60}
    options: dict[str, Any] = {
        "guests": ["still"],
        "backup_id": still,
        "restore_id": "killed",
        "stop": "destroy",
        "power": "running",
    }
    running = ground.begin("kvm_app_restore", health=health, **options)
    record = ground.seen(ground.catalog) / "restores" / "killed.json"
    wait_until(lambda: is_done(record), seconds=60, what="a guest that is brought back", pause=0.02)
    running.kill()
    written = changed(ground, "still", b"written since", at=65536)
    this_run = ground.guests.state("still").domain_id
    again = ground.module("kvm_app_restore", health={**health, "timeout": 1}, **options)
    assert (again.result["error_kind"], again.result["changed"]) == ("RestoreUnhealthyError", False)
    assert (content(ground, "still"), ground.guests.state("still").domain_id) == (written, this_run)


def is_done(record: Path) -> bool:
    """Whether the journal of a restore says that its guest is brought back."""
    try:
        guests = json.loads(record.read_text(encoding="utf-8"))["guests"]
    except FileNotFoundError:
        return False
    return bool(guests) and all(each["done"] for each in guests.values())


@pytest.mark.long
def test_an_agent_that_may_not_run_programs_is_not_available(ground: Ground) -> None:
    agent = ground.guests.add_relayed("barred", VOLUME)
    agent.blocked = frozenset({"guest-exec", "guest-exec-status"})
    backup = backed_up(ground, "barred", "barred-backup")
    health = {"condition": "command", "command": ["/bin/true"], "timeout": 60}
    found = restored(ground, "barred", "barred", backup_id=backup, health=health)
    assert found.failed
    assert "guest-exec and guest-exec-status not available" in found.msg
    assert "Use condition running, agent or tcp" in found.msg
    assert ground.guests.state("barred").state == "running"
    assert agent.last("guest-exec") is None
