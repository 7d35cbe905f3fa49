# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single disks of a guest: only those are planned, a second run keeps to them, and an undo brings back no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import samples
from asked import restore_request
from restore_plans import SIZE, SNAPSHOTS, VOLUMES, backup

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import known_restores, restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import GuestProgress, Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import decide, run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.checks import World
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_selection import (
    NOT_ASKED,
    NOT_WRITTEN,
    choose,
    narrowed,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskNow,
    GuestNow,
    RestorePlan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest

NO_OTHERS = known_restores.restores_of([])
BOOT, DATA = "svm1:/vol/vol1/db1.img", "svm1:/vol/vol2/db1.img"


def asked(*disks: str, catalog: Path = Path("/nonexistent"), guests: Sequence[str] = ("db1",)) -> RestoreRequest:
    return restore_request(catalog, restore_id="r1", guests=list(guests), disks=list(disks))


def planned(saved: Manifest, guest: str = "db1") -> RestorePlan:
    disks = []
    for target, volume in (("vda", "vol1"), ("vdb", "vol2")):
        storage = Storage.from_record(samples.storage(volume, "db1.img"))
        path = f"/mnt/{volume}/db1.img"
        disks.append(DiskNow(target, "raw", path, f"/mnt/{volume}", SIZE, (), storage))
    now = GuestNow("db1", samples.DB, "running", False, True, tuple(disks))
    world = World(
        guests={samples.DB: now},
        snapshots=SNAPSHOTS,
        sizes={("svm1-uuid", f"{name}-uuid", "db1.img"): SIZE for name in VOLUMES},
        power="as_was",
        names={"db1": samples.DB},
    )
    return decide.restore_plan(saved, world, wanted=[guest], restore_id="r1")


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ([], ()),
        (["vdb"], (DATA,)),
        (["/mnt/vol2/db1.img"], (DATA,)),
        ([DATA], (DATA,)),
        (["vdb", "/mnt/vol2/db1.img"], (DATA,)),
        (["vdb", "vda"], (DATA, BOOT)),
    ],
)
@pytest.mark.parametrize("guest", ["db1", samples.DB])
def test_a_disk_is_named_by_target_path_or_place(guest: str, wanted: list[str], places: tuple[str, ...]) -> None:
    assert choose(backup(), guests=[guest], wanted=wanted, begun=(), resumed=False) == places


@pytest.mark.parametrize(
    ("wanted", "guests", "says"),
    [
        (["vdz"], ["db1"], ["'vdz'", "db1", "vda (/mnt/vol1/db1.img), vdb (/mnt/vol2/db1.img)"]),
        (["vdb", "db1.img"], ["db1"], ["'db1.img'"]),
        ([""], ["db1"], ["''"]),
        (["/mnt/vol1/web1.img"], ["db1"], ["'/mnt/vol1/web1.img'", "guest db1"]),
        (["vda"], ["db1", "web1"], ["one guest", "db1, web1"]),
        (["vda"], ["db1", "db9"], ["one guest", "db1, db9"]),
        (["vda"], ["db9"], ["one guest", "db9"]),
    ],
)
def test_names_that_leave_a_doubt_are_refused(wanted: list[str], guests: list[str], says: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        choose(backup(), guests=guests, wanted=wanted, begun=(), resumed=False)
    assert all(part in refused.value.message for part in [*says, "othing was touched"])


def test_a_disk_that_the_backup_does_not_hold_cannot_be_named() -> None:
    data = samples.disk("vdb", included=False, reason="excluded", source="/srv/data.img", storage=None)
    saved = samples.manifest(samples.guest(disks=[samples.disk(), data]))
    with pytest.raises(InputError, match=r"'vdb' of guest web1; it holds vda \("):
        choose(saved, guests=["web1"], wanted=["vdb"], begun=(), resumed=False)


def test_only_the_named_disk_is_planned_and_the_others_are_told() -> None:
    part = planned(narrowed(backup(), (DATA,), reason=NOT_ASKED)).guests[0]
    assert [disk.label for disk in part.disks] == [DATA]
    assert part.notes[:2] == (
        "disk vda stays as it is: it was not asked for",
        "only vdb of its disks is restored: the guest is then a mix of two points in time",
    )


def test_all_disks_are_planned_when_none_or_all_are_named() -> None:
    whole = planned(backup())
    assert [disk.label for disk in whole.guests[0].disks] == [BOOT, DATA]
    assert planned(narrowed(backup(), (), reason=NOT_ASKED)) == whole
    assert planned(narrowed(backup(), (DATA, BOOT), reason=NOT_ASKED)) == whole


def test_a_run_that_goes_on_keeps_to_the_disks_of_the_first(tmp_path: Path) -> None:
    saved, record = run._begun(asked("vdb", catalog=tmp_path), backup(), None, NO_OTHERS)
    restore_journal.save(tmp_path, record.with_guest(samples.DB, GuestProgress("running", disks=(DATA,))))
    known = restore_journal.load(tmp_path, "r1")
    for again in (asked(), asked("vdb"), asked("/mnt/vol2/db1.img")):
        assert run._begun(again, backup(), known, NO_OTHERS) == (saved, known)
    assert [disk.label for disk in planned(saved).guests[0].disks] == [DATA]


@pytest.mark.parametrize(
    ("begun", "again", "says"),
    [
        ((DATA,), asked("vda"), f"begun for {DATA}, not for {BOOT}"),
        ((DATA,), asked("vda", "vdb"), f"begun for {DATA}, not for {BOOT}, {DATA}"),
        ((), asked("vdb"), f"begun for all disks, not for {DATA}"),
        ((DATA,), asked(guests=("web1",)), f"begun for {DATA}, none of which is a disk of guest web1"),
    ],
)
def test_other_disks_under_the_same_id_are_refused(begun: tuple[str, ...], again: RestoreRequest, says: str) -> None:
    with pytest.raises(InputError) as refused:
        run._begun(again, backup(), Journal("r1", samples.BACKUP, disks=begun), NO_OTHERS)
    assert says in refused.value.message
    assert "another restore_id" in refused.value.message


def test_an_undo_leaves_the_disks_alone_that_were_not_written() -> None:
    part = planned(narrowed(backup(), (DATA,), reason=NOT_WRITTEN)).guests[0]
    assert [disk.label for disk in part.disks] == [DATA]
    assert part.notes[0] == "disk vda stays as it is: the restore that is undone did not overwrite it"
    assert not any("two points in time" in note for note in part.notes)


def test_the_other_guests_of_the_backup_stay_out_of_it() -> None:
    narrow = narrowed(backup(), (DATA,), reason=NOT_ASKED)
    assert {guest.name: len(guest.saved_disks) for guest in narrow.guests} == {"web1": 0, "db1": 1}
    assert replace(narrow, guests=backup().guests) == backup()
