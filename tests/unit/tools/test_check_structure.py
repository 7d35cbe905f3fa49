# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the check of the structure finds: who overwrites disks, files without tests, cited tests that are gone."""

from __future__ import annotations

import ast
from pathlib import Path

import check_structure
import pytest

PLUGINS = Path(__file__).parents[3] / "plugins"
ELSEWHERE = "plugins/module_utils/_backup/new.py"


@pytest.mark.parametrize(
    "code",
    [
        "os.rename(a, b)",
        "os.replace(a, b)",
        "os.unlink(a)",
        "os.link(a, b)",
        "os.truncate(a, 0)",
        "shutil.rmtree(a)",
        "Path(a).unlink(missing_ok=True)",
        "Path(a).rename(b)",
        "Path(a).replace(b)",
        "stream.truncate(0)",
        "copy_over(a, b)",
        "content.copy_over(a, b)",
        "files.clone_file(c, v, overwrite=True)",
        "files.clone_file(c, v, overwrite=there)",
        "files.restore_file_cli(c, v, snapshot=s, path=p)",
        "restore = files.restore_file_rest\nrestore(c, v, snapshot=s, path=p)",
        "way: Any = files.restore_file_cli if x else files.restore_file_rest\nway(c, v, path=p)",
        "lun_restore.clone_over(c, v)",
        "lun_restore.delete_temporary(c, lun)",
        "lun_clone.remove_clone(c, lun)",
        "from x.lun_clone import remove_clone",
        "r = os.rename\nr(a, b)",
        "from os import rename\nrename(a, b)",
        "from os import rename as x\nx(a, b)",
        "def late():\n    from shutil import rmtree as x\n    x(a)",
        "from os import *",
        "import os as o\no.unlink(a)",
        "o = os\nimport os\no.unlink(a)",
        "shutil.move(a, b)",
        "partial(os.replace, a, b)",
        "bounded(os.unlink)",
        "getattr(os, 'rename')(a, b)",
        "getattr(os, how)(a, b)",
        "getattr(path, 'unlink')()",
        "os.__dict__['rename'](a, b)",
        "act = Path.unlink\nact(a)",
        "from x import lun_restore as l\nl.clone_over(c, v)",
        "over = lun_restore.clone_over\nover(c, v)",
        "getattr(lun_restore, 'clone_over')(c, v)",
        "from x.lun_clone import remove_clone as gone",
        "make = files.clone_file\nmake(c, v, overwrite=True)",
        "files.clone_file(c, v, **more)",
        "from x.files import clone_file as make\nmake(c, v, overwrite=True)",
        "from x.content import copy_over as put\nput(a, b)",
        "put = content.copy_over\nput(a, b)",
        "send = self.client.post\nsend('/storage/luns')",
        "c = place.client\nc.post('/storage/luns')",
        "getattr(client, verb)('/storage/luns')",
        "client.patch('/storage/luns/u', None, body)",
        "self.client.delete('/storage/luns/u')",
    ],
)
def test_what_overwrites_is_found_outside_of_the_gate(code: str) -> None:
    tree = ast.parse(code)
    assert len(list(check_structure.check_overwrites(ELSEWHERE, tree))) == 1
    assert list(check_structure.check_overwrites(check_structure.GATE, tree)) == []


@pytest.mark.parametrize(
    "code",
    [
        "text.replace('a', 'b')",
        "replace(record, name=a)",
        "dataclasses.replace(record, name=a)",
        "files.clone_file(c, v, destination=own)",
        "files.clone_file(c, v, overwrite=False)",
        "restore = files.restore_file_cli\nrestore(c, v, path=p, restore_path=own)",
        "self.luns.clone_over(disk)",
        "client.get('/storage/luns')",
        "getattr(client, 'get')('/storage/luns')",
        "getattr(record, name)",
        "wanted.replace",
        "from dataclasses import replace\nreplace(record, name=a)",
        "names.remove(a)",
    ],
)
def test_what_overwrites_nothing_is_let_be(code: str) -> None:
    assert list(check_structure.check_overwrites(ELSEWHERE, ast.parse(code))) == []


@pytest.mark.parametrize("name", sorted(check_structure.OWN_FILES))
def test_each_exception_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(check_structure.OWN_FILES, name)
    tree = ast.parse((PLUGINS.parent / name).read_text(encoding="utf-8"))
    assert list(check_structure.check_overwrites(name, tree))


@pytest.mark.parametrize("name", sorted(check_structure.COPIES_TO_OWN_FILE))
def test_each_who_copies_to_a_file_of_its_own_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(check_structure.COPIES_TO_OWN_FILE, name)
    tree = ast.parse((PLUGINS.parent / name).read_text(encoding="utf-8"))
    assert list(check_structure.check_overwrites(name, tree))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def overwrite_anew(client):\n    client.patch('/storage/luns/u')", ["overwrite_anew"]),
        ("def new(c):\n    _send(c)\n\n\ndef _send(client):\n    client.change_once('POST', '/x')", ["new"]),
        ("def clone_over(client):\n    client.patch('/storage/luns/u')", []),
        ("def revoke(client):\n    client.delete('/storage/luns/u')", []),
        ("def look(client):\n    return client.records('/storage/luns')", []),
    ],
)
def test_what_changes_the_array_is_placed(code: str, found: list[str]) -> None:
    breaches = list(check_structure.check_senders("plugins/module_utils/_ontap/lun_restore.py", ast.parse(code)))
    assert [breach.split()[2] for breach in breaches] == found
    assert list(check_structure.check_senders("plugins/module_utils/_ontap/client.py", ast.parse(code))) == []


def files(root: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="ascii")


@pytest.mark.parametrize(
    ("name", "tests"),
    [("_text.py", "test_text.py"), ("_hold/record.py", "hold/test_record.py"), ("_a/b/_c.py", "a/b/test_c.py")],
)
def test_where_the_tests_of_a_file_are(name: str, tests: str) -> None:
    assert check_structure.tests_of(name) == tests


def test_a_file_without_tests_of_its_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = "plugins/module_utils"
    files(
        tmp_path, *(f"{sources}/{name}" for name in ("_room/new.py", "_room/known.py", "_room/__init__.py", "_text.py"))
    )
    monkeypatch.setattr(check_structure, "WITHOUT_TESTS", {"_room/known.py": "a type alone"})
    files(tmp_path, "tests/unit/plugins/test_text.py", "tests/unit/plugins/test_new.py")
    lacking = f"{sources}/_room/new.py: has no tests/unit/plugins/room/test_new.py"
    assert list(check_structure.check_tests(tmp_path)) == [lacking]
    files(tmp_path, "tests/unit/plugins/room/test_new.py")
    assert list(check_structure.check_tests(tmp_path)) == []


def test_an_exception_that_is_not_needed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "plugins/module_utils/_room/tested.py", "tests/unit/plugins/room/test_tested.py")
    monkeypatch.setattr(check_structure, "WITHOUT_TESTS", {"_room/tested.py": "once", "_room/gone.py": "once"})
    found = list(check_structure.check_tests(tmp_path))
    assert ["tested.py: has tests" in found[0], "gone.py: is not there" in found[1]] == [True, True]


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("`unit: room/test_new.py -k count`", None),
        ("`test_new.py` and tests/unit/plugins/room/test_new.py", None),
        ("`tests/faults/test_old_*.py`, test_nothing", None),
        ("`other/test_new.py`", "other/test_new.py"),
        ("`room/test_new.py`, `oom/test_new.py`", "oom/test_new.py"),
        ("`unit: test_gone.py -k count`", "test_gone.py"),
    ],
)
def test_a_test_that_a_page_cites_and_is_gone_is_found(tmp_path: Path, text: str, cited: str | None) -> None:
    files(tmp_path, "tests/unit/plugins/room/test_new.py", "docs/reviews/r.md")
    (tmp_path / "docs" / "reviews" / "r.md").write_text(f"# Head\n\n{text}\n", encoding="ascii")
    told = [f"docs/reviews/r.md: line 3: cites {cited}, which is not there"] if cited else []
    assert list(check_structure.check_citations(tmp_path)) == told
