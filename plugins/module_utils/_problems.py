# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about guests, disks and the environment, each with a stable code and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import visible

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Problem:
    """One finding.

    ``code`` is stable and in kebab-case. ``error`` means that the guest (or the whole run, when ``guest`` is None) is
    not protected; ``warning`` that it is, with a remark; ``info`` is worth knowing. ``remedy`` says what to do.
    Control characters in the two sentences are made visible; ``guest`` and ``disk`` are names, and stay as they are.
    """

    code: str
    severity: Severity
    message: str
    remedy: str
    guest: Optional[str] = None
    disk: Optional[str] = None

    def __post_init__(self) -> None:
        for sentence in ("message", "remedy"):
            object.__setattr__(self, sentence, visible(getattr(self, sentence)))

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data for a module's result."""
        return asdict(self)


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """Return those that leave something unprotected, in their order."""
    return [problem for problem in problems if problem.severity == "error"]
