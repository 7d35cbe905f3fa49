# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The codes of findings: every one is used, and the docs tell them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import CODES, problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code

ROOT = Path(__file__).parents[3]
TABLES = ("_problem_codes", "_problems")
# What a restore looks for among a disk's findings without refusing it for that.
NO_REFUSALS = {"backing-file-shared", "image-unreadable", "image-missing", "path-failed"}


def used() -> set[str]:
    """Return the codes that the collection's code names; mypy knows that it names no other."""
    places = [path for path in (ROOT / "plugins" / "module_utils").rglob("*.py") if path.stem not in TABLES]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in places]
    words = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {str(word) for word in words if word in CODES}


def table() -> str:
    """Return the table as the docs must have it."""
    lines = ["| code | severity | when | what to do |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{name}` | {code.severity} | {code.meaning} | {code.remedy} |" for name, code in sorted(CODES.items())
    ]
    return "\n".join(lines)


def test_every_code_is_used_and_has_its_kind() -> None:
    assert used() == set(CODES) == set(get_args(Code))


@pytest.mark.parametrize("name", sorted(CODES))
def test_each_code_is_told_well(name: str) -> None:
    code = CODES[name]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+|autostart|flexgroup|flexcache", name)
    assert code.severity in ("error", "warning", "info")
    assert code.meaning[0].islower() or code.meaning.startswith("QEMU")
    assert not code.meaning.endswith(".")
    assert code.remedy[0].isupper()
    assert code.remedy.endswith(".")
    assert "|" not in code.meaning + code.remedy


def test_a_problem_takes_severity_and_remedy_from_the_table() -> None:
    problem = problem_of("local-file", "it is local", guest="g", disk="vda")
    assert problem.as_dict() == {
        "code": "local-file",
        "severity": "error",
        "message": "it is local",
        "remedy": CODES["local-file"].remedy,
        "guest": "g",
        "disk": "vda",
    }


def test_the_docs_hold_the_table() -> None:
    text = (ROOT / "docs" / "problem-codes.md").read_text(encoding="utf-8")
    found = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert found == table(), f"docs/problem-codes.md must hold this table:\n{table()}"


def test_the_guide_tells_why_a_restore_is_refused() -> None:
    text = (ROOT / "docs" / "restore.md").read_text(encoding="utf-8")
    named: set[str] = set()
    for path in (ROOT / "plugins" / "module_utils" / "_restore").glob("*.py"):
        named.update(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', path.read_text(encoding="utf-8")))
    assert len(named) > 30
    assert [code for code in sorted(named - NO_REFUSALS) if f"`{code}`" not in text] == []
