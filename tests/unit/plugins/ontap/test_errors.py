# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failure of the array is a sentence with its code, and can be told as that of a larger step."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    OntapDeniedError,
    OntapError,
    OutcomeUnknownError,
    during,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import Outcome


def test_a_failure_says_what_failed_and_why() -> None:
    error = OntapError("read the volumes", "no such SVM", ontap_code="4", http_status=404)
    assert error.message == "Failed to read the volumes: no such SVM"
    assert (error.action, error.reason, error.code) == ("read the volumes", "no such SVM", "4")
    assert error.outcome == Outcome("answered")


@pytest.mark.parametrize(
    ("code", "wanted", "found"),
    [("4", ("4",), True), ("4", ("1", "4"), True), ("4", ("1",), False), (None, ("4",), False), ("4", (), False)],
)
def test_it_is_branched_on_by_its_code(code: str | None, wanted: tuple[str, ...], found: bool) -> None:
    assert OntapError("act", "no", ontap_code=code).has_code(*wanted) is found


@pytest.mark.parametrize("kind", [OntapError, OntapDeniedError, OutcomeUnknownError])
def test_the_same_failure_is_told_as_that_of_a_larger_step(kind: type[OntapError]) -> None:
    lost = Outcome("lost")
    error = kind("send POST /x", "the connection broke", outcome=lost, ontap_code="4", volume="vol1")
    told = during(error, "create snapshot 's1'", volume="vol2", snapshot="s1")
    assert told.__class__ == kind
    assert told.message == "Failed to create snapshot 's1': the connection broke"
    assert told.fields == {"ontap_code": "4", "volume": "vol2", "snapshot": "s1"}
    assert told.outcome is lost
