# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What initiators see: targets with units, and whatever serves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

WWID_PREFIX = "3600a0980"


class SanError(RuntimeError):
    """The target could not be brought to what the array says."""


@dataclass(frozen=True)
class Unit:
    """A mapped LUN: ``number`` as the initiator sees it, ``file`` with its bytes, ``serial`` of 12 characters."""

    number: int
    file: str
    serial: str
    online: bool = True

    @property
    def wwid(self) -> str:
        """Return the identifier that a host shows, as ONTAP makes it of the serial."""
        return WWID_PREFIX + self.serial.encode("ascii").hex()


@dataclass(frozen=True)
class Target:
    """What the initiators of one igroup may log in to; ``name`` and ``initiators`` are IQNs."""

    name: str
    initiators: tuple[str, ...]
    units: tuple[Unit, ...]


class San(Protocol):
    """Serves LUNs to initiators; ``first_number`` is the lowest unit number that it can serve."""

    first_number: int

    def reconcile(self, targets: Sequence[Target]) -> None:
        """Serve exactly these targets, whatever was served before; raises ``SanError``."""


class NoTarget:
    """Serves nothing: LUNs exist for REST alone."""

    first_number = 0

    def reconcile(self, targets: Sequence[Target]) -> None:
        """Do nothing."""
