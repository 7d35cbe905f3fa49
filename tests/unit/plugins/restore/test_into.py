# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a backup is restored into when its guest was defined anew: the choice, and the guests that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
import samples
from asked import restore_request

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import known_restores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedFile, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import GuestProgress, Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import Chosen
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import host_guard
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import into as restore_into
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import firmware_plan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.into import Into
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskNow, GuestNow

NEW = "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"
THIRD = "7a1f0e2c-98f7-4d3e-8a0c-0f6f2d9f5b22"
XML = "<domain type='qemu'><name>web1</name><uuid>{}</uuid></domain>"
CHOSEN = Chosen(
    samples.manifest(samples.guest(xml=XML.format(samples.WEB)), samples.two_volume_guest(), volumes=("vol1", "vol2")),
    Origin.OWN_RUN,
    lost={samples.WEB: ("tpm",), samples.DB: ("nvram",)},
)
SAVED: SavedGuest = CHOSEN.manifest.guests[0]
INTO = Into(NEW, SAVED)


def begun(**into: str) -> Journal:
    """The journal of a restore that was begun."""
    return Journal("r1", samples.BACKUP, into=dict.fromkeys(into.values(), samples.WEB))


@pytest.mark.parametrize(
    ("asked", "guests", "journal", "found"),
    [
        (None, ["web1"], None, None),
        ("", ["web1"], None, None),
        (NEW, ["web1"], None, NEW),
        (NEW.upper(), ["web1"], None, NEW),
        (f" {NEW} ", [samples.WEB], None, NEW),
        (NEW, ["web1", samples.WEB], None, NEW),
        (None, [NEW], begun(uuid=NEW), NEW),
        (NEW, ["web1"], begun(uuid=NEW), NEW),
        (None, ["web1", "db1"], begun(), None),
    ],
)
def test_whom_it_is_restored_into(
    asked: Optional[str], guests: list[str], journal: Optional[Journal], found: Optional[str]
) -> None:
    into = restore_into.decided(asked, CHOSEN, guests, journal)
    assert (into.uuid if into else None) == found
    assert into is None or into.saved.uuid == samples.WEB


@pytest.mark.parametrize(
    ("asked", "guests", "journal", "said"),
    [
        ("web1", ["web1"], None, "'web1', which is no uuid"),
        (NEW, ["web1", "db1"], None, "into_uuid is for one guest, and web1, db1"),
        (NEW, ["ghost"], None, "Guest 'ghost' is not in backup"),
        (samples.WEB, ["web1"], None, "restore it without into_uuid"),
        (samples.DB, ["web1"], None, "Guest db1 is .* too: it is not web1"),
        (NEW, ["web1"], begun(uuid=THIRD), f"begun into guest {THIRD}, not into {NEW}"),
        (NEW, ["web1"], begun(), f"begun into the guest of the backup, not into {NEW}"),
    ],
)
def test_what_is_refused_without_a_look_at_the_host(
    asked: str, guests: list[str], journal: Optional[Journal], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        restore_into.decided(asked, CHOSEN, guests, journal)


def test_the_backup_is_read_under_the_present_uuid() -> None:
    seen = INTO.under_new_uuid(CHOSEN)
    web, db = seen.manifest.guests
    assert (web.uuid, parse_guest(web.xml).uuid, web.disks) == (NEW, NEW, SAVED.disks)
    assert db == CHOSEN.manifest.guests[1]
    assert seen.lost == {NEW: ("tpm",), samples.DB: ("nvram",)}
    assert CHOSEN.manifest.guests[0].uuid == samples.WEB


@pytest.mark.parametrize("xml", ["", "<domain/>", XML.format(THIRD)])
def test_a_definition_that_is_not_that_guest_s_stays_so(xml: str) -> None:
    odd = replace(CHOSEN, manifest=samples.manifest(samples.guest(xml=xml)))
    (web,) = Into(NEW, odd.manifest.guests[0]).under_new_uuid(odd).manifest.guests
    assert (web.uuid, web.xml) == (NEW, xml)


@pytest.mark.parametrize(
    ("changes", "definition"),
    [
        ({"definition": None, "disks": []}, "replace"),
        ({"definition": "merge", "disks": []}, "merge"),
        ({"definition": "keep", "disks": []}, "keep"),
        ({"definition": None, "disks": ["vdb"]}, None),
    ],
)
def test_what_becomes_of_the_definition(tmp_path: Path, changes: dict[str, Any], definition: Optional[str]) -> None:
    asked = replace(restore_request(tmp_path, guests=["web1", samples.WEB.upper(), "db1"]), **changes)
    settled = INTO.settled(asked)
    assert (settled.definition, settled.guests) == (definition, (NEW, NEW, "db1"))


def disk(path: str = "web1.img", **changes: Any) -> DiskNow:
    """A disk of a guest of this host."""
    storage = Storage.from_record(samples.storage(path=path))
    return replace(DiskNow("vda", "raw", f"/mnt/vol1/{path}", "/mnt/vol1", 1, (), storage), **changes)


def present(*disks: DiskNow, name: str = "web1") -> GuestNow:
    """The guest that was defined anew."""
    return GuestNow(name, NEW, "running", False, True, disks)


OTHER_LUN = Storage.from_record(samples.storage(kind="lun", lun=samples.lun()))


@pytest.mark.parametrize(
    ("now", "names", "begun_before", "said"),
    [
        pytest.param(present(disk()), {"web1": NEW}, False, [], id="fits"),
        pytest.param(present(disk("x.img"), disk()), {"web1": NEW}, False, [], id="one of its disks"),
        pytest.param(present(disk(), name="w"), {"w": NEW}, False, [], id="another name"),
        pytest.param(
            present(disk(storage=None, host_path="/mnt/vol1/web1.img")), {"web1": NEW}, False, [], id="its file is gone"
        ),
        pytest.param(present(disk("x.img")), {"web1": NEW}, True, [], id="moved aside by the earlier run"),
        pytest.param(present(disk("x.img")), {"web1": NEW}, False, ["has no disk of web1"], id="other disks"),
        pytest.param(present(disk(storage=OTHER_LUN)), {"web1": NEW}, False, ["has no disk of"], id="a LUN there"),
        pytest.param(present(), {"web1": NEW}, False, ["has no disk of web1"], id="no disk"),
        pytest.param(present(disk(storage=None, host_path="")), {"web1": NEW}, False, ["has no disk"], id="a drive"),
        pytest.param(
            present(disk()), {"web1": NEW, "then": samples.WEB}, False, ["guest then", "itself"], id="both are here"
        ),
        pytest.param(
            present(disk(), name="w"), {"w": NEW, "web1": THIRD}, False, [f"guest web1 is {THIRD}"], id="a third one"
        ),
        pytest.param(
            present(disk("x.img"), name="w"), {"w": NEW, "web1": samples.WEB}, True, ["itself"], id="begun, both here"
        ),
    ],
)
def test_a_guest_that_fits_and_those_that_do_not(
    now: GuestNow, names: dict[str, str], begun_before: bool, said: list[str]
) -> None:
    problems = restore_into.unfit(INTO, now, names, SAVED.saved_disks, begun=begun_before)
    assert [each.code for each in problems] == ["guest-identity"] * bool(said)
    assert all(word in problems[0].message for word in said)


def test_a_guest_that_is_not_here() -> None:
    (problem,) = restore_into.unfit(INTO, None, {"web1": THIRD}, SAVED.saved_disks, begun=True)
    assert problem.code == "guest-not-defined"
    assert NEW in problem.message
    assert f"web1 ({THIRD})" in problem.message


def test_all_that_does_not_fit_is_told() -> None:
    names = {"w": NEW, "then": samples.WEB, "web1": THIRD}
    assert len(restore_into.unfit(INTO, present(name="w"), names, SAVED.saved_disks, begun=False)) == 3


@pytest.mark.parametrize(
    ("progress", "refused"),
    [
        (GuestProgress("running", disks=("svm1:/vol/vol1/web1.img",)), True),
        (GuestProgress("running"), False),
        (GuestProgress("running", disks=("svm1:/vol/vol1/web1.img",), written=True), False),
        (GuestProgress("running", disks=("svm1:/vol/vol1/web1.img",), as_before=True), False),
    ],
)
def test_disks_that_a_restore_of_the_old_uuid_left_half_written(progress: GuestProgress, refused: bool) -> None:
    found = known_restores.restores_of([Journal("old", samples.BACKUP, {samples.WEB: progress})])
    if not refused:
        restore_into.refuse_half_restored(INTO, found)
        return
    said = f"Restore old of guest web1 .*{samples.WEB}.* failed part-way through its disks"
    with pytest.raises(InputError, match=said):
        restore_into.refuse_half_restored(INTO, found)


def test_both_guests_for_the_plan() -> None:
    drive = disk(storage=None, host_path="")
    local = disk(target="vdc", storage=None, host_path="/var/tmp/local.img")
    both = restore_into.two_guests(INTO, present(disk(), drive, local))
    place = "vda svm1:/vol/vol1/web1.img"
    assert both.lines == (
        f"in the backup: guest web1 ({samples.WEB}): {place}",
        f"on this host, restored into and keeping its uuid: guest web1 ({NEW}): {place}, vdc /var/tmp/local.img",
    )


def test_the_tpm_s_state_goes_to_the_directory_of_the_present_uuid(tmp_path: Path) -> None:
    file = SavedFile("tpm", f"/var/lib/libvirt/swtpm/{samples.WEB}", "web.tpm", "0" * 64)
    chosen = replace(CHOSEN, manifest=replace(CHOSEN.manifest, guests=(replace(SAVED, files=(file,)),)))
    (web,) = INTO.under_new_uuid(chosen).manifest.guests
    (put,), _notes = firmware_plan(web, nvram=None, tpm=True, directory=tmp_path)
    assert (put.path, put.source) == (f"/var/lib/libvirt/swtpm/{NEW}", str(tmp_path / "web.tpm"))


@pytest.mark.parametrize(
    ("active", "found"), [([NEW], [NEW]), ([samples.WEB.upper()], [samples.WEB]), ([THIRD], []), ([], [])]
)
def test_a_guest_that_is_active_elsewhere_under_either_uuid(active: list[str], found: list[str]) -> None:
    now = present(disk())
    problems = host_guard.elsewhere(
        replace(now, two_guests=restore_into.two_guests(INTO, now)), {"hv2": active}, hosts_off=[]
    )
    assert [each.code for each in problems] == ["guest-active-elsewhere"] * len(found)
    assert all(uuid in each.message for uuid, each in zip(found, problems))


def test_the_journal_keeps_whom_it_was_restored_into(tmp_path: Path) -> None:
    record = Journal("r1", samples.BACKUP, into=INTO.noted)
    journals.save(tmp_path, record)
    assert journals.load(tmp_path, "r1") == record
