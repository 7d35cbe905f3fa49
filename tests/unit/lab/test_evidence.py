# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image tells about itself, on images made here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kvmlab.evidence import Tick, needs_recovery, parse_ticks, storage_ticks, unbroken
from kvmlab.process import run

TOOLS = ("mkfs.ext4", "debugfs", "dumpe2fs", "qemu-img")
LINES = "1 10.25\n2 10.75\n3 11.25\n"
TICKS = [Tick(1, 10.25), Tick(2, 10.75), Tick(3, 11.25)]


@pytest.mark.parametrize(("text", "ticks"), [("", []), (LINES, TICKS), (LINES + "4 11.", TICKS)])
def test_a_torn_line_is_no_tick(text: str, ticks: list[Tick]) -> None:
    assert parse_ticks(text) == ticks


@pytest.mark.parametrize(
    ("numbers", "is_unbroken"),
    [([], True), ([7], True), ([7, 8, 9], True), ([7, 9], False), ([7, 7], False), ([7, 6], False)],
)
def test_unbroken(numbers: list[int], is_unbroken: bool) -> None:
    assert unbroken([Tick(number, 0.0) for number in numbers]) is is_unbroken


@pytest.fixture(name="image")
def _image(tmp_path: Path) -> Path:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    files = tmp_path / "files"
    files.mkdir()
    (files / "ticks").write_text(LINES)
    image = tmp_path / "disk.img"
    run(["mkfs.ext4", "-q", "-d", files, image, "8M"])
    return image


def test_a_clean_image(image: Path) -> None:
    assert storage_ticks(image) == TICKS
    assert not needs_recovery(image)


def test_a_qcow2_image(image: Path) -> None:
    qcow2 = image.with_suffix(".qcow2")
    run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", image, qcow2])
    assert storage_ticks(qcow2) == TICKS
    assert not needs_recovery(qcow2)


def test_an_image_taken_while_mounted_needs_recovery_and_is_left_as_it_is(image: Path) -> None:
    run(["debugfs", "-w", "-R", "feature needs_recovery", image])
    before = image.read_bytes()
    assert needs_recovery(image)
    assert storage_ticks(image, recovered=True) == TICKS
    assert image.read_bytes() == before
