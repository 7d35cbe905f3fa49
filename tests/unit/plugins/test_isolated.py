# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with one guest is a value."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import UnexpectedError, outcome_of


def test_what_a_call_returns_or_raises_is_a_value() -> None:
    def burst() -> int:
        raise ValueError("x" * 1000)

    def end() -> int:
        raise KeyboardInterrupt

    assert outcome_of(lambda: 7, what="count") == 7
    found = outcome_of(burst, what="count")
    assert isinstance(found, UnexpectedError)
    assert found.message.startswith("Failed to count: ValueError: xxx")
    assert len(found.message) < 400
    assert found.fields == {"exception": "ValueError"}
    assert isinstance(found.__cause__, ValueError)
    with pytest.raises(KeyboardInterrupt):
        outcome_of(end, what="count")
