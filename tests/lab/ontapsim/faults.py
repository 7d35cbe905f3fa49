# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Injected faults: which request they match, and what then happens to it or to its job."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .call import Answer

TYPES = {
    "delay": {"seconds", "where"},
    "status": {"status", "code", "message", "headers"},
    "burst": {"status", "retry_after"},
    "drop_before": set(),
    "drop_after": set(),
    "job_fail": {"code", "message", "effect"},
    "job_hang": {"seconds", "effect"},
    "license": {"name"},
    "answer": {"place", "value", "text", "pause"},
    "late": {"seconds", "answer", "answer_seconds", "job", "status", "code", "message", "retry_after", "begun"},
}
_CHANGES = ("POST", "PATCH", "DELETE")
_ANSWERS = ("now", "after", "drop", "error")
_JOBS = ("running", "ended", "none")


@dataclass(frozen=True)
class Late:
    """How late, and what is answered when.

    ``answer``: ``now``, ``after`` the effect, ``drop`` (no answer, the connection is cut) or ``error``; the last two
    come ``answer_seconds`` after the request. ``job``: an answer of now has one that is ``running`` until the effect,
    one that has ``ended`` before it, or ``none``. ``begun``: it begins when it is asked for, and its end alone is late.
    """

    seconds: float
    answer: str = "now"
    answer_seconds: float = 0.0
    job: str = "running"
    begun: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Late:
        """Read a fault's options, those of the error left aside; raises ``ValueError``."""
        late = cls(
            seconds=float(options.get("seconds", 0)),
            answer=options.get("answer", "now"),
            answer_seconds=float(options.get("answer_seconds", 0)),
            job=options.get("job", "running"),
            begun=bool(options.get("begun")),
        )
        if late.answer not in _ANSWERS or late.job not in _JOBS:
            raise ValueError(f"a late answer is one of {', '.join(_ANSWERS)}, its job one of {', '.join(_JOBS)}")
        return late


def changed(answer: Answer, options: Mapping[str, Any]) -> Answer:
    """Return an answer as a fault has it.

    ``place`` leads to what is to be ``value`` in it, by keys and indices (default: all of it); ``text`` is the whole
    body as it goes out; each byte comes after ``pause`` seconds.
    """
    pause = float(options.get("pause", 0))
    if "text" in options:
        return replace(answer, body=str(options["text"]).encode(), content_type="application/hal+json", pause=pause)
    if "value" not in options:
        return replace(answer, pause=pause)
    place: list[Any] = list(options.get("place", []))
    if not place:
        return replace(answer, body=options["value"], pause=pause)
    body = json.loads(json.dumps(answer.body))
    inner = body
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = options["value"]
    return replace(answer, body=body, pause=pause)


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
        if kind == "late":
            Late.from_options(action)
            if match.get("method") not in _CHANGES:
                raise ValueError(f"what is late is a change: match needs a method of {', '.join(_CHANGES)}")
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
