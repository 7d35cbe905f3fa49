# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands within a time limit, keep daemons on record, and end exactly those again.

A daemon is the leader of a session of its own. The child itself writes its record (pid, start time, boot) before it
becomes the daemon, so no daemon of the lab is ever without one, whenever the lab's own process is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from .errors import LabError

Argument = Union[str, Path]
TAIL = 1500


def run(
    argv: Sequence[Argument],
    *,
    timeout: float = 60,
    stdin: Optional[str] = None,
    check: bool = True,
    env: Optional[Mapping[str, str]] = None,
    cwd: Optional[Path] = None,
    shown: Optional[str] = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return it; a failure, or no end within ``timeout`` (seconds), raises LabError.

    ``shown`` stands for the command in the error's message.
    """
    words = [str(word) for word in argv]
    shown = (shown or " ".join(words))[:200]
    feed: dict[str, object] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            **feed,  # type: ignore[call-overload]
        )
    except subprocess.TimeoutExpired as exc:
        raise LabError(f"Failed to run '{shown}': no end within {timeout:.0f} s") from exc
    except OSError as exc:
        raise LabError(f"Failed to run '{shown}': {exc}") from exc
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-TAIL:]
        raise LabError(f"Failed to run '{shown}': exit code {done.returncode}: {said}")
    return done


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str, pause: float = 0.05) -> None:
    """Return as soon as ``condition`` holds; LabError naming ``what`` when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"Failed to see {what} within {seconds:.0f} s")
        time.sleep(pause)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, or a word that there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return f"(no {log})"


@dataclass(frozen=True)
class _Stat:
    """What the lab needs of /proc/<pid>/stat: ids, state letter and start time in ticks since boot."""

    pid: int
    state: str
    session: int
    start: int


def _stat(pid: int) -> Optional[_Stat]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(pid=pid, state=fields[0], session=int(fields[3]), start=int(fields[19]))


def _all_stats() -> Iterator[_Stat]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            found = _stat(int(entry.name))
            if found is not None and found.state != "Z":
                yield found


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to each process; one that has gone meanwhile is fine."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


@dataclass(frozen=True)
class Session:
    """A daemon of the lab: the session leader's pid, its start time and the boot both belong to."""

    name: str
    pid: int
    start: int
    boot: str

    @property
    def alive(self) -> bool:
        """True while the leader itself runs."""
        found = _stat(self.pid)
        return found is not None and found.state != "Z" and found.start == self.start and self.boot == _boot_id()

    def members(self) -> list[int]:
        """Return the pids of the session; none when its number belongs to somebody else by now."""
        if self.boot != _boot_id():
            return []
        leader = _stat(self.pid)
        if leader is not None and leader.start != self.start:
            return []
        return [found.pid for found in _all_stats() if found.session == self.pid and found.start >= self.start]

    def stop(self, *, grace: float, seconds: float = 10) -> None:
        """End the session: SIGTERM to its leader and ``grace`` seconds, then SIGKILL to what is left of it."""
        if grace and self.alive:
            signal_all([self.pid], signal.SIGTERM)
            signal_all([self.pid], signal.SIGCONT)
            deadline = time.monotonic() + grace
            while self.members() and time.monotonic() < deadline:
                time.sleep(0.02)
        deadline = time.monotonic() + seconds
        while members := self.members():
            if time.monotonic() > deadline:
                raise LabError(f"Failed to end the lab's {self.name}: processes {members} stay")
            signal_all(members, signal.SIGKILL)
            time.sleep(0.02)


@dataclass(frozen=True)
class Sessions:
    """The daemons on record, one file each in ``directory``; their output goes to ``logs``."""

    directory: Path
    logs: Path

    def get(self, name: str) -> Optional[Session]:
        """Return the session on record, running or not."""
        try:
            record = json.loads((self.directory / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        return Session(name=name, pid=record["pid"], start=record["start"], boot=record["boot"])

    def alive(self, name: str) -> bool:
        """True when the daemon is on record and its leader runs."""
        session = self.get(name)
        return session is not None and session.alive

    def start(self, name: str, argv: Sequence[Argument], *, env: Optional[Mapping[str, str]] = None) -> Session:
        """Start a daemon in a session of its own, on record before its first instruction."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=None if env is None else {**os.environ, **env},
                preexec_fn=lambda: self._record(name),  # noqa: PLW1509 - it only writes a file
            )
        session = self.get(name)
        if session is None:
            raise LabError(f"Failed to start the lab's {name}: it left no record")
        return session

    def wait(self, name: str, ready: Callable[[], bool], *, seconds: float, pause: float = 0.05) -> None:
        """Return when the daemon is ready; LabError with its last words when it ends before that or takes too long."""

        def ready_or_ended() -> bool:
            return ready() or not self.alive(name)

        try:
            wait_until(ready_or_ended, seconds=seconds, what=f"the lab's {name} ready", pause=pause)
            if not self.alive(name):
                raise LabError(f"the lab's {name} has ended")
        except LabError as exc:
            raise LabError(f"{exc}; its log ends with:\n{tail(self.logs / f'{name}.log')}") from exc

    def stop(self, name: str, *, grace: float = 0) -> None:
        """End the daemon and forget it; one that is not on record or gone already is fine."""
        session = self.get(name)
        if session is not None:
            session.stop(grace=grace)
            (self.directory / f"{name}.json").unlink()

    def names(self) -> list[str]:
        """Return the names on record."""
        return sorted(entry.stem for entry in self.directory.glob("*.json"))

    def _record(self, name: str) -> None:
        own = _stat(os.getpid())
        assert own is not None
        record = self.directory / f"{name}.json"
        draft = record.with_suffix(".new")
        draft.write_text(json.dumps({"pid": own.pid, "start": own.start, "boot": _boot_id()}))
        draft.replace(record)
