# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may what: REST roles by path and level, traditional roles by command."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Version

LEVELS = {
    "none": frozenset(),
    "readonly": frozenset({"GET"}),
    "read_create": frozenset({"GET", "POST"}),
    "read_modify": frozenset({"GET", "PATCH"}),
    "read_create_modify": frozenset({"GET", "POST", "PATCH"}),
    "all": frozenset({"GET", "POST", "PATCH", "DELETE"}),
}
GRANULAR_SINCE: Version = (9, 11, 1)
_GRANULAR = {"read_create", "read_modify", "read_create_modify"}


@dataclass(frozen=True)
class Role:
    """A role; its privileges are (path, level): all paths below ``/api``, or all commands."""

    name: str
    privileges: tuple[tuple[str, str], ...]
    svm: str | None = None
    builtin: bool = False

    @property
    def traditional(self) -> bool:
        """Say whether the privileges are commands."""
        return not any(path.startswith("/") for path, _level in self.privileges)

    def check(self, version: Version) -> None:
        """Raise ``ValueError`` for a role that a version could not hold."""
        kinds = {path.startswith("/") for path, _level in self.privileges}
        if len(kinds) > 1:
            raise ValueError(f"role {self.name} mixes API endpoints and commands")
        for path, level in self.privileges:
            if level not in LEVELS or (level in _GRANULAR and (self.traditional or version < GRANULAR_SINCE)):
                raise ValueError(f"role {self.name}: access {level} for {path} is not known")


def allows(role: Role, method: str, segments: list[str], command: str) -> bool:
    """Say whether a role lets a request through.

    ``segments`` are the path's below ``/api``; ``command`` is the CLI command that a traditional role must allow and
    that the private CLI runs. ``HEAD`` and ``OPTIONS`` count as reading.
    """
    verb = "GET" if method in ("HEAD", "OPTIONS") else method
    if role.traditional:
        level = _command_level(role, command.split())
        return level == "all" or (level == "readonly" and verb == "GET")
    if segments[:2] == ["private", "cli"] and not role.builtin:
        return False
    return verb in LEVELS[_path_level(role, ["api", *segments])]


def _path_level(role: Role, segments: list[str]) -> str:
    best: tuple[int, int, str] = (-1, -1, "none")
    for path, level in role.privileges:
        parts = [part for part in path.split("/") if part]
        if len(parts) > len(segments):
            continue
        if all(part in ("*", segment) for part, segment in zip(parts, segments)):
            best = max(best, (len(parts), sum(part != "*" for part in parts), level))
    return best[2]


def _command_level(role: Role, words: list[str]) -> str:
    best: tuple[int, str] = (-1, "none")
    for command, level in role.privileges:
        parts = [] if command == "DEFAULT" else command.split()
        if words[: len(parts)] == parts:
            best = max(best, (len(parts), level))
    return best[1]


BUILTIN = [
    Role("admin", (("/api", "all"),), builtin=True),
    Role("readonly", (("/api", "readonly"), ("/api/security", "none")), builtin=True),
    Role("none", (("/api", "none"),), builtin=True),
    Role("vsadmin", (("/api", "all"), ("/api/cluster", "readonly"), ("/api/security", "readonly")), builtin=True),
]
