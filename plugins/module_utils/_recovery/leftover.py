# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing that a crash left, as every part of the recovery tells of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional


@dataclass(frozen=True)
class Leftover:
    """One thing that was left: its ``kind`` and ``name``, a ``message`` about it, and what is done about it.

    ``action`` completes "it is ..." (released, removed); None leaves it alone, as does a missing ``act``.
    ``fault``: why it could not even be looked at.
    """

    kind: str
    name: str
    message: str
    action: Optional[str] = None
    act: Optional[Callable[[], object]] = None
    fault: Optional[str] = None

    def as_dict(self, *, error: Optional[str] = None) -> dict[str, Any]:
        """Return plain data for the module's result."""
        return {"kind": self.kind, "name": self.name, "message": self.message, "action": self.action, "error": error}

    @property
    def line(self) -> str:
        """The line that tells a person about it."""
        return f"{self.kind} {self.name}: {self.message}"
