# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of whole discoveries share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from discovered_host import World

from ontapsim import testing


@pytest.fixture(scope="package")
def sample_array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Running]:
    """The sample array; the tests only read."""
    with testing.start(None, tmp_path_factory.mktemp("array")) as running:
        for name in ("web1.img", "db1.img"):
            (running.volume_root("svm1", "kvm_vol1") / name).write_bytes(b"x" * 1024)
        yield running


@pytest.fixture
def world(tmp_path: Path, sample_array: testing.Running) -> World:
    """A host with three mounts and no guest yet."""
    return World(tmp_path, sample_array)
