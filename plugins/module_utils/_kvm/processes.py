# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of this host, each known by its number and its start: a number alone may be another's by now."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

PROC = Path("/proc")

_ENDED = ("Z", "X", "x")
_PAUSE = 0.02


@dataclass(frozen=True)
class Process:
    """One process; ``started`` is in clock ticks since the host's boot (field 22 of /proc/PID/stat)."""

    pid: int
    started: int

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Process:
        """Read ``pid`` and ``started`` of a record; raises :class:`KeyError`, :class:`ValueError` or TypeError."""
        return cls(int(record["pid"]), int(record["started"]))

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return started_at(self.pid) == self.started


def own_process() -> Process:
    """Return the process that asks."""
    pid = os.getpid()
    return Process(pid, started_at(pid) or 0)


def started_at(pid: int, proc: Path = PROC) -> Optional[int]:
    """Return the start of the process that has this number now, None when none has, or only an ended one."""
    try:
        state, *fields = (
            (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (OSError, ValueError):
        return None
    return None if state in _ENDED else int(fields[18])


def qemu_processes(proc: Path = PROC) -> dict[str, Process]:
    """Return the QEMU processes of this host by the uuid of their guest, which libvirt gives them as ``-uuid``.

    A uuid that several have, as with a second libvirt in a container, tells none of them.
    """
    found: dict[str, Process] = {}
    several: set[str] = set()
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-uuid" in arguments[:-1]:
            uuid = arguments[arguments.index(b"-uuid") + 1].decode("ascii", "replace").lower()
            started = started_at(int(entry.name), proc)
            if started is not None:
                several |= {uuid} & found.keys()
                found[uuid] = Process(int(entry.name), started)
    return {uuid: process for uuid, process in found.items() if uuid not in several}


def end(process: Process, *, number: signal.Signals = signal.SIGTERM, timeout: float = 2.0) -> bool:
    """Signal exactly this process and say whether it is gone within ``timeout`` seconds; one that is gone is."""
    deadline = Deadline.after(timeout)
    with suppress(ProcessLookupError):
        if process.running:
            os.kill(process.pid, number)
    while process.running:
        if deadline.remaining() <= 0:
            return False
        deadline.clock.sleep(_PAUSE)
    return True


BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id(path: str = BOOT_ID) -> str:
    """Return what identifies this boot of the host."""
    return Path(path).read_text(encoding="ascii").strip()
