# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles with two hosts of which each says what its guests do; the second one's libvirt is the test driver."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from kvmground.playbooks import Playbooks, Played
from kvmlab.process import wait_until

VOLUME = "kvm_vol1"
FIRST, SECOND = "hv0", "hv-00"
BACKUP = "hv0-two_20261121020000"
RUNNING, SHUT_DOWN = 1, [5, 1]
STATES = {"running": 1, "shutoff": 5}
# Bytes of a boot sector that writes 0x2000 to ACPI's port 0x604: a machine that powers itself off.
POWERS_OFF = b"\xba\x04\x06\xb8\x00\x20\xef\xf4"
OTHER = str(uuid.UUID(int=7))
DOMAIN = """<node><domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{name}</name>
<uuid>{uuid}</uuid><memory>1024</memory><os><type>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='raw'/><source file='{image}'/><target dev='vdc' bus='virtio'/></disk></devices>
<test:runstate>{state}</test:runstate></domain></node>"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with one guest, and a backup of it while it ran."""
    with Ground.beside("two") as found:
        found.guests.add_still("p1", VOLUME)
        found.back_up(BACKUP)
        yield found


@pytest.fixture(scope="module")
def playbooks(ground: Ground) -> Playbooks:
    """Return a way to run playbooks on both hosts."""
    return Playbooks(ground, hosts=(FIRST, SECOND))


def both(ground: Ground, work: Path, *, uuid: str, state: str, **variables: Any) -> dict[str, Any]:
    """Return the variables of a run in which the second host has a guest with this uuid on the image of the first's."""
    node = work / "node.xml"
    image = ground.guests.disk("p1", VOLUME)
    node.write_text(DOMAIN.format(name="p1b", uuid=uuid, image=image, state=STATES[state]), encoding="utf-8")
    uri = f"{{{{ 'test://{node}' if inventory_hostname == '{SECOND}' else 'qemu:///system' }}}}"
    return {"kvm_libvirt_uri": uri, "kvm_backup_guests": ["p1*"], "kvm_restore_stop": "destroy", **variables}


def own_uuid(ground: Ground) -> str:
    return str(ground.guests.domain("p1").UUIDString())


def shut_down(ground: Ground) -> None:
    """Let the guest power itself off, so that libvirt takes it for cleanly shut down."""
    domain = ground.guests.domain("p1")
    if domain.isActive():
        domain.destroy()
    if "<acpi/>" not in domain.XMLDesc():
        with_acpi = domain.XMLDesc().replace("<cpu ", "<features><acpi/></features><cpu ")
        domain = ground.guests.connection.defineXML(with_acpi)
    with ground.guests.image("p1", VOLUME).open("r+b") as stream:
        stream.write(POWERS_OFF)
    domain.create()
    wait_until(lambda: domain.state() == SHUT_DOWN, seconds=60, what="a guest that powered itself off", pause=0.1)


def restore(ground: Ground, playbooks: Playbooks, restore_id: str, *, uuid: str, state: str, off: bool) -> Played:
    """Restore the first host's guest, with the second host's guest as said."""
    asked = {
        "kvm_restore_vm_list": "p1",
        "kvm_restore_backup_id": BACKUP,
        "kvm_restore_id": restore_id,
        "kvm_restore_disks_unused_elsewhere": off,
    }
    return playbooks.run("kvmsnap.ontap.restore", both(ground, playbooks.work, uuid=uuid, state=state, **asked))


def changed(ground: Ground, data: bytes) -> None:
    with ground.guests.image("p1", VOLUME).open("r+b") as stream:
        stream.seek(65536)
        stream.write(data)


def test_a_disk_of_a_guest_that_runs_on_the_other_host_stays(ground: Ground, playbooks: Playbooks) -> None:
    image = ground.guests.image("p1", VOLUME)
    saved = ground.guests.image("p1", VOLUME, snapshot=BACKUP).read_bytes()
    changed(ground, b"of the other guest")
    before = image.read_bytes()
    for state, off in (("running", True), ("shutoff", False)):
        refused = restore(ground, playbooks, f"used-{state}", uuid=OTHER, state=state, off=off)
        assert refused.rc != 0
        assert f"it is used by guest p1b (vdc) of host {SECOND}, {state}, too" in refused.failures(FIRST)[-1]
        assert (image.read_bytes(), ground.guests.domain("p1").state()[0]) == (before, RUNNING)
    done = restore(ground, playbooks, "used-off", uuid=OTHER, state="shutoff", off=True)
    assert done.rc == 0, done.stdout
    assert image.read_bytes() == saved


def test_a_guest_that_both_define_is_restored_where_it_runs(ground: Ground, playbooks: Playbooks) -> None:
    changed(ground, b"since the backup")
    split = restore(ground, playbooks, "split", uuid=own_uuid(ground), state="running", off=True)
    assert split.rc != 0
    assert ground.guests.image("p1", VOLUME).read_bytes()[65536:65552] == b"since the backup"
    done = restore(ground, playbooks, "standby", uuid=own_uuid(ground), state="shutoff", off=False)
    assert done.rc == 0, done.stdout
    assert done.facts(FIRST)["kvm_restore_result"]["guests"][0]["restored"] is True
    assert "kvm_restore_result" not in done.facts(SECOND)
    saved = ground.guests.image("p1", VOLUME, snapshot=BACKUP).read_bytes()
    assert ground.guests.image("p1", VOLUME).read_bytes() == saved


@pytest.mark.parametrize(("state", "level"), [("running", "crash-consistent"), ("shutoff", "offline")])
@pytest.mark.parametrize("mode", ["module", pytest.param("tasks", marks=pytest.mark.long)])
def test_a_guest_that_runs_on_the_other_host_is_not_offline(
    ground: Ground, playbooks: Playbooks, mode: str, state: str, level: str
) -> None:
    shut_down(ground)
    asked = both(ground, playbooks.work, uuid=own_uuid(ground), state=state, kvm_backup_mode=mode)
    played = playbooks.run("kvmsnap.ontap.backup", asked)
    (guest,) = played.facts(FIRST)["kvm_backup_result"]["guests"]
    assert guest["consistency"] == level, played.stdout
