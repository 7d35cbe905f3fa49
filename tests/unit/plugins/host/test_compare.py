# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparing all of two files: no byte is overlooked, holes or not, and the hash is that of the content."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, progressing
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import compare
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.compare import BLOCK_BYTES, Comparison, compare_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import first_difference

BIG = 8 * BLOCK_BYTES + 5000
HOLED = ((0, 100), (3 * BLOCK_BYTES + 4096, 8192), (7 * BLOCK_BYTES, 10))


def compared(one: Path, other: Path) -> Comparison:
    return compare_files(str(one), str(other), stalled_after=60)


def sparse(path: Path, size: int, *data: tuple[int, int]) -> Path:
    """Make a file with holes around so many bytes at these places."""
    with path.open("wb") as stream:
        stream.truncate(size)
        for offset, length in data:
            stream.seek(offset)
            stream.write(b"\x5a" * length)
    return path


@pytest.mark.parametrize("size", [0, 1, 4096, BLOCK_BYTES, BLOCK_BYTES + 1, BIG])
@pytest.mark.parametrize("data", [(), ((0, BIG),), HOLED])
def test_alike_files_have_the_hash_of_their_content(tmp_path: Path, size: int, data: Any) -> None:
    kept = [(offset, min(length, size - offset)) for offset, length in data if offset < size]
    one, other = sparse(tmp_path / "one", size, *kept), tmp_path / "other"
    other.write_bytes(one.read_bytes())
    for pair in ((one, other), (other, one), (one, one)):
        assert compared(*pair) == Comparison(None, hashlib.sha256(one.read_bytes()).hexdigest())


@pytest.mark.parametrize("place", [0, 99, 100, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 77, BIG - 1])
@pytest.mark.parametrize("data", [(), ((0, BIG),), HOLED])
def test_one_byte_that_differs_is_found_at_its_place(tmp_path: Path, place: int, data: Any) -> None:
    kept = [(offset, min(length, BIG - offset)) for offset, length in data]
    one, other = sparse(tmp_path / "one", BIG, *kept), sparse(tmp_path / "other", BIG, *kept)
    with other.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"!")
    for pair in ((one, other), (other, one)):
        assert compared(*pair) == Comparison(place)


def test_it_finds_what_samples_miss(tmp_path: Path) -> None:
    size = 64 * BLOCK_BYTES
    one, other = sparse(tmp_path / "one", size, (0, 9)), sparse(tmp_path / "other", size, (0, 9), (1500000, 1))
    assert first_difference(str(one), str(other)) is None
    assert compared(one, other) == Comparison(1500000)


def test_a_shorter_file_differs_at_its_end(tmp_path: Path) -> None:
    assert compared(sparse(tmp_path / "one", 9000), sparse(tmp_path / "other", 5000)) == Comparison(5000)


def test_where_holes_cannot_be_asked_for_all_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = sparse(tmp_path / "one", BIG, *HOLED), sparse(tmp_path / "other", BIG, *HOLED)

    def refuse(*_arguments: Any) -> int:
        raise OSError(22, "Invalid argument")

    wanted = compared(one, other)
    monkeypatch.setattr(compare.os, "lseek", refuse)
    assert compared(one, other) == wanted


def test_a_read_that_gives_less_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = sparse(tmp_path / "one", BIG, (0, BIG)), sparse(tmp_path / "other", BIG, (0, BIG))
    real = compare.os.preadv
    monkeypatch.setattr(compare.os, "preadv", lambda fd, views, offset: real(fd, [views[0][:65536]], offset))
    assert compared(one, other) == Comparison(None, hashlib.sha256(one.read_bytes()).hexdigest())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        compared(tmp_path / "one", tmp_path / "other")


def test_a_call_that_goes_on_may_take_long_and_one_that_stops_is_given_up() -> None:
    stop = threading.Event()

    def steps(step: Callable[[], None]) -> str:
        for _number in range(6):
            stop.wait(0.1)
            step()
        return "done"

    assert progressing(steps, seconds=0.3, what="count") == "done"
    with pytest.raises(OverdueError, match=r"Failed to count: no answer within 0\.2 s"):
        progressing(lambda _step: stop.wait(30), seconds=0.2, what="count")
    stop.set()
