# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor plan of ``plugins/module_utils``: which room a file lies in, and whom it may import.

A room imports from itself and from the floors below it, never from a room beside it, and no files import each other in
a circle. A new room needs a line in :data:`FLOORS`, a new file outside of the rooms one in :data:`GROUND`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

HOUSE = "plugins/module_utils"
# The files that lie outside of the rooms, on the ground that all of them stand on.
GROUND = frozenset(
    {
        "_bounded",
        "_consistency",
        "_errors",
        "_files",
        "_guest_words",
        "_ids",
        "_isolated",
        "_mapping",
        "_module",
        "_options",
        "_problem_codes",
        "_problems",
        "_renames",
        "_retry",
        "_text",
    }
)
# The rooms, the lowest floor first; rooms of one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("_ontap",),
    ("_kvm",),
    ("_locks",),
    ("_host", "_hold"),
    ("_gate", "_preflight"),
    ("_catalog",),
    ("_backup", "_restore"),
    ("_clone",),
    ("_recovery",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS, 1) for room in rooms}
# The most of the lines of plugins/ that one room may have.
LARGEST_SHARE = 0.2
_PREFIX = "ansible_collections.kvmsnap.ontap."


def room_of(file: str) -> str:
    """The room of a file of the house, empty for one of the ground; raises ``KeyError`` for one that nobody placed."""
    parts = Path(file).relative_to(HOUSE).parts
    if len(parts) == 1:
        if Path(file).stem not in GROUND:
            raise KeyError(file)
        return ""
    if parts[0] not in FLOOR_OF or len(parts) != 2:
        raise KeyError(file)
    return parts[0]


def imported_files(tree: ast.AST, known: Mapping[str, str]) -> dict[str, int]:
    """The files of the house that a file imports, each with the line; ``known`` maps dotted names to files."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(_PREFIX):
            continue
        module = str(node.module)[len(_PREFIX) :]
        for each in node.names:
            file = known.get(f"{module}.{each.name}") or known.get(module)
            if file is not None:
                found.setdefault(file, node.lineno)
    return found


def check_floors(trees: Mapping[str, ast.AST]) -> Iterator[str]:
    """Every breach of the floor plan by the files of the house, as a sentence that begins with a path."""
    known = {file[:-3].replace("/", "."): file for file in trees}
    imports = {file: imported_files(tree, known) for file, tree in trees.items()}
    rooms = {}
    for file in sorted(trees):
        try:
            rooms[file] = room_of(file)
        except KeyError:
            yield f"{file}: lies in no room; place it in tests/tools/layers.py"
    for file, room in sorted(rooms.items()):
        for other, line in sorted(imports[file].items()):
            if other in rooms and not _may(room, rooms[other]):
                whose = f"{rooms[other]} is not below {room}" if room else "the ground knows no room"
                yield f"{file}: line {line}: imports {other}; {whose}"
    try:
        TopologicalSorter({file: set(others) for file, others in imports.items()}).prepare()
    except CycleError as exc:
        circle = " -> ".join(exc.args[1])
        yield f"{exc.args[1][0]}: files import each other in a circle: {circle}"


def _may(room: str, other: str) -> bool:
    return room == other or FLOOR_OF.get(other, 0) < FLOOR_OF.get(room, 0)


def check_shares(lines: Mapping[str, int]) -> Iterator[str]:
    """Every room that has more than its share of the lines; ``lines`` maps all files of ``plugins/`` to theirs."""
    total = sum(lines.values())
    for room in FLOOR_OF:
        share = sum(count for file, count in lines.items() if file.startswith(f"{HOUSE}/{room}/")) / (total or 1)
        if share > LARGEST_SHARE:
            yield f"{HOUSE}/{room}: has {share:.0%} of the lines of plugins/, {LARGEST_SHARE:.0%} is the most"


def check_house(root: Path) -> Iterator[str]:
    """Every breach of the floor plan in a tree."""
    files = {file.relative_to(root).as_posix(): file for file in sorted((root / "plugins").rglob("*.py"))}
    texts = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    yield from check_floors({name: ast.parse(text) for name, text in texts.items() if name.startswith(f"{HOUSE}/")})
    yield from check_shares({name: len(text.splitlines()) for name, text in texts.items()})
    for place in sorted((root / "tests" / "unit" / "plugins").glob("*/")):
        if f"_{place.name}" not in FLOOR_OF and place.name not in ("modules", "__pycache__"):
            yield f"{place.relative_to(root)}: holds tests of no room"
