# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup costs its guests, and how long a restore takes, on a private host (see tests/lab/kvmground).

What is measured goes into build/bench.json and, with --document, into the tables of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

import holds
import report
import restores

from kvmground import Ground

RESULTS = holds.ROOT / "build" / "bench.json"
SIZES = (1, 8, 32, 64)
AGENTS = (1, 4, 8)


def main() -> None:
    """Measure."""
    disks = ",".join(f"{disk.gib}:{disk.written_mib}" for disk in restores.DISKS)
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--guests", default=",".join(map(str, SIZES)), help="numbers of suspended guests, or nothing")
    options.add_argument("--agents", default=",".join(map(str, AGENTS)), help="numbers of guests with agents")
    options.add_argument("--modes", default=",".join(holds.MODES))
    options.add_argument("--disks", default=disks, help="disks to restore, each GIB:MIB-WRITTEN, or nothing")
    options.add_argument("--document", action="store_true", help="put the tables into docs/benchmarks.md")
    given = options.parse_args()
    sizes, agents = _numbers(given.guests), _numbers(given.agents)
    wanted = [restores.Disk.from_option(text) for text in given.disks.split(",") if text]
    if given.document and not (sizes and wanted):
        options.error("the document has guests and disks, so both are to be measured")
    with Ground() as ground:
        held = holds.measure(ground, sizes, agents, given.modes.split(",")) if sizes or agents else []
        restored = restores.measure(ground, wanted) if wanted else []
    RESULTS.parent.mkdir(exist_ok=True)
    found = {"hold": [asdict(row) for row in held], "restore": [asdict(row) for row in restored]}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for table in (report.hold_table(held), report.restore_table(restored), report.verdicts(held, restored)):
        print("\n".join(table), end="\n\n")
    if given.document:
        report.write_document(held, restored)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


if __name__ == "__main__":
    main()
