# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest that is in the wrong hands may let its agent answer, by kind; each makes a `StandInAgent` hostile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from .stand_in import Manner, StandInAgent

DIGITS = b"9" * 5000
FAKED = "\x1b[2J\r\nPLAY RECAP *****\x1b[32m\nhv1 : ok=9 failed=0\x07\u202e"
"""An error text that would draw on a terminal."""

TRICKLES = 12
"""Seconds for which a trickling answer goes on; the tests give an agent two."""

STATUS, FREEZE, THAW, PING = "status", "freeze", "thaw", "ping"
FSINFO, SYNC = "guest-get-fsinfo", ("guest-sync", "guest-sync-delimited")

_VALUES: dict[str, bytes] = {
    "5000 digits": DIGITS,
    "a float": b"1.5",
    "a huge float": b"1e400",
    "NaN": b"NaN",
    "a negative number": b"-7",
    "minus one": b"-1",
    "true": b"true",
    "null": b"null",
    "a list": b"[[], {}]",
    "nested 10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "a million entries": b"[" + b"0," * 999_999 + b"0]",
    "a text of 16 MB": b'"' + b"x" * (16 * 1024 * 1024) + b'"',
    "a text of 1 MB": b'"' + b"x" * (1024 * 1024) + b'"',
    "invalid UTF-8": b'"thawed\xc3\x28\xff\xfe"',
    "a lone surrogate": b'"\\ud800 thawed"',
    "control characters": json.dumps(FAKED).encode(),
}
_WHOLES: dict[str, bytes] = {
    "duplicate keys": b'{"return": "frozen", "return": "thawed"}\n',
    "two answers": b'{"return": "frozen"}\n{"return": "thawed"}\n',
    "half an answer": b'{"return": "thaw',
    "an empty object": b"{}\n",
    "a bare value": b"7\n",
    "no JSON": b"<html>\x1b[31m502</html>\n",
    "an error of a number": b'{"error": 17}\n',
    "an error of odd types": b'{"error": {"class": ["x"], "desc": {"a": 1}}}\n',
    "an error of 5000 digits": b'{"error": {"class": ' + DIGITS + b', "desc": ' + DIGITS + b"}}\n",
    "an error that draws": json.dumps({"error": {"class": "GenericError", "desc": FAKED}}).encode() + b"\n",
    "an error of invalid UTF-8": b'{"error": {"class": "GenericError", "desc": "\xff\xfe\xc3\x28"}}\n',
    "an error of 1 MB": json.dumps({"error": {"class": "GenericError", "desc": "y" * 1024 * 1024}}).encode() + b"\n",
}
_FSINFOS: dict[str, Any] = {
    "fsinfo of odd types": [{"name": 1, "mountpoint": {}, "type": None, "disk": "all"}],
    "fsinfo with odd places": [
        {"name": FAKED, "mountpoint": "/" + "x" * 100_000, "type": FAKED, "disk": []},
        {"name": "", "mountpoint": "\\\\?\\", "type": "", "disk": [{"bus-type": "virtio"}]},
    ],
    "fsinfo of 3,000 mounts": [
        {"name": f"vd{n}", "mountpoint": f"/{n}", "type": "ext4", "disk": []} for n in range(3000)
    ],
}
_ANSWERING: tuple[str, ...] = (STATUS, THAW, FREEZE)


def hostile(agent: StandInAgent, kind: str, *, once_frozen: bool = False) -> None:
    """Let an agent answer in this way from now on; ``once_frozen``: as soon as it has frozen its file systems."""
    for command, manner in _manners(kind).items():
        manner.once_frozen = once_frozen
        agent.behave(command, manner)


def kinds(*, once_frozen: bool = False) -> list[str]:
    """Return all kinds; ``once_frozen``: those that can begin after the freeze, when nobody asks what is mounted."""
    return [*_VALUES, *_WHOLES, *(() if once_frozen else _FSINFOS), *_LIES]


def _manners(kind: str) -> dict[str, Manner]:
    if kind in _VALUES:
        return {each: _saying(b'{"return": ' + _VALUES[kind] + b"}\n") for each in _ANSWERING}
    if kind in _WHOLES:
        return {each: _saying(_WHOLES[kind]) for each in _ANSWERING}
    if kind in _FSINFOS:
        return {FSINFO: _saying(json.dumps({"return": _FSINFOS[kind]}).encode() + b"\n")}
    return _LIES[kind]()


def _saying(*pieces: bytes) -> Manner:
    return Manner(reply=lambda _request: pieces)


def _trickle(_request: Mapping[str, Any]) -> Iterator[bytes]:
    """Send a byte a second, for longer than anybody waits."""
    yield b'{"return": "'
    for _second in range(TRICKLES):
        time.sleep(1)
        yield b"x"
    yield b'"}\n'


def _another_id(request: Mapping[str, Any]) -> Iterable[bytes]:
    number = int(request.get("arguments", {}).get("id", 0))
    return [json.dumps({"return": number + 1}).encode() + b"\n"]


def _out_of_step(manner: Manner) -> dict[str, Manner]:
    """Keep silent once, since libvirt asks for an id after that only."""
    return {**dict.fromkeys(SYNC, manner), STATUS: Manner(silent=True, count=1)}


def _lies(**returned: Any) -> dict[str, Manner]:
    return {each: _saying(json.dumps({"return": value}).encode() + b"\n") for each, value in returned.items()}


_LIES: dict[str, Callable[[], dict[str, Manner]]] = {
    "a byte a second": lambda: dict.fromkeys(_ANSWERING, Manner(reply=_trickle)),
    "an answer to another id": lambda: _out_of_step(Manner(reply=_another_id)),
    "a number without end for an id": lambda: _out_of_step(_saying(b'{"return": ' + DIGITS + b"}\n")),
    "always thawed": partial(_lies, status="thawed"),
    "always frozen": partial(_lies, status="frozen"),
    "a status of another type": partial(_lies, status={"frozen": True}),
    "freezes and thaws by the million": partial(_lies, freeze=2_000_000_000, thaw=2_000_000_000),
    "more than an int": partial(_lies, freeze=2**40, thaw=2**40),
    "a ping that talks": partial(_lies, ping=[FAKED] * 1000),
}
"""Ways that differ by command."""
