# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark says of its own figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from holds import Measured
from report import DOCUMENT, verdicts, write_document
from restores import Disk, Restored


def held(mode: str, guests: int, p95: float, run: float, *, by: str = "suspend") -> Measured:
    return Measured(mode, guests, 4, by, p95, p95, p95, run, 0.25, 0.03, 0.02, 3)


def restored(gib: int, seconds: float, method: str = "file_clone") -> Restored:
    return Restored(gib, 64, method, seconds, 0.6, 0.1)


GOOD = [
    held("module", 1, 0.2, 5.0),
    held("module", 32, 0.3, 6.0),
    held("module", 64, 0.3, 7.0),
    held("peer", 32, 6.0, 30.0),
    held("peer", 64, 12.0, 60.0),
    held("module", 64, 9.0, 90.0, by="agent"),
]
BAD = [
    held("module", 1, 0.2, 5.0),
    held("module", 32, 0.37, 6.1),
    held("module", 64, 0.31, 12.1),
    held("peer", 32, 7.0, 30.0),
    held("peer", 64, 12.0, 60.0),
]


def test_what_is_reached_is_told() -> None:
    lines = verdicts(GOOD, [restored(1, 0.1), restored(64, 0.11), restored(64, 9.0, "sfsr_cli")])
    assert [line.split(" | ")[1:] for line in lines[2:]] == [
        ["0.36 s at most", "0.30 s |"],
        ["20 times shorter", "20 times |"],
        ["1.5 times at most", "1.50 times |"],
        ["0.2 at most", "0.200 |"],
        ["0.2 at most", "0.117 |"],
        ["1.1 times at most", "1.10 times |"],
    ]


def test_what_is_not_reached_is_said_to_be_so() -> None:
    lines = verdicts(BAD, [restored(1, 0.1), restored(64, 0.2)])
    assert [line.endswith(": not reached |") for line in lines[2:]] == [True] * 6


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert len(verdicts([held("module", 8, 0.3, 5.0)], [restored(1, 0.1)])) == 2


def test_the_tables_come_between_their_marks(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    for _again in range(2):
        write_document(GOOD, [restored(1, 0.1), restored(64, 0.1)], document)
    text = document.read_text(encoding="utf-8")
    assert text.count("| 32 | suspend | peer | 6.00 s |") == 1
    assert text.count("| 64 GiB | 64 MiB | file_clone | 0.100 s | 0.60 s | 0.10 s |") == 1
    assert text.count("| hold p95 of 64 guests, against that of one | 1.5 times at most | 1.50 times |") == 1
    document.write_text(text.replace("<!-- verdicts: end -->", ""), encoding="utf-8")
    with pytest.raises(SystemExit, match="the marks of verdicts are 0 times"):
        write_document(GOOD, [], document)


def test_a_disk_is_told_by_its_size_and_what_is_written() -> None:
    assert Disk.from_option("64:1024") == Disk(64, 1024)
    assert Disk(64, 1024).guest == "r64x1024"
