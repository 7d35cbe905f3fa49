# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module says the new names of old options."""

from __future__ import annotations

from pathlib import Path

import pytest
import running_module

from ansible_collections.kvmsnap.ontap.plugins.module_utils._renames import GUIDE, OPTIONS

MODULES = sorted(path.stem for path in (Path(__file__).parents[3] / "plugins" / "modules").glob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_the_new_name_of_an_old_option(module: str) -> None:
    old = dict.fromkeys(OPTIONS.get(module, {"no_such_option": ""}), True)
    result = running_module.run(module, {**old, "_ansible_module_name": f"kvmsnap.ontap.{module}"})
    assert result["failed"]
    for name, new in OPTIONS.get(module, {}).items():
        assert f". {name} is now {new} ({GUIDE})" in result["msg"]
    assert ("is now" in result["msg"]) is (module in OPTIONS)
    assert ".." not in result["msg"]
