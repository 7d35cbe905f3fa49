# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pieces of argument specs, and the doc fragments that tell of them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.kvmsnap.ontap.plugins.doc_fragments import (
    backup_scope,
    catalog,
    foreign_definition,
    hold,
    libvirt,
    retry,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils import _options
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import backup_scope_options
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import (
    foreign_definition_options,
)

PIECES = {
    "backup_scope": (backup_scope.ModuleDocFragment.DOCUMENTATION, backup_scope_options()),
    "catalog": (catalog.ModuleDocFragment.DOCUMENTATION, _options.catalog_options()),
    "foreign_definition": (foreign_definition.ModuleDocFragment.DOCUMENTATION, foreign_definition_options()),
    "hold": (hold.ModuleDocFragment.DOCUMENTATION, _options.hold_options()),
    "hold.agent": (hold.ModuleDocFragment.AGENT, _options.hold_agent_options()),
    "hold.deadline": (hold.ModuleDocFragment.DEADLINE, _options.hold_deadline_options()),
    "libvirt": (libvirt.ModuleDocFragment.DOCUMENTATION, _options.libvirt_options()),
    "libvirt.files": (libvirt.ModuleDocFragment.FILES, _options.libvirt_files_options()),
    "retry": (retry.ModuleDocFragment.DOCUMENTATION, _options.retry_options()),
}


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_is_what_its_doc_fragment_tells(piece: str) -> None:
    text, spec = PIECES[piece]
    told: dict[str, dict[str, Any]] = yaml.safe_load(text)["options"]
    for each in told.values():
        assert each.pop("description")
    assert told == spec


def test_what_a_timeout_bounds_is_the_module_s_own() -> None:
    assert _options.timeout_options(300) == {"timeout": {"type": "int", "default": 300}}
