# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public names that changed: docs/upgrade.md has them, nothing uses the old ones, and their users read the new ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from ansible_collections.kvmsnap.ontap.plugins.filter.renamed_variables import renamed_variables
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code
from ansible_collections.kvmsnap.ontap.plugins.module_utils._renames import GUIDE, OPTIONS, VARIABLES

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
USERS_READ = ("README.md", "docs", "extensions", "playbooks", "plugins", "roles")
CHECK = """
- name: Check that no variable has an old name
  ansible.builtin.assert:
    that: __{role}_renamed | length == 0
    fail_msg: >-
      {{{{ inventory_hostname }}}} has variables with old names.
      {{{{ __{role}_renamed | join('. ') }}}}. Nothing was done.
    quiet: true
  vars:
    __{role}_renamed: "{{{{ query('ansible.builtin.varnames', '^(kvm|sc)_') | kvmsnap.ontap.renamed_variables }}}}"
"""


def rows(title: str) -> list[list[str]]:
    """The cells of a table of the guide, without the marks of code."""
    section = (ROOT / GUIDE).read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines[2:]]


def documentation(module: str, part: str) -> Mapping[str, Any]:
    """One of a module's texts, read."""
    tree = ast.parse((ROOT / "plugins" / "modules" / f"{module}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == part
            and isinstance(node.value, ast.Constant)
        ):
            read: Mapping[str, Any] = yaml.safe_load(str(node.value.value))
            return read
    raise AssertionError(f"{module} has no {part}")


def results(entries: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """The names of results, those inside of others behind a dot."""
    for name, entry in entries.items():
        yield f"{where}{name}"
        yield from results(entry.get("contains", {}), f"{where}{name}.")


def variables() -> set[str]:
    """The variables of all roles."""
    files = [ROOT / "roles" / role / "meta" / "argument_specs.yml" for role in ROLES]
    specs = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    return {name for spec in specs for name in spec["argument_specs"]["main"]["options"]}


def test_the_guide_has_the_variables() -> None:
    assert dict(rows("Role variables")) == VARIABLES


def test_the_guide_has_the_options() -> None:
    assert {(module, old): new for module, old, new in rows("Module options")} == {
        (module, old): new for module, names in OPTIONS.items() for old, new in names.items()
    }


@pytest.mark.parametrize("module", sorted(OPTIONS))
def test_a_module_has_the_new_options_alone(module: str) -> None:
    known = set(documentation(module, "DOCUMENTATION")["options"])
    assert {new.partition(":")[0] for new in OPTIONS[module].values()} <= known
    assert not set(OPTIONS[module]) & known


def test_roles_have_the_new_variables_alone() -> None:
    assert {new.partition(":")[0] for new in VARIABLES.values()} - {"gone"} <= variables()
    assert not set(VARIABLES) & variables()


def test_modules_return_the_new_results_alone() -> None:
    for module, old, new in rows("Results of modules"):
        names = set(results(documentation(module, "RETURN")))
        assert new in names
        assert old not in names


def test_problems_have_the_new_codes_alone() -> None:
    for old, new in rows("Problem codes"):
        assert new in get_args(Code)
        assert old not in get_args(Code)


def test_nothing_that_users_read_has_an_old_variable() -> None:
    places = [path for name in USERS_READ for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
    allowed = {ROOT / GUIDE, *(ROOT / "plugins" / "filter").glob("renamed_variables.*")}
    allowed |= {ROOT / "plugins" / "module_utils" / "_renames.py", *(ROOT / "docs" / "reviews").iterdir()}
    old = re.compile(rf"\b({'|'.join(VARIABLES)})\b")
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in places if path not in allowed}
    assert {str(path.relative_to(ROOT)): old.findall(text) for path, text in texts.items() if old.search(text)} == {}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_begins_with_the_check(role: str) -> None:
    tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / "main.yml").read_text(encoding="utf-8"))
    assert tasks[0] == yaml.safe_load(CHECK.format(role=role))[0]


def test_old_variables_are_found_among_others() -> None:
    assert renamed_variables(["kvm_restore_vm_list", "kvm_restore_undo", "kvm_controllers"]) == [
        "kvm_restore_undo is now kvm_restore_state: undone or restored (docs/upgrade.md)"
    ]
