# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the host that tell something: found by absolute path, run with a bound that always holds."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError

SYSTEM_DIRECTORIES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_LAST_WAIT = 2.0
"""Seconds that a killed program has to be gone: long for a busy host, and nothing beside what it was waited for."""
_ENVIRONMENT = {"PATH": os.pathsep.join(SYSTEM_DIRECTORIES), "LC_ALL": "C"}


class ProgramError(KvmsnapError):
    """A program could not be run, gave no answer in time, or said that it failed."""


def find_program(name: str, directories: Iterable[str] = SYSTEM_DIRECTORIES) -> Optional[str]:
    """Return the absolute path of a program of the system, ``None`` without one; the user's PATH has no say."""
    places = (Path(directory) / name for directory in directories)
    return next((str(place) for place in places if place.is_file() and os.access(place, os.X_OK)), None)


def output_of(command: Sequence[str], *, seconds: float) -> str:
    """Run a program and return what it prints, as text; otherwise as :func:`bytes_of`."""
    return bytes_of(command, seconds=seconds).decode("utf-8", "replace")


def bytes_of(command: Sequence[str], *, seconds: float) -> bytes:
    """Run a program and return what it prints; ``command`` begins with an absolute path.

    One that hangs in the kernel (on a device that queues) cannot be killed; nobody waits for it longer than ``seconds``
    and a moment. Raises :class:`ProgramError`.
    """
    action = f"run {' '.join(command)}"
    try:
        running = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as exc:
        raise ProgramError(f"Failed to {action}: {exc.strerror}", path=command[0]) from exc
    try:
        printed, said = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as exc:
        _end(running)
        raise ProgramError(f"Failed to {action}: no answer within {seconds:g} s", path=command[0]) from exc
    if running.returncode != 0:
        reason = (said or printed).decode("utf-8", "replace").strip() or f"it ended with {running.returncode}"
        raise ProgramError(f"Failed to {action}: {reason}", path=command[0])
    return printed


def _end(running: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate(timeout=_LAST_WAIT)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        for stream in (running.stdout, running.stderr):
            if stream is not None:
                stream.close()
