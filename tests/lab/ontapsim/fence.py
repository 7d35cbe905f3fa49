# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The write fence: the daemons that serve the data are stopped while bytes change, and always continued.

Who holds the fence may be killed, so a guard process of its own session knows what is stopped. It continues those
processes when its pipe closes or when the time is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_SETTLE_SECONDS = 2.0
_PIDFILE_SLACK = 2.0
_GUARD = Path(__file__).with_name("fence_guard.py")


class FenceError(RuntimeError):
    """The fence could not be built, or did not hold long enough."""


class Fence:
    """Stops the processes named in ``pidfiles`` for at most ``limit`` seconds at a time."""

    def __init__(self, pidfiles: Sequence[str], *, limit: float = 5.0) -> None:
        self.pidfiles = list(pidfiles)
        self.limit = limit
        self._guard: subprocess.Popen[bytes] | None = None
        self._standing: dict[str, float] = {}

    def start(self) -> None:
        """Start the guard, when there is anything to fence."""
        if self.pidfiles and (self._guard is None or self._guard.poll() is not None):
            self._guard = subprocess.Popen(
                [sys.executable, "-I", str(_GUARD)], stdin=subprocess.PIPE, bufsize=0, start_new_session=True
            )

    def close(self) -> None:
        """End the guard; it continues whatever is still stopped."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait(timeout=10)
            self._guard = None

    def free(self) -> None:
        """Continue whatever an earlier holder may have left stopped."""
        for pid in self._pids():
            _signal(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def held(self, *, strict: bool) -> Iterator[None]:
        """Hold the fence. ``strict`` raises ``FenceError`` at the end when it fell before the work was done.

        While a fence stands that was put up with `put_up`, that one is held, and stays.
        """
        pids = self._pids()
        if not pids:
            yield
            return
        began, limit = time.monotonic(), max(self.limit, self._stands())
        self._stop(pids, limit)
        try:
            yield
            if strict and time.monotonic() - began >= limit:
                raise FenceError(f"the write fence fell after {limit} s, before the work was done")
        finally:
            self._go_on(pids)

    def put_up(self, name: str, seconds: float) -> None:
        """Let a fence stand until it is taken down by its ``name``, or the time is over; raises ``FenceError``."""
        pids = self._pids()
        self._standing[name] = time.monotonic() + seconds
        if pids:
            try:
                self._stop(pids, self._stands())
            except BaseException:
                self.take_down(name)
                raise

    def take_down(self, name: str) -> None:
        """Take a standing fence down; one that has fallen by itself is fine."""
        if self._standing.pop(name, None) is not None:
            pids = self._pids()
            if pids:
                self._go_on(pids)

    def _stands(self) -> float:
        """Return for how many seconds yet a fence stands that was put up."""
        return max([0.0, *(until - time.monotonic() for until in self._standing.values())])

    def _stop(self, pids: Sequence[int], seconds: float) -> None:
        self.start()
        self._tell(f"hold {seconds} {' '.join(map(str, pids))}")
        try:
            for pid in pids:
                _signal(pid, signal.SIGSTOP)
            _wait_stopped(pids, deadline=time.monotonic() + min(_SETTLE_SECONDS, seconds))
        except BaseException:
            self._go_on(pids)
            raise

    def _go_on(self, pids: Sequence[int]) -> None:
        """Continue the processes, unless a fence stands; the guard then still knows them."""
        seconds = self._stands()
        if seconds > 0:
            self._tell(f"hold {seconds} {' '.join(map(str, pids))}")
            return
        for pid in pids:
            _signal(pid, signal.SIGCONT)
        self._tell("free")

    def _tell(self, line: str) -> None:
        if self._guard is None or self._guard.stdin is None:
            raise FenceError("the fence has no guard")
        try:
            self._guard.stdin.write(line.encode() + b"\n")
        except OSError as exc:
            raise FenceError(f"the fence's guard is gone: {exc}") from exc

    def _pids(self) -> list[int]:
        pids = []
        for pidfile in self.pidfiles:
            with contextlib.suppress(OSError, ValueError):
                pid = int(Path(pidfile).read_text(encoding="ascii"))
                if pid > 1 and _started(pid) <= os.stat(pidfile).st_mtime + _PIDFILE_SLACK:
                    pids.append(pid)
        return pids


def _started(pid: int) -> float:
    """Return when a process started (a later one than its pidfile is a stranger that got the same number)."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_stopped(pids: Sequence[int], *, deadline: float) -> None:
    while not all(_stopped(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise FenceError(f"the processes {list(pids)} did not stop in time")
        time.sleep(0.0005)


def _stopped(pid: int) -> bool:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return all((task / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX" for task in tasks)
    except (FileNotFoundError, ProcessLookupError):
        return not os.path.isdir(f"/proc/{pid}")
