# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of UEFI variables and TPM states share."""

from __future__ import annotations

from pathlib import Path

import pytest
from firmware_host import Host

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import firmware


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A guest's files on a host."""
    monkeypatch.setattr(firmware, "TPM_STATE", str(tmp_path / "swtpm"))
    return Host(tmp_path)
