# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who was held, from when to when: seen from outside, by a thread that keeps asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from kvmlab.process import wait_until

from .ground import Ground

PAUSE = 0.05
_PAUSED = 3


@dataclass
class Stretch:
    """A time during which a guest stood still, on the machine's monotonic clock."""

    guest: str
    since: float
    until: Optional[float] = None

    @property
    def seconds(self) -> float:
        """How long, so far."""
        return (self.until or time.monotonic()) - self.since


class Watch:
    """Looks at guests until it is ended: stand-in agents are asked whether they are frozen, libvirt who else is paused.

    While libvirtd is away, only the agents can be asked.
    """

    def __init__(self, ground: Ground, guests: Sequence[str]) -> None:
        self._ground = ground
        self._guests = list(guests)
        self._connection: Any = None
        self._end = threading.Event()
        self._open: dict[str, Stretch] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.stretches: list[Stretch] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._end.set()
        self._thread.join(timeout=10)
        if self._connection is not None:
            self._connection.close()

    def held_now(self) -> list[str]:
        """Return the guests that stand still."""
        return sorted(self._open)

    def until_released(self, *, seconds: float) -> list[str]:
        """Wait until no guest stands still, at most ``seconds``; return those that do."""
        deadline = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline:
            time.sleep(PAUSE)
        return self.held_now()

    def until_held(self, guest: str, *, seconds: float = 30) -> None:
        """Wait until a guest stands still."""
        wait_until(lambda: guest in self._open, seconds=seconds, what=f"{guest} held", pause=0.005)

    def longest(self) -> Optional[Stretch]:
        """Return the longest stretch, None when no guest was seen held."""
        return max(self.stretches, key=lambda each: each.seconds, default=None)

    def _run(self) -> None:
        while not self._end.is_set():
            for guest in self._guests:
                held = self._is_held(guest)
                if held and guest not in self._open:
                    self._open[guest] = Stretch(guest, time.monotonic())
                    self.stretches.append(self._open[guest])
                elif held is False and guest in self._open:
                    self._open.pop(guest).until = time.monotonic()
            self._end.wait(PAUSE)

    def _is_held(self, guest: str) -> Optional[bool]:
        """Return whether a guest stands still; None when nobody can tell now."""
        if self._ground.guests.stands_in(guest):
            return self._ground.guests.agent(guest).frozen
        return self._paused(guest)

    def _paused(self, guest: str) -> Optional[bool]:
        import libvirt

        try:
            if self._connection is None:
                self._connection = libvirt.open(self._ground.uri)
            return bool(self._connection.lookupByName(guest).state()[0] == _PAUSED)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return False
            self._connection = None
            return None
