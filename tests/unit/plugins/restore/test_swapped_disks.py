# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a guest that took each other's place since the backup."""

from __future__ import annotations

from dataclasses import replace

import pytest
from restore_plans import (
    db_now,
    planned,
)

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    RestoreRefusedError,
)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (("vdb", "vda"), [("vda", "vdb"), ("vdb", "vda")]),
        (("vdb", "vdc"), [("vda", "vdb")]),
        (("sda", "vda"), [("vdb", "vda")]),
        (("sda", "sdb"), []),
        (("vda", "sda"), []),
    ],
    ids=["swapped", "moved on", "moved up", "another bus", "one on another bus"],
)
def test_disks_in_each_other_s_place_are_refused(targets: tuple[str, str], told: list[tuple[str, str]]) -> None:
    first, second = (replace(disk, target=target) for disk, target in zip(db_now().disks, targets))
    if not told:
        assert [disk.target for disk in planned(["db1"], db_now(first, second)).guests[0].disks] == list(targets)
        return
    with pytest.raises(RestoreRefusedError) as caught:
        planned(["db1"], db_now(second, first))
    problems = caught.value.fields["problems"]
    assert [(each["code"], each["disk"]) for each in problems] == [("disk-swapped", was) for was, _is in told]
    undone = planned(["db1"], db_now(second, first), undoes=True)
    assert [disk.storage.volume for disk in undone.guests[0].disks] == ["vol1", "vol2"]
    place = {"vda": "svm1:/vol/vol1/db1.img", "vdb": "svm1:/vol/vol2/db1.img"}
    for (was, now), problem in zip(told, problems):
        words = f"{place[was]} was {was} in the backup and is {now} now, which was {place[now]} then"
        assert words in problem["message"]
