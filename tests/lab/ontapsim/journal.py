# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of every byte-changing operation, kept across restarts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .storage import Change


class Journal:
    """Appends to ``<state_dir>/journal.jsonl``; entries have seq, time, op, svm, volume, path, snapshot, cause."""

    def __init__(self, state_dir: str) -> None:
        self._path = Path(state_dir) / "journal.jsonl"
        self._lock = threading.Lock()
        self.entries: list[dict[str, Any]] = []
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            self.entries = [json.loads(line) for line in lines if line.endswith("}")]

    def record(self, change: Change, cause: Mapping[str, str]) -> None:
        """Write down one change; ``cause`` has the request id and the user that asked for it, if any."""
        with self._lock:
            entry = {
                "seq": self.entries[-1]["seq"] + 1 if self.entries else 1,
                "time": time.time(),
                "op": change.op,
                "svm": change.svm,
                "volume": change.volume,
                "path": change.path,
                "snapshot": change.snapshot,
                "detail": dict(change.detail or {}),
                "request": cause.get("request"),
                "user": cause.get("user"),
            }
            self.entries.append(entry)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
