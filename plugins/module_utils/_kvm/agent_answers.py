# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a guest's agent says becomes a typed value here, or an :class:`AnswerError`. Pure.

The agent is inside the guest, in the hands of whoever has that: its answers are bounded in size, depth and number, and
nothing else of the collection reads them. What libvirt itself reads of them (virDomainFSFreeze, virDomainGetFSInfo)
comes through here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem

FreezeStatus = Literal["frozen", "thawed"]

LONGEST_ANSWER = 4 * 1024 * 1024
"""Characters of a whole answer; libvirt passes on as many bytes at most."""
MOST_VALUES = 100_000
"""Values in an answer: the network interfaces of a guest with hundreds of containers are some ten thousand."""
DEEPEST = 16
MOST_DIGITS = 20
MOST_NAMES = 1000
LONGEST_NAME = 4096
LONGEST_SHOWN = 120
"""Characters of an answer that are quoted in a message."""

_LONGEST_NUMBER = 2**63
_MOST_FILESYSTEMS = 2**31
# Texts as one piece each, so that what is in them does not count; an unfinished one ends with the answer.
_PIECES = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{},:]', re.DOTALL)


class AnswerError(KvmsnapError):
    """An agent's answer that is not what its protocol says, in one clause."""


@dataclass(frozen=True)
class Executed:
    """How far a program in a guest is; ``code`` is None when a signal ended it. What it printed is in base64."""

    exited: bool
    code: Optional[int] = None
    signal: Optional[int] = None
    output: str = ""
    error: str = ""


def returned(text: object) -> Any:
    """Return what an agent returned, from its whole answer (JSON); raises :class:`AnswerError`.

    What comes out is of JSON's types, its numbers are finite, and no object has a key twice.
    """
    if not isinstance(text, str):
        raise AnswerError(f"it is of the type {type(text).__name__}")
    if len(text) > LONGEST_ANSWER:
        raise AnswerError(f"it has {len(text)} characters, {LONGEST_ANSWER} are the most")
    _bound(text)
    try:
        answer = json.loads(text, parse_int=_integer, parse_constant=_no_number, object_pairs_hook=_object)
    except (ValueError, RecursionError) as exc:
        raise AnswerError(f"it is no JSON: {quoted(text)}") from exc
    if not isinstance(answer, dict) or "return" not in answer:
        raise AnswerError(f"it has nothing that it returns: {quoted(text)}")
    return answer["return"]


def freeze_status(value: object) -> FreezeStatus:
    """Read the answer to guest-fsfreeze-status; raises :class:`AnswerError`."""
    if value == "frozen":
        return "frozen"
    if value == "thawed":
        return "thawed"
    raise AnswerError(f"the agent said {quoted(value)}, neither frozen nor thawed")


def file_system_count(number: object) -> int:
    """Read how many file systems were frozen or thawed; raises :class:`AnswerError`."""
    return _number(number, "the number of file systems", least=0, most=_MOST_FILESYSTEMS)


def file_systems(found: object) -> tuple[FileSystem, ...]:
    """Read what libvirt made of the answer to guest-get-fsinfo; raises :class:`AnswerError`."""
    return tuple(_file_system(each) for each in _list(found, "its file systems"))


def commands(value: object) -> frozenset[str]:
    """Read the enabled commands from the answer to guest-info; raises :class:`AnswerError`."""
    offered = [
        _mapping(each, "a command") for each in _list(_field(value, "supported_commands"), "its supported_commands")
    ]
    return frozenset(_name(_field(each, "name"), "a command's name") for each in offered if _flag(each, "enabled"))


def pid(value: object) -> int:
    """Read the answer to guest-exec; raises :class:`AnswerError`."""
    return _number(_field(value, "pid"), "pid", least=0)


def executed(value: object) -> Executed:
    """Read the answer to guest-exec-status; raises :class:`AnswerError`."""
    answer = _mapping(value, "what it returns")
    return Executed(
        exited=_flag(answer, "exited"),
        code=_optional_number(answer, "exitcode"),
        signal=_optional_number(answer, "signal"),
        output=_checked_text(answer.get("out-data") or "", "out-data"),
        error=_checked_text(answer.get("err-data") or "", "err-data"),
    )


def addresses(value: object) -> tuple[str, ...]:
    """Read the addresses from the answer to guest-network-get-interfaces; raises :class:`AnswerError`."""
    found = [
        _field(_mapping(each, "an address"), "ip-address")
        for interface in _list(value, "its interfaces", most=MOST_VALUES)
        for each in _list(_mapping(interface, "an interface").get("ip-addresses") or [], "ip-addresses")
    ]
    return tuple(_name(each, "an address") for each in found)


def quoted(value: object) -> str:
    """Return the beginning of what an agent said, for a message: in quotes, without control characters."""
    if isinstance(value, str):
        return ascii(value[:LONGEST_SHOWN]) + ("..." if len(value) > LONGEST_SHOWN else "")
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) <= _LONGEST_NUMBER):
        return repr(value)
    return f"a value of the type {type(value).__name__}"


def few(items: Sequence[str], *, most: int = 10) -> list[str]:
    """Return the first of many things that a guest named, and how many more there are; each is cut."""
    shown = [each if len(each) <= LONGEST_SHOWN else f"{each[:LONGEST_SHOWN]}..." for each in items[:most]]
    return shown if len(items) <= most else [*shown, f"and {len(items) - most} more"]


def _bound(text: str) -> None:
    """Refuse an answer that is too deep or has too many values, before anything is made of it."""
    depth = count = 0
    for piece in _PIECES.finditer(text):
        mark = piece.group()[0]
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        elif mark in ",:":
            count += 1
        if depth > DEEPEST or count > MOST_VALUES:
            kind = f"is deeper than {DEEPEST} levels" if depth > DEEPEST else f"has more than {MOST_VALUES} values"
            raise AnswerError(f"it {kind}")


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise AnswerError(f"it has a number of {len(digits)} digits")
    return int(digits)


def _no_number(word: str) -> NoReturn:
    raise AnswerError(f"it has {word} for a number")


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise AnswerError(f"it has {quoted(key)} twice")
        found[key] = value
    return found


def _file_system(found: object) -> FileSystem:
    if not isinstance(found, (tuple, list)) or len(found) != 4:
        raise AnswerError(f"a file system is {quoted(found)}")
    place, device, kind, disks = found
    return FileSystem(
        _name(place, "a mount point"),
        _name(device, "a device"),
        _name(kind, "a kind of file system"),
        tuple(_name(each, "a disk") for each in _list(disks or [], "the disks of a file system")),
    )


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise AnswerError(f"{what} is {quoted(value)}, no object")
    return value


def _field(value: object, key: str) -> Any:
    found = _mapping(value, "what it returns")
    if key not in found:
        raise AnswerError(f"{key} is missing")
    return found[key]


def _list(value: object, what: str, *, most: int = MOST_NAMES) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise AnswerError(f"{what} is {quoted(value)}, no list")
    if len(value) > most:
        raise AnswerError(f"{what} has {len(value)} entries, {most} are the most")
    return list(value)


def _flag(value: Mapping[str, Any], key: str) -> bool:
    found = _field(value, key)
    if not isinstance(found, bool):
        raise AnswerError(f"{key} is {quoted(found)}, neither true nor false")
    return found


def _checked_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise AnswerError(f"{what} is {quoted(value)}, no text")
    return value


def _name(value: object, what: str) -> str:
    text = _checked_text(value, what)
    if len(text) > LONGEST_NAME:
        raise AnswerError(f"{what} has {len(text)} characters, {LONGEST_NAME} are the most")
    return text


def _number(value: object, what: str, *, least: int = -_LONGEST_NUMBER, most: int = _LONGEST_NUMBER) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise AnswerError(f"{what} is {quoted(value)}, no whole number")
    if not least <= value <= most:
        raise AnswerError(f"{what} is {value}")
    return value


def _optional_number(value: Mapping[str, Any], key: str) -> Optional[int]:
    found = value.get(key)
    return None if found is None else _number(found, key)
