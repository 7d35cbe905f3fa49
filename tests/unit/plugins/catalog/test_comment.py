# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of the comment of a backup's snapshots, and the longest one."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.comment import KEPT_FREE, SnapshotComment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import MAX_COMMENT, SnapshotRequest

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
INDEX = "ab" * 32
STORED = f"kvmsnap/hv1: run={RUN}; index={INDEX}"


def test_what_is_written_is_read() -> None:
    made = SnapshotComment.checked(owner="hv1", run_id=RUN, index=INDEX)
    assert made.stored == STORED
    assert SnapshotComment.parse(made.stored) == made
    assert SnapshotRequest.checked(name="n", owner="hv1", comment=made.text).stored_comment == made.stored


@pytest.mark.parametrize(
    ("stored", "index"),
    [
        (STORED, INDEX),
        (f"{STORED}; level=offline", INDEX),
        (f"{STORED}; level=offline; more=1.5", INDEX),
        (f"kvmsnap/hv1: run {RUN}, 12 guests", None),
    ],
)
def test_a_comment_of_a_backup_is_read(stored: str, index: str | None) -> None:
    assert SnapshotComment.parse(stored) == SnapshotComment("hv1", RUN, index)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "kvmsnap/hv1:",
        STORED.upper(),
        STORED[:-1],
        f"{STORED}a",
        f" {STORED}",
        f"{STORED}\n",
        f"{STORED};",
        f"{STORED}; ",
        f"{STORED}; level",
        f"{STORED}; index={'cd' * 32} {RUN}",
        STORED.replace("hv1", ""),
        STORED.replace("hv1", "a b"),
        STORED.replace("hv1", "a: run"),
        STORED.replace("; index", " index"),
        STORED.replace(RUN, "0"),
        f"kvmsnap/hv1: run {RUN}",
        f"kvmsnap/hv1: run {RUN}, {'1' * 5000} guests",
        f"kvmsnap/hv1: run {RUN}, ٣ guests",
        "kvmsnap/hv1: before restore r1 on hv1",
    ],
)
def test_another_comment_is_no_backup_s(stored: str) -> None:
    assert SnapshotComment.parse(stored) is None


def test_the_longest_comment_leaves_room_and_a_longer_one_is_refused() -> None:
    longest = SnapshotComment.checked(owner="h" * 103, run_id=RUN, index=INDEX)
    assert len(longest.stored) == MAX_COMMENT - KEPT_FREE
    assert len(f"{longest.stored}; level=application-consistent") == MAX_COMMENT
    with pytest.raises(InputError, match=r"has 104 characters, and the comment of a snapshot has room for 103\."):
        SnapshotComment.checked(owner="h" * 104, run_id=RUN, index=INDEX)


@pytest.mark.parametrize("owner", ["", "a b", "a: run=x", "a\n", "é"])
def test_an_owner_that_the_grammar_does_not_know_is_refused(owner: str) -> None:
    with pytest.raises(InputError, match="as the comment of a snapshot; nothing was touched"):
        SnapshotComment.checked(owner=owner, run_id=RUN, index=INDEX)
