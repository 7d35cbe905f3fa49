# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Order and pages of a collection, and the link to the next page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from . import errors
from .clock import from_iso
from .fields import Field, Record, Table, Version, values_of

DEFAULT_MAX_RECORDS = 10000
_START, _PAUSE = "start.", "pause"


@dataclass(frozen=True)
class Order:
    """One field of an ``order_by``."""

    field: Field
    descending: bool


def parse_order(table: Table, version: Version, text: str | None) -> list[Order]:
    """Read ``order_by``: names with an optional ``asc`` or ``desc``, separated by commas."""
    result = []
    for part in (text or "").split(","):
        words = part.split()
        if not words:
            continue
        field = table.at(version).get(words[0])
        if field is None or len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
            raise errors.invalid_value(part.strip(), "order_by", "field [asc|desc],...")
        if field.array:
            raise errors.ApiError(
                errors.NOT_IN_ORDER_BY, f'Field "{field.name}" is not supported in order_by', target="order_by"
            )
        result.append(Order(field, words[-1] == "desc"))
    return result


def sort(records: Sequence[Record], table: Table, order: Sequence[Order]) -> list[Record]:
    """Sort by the given order, and by the identifying fields where that leaves a tie."""
    result = sorted(records, key=lambda record: [str(_first(record, name) or "") for name in table.key])
    for item in reversed(order):
        result.sort(
            key=lambda record, item=item: _sortable(item.field, record),  # type: ignore[misc]
            reverse=item.descending,
        )
    return result


def _first(record: Record, name: str) -> Any:
    found = values_of(record, name)
    return found[0] if found else None


def _sortable(field: Field, record: Record) -> tuple[bool, Any]:
    value = _first(record, field.name)
    if value is None:
        return (False, 0)
    return (True, from_iso(value) if field.kind == "time" else value)


@dataclass(frozen=True)
class Page:
    """A page's records, and the query of the next one if there may be more."""

    records: list[Record]
    next_query: str | None


def cut(
    records: Sequence[Record],
    table: Table,
    order: Sequence[Order],
    params: Mapping[str, str],
    *,
    early: int,
    empty_pages: bool,
) -> Page:
    """Sort all records and cut the page that ``params`` asks for.

    ``max_records`` or ``early`` (0: none) end a page; a full page has a next link even when nothing follows, and with
    ``empty_pages`` an empty page comes before each following one.
    """
    limit = _positive(params, "max_records") or DEFAULT_MAX_RECORDS
    limit = min(limit, early) if early else limit
    started = {key[len(_START) :]: value for key, value in params.items() if key.startswith(_START)}
    begin = _resume(records, table, order, started) if started else _positive(params, "offset", zero=True) or 0
    ordered = sort(records, table, order)
    if started.pop(_PAUSE, None):
        return Page([], _next(params, started))
    page = ordered[begin : begin + limit]
    if len(page) < limit:
        return Page(page, None)
    start = {
        name: str(_first(page[-1], name))
        for name in [*table.key, *(item.field.name for item in order)]
        if _first(page[-1], name) is not None
    }
    if empty_pages:
        start[_PAUSE] = "true"
    return Page(page, _next(params, start))


def _resume(records: Sequence[Record], table: Table, order: Sequence[Order], started: Mapping[str, str]) -> int:
    """Return where to go on: behind the place that the last record has, or would have if it is gone by now."""
    marker: Record = {}
    fields = {**{item.field.name: item.field for item in order}, **{name: table.fields[name] for name in table.key}}
    for name, field in fields.items():
        if name in started:
            _put(marker, name, field.parse(started[name], text=True))
    return next(index for index, record in enumerate(sort([*records, marker], table, order)) if record is marker)


def _put(record: Record, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        record = record.setdefault(parent, {})
    record[leaf] = value


def _next(params: Mapping[str, str], start: Mapping[str, str]) -> str:
    kept = {key: value for key, value in params.items() if not key.startswith(_START) and key != "offset"}
    query = {**{_START + name: value for name, value in start.items()}, **kept}
    return "&".join(f"{quote(key, safe='.')}={quote(value, safe='')}" for key, value in query.items())


def _positive(params: Mapping[str, str], name: str, *, zero: bool = False) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    if not text.isdigit() or (int(text) == 0 and not zero):
        raise errors.invalid_value(text, name, "integer")
    return int(text)
