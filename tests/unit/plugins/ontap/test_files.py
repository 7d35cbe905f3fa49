# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths inside volumes, and which way of restoring a file is taken."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    JobFailedError,
    OntapDeniedError,
    OntapError,
    OutcomeUnknownError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import (
    FileStat,
    choose_method,
    in_snapshot,
    refuses_method,
    relative_path,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import Outcome


@pytest.mark.parametrize(
    "path", ["a.img", "dir/a.img", "dir/a b'$(x).img", "..a/b..", "a/.hidden", "ü.img", "a\nb", "x.snapshot/a"]
)
def test_a_path_inside_a_volume_is_taken_as_it_is(path: str) -> None:
    assert relative_path(path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("/a.img", "absolute"),
        ("/", "absolute"),
        ("..", "'..' part"),
        ("../a.img", "'..' part"),
        ("dir/../../a.img", "'..' part"),
        ("dir/..", "'..' part"),
        (".", "'.'"),
        ("./a.img", "'.'"),
        ("dir//a.img", "empty"),
        ("dir/", "empty"),
        (".snapshot/s1/a.img", ".snapshot"),
        ("dir/.snapshot/s1/a.img", ".snapshot"),
        ("a\0.img", "bytes"),
        ("a\udcff.img", "bytes"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str, reason: str) -> None:
    with pytest.raises(InputError, match="as a path inside a volume") as caught:
        relative_path(path)
    assert reason in caught.value.message


def test_the_place_of_a_file_in_a_snapshot() -> None:
    assert in_snapshot("s1", "dir/a.img") == ".snapshot/s1/dir/a.img"


@pytest.mark.parametrize(("snapshot", "path"), [("..", "a"), ("s/1", "a"), ("", "a"), ("s1", "../a"), ("s1", "/a")])
def test_no_place_outside_the_snapshot(snapshot: str, path: str) -> None:
    with pytest.raises(InputError):
        in_snapshot(snapshot, path)


@pytest.mark.parametrize(
    ("wanted", "refused", "order"),
    [
        ("auto", set(), ("file_clone", "sfsr_cli", "copy")),
        ("auto", {"file_clone"}, ("sfsr_cli", "copy")),
        ("auto", {"file_clone", "sfsr_cli"}, ("copy",)),
        ("auto", {"sfsr"}, ("file_clone", "sfsr_cli", "copy")),
        ("file_clone", set(), ("file_clone",)),
        ("sfsr_cli", {"file_clone"}, ("sfsr_cli",)),
        ("sfsr", set(), ("sfsr",)),
        ("copy", set(), ("copy",)),
    ],
)
def test_the_order_of_methods(wanted: str, refused: set[str], order: tuple[str, ...]) -> None:
    assert choose_method(wanted, (9, 11, 1), refused) == order


@pytest.mark.parametrize(
    ("wanted", "version", "refused"),
    [
        ("revert", (9, 19, 1), set()),
        ("", (9, 19, 1), set()),
        ("sfsr", (9, 19, 1), {"sfsr"}),
        ("auto", (9, 19, 1), {"file_clone", "sfsr_cli", "copy"}),
        ("file_clone", (9, 10, 1), set()),
    ],
)
def test_no_method_is_left(wanted: str, version: tuple[int, int, int], refused: set[str]) -> None:
    with pytest.raises(InputError, match="restore method"):
        choose_method(wanted, version, refused)


def failure(kind: Any = OntapError, *, code: Any = None, fate: Any = "answered") -> OntapError:
    """Return a failure with a code."""
    error: OntapError = kind("clone a file", "it says no", outcome=Outcome(fate, code=code), ontap_code=code)
    return error


@pytest.mark.parametrize(
    ("exc", "next_one"),
    [
        (failure(OntapDeniedError, code="6"), True),
        (failure(JobFailedError, code="6"), True),
        (failure(code="3"), True),
        (failure(JobFailedError, code="13565952"), True),
        (failure(code="917864"), False),
        (failure(code="524479"), False),
        (failure(code="6684674"), False),
        (failure(fate="lost"), False),
        (failure(OntapDeniedError, code="6", fate="lost"), False),
        (failure(OutcomeUnknownError, code="6"), False),
        (failure(fate="not-sent"), False),
    ],
)
def test_which_refusal_lets_the_next_method_try(exc: OntapError, next_one: bool) -> None:
    assert refuses_method(exc) is next_one


def test_a_file_record_as_ontap_writes_it() -> None:
    record = {
        "name": "a.img",
        "type": "file",
        "size": 4096,
        "inode_number": 96,
        "modified_time": "2026-11-21T02:00:00Z",
    }
    assert FileStat.from_record(record, path="a.img") == FileStat("a.img", "file", 4096, 96, "2026-11-21T02:00:00Z")
