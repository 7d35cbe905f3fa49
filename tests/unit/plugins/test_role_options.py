# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables a role has, read out of its specification."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.kvmsnap.ontap.plugins.filter.role_options import FilterModule, role_options

ROLES = Path(__file__).parents[3] / "roles"
SPECIFICATION = """
argument_specs:
  main:
    options:
      name: {type: str, required: true}
      mode: {type: str, choices: [module, tasks]}
      seconds: {type: int}
      place: {type: path}
      anything: {}
"""


def test_all_variables_and_those_that_may_be_any_text(tmp_path: Path) -> None:
    meta = tmp_path / "meta"
    meta.mkdir()
    (meta / "argument_specs.yml").write_text(SPECIFICATION)
    found = FilterModule().filters()["role_options"](str(tmp_path))
    assert found == {"all": ["name", "mode", "seconds", "place", "anything"], "texts": ["name", "place"]}


@pytest.mark.parametrize("role", ["kvm_backup", "kvm_restore", "kvm_clone"])
def test_the_roles_that_ask_have_some(role: str) -> None:
    found = role_options(str(ROLES / role))
    assert f"{role}_id" in found["texts"] or f"{role}_name" in found["texts"]
    assert set(found["texts"]) < set(found["all"])


@pytest.mark.parametrize("text", [None, "", "[]", "argument_specs: {main: }", "a: [", "argument_specs: {main: 1}"])
def test_a_role_without_a_readable_specification_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "meta").mkdir()
        (tmp_path / "meta" / "argument_specs.yml").write_text(text)
    with pytest.raises(AnsibleFilterError, match=f"specification of the role {tmp_path}"):
        role_options(str(tmp_path))
