# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""New tests against an old commit: which options they pass on."""

from __future__ import annotations

from typing import Any

import pytest

from kvmground import old_side

SPEC = {
    "guests": {"type": "list"},
    "controllers": {"type": "list", "options": {"hostname": {}, "timeout": {}}},
    "health": {"type": "dict", "options": {"condition": {}}},
    "undo": {},
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"guests": ["a"], "manifest_key": "x"}, {"guests": ["a"]}),
        ({"controllers": [{"hostname": "c", "new": 1}]}, {"controllers": [{"hostname": "c"}]}),
        ({"health": {"condition": "agent", "new": 1}}, {"health": {"condition": "agent"}}),
        ({"state": "undone"}, {"undo": True}),
        ({"state": "restored"}, {"undo": False}),
        ({"health": None}, {"health": None}),
    ],
)
def test_what_fits_an_argument_spec(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert old_side.fit(given, SPEC, drop=lambda _name: True, renamed={"state": "undo"}) == expected


def test_on_this_side_everything_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(old_side.SWITCH, raising=False)
    assert old_side.for_module("kvm_app_restore", {"gests": ["a"]}) == {"gests": ["a"]}
    assert old_side.for_playbook({"kvm_controllers": [{"new": 1}]}) == {"kvm_controllers": [{"new": 1}]}


def test_on_the_old_side_what_nobody_knows_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(old_side.SWITCH, "1")
    given = {"guests": ["a"], "not_yet": 1, "_ansible_diff": True}
    assert old_side.for_module("kvm_app_restore", given) == {"guests": ["a"], "_ansible_diff": True}
    asked = {"kvm_hosts_pattern": "hv0", "kvm_controllers": [{"hostname": "c", "not_yet": 1}]}
    assert old_side.for_playbook(asked) == {"kvm_hosts_pattern": "hv0", "kvm_controllers": [{"hostname": "c"}]}


@pytest.mark.parametrize("module", ["ontap_snapshot", "kvm_app_restore", "kvm_vm_quiesce"])
def test_a_module_tells_its_argument_spec(module: str) -> None:
    assert {"controllers", "guests"} & set(old_side.argument_spec_of(module))
