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
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BACKUP_SCOPE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import (
    FOREIGN_DEFINITION,
)

PIECES = {
    "backup_scope": (backup_scope.ModuleDocFragment.DOCUMENTATION, BACKUP_SCOPE),
    "catalog": (catalog.ModuleDocFragment.DOCUMENTATION, _options.CATALOG),
    "foreign_definition": (foreign_definition.ModuleDocFragment.DOCUMENTATION, FOREIGN_DEFINITION),
    "hold": (hold.ModuleDocFragment.DOCUMENTATION, _options.HOLD),
    "hold.agent": (hold.ModuleDocFragment.AGENT, _options.HOLD_AGENT),
    "hold.deadline": (hold.ModuleDocFragment.DEADLINE, _options.HOLD_DEADLINE),
    "libvirt": (libvirt.ModuleDocFragment.DOCUMENTATION, _options.LIBVIRT),
    "libvirt.files": (libvirt.ModuleDocFragment.FILES, _options.LIBVIRT_FILES),
    "retry": (retry.ModuleDocFragment.DOCUMENTATION, _options.RETRY),
}


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_is_what_its_doc_fragment_tells(piece: str) -> None:
    text, spec = PIECES[piece]
    told: dict[str, dict[str, Any]] = yaml.safe_load(text)["options"]
    for each in told.values():
        assert each.pop("description")
    assert told == spec
