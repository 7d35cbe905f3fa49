# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that was undefined and defined anew, with the same disks under another uuid, with a real libvirtd."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from kvmground import Ground
from kvmground.playbooks import Playbooks
from kvmground.scene import Happenings
from kvmlab.process import wait_until

BACKUP, FIRMWARE_BACKUP = "hv1-daily_20261121020000", "hv1-daily_20261122020000"
GUEST, NEIGHBOUR, FIRMWARE = "anew", "near", "firm"
FIRST, SECOND = VOLUMES = ("kvm_vol1", "kvm_vol2")
NEW = "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"
STRANGER = "7a1f0e2c-98f7-4d3e-8a0c-0f6f2d9f5b22"
OLD_MAC, NEW_MAC = "52:54:00:aa:bb:01", "52:54:00:aa:bb:02"
PLAYBOOK = "kvmsnap.ontap.restore"
SHUTOFF, RUNNING = 5, 1
pytestmark = pytest.mark.long

SECURE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


def nic(mac: str) -> str:
    """Return an interface."""
    return f"<interface type='user'><mac address='{mac}'/><model type='virtio'/></interface>"


class Site:
    """A private host on which the guest of the backup was defined anew, and runs."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        for name in (GUEST, NEIGHBOUR):
            ground.guests.add_still(name, *VOLUMES, running=name == NEIGHBOUR)
        self.old = ground.guests.domain(GUEST).UUIDString()
        self.saved_xml = self.definition(GUEST).replace("</devices>", f"{nic(OLD_MAC)}</devices>")
        ground.guests.connection.defineXML(self.saved_xml)
        ground.back_up(BACKUP)
        self.saved = self.bytes_now(BACKUP)
        self.near = self.hashes(NEIGHBOUR)

    def definition(self, name: str) -> str:
        """Return a guest's definition."""
        return str(self.ground.guests.domain(name).XMLDesc(SECURE))

    def forget(self, *names: str) -> None:
        """End guests and let libvirt forget them; their disks stay."""
        for domain in self.ground.guests.connection.listAllDomains():
            if domain.name() in names:
                if domain.isActive():
                    domain.destroy()
                domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)

    def define_anew(self, *, running: bool = True) -> None:
        """Define the guest under another uuid and MAC, write to its disks, and start it."""
        self.forget(GUEST)
        xml = self.saved_xml.replace(self.old, NEW).replace(OLD_MAC, NEW_MAC)
        xml = xml.replace("</name>", "</name><title>made by hand</title>", 1)
        for volume in VOLUMES:
            with self.ground.guests.image(GUEST, volume).open("r+b") as image:
                image.seek(4096)
                image.write(f"written by the new guest on {volume}".encode())
        domain = self.ground.guests.connection.defineXML(xml)
        if running:
            domain.create()

    def hashes(self, name: str, snapshot: str | None = None) -> list[str]:
        """Return the hashes of a guest's disks where the array keeps them, empty for one that is not there."""
        places = [self.ground.guests.image(name, volume, snapshot=snapshot) for volume in VOLUMES]
        return [hashlib.sha256(place.read_bytes()).hexdigest() if place.exists() else "" for place in places]

    def bytes_now(self, snapshot: str | None = None) -> list[str]:
        """Return the hashes of the guest's disks."""
        return self.hashes(GUEST, snapshot)

    def asked(self, **options: Any) -> dict[str, Any]:
        """Return the options of a restore into the guest of now."""
        return {"guests": [GUEST], "backup_id": BACKUP, "into_uuid": NEW, "stop": "destroy", **options}

    def restored(self, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """Restore, and return the result of what must not fail."""
        outcome = self.ground.module("kvm_app_restore", check=check, **self.asked(**options))
        assert not outcome.failed, outcome.msg
        return outcome.result

    def world(self) -> dict[str, Any]:
        """Return all that a restore could have touched."""
        domains = {each.name(): each for each in self.ground.guests.connection.listAllDomains()}
        return {
            "guests": {name: (each.UUIDString(), each.state()[0], each.ID()) for name, each in domains.items()},
            "definitions": {name: each.XMLDesc(SECURE) for name, each in domains.items()},
            "bytes": self.bytes_now(),
            "neighbour": self.hashes(NEIGHBOUR),
            "snapshots": self.ground.snapshots(),
        }

    def refused(self, **options: Any) -> tuple[list[str], str]:
        """Ask for a restore that is refused, see that nothing was touched, and return codes and message."""
        for check in (True, False):
            before = self.world()
            outcome = self.ground.module("kvm_app_restore", check=check, **self.asked(**options))
            assert outcome.failed
            assert self.world() == before
        return [each["code"] for each in outcome.result.get("problems", [])], outcome.msg

    def under_new_uuid(self) -> str:
        """Return the definition of the backup, under the present uuid, as libvirt writes it."""
        domain = self.ground.guests.domain(GUEST)
        own = domain.XMLDesc(SECURE)
        connection = self.ground.guests.connection
        try:
            return str(connection.defineXML(self.saved_xml.replace(self.old, NEW)).XMLDesc(SECURE))
        finally:
            connection.defineXML(own)

    def uuid_and_state(self) -> tuple[str, int]:
        """Return who the guest is and what it does."""
        domain = self.ground.guests.domain(GUEST)
        return domain.UUIDString(), domain.state()[0]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Return the private host with its backup."""
    with Ground.beside("into") as ground:
        yield Site(ground)


@pytest.fixture(autouse=True)
def anew(site: Site) -> Iterator[None]:
    """Begin with the guest defined anew, and see that the neighbour was let alone."""
    site.define_anew()
    yield
    site.ground.control.clear_faults()
    assert site.hashes(NEIGHBOUR) == site.near
    assert site.ground.guests.state(NEIGHBOUR).state == "running"


@pytest.mark.parametrize("by", ["name", "uuid then", "uuid now"])
def test_without_a_word_it_is_refused_and_both_ways_on_are_named(site: Site, by: str) -> None:
    word = {"name": GUEST, "uuid then": site.old, "uuid now": NEW}[by]
    codes, said = site.refused(guests=[word], into_uuid=None)
    assert codes == ["guest-identity"]
    assert f"Guest {GUEST} is {NEW} on this host and was {site.old} in the backup" in said
    assert "kvm_restore_as" in said
    assert f"kvm_restore_into_uuid={NEW}" in said


@pytest.mark.parametrize("by", ["name", "uuid then"])
def test_the_plan_shows_both_guests_and_touches_nothing(site: Site, by: str) -> None:
    before = site.world()
    shown = site.restored(check=True, guests=[GUEST if by == "name" else site.old], restore_id="shown")
    assert site.world() == before
    (guest,) = shown["plan"]["guests"]
    disks = [f"vda svm1:/vol/{FIRST}/{GUEST}.img", f"vdb svm1:/vol/{SECOND}/{GUEST}.img"]
    assert guest["two_guests"] == {
        "saved": {"name": GUEST, "uuid": site.old, "disks": disks},
        "present": {"name": GUEST, "uuid": NEW, "disks": disks},
    }
    for side in ("before", "after"):
        assert f"in the backup: guest {GUEST} ({site.old}): {', '.join(disks)}" in shown["diff"][side]
        assert f"keeping its uuid: guest {GUEST} ({NEW}): {', '.join(disks)}" in shown["diff"][side]
    assert f'-      <mac address="{NEW_MAC}" />' in shown["diff"]["after"]
    assert f'+      <mac address="{OLD_MAC}" />' in shown["diff"]["after"]


def test_the_present_guest_gets_bytes_and_definition_of_then_and_an_undo_gives_back_its_own(site: Site) -> None:
    own, there = site.definition(GUEST), site.bytes_now()
    assert there != site.saved
    result = site.restored(restore_id="into")
    assert site.bytes_now() == site.saved
    assert site.uuid_and_state() == (NEW, RUNNING)
    assert result["guests"][0]["uuid"] == NEW
    assert site.definition(GUEST) == site.under_new_uuid()
    again = site.restored(restore_id="into", into_uuid=None)
    assert not again["changed"]
    site.restored(restore_id="into", state="undone", into_uuid=None)
    assert site.bytes_now() == there
    assert site.uuid_and_state() == (NEW, RUNNING)
    assert site.definition(GUEST) == own
    assert site.old not in [each.UUIDString() for each in site.ground.guests.connection.listAllDomains()]


def test_the_definition_of_now_is_kept_when_asked_to(site: Site) -> None:
    own = site.definition(GUEST)
    site.restored(restore_id="kept", definition="keep")
    assert (site.definition(GUEST), site.bytes_now()) == (own, site.saved)


def test_one_disk_alone(site: Site) -> None:
    own, there = site.definition(GUEST), site.bytes_now()
    site.restored(restore_id="one", disks=["vdb"])
    assert (site.definition(GUEST), site.bytes_now()) == (own, [there[0], site.saved[1]])


def test_the_old_uuid_off_on_another_host_and_an_address_of_another_guest_are_notes_in_the_plan(site: Site) -> None:
    bare = "<domain type='qemu'><name>mac</name><memory>16384</memory><os><type>hvm</type></os><devices>{}</devices>"
    site.ground.guests.connection.defineXML(f"{bare.format(nic(OLD_MAC))}</domain>")
    (mine,) = site.ground.discovered(guests=[GUEST])["guests"]
    try:
        for state, active, codes in (("shutoff", [], []), ("running", [site.old], ["guest-active-elsewhere"])):
            theirs = {"hv2": [{**mine, "uuid": site.old, "state": state}]}
            asked = site.asked(other_hosts={"hv2": active}, other_hosts_guests=theirs)
            seen = site.ground.module("kvm_app_restore", check=True, **asked)
            assert [each["code"] for each in seen.result.get("problems", [])] == codes
            if not codes:
                notes = " ".join(seen["plan"]["guests"][0]["notes"])
                assert f"it is defined on host hv2, too ({site.old}), and off there" in notes
                assert f"MAC address {OLD_MAC} (on user) is one of guest mac" in notes
    finally:
        site.forget("mac")


@pytest.mark.parametrize("look", [1, 2, 3])
def test_one_that_was_killed_stays_off_and_goes_on_under_its_name(site: Site, look: int) -> None:
    own, there = site.definition(GUEST), site.bytes_now()
    name = f"killed-{look}"
    scene = Happenings(site.ground.control)
    moment = scene.looking(look, seconds=30)
    running = site.ground.begin("kvm_app_restore", **site.asked(restore_id=name))
    wait_until(moment, seconds=60, what="the look at a disk", pause=0.01)
    running.kill()
    scene.end()
    assert site.uuid_and_state() == (NEW, SHUTOFF)
    wrong = site.ground.module("kvm_app_restore", **site.asked(restore_id=name, into_uuid=STRANGER))
    assert f"was begun into guest {NEW}, not into {STRANGER}" in wrong.msg
    site.restored(restore_id=name, into_uuid=None)
    assert site.bytes_now() == site.saved
    assert site.uuid_and_state() == (NEW, RUNNING)
    site.restored(restore_id=name, state="undone")
    assert (site.bytes_now(), site.definition(GUEST)) == (there, own)


def test_one_whose_second_disk_fails_is_put_back_and_runs(site: Site) -> None:
    own, there = site.definition(GUEST), site.bytes_now()

    def spoil() -> None:
        (made,) = site.ground.seen(site.ground.volume(SECOND)).glob(".kvmsnap-tmp-*")
        made.write_bytes(b"changed")

    scene = Happenings(site.ground.control)
    scene.when(scene.looking(2), spoil)
    try:
        outcome = site.ground.module("kvm_app_restore", **site.asked(restore_id="fails"))
    finally:
        scene.end()
    assert outcome.failed
    assert not scene.missed
    assert (site.bytes_now(), site.definition(GUEST)) == (there, own), outcome.msg
    assert site.uuid_and_state() == (NEW, RUNNING)


def test_a_uuid_that_is_not_here(site: Site) -> None:
    codes, said = site.refused(into_uuid=STRANGER)
    assert codes == ["guest-not-defined"]
    assert STRANGER in said


def test_what_is_no_uuid(site: Site) -> None:
    assert "'web1', which is no uuid" in site.refused(into_uuid="web1")[1]


def test_a_guest_that_has_none_of_the_disks(site: Site) -> None:
    xml = site.definition(GUEST).replace(NEW, STRANGER).replace(f"<name>{GUEST}<", "<name>other<")
    for volume in VOLUMES:
        xml = xml.replace(f"{GUEST}.img", "other.img")
        site.ground.seen(site.ground.volume(volume) / "other.img").write_bytes(bytes(1024 * 1024))
    site.forget(GUEST)
    site.ground.guests.connection.defineXML(xml)
    try:
        codes, said = site.refused(into_uuid=STRANGER)
        assert codes == ["guest-identity"]
        assert f"guest other ({STRANGER}) has no disk of {GUEST}" in said
    finally:
        site.forget("other")
        for volume in VOLUMES:
            site.ground.seen(site.ground.volume(volume) / "other.img").unlink()


def test_a_guest_that_is_in_the_backup_itself(site: Site) -> None:
    near = site.ground.guests.domain(NEIGHBOUR).UUIDString()
    assert f"Guest {NEIGHBOUR} is {near} in backup" in site.refused(into_uuid=near)[1]
    assert "restore it without into_uuid" in site.refused(into_uuid=site.old)[1]


def test_more_than_one_guest_to_restore(site: Site) -> None:
    assert "into_uuid is for one guest" in site.refused(guests=[GUEST, NEIGHBOUR])[1]


def test_more_than_one_that_is_meant(site: Site) -> None:
    bare = "<domain type='qemu'><name>{}</name><uuid>{}</uuid><memory>16384</memory><os><type>hvm</type></os></domain>"
    site.ground.guests.connection.defineXML(bare.format("then", site.old))
    try:
        codes, said = site.refused()
        assert codes == ["guest-identity"]
        assert f"guest then ({site.old}) of the backup is on this host itself" in said
    finally:
        site.forget("then")
    xml = site.definition(GUEST).replace(f"<name>{GUEST}<", "<name>renamed<")
    site.forget(GUEST)
    site.ground.guests.connection.defineXML(xml)
    site.ground.guests.connection.defineXML(bare.format(GUEST, STRANGER))
    try:
        codes, said = site.refused()
        assert "guest-identity" in codes
        assert f"guest {GUEST} is {STRANGER} on this host" in said
    finally:
        site.forget("renamed", GUEST)


def test_a_guest_of_another_name_with_the_disks_is_restored_and_keeps_its_name(site: Site) -> None:
    xml = site.definition(GUEST).replace(f"<name>{GUEST}<", "<name>renamed<")
    site.forget(GUEST)
    site.ground.guests.connection.defineXML(xml)
    try:
        result = site.restored(restore_id="renamed")
        assert f"it was called {GUEST} at the time of the backup" in str(result["plan"])
        assert site.bytes_now() == site.saved
        assert site.ground.guests.domain("renamed").UUIDString() == NEW
    finally:
        site.forget("renamed")


@pytest.mark.parametrize("whose", ["then", "now"])
def test_a_lock_on_either_uuid_keeps_it_out(site: Site, whose: str) -> None:
    lock = site.ground.seen(Path("/run/kvmsnap/guests")) / f"{site.old if whose == 'then' else NEW}.lock"
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = site.refused(restore_id="locked")[1]
    lock.unlink()
    assert f"guest {GUEST} is locked by another process" in said


def test_the_guest_of_then_that_comes_back_amid_is_not_overwritten(site: Site) -> None:
    there = site.bytes_now()
    disk = f"<disk type='file'><source file='{site.ground.guests.disk(GUEST, SECOND)}'/><target dev='vda'/></disk>"
    xml = (
        f"<domain type='qemu'><name>then</name><uuid>{site.old}</uuid><memory>16384</memory><os><type>hvm</type></os>"
        f"<devices>{disk}</devices></domain>"
    )
    scene = Happenings(site.ground.control)
    scene.when(scene.looking(1), lambda: site.ground.guests.connection.defineXML(xml))
    try:
        outcome = site.ground.module("kvm_app_restore", **site.asked(restore_id="back"))
    finally:
        scene.end()
        site.forget("then")
    assert outcome.failed
    assert f"guest then ({site.old})" in outcome.msg
    assert site.bytes_now() == there


def test_uefi_variables_go_to_where_the_present_uuid_has_them(site: Site) -> None:
    """They are not used: the guest is off, and this machine has no firmware for it."""
    guests = site.ground.guests
    guests.add_still(FIRMWARE, FIRST, running=False)
    old, bare = guests.domain(FIRMWARE).UUIDString(), site.definition(FIRMWARE)
    directory = Path("/var/lib/libvirt/qemu/nvram")
    files = {uuid: site.ground.seen(directory) / f"{uuid}_VARS.fd" for uuid in (old, NEW)}
    files[NEW].parent.mkdir(parents=True, exist_ok=True)
    sysinfo = "<sysinfo type='smbios'><system><entry name='uuid'>{0}</entry></system></sysinfo><os>"
    loader = "<smbios mode='sysinfo'/><loader readonly='yes' type='pflash'>/etc/passwd</loader>"
    firmware = f"{loader}<nvram>{directory}/{{0}}_VARS.fd</nvram></os><features><acpi/></features>"

    def defined(uuid: str) -> None:
        xml = bare.replace(old, uuid).replace("<os>", sysinfo.format(uuid)).replace("</os>", firmware.format(uuid))
        guests.connection.defineXML(xml)

    site.forget(GUEST)
    defined(old)
    files[old].write_bytes(b"variables of then")
    site.ground.back_up(FIRMWARE_BACKUP, FIRMWARE)
    site.forget(FIRMWARE)
    defined(NEW)
    own = site.definition(FIRMWARE)
    files[NEW].write_bytes(b"variables of now")
    files[old].write_bytes(b"left behind")
    asked: dict[str, Any] = {"guests": [FIRMWARE], "backup_id": FIRMWARE_BACKUP, "restore_id": "firmware"}
    try:
        site.restored(**asked)
        assert (files[NEW].read_bytes(), files[old].read_bytes()) == (b"variables of then", b"left behind")
        assert site.definition(FIRMWARE) == own
        site.restored(state="undone", **asked)
        assert (files[NEW].read_bytes(), site.definition(FIRMWARE)) == (b"variables of now", own)
    finally:
        site.forget(FIRMWARE)
        guests.image(FIRMWARE, FIRST).unlink()
        for file in files.values():
            file.unlink(missing_ok=True)


def test_the_playbook_refuses_it_without_a_word_and_restores_and_undoes_it_with_one(site: Site) -> None:
    own, there = site.definition(GUEST), site.bytes_now()
    playbooks = Playbooks(site.ground)

    def play(rc: int, **variables: Any) -> str:
        usual = {"kvm_restore_vm_list": GUEST, "kvm_restore_backup_id": BACKUP, "kvm_restore_stop": "destroy"}
        played = playbooks.run(PLAYBOOK, {**usual, **variables})
        assert (played.rc != 0) == (rc != 0), played.stdout
        return " ".join(played.failures("hv0"))

    before = site.world()
    assert f"kvm_restore_into_uuid={NEW}" in play(2)
    assert "kvm_restore_into_uuid" in play(2, kvm_restore_vm_list=site.old)
    assert "is defined on none of" in play(2, kvm_restore_into_uuid=STRANGER)
    assert "cannot be combined with kvm_restore_as" in play(2, kvm_restore_into_uuid=NEW, kvm_restore_as="other")
    assert site.world() == before
    play(0, kvm_restore_into_uuid=NEW, kvm_restore_id="played")
    assert (site.bytes_now(), site.uuid_and_state()) == (site.saved, (NEW, RUNNING))
    assert OLD_MAC in site.definition(GUEST)
    play(0, kvm_restore_id="played", kvm_restore_state="undone")
    assert (site.bytes_now(), site.uuid_and_state()) == (there, (NEW, RUNNING))
    assert site.definition(GUEST) == own
