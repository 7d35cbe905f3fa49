# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The query language: which fields to show, and filters with their operators and quoting."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from . import errors
from .clock import from_iso
from .errors import ApiError
from .fields import Field, Record, Table, Version, values_of

Predicate = Callable[[Any], bool]


def split_fields(text: str) -> list[str]:
    """Split a ``fields`` value at commas and write out its braces: ``a.{b,c}`` is ``a.b`` and ``a.c``."""
    depth, part, parts = 0, "", []
    for char in text:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth < 0 or depth > 1:
            raise ApiError(errors.BRACES, "Mismatching braces found in the fields query parameter", target="fields")
        if char == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    if depth:
        raise ApiError(errors.BRACES, "Mismatching braces found in the fields query parameter", target="fields")
    parts.append(part)
    names: list[str] = []
    for item in (piece.strip() for piece in parts):
        match = re.fullmatch(r"([^{}]*)\{([^{}]*)\}", item)
        names += [match[1] + inner.strip() for inner in match[2].split(",")] if match else [item]
    return [name for name in names if name]


def select_fields(
    table: Table,
    version: Version,
    requested: str | None,
    *,
    instance: bool,
    lenient: bool,
    filtered: Sequence[str] = (),
) -> set[str]:
    """Return the leaf fields to show.

    A collection shows its identifying fields unasked, an instance all but the expensive ones; filtered fields are
    always shown. An unknown name is refused with 262197 unless ``lenient`` (``ignore_unknown_fields``).
    """
    known = table.at(version)
    cheap = {name for name, field in known.items() if not field.expensive}
    chosen: set[str] = set(cheap) if instance and not requested else set(table.default) & set(known)
    removed: set[str] = set()
    for name in split_fields(requested or ""):
        target, bare = (removed, name[1:]) if name.startswith("!") else (chosen, name)
        matches = _matching(bare, known, cheap)
        if matches is None:
            if lenient:
                continue
            raise errors.invalid_value(bare, "fields", "field,...")
        target |= matches
    return (chosen - removed) | set(filtered)


def _matching(name: str, known: dict[str, Field], cheap: set[str]) -> set[str] | None:
    if name == "**":
        return set(known)
    if name == "*":
        return set(cheap)
    if name in known:
        return {name}
    wide = name[:-2] if name.endswith(".*") else name
    below = {item for item in known if item.startswith(wide + ".")}
    if not below:
        return None
    return below if name.endswith(".*") else (below & cheap) or below


def parse_filter(field: Field, text: str) -> Predicate:
    """Return the test that a filter value stands for; it is given one stored value, or None for a missing one."""
    if text == "":
        raise ApiError(
            errors.MISSING_EXPRESSION, f'The expression for "{field.name}" is missing a value', target=field.name
        )
    tests = [_alternative(field, part) for part in _split_quoted(text)]
    return lambda value: any(test(value) for test in tests)


def _split_quoted(text: str) -> list[str]:
    parts, part, closing = [], "", ""
    for char in text:
        if closing:
            closing = "" if char == closing else closing
        elif char in '"{':
            closing = {'"': '"', "{": "}"}[char]
        elif char == "|":
            parts.append(part)
            part = ""
            continue
        part += char
    if closing:
        raise ApiError(errors.INVALID_VALUE, f"The value {text} has an unterminated quotation")
    parts.append(part)
    return parts


def _alternative(field: Field, text: str) -> Predicate:
    if text.startswith("!"):
        inner = _alternative(field, text[1:])
        return lambda value: not inner(value)
    if text == "null":
        return lambda value: value is None
    for sign, holds in _COMPARISONS:
        if text.startswith(sign):
            bound = _operand(field, text[len(sign) :])
            return lambda value: value is not None and holds(_comparable(field, value), bound)
    literal = _unquote(text)
    if literal is not None:
        wanted = _operand(field, text)
        return lambda value: value is not None and _comparable(field, value) == wanted
    if ".." in text and field.kind != "string" and "|" not in field.kind:
        low, high = (_operand(field, part) for part in text.split("..", 1))
        return lambda value: value is not None and bool(low <= _comparable(field, value) <= high)
    if "*" in text:
        pattern = re.compile(fnmatch.translate(_fold(field, re.sub(r"([\[\]?])", r"[\1]", text))))
        return lambda value: value is not None and pattern.match(_fold(field, str(value))) is not None
    if "," in text and not field.array:
        raise ApiError(
            errors.INVALID_VALUE, f'The value "{text}" is invalid for field "{field.name}"', target=field.name
        )
    wanted = _operand(field, text)
    return lambda value: value is not None and _comparable(field, value) == wanted


_COMPARISONS: list[tuple[str, Callable[[Any, Any], bool]]] = [
    ("<=", lambda value, bound: bool(value <= bound)),
    (">=", lambda value, bound: bool(value >= bound)),
    ("<", lambda value, bound: bool(value < bound)),
    (">", lambda value, bound: bool(value > bound)),
]


def _unquote(text: str) -> str | None:
    if len(text) >= 2 and ((text[0] == text[-1] == '"') or (text[0], text[-1]) == ("{", "}")):
        return text[1:-1]
    return None


def _operand(field: Field, text: str) -> Any:
    literal = _unquote(text)
    return _comparable(field, field.parse(text if literal is None else literal, text=True))


def _comparable(field: Field, value: Any) -> Any:
    if field.kind == "time":
        return from_iso(value)
    return _fold(field, value) if isinstance(value, str) else value


def _fold(field: Field, value: str) -> str:
    return value.lower() if field.fold or "|" in field.kind else value


@dataclass(frozen=True)
class Filter:
    """One filter of a query: a record passes when one of the field's values does; a list wants each test met."""

    name: str
    tests: tuple[Predicate, ...]

    def passes(self, record: Record) -> bool:
        """Say whether a record passes."""
        found = values_of(record, self.name) or [None]
        return all(any(test(value) for value in found) for test in self.tests)


def parse_filters(table: Table, version: Version, params: Mapping[str, str]) -> list[Filter]:
    """Return the filters of a query; an unknown field is 262179. For an array ``a,b`` wants both in it."""
    known = table.at(version)
    result = []
    for name, text in params.items():
        field = known.get(name)
        if field is None:
            raise errors.unexpected_argument(name)
        parts = text.split(",") if field.array and "," in text else [text]
        result.append(Filter(name, tuple(parse_filter(field, part) for part in parts)))
    return result
