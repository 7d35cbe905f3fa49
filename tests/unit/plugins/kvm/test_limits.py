# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many guests libvirt's daemon can work on at once, by its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once, max_workers


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("", None),
        ("#max_workers = 20\n", None),
        ("max_workers = 7\n", 7),
        ("max_workers = 7\nmax_workers=40 # more\n", 40),
        ("prio_max_workers = 5\n", None),
    ],
)
def test_max_workers(text: str, workers: Optional[int]) -> None:
    assert max_workers(text) == workers


@pytest.mark.parametrize(("workers", "guests"), [(None, 16), (2, 1), (20, 16), (24, 20), (1000, 64)])
def test_how_many_guests_at_once(tmp_path: Path, workers: Optional[int], guests: int) -> None:
    if workers is not None:
        (tmp_path / "libvirtd.conf").write_text(f"max_workers = {workers}\n", encoding="utf-8")
    assert at_once(tmp_path, tmp_path) == guests
    (tmp_path / "virtqemud-sock").touch()
    assert at_once(tmp_path, tmp_path) == 16
