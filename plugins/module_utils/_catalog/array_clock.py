# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cross-check of the proof: does the array's clock, too, say that a snapshot came to be while the guests were held?

It only tells. The array writes ``create_time`` by a clock of its own and to the second, so no level rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import Hold, Stamp, spans
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import parse_time

GRAIN = 1.0
"""Seconds by which a ``create_time`` may be earlier than what it names, since the rest of its second is cut off."""
SPREAD = 1.0
"""Seconds by which the clocks of a cluster's nodes may differ: one answers, another one makes the snapshot."""

Window = tuple[float, float]
Ahead = tuple[float, float]
"""By how many seconds the array's clock is ahead of this host's monotonic one, least and most."""


def window(stamp: Stamp, holds: Iterable[Hold]) -> Optional[Window]:
    """Return between which moments of the host's monotonic clock a snapshot was made, None when nobody knows.

    It is from the last freeze's answer to the first thaw of the guests whose hold spans the snapshot; without any, from
    the request for it to the answer that it exists.
    """
    spanning = [(hold.freeze_answered, hold.thaw_sent) for hold in holds if spans(hold, stamp)]
    begins = [begin for begin, _end in spanning if begin is not None]
    ends = [end for _begin, end in spanning if end is not None]
    if begins and ends:
        return max(begins), min(ends)
    if stamp.requested_at is None or stamp.confirmed_at is None:
        return None
    return stamp.requested_at, stamp.confirmed_at


def outside(create_time: Optional[str], ahead: Optional[Ahead], within: Optional[Window]) -> Optional[float]:
    """Return by how many seconds at least a snapshot's ``create_time`` is before (below 0) or after a window.

    0.0 is one that may lie inside, None one that cannot be compared.
    """
    written = _seconds(create_time)
    if written is None or ahead is None or within is None:
        return None
    least, most = ahead
    earliest, latest = written - most - SPREAD, written + GRAIN - least + SPREAD
    if latest < within[0]:
        return round(latest - within[0], 3)
    return round(max(0.0, earliest - within[1]), 3)


def describe_difference(create_time: Optional[str], seconds: float) -> str:
    """Return the phrase that tells a person about a snapshot whose ``create_time`` is outside."""
    side = "before" if seconds < 0 else "after"
    return (
        f"the array dates its snapshot {create_time}, at least {abs(seconds):.0f} s {side} what this host's clock says,"
        " their difference taken into account: the array's clock was set meanwhile, or its nodes differ. No level rests"
        " on it"
    )


def _seconds(create_time: Optional[str]) -> Optional[float]:
    try:
        return parse_time(create_time, what="create_time").timestamp() if create_time else None
    except InputError:
        return None


def ahead_of(ahead: Any) -> Optional[Ahead]:
    """Read the list of two numbers that ``ontap_snapshot`` returns, None for what is none."""
    if not isinstance(ahead, Sequence) or isinstance(ahead, str) or len(ahead) != 2:
        return None
    try:
        return float(ahead[0]), float(ahead[1])
    except (TypeError, ValueError):
        return None
