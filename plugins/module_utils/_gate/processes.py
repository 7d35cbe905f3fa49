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
from pathlib import Path
from typing import NamedTuple

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, progressing
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import visible

PROC = Path("/proc")
LOOK = "processes of this host that have it open"
SECONDS = 3.0
"""How long one descriptor may take."""
SILENT = 5
"""How many descriptors may not answer before nobody asks any more."""

Matches = Callable[[os.stat_result, str], bool]


class _Descriptor(NamedTuple):
    """What a process has open. Paths are text here, since a host has thousands of them."""

    process: str
    path: str


class _Pass:
    """One walk over the descriptors. Left behind at one that does not answer, it ends there without a word."""

    def __init__(self, todo: list[_Descriptor], at: int, matches: Matches, found: list[str]) -> None:
        self.at = at
        self.left_behind = False
        self._todo, self._matches, self._found = todo, matches, found

    def run(self, step: Callable[[], None]) -> None:
        while self.at < len(self._todo):
            here = self._todo[self.at]
            hit = _hit(here, self._matches)
            if self.left_behind:
                return
            if hit:
                self._found.append(here.process)
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
    """Say which processes have something open that ``matches``; it is given what ``stat`` says, and the path of the
    process's directory.

    This process and its children do not count, nor do the QEMUs of the guests ``but`` (uuids). ``what`` is the object.
    """
    if os.geteuid() != 0:
        return Answer(LOOK, impossible="only root sees what the processes of others have open")
    todo = [each for process in _processes(str(proc)) for each in _descriptors(process)]
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
    of_others = [each.path for each in unanswered if not _is_own_child(each.process)]
    if of_others:
        impossible = f"what is open there did not answer within {seconds:g} s: {', '.join(of_others)}"
    users = (Path(process) for process in dict.fromkeys(found))
    return Answer(LOOK, tuple(_user(process, what) for process in users if not _runs(process, but)), impossible)


def _processes(proc: str) -> Iterator[str]:
    own = str(os.getpid())
    return (f"{proc}/{name}" for name in _entries_of(proc) if name.isdigit() and name != own)


def _descriptors(process: str) -> Iterator[_Descriptor]:
    return (_Descriptor(process, f"{process}/fd/{name}") for name in _entries_of(f"{process}/fd"))


def _is_own_child(process: str) -> bool:
    return _parent(Path(process)) == str(os.getpid())


def _parent(process: Path) -> str:
    """Return the pid of a process's parent, nothing when it has ended."""
    for line in _content_of(process / "status").splitlines():
        key, _colon, value = line.partition(":")
        if key == "PPid":
            return value.strip()
    return ""


def _hit(descriptor: _Descriptor, matches: Matches) -> bool:
    try:
        hit = matches(os.stat(descriptor.path), descriptor.process)
    except OSError:
        return False
    return hit and not _is_own_child(descriptor.process)


def _runs(process: Path, guests: Collection[str]) -> bool:
    """Tell whether a process is the QEMU of one of these guests, as libvirt starts it."""
    words = _content_of(process / "cmdline").split("\0")
    return any(word == "-uuid" and value in guests for word, value in zip(words, words[1:]))


def _user(process: Path, what: str) -> User:
    pid, name = process.name, visible(_content_of(process / "comm").strip()) or "a program that has ended since"
    remedy = f"End what uses it ('ps -fp {pid}' shows it)."
    return User(f"process {pid} ({name})", f"has {what} open on this host", remedy, passing=True)


def is_regular(found: os.stat_result) -> bool:
    """Tell whether a regular file is open."""
    return stat.S_ISREG(found.st_mode)


def _entries_of(directory: str) -> list[str]:
    """Return what is in a directory of a process, nothing when it has ended."""
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _content_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
