# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array's memory on disk: one JSON file, replaced atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .model import Array


class Store:
    """Reads and writes ``<state_dir>/state.json``."""

    def __init__(self, state_dir: str) -> None:
        self.path = Path(state_dir) / "state.json"

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, or None the first time."""
        if not self.path.exists():
            return None
        data: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return data

    def save(self, array: Array) -> None:
        """Replace the file; a reader or a crash sees the old or the new one."""
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(array, default=vars, separators=(",", ":")), encoding="utf-8")
        os.replace(draft, self.path)
