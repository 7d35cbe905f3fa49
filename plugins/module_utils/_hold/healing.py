# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let go, on paper, of guests that a hold which is long over still names, once each is proven free.

A process and a timer may both be gone, or a guest's agent may have lied to them, before the record could say that a
guest was released; nobody else could hold that guest then. Nothing is done to a guest here: what is not proven stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Optional, Protocol

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import MARGIN
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.freezing import Bounds, broken, proof_of_freedom
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import DEADLINE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecord,
    Row,
    lock_holder,
    locked,
    read_rows,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import Timer, known_timer, timer_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import Worker, WorkerPool

LONG_OVER = 60.0
"""Seconds after its end from which a hold counts as long over: the timer has tried each guest several times then."""

_LOCK_SECONDS = 2.0
"""Seconds to wait for the lock of a hold that nobody had a moment ago: a backup waits for no other hold's repair."""


class Site(Bounds, Protocol):
    """Where holds are recorded, and how their guests are asked."""

    @property
    def directory(self) -> Path:
        """The directory of the records."""

    @property
    def connect(self) -> Callable[[], Host]:
        """Open a connection to libvirt."""

    @property
    def at_once(self) -> int:
        """How many guests libvirt works on at a time."""

    @property
    def boot(self) -> str:
        """The file with the id of this boot."""


def heal(site: Site, *, but: str) -> list[str]:
    """Note in each hold that is long over which of its guests are proven free; return a sentence for each such hold.

    The hold ``but`` is the caller's own. A hold that somebody works on, or that cannot be looked at, stays as it is.
    """
    paths = sorted(site.directory.glob("*.json")) if site.directory.is_dir() else []
    found = [
        outcome_of(partial(_heal, path, site), what=f"look at hold {path.stem}") for path in paths if path.stem != but
    ]
    return [each for each in found if isinstance(each, str)]


def end_of(rows: Sequence[Row], timer: Optional[Timer]) -> float:
    """Return the moment at which a hold with outstanding rows is over, also when nothing waits for it any more. Pure.

    Seconds of this boot's monotonic clock.
    """
    if timer is not None:
        return timer.fires_at
    return max((row.freeze_sent or 0.0) for row in rows if row.outstanding) + DEADLINE + MARGIN


def long_over(rows: Sequence[Row], timer: Optional[Timer], now: float) -> bool:
    """Say whether a hold still names guests although its end was long ago. Pure."""
    return any(row.outstanding for row in rows) and now >= end_of(rows, timer) + LONG_OVER


def _heal(path: Path, site: Site) -> Optional[str]:
    hold_id, boot = path.stem, boot_id(site.boot)
    timer = known_timer(timer_path(path))
    if not long_over(read_rows(path, boot) or [], timer, time.monotonic()):
        return None
    if lock_holder(site.directory, hold_id) is not None:
        return None
    with locked(site.directory, hold_id, stage="releasing", timeout=_LOCK_SECONDS):
        record = HoldRecord(site.directory, hold_id, boot)
        record.read()
        named = [row for row in record.rows if row.outstanding]
        with WorkerPool(site.connect, size=len(named), most=site.at_once) as pool:
            freed = [row for row in pool.each(named, partial(_freed, site=site)) if row is not None]
        if freed:
            record.put(*freed)
    return _sentence(hold_id, freed, [row for row in record.rows if row.outstanding]) if freed else None


def _freed(worker: Worker, row: Row, *, site: Site) -> Optional[Row]:
    """Return the row of a guest that is proven free, None for any other."""
    proof = outcome_of(lambda: proof_of_freedom(worker, row, site), what=f"look at guest {row.name}")
    if proof is None or isinstance(proof, KvmsnapError):
        return None
    why = f"its hold was long over when it was found free: {proof}"
    return broken(replace(row, phase="released", error=None), why)


def _sentence(hold_id: str, freed: Sequence[Row], held: Sequence[Row]) -> str:
    names = ", ".join(row.name for row in freed)
    unproven = f"; it still names {', '.join(row.name for row in held)}, not proven free" if held else ""
    return f"The hold {hold_id} was long over and still named {names}, which is free; its record says so now{unproven}"
