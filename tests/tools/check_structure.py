# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house that no linter knows; ``check_structure.py [ROOT]`` names each breach and ends with 1.

A module is documentation, an argument spec and one ``try``; only its ``main()`` knows how a module ends; libvirt and
NetApp's client are each imported in one place.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

DOCUMENTATION = ("DOCUMENTATION", "EXAMPLES", "RETURN")
LONGEST_MODULE = 60
EXITS = ("fail_json", "exit_json")
# What both of them show must have passed through the one place that makes control characters visible.
VISIBLE = {"fail_json": "exc.as_result", "exit_json": "presentable"}
ONLY_IMPORTERS = {
    "libvirt": "plugins/module_utils/_kvm/connection.py",
    "libvirt_qemu": "plugins/module_utils/_kvm/connection.py",
    "netapp_ontap": "plugins/module_utils/_ontap/client.py",
}
# REUSE-IgnoreStart
COPYRIGHT = "# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors"
LICENSE = "# SPDX-License-Identifier: GPL-3.0-or-later"
GPL = (
    "# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)"
    # REUSE-IgnoreEnd
)


def documentation_of(node: ast.stmt) -> str | None:
    """The name of the documentation variable that a statement sets, if it sets one."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in DOCUMENTATION:
        return node.targets[0].id
    return None


def lines_of(node: ast.stmt) -> int:
    """How many lines a statement fills."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def check_module(tree: ast.Module) -> Iterator[str]:
    """A module is documented, and short below its documentation."""
    missing = [name for name in DOCUMENTATION if name not in {documentation_of(node) for node in tree.body}]
    if missing:
        yield f"lacks {', '.join(missing)}"
    code = [
        node
        for node in tree.body
        if documentation_of(node) is None and not isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    length = sum(lines_of(node) for node in code)
    if length > LONGEST_MODULE:
        yield f"has {length} lines of code below its documentation, {LONGEST_MODULE} is the most"


def imported(node: ast.AST) -> list[str]:
    """The top-level packages that a node imports absolutely."""
    if isinstance(node, ast.Import):
        return [name.name.split(".")[0] for name in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module.split(".")[0]]
    return []


def check_imports(name: str, tree: ast.Module) -> Iterator[str]:
    """A third-party library has one importer, and it imports inside functions."""
    at_top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        for package in imported(node):
            importer = ONLY_IMPORTERS.get(package)
            if importer is None:
                continue
            line = getattr(node, "lineno", 0)
            if name != importer:
                yield f"line {line}: imports {package}; only {importer} does"
            elif id(node) in at_top:
                yield f"line {line}: imports {package} outside a function"


def check_exits(name: str, tree: ast.Module) -> Iterator[str]:
    """Only the main() of a module knows how a module ends."""
    allowed: set[int] = set()
    if name.startswith("plugins/modules/"):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "main":
                allowed = {id(part) for part in ast.walk(node)}
    for inner in ast.walk(tree):
        if isinstance(inner, ast.Attribute) and inner.attr in EXITS and id(inner) not in allowed:
            yield f"line {inner.lineno}: {inner.attr} outside a module's main()"
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in EXITS:
            given = ast.unparse(inner)
            if f"{inner.func.attr}(**{VISIBLE[inner.func.attr]}(" not in given:
                yield f"line {inner.lineno}: {inner.func.attr} takes only what {VISIBLE[inner.func.attr]}() returns"


def check_head(name: str, lines: list[str]) -> Iterator[str]:
    """The license lines stand at the top, below a shebang where there is one."""
    head = [line for line in lines[:4] if not line.startswith("#!")]
    if head[:2] != [COPYRIGHT, LICENSE]:
        yield "does not begin with the two SPDX lines"
    if name.startswith("plugins/modules/") and head[2:3] != [GPL]:
        yield "does not name the GNU General Public License in the line after them"


def check_file(root: Path, file: Path) -> Iterator[str]:
    """Every breach in one Python file, as a sentence that begins with its path."""
    name = file.relative_to(root).as_posix()
    text = file.read_text(encoding="utf-8")
    if not text.strip():
        return
    tree = ast.parse(text)
    found = list(check_head(name, text.splitlines()))
    if name.startswith("plugins/"):
        found += check_imports(name, tree)
        found += check_exits(name, tree)
    if name.startswith("plugins/modules/"):
        found += check_module(tree)
    for breach in found:
        yield f"{name}: {breach}"


def main(arguments: list[str]) -> int:
    """Check every Python file below a folder and print what breaks a rule."""
    root = Path(arguments[0] if arguments else ".").resolve()
    files = [file for place in ("plugins", "tests") for file in sorted((root / place).rglob("*.py"))]
    outside = root / "tests" / "output"
    breaches = [breach for file in files if outside not in file.parents for breach in check_file(root, file)]
    print("\n".join(breaches) if breaches else f"{len(files)} files follow the rules of the house")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
