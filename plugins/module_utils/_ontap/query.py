# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ONTAP's query language and its percent-encoding; pure.

In a filter ``* | , ! < > ..`` are operators, so a literal that holds one of them is put in quotes. An empty value would
match everything and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Union
from urllib.parse import quote


@dataclass(frozen=True)
class Expression:
    """A filter value that is meant as ONTAP's query language and is sent as it stands."""

    text: str


Value = Union[str, int, bool, Expression]
Params = Mapping[str, Value]

CONTROLS = frozenset(
    {
        "fields",
        "ignore_unknown_fields",
        "max_records",
        "order_by",
        "privilege_level",
        "return_metadata",
        "return_records",
        "return_timeout",
    }
)
"""Parameters of a GET that are not filters: their commas and blanks have a meaning of their own."""

_OPERATORS = frozenset('*|,!<>"{}')


def literal(value: str) -> str:
    """Return ``value`` so that ONTAP takes every character of it as itself.

    :raises ValueError: it is empty, or holds both a quote and a brace, for which ONTAP has no notation.
    """
    if not value:
        raise ValueError("an empty filter value would match everything")
    plain = not _OPERATORS.intersection(value) and ".." not in value and value != "null" and value == value.strip()
    if plain:
        return value
    if '"' not in value:
        return f'"{value}"'
    if "{" not in value and "}" not in value:
        return f"{{{value}}}"
    raise ValueError(f"a filter value cannot hold quotes and braces at once: {value!r}")


def any_of(values: Iterable[str]) -> Expression:
    """Return the filter that matches each of the literal ``values``, in a stable order.

    :raises ValueError: there is none, or one of them is empty.
    """
    quoted = [literal(value) for value in sorted(set(values))]
    if not quoted:
        raise ValueError("a filter over no values would match everything")
    return Expression("|".join(quoted))


def query_string(params: Params, *, filters: bool, fields: Sequence[str] = ()) -> str:
    """Return ``?key=value&…`` percent-encoded, or an empty string.

    ``filters`` tells whether the parameters are filters (a GET) or plain values (a change). ``fields`` become the
    ``fields`` parameter.

    :raises ValueError: a value is empty or ``None``.
    """
    pairs = [(key, _parameter(key, value, filters=filters and key not in CONTROLS)) for key, value in params.items()]
    if fields:
        pairs.append(("fields", ",".join(fields)))
    if not pairs:
        return ""
    return "?" + "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in pairs)


def segment(text: str) -> str:
    """Return ``text`` as one path segment: slashes and dots are encoded, since a server resolves dot segments.

    :raises ValueError: it is empty, which would address the collection instead.
    """
    if not text:
        raise ValueError("an empty path segment would address the whole collection")
    return quote(text, safe="").replace(".", "%2E")


def _parameter(key: str, value: object, *, filters: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = value.text if isinstance(value, Expression) else value
    if not isinstance(text, str) or not text:
        raise ValueError(f"the parameter {key} has no value; sent like this, it would match everything")
    return literal(text) if filters and not isinstance(value, Expression) else text
