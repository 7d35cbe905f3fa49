# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan says of disks that are overwritten in place, and of guests that are not fenced."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity, wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.ways import with_ways

SERIAL = "81C91$QXsh5a"
LUN = LunIdentity("u", SERIAL, wwid_of(SERIAL), 1, "linux", "/dev/mapper/a")


def disk(target: str, *, lun: bool = False) -> DiskRestore:
    place = Storage.from_record(samples.storage("vol1", target))
    place = replace(place, lun=LUN) if lun else place
    return DiskRestore(target, "raw", place, f"/mnt/vol1/{target}", "/mnt/vol1", samples.BACKUP, "vol1-snap", 1)


def noted(*disks: DiskRestore, squashed: bool = False) -> tuple[str, ...]:
    def look(_path: str) -> Optional[str]:
        return "root is squashed" if squashed else None

    guest = GuestRestore("web1", samples.WEB, "running", "running", disks)
    return with_ways(RestorePlan(samples.BACKUP, "r1", (guest,)), look).guests[0].notes


def test_a_guest_whose_files_are_renamed_has_no_notes() -> None:
    assert noted(disk("vda"), disk("vdb")) == ()


@pytest.mark.parametrize("disks", [[disk("vda", lun=True)], [disk("vda", lun=True), disk("vdb", lun=True)]])
def test_a_guest_on_luns_alone_is_not_fenced(disks: list[DiskRestore]) -> None:
    notes = noted(*disks)
    assert notes[0] == "disk vda is overwritten in place: it is a LUN"
    assert notes[-1].startswith("not fenced: ")


def test_a_file_beside_a_lun_is_its_fence() -> None:
    assert noted(disk("vda", lun=True), disk("vdb")) == (
        "disk vda is overwritten in place: it is a LUN",
        "until all its disks are whole another disk's file is moved aside, so that nobody can start it",
    )


def test_where_root_may_not_rename_the_plan_says_why() -> None:
    assert noted(disk("vda"), squashed=True)[0] == "disk vda is overwritten in place: root is squashed"


def test_a_directory_that_does_not_answer_is_told() -> None:
    def look(_path: str) -> Optional[str]:
        raise KvmsnapError("Failed to look at it: no answer within 60 s")

    guest = GuestRestore("web1", samples.WEB, "running", "running", (disk("vda"),))
    (part,) = with_ways(RestorePlan(samples.BACKUP, "r1", (guest,)), look).guests
    assert "no answer within 60 s" in part.notes[0]
