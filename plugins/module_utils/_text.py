# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make control characters visible in whatever is shown to people.

Names of files and guests, answers of agents and of arrays are foreign text. On a terminal an escape sequence in them
moves the cursor and draws a recap of Ansible that never was; a right-to-left override turns a path around; a zero-width
character makes two names look like one. Names and paths that a playbook uses again stay as they are.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

# C0, DEL and C1; soft hyphen; zero-width characters, marks, embeddings, overrides and isolates of the bidirectional
# algorithm; line and paragraph separators; invisible operators; tags; lone surrogates.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff\ud800-\udfff"
)
_IN_ONE_LINE = re.compile(f"[{_HIDDEN}]")
_IN_LINES = re.compile(f"(?![\\n\\t])[{_HIDDEN}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

SENTENCES = frozenset(
    ("msg", "message", "remedy", "reason", "error", "action", "remark", "state_reason", "refused", "seen")
)
LISTS_OF_SENTENCES = frozenset(("summary", "notes", "warnings", "changes", "obstacles"))
TEXTS = frozenset(("diff",))


def visible(text: str) -> str:
    """Return a text for one line: each control or invisible character, line breaks too, as its escape (``\\x1b``)."""
    return _IN_ONE_LINE.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Return a text of several lines: line feeds and tabs stay, all else is as for :func:`visible`."""
    return _IN_LINES.sub(_escape, text)


def argument(text: str) -> str:
    """Return a text as one word of a command that a person may copy into a shell, with what is hidden made visible."""
    return shlex.quote(visible(text))


def domain(name: str) -> str:
    """Return a guest's name as an argument of virsh in a command that a person may copy.

    Virsh would take a name that begins with ``-`` for an option, such as ``--domain=OTHER``.
    """
    return f"--domain {argument(name)}" if name.startswith("-") else argument(name)


def why_unreadable(exc: Exception) -> str:
    """Return what is wrong with a record that could not be read, as a clause; of a KeyError only the field is known."""
    if isinstance(exc, KeyError):
        return f"it has no {exc}"
    if isinstance(exc, (TypeError, AttributeError)):
        return f"a value in it is of a wrong kind ({exc})"
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    if isinstance(exc, json.JSONDecodeError):
        return f"it is not JSON ({exc})"
    if isinstance(exc, UnicodeDecodeError):
        return f"it is not text in UTF-8 ({exc.reason} at byte {exc.start})"
    return str(exc)


def hides(text: str) -> bool:
    """Tell whether a text has a character in it that :func:`visible` would replace."""
    return _IN_ONE_LINE.search(text) is not None


def visible_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an error with every text in them made visible; texts of several lines keep their lines."""
    return {key: _deep(value, visible_lines) for key, value in fields.items()}


def presentable(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a module tells, with the texts for people in it made visible, at any depth.

    Which ones those are, their keys tell. Everything else is for machines and stays as it is: names and paths lead back
    to what they name.
    """
    return {key: _presentable(key, value) for key, value in result.items()}


def _presentable(key: str, value: Any) -> Any:
    if key in SENTENCES or key in LISTS_OF_SENTENCES:
        return _deep(value, visible)
    if key in TEXTS:
        return _deep(value, visible_lines)
    if isinstance(value, Mapping):
        return {inner: _presentable(str(inner), item) for inner, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_presentable("", item) for item in value]
    return value


def _deep(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_deep(key, change): _deep(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deep(item, change) for item in value]
    return value


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as Python keeps it in the name of a file
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
