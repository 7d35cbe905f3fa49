# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan says where its backup came from; side files that were handed over are not in the catalog yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import samples
from handed_over import VARIABLES, complete, given, taken
from restore_world import part

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import Chosen
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestRestore, RestorePlan

NOTE = "the backup was handed over from the catalog of another host"


def plan(*guests: GuestRestore) -> RestorePlan:
    return RestorePlan(samples.BACKUP, "r1", guests)


def test_each_guest_s_part_says_where_the_backup_came_from(tmp_path: Path) -> None:
    chosen = taken(tmp_path, given())
    found = origin.with_notes(chosen, plan(replace(part(), notes=("first",)), part("db1", samples.DB)))
    assert [each.notes for each in found.guests] == [("first", NOTE), (NOTE,)]


def test_a_backup_of_the_catalog_is_planned_with_the_directory_of_the_catalog(tmp_path: Path) -> None:
    asked: list[Path] = []

    def planned(directory: Path) -> RestorePlan:
        asked.append(directory)
        return plan(part())

    lost = Chosen(complete(), Origin.OWN_RUN, lost={samples.WEB: ("nvram",)})
    found = origin.planned(lost, tmp_path, planned)
    assert asked == [store.backup_directory(tmp_path, samples.BACKUP)]
    (notes,) = (each.notes for each in found.guests)
    assert notes == ("UEFI variables: kept in the catalog only, which is gone; what is there stays as it is",)


def test_a_backup_that_was_handed_over_is_planned_with_its_files_and_told_with_their_later_place(
    tmp_path: Path,
) -> None:
    asked: list[Path] = []

    def planned(directory: Path) -> RestorePlan:
        asked.append(directory)
        assert (directory / "web.nvram").read_bytes() == VARIABLES
        files = (
            FileRestore("nvram", "/nv", str(directory / "web.nvram"), "sum"),
            FileRestore("tpm", "/tpm", None, ""),
        )
        return plan(replace(part(), files=files))

    found = origin.planned(taken(tmp_path / "catalog", given()), tmp_path / "catalog", planned)
    (guest,) = found.guests
    later = store.backup_directory(tmp_path / "catalog", samples.BACKUP) / "web.nvram"
    assert [each.source for each in guest.files] == [str(later), None]
    assert guest.notes == (NOTE,)
    assert not asked[0].exists(), "what was put aside is gone"
    assert not (tmp_path / "catalog").exists(), "nothing is kept before it is used"
