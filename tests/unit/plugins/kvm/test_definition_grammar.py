# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a definition that are known, and what their values may be."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_grammar import GRAMMAR, INERT, ROOT


def test_only_a_few_kinds_may_name_anything() -> None:
    kinds = {kind for rule in GRAMMAR.values() for kind in (*rule.attributes.values(), rule.text) if kind}
    # Texts that are free name nothing: titles, strings of the firmware's tables, serial numbers, our own mark.
    free = {path for path, rule in GRAMMAR.items() if "any" in (*rule.attributes.values(), rule.text)}
    assert not any(path.startswith(("os", "devices")) and not path.startswith("devices/disk/") for path in free)
    assert {"disk", "emulator", "network", "nvram", "firmware_file"} < kinds


@pytest.mark.parametrize("path", sorted(set(GRAMMAR) - {ROOT}))
def test_each_part_stands_below_one_that_is_allowed(path: str) -> None:
    above, _slash, _name = path.rpartition("/")
    assert not above or above in GRAMMAR or path.startswith("metadata/{")


@pytest.mark.parametrize(
    ("path", "attribute", "kind"),
    [
        ("vcpu", "placement", INERT),
        ("vcpu", "current", "count"),
        ("os/loader", "readonly", INERT),
        ("os/nvram", "template", "firmware_file"),
        (ROOT, "type", "domain_type"),
    ],
)
def test_an_attribute_without_a_kind_is_inert(path: str, attribute: str, kind: str) -> None:
    assert GRAMMAR[path].attributes[attribute] == kind


def test_the_text_of_a_part_has_its_kind() -> None:
    assert (GRAMMAR["os/loader"].text, GRAMMAR["vcpu"].text, GRAMMAR["features"].text) == ("firmware_file", "count", "")
