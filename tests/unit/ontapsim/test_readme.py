# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's page names every switch, fault and key of the configuration."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import ontapsim
from ontapsim.faults import TYPES
from ontapsim.switches import Switches

PAGE = (Path(ontapsim.__file__).parent / "README.md").read_text(encoding="utf-8")
NAMES = [
    *(item.name for item in dataclasses.fields(Switches)),
    *TYPES,
    *(key for keys in TYPES.values() for key in keys),
]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_page_names(name: str) -> None:
    assert f"`{name}`" in PAGE
