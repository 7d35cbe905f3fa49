# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private files: whole or as before, never readable by others, and no link is followed."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import (
    created_private_at,
    is_locked,
    private_directory,
    write_private,
    write_private_at,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_each_directory_that_is_made_is_private_and_others_stay_as_they_are(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    wanted = there / "a" / "b" / "c"
    for _each in range(2):
        assert private_directory(wanted) == wanted
        assert [mode(path) for path in (there, there / "a", there / "a" / "b", wanted)] == [0o755, 0o700, 0o700, 0o700]


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), mode(path), os.listdir(tmp_path)) == (b"new", 0o600, ["record"])


def test_what_cannot_be_replaced_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    with pytest.raises(OSError, match="record"):
        write_private(tmp_path / "record", b"new")
    assert os.listdir(tmp_path) == ["record"]
    with pytest.raises(FileNotFoundError):
        write_private(tmp_path / "nowhere" / "record", b"new")


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / "record").symlink_to(tmp_path / "elsewhere")
    with opened(tmp_path) as directory:
        write_private_at(directory, "record", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not (tmp_path / "record").is_symlink()
    assert (tmp_path / "record").read_bytes() == b"ours"


def test_a_file_is_made_to_see_whose_it_becomes_and_is_gone_afterwards(tmp_path: Path) -> None:
    with opened(tmp_path) as directory, created_private_at(directory, "probe") as uid:
        (made,) = tmp_path.iterdir()
        assert (made.stat().st_uid, mode(made)) == (uid, 0o600)
        assert made.name != "probe"
    assert os.listdir(tmp_path) == []


def test_who_has_a_file_locked_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert is_locked(path) is False, "it is not there"
    with path.open("wb") as stream:
        assert is_locked(path) is False
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert is_locked(path) is True
    assert is_locked(path) is False
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="link"):
        is_locked(tmp_path / "link")
