# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of the private host: which options they get from it."""

from __future__ import annotations

import pytest

from kvmground.modules import knows


@pytest.mark.parametrize(
    ("module", "word", "known"),
    [
        ("kvm_vm_backup", "controllers", True),
        ("kvm_vm_backup", "catalog_dir", True),
        ("kvm_vm_quiesce", "catalog_dir", False),
        ("kvm_vm_quiesce", "freeze_timeout", True),
        ("kvm_backup_manifest", "controllers", False),
        ("kvm_backup_manifest", "withdrawn", True),
    ],
)
def test_a_module_gets_what_it_knows(module: str, word: str, known: bool) -> None:
    assert knows(module, word) is known
