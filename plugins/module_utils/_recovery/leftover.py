# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the recovery tell of a thing that was left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Left:
    """A thing by its ``name``, ``what`` is the matter with it, and what removes it: None leaves it alone."""

    name: str
    what: str
    act: Optional[Callable[[], object]] = None
