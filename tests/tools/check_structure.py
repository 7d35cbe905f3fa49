# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house that no linter knows; ``check_structure.py [ROOT]`` names each breach and ends with 1.

A module is documentation, an argument spec and one ``try``; only its ``main()`` knows how a module ends; libvirt and
NetApp's client are each imported in one place; the gate alone calls what overwrites or removes a disk; a room imports
only from the floors below it (:mod:`layers`). Each file of ``module_utils`` has unit tests of its name, and each test
that the documentation cites is there.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import layers

DOCUMENTATION = ("DOCUMENTATION", "EXAMPLES", "RETURN")
LONGEST_MODULE = 60
EXITS = ("fail_json", "exit_json")
# What both of them show must have passed through the one place that makes control characters visible.
VISIBLE = {"fail_json": "exc.as_result", "exit_json": "presentable"}
# What all modules begin with: it adds the new names of old options to Ansible's own message.
WRAPPER = "plugins/module_utils/_module.py"
ONLY_IMPORTERS = {
    "libvirt": "plugins/module_utils/_kvm/connection.py",
    "libvirt_qemu": "plugins/module_utils/_kvm/connection.py",
    "netapp_ontap": "plugins/module_utils/_ontap/client.py",
}
GATE = "plugins/module_utils/_gate/gate.py"
# What overwrites or removes a disk, by the room that has it; the gate alone calls it.
OVERWRITING = {
    "clone_over": "lun_restore",
    "delete_temporary": "lun_restore",
    "remove_clone": "lun_clone",
}
# What else of `_ontap` sends a change, and why the gate need not be its caller. A new one is placed here or above.
CHANGES_NO_DISK = {
    "files": {
        "clone_file": "a new file; what it overwrites is looked for at its callers",
        "restore_file_cli": "another place than the file's own is looked for at its callers",
        "restore_file_rest": "another place than the file's own is looked for at its callers",
    },
    "groups": {"create": "snapshots", "delete": "snapshots"},
    "lun_clone": {"clone_lun": "a new LUN", "map_clone": "the map of a copy's LUN"},
    "lun_restore": {"revoke": "the temporary LUN out of which an overwrite would be made that must not begin any more"},
    "snapshot_calls": {"create_one": "a snapshot", "delete_one": "a snapshot", "modify_one": "a snapshot"},
    "snapshot_sets": dict.fromkeys(
        (
            "create_all",
            "delete_all",
            "ensure_absent",
            "ensure_present",
            "finish_all",
            "settle",
            "take_back",
            "undo",
        ),
        "snapshots",
    ),
}
# What writes to a place that it is given: these, but the gate, call it for a file that they made themselves.
COPIES_TO_OWN_FILE = {
    "plugins/module_utils/_clone/make.py": "the new file of a copy",
    "plugins/module_utils/_restore/disk_actor.py": "the temporary file of a restore",
}
PRIMITIVES = ("os", "shutil")
REPLACING = (
    "rename",
    "replace",
    "renames",
    "link",
    "symlink",
    "unlink",
    "remove",
    "truncate",
    "ftruncate",
    "rmtree",
    "move",
)
PATH_REPLACING = ("rename", "unlink", "hardlink_to", "symlink_to", "truncate", "rmtree")
# Who renames, links, shortens or removes files, and which: none of them is a disk.
OWN_FILES = {
    "plugins/module_utils/_catalog/store.py": "manifests",
    "plugins/module_utils/_catalog/clone_record.py": "records of copies",
    "plugins/module_utils/_clone/remove.py": "UEFI variables and TPM state of a copy",
    "plugins/module_utils/_restore/firmware_files.py": "UEFI variables and TPM state, kept beside",
    "plugins/module_utils/_recovery/run.py": "unfinished private files",
    "plugins/module_utils/_recovery/safety_removal.py": "what a restore set aside",
    "plugins/module_utils/_backup/host_lock.py": "the content of a lock file",
    "plugins/module_utils/_host/volume_directory.py": "manifests in volumes",
    "plugins/module_utils/_files.py": "private files",
    "plugins/module_utils/_host/content.py": "a file made to look anew; copy_over, which the gate calls",
    "plugins/module_utils/_host/replacement.py": "temporary files of a restore",
    "plugins/module_utils/_hold/deadman.py": "the timer's archive",
    "plugins/module_utils/_hold/record.py": "records of holds",
    "plugins/module_utils/_kvm/managed_save.py": "managed-save images",
    "plugins/module_utils/_hold/timer_record.py": "records of timers",
    "plugins/module_utils/_locks/file_lock.py": "lock files",
    "plugins/module_utils/_locks/guest_lock.py": "what lock files say",
    "plugins/module_utils/_locks/lease.py": "records of leases",
}
# Files that do nothing, so that there is nothing to test, and why.
WITHOUT_TESTS = {
    "_gate/targets.py": "types alone",
    "_ontap/codes.py": "constants alone",
}
CITED_TEST = re.compile(r"[\w/.-]*\btest_\w+\.py")
CHANGING_THE_ARRAY = ("patch", "delete", "post", "change_once")
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
    """Only the main() of a module, and what all modules begin with, knows how a module ends."""
    if name == WRAPPER:
        return
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


def called(node: ast.Call) -> tuple[str, str]:
    """What a call's function hangs on (empty for a bare name), and its own name."""
    if isinstance(node.func, ast.Name):
        return "", node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return (owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else "?"), (
            node.func.attr
        )
    return "", ""


@dataclass(frozen=True)
class Names:
    """What a file calls modules and functions: local name to the module's last name, or to (module, function)."""

    modules: dict[str, str]
    functions: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, tree: ast.Module) -> Names:
        """Read imports wherever they are, and plain assignments (``o = os``, ``c = self.client``)."""
        modules, functions = {}, {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules.update({(each.asname or each.name).split(".")[0]: each.name for each in node.names})
            if isinstance(node, ast.ImportFrom) and node.module:
                module = node.module.rpartition(".")[2]
                functions.update({each.asname or each.name: (module, each.name) for each in node.names})
        known = {name: module.rpartition(".")[2] for name, module in modules.items()}
        known.update({name: function for name, (_module, function) in functions.items() if name not in known})
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Name, ast.Attribute)):
                last = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                if last in known or last == "client":
                    same = known.get(last, last)
                    known.update({each.id: same for each in node.targets if isinstance(each, ast.Name)})
        return cls(known, functions)

    def place_of(self, node: ast.expr) -> str:
        """The last name of what an attribute hangs on, by the name of its module where it has another one here."""
        if isinstance(node, ast.Name):
            return self.modules.get(node.id, node.id)
        return node.attr if isinstance(node, ast.Attribute) else "?"


def check_overwrites(name: str, tree: ast.Module) -> Iterator[str]:
    """Nothing but the gate calls, or hands on, what overwrites or removes a disk."""
    if name.startswith("plugins/module_utils/_ontap/") or name == GATE:
        return
    names = Names.of(tree)
    directly = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found = imports_overwriting(name, node)
        elif isinstance(node, ast.Call):
            found = overwrites(name, node, names)
        elif isinstance(node, ast.Attribute) and id(node) not in directly:
            found = hands_on(name, node, names)
        else:
            continue
        yield from (f"line {node.lineno}: {breach}" for breach in found)
    yield from restores_in_place(tree)


def imports_overwriting(name: str, node: ast.ImportFrom) -> Iterator[str]:
    """What an import brings in by its bare name that only the gate may have, or who has files of its own."""
    for each in node.names:
        if each.name in OVERWRITING:
            yield f"imports {each.name}; only the gate overwrites and removes disks"
        if node.module in PRIMITIVES and each.name in (*REPLACING, "*") and name not in OWN_FILES:
            yield f"imports {each.name} from {node.module}; only the gate renames and removes disks"


def hands_on(name: str, node: ast.Attribute, names: Names) -> Iterator[str]:
    """What is named without being called, to be called by another name or by somebody else."""
    place = names.place_of(node.value)
    if OVERWRITING.get(node.attr) == place:
        yield f"hands on {place}.{node.attr}; only the gate overwrites and removes disks"
    if node.attr == "clone_file" and place == "files":
        yield "hands on files.clone_file, which may overwrite; only the gate does"
    if node.attr == "copy_over" and name not in COPIES_TO_OWN_FILE:
        yield "hands on copy_over; only the gate does, and who copies to a file of its own"
    if place in PRIMITIVES and (node.attr in REPLACING or node.attr == "__dict__") and name not in OWN_FILES:
        yield f"hands on {place}.{node.attr}; only the gate renames and removes disks"
    if place == "Path" and node.attr in (*PATH_REPLACING, "replace") and name not in OWN_FILES:
        yield f"hands on {place}.{node.attr}; only the gate renames and removes disks"
    if place == "client" and node.attr in CHANGING_THE_ARRAY:
        yield f"hands on client.{node.attr}; only _ontap changes the array"


def looks_up(name: str, node: ast.Call, names: Names) -> Iterator[str]:
    """What ``getattr`` brings in by a name that is a text, or by one that nobody can read here."""
    if not (isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) > 1):
        return
    place, wanted = names.place_of(node.args[0]), node.args[1]
    known = isinstance(wanted, ast.Constant)
    attribute = str(wanted.value) if isinstance(wanted, ast.Constant) else "by a name that is not known"
    dangerous = {**dict.fromkeys(PRIMITIVES, REPLACING), "client": CHANGING_THE_ARRAY, "files": ("clone_file",)}
    dangerous.update(
        {room: tuple(each for each in OVERWRITING if OVERWRITING[each] == room) for room in OVERWRITING.values()}
    )
    of_module = place in dangerous and (not known or attribute in dangerous[place])
    of_path = known and attribute in PATH_REPLACING
    if (of_module or of_path) and name not in OWN_FILES:
        yield f"looks up {place} {attribute}; only the gate overwrites, renames and removes disks"


def overwrites(name: str, node: ast.Call, names: Names) -> Iterator[str]:
    """What a call overwrites or removes that it must not."""
    owner, function = called(node)
    if isinstance(node.func, ast.Attribute):
        owner = names.place_of(node.func.value)
    elif owner == "" and function in names.functions and names.functions[function][0] in PRIMITIVES:
        owner, function = names.functions[function]
    given = {word.arg: word.value for word in node.keywords}
    yield from looks_up(name, node, names)
    if OVERWRITING.get(function) == owner and owner:
        yield f"calls {owner}.{function}; only the gate does"
    if function == "clone_file" or names.functions.get(function, ("", ""))[1] == "clone_file":
        over = given.get("overwrite")
        if None in given or (over is not None and not (isinstance(over, ast.Constant) and over.value is False)):
            yield "lets clone_file overwrite; only the gate does"
    if "copy_over" in (function, names.functions.get(function, ("", ""))[1]) and name not in COPIES_TO_OWN_FILE:
        yield "calls copy_over; only the gate does, and who copies to a file of its own"
    replaces = (owner in PRIMITIVES and function in REPLACING) or (
        owner not in PRIMITIVES
        and isinstance(node.func, ast.Attribute)
        and (function in PATH_REPLACING or (function == "replace" and len(node.args) == 1 and not node.keywords))
    )
    if replaces and isinstance(node.func, ast.Attribute) and name not in OWN_FILES:
        yield f"calls {function}; only the gate renames and removes disks, and OWN_FILES who has files of its own"
    if owner == "client" and function in CHANGING_THE_ARRAY:
        yield f"calls client.{function}; only _ontap changes the array"


def restores_in_place(tree: ast.Module) -> Iterator[str]:
    """Single-file SnapRestore without another place to restore to, by whatever name it is called."""
    names = {"restore_file_cli", "restore_file_rest"}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        if any(getattr(part, "attr", "") in names for part in ast.walk(node.value)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node)[1] in names:
            given = {word.arg for word in node.keywords}
            if "restore_path" not in given:
                yield f"line {node.lineno}: restores a file in its own place; only the gate does"


def check_senders(name: str, tree: ast.Module) -> Iterator[str]:
    """Every function of `_ontap` that sends a change, itself or through another one of its file, is placed."""
    room = Path(name).stem
    if not name.startswith("plugins/module_utils/_ontap/") or room == "client":
        return
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = {
        name: {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in functions}
        for name, node in functions.items()
    }
    sending = {name for name, node in functions.items() if _sends(node)}
    while more := {name for name, others in named.items() if name not in sending and others & sending}:
        sending |= more
    for function in sorted(sending):
        placed = OVERWRITING.get(function) == room or function in CHANGES_NO_DISK.get(room, {})
        if not function.startswith("_") and not placed:
            line = functions[function].lineno
            yield f"line {line}: {function} changes the array; name it in OVERWRITING, or in CHANGES_NO_DISK with why"


def _sends(function: ast.FunctionDef) -> bool:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return any(isinstance(called, ast.Attribute) and called.attr in CHANGING_THE_ARRAY for called in calls)


def check_head(name: str, lines: list[str]) -> Iterator[str]:
    """The license lines stand at the top, below a shebang where there is one."""
    head = [line for line in lines[:4] if not line.startswith("#!")]
    if head[:2] != [COPYRIGHT, LICENSE]:
        yield "does not begin with the two SPDX lines"
    if name.startswith("plugins/modules/") and head[2:3] != [GPL]:
        yield "does not name the GNU General Public License in the line after them"


def tests_of(name: str) -> str:
    """Where the unit tests of a file of ``module_utils`` are: ``_room/_file.py`` has ``room/test_file.py``."""
    *rooms, file = (part.lstrip("_") for part in name.split("/"))
    return "/".join((*rooms, f"test_{file}"))


def check_tests(root: Path) -> Iterator[str]:
    """Each file of ``module_utils`` has unit tests of its name, but for those that do nothing."""
    sources, tests = root / "plugins" / "module_utils", root / "tests" / "unit" / "plugins"
    names = [file.relative_to(sources).as_posix() for file in sorted(sources.rglob("*.py")) if file.stem != "__init__"]
    for name in names:
        tested = (tests / tests_of(name)).is_file()
        if name in WITHOUT_TESTS and tested:
            yield f"plugins/module_utils/{name}: has tests; take it out of WITHOUT_TESTS"
        elif name not in WITHOUT_TESTS and not tested:
            yield f"plugins/module_utils/{name}: has no tests/unit/plugins/{tests_of(name)}"
    for name in sorted(WITHOUT_TESTS.keys() - set(names)):
        yield f"plugins/module_utils/{name}: is not there; take it out of WITHOUT_TESTS"


def check_citations(root: Path) -> Iterator[str]:
    """Each test file that a page cites is there, by its name or with folders before it."""
    tests = [f"/{file.relative_to(root).as_posix()}" for file in (root / "tests").rglob("test_*.py")]
    for page in (*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))):
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            for cited in CITED_TEST.findall(line):
                if not any(test.endswith(f"/{cited}") for test in tests):
                    yield f"{page.relative_to(root).as_posix()}: line {number}: cites {cited}, which is not there"


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
        found += check_overwrites(name, tree)
        found += check_senders(name, tree)
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
    breaches += [*layers.check_house(root), *check_tests(root), *check_citations(root)]
    print("\n".join(breaches) if breaches else f"{len(files)} files follow the rules of the house")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
