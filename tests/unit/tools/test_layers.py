# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom is a table, and a file that nobody placed is found."""

from __future__ import annotations

import ast
from pathlib import Path

import layers
import pytest

HOUSE = "plugins/module_utils"
ROOT = Path(__file__).parents[3]


def breaches(**files: str) -> list[str]:
    """Return what is wrong with files of the house, given by their names with ``__`` for a slash."""
    trees = {f"{HOUSE}/{name.replace('__', '/')}.py": ast.parse(text) for name, text in files.items()}
    return list(layers.check_floors(trees))


def taking(module: str, name: str = "thing") -> str:
    """Return an import."""
    return f"from ansible_collections.kvmsnap.ontap.plugins.module_utils{module} import {name}"


@pytest.mark.parametrize(
    ("importer", "module", "other"),
    [
        ("_restore__run", "._restore.decide", "_restore__decide"),
        ("_restore__run", "._catalog.store", "_catalog__store"),
        ("_recovery__run", "._clone.remove", "_clone__remove"),
        ("_ontap__client", "._errors", "_errors"),
        ("_problem_codes", "._problems", "_problems"),
    ],
)
def test_a_room_imports_from_itself_and_from_below(importer: str, module: str, other: str) -> None:
    assert breaches(**{importer: taking(module), other: ""}) == []


@pytest.mark.parametrize(
    ("importer", "module", "other"),
    [
        ("_kvm__power", "._hold.record", "_hold__record"),
        ("_restore__run", "._backup.plan", "_backup__plan"),
        ("_backup__plan", "._restore.run", "_restore__run"),
        ("_retry", "._ontap.codes", "_ontap__codes"),
    ],
)
def test_an_import_from_beside_or_above_is_a_breach(importer: str, module: str, other: str) -> None:
    (found,) = breaches(**{importer: taking(module), other: ""})
    assert found.startswith(f"{HOUSE}/{importer.replace('__', '/')}.py: line 1: imports {HOUSE}/")


def test_a_module_that_is_imported_by_name_or_inside_of_a_function_counts() -> None:
    inside = f"def late():\n    {taking('._recovery', 'run')}"
    (found,) = breaches(_catalog__store=inside, _recovery__run="")
    assert "line 2: imports plugins/module_utils/_recovery/run.py; _recovery is not below _catalog" in found


@pytest.mark.parametrize("name", ["_new", "_drawer__thing", "_restore__deeper__thing"])
def test_a_file_that_nobody_placed_is_a_breach(name: str) -> None:
    (found,) = breaches(**{name: ""})
    assert found.endswith("lies in no room; place it in tests/tools/layers.py")


def test_a_circle_is_a_breach_in_a_room_too() -> None:
    circle = {"_kvm__a": taking("._kvm.b"), "_kvm__b": taking("._kvm", "c"), "_kvm__c": taking("._kvm.a")}
    (found,) = breaches(**circle)
    assert "files import each other in a circle" in found


def test_a_room_that_is_too_large_is_a_breach() -> None:
    lines = {f"{HOUSE}/_restore/run.py": 21, f"{HOUSE}/_catalog/store.py": 20, "plugins/modules/x.py": 59}
    assert list(layers.check_shares(lines)) == [
        f"{HOUSE}/_restore: has 21% of the lines of plugins/, 20% is the most",
    ]


def test_every_room_of_the_table_is_there() -> None:
    assert {place.name for place in (ROOT / HOUSE).glob("_*/") if place.name != "__pycache__"} == set(layers.FLOOR_OF)
    assert {file.stem for file in (ROOT / HOUSE).glob("*.py")} == layers.GROUND
