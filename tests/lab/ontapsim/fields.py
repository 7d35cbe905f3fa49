# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Field tables: what a resource's fields are called, their kinds, who may set them, and since which version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import errors
from .clock import from_iso

Version = tuple[int, int, int]
Record = dict[str, Any]

_UNITS = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "PB": 1 << 50}


def parse_version(text: str) -> Version:
    """Read ``9.11.1`` (or ``9.8``); raises ``ValueError``."""
    parts = text.split(".")
    if not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in parts):
        raise ValueError(f"{text} is no ONTAP version")
    numbers = [int(part) for part in parts]
    return numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else 0


@dataclass(frozen=True)
class Field:
    """One field. ``kind``: string, integer, size, boolean, time, duration, object, or an enumeration's values."""

    name: str
    kind: str
    array: bool = False
    create: bool = False
    modify: bool = False
    expensive: bool = False
    fold: bool = False
    since: Version = (9, 6, 0)

    def parse(self, value: Any, *, text: bool) -> Any:
        """Check a value (``text``: it comes from a URL) and return it as it is stored; raises ``ApiError``."""
        if value is None and not text:
            return None
        try:
            return _parse(self.kind, value, text=text)
        except (ValueError, TypeError, OverflowError) as exc:
            raise errors.invalid_value(value, self.name, self.kind) from exc


def _parse(kind: str, value: Any, *, text: bool) -> Any:
    if kind in ("integer", "size"):
        if isinstance(value, bool):
            raise ValueError(value)
        if isinstance(value, int):
            return value
        if kind == "size" and value[-2:].upper() in _UNITS:
            return int(float(value[:-2]) * _UNITS[value[-2:].upper()])
        return int(value)
    if kind == "boolean":
        if isinstance(value, bool):
            return value
        if text and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise ValueError(value)
    if not isinstance(value, str):
        raise TypeError(value)
    if kind == "time":
        from_iso(value)
    if "|" in kind:
        if value.lower() not in kind.split("|"):
            raise ValueError(value)
        return value.lower()
    return value


class Table:
    """The fields of one resource. ``key`` identifies a record, ``default`` is what a collection shows unasked."""

    def __init__(self, spec: str, *, key: tuple[str, ...], default: tuple[str, ...]) -> None:
        self.key = key
        self.default = default
        self.fields: dict[str, Field] = {}
        for line in spec.strip().splitlines():
            field = _field(line)
            self.fields[field.name] = field

    def at(self, version: Version) -> dict[str, Field]:
        """Return the fields that a version knows."""
        return {name: field for name, field in self.fields.items() if field.since <= version}


def _field(line: str) -> Field:
    words = line.split()
    since: Version = (9, 6, 0)
    for word in words[2:]:
        if word.startswith("since="):
            since = parse_version(word[6:])
    flags = set(words[2:])
    return Field(
        words[0].replace("[]", ""),
        words[1],
        array=words[0].endswith("[]"),
        create="post" in flags,
        modify="patch" in flags,
        expensive="expensive" in flags,
        fold="fold" in flags,
        since=since,
    )


def values_of(record: Record, name: str) -> list[Any]:
    """Return the values at a dotted name; arrays on the way yield one per element, a missing field none."""
    found: list[Any] = [record]
    for part in name.split("."):
        step: list[Any] = []
        for item in found:
            if isinstance(item, dict) and item.get(part) is not None:
                value = item[part]
                step.extend(value if isinstance(value, list) else [value])
        found = step
    return found


def project(record: Record, names: set[str]) -> Record:
    """Return the part of a nested record whose dotted leaf names are in ``names``."""
    return _project(record, names, "")


def _project(record: Record, names: set[str], prefix: str) -> Record:
    result: Record = {}
    for key, value in record.items():
        name = prefix + key
        if value is None:
            continue
        if isinstance(value, dict):
            part = _project(value, names, name + ".")
            if part:
                result[key] = part
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            parts = [item for item in (_project(item, names, name + ".") for item in value) if item]
            if parts:
                result[key] = parts
        elif name in names:
            result[key] = value
    return result


def flatten(body: Record, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and values of a request body; arrays are leaves."""
    for key, value in body.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def parse_body(table: Table, body: Record, version: Version, *, method: str) -> dict[str, Any]:
    """Check a POST or PATCH body against a table and return dotted names with checked values.

    An unknown field is 262179, one that cannot be set 262196; dotted keys in the body are accepted as ONTAP does.
    """
    known = table.at(version)
    result: dict[str, Any] = {}
    for name, value in flatten(body):
        if name == "_links" or name.startswith("_links.") or "._links" in name:
            continue
        field = known.get(name)
        if value == {} and any(other.startswith(f"{name}.") for other in known):
            continue
        if field is None:
            raise errors.unexpected_argument(name)
        if not (field.create if method == "POST" else field.modify):
            raise errors.ApiError(errors.NOT_SETTABLE, f'Field "{name}" cannot be set in this operation', target=name)
        if name in result:
            raise errors.ApiError(errors.TWICE, f'Field "{name}" was specified twice', target=name)
        if field.array:
            if not isinstance(value, list):
                raise errors.ApiError(errors.ARRAY_EXPECTED, f'Field "{name}" must be an array', target=name)
            result[name] = [field.parse(item, text=False) for item in value]
            continue
        if isinstance(value, list):
            raise errors.ApiError(errors.ARRAY_NOT_EXPECTED, f'Field "{name}" must not be an array', target=name)
        result[name] = field.parse(value, text=False)
    return result
