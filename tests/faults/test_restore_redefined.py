# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores that change a guest's definition, with a real libvirtd: deleted guests, moved disks, files that are gone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import _checksum
from kvmground import Ground
from kvmground.modules import Outcome
from kvmground.scene import Happenings
from kvmlab.process import wait_until

BACKUP = "hv1-daily_20261121020000"
GUEST, NEIGHBOUR = "r1", "near1"
FIRST, SECOND, THIRD = VOLUMES = ("kvm_vol1", "kvm_vol2", "kvm_vol3")
SHUTOFF, RUNNING = 5, 1
SECURE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
SCREEN = "<graphics type='vnc' port='-1' autoport='yes' passwd='a-secret'/>"
NIC = "<interface type='user'><mac address='52:54:00:aa:bb:cc'/><model type='virtio'/></interface>"


def killed(ground: Ground, look: int, **options: Any) -> None:
    """Kill a restore before one of its looks at a disk."""
    scene = Happenings(ground.control)
    moment = scene.looking(look, seconds=30)
    running = ground.begin("kvm_app_restore", guests=[GUEST], **options)
    wait_until(moment, seconds=60, what="the look at a disk", pause=0.01)
    running.kill()
    scene.end()


def failing(ground: Ground, look: int, **options: Any) -> Outcome:
    """Let a restore find the file for the second disk changed since it was compared."""

    def spoil() -> None:
        (made,) = ground.seen(ground.volume(SECOND)).glob(".kvmsnap-tmp-*")
        made.write_bytes(b"changed")

    scene = Happenings(ground.control)
    scene.when(scene.looking(look), spoil)
    try:
        return ground.module("kvm_app_restore", guests=[GUEST], **options)
    finally:
        scene.end()


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest on two volumes, a neighbour, and a backup of both."""
    with Ground.beside("redefined") as found:
        for name in (GUEST, NEIGHBOUR):
            found.guests.add_still(name, FIRST, SECOND, running=False)
        redefine(found, lambda xml: xml.replace("</devices>", f"{NIC}{SCREEN}</devices>"))
        found.back_up(BACKUP)
        yield found


@pytest.fixture(autouse=True)
def whole(ground: Ground) -> Iterator[None]:
    """Begin with the guest as it was saved, with other bytes in its disks, and end so."""
    xml = definition(ground)
    yield
    ground.control.clear_faults()
    forget(ground)
    ground.guests.connection.defineXML(xml)
    for volume in (FIRST, SECOND):
        place = image(ground, volume)
        place.write_bytes(place.name.encode() * 1000 + bytes((1 << 20) - 1000 * len(place.name)))


def definition(ground: Ground) -> str:
    """Return the guest's definition with its passwords."""
    return str(ground.guests.domain(GUEST).XMLDesc(SECURE))


def redefine(ground: Ground, change: Any) -> None:
    """Change the guest's definition."""
    ground.guests.connection.defineXML(change(definition(ground)))


def forget(ground: Ground) -> None:
    """Let libvirt forget the guest."""
    for domain in ground.guests.connection.listAllDomains():
        if domain.name() == GUEST:
            if domain.isActive():
                domain.destroy()
            domain.undefine()


def names(ground: Ground) -> list[str]:
    """Return what libvirt knows."""
    return sorted(domain.name() for domain in ground.guests.connection.listAllDomains())


def image(ground: Ground, volume: str, snapshot: str | None = None) -> Path:
    """Return the guest's image."""
    return ground.guests.image(GUEST, volume, snapshot=snapshot)


def sha256(path: Path) -> str:
    """Return the hash of a file where the array keeps it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def saved(ground: Ground) -> list[str]:
    """Return the hashes of both disks in the snapshots."""
    return [sha256(image(ground, volume, BACKUP)) for volume in (FIRST, SECOND)]


def bytes_now(ground: Ground) -> list[str]:
    """Return the hashes of both disks, empty for one that is not there."""
    return [sha256(place) if place.exists() else "" for place in (image(ground, each) for each in (FIRST, SECOND))]


def restored(ground: Ground, *, check: bool = False, **options: Any) -> dict[str, Any]:
    """Restore the guest, and return the result of what must not fail."""
    outcome = ground.module("kvm_app_restore", check=check, **{"guests": [GUEST], "stop": "destroy", **options})
    assert not outcome.failed, outcome.msg
    return outcome.result


def refused(ground: Ground, **options: Any) -> list[str]:
    """Ask for a restore that is refused, see that nothing was touched, and return the codes of the problems."""
    before = names(ground), bytes_now(ground), ground.snapshots()
    outcome = ground.module("kvm_app_restore", **{"guests": [GUEST], "stop": "destroy", **options})
    assert outcome.failed
    assert (names(ground), bytes_now(ground), ground.snapshots()) == before
    return [problem["code"] for problem in outcome.result["problems"]]


def test_a_deleted_guest_comes_back_with_its_disks_and_an_undo_deletes_it_again(ground: Ground) -> None:
    uuid, neighbour = ground.guests.domain(GUEST).UUIDString(), sha256(ground.guests.image(NEIGHBOUR, FIRST))
    forget(ground)
    image(ground, FIRST).unlink()
    left = sha256(image(ground, SECOND))
    assert refused(ground, restore_id="deleted") == ["guest-not-defined"]
    shown = restored(ground, check=True, define_missing=True, restore_id="deleted")
    assert names(ground) == [NEIGHBOUR]
    assert "made anew" in shown["diff"]["after"]
    assert f"guest {GUEST} ({uuid}): absent" in shown["diff"]["before"]
    result = restored(ground, define_missing=True, restore_id="deleted")
    assert bytes_now(ground) == saved(ground)
    domain = ground.guests.domain(GUEST)
    assert (domain.UUIDString(), domain.isPersistent(), domain.state()[0]) == (uuid, 1, SHUTOFF)
    assert "52:54:00:aa:bb:cc" in domain.XMLDesc()
    assert "a-secret" not in str(result)
    again = restored(ground, define_missing=True, restore_id="deleted")
    assert not again["changed"]
    restored(ground, restore_id="deleted", state="undone")
    assert names(ground) == [NEIGHBOUR]
    assert bytes_now(ground) == ["", left]
    assert sha256(ground.guests.image(NEIGHBOUR, FIRST)) == neighbour


def test_a_deleted_guest_can_be_started_at_once(ground: Ground) -> None:
    forget(ground)
    restored(ground, define_missing=True, restore_id="deleted-running", power="running")
    assert ground.guests.domain(GUEST).state()[0] == RUNNING
    assert not ground.guests.domain(GUEST).autostart()


def test_a_deleted_guest_whose_second_disk_fails_is_deleted_again(ground: Ground) -> None:
    forget(ground)
    image(ground, FIRST).unlink()
    left = bytes_now(ground)
    outcome = failing(ground, 2, define_missing=True, restore_id="deleted-fails")
    assert outcome.failed
    assert "put back" in outcome.msg
    assert names(ground) == [NEIGHBOUR]
    assert bytes_now(ground) == left


def test_a_deleted_guest_whose_name_or_disk_another_has_is_refused(ground: Ground) -> None:
    forget(ground)
    taken = ground.guests.disk(GUEST, FIRST)
    other = (
        "<domain type='qemu'><name>{}</name><memory>16384</memory><os><type>hvm</type></os>"
        "<devices>{}</devices></domain>"
    )
    disk = f"<disk type='file'><source file='{taken}'/><target dev='vda' bus='virtio'/></disk>"
    domain = ground.guests.connection.defineXML(other.format("thief", disk))
    try:
        assert "disk-used-by-several-guests" in refused(ground, define_missing=True)
    finally:
        domain.undefine()
    domain = ground.guests.connection.defineXML(other.format(GUEST, ""))
    try:
        assert refused(ground, define_missing=True) == ["guest-identity"]
    finally:
        domain.undefine()


def test_a_guest_that_was_defined_anew_is_restored_into_when_it_is_named(ground: Ground) -> None:
    old, new = ground.guests.domain(GUEST).UUIDString(), "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"
    xml = definition(ground).replace(old, new).replace("52:54:00:aa:bb:cc", "52:54:00:aa:bb:dd")
    forget(ground)
    ground.guests.connection.defineXML(xml)
    own, there = definition(ground), bytes_now(ground)
    assert refused(ground) == ["guest-identity"]
    shown = restored(ground, check=True, restore_id="anew", into_uuid=new)
    assert (old in shown["diff"]["after"], bytes_now(ground)) == (True, there)
    restored(ground, restore_id="anew", into_uuid=new, power="running")
    domain = ground.guests.domain(GUEST)
    assert (domain.UUIDString(), domain.state()[0], bytes_now(ground)) == (new, RUNNING, saved(ground))
    assert "52:54:00:aa:bb:cc" in definition(ground)
    restored(ground, restore_id="anew", state="undone", power="off")
    assert (definition(ground), bytes_now(ground)) == (own, there)


def test_what_the_host_lacks_of_a_deleted_guest_is_told_before_anything_is_touched(ground: Ground) -> None:
    manifest = ground.seen(ground.catalog) / "backups" / BACKUP / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    forget(ground)
    changed = text.replace("<interface type='user'>", "<interface type='network'><source network='gone'/>")
    assert changed != text
    try:
        manifest.write_text(signed(changed), encoding="utf-8")
        assert refused(ground, define_missing=True) == ["network-missing"]
    finally:
        manifest.write_text(text)


def signed(text: str) -> str:
    """Return a manifest with a checksum that fits."""
    record = json.loads(text)
    record.pop("checksum")
    return json.dumps({**record, "checksum": _checksum(record)})


def test_a_restore_of_a_deleted_guest_that_was_killed_goes_on(ground: Ground) -> None:
    forget(ground)
    image(ground, FIRST).unlink()
    killed(ground, 2, define_missing=True, restore_id="deleted-killed")
    assert image(ground, FIRST).exists()
    assert names(ground) == [NEIGHBOUR], "nobody can start it"
    restored(ground, define_missing=True, restore_id="deleted-killed")
    assert bytes_now(ground) == saved(ground)
    restored(ground, restore_id="deleted-killed", state="undone")
    assert names(ground) == [NEIGHBOUR]
    assert bytes_now(ground)[0] == ""


def test_a_file_that_is_gone_is_made_anew(ground: Ground) -> None:
    image(ground, SECOND).unlink()
    owner = image(ground, SECOND, BACKUP).stat()
    restored(ground, restore_id="file-gone")
    assert bytes_now(ground) == saved(ground)
    now = image(ground, SECOND).stat()
    assert (now.st_uid, now.st_gid, now.st_mode) == (owner.st_uid, owner.st_gid, owner.st_mode)
    restored(ground, restore_id="file-gone", state="undone")
    assert not image(ground, SECOND).exists()


def test_an_undo_makes_a_file_anew_that_is_gone_since(ground: Ground) -> None:
    before = bytes_now(ground)
    assert before != saved(ground)
    restored(ground, restore_id="lost-since")
    image(ground, SECOND).unlink()
    shown = restored(ground, check=True, restore_id="lost-since", state="undone")
    assert "made anew" in shown["diff"]["after"]
    assert bytes_now(ground) == [saved(ground)[0], ""]
    assert restored(ground, restore_id="lost-since", state="undone")["changed"]
    assert bytes_now(ground) == before


def test_a_file_that_is_gone_is_copied_where_nothing_else_serves(ground: Ground) -> None:
    image(ground, SECOND).unlink()
    restored(ground, restore_id="file-copied", method="copy")
    assert bytes_now(ground) == saved(ground)


def test_an_image_keeps_the_owner_and_the_mode_that_it_had_just_before(ground: Ground) -> None:
    place = image(ground, FIRST)
    os.chown(place, 12345, 23456)
    place.chmod(0o640)
    restored(ground, restore_id="look")
    now = place.stat()
    assert (now.st_uid, now.st_gid, now.st_mode & 0o777) == (12345, 23456, 0o640)
    assert bytes_now(ground) == saved(ground)


def moved(ground: Ground) -> Path:
    """Move the second disk to the third volume, and return its place there."""
    new = ground.guests.disk(GUEST, THIRD)
    place = ground.seen(new)
    place.write_bytes(image(ground, SECOND).read_bytes())
    image(ground, SECOND).unlink()
    redefine(ground, lambda xml: xml.replace(str(ground.guests.disk(GUEST, SECOND)), str(new)))
    return place


def test_a_moved_disk_is_refused_and_comes_back_to_its_old_place_when_asked_to(ground: Ground) -> None:
    new = moved(ground)
    there, before = sha256(new), definition(ground)
    assert refused(ground) == ["disk-moved"]
    shown = restored(ground, check=True, moved_disks="old_place", restore_id="moved")
    assert f'+      <source file="{ground.guests.disk(GUEST, SECOND)}" />' in shown["diff"]["after"]
    assert definition(ground) == before
    restored(ground, moved_disks="old_place", restore_id="moved")
    assert bytes_now(ground) == saved(ground)
    assert str(ground.guests.disk(GUEST, SECOND)) in definition(ground)
    assert "a-secret" in definition(ground), "the password of its screen is kept"
    assert sha256(new) == there
    restored(ground, restore_id="moved", state="undone")
    assert definition(ground) == before
    assert not image(ground, SECOND).exists()
    new.unlink()


@pytest.mark.parametrize(
    ("policy", "memory", "title", "secret"), [("replace", False, False, False), ("merge", False, True, True)]
)
def test_the_definition_of_the_backup_comes_back(
    ground: Ground, policy: str, memory: bool, title: bool, secret: bool
) -> None:
    redefine(
        ground,
        lambda xml: xml.replace("</name>", "</name><title>of the site</title>").replace(
            "<vcpu placement='static'>1<", "<vcpu placement='static'>2<"
        ),
    )
    before = definition(ground)
    assert ">2</vcpu>" in before
    result = restored(ground, definition=policy, restore_id=f"definition-{policy}")
    assert any("no passwords afterwards" in note for note in result["plan"]["guests"][0]["notes"]) != secret
    now = definition(ground)
    assert (">2</vcpu>" in now, "of the site" in now, "a-secret" in now) == (memory, title, secret)
    assert bytes_now(ground) == saved(ground)
    restored(ground, restore_id=f"definition-{policy}", state="undone")
    assert definition(ground) == before


def test_a_definition_that_fails_puts_disks_and_definition_back(ground: Ground) -> None:
    before, there = definition(ground), bytes_now(ground)
    redefine(ground, lambda xml: xml.replace("</name>", "</name><title>now</title>"))
    changed = definition(ground)
    assert changed != before
    outcome = failing(ground, 2, definition="replace", restore_id="definition-fails")
    assert outcome.failed
    assert definition(ground) == changed
    assert bytes_now(ground) == there, outcome.msg


def test_a_restore_that_defined_a_guest_can_be_undone_while_it_runs_and_starts_with_its_host(ground: Ground) -> None:
    forget(ground)
    image(ground, FIRST).unlink()
    left = bytes_now(ground)
    restored(ground, define_missing=True, restore_id="defined-runs", power="running")
    ground.guests.domain(GUEST).setAutostart(1)
    shown = restored(ground, restore_id="defined-runs", state="undone", verify="full", check=True)
    assert shown["plan"]["guests"][0]["state_after"] == "absent"
    result = restored(ground, restore_id="defined-runs", state="undone", verify="full")
    assert result["guests"][0]["healthy"] is None
    assert names(ground) == [NEIGHBOUR]
    assert bytes_now(ground) == left
    again = restored(ground, restore_id="defined-runs", state="undone", power="running", health={"condition": "agent"})
    assert not again["changed"]


def test_an_undo_of_a_deleted_guest_goes_on_once_the_guest_is_gone(ground: Ground) -> None:
    forget(ground)
    image(ground, FIRST).unlink()
    left = bytes_now(ground)
    restored(ground, define_missing=True, restore_id="undo-killed")
    killed(ground, 3, restore_id="undo-killed", state="undone")
    assert not image(ground, FIRST).exists()
    forget(ground)
    restored(ground, restore_id="undo-killed", state="undone")
    assert names(ground) == [NEIGHBOUR]
    assert bytes_now(ground) == left


def test_a_restore_of_a_deleted_guest_that_was_killed_can_be_undone(ground: Ground) -> None:
    forget(ground)
    image(ground, FIRST).unlink()
    left = bytes_now(ground)
    killed(ground, 2, define_missing=True, restore_id="half-deleted")
    assert image(ground, FIRST).exists()
    restored(ground, restore_id="half-deleted", state="undone", power="running")
    assert names(ground) == [NEIGHBOUR]
    assert bytes_now(ground) == left


def test_a_disk_under_another_target_is_not_attached_twice(ground: Ground) -> None:
    redefine(ground, lambda xml: xml.replace("dev='vdb'", "dev='vdx'"))
    changed = definition(ground)
    assert "dev='vdx'" in changed
    restored(ground, moved_disks="old_place", restore_id="other-target")
    assert bytes_now(ground) == saved(ground)
    assert definition(ground) == changed


def test_uefi_variables_that_outlived_a_deleted_guest_outlive_an_undo_too(ground: Ground) -> None:
    place = Path("/var/lib/libvirt/qemu/nvram/r1_VARS.fd")
    kept = ground.seen(place)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(b"kept when the guest was undefined")
    manifest = ground.seen(ground.catalog) / "backups" / BACKUP / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    loader = "<loader readonly='yes' type='pflash'>/etc/passwd</loader>"
    firmware = f"{loader}<nvram>{place}</nvram></os><features><acpi/></features>"
    forget(ground)
    try:
        manifest.write_text(signed(text.replace("</os>", firmware)), encoding="utf-8")
        restored(ground, define_missing=True, restore_id="variables")
        assert str(place) in definition(ground)
        restored(ground, restore_id="variables", state="undone")
        assert names(ground) == [NEIGHBOUR]
        assert kept.read_bytes() == b"kept when the guest was undefined"
    finally:
        manifest.write_text(text)
        kept.unlink(missing_ok=True)
