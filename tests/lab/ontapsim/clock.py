# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array's clock: the real one plus an offset that the control port can move."""

from __future__ import annotations

import time
from datetime import datetime, timezone


class Clock:
    """Tells the array's time; ``offset`` is in seconds."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Return the array's time in seconds since the epoch."""
        return time.time() + self.offset

    def iso(self) -> str:
        """Return the array's time as ONTAP writes it, whole seconds with an offset."""
        return to_iso(self.now())


def to_iso(seconds: float) -> str:
    """Write seconds since the epoch as ONTAP does."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).isoformat()


def from_iso(text: str) -> float:
    """Read an ISO 8601 time (``Z`` and a missing offset mean UTC); raises ``ValueError``."""
    if len(text) == 10:
        text += "T00:00:00"
    if text.endswith(("Z", "z")):
        text = text[:-1] + "+00:00"
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
