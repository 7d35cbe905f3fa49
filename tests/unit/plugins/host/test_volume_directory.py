# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose directory ``.kvmsnap`` of a volume is, and that nothing is written or read past it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import write_private_at
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.volume_directory import (
    Carried,
    ForeignDirectoryError,
    VolumeDirectory,
    opened,
    read_carried,
    refuse_foreign,
    remove_files,
)

OURS = VolumeDirectory("directory", 0, 0o700, same_mount=True)


@pytest.mark.parametrize(
    ("found", "ours", "reason"),
    [
        (OURS, 0, None),
        (OURS, None, None),
        (VolumeDirectory("directory", 65534, 0o700, same_mount=True), 65534, None),
        (VolumeDirectory("directory", 0, 0o755, same_mount=True), 0, None),
        (VolumeDirectory("directory", 65534, 0o700, same_mount=True), None, None),
        (VolumeDirectory("link", 0, 0o777, same_mount=True), 0, "it is a symbolic link"),
        (VolumeDirectory("other", 0, 0o600, same_mount=True), 0, "it is no directory"),
        (VolumeDirectory("directory", 0, 0o700, same_mount=False), 0, "another file system is mounted there"),
        (
            VolumeDirectory("directory", 1234, 0o700, same_mount=True),
            0,
            "it belongs to uid 1234, and what this host writes there belongs to uid 0",
        ),
        (
            VolumeDirectory("directory", 0, 0o700, same_mount=True),
            65534,
            "it belongs to uid 0, and what this host writes there belongs to uid 65534",
        ),
        (VolumeDirectory("directory", 0, 0o770, same_mount=True), 0, "others may write into it (mode 0770)"),
        (VolumeDirectory("directory", 0, 0o702, same_mount=True), None, "others may write into it (mode 0702)"),
        (VolumeDirectory("directory", 0, 0o1777, same_mount=True), 0, "others may write into it (mode 1777)"),
    ],
)
def test_a_directory_is_ours_or_not(found: VolumeDirectory, ours: int | None, reason: str | None) -> None:
    assert found.foreign(ours) == reason


def a_link(place: Path) -> None:
    elsewhere = place.parent.parent / "elsewhere"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)


def open_to_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


PLANTED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a link": (a_link, "it is a symbolic link"),
    "a link to nothing": (lambda place: place.symlink_to("nothing"), "it is a symbolic link"),
    "a file": (lambda place: place.write_bytes(b""), "it is no directory"),
    "a fifo": (os.mkfifo, "it is no directory"),
    "one that others may write into": (open_to_all, "others may write into it (mode 0777)"),
}


@pytest.mark.parametrize(("plant", "reason"), PLANTED.values(), ids=PLANTED.keys())
def test_what_somebody_else_has_put_there_is_refused_by_name_and_left_alone(
    tmp_path: Path, plant: Callable[[Path], Any], reason: str
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    plant(volume / ".kvmsnap")
    before = sorted(tmp_path.rglob("*"))

    def use() -> None:
        with opened(str(volume)):
            raise AssertionError("it was opened")

    acts: list[Callable[[], object]] = [
        use,
        lambda: refuse_foreign(str(volume), ours=None),
        lambda: remove_files(str(volume), ("b.json",)),
    ]
    for act in acts:
        with pytest.raises(ForeignDirectoryError) as caught:
            act()
        assert caught.value.message.startswith(f"Failed to use {volume}/.kvmsnap: {reason}. ")
        assert "move it away, and run again" in caught.value.message
    assert sorted(tmp_path.rglob("*")) == before


def test_one_of_ours_is_used_and_goes_when_it_is_empty(tmp_path: Path) -> None:
    assert refuse_foreign(str(tmp_path), ours=os.geteuid()) is None
    for name in ("a.json", "b.json"):
        with opened(str(tmp_path)) as directory:
            write_private_at(directory, name, b"content")
    place = tmp_path / ".kvmsnap"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert sorted(path.name for path in place.iterdir()) == ["a.json", "b.json"]
    assert refuse_foreign(str(tmp_path), ours=os.geteuid()) == os.geteuid()
    remove_files(str(tmp_path), ("a.json", "none.json"))
    assert [path.name for path in place.iterdir()] == ["b.json"]
    remove_files(str(tmp_path), ("b.json",))
    assert list(tmp_path.iterdir()) == []
    remove_files(str(tmp_path), ("b.json",))


def test_a_mount_point_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "link").symlink_to("volume")
    with pytest.raises(OSError, match="link"), opened(str(tmp_path / "link")):
        raise AssertionError("it was opened")
    assert list((tmp_path / "volume").iterdir()) == []


def carrying(volume: Path, **files: bytes) -> Path:
    place = volume / ".snapshot" / "b" / ".kvmsnap"
    place.mkdir(parents=True, mode=0o700)
    for name, content in files.items():
        (place / name).write_bytes(content)
    return place


def test_what_a_snapshot_carries_is_read_by_name(tmp_path: Path) -> None:
    carrying(tmp_path, one=b"1", two=b"2")
    assert read_carried(str(tmp_path), "b", ("one", "three")) == Carried({"one": b"1"})
    assert read_carried(str(tmp_path), "c", ("one",)) == Carried({})


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_file_of_another_user_than_the_directory_s_is_doubted(tmp_path: Path) -> None:
    place = carrying(tmp_path, one=b"1", two=b"2")
    os.chown(place / "two", 1234, -1)
    assert read_carried(str(tmp_path), "b", ("one",)).doubt is None
    found = read_carried(str(tmp_path), "b", ("one", "two"))
    assert found.doubt == f"two belongs to uid 1234, and its directory to uid {os.geteuid()}"
    place.chmod(0o777)
    assert "others may write into it" in str(read_carried(str(tmp_path), "b", ("one", "two")).doubt)
