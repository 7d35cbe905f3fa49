# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of trees that change while they are made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ontapsim import tree


def test_what_goes_while_a_tree_is_copied_is_not_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("stays", "goes", "stays-too/file", "goes-too/file"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name, encoding="ascii")
    really = tree.copy_attributes

    def late(origin: str, copy: str) -> None:
        if os.path.basename(origin) == "goes":
            os.unlink(origin)
        elif os.path.basename(origin) == "goes-too":
            shutil.rmtree(origin)
        really(origin, copy)

    monkeypatch.setattr(tree, "copy_attributes", late)
    tree.clone_tree(str(source), str(target), reflink=False)
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert found == ["stays", "stays-too", "stays-too/file"]
