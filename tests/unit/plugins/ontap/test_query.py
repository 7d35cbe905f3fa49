# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters reach the array as they are meant, or not at all."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import (
    Expression,
    any_of,
    literal,
    query_string,
    segment,
)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("vol1", "vol1"),
        ("hv1-daily_20261121020000", "hv1-daily_20261121020000"),
        ("2001:db8::21", "2001:db8::21"),
        ("/kvm_vol1", "/kvm_vol1"),
        ("a.b", "a.b"),
        ("wOj7N$QPt5OO", "wOj7N$QPt5OO"),
        ("a b", "a b"),
        ("vol*", '"vol*"'),
        ("a|b", '"a|b"'),
        ("a,b", '"a,b"'),
        ("!a", '"!a"'),
        ("<a", '"<a"'),
        (">a", '">a"'),
        ("1..9", '"1..9"'),
        ("null", '"null"'),
        (" a", '" a"'),
        ("a{b}", '"a{b}"'),
        ('a"b', '{a"b}'),
    ],
)
def test_a_literal_with_an_operator_is_quoted(value: str, sent: str) -> None:
    assert literal(value) == sent


@pytest.mark.parametrize("value", ["", '"{'])
def test_a_literal_that_cannot_be_told_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"everything|at once"):
        literal(value)


@pytest.mark.parametrize(
    ("params", "filters", "fields", "expected"),
    [
        ({}, True, (), ""),
        ({}, True, ("uuid", "nas.path"), "?fields=uuid%2Cnas.path"),
        ({"name": "vol1"}, True, ("uuid",), "?name=vol1&fields=uuid"),
        ({"svm.name": "svm 1"}, True, (), "?svm.name=svm%201"),
        ({"name": "vol*"}, True, (), "?name=%22vol%2A%22"),
        ({"name": Expression("vol*")}, True, (), "?name=vol%2A"),
        ({"name": any_of(["b", "a", "a"])}, True, (), "?name=a%7Cb"),
        ({"name": any_of(["a|b", "c"])}, True, (), "?name=%22a%7Cb%22%7Cc"),
        ({"fields": "uuid,name"}, True, (), "?fields=uuid%2Cname"),
        ({"order_by": "name desc,uuid"}, True, (), "?order_by=name%20desc%2Cuuid"),
        ({"return_timeout": 0, "return_records": False}, True, (), "?return_timeout=0&return_records=false"),
        ({"size": 4096}, True, (), "?size=4096"),
        ({"restore_to.path": "/d/a b*,1.qcow2"}, False, (), "?restore_to.path=%2Fd%2Fa%20b%2A%2C1.qcow2"),
        ({"serial_number": "a+b/c?&=#"}, True, (), "?serial_number=a%2Bb%2Fc%3F%26%3D%23"),
        ({"name": "übung"}, True, (), "?name=%C3%BCbung"),
    ],
)
def test_the_query_string(params: Any, filters: bool, fields: tuple[str, ...], expected: str) -> None:
    assert query_string(params, filters=filters, fields=fields) == expected


@pytest.mark.parametrize("value", ["", None, Expression("")])
@pytest.mark.parametrize("filters", [True, False])
def test_a_value_that_would_match_everything_is_never_sent(value: Any, filters: bool) -> None:
    with pytest.raises(ValueError, match="name has no value"):
        query_string({"name": value}, filters=filters)


def test_a_filter_over_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        any_of([])


@pytest.mark.parametrize("text", ["..", ".", "../..", ".snapshot/s1/a b.img", "dir/vm.qcow2"])
def test_a_path_segment_has_no_slash_and_no_dot(text: str) -> None:
    sent = segment(text)
    assert not set("/. ") & set(sent)
    assert unquote(sent) == text


def test_an_empty_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="whole collection"):
        segment("")
