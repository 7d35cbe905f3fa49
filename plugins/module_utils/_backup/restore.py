# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out a restore plan, step by step, each step written down before the next begins.

Killed anywhere, the guest is off or as it was, and the same restore id goes on. Until all disks of a guest are written
and compared, they are written again; from then on only its power state is brought about.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Optional, Protocol

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.journal import GuestProgress, Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError


class Actor(Protocol):
    """What a restore does to the world; every call is bounded and raises :class:`KvmsnapError`."""

    def stop(self, guest: GuestRestore) -> None:
        """Bring the guest to ``shutoff``; it may be there already."""

    def start(self, guest: GuestRestore) -> None:
        """Bring the guest from ``shutoff`` to ``state_after``."""

    def state(self, guest: GuestRestore) -> str:
        """Return the guest's state now, a word of ``kvm_vm_discover``."""

    def overwrite(self, disk: DiskRestore) -> str:
        """Overwrite the disk from the snapshot and return the method that did it."""

    def verify(self, disk: DiskRestore) -> str:
        """Compare the disk with the snapshot's copy, past the host's caches; return what was compared."""


@dataclass(frozen=True)
class DiskResult:
    """One disk that was overwritten; ``seconds`` is the time the overwrite took."""

    target: str
    path: str
    method: str
    verified: str
    seconds: float


@dataclass(frozen=True)
class GuestResult:
    """What became of one guest; ``error`` is None when it was brought back."""

    name: str
    uuid: str
    restored: bool
    state_before: str
    state_after: str
    disks: tuple[DiskResult, ...]
    seconds: float
    error: Optional[str] = None


def run(
    plan: RestorePlan, *, actor: Actor, journal: Journal, save: Callable[[Journal], None]
) -> tuple[list[GuestResult], Journal]:
    """Restore every guest of the plan that the journal does not show as done; return each one's fate.

    Guests stand alone: one that fails does not stop the next. ``save`` makes the journal durable.
    """
    results = []
    for guest in plan.guests:
        if journal.done(guest.uuid):
            before = journal.guests[guest.uuid].state_before
            results.append(GuestResult(guest.name, guest.uuid, False, before, guest.state_now, (), 0.0))
            continue
        result, journal = _restore_guest(guest, actor=actor, journal=journal, save=save)
        results.append(result)
    return results, journal


def _restore_guest(
    guest: GuestRestore, *, actor: Actor, journal: Journal, save: Callable[[Journal], None]
) -> tuple[GuestResult, Journal]:
    begun = time.monotonic()
    progress = journal.guests.get(guest.uuid) or GuestProgress(state_before=guest.state_now)
    disks: list[DiskResult] = []

    def result(restored: bool, error: Optional[str]) -> GuestResult:
        state = _state(actor, guest)
        seconds = round(time.monotonic() - begun, 3)
        return GuestResult(guest.name, guest.uuid, restored, progress.state_before, state, tuple(disks), seconds, error)

    try:
        journal = _noted(journal, guest, progress, save)
        if not progress.written:
            if guest.state_now != "shutoff":
                actor.stop(guest)
            for disk in guest.disks:
                disks.append(_restore_disk(guest, disk, actor=actor))
                progress = replace(progress, disks=(*progress.disks, disks[-1].path))
                journal = _noted(journal, guest, progress, save)
            progress = replace(progress, written=True)
            journal = _noted(journal, guest, progress, save)
        if actor.state(guest) == "shutoff" and guest.state_after != "shutoff":
            actor.start(guest)
        progress = replace(progress, done=True)
        journal = _noted(journal, guest, progress, save)
    except KvmsnapError as exc:
        return result(False, exc.message), journal
    return result(True, None), journal


def _restore_disk(guest: GuestRestore, disk: DiskRestore, *, actor: Actor) -> DiskResult:
    state = actor.state(guest)
    if state != "shutoff":
        raise KvmsnapError(
            f"Failed to restore disk {disk.target} of guest {guest.name}: the guest is {state}; somebody started it",
            guest=guest.name,
            disk=disk.target,
        )
    begun = time.monotonic()
    method = actor.overwrite(disk)
    seconds = round(time.monotonic() - begun, 3)
    return DiskResult(disk.target, disk.label, method, actor.verify(disk), seconds)


def _noted(journal: Journal, guest: GuestRestore, progress: GuestProgress, save: Callable[[Journal], None]) -> Journal:
    noted = journal.with_guest(guest.uuid, progress)
    save(noted)
    return noted


def _state(actor: Actor, guest: GuestRestore) -> str:
    try:
        return actor.state(guest)
    except KvmsnapError:
        return "unknown"
