# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which handler serves a path. Paths are matched on their raw segments, so that ``%2F`` stays inside one."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable
from urllib.parse import unquote

from . import errors
from .fields import Version

if TYPE_CHECKING:
    from .call import Answer, Call

Handler = Callable[["Call"], Awaitable["Answer"]]
Beginning = Callable[["Call"], Awaitable[Callable[[], Awaitable["Answer"]]]]


@dataclass(frozen=True)
class Route:
    """One method on one path below ``/api``; ``command`` is what a traditional role must allow for it.

    ``multipart`` lets a form come in instead of JSON; the handler reads it out of the payload. ``begin`` begins what
    can take long, and returns what ends it.
    """

    method: str
    path: str
    handler: Handler
    command: str
    since: Version = (9, 6, 0)
    multipart: bool = False
    begin: Beginning | None = None


class Router:
    """Finds routes."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = [(route, [part for part in route.path.split("/") if part]) for route in routes]

    def find(self, method: str, segments: list[str], version: Version) -> tuple[Route, dict[str, str]]:
        """Return the route of a request and its path parameters; raises ``ApiError`` 404 or 405."""
        known = False
        for route, template in self._routes:
            params = _match(template, segments)
            if params is None or route.since > version:
                continue
            if route.method == method:
                return route, params
            known = True
        raise errors.unsupported_method() if known else errors.unknown_path()

    def methods(self, segments: list[str], version: Version) -> list[str]:
        """Return the methods of a path, as ``Allow`` shows them; raises ``ApiError`` 404."""
        found = [
            route.method
            for route, template in self._routes
            if route.since <= version and _match(template, segments) is not None
        ]
        if not found:
            raise errors.unknown_path()
        return [*found, *(["HEAD"] if "GET" in found else []), "OPTIONS"]


def _match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    if template and template[-1] == "{*}":
        if len(segments) < len(template) - 1:
            return None
        segments = [*segments[: len(template) - 1], "/".join(segments[len(template) - 1 :])]
    if len(template) != len(segments):
        return None
    params = {}
    for expected, actual in zip(template, segments):
        if expected.startswith("{"):
            params[expected[1:-1]] = actual
        elif expected != actual:
            return None
    return params


def split(raw_path: str) -> list[str]:
    """Split a raw path into decoded segments, its literal dot segments resolved first (RFC 3986 5.2.4)."""
    result: list[str] = []
    for segment in raw_path.split("/"):
        if segment == "..":
            result = result[:-1]
        elif segment not in ("", "."):
            result.append(segment)
    return [unquote(segment) for segment in result]
