# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the recovery share."""

from __future__ import annotations

from pathlib import Path

import pytest
from recovery_host import Host

from ontapsim.testing import Running


@pytest.fixture
def host(sim: Running, tmp_path: Path, request: pytest.FixtureRequest) -> Host:
    """A host of the test's own, with a backup's name of its own."""
    return Host(sim, tmp_path, f"hv1-{abs(hash(request.node.name)) % 10**12}")
