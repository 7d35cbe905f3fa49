# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose disks are neither old nor new must not be started: not by the boot of its host either.

What is changed about the guest for that time is in the journal before it is done, so that whoever goes on brings it
back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.journal import GuestProgress
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import GuestRestore


class Fenced(Protocol):
    """What the fence does to a guest; every call is bounded and raises :class:`KvmsnapError`."""

    def autostart(self, guest: GuestRestore) -> bool:
        """Tell whether the guest starts with its host."""

    def set_autostart(self, guest: GuestRestore, wanted: bool) -> None:
        """Let the guest start with its host, or not."""


class Fence:
    """The fence around the guests of one run; ``progress`` reads the journal, ``note`` makes it durable."""

    def __init__(
        self,
        actor: Fenced,
        progress: Callable[[GuestRestore], GuestProgress],
        note: Callable[[GuestRestore, GuestProgress], None],
    ) -> None:
        self._actor = actor
        self._progress = progress
        self._note = note

    def close(self, guest: GuestRestore) -> None:
        """Keep the guest from being started by its host; the journal says first that this is to be brought back."""
        if self._actor.autostart(guest):
            self._note(guest, replace(self._progress(guest), autostart=True))
            self._actor.set_autostart(guest, False)

    def open(self, guest: GuestRestore) -> None:
        """Bring back what :meth:`close` changed, once the disks are whole again: restored, or as before."""
        if self._progress(guest).autostart:
            self._actor.set_autostart(guest, True)
            self._note(guest, replace(self._progress(guest), autostart=False))
