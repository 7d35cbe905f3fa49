# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an answer must be of which type."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.shapes import LARGEST_NUMBER, LONGEST_TEXT, odd_shape


@pytest.mark.parametrize(
    ("answer", "odd"),
    [
        ({}, None),
        ({"records": [{"name": "vol1", "svm": {"name": "svm1"}, "size": 7, "enabled": True}]}, None),
        ({"name": None, "svm": None, "records": None, "size": None}, None),
        ({"nobody reads it": object()}, None),
        ({"owners": ["a", {"name": "b"}]}, None),
        ({"svm": "svm1"}, "svm is no object"),
        ({"svm": [{}]}, "svm is no object"),
        ({"records": {}}, "records is no list of objects"),
        ({"records": [{}, "x"]}, "records is no list of objects"),
        ({"owners": "a"}, "owners is not of its type"),
        ({"owners": [7]}, "owners is not of its type"),
        ({"size": "7"}, "size is not of its type"),
        ({"size": 7.0}, "size is not of its type"),
        ({"size": True}, "size is not of its type"),
        ({"size": LARGEST_NUMBER - 1}, None),
        ({"size": LARGEST_NUMBER}, "size is not of its type"),
        ({"size": -LARGEST_NUMBER}, "size is not of its type"),
        ({"enabled": 1}, "enabled is not of its type"),
        ({"name": 7}, "name is not of its type"),
        ({"name": ["x"]}, "name is not of its type"),
        ({"name": "x" * LONGEST_TEXT}, None),
        ({"name": "x" * (LONGEST_TEXT + 1)}, "name is not of its type"),
        ({"records": [{"svm": {"name": {}}}]}, "name is not of its type"),
        ({"error": {"message": 7}}, "message is not of its type"),
    ],
)
def test_a_field_that_is_read_is_of_its_type_wherever_it_stands(answer: dict[str, Any], odd: str | None) -> None:
    assert odd_shape(answer) == odd


def test_an_answer_of_any_depth_ends_with_an_answer() -> None:
    deep: dict[str, Any] = {"name": 7}
    for _each in range(100_000):
        deep = {"svm": deep}
    assert odd_shape(deep) == "name is not of its type"
