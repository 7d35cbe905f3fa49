# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's image says about itself, read where the array keeps it and without mounting it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .process import run

QCOW2_MAGIC = b"QFI\xfb"


@dataclass(frozen=True)
class Tick:
    """One line of a guest's tick file: the count, and the guest's uptime in seconds when it was written."""

    number: int
    uptime: float

    @classmethod
    def from_line(cls, line: str) -> Tick:
        number, uptime = line.split()
        return cls(int(number), float(uptime))


def parse_ticks(text: str) -> list[Tick]:
    """Return the ticks of a tick file; a last line without its end is left out."""
    return [Tick.from_line(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def unbroken(ticks: list[Tick]) -> bool:
    """True when the count has no gap and no step back."""
    return all(later.number == earlier.number + 1 for earlier, later in zip(ticks, ticks[1:]))


def storage_ticks(image: Path, *, recovered: bool = False) -> list[Tick]:
    """Return the ticks in an image's file system, as it lies there or as a guest would find it after its recovery."""
    with _raw(image, copied=recovered) as raw:
        if recovered:
            run(["e2fsck", "-f", "-y", raw], check=False)
        return parse_ticks(run(["debugfs", "-R", "cat /ticks", raw]).stdout)


def needs_recovery(image: Path) -> bool:
    """True when the image's file system was neither unmounted nor frozen when these bytes were written."""
    with _raw(image) as raw:
        features = run(["dumpe2fs", "-h", raw]).stdout.partition("Filesystem features:")[2].splitlines()[0]
        return "needs_recovery" in features.split()


@contextmanager
def _raw(image: Path, *, copied: bool = False) -> Iterator[Path]:
    with image.open("rb") as file:
        is_qcow2 = file.read(4) == QCOW2_MAGIC
    if not is_qcow2 and not copied:
        yield image
        return
    with tempfile.TemporaryDirectory(prefix="kvmlab-") as directory:
        raw = Path(directory) / "image"
        run(["qemu-img", "convert", "-q", "-U", "-f", "qcow2" if is_qcow2 else "raw", "-O", "raw", image, raw])
        yield raw
