# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparing images by samples: where it looks, and what it must not overlook."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import content
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.compare import compare_files

BIG = content.SAMPLE_BYTES * content.SAMPLES * 4


def test_a_link_in_the_place_of_a_directory_leads_nowhere(tmp_path: Path) -> None:
    real, away = tmp_path / "real", tmp_path / "away"
    for directory in (real / "deep", away / "deep"):
        directory.mkdir(parents=True)
        (directory / "disk.img").write_bytes(directory.parent.name.encode())
    (tmp_path / "source").write_bytes(b"from the snapshot")
    path, source = str(real / "deep" / "disk.img"), str(tmp_path / "source")
    with content.directory_of(path) as opened:
        assert os.fstat(opened).st_ino == (real / "deep").stat().st_ino
    real.rename(tmp_path / "was")
    real.symlink_to(away)
    for act in (
        lambda: content.copy_over(source, path),
        lambda: content.first_difference(path, source),
        lambda: content.drop_cached(path),
        lambda: content.make_like(source, str(real / "deep" / "new.img")),
    ):
        with pytest.raises(OSError, match=f"a link on the way leads to {away}/deep"):
            act()
    assert [(each.name, each.read_bytes()) for each in (away / "deep").iterdir()] == [("disk.img", b"away")]


def test_a_small_file_is_looked_at_whole() -> None:
    size = content.SAMPLE_BYTES * 3 + 17
    offsets = content.sample_offsets(size)
    assert offsets == [0, content.SAMPLE_BYTES, 2 * content.SAMPLE_BYTES, 3 * content.SAMPLE_BYTES]


@pytest.mark.parametrize("size", [BIG, BIG + 1, BIG + 4095, 64 << 30])
def test_a_big_file_is_looked_at_from_its_first_to_its_last_byte(size: int) -> None:
    offsets = content.sample_offsets(size)
    assert offsets[0] == 0
    assert any(offset <= size - 1 < offset + content.SAMPLE_BYTES for offset in offsets)
    assert all(offset % 4096 == 0 and offset < size for offset in offsets)
    assert len(offsets) <= content.SAMPLES + 1


def test_an_empty_file_has_nothing_to_look_at() -> None:
    assert content.sample_offsets(0) == []


def pair(root: Path, size: int = 1 << 20) -> tuple[Path, Path]:
    one, other = root / "one", root / "other"
    for path in (one, other):
        path.write_bytes(b"\x5a" * size)
    return one, other


def test_alike_files_show_no_difference(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    assert content.first_difference(str(one), str(other)) is None


@pytest.mark.parametrize("place", [0, 4095, 300_000, (1 << 20) - 1])
def test_one_changed_byte_of_a_small_file_is_found(tmp_path: Path, place: int) -> None:
    one, other = pair(tmp_path)
    with other.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"!")
    found = content.first_difference(str(one), str(other))
    assert found is not None
    assert found <= place < found + content.SAMPLE_BYTES


def test_a_shorter_file_differs_at_its_end(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    other.write_bytes(b"\x5a" * 1000)
    assert content.first_difference(str(one), str(other)) == 1000


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(one)
    with pytest.raises(OSError, match="symbolic links"):
        content.first_difference(str(link), str(other))


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
def test_what_is_no_image_keeps_nobody_waiting(tmp_path: Path, put: Callable[[Path], None]) -> None:
    """Whoever may write into the volume has put it in the image's place."""
    one, other = pair(tmp_path)
    other.unlink()
    put(other)
    for look in (
        lambda: content.first_difference(str(one), str(other)),
        lambda: content.first_difference(str(other), str(one)),
        lambda: content.drop_cached(str(other)),
        lambda: content.copy_over(str(one), str(other)),
        lambda: content.copy_over(str(other), str(one)),
        lambda: compare_files(str(one), str(other), stalled_after=30),
    ):
        with pytest.raises(OSError, match=r"neither a file nor|No such device|Is a directory"):
            bounded(look, seconds=10, what="look")


@pytest.mark.parametrize("size", [0, 5, content.SAMPLE_BYTES, content.SAMPLE_BYTES * 3 + 5])
def test_a_copy_leaves_the_same_bytes_in_the_same_file(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes((b"\0" * content.SAMPLE_BYTES + b"\x77" * size)[:size])
    target.write_bytes(b"old" * 1000)
    inode = target.stat().st_ino
    content.copy_over(str(source), str(target))
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_ino == inode
