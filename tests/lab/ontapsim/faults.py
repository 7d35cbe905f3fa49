# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Injected faults: which request they match, and what then happens to it or to its job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TYPES = {
    "delay": {"seconds", "where"},
    "status": {"status", "code", "message", "headers"},
    "burst": {"status", "retry_after"},
    "drop_before": set(),
    "drop_after": set(),
    "job_fail": {"code", "message", "effect"},
    "job_hang": {"seconds", "effect"},
    "license": {"name"},
}


@dataclass
class Fault:
    """One fault. ``count`` requests are hit (None: all) once ``after`` matching ones have passed."""

    number: int
    type: str
    options: dict[str, Any]
    method: str | None = None
    path: str | None = None
    user: str | None = None
    count: int | None = None
    after: int = 0
    seen: int = 0
    hits: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fault as the control port shows it."""
        return {
            "id": self.number,
            "action": {"type": self.type, **self.options},
            "seen": self.seen,
            "hits": self.hits,
            "match": {
                "method": self.method,
                "path": self.path,
                "user": self.user,
                "count": self.count,
                "after": self.after,
            },
        }


@dataclass
class Faults:
    """All faults, in the order in which they were set."""

    active: list[Fault] = field(default_factory=list)
    _last: int = 0

    def add(self, spec: Mapping[str, Any]) -> Fault:
        """Set a fault from ``{"match": {...}, "action": {"type": ...}}``; raises ``ValueError``."""
        match, action = dict(spec.get("match", {})), dict(spec.get("action", {}))
        kind = action.pop("type", None)
        if kind not in TYPES:
            raise ValueError(f"unknown fault type {kind}; known are {', '.join(TYPES)}")
        surplus = (set(action) - TYPES[kind]) | (set(match) - {"method", "path", "user", "count", "after"})
        surplus |= set(spec) - {"match", "action"}
        if surplus:
            raise ValueError(f"fault {kind} does not know {', '.join(sorted(surplus))}")
        if match.get("path") is not None:
            re.compile(match["path"])
        self._last += 1
        fault = Fault(self._last, kind, action, **match)
        self.active.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self.active.clear()

    def hitting(self, method: str, path: str, user: str | None) -> list[Fault]:
        """Return the faults that hit a request, counting it; ``path`` is as it came, without the query."""
        hit = []
        for fault in self.active:
            if fault.method not in (None, method) or fault.user not in (None, user):
                continue
            if fault.path is not None and not re.search(fault.path, path):
                continue
            fault.seen += 1
            if fault.seen <= fault.after or (fault.count is not None and fault.hits >= fault.count):
                continue
            fault.hits += 1
            hit.append(fault)
        return hit
