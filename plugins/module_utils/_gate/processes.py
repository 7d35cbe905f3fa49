# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the processes of this host have open, in all mount namespaces: every ``/proc/*/fd``, by identity.

The names there say nothing (another mount namespace, a hard link, a private ``/dev``); ``stat`` tells inode and device
of what is open. That of a file on a server that does not answer never ends: such a descriptor is left behind.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, progressing
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import visible

PROC = Path("/proc")
LOOK = "processes of this host that have it open"
SECONDS = 3.0
"""How long one descriptor may take."""
SILENT = 5
"""How many descriptors may not answer before nobody asks any more."""

Matches = Callable[[os.stat_result, Path], bool]


@dataclass(frozen=True)
class _Descriptor:
    pid: str
    path: Path


class _Pass:
    """One walk over the descriptors. Left behind at one that does not answer, it ends there without a word."""

    def __init__(self, todo: list[_Descriptor], at: int, matches: Matches, found: list[str]) -> None:
        self.at = at
        self.left_behind = False
        self._todo, self._matches, self._found = todo, matches, found

    def run(self, step: Callable[[], None]) -> None:
        while self.at < len(self._todo):
            here = self._todo[self.at]
            hit = _hit(here.path, self._matches)
            if self.left_behind:
                return
            if hit:
                self._found.append(here.pid)
            self.at += 1
            step()


def processes_answer(
    matches: Matches,
    what: str,
    *,
    but: Collection[str] = (),
    proc: Path = PROC,
    seconds: float = SECONDS,
    silent: int = SILENT,
) -> Answer:
    """Say which processes have something open that ``matches``; it is given what ``stat`` says, and the process's
    directory.

    This process and its children do not count, nor do the QEMUs of the guests ``but`` (uuids). ``what`` is the object.
    """
    if os.geteuid() != 0:
        return Answer(LOOK, impossible="only root sees what the processes of others have open")
    todo = [_Descriptor(process.name, path) for process in _processes(proc) for path in _entries(process / "fd")]
    found: list[str] = []
    unanswered: list[_Descriptor] = []
    at = 0
    while at < len(todo) and len(unanswered) < silent:
        walk = _Pass(todo, at, matches, found)
        try:
            progressing(walk.run, seconds=seconds, what="look at open files")
            break
        except OverdueError:
            walk.left_behind = True
            unanswered.append(todo[walk.at])
            at = walk.at + 1
    impossible = ""
    if unanswered:
        names = ", ".join(str(each.path) for each in unanswered)
        impossible = f"what is open there did not answer within {seconds:g} s: {names}"
    return Answer(
        LOOK, tuple(_user(proc, pid, what) for pid in dict.fromkeys(found) if not _runs(proc / pid, but)), impossible
    )


def _processes(proc: Path) -> Iterator[Path]:
    own = str(os.getpid())
    for process in _entries(proc):
        if process.name.isdigit() and process.name != own and _parent(process) != own:
            yield process


def _parent(process: Path) -> str:
    """Return the pid of a process's parent, nothing when it has ended."""
    for line in _text(process / "status").splitlines():
        key, _colon, value = line.partition(":")
        if key == "PPid":
            return value.strip()
    return ""


def _hit(path: Path, matches: Matches) -> bool:
    try:
        return matches(os.stat(path), path.parent.parent)
    except OSError:
        return False


def _runs(process: Path, guests: Collection[str]) -> bool:
    """Tell whether a process is the QEMU of one of these guests, as libvirt starts it."""
    words = _text(process / "cmdline").split("\0")
    return any(word == "-uuid" and value in guests for word, value in zip(words, words[1:]))


def _user(proc: Path, pid: str, what: str) -> User:
    name = visible(_text(proc / pid / "comm").strip()) or "a program that has ended since"
    remedy = f"End what uses it ('ps -fp {pid}' shows it)."
    return User(f"process {pid} ({name})", f"has {what} open on this host", remedy, passing=True)


def is_regular(found: os.stat_result) -> bool:
    """Tell whether a regular file is open."""
    return stat.S_ISREG(found.st_mode)


def _entries(directory: Path) -> list[Path]:
    """Return what is in a directory of a process, nothing when it has ended."""
    try:
        return [directory / name for name in os.listdir(directory)]
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
