# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two versions measured turn by turn: the ratios of the pairs, their median and its 95 % interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Compared:
    """One measure (seconds) of two versions: medians, and the median of the paired ratios new/old with its interval.

    ``low`` and ``high`` are None where there are too few pairs for the confidence that is wanted.
    """

    measure: str
    pairs: int
    old: float
    new: float
    ratio: float
    low: float | None
    high: float | None


def compared(measure: str, old: Sequence[float], new: Sequence[float]) -> Compared:
    """Compare the values of two versions; the values of one place in both sequences are a pair."""
    if len(old) != len(new) or not old:
        raise ValueError(f"{measure}: {len(old)} values of the one and {len(new)} of the other are no pairs")
    ratios = [after / before for before, after in zip(old, new)]
    low, high = interval_of_median(ratios)
    before, now, ratio = (round(statistics.median(each), 3) for each in (old, new, ratios))
    return Compared(measure, len(ratios), before, now, ratio, low, high)


def interval_of_median(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float | None, float | None]:
    """The interval that the sign test gives for the median: no assumption about how the values are distributed.

    It goes from the k-th smallest to the k-th largest value, with the largest k such that less than half of what
    ``confidence`` leaves lies below it in a binomial distribution of n throws.
    """
    ordered, below, k = sorted(values), 0.0, 0
    for successes in range(len(ordered)):
        below += math.comb(len(ordered), successes) / 2 ** len(ordered)
        if below > (1 - confidence) / 2:
            break
        k = successes + 1
    return (round(ordered[k - 1], 3), round(ordered[-k], 3)) if k else (None, None)


def table(rows: Sequence[Compared], wanted: Mapping[str, float]) -> list[str]:
    """The comparison as a table; ``wanted`` has the highest ratio of those measures that have one."""
    lines = ["| | before | now | ratio | 95 % interval | wanted |", "|---|---|---|---|---|---|"]
    for row in rows:
        most = wanted.get(row.measure)
        limit = "-" if most is None else f"{most:.2f} at most{'' if row.ratio <= most else ': not reached'}"
        interval = "too few pairs" if row.low is None else f"{row.low:.2f} to {row.high:.2f}"
        lines.append(f"| {row.measure} | {row.old:.2f} s | {row.new:.2f} s | {row.ratio:.2f} | {interval} | {limit} |")
    return lines
