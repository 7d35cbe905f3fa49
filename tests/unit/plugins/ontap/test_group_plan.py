# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which consistency groups make the snapshots of a backup, and which cannot: tables."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.group_plan import (
    Group,
    GroupSeen,
    GroupUse,
    Member,
    check_hold,
    fence_seconds,
    group_plan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Known, Snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume


def volume(name: str, svm: str = "svm1", **values: Any) -> Volume:
    """A volume."""
    return Volume(controller="c", svm=svm, svm_uuid=f"{svm}-uuid", name=name, uuid=f"{svm}-{name}", **values)


def group(name: str, *members: str, svm: str = "svm1", parent: Optional[str] = None) -> Group:
    """A group of volumes."""
    held = tuple(Member(each, f"{svm}-{each}") for each in members)
    return Group("c", svm, f"{svm}-uuid", name, f"{name}-uuid", held, parent)


A, B, C = volume("a"), volume("b"), volume("c")
OTHER = volume("a", "svm2")
TAKEN = Snapshot(uuid="s", name="n")


@pytest.mark.parametrize(
    ("volumes", "seen", "uses"),
    [
        pytest.param([A, B], [GroupSeen(group("g", "a", "b"))], [("g", "ab", "")], id="exactly"),
        pytest.param([A], [GroupSeen(group("g", "a", "c"), (Known(C, None),))], [("g", "a", "c")], id="more"),
        pytest.param(
            [A, B, OTHER],
            [GroupSeen(group("g", "a", "b")), GroupSeen(group("h", "a", svm="svm2"))],
            [("g", "ab", ""), ("h", "a", "")],
            id="a group of each SVM",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "require"])
def test_groups_that_are_used(
    mode: str, volumes: list[Volume], seen: list[GroupSeen], uses: list[tuple[str, str, str]]
) -> None:
    made = group_plan(mode, volumes, seen)
    assert [(use.group.name, letters(use.own), letters(use.foreign)) for use in made.uses] == uses
    assert made.reasons == ()


def letters(volumes: tuple[Volume, ...]) -> str:
    """Return the names in one word."""
    return "".join(each.name for each in volumes)


WITHOUT: list[Any] = [
    pytest.param([A, B], [GroupSeen(group("g", "a"))], ["svm1:b"], "svm1:b is in no consistency group; add", id="less"),
    pytest.param([A], [], ["svm1:a"], "svm1:a is in no consistency group; add it to one", id="none"),
    pytest.param(
        [volume("l", snapshot_locking=True)], [], ["svm1:l"], "while snapshot locking is on", id="snapshot locking"
    ),
    pytest.param([volume("f", style="flexgroup")], [], ["svm1:f"], "only FlexVol volumes can be", id="FlexGroup"),
    pytest.param(
        [A], [GroupSeen(group("g", "a", parent="p"))], ["svm1:a"], "group svm1:g of a is nested in p", id="nested"
    ),
    pytest.param(
        [A, B], [GroupSeen(group("g", "a", "b"), taken=True)], ["svm1:a", "svm1:b"], "has a snapshot of", id="name"
    ),
    pytest.param(
        [A],
        [GroupSeen(group("g", "a", "c"), (Known(C, TAKEN),))],
        ["svm1:a"],
        "holds c, which has a snapshot of that name; choose another backup_id",
        id="name on a foreign volume",
    ),
    pytest.param(
        [A],
        [GroupSeen(group("g", "a", "c"), (Known(volume("c", state="offline"), None),))],
        ["svm1:a"],
        "holds c, of which no snapshot can be made: it is offline; take it out of the group",
        id="a foreign volume is offline",
    ),
]


@pytest.mark.parametrize(("volumes", "seen", "alone", "reason"), WITHOUT)
def test_volumes_without_a_group(volumes: list[Volume], seen: list[GroupSeen], alone: list[str], reason: str) -> None:
    made = group_plan("auto", volumes, seen)
    assert list(made.volumes) == alone
    assert reason in made.notes()[-1]
    with pytest.raises(InputError, match="Nothing was touched; put that right") as caught:
        group_plan("require", volumes, seen)
    assert reason in caught.value.message
    assert caught.value.fields["volumes"] == alone
    assert caught.value.fields["groups"] == [each.group.label for each in seen]


def test_foreign_volumes_are_named() -> None:
    (note,) = group_plan("auto", [A], [GroupSeen(group("g", "a", "c"), (Known(C, None),))]).notes()
    assert "consistency group svm1:g takes the snapshots of a at once; it also holds c, not of this backup" in note


@pytest.mark.parametrize(("remaining", "seconds"), [(30.0, 7), (8.0, 7), (7.9, 6), (6.0, 5), (5.99, None), (0.0, None)])
def test_a_fence_does_not_outlast_the_hold(remaining: float, seconds: Optional[int]) -> None:
    assert fence_seconds(remaining) == seconds


def test_a_hold_that_is_too_short() -> None:
    use = GroupUse(group("g", "a"), (A,))
    check_hold([], 1.0)
    check_hold([use], 7.0)
    with pytest.raises(InputError, match=r"hold_deadline is 6\.5 s; with consistency groups it must be 7 or more"):
        check_hold([use], 6.5)


def test_a_group_is_read_with_the_one_it_is_nested_in() -> None:
    record = {
        "uuid": "u",
        "name": "g",
        "svm": {"name": "svm1", "uuid": "s"},
        "volumes": [{"name": "a", "uuid": "1"}],
        "parent_consistency_group": {"name": "p", "uuid": "q"},
    }
    read = Group.from_record(record, controller="c")
    assert read == Group("c", "svm1", "s", "g", "u", (Member("a", "1"),), "p")
    assert Group.from_record({"uuid": "u", "name": "g"}, controller="c").members == ()
