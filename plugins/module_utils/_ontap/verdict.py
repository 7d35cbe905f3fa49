# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a REST request that failed: whether it may be sent again, or may have taken effect. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes

Fate = Literal["not-sent", "untrusted", "lost", "answered"]

Verdict = Literal["final", "repeat", "unknown"]

_OVERLOADED = frozenset({429, 503})

_GATEWAY = frozenset({502, 504})


@dataclass(frozen=True)
class Outcome:
    """What came of one REST request.

    ``fate``: ``not-sent`` (no connection was made), ``untrusted`` (the other side's certificate was refused by us),
    ``lost`` (sent, or perhaps sent, and no answer) or ``answered``; the rest describes the answer.
    """

    fate: Fate
    http_status: Optional[int] = None
    code: Optional[str] = None
    retry_after: float = 0.0


def verdict_of(outcome: Outcome, *, change: bool) -> Verdict:
    """Decide about a failed request: ``final``, ``repeat`` (safe as it is) or ``unknown`` (it may have taken effect).

    A read is never ``unknown``. A change is ``repeat`` only when it was certainly not processed: no connection, or the
    array said that it was too busy (HTTP 429 and 503, code 262160).
    """
    if outcome.fate == "untrusted":
        return "final"
    if outcome.fate == "not-sent":
        return "repeat"
    if outcome.fate == "lost":
        return "unknown" if change else "repeat"
    if outcome.http_status in _OVERLOADED or outcome.code in codes.OVERLOADS:
        return "repeat"
    if change:
        return "unknown" if outcome.http_status in _GATEWAY or outcome.code in codes.UNSETTLED else "final"
    return "repeat" if outcome.http_status in _GATEWAY or outcome.code in codes.READ_AGAIN else "final"


def may_have_begun(outcome: Outcome) -> bool:
    """Tell whether a change that failed may be under way, or may begin later; pure.

    It certainly did not begin without a connection, and where ONTAP refused it with a code of its own (HTTP below 500
    and not 429). 'Overloaded', 'a copy is under way' and every server error leave it open: the copy may be this one.
    """
    if outcome.fate in ("untrusted", "not-sent"):
        return False
    status = outcome.http_status
    refused = outcome.fate == "answered" and status is not None and status < 500 and status != 429
    return not refused or outcome.code in codes.UNDER_WAY


def retry_after_seconds(header: Optional[str]) -> float:
    """Return the seconds that a ``Retry-After`` header asks for; 0.0 for none and for the date form."""
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() else 0.0
