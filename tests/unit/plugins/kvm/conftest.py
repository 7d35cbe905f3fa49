# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests of libvirt's test driver, and the ground on which they are held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import Ground


@pytest.fixture
def guests() -> Iterator[Guests]:
    """Guests that go with the test."""
    made = Guests()
    yield made
    made.close()


@pytest.fixture
def ground(guests: Guests, tmp_path: Path) -> Ground:
    """Where the holds of a test are made."""
    boot = tmp_path / "boot_id"
    boot.write_text("this-boot\n", encoding="ascii")
    return Ground(directory=tmp_path / "holds", connect=guests.connect, retry_count=3, boot=str(boot))
