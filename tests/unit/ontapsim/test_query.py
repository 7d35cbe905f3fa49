# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The query language by tables: fields, filters, order and pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest

from ontapsim import paging
from ontapsim.errors import ApiError
from ontapsim.fields import Record, Table, parse_body, parse_version, project
from ontapsim.query import parse_filters, select_fields, split_fields

V = (9, 19, 1)
TABLE = Table(
    """
uuid                string
name                string  post patch
size                size    post patch
state               online|offline
created             time
enabled             boolean post
services[]          string
svm.name            string
svm.uuid            string
nas.path            string  expensive fold patch
nas.security        string  expensive
space.used          integer
space.deep.more     integer expensive since=9.12.1
disks[].name        string
""",
    key=("uuid",),
    default=("uuid", "name"),
)
CHEAP = {
    "uuid", "name", "size", "state", "created", "enabled", "services", "svm.name", "svm.uuid", "space.used",
    "disks.name",
}  # fmt: skip
DEAR = {"nas.path", "nas.security", "space.deep.more"}


def record(number: int, **values: Any) -> Record:
    """Return a record with its number in identity and size."""
    return {"uuid": f"u{number:03}", "name": f"n{number}", "size": number, **values}


SPLIT = {
    "a,b.c": ["a", "b.c"],
    "a.{b,c},d": ["a.b", "a.c", "d"],
    "a, b": ["a", "b"],
    "a,": ["a"],
    "!a.{b,c}": ["!a.b", "!a.c"],
}


@pytest.mark.parametrize("text", SPLIT)
def test_split_fields(text: str) -> None:
    assert split_fields(text) == SPLIT[text]


@pytest.mark.parametrize("text", ["a.{b", "a.b}", "a.{b,{c}}"])
def test_braces_that_do_not_match(text: str) -> None:
    with pytest.raises(ApiError) as error:
        split_fields(text)
    assert error.value.code == "262286"


SELECT: dict[str | None, set[str]] = {
    None: {"uuid", "name"},
    "": {"uuid", "name"},
    "size": {"uuid", "name", "size"},
    "svm": {"uuid", "name", "svm.name", "svm.uuid"},
    "svm.{name}": {"uuid", "name", "svm.name"},
    "nas.path": {"uuid", "name", "nas.path"},
    "nas": {"uuid", "name", "nas.path", "nas.security"},
    "space": {"uuid", "name", "space.used"},
    "space.*": {"uuid", "name", "space.used", "space.deep.more"},
    "*": CHEAP,
    "**": CHEAP | DEAR,
    "*,nas.path": CHEAP | {"nas.path"},
    "*,!svm.uuid": CHEAP - {"svm.uuid"},
    "*,!svm": CHEAP - {"svm.uuid", "svm.name"},
}


@pytest.mark.parametrize("text", SELECT)
def test_select_fields(text: str | None) -> None:
    assert select_fields(TABLE, V, text, instance=False, lenient=False) == SELECT[text]


def test_an_instance_shows_all_that_is_cheap() -> None:
    assert select_fields(TABLE, V, None, instance=True, lenient=False) == CHEAP
    assert select_fields(TABLE, V, "nas.path", instance=True, lenient=False) == {"uuid", "name", "nas.path"}


def test_filtered_fields_are_shown() -> None:
    chosen = select_fields(TABLE, V, None, instance=False, lenient=False, filtered=["nas.path"])
    assert chosen == {"uuid", "name", "nas.path"}


@pytest.mark.parametrize(("text", "version"), [("foo", V), ("svm.foo", V), ("space.deep.more", (9, 11, 1))])
def test_unknown_fields(text: str, version: tuple[int, int, int]) -> None:
    with pytest.raises(ApiError) as error:
        select_fields(TABLE, version, text, instance=False, lenient=False)
    assert (error.value.status, error.value.code, error.value.target) == (400, "262197", "fields")
    assert select_fields(TABLE, version, text, instance=False, lenient=True) == {"uuid", "name"}


SAMPLE: Record = {
    "uuid": "u1",
    "name": "vol_1*x",
    "size": 5 << 20,
    "state": "online",
    "created": "2026-01-02T03:04:05+00:00",
    "enabled": True,
    "services": ["data_nfs", "data_core"],
    "svm": {"name": "svm 1", "uuid": "s"},
    "nas": {"path": "/Kvm/A"},
    "disks": [{"name": "one"}, {"name": "two"}],
}
FILTERS = [
    ("name", "vol_1*x", True), ("name", '"vol_1*x"', True), ("name", "{vol_1*x}", True), ("name", '"vol*"', False),
    ("name", "vol*", True), ("name", "VOL*", False), ("name", "*1*", True), ("name", "x|vol*", True),
    ("name", '"x|y"|vol*', True), ("name", "!vol*", False), ("name", "!x", True), ("name", "!x|!y", True),
    ("name", "null", False), ("name", "!null", True), ("nas.security", "null", True), ("nas.security", "!null", False),
    ("nas.security", "x", False), ("nas.security", "!x", True), ("size", "5MB", True), ("size", "5242880", True),
    ("size", ">5MB", False), ("size", ">=5MB", True), ("size", "<6MB", True), ("size", "<=5242879", False),
    ("size", "1MB..5MB", True), ("size", "6MB..7MB", False), ("size", "<1MB|>4MB", True), ("state", "ONLINE", True),
    ("state", "offline|online", True), ("created", ">2026-01-01T00:00:00Z", True),
    ("created", "2026-01-01..2026-01-03", True), ("created", "2026-01-02T05:04:05+02:00", True),
    ("enabled", "true", True), ("enabled", "false", False), ("services", "data_nfs", True),
    ("services", "data_nfs,data_core", True), ("services", "data_nfs,data_iscsi", False), ("services", "data_*", True),
    ("svm.name", "svm 1", True), ("nas.path", "/kvm/a", True), ("nas.path", "/kvm*", True), ("nas.path", "/k", False),
    ("disks.name", "two", True), ("disks.name", "three", False), ("name", "vol[_]1*", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected"), FILTERS)
def test_filters(name: str, text: str, expected: bool) -> None:
    assert all(item.passes(SAMPLE) for item in parse_filters(TABLE, V, {name: text})) is expected


BAD_FILTERS = [
    ("foo", "1", "262179"), ("name", "", "262194"), ("size", "big", "262197"), ("state", "weird", "262197"),
    ("created", "yesterday", "262197"), ("enabled", "yes", "262197"), ("name", '"open', "262185"),
    ("name", "a,b", "262185"), ("size", ">", "262197"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "code"), BAD_FILTERS)
def test_filters_that_are_refused(name: str, text: str, code: str) -> None:
    with pytest.raises(ApiError) as error:
        parse_filters(TABLE, V, {name: text})
    assert (error.value.status, error.value.code) == (400, code)


ORDERS = {
    "size": ["n1", "n2", "n3", "n10"],
    "size desc": ["n10", "n3", "n2", "n1"],
    "name": ["n1", "n10", "n2", "n3"],
    "state, size desc": ["n10", "n3", "n2", "n1"],
    None: ["n1", "n2", "n3", "n10"],
}


@pytest.mark.parametrize("text", ORDERS)
def test_order(text: str | None) -> None:
    records = [record(number, state="online") for number in (3, 10, 1, 2)]
    found = paging.sort(records, TABLE, paging.parse_order(TABLE, V, text))
    assert [item["name"] for item in found] == ORDERS[text]


@pytest.mark.parametrize(("text", "code"), [("foo", "262197"), ("size down", "262197"), ("services", "262268")])
def test_order_that_is_refused(text: str, code: str) -> None:
    with pytest.raises(ApiError) as error:
        paging.parse_order(TABLE, V, text)
    assert error.value.code == code


def walk(
    records: list[Record], params: dict[str, str], *, early: int = 0, empty_pages: bool = False
) -> list[list[str]]:
    """Follow all pages and return the names on each."""
    pages: list[list[str]] = []
    while True:
        order = paging.parse_order(TABLE, V, params.get("order_by"))
        page = paging.cut(records, TABLE, order, params, early=early, empty_pages=empty_pages)
        pages.append([item["name"] for item in page.records])
        if page.next_query is None:
            return pages
        assert len(pages) < 50
        params = dict(parse_qsl(page.next_query))


FIVE = [record(number) for number in range(5)]
PAGES: list[tuple[dict[str, str], dict[str, Any], list[list[str]]]] = [
    ({}, {}, [["n0", "n1", "n2", "n3", "n4"]]),
    ({"max_records": "2"}, {}, [["n0", "n1"], ["n2", "n3"], ["n4"]]),
    ({"max_records": "5"}, {}, [["n0", "n1", "n2", "n3", "n4"], []]),
    ({"max_records": "4", "order_by": "size desc"}, {}, [["n4", "n3", "n2", "n1"], ["n0"]]),
    ({}, {"early": 3}, [["n0", "n1", "n2"], ["n3", "n4"]]),
    ({"max_records": "2"}, {"early": 3}, [["n0", "n1"], ["n2", "n3"], ["n4"]]),
    ({}, {"early": 3, "empty_pages": True}, [["n0", "n1", "n2"], [], ["n3", "n4"]]),
    ({"offset": "3"}, {}, [["n3", "n4"]]),
]


@pytest.mark.parametrize(("params", "options", "expected"), PAGES)
def test_pages(params: dict[str, str], options: dict[str, Any], expected: list[list[str]]) -> None:
    assert walk(FIVE, params, **options) == expected


@pytest.mark.parametrize("order", [None, "size desc", "state,size"])
def test_pages_lose_nothing_when_records_go(order: str | None) -> None:
    records = list(FIVE)
    params = {"max_records": "2", **({"order_by": order} if order else {})}
    orders = paging.parse_order(TABLE, V, order)
    first = paging.cut(records, TABLE, orders, params, early=0, empty_pages=False)
    assert first.next_query is not None
    for item in first.records:
        records.remove(item)
    rest = [name for page in walk(records, dict(parse_qsl(first.next_query))) for name in page]
    assert rest == [item["name"] for item in paging.sort(records, TABLE, orders)]


@pytest.mark.parametrize("value", ["0", "-1", "x", ""])
def test_max_records_must_be_a_positive_number(value: str) -> None:
    with pytest.raises(ApiError) as error:
        paging.cut([], TABLE, [], {"max_records": value}, early=0, empty_pages=False)
    assert error.value.code == "262197"


def test_project() -> None:
    assert project(SAMPLE, {"svm.name", "disks.name", "services", "nas.security"}) == {
        "svm": {"name": "svm 1"},
        "disks": [{"name": "one"}, {"name": "two"}],
        "services": ["data_nfs", "data_core"],
    }


def test_body() -> None:
    parsed = parse_body(TABLE, {"name": "x", "size": "2GB", "_links": {"self": {}}}, V, method="POST")
    assert parsed == {"name": "x", "size": 2 << 30}
    assert parse_body(TABLE, {"nas": {"path": "/x"}}, V, method="PATCH") == {"nas.path": "/x"}
    assert parse_body(TABLE, {"nas.path": "/x"}, V, method="PATCH") == {"nas.path": "/x"}


BODIES: list[tuple[dict[str, Any], str]] = [
    ({"foo": 1}, "262179"), ({"svm": {"foo": 1}}, "262179"), ({"uuid": "x"}, "262196"),
    ({"nas": {"path": "x"}}, "262196"),
    ({"size": True}, "262197"), ({"size": "x"}, "262197"), ({"name": 1}, "262197"), ({"enabled": "true"}, "262197"),
    ({"name": ["x"]}, "262255"), ({"name": {"x": 1}}, "262179"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code"), BODIES)
def test_bodies_that_are_refused(body: dict[str, Any], code: str) -> None:
    with pytest.raises(ApiError) as error:
        parse_body(TABLE, body, V, method="POST")
    assert error.value.code == code


@pytest.mark.parametrize("text", ["9", "9.1.2.3", "x"])
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="no ONTAP version"):
        parse_version(text)
