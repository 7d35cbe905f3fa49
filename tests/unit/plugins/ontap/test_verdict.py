# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an outcome of a request allows: sending it again, looking, or nothing."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import (
    Outcome,
    retry_after_seconds,
    verdict_of,
)


@pytest.mark.parametrize(
    ("outcome", "read", "change"),
    [
        (Outcome("untrusted"), "final", "final"),
        (Outcome("not-sent"), "repeat", "repeat"),
        (Outcome("lost"), "repeat", "unknown"),
        (Outcome("answered", 429), "repeat", "repeat"),
        (Outcome("answered", 503), "repeat", "repeat"),
        (Outcome("answered", 503, "8"), "repeat", "repeat"),
        (Outcome("answered", 429, "262160"), "repeat", "repeat"),
        (Outcome("answered", 400, "262160"), "repeat", "repeat"),
        (Outcome("answered", 502), "repeat", "unknown"),
        (Outcome("answered", 504), "repeat", "unknown"),
        (Outcome("answered", 500, "65541"), "repeat", "unknown"),
        (Outcome("answered", 500, "262210"), "repeat", "final"),
        (Outcome("answered", 400, "1638537"), "repeat", "unknown"),
        (Outcome("answered", None, "1638537"), "repeat", "unknown"),
        (Outcome("answered", 500, "262145"), "final", "final"),
        (Outcome("answered", 500), "final", "final"),
        (Outcome("answered", 401), "final", "final"),
        (Outcome("answered", 403, "6"), "final", "final"),
        (Outcome("answered", 404, "4"), "final", "final"),
        (Outcome("answered", 409, "1"), "final", "final"),
        (Outcome("answered", 400, "525059"), "final", "final"),
    ],
)
def test_the_verdict_on_a_failed_request(outcome: Outcome, read: str, change: str) -> None:
    assert verdict_of(outcome, change=False) == read
    assert verdict_of(outcome, change=True) == change


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, 0.0), ("", 0.0), ("7", 7.0), (" 2 ", 2.0), ("-1", 0.0), ("soon", 0.0), ("²", 0.0)]
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert retry_after_seconds(header) == seconds
