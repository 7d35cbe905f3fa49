# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells of the fault matrix that were played: one line of a table and one entry of a file each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Played:
    """What one cell came to; ``detail`` says what is wrong, or how the run ended, ``ground`` where it was played."""

    operation: str
    step: str
    fault: str
    clean: bool
    detail: str
    seconds: float
    ground: str = "private host"


class Results:
    """The cells that were played, written down one by one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cells: list[Played] = []

    def add(self, cell: Played) -> None:
        """Keep a cell."""
        self.cells.append(cell)
        self._path.parent.mkdir(exist_ok=True)
        text = json.dumps([asdict(each) for each in self.cells], indent=1)
        self._path.write_text(text + "\n", encoding="utf-8")

    def table(self) -> list[str]:
        """Return the table, one line a cell."""
        lines = [f"{'operation':<10}{'ground':<14}{'step':<18}{'fault':<52}{'clean':<7}{'s':>5}  what came of it"]
        lines += [
            f"{cell.operation:<10}{cell.ground:<14}{cell.step:<18}{cell.fault:<52}{'yes' if cell.clean else 'NO':<7}"
            f"{cell.seconds:>5.1f}  {cell.detail[:110]}"
            for cell in self.cells
        ]
        return [*lines, f"{sum(cell.clean for cell in self.cells)} of {len(self.cells)} cells are clean"]
