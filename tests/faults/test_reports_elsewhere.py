# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What went wrong with other products, rebuilt here; docs/reviews/2026-11-unlucky-user.md names the reports."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import uuid as uuids
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from kvmground.guests import still_xml
from kvmground.modules import Outcome
from kvmground.scene import Happenings
from kvmlab.domain import DiskSpec
from kvmlab.process import wait_until

FIRST, SECOND = VOLUMES = ("kvm_vol1", "kvm_vol2")
GUEST, OTHER = "unlucky", "neighbour"
MIB = 1 << 20

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def private() -> Iterator[Ground]:
    """Return a private host."""
    with Ground.beside("reports") as found:
        yield found


@pytest.fixture
def ground(private: Ground) -> Iterator[Ground]:
    """Return it empty: no guest, no image, no snapshot, no catalog."""
    yield private
    private.control.clear_faults()
    private.free(private.catalog)
    for domain in private.guests.connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        if domain.isPersistent():
            domain.undefine()
    for volume, names in private.snapshots().items():
        svm, name = volume.split(":")
        for each in names:
            absent(private, each, svm, name)
    for place in (*(private.seen(private.volume(each)) for each in VOLUMES), private.seen(private.catalog)):
        for path in place.iterdir():
            if path.name != ".snapshot":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def absent(ground: Ground, name: str, svm: str, volume: str) -> None:
    volumes = [{"svm": svm, "volume": volume}]
    ground.module("ontap_snapshot", state="absent", name=name, volumes=volumes, allow_foreign=True)


def backup(number: int) -> str:
    return f"hv1-daily_2026112102{number:04d}"


def content(word: str, size: int = MIB) -> bytes:
    return (word.encode() * (size // len(word) + 1))[:size]


def define(ground: Ground, name: str, paths: Sequence[Path], *, running: bool = False) -> Any:
    """Define a guest on images of raw bytes, which are made with content of their own."""
    for number, path in enumerate(paths):
        place = ground.seen(path)
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            place.write_bytes(content(f"{name} disk {number} of {path.parent.name} "))
    domain = ground.guests.connection.defineXML(still_xml(name, [DiskSpec(str(path)) for path in paths]))
    if running:
        domain.create()
    return domain


def in_volume(ground: Ground, name: str, volume: str = FIRST) -> Path:
    return ground.volume(volume) / name


def hashes(ground: Ground, paths: Sequence[Path]) -> list[str]:
    return [hashlib.sha256(ground.seen(path).read_bytes()).hexdigest() for path in paths]


def overwrite(ground: Ground, paths: Sequence[Path], word: str) -> None:
    for number, path in enumerate(paths):
        ground.seen(path).write_bytes(content(f"{word} {number} "))


def restored(ground: Ground, **options: Any) -> dict[str, Any]:
    done = ground.module("kvm_app_restore", **{"guests": [GUEST], "stop": "destroy", **options})
    assert not done.failed, done.msg
    return done.result


def refused(ground: Ground, **options: Any) -> Outcome:
    done = ground.module("kvm_app_restore", **{"guests": [GUEST], "stop": "destroy", **options})
    assert done.failed
    assert "Traceback" not in done.stderr
    return done


def leftovers(ground: Ground, **options: Any) -> dict[str, Any]:
    volumes = ground.module("kvm_vm_discover")["volumes"]
    done = ground.module("kvm_leftovers", **{"owner": "hv1", "volumes": volumes, "grace_period": 0, **options})
    assert "Traceback" not in done.stderr
    return done.result


def test_five_disks_of_one_size_get_their_own_bytes_back_twice_in_whatever_order_they_stand(ground: Ground) -> None:
    paths = [in_volume(ground, f"data{number}.img", VOLUMES[number % 2]) for number in range(5)]
    domain = define(ground, GUEST, paths)
    saved = hashes(ground, paths)
    ground.back_up(backup(1))
    xml = domain.XMLDesc(2)
    disks = [part + "</disk>" for part in xml.split("</disk>")[:-1]]
    head, disks[0] = disks[0].split("<disk ", 1)[0], "<disk " + disks[0].split("<disk ", 1)[1]
    for run, order in enumerate(([4, 2, 0, 1, 3], [1, 0, 4, 3, 2])):
        tail = xml.rsplit("</disk>", 1)[1]
        ground.guests.connection.defineXML(head + "".join(disks[number] for number in order) + tail)
        overwrite(ground, paths, f"run {run}")
        restored(ground, backup_id=backup(1), restore_id=f"order_{run}")
        assert hashes(ground, paths) == saved


def test_a_data_disk_that_stands_before_the_first_one_is_restored_as_well(ground: Ground) -> None:
    paths = [in_volume(ground, "data.img", SECOND), in_volume(ground, "root.img")]
    xml = still_xml(GUEST, [DiskSpec(str(path)) for path in paths])
    xml = xml.replace("'vda'", "'vdX'").replace("'vdb'", "'vda'").replace("'vdX'", "'vdb'")
    for path in paths:
        ground.seen(path).write_bytes(content(path.name))
    ground.guests.connection.defineXML(xml)
    saved = hashes(ground, paths)
    ground.back_up(backup(1))
    overwrite(ground, paths, "since")
    assert restored(ground, backup_id=backup(1), restore_id="older")["changed"] is True
    assert hashes(ground, paths) == saved


def test_an_image_whose_format_in_the_definition_is_another_one_now_is_refused(ground: Ground) -> None:
    path = in_volume(ground, "root.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", ground.seen(path), "1M"], check=True, timeout=30)
    xml = define(ground, GUEST, [path]).XMLDesc(2)
    ground.guests.connection.defineXML(xml.replace("type='raw'", "type='qcow2'"))
    ground.back_up(backup(1))
    ground.guests.connection.defineXML(xml)
    before = hashes(ground, [path])
    codes = [problem["code"] for problem in refused(ground, backup_id=backup(1)).result["problems"]]
    assert "format-mismatch" in codes
    assert hashes(ground, [path]) == before


def test_a_deleted_guest_comes_back_with_its_raw_disk_and_its_qcow2_disk(ground: Ground) -> None:
    paths = [in_volume(ground, "root.img"), in_volume(ground, "data.qcow2", SECOND)]
    domain = define(ground, GUEST, paths)
    ground.seen(paths[1]).unlink()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", ground.seen(paths[1]), "1M"], check=True, timeout=30)
    first, second = domain.XMLDesc(2).split("</disk>", 1)
    xml = first + "</disk>" + second.replace("type='raw'", "type='qcow2'", 1)
    ground.guests.connection.defineXML(xml)
    saved = hashes(ground, paths)
    ground.back_up(backup(1))
    ground.guests.domain(GUEST).undefine()
    for path in paths:
        ground.seen(path).unlink()
    restored(ground, backup_id=backup(1), restore_id="deleted", define_missing=True)
    xml = ground.guests.domain(GUEST).XMLDesc(2)
    assert [str(path) in xml for path in paths] == [True, True]
    assert hashes(ground, paths) == saved


def overlay(ground: Ground, name: str, below: Path) -> Path:
    path = below.with_name(f"{name}.qcow2")
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", str(below), "-F", "raw", path.name, "1M"]
    subprocess.run(command, check=True, timeout=30, cwd=ground.seen(path.parent))
    xml = still_xml(name, [DiskSpec(str(path))]).replace("type='raw'", "type='qcow2'")
    ground.guests.connection.defineXML(xml)
    return path


def test_a_copy_below_whose_disk_somebody_has_an_overlay_is_not_taken_away(ground: Ground) -> None:
    define(ground, GUEST, [in_volume(ground, "root.img")])
    ground.back_up(backup(1))
    made = ground.module("kvm_vm_clone", name="copy", guest=GUEST, backup_id=backup(1))
    assert not made.failed, made.msg
    (place,) = ground.seen(ground.volume(FIRST)).glob("kvmsnap-clone-*.img")
    overlay(ground, OTHER, in_volume(ground, place.name))
    gone = ground.module("kvm_vm_clone", name="copy", state="absent")
    assert gone.failed
    assert OTHER in gone.msg
    assert place.exists()
    assert ground.guests.names() == ["copy", OTHER, GUEST]


def test_a_copy_of_which_somebody_took_an_external_snapshot_keeps_that_file(ground: Ground) -> None:
    define(ground, GUEST, [in_volume(ground, "root.img")])
    ground.back_up(backup(1))
    made = ground.module("kvm_vm_clone", name="copy", guest=GUEST, backup_id=backup(1))
    assert not made.failed, made.msg
    (place,) = ground.seen(ground.volume(FIRST)).glob("kvmsnap-clone-*.img")
    above = in_volume(ground, "copy.external")
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", str(in_volume(ground, place.name))]
    subprocess.run([*command, "-F", "raw", above.name, "1M"], check=True, timeout=30, cwd=place.parent)
    xml = ground.guests.domain("copy").XMLDesc(2)
    changed = xml.replace(str(in_volume(ground, place.name)), str(above)).replace("type='raw'", "type='qcow2'")
    ground.guests.connection.defineXML(changed)
    gone = ground.module("kvm_vm_clone", name="copy", state="absent")
    assert not gone.failed, gone.msg
    assert (ground.seen(above).exists(), place.exists(), ground.guests.names()) == (True, False, [GUEST])


def test_a_disk_that_came_after_the_backup_is_neither_touched_nor_removed(ground: Ground) -> None:
    root, late = in_volume(ground, "root.img"), in_volume(ground, "late.img")
    define(ground, GUEST, [root])
    ground.back_up(backup(1))
    define(ground, GUEST, [root, late])
    before = hashes(ground, [late])
    for definition in ("keep", "replace"):
        restored(ground, backup_id=backup(1), restore_id=f"late_{definition}", definition=definition)
        assert hashes(ground, [late]) == before
        assert (str(late) in ground.guests.domain(GUEST).XMLDesc(2)) is (definition == "keep")
    restored(ground, restore_id="late_replace", state="undone")
    assert str(late) in ground.guests.domain(GUEST).XMLDesc(2)


@pytest.mark.parametrize(
    ("name", "comment"),
    [
        ("hv1-daily_20261121029999", ""),
        ("hv1-daily_20261121029999", "kvmsnap/hv10: run=0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"),
        ("hv1-safety_20261121029999_abcd", "before the upgrade"),
        ("before-kvmsnap", "made by hand, not by kvmsnap/hv1: do not remove"),
    ],
)
def test_a_snapshot_of_somebody_else_whose_name_is_like_ours_stays(ground: Ground, name: str, comment: str) -> None:
    define(ground, GUEST, [in_volume(ground, "root.img")])
    ground.control.add_snapshot("svm1", FIRST, name, comment=comment)
    ground.back_up(backup(1))
    leftovers(ground, orphans="absent", safety_days=0)
    assert ground.snapshots()[f"svm1:{FIRST}"] == sorted([backup(1), name])


def test_the_newest_backup_that_lost_a_snapshot_is_passed_over(ground: Ground) -> None:
    paths = [in_volume(ground, "root.img"), in_volume(ground, "data.img", SECOND)]
    define(ground, GUEST, paths)
    ground.back_up(backup(1))
    saved = hashes(ground, paths)
    overwrite(ground, paths, "of the second")
    ground.back_up(backup(2))
    overwrite(ground, paths, "since")
    absent(ground, backup(2), "svm1", SECOND)
    assert restored(ground, restore_id="latest")["backup_id"] == backup(1)
    assert hashes(ground, paths) == saved


def test_a_restore_that_fails_goes_back_to_just_before_it_not_to_the_newest_backup(ground: Ground) -> None:
    paths = [in_volume(ground, "root.img"), in_volume(ground, "data.img", SECOND)]
    define(ground, GUEST, paths)
    ground.back_up(backup(1))
    overwrite(ground, paths, "of the second")
    ground.back_up(backup(2))
    overwrite(ground, paths, "just before")
    before = hashes(ground, paths)

    def spoil() -> None:
        (made,) = ground.seen(ground.volume(SECOND)).glob(".kvmsnap-tmp-*")
        made.write_bytes(b"changed")

    scene = Happenings(ground.control)
    scene.when(scene.looking(2), spoil)
    done = refused(ground, backup_id=backup(1), restore_id="failing")
    scene.end()
    assert hashes(ground, paths) == before, done.msg


def test_two_restores_whose_lock_somebody_removed_by_hand_do_not_harm_the_guest(ground: Ground) -> None:
    path = in_volume(ground, "root.img")
    domain = define(ground, GUEST, [path], running=True)
    saved = hashes(ground, [path])
    ground.back_up(backup(1))
    overwrite(ground, [path], "since")
    ground.control.add_fault("delay", match={"method": "POST", "path": "/snapshots$"}, seconds=5)
    asked: dict[str, Any] = {"guests": [GUEST], "backup_id": backup(1), "stop": "destroy"}
    first = ground.begin("kvm_app_restore", restore_id="first", **asked)
    wait_until(lambda: not domain.isActive(), seconds=60, what="the guest's stop", pause=0.1)
    ground.seen(Path("/run/kvmsnap/guests") / f"{domain.UUIDString()}.lock").unlink()
    second = ground.begin("kvm_app_restore", restore_id="second", **asked)
    ended = [first.wait(120), second.wait(120)]
    assert [each.failed for each in ended] == [False, True], [each.msg for each in ended]
    assert "Another restore is under way on this host" in ended[1].msg
    assert hashes(ground, [path]) == saved
    assert ground.guests.state(GUEST).state == "running"


def test_a_lock_file_that_names_a_living_process_and_is_not_locked_keeps_nobody(ground: Ground) -> None:
    domain = define(ground, GUEST, [in_volume(ground, "root.img")])
    ground.back_up(backup(1))
    lock = ground.seen(Path("/run/kvmsnap/guests") / f"{domain.UUIDString()}.lock")
    note = {"purpose": "restore", "identity": "old", "pid": os.getpid(), "since": "2026-11-21T02:00:00+00:00"}
    lock.write_text(json.dumps(note), encoding="utf-8")
    restored(ground, backup_id=backup(1), restore_id="stale")
    assert not lock.exists()


def test_deleting_one_snapshot_by_twelve_at_once_is_no_error_of_anybody(ground: Ground) -> None:
    define(ground, GUEST, [in_volume(ground, "root.img")])
    ground.back_up(backup(1))
    asked: dict[str, Any] = {
        "state": "absent",
        "name": backup(1),
        "owner": "hv1",
        "volumes": [{"svm": "svm1", "volume": FIRST}],
    }
    ended = [each.wait(120) for each in [ground.begin("ontap_snapshot", **asked) for _run in range(12)]]
    assert [each.msg for each in ended if each.failed] == []
    assert f"svm1:{FIRST}" not in ground.snapshots()


@pytest.mark.parametrize("text", [b"", b"\0" * 700, b'{"schema": "kvmsnap'], ids=["empty", "zeros", "cut off"])
def test_what_a_loss_of_power_left_of_the_catalog_s_records_is_named_and_harms_no_other(
    ground: Ground, text: bytes
) -> None:
    path = in_volume(ground, "root.img")
    define(ground, GUEST, [path])
    ground.back_up(backup(1))
    saved = hashes(ground, [path])
    ground.back_up(backup(2))
    restored(ground, backup_id=backup(1), restore_id="whole")
    catalog = ground.seen(ground.catalog)
    manifest, journal = catalog / "backups" / backup(2) / "manifest.json", catalog / "restores" / "broken.json"
    manifest.write_bytes(text)
    journal.write_bytes(text)
    listed = ground.module("kvm_backup_info")
    assert "Traceback" not in listed.stderr
    assert {each["backup_id"]: each["exists"] for each in listed["backups"]}[backup(1)] is True
    overwrite(ground, [path], "since")
    named = refused(ground, backup_id=backup(2), restore_id="of_the_broken_one")
    assert backup(2) in named.msg
    again = ground.module("kvm_app_restore", guests=[GUEST], backup_id=backup(1), restore_id="broken")
    assert again.failed
    assert "broken" in again.msg
    assert hashes(ground, [path]) != saved
    told = json.dumps(leftovers(ground))
    assert "broken" in told
    assert backup(2) in told
    assert backup(2) in ground.snapshots()[f"svm1:{FIRST}"]


def test_after_the_catalog_was_lost_a_recovery_removes_no_backup_that_can_be_restored(ground: Ground) -> None:
    path = in_volume(ground, "root.img")
    define(ground, GUEST, [path])
    saved = hashes(ground, [path])
    ground.back_up(backup(1))
    overwrite(ground, [path], "since")
    shutil.rmtree(ground.seen(ground.catalog) / "backups")
    restored(ground, backup_id=backup(1), restore_id="lost_1")
    leftovers(ground)
    overwrite(ground, [path], "since then")
    restored(ground, backup_id=backup(1), restore_id="lost_2")
    assert hashes(ground, [path]) == saved


def test_a_disk_that_was_plugged_into_the_running_guest_alone_is_named_and_no_other_is_lost(ground: Ground) -> None:
    root, plugged = paths = [in_volume(ground, "root.img"), in_volume(ground, "plugged.img")]
    domain = define(ground, GUEST, [root])
    domain = ground.guests.connection.defineXML(domain.XMLDesc(2).replace("</os>", "</os><features><acpi/></features>"))
    domain.create()
    ground.seen(plugged).write_bytes(content("plugged"))
    xml = f"<disk type='file'><driver name='qemu' type='raw' cache='none'/><source file='{plugged}'/>"
    domain.attachDeviceFlags(f"{xml}<target dev='vdb' bus='virtio'/></disk>", 1)
    saved = hashes(ground, paths)
    ground.back_up(backup(1))
    overwrite(ground, paths, "since")
    domain.destroy()
    domain.create()
    before = hashes(ground, paths)
    done = refused(ground, backup_id=backup(1), restore_id="plugged")
    assert "the guest has no disk vdb any more" in done.msg
    assert hashes(ground, paths) == before
    restored(ground, backup_id=backup(1), disks=["vda"], restore_id="plugged_alone")
    assert hashes(ground, paths) == [saved[0], before[1]]


def test_two_disks_of_one_file_name_in_two_directories_that_are_gone_do_not_meet(ground: Ground) -> None:
    paths = [in_volume(ground, "a") / "disk.img", in_volume(ground, "b") / "disk.img"]
    domain = define(ground, GUEST, paths)
    saved = hashes(ground, paths)
    ground.back_up(backup(1))
    domain.undefine()
    for path in paths:
        shutil.rmtree(ground.seen(path.parent))
    made = ground.module("kvm_vm_clone", name="copy", guest=GUEST, backup_id=backup(1))
    assert not made.failed, made.msg
    xml = ground.guests.domain("copy").XMLDesc(2)
    sources = [Path(part.split("'")[1]) for part in xml.split("<source file=")[1:]]
    assert hashes(ground, sources) == saved
    gone = refused(ground, backup_id=backup(1), restore_id="gone", define_missing=True)
    assert str(paths[0].parent) in gone.msg, gone.msg


def test_a_guest_that_was_deleted_and_made_anew_under_its_name_is_not_overwritten(ground: Ground) -> None:
    path = in_volume(ground, "root.img")
    domain = define(ground, GUEST, [path])
    ground.back_up(backup(1))
    xml = domain.XMLDesc(2).replace(domain.UUIDString(), str(uuids.uuid4()))
    domain.undefine()
    ground.guests.connection.defineXML(xml)
    overwrite(ground, [path], "the new guest's")
    before = hashes(ground, [path])
    done = refused(ground, backup_id=backup(1), restore_id="replace")
    assert [problem["code"] for problem in done.result["problems"]] == ["guest-identity"]
    assert hashes(ground, [path]) == before


def test_restoring_an_older_backup_leaves_the_newer_ones(ground: Ground) -> None:
    path = in_volume(ground, "root.img")
    define(ground, GUEST, [path])
    saved = []
    for number in (1, 2, 3):
        overwrite(ground, [path], f"of backup {number}")
        saved.append(hashes(ground, [path]))
        ground.back_up(backup(number))
    for number in (1, 3, 2):
        restored(ground, backup_id=backup(number), restore_id=f"back_{number}")
        assert hashes(ground, [path]) == saved[number - 1]
    listed = ground.module("kvm_backup_info")["backups"]
    assert [each["exists"] for each in listed] == [True] * 3


def test_a_snapshot_that_was_made_anew_under_its_name_is_not_restored_from(ground: Ground) -> None:
    path = in_volume(ground, "root.img")
    define(ground, GUEST, [path])
    ground.back_up(backup(1))
    absent(ground, backup(1), "svm1", FIRST)
    overwrite(ground, [path], "of the other snapshot")
    ground.control.add_snapshot("svm1", FIRST, backup(1), comment="")
    overwrite(ground, [path], "since")
    before = hashes(ground, [path])
    done = refused(ground, backup_id=backup(1), restore_id="replaced")
    assert "snapshot-replaced" in [problem["code"] for problem in done.result.get("problems", [])], done.msg
    assert hashes(ground, [path]) == before


def test_a_full_catalog_is_told_before_the_guest_is_stopped(ground: Ground) -> None:
    path = in_volume(ground, "root.img")
    domain = define(ground, GUEST, [path], running=True)
    ground.back_up(backup(1))
    overwrite(ground, [path], "since")
    before, run = hashes(ground, [path]), domain.ID()
    ground.fill(ground.catalog)
    done = refused(ground, backup_id=backup(1), restore_id="full")
    assert "No space left" in done.msg
    assert hashes(ground, [path]) == before
    assert domain.ID() == run
