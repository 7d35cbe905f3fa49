# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, as tables, and how it stands to what is wanted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional

from holds import Measured
from restores import Restored

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def hold_table(rows: Sequence[Measured]) -> list[str]:
    """Return how long guests were held."""
    lines = [
        "| guests | held by | mode | hold p50 | p95 | max | whole run | slowest snapshot | hold | release |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda each: (each.held_by != "suspend", each.guests)):
        figures = (row.p50, row.p95, row.max, row.run_seconds)
        single = (row.snapshot_call_seconds, row.freeze_seconds, row.thaw_seconds)
        cells = [f"{each:.2f} s" for each in figures] + ["-" if each is None else f"{each:.3f} s" for each in single]
        lines.append(f"| {row.guests} | {row.held_by} | {row.mode} | {' | '.join(cells)} |")
    return lines


def restore_table(rows: Sequence[Restored]) -> list[str]:
    """Return how long disks took to come back."""
    lines = [
        "| disk | written | by | overwrite p50 | whole module | copy by qemu-img convert |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = f"{row.seconds_p50:.3f} s | {row.run_seconds:.2f} s | {row.convert_seconds:.2f} s"
        lines.append(f"| {row.disk_gib} GiB | {row.written_mib} MiB | {row.method} | {figures} |")
    return lines


def verdicts(holds: Sequence[Measured], restores: Sequence[Restored]) -> list[str]:
    """Return how the figures stand to what is wanted, as far as what a line needs was measured."""
    lines = ["| | wanted | measured |", "|---|---|---|"]
    for what, wanted, measured, reached in (*_of_holds(holds), *_of_restores(restores)):
        lines.append(f"| {what} | {wanted} | {measured}{'' if reached else ': not reached'} |")
    return lines


Verdict = tuple[str, str, str, bool]


def _of_holds(rows: Sequence[Measured]) -> Iterator[Verdict]:
    suspended = {(row.mode, row.guests): row for row in rows if row.held_by == "suspend"}
    one, many, most = (suspended.get(("module", guests)) for guests in (1, 32, 64))
    peer, peer_most = (suspended.get(("peer", guests)) for guests in (32, 64))
    if many:
        single = (many.snapshot_call_seconds, many.freeze_seconds, many.thaw_seconds)
        most_wanted = 1.2 * sum(each or 0.0 for each in single)
        yield (
            "hold p95 of 32 guests, against 1.2 times the slowest snapshot, hold and release together",
            f"{most_wanted:.2f} s at most",
            f"{many.p95:.2f} s",
            many.p95 <= most_wanted,
        )
    if many and peer:
        times = peer.p95 / many.p95
        yield "the same, against `peer`", "20 times shorter", f"{times:.0f} times", times >= 20
    if one and most:
        times = most.p95 / one.p95
        yield "hold p95 of 64 guests, against that of one", "1.5 times at most", f"{times:.2f} times", times <= 1.5
    for guests, own, other in ((32, many, peer), (64, most, peer_most)):
        if own and other:
            times = own.run_seconds / other.run_seconds
            yield f"whole run with {guests} guests, against `peer`", "0.2 at most", f"{times:.3f}", times <= 0.2


def _of_restores(rows: Sequence[Restored]) -> Iterator[Verdict]:
    small, large = _first(rows, lambda row: row.disk_gib == 1), _first(rows, lambda row: row.disk_gib == 64)
    if small and large:
        times = large.seconds_p50 / small.seconds_p50
        what = f"overwrite of a disk of 64 GiB by `{large.method}`, against one of 1 GiB"
        yield what, "1.1 times at most", f"{times:.2f} times", times <= 1.1


def _first(rows: Sequence[Restored], fits: Callable[[Restored], bool]) -> Optional[Restored]:
    return next(filter(fits, rows), None)


def write_document(holds: Sequence[Measured], restores: Sequence[Restored], path: Path = DOCUMENT) -> None:
    """Put the tables between their marks in the document."""
    load = f"load over the last 15 minutes {os.getloadavg()[2]:.1f}, the runs' own included"
    machine = f"Measured on {os.cpu_count()} processors; {load}."
    blocks: Mapping[str, Sequence[str]] = {
        "holds": (machine, "", *hold_table(holds)),
        "restores": restore_table(restores),
        "verdicts": verdicts(holds, restores),
    }
    for name, lines in blocks.items():
        write_block(name, lines, path)


def write_block(name: str, lines: Sequence[str], path: Path = DOCUMENT) -> None:
    """Put lines between the marks of this name in the document."""
    path.write_text(_replaced(path.read_text(encoding="utf-8"), name, lines), encoding="utf-8")


def _replaced(text: str, name: str, lines: Sequence[str]) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    body = "\n".join([begin, "", *lines, "", end])
    new, count = re.subn(f"{re.escape(begin)}.*{re.escape(end)}", lambda _found: body, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"the marks of {name} are {count} times in the document")
    return new
