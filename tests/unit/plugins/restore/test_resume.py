# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores that broke off: found again, gone on with, or replaced without forgetting what was before them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Optional

import pytest
import samples
from asked import restore_request
from broken_off import BACK, DONE, HALF, SAFETY, STOPPED, VDA, WRITTEN, backup, journal

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import known_restores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    GuestProgress,
    Journal,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import firmware_files, resume, run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
    RestoreRefusedError,
)


def test_a_new_restore_takes_over_what_the_half_done_ones_set_aside() -> None:
    first = Aside("nvram", "/nvram/web1", "web1-nvram", "a" * 64)
    tpm = Aside("tpm", "/tpm/web1", "web1-tpm", "b" * 64)
    later = replace(HALF, files=(replace(first, stored_as="other"), tpm), took_over=("r0",))
    found = known_restores.restores_of(
        [
            journal("r0", replace(HALF, files=(first,))),
            journal("r1", replace(later, took_over=())),
            journal("r9", replace(WRITTEN, files=(first,))),
        ]
    )
    made = resume.taken_over(Journal("r2", "another"), found, [samples.WEB])
    files = made.guests[samples.WEB].files
    assert files == (replace(first, kept_by="r0"), replace(tpm, kept_by="r1"))
    assert [each.place for each in files] == ["../r0.files/web1-nvram", "../r1.files/web1-tpm"]
    again = resume.taken_over(Journal("r3", "another"), known_restores.restores_of([made]), [samples.WEB])
    assert again.guests[samples.WEB].files == files
    again_read = Aside.from_record(asdict(files[0]))
    assert again_read == files[0]


def test_what_was_set_aside_comes_back_though_the_new_restore_keeps_nothing_of_its_own(tmp_path: Path) -> None:
    nvram, old = tmp_path / "web1_VARS.fd", tmp_path / "r1.files"
    nvram.write_bytes(b"before")
    aside = firmware_files.keep(old, samples.WEB, FileRestore("nvram", str(nvram), None, ""))
    nvram.write_bytes(b"half restored")
    firmware_files.put_back(tmp_path / "r2.files", replace(aside, kept_by="r1"))
    assert nvram.read_bytes() == b"before"


def test_a_file_that_was_begun_must_not_be_left_out() -> None:
    begun = replace(HALF, files=(Aside("nvram", "/nvram/web1"),))
    found = known_restores.restores_of([journal(progress=begun)])
    heir = resume.taken_over(Journal("r2", "another"), found, [samples.WEB])
    plan_ = RestorePlan("another", "r2", (part("web1.img"),))
    with pytest.raises(RestoreRefusedError, match="began /nvram/web1, which this one leaves out"):
        resume.with_notes(plan_, heir, found)


def part(*paths: str) -> GuestRestore:
    disks = tuple(
        DiskRestore(
            f"vd{letter}", "raw", Storage.from_record(samples.storage("vol1", path)), f"/mnt/{path}", None, "s", "u", 1
        )
        for letter, path in zip("abc", paths)
    )
    return GuestRestore("web1", samples.WEB, "shutoff", "running", disks)


@pytest.mark.parametrize(
    ("known", "backup_id", "wanted"),
    [
        ([journal()], samples.BACKUP, "r1"),
        ([journal(progress=STOPPED)], samples.BACKUP, "r1"),
        ([journal()], "another", None),
        ([journal(progress=DONE)], samples.BACKUP, None),
        ([journal(progress=BACK)], samples.BACKUP, None),
        ([journal(), journal("r2", GuestProgress("running", took_over=("r1",)))], samples.BACKUP, "r2"),
        ([journal(), journal("r2", GuestProgress("running", done=True, took_over=("r1",)))], samples.BACKUP, None),
        ([], samples.BACKUP, None),
    ],
)
def test_without_an_id_the_restore_that_broke_off_goes_on(
    known: list[Journal], backup_id: str, wanted: Optional[str]
) -> None:
    assert resume.to_go_on_with(known_restores.restores_of(known), backup_id, [samples.WEB]) == wanted


def test_several_that_broke_off_are_not_guessed_at() -> None:
    found = known_restores.restores_of([journal(), Journal("r2", samples.BACKUP, {samples.DB: HALF})])
    with pytest.raises(InputError, match="Restores r1, r2 from backup"):
        resume.to_go_on_with(found, samples.BACKUP, [samples.WEB, samples.DB])


def test_a_new_restore_takes_over_what_was_before_the_half_done_one() -> None:
    found = known_restores.restores_of([journal()])
    made = resume.taken_over(Journal("r2", "another"), found, [samples.WEB, samples.DB])
    assert made.guests == {samples.WEB: GuestProgress("running", (VDA,), autostart=True, took_over=("r1",))}
    assert made.safety_of(samples.WEB) == SAFETY


def test_what_a_guest_holds_after_all_its_disks_were_written_is_kept_anew() -> None:
    made = resume.taken_over(
        Journal("r2", "another"), known_restores.restores_of([journal(progress=WRITTEN)]), [samples.WEB]
    )
    assert made.guests[samples.WEB] == GuestProgress("running", autostart=True, took_over=("r1",))
    assert made.safety_of(samples.WEB) is None


@pytest.mark.parametrize("own", [HALF, DONE])
def test_a_restore_with_a_memory_of_its_own_takes_nothing_over(own: GuestProgress) -> None:
    mine = journal("r2", own)
    assert resume.taken_over(mine, known_restores.restores_of([journal(), mine]), [samples.WEB]) == mine


def test_one_that_is_as_before_keeps_what_it_took_over_when_it_begins_anew() -> None:
    settled = journal("r2", GuestProgress("running", as_before=True, took_over=("r0",)))
    assert settled.begun(samples.WEB, "paused") == GuestProgress("paused", took_over=("r0",))
    made = resume.taken_over(settled, known_restores.restores_of([journal(), settled]), [samples.WEB])
    assert made.guests[samples.WEB].took_over == ("r0", "r1")


def test_one_whose_place_was_taken_is_not_gone_on_with() -> None:
    found = known_restores.restores_of([journal(), journal("r2", GuestProgress("running", took_over=("r1",)))])
    with pytest.raises(InputError, match="restore r2 took its place"):
        resume.taken_over(journal(), found, [samples.WEB])
    assert resume.taken_over(journal("r2"), found, [samples.WEB]).restore_id == "r2"


@pytest.mark.parametrize(
    ("record_", "says"),
    [
        (journal(), "restore r1 broke off, 1 of its disks were begun; it goes on"),
        (
            Journal("r2", "another"),
            f"restore r1 from {samples.BACKUP} broke off, 1 of its disks were begun; this restore takes its place",
        ),
    ],
)
def test_the_plan_says_what_was_found(record_: Journal, says: str) -> None:
    found = known_restores.restores_of([journal()])
    heir = resume.taken_over(record_, found, [samples.WEB])
    told = resume.with_notes(RestorePlan("b", heir.restore_id, (part("web1.img"),)), heir, found)
    assert told.guests[0].notes == (says,)
    assert says in told.after()


def test_a_disk_that_was_begun_is_never_left_out() -> None:
    found = known_restores.restores_of([journal()])
    heir = resume.taken_over(Journal("r2", "another"), found, [samples.WEB])
    with pytest.raises(RestoreRefusedError, match=f"began {VDA}, which this one leaves out") as caught:
        resume.with_notes(RestorePlan("b", "r2", (part("other.img"),)), heir, found)
    assert [problem["code"] for problem in caught.value.fields["problems"]] == ["restore-unfinished"]


@pytest.mark.parametrize(("asked", "name"), [("r9", "r9"), (None, "r1")])
def test_the_name_of_a_restore(tmp_path: Path, asked: Optional[str], name: str) -> None:
    journals.save(tmp_path, journal())
    request = restore_request(tmp_path, restore_id=asked)
    _saved, made = run._begun(request, backup(), None, known_restores.read_restores(tmp_path))
    assert made.restore_id == name


def test_a_restore_without_a_name_gets_one(tmp_path: Path) -> None:
    _saved, made = run._begun(restore_request(tmp_path), backup(), None, known_restores.read_restores(tmp_path))
    assert made.restore_id.startswith("restore_2")
    assert made.guests == {}
