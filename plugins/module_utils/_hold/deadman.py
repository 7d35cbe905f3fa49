# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead-man timer: releases a hold that outlives its deadline, whoever died, hung or was cut off meanwhile.

It is this collection's own release of a hold, packed into one file beside the hold records and run by the interpreter
that armed it: by a transient timer unit where systemd runs as the system's manager, else by a process in a session of
its own. It needs neither the SSH session nor Ansible's temporary directory, and takes the hold's lock like everyone.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import DEADLINE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import read_rows
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import (
    Timer,
    TimerError,
    forget_timer,
    known_timer,
    timer_path,
    write_timer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import BOOT_ID, boot_id, end

MARGIN = 0.5
"""Seconds after the deadline at which the timer fires, so that a release which ends in time is not disturbed."""
LEAD = 15.0
"""Seconds before its first moment at which a systemd timer starts its service, which waits for that itself.

A slow host needs half of them until its Python has found libvirt.
"""

SYSTEMD_RUNS = Path("/run/systemd/system")

_ROOM = "ansible_collections.kvmsnap.ontap.plugins.module_utils."
_ENTRY = f"{_ROOM}_hold.deadman_run"
_MAIN = f"import sys\n\nfrom {_ENTRY} import main\n\nsys.exit(main(sys.argv[1:]))\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the archive, so that the same modules make the same archive."""
_COMMAND_SECONDS = 30.0
"""Seconds that systemd, or a Python which looks for libvirt on a slow host, has for its answer."""
_UNIT_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_UNIT = 120
"""Characters of a hold's id in the name of its unit, which systemd limits to 255; a checksum tells holds apart."""


@dataclass(frozen=True)
class DeadMan:
    """The guard of a hold (``hold.Guard``): ``deadline`` and ``margin`` are in seconds, from the arming on."""

    uri: str
    deadline: float = DEADLINE
    margin: float = MARGIN
    boot: str = BOOT_ID
    systemd: Path = SYSTEMD_RUNS

    def arm(self, record: Path) -> None:
        """Arm the timer of the hold with this record; one that is armed already keeps its time.

        Raises :class:`TimerError` when nothing would release the hold.
        """
        path = timer_path(record)
        before = known_timer(path)
        if before is not None and before.boot_id == boot_id(self.boot) and not before.fired and watches(before):
            return
        stop(before)
        timer = self._new(record)
        write_timer(path, timer)
        try:
            program = install(record.parent)
            armed = self._arm(timer, path, program, soonest=self._soonest(record))
            now = time.monotonic()
            write_timer(path, replace(armed, armed_at=now, fires_at=now + self.deadline + self.margin))
        except BaseException:
            forget_timer(path)
            raise

    def disarm(self, record: Path) -> None:
        """End the timer, if there is one; without its file it does nothing, even where it cannot be stopped."""
        path = timer_path(record)
        before = known_timer(path)
        forget_timer(path)
        stop(before)

    def _new(self, record: Path) -> Timer:
        now = time.monotonic()
        return Timer(
            hold_id=record.stem,
            boot_id=boot_id(self.boot),
            token=secrets.token_hex(8),
            kind="process",
            uri=self.uri,
            deadline=self.deadline,
            margin=self.margin,
            armed_at=now,
            fires_at=now + self.deadline + self.margin + _COMMAND_SECONDS * 2,
        )

    def _soonest(self, record: Path) -> float:
        """Return after how many seconds at the soonest a guest of the hold is to be let go."""
        limits = [row.limit for row in read_rows(record, boot_id(self.boot)) or () if row.limit is not None]
        return min([self.deadline, *limits]) + self.margin

    def _arm(self, timer: Timer, path: Path, program: Path, *, soonest: float) -> Timer:
        if os.geteuid() != 0 or not self.systemd.is_dir():
            return _as_process(timer, path, program)
        try:
            return _as_unit(timer, path, program, soonest=soonest)
        except TimerError as exc:
            return replace(_as_process(timer, path, program), remark=exc.message)


def watches(timer: Timer) -> bool:
    """Say whether the timer waits for its moment, or is at work."""
    if timer.kind == "process":
        return timer.process is not None and timer.process.running
    units = [f"{timer.unit}.timer", f"{timer.unit}.service"]
    states = _output_of(["systemctl", "is-active", *units]).split()
    return any(state in ("active", "activating") for state in states)


def stop(timer: Optional[Timer]) -> None:
    """End the process or the unit of a timer, and nothing else."""
    if timer is None:
        return
    if timer.kind == "systemd":
        _output_of(["systemctl", "stop", f"{timer.unit}.timer", f"{timer.unit}.service"])
    elif timer.process is not None:
        end(timer.process)


def unit_name(record: Path) -> str:
    """Return the name of the unit of a hold: its id, and what tells directories of records apart."""
    place = hashlib.sha256(str(record.with_suffix("")).encode()).hexdigest()[:8]
    return f"kvmsnap-hold-{_UNIT_UNSAFE.sub('_', record.stem)[:_LONGEST_UNIT]}-{place}"


def install(directory: Path) -> Path:
    """Put the timer's program below a directory of hold records and return its path; raises :class:`TimerError`.

    One file, readable by its owner only. A new one is tried out: it must find libvirt.
    """
    content = program()
    path = directory / "timer" / f"kvmsnap-deadman-{hashlib.sha256(content).hexdigest()[:12]}.pyz"
    try:
        if path.is_file() and path.read_bytes() == content:
            return path
        private_directory(path.parent)
        write_private(path, content)
    except OSError as exc:
        raise TimerError(f"Failed to install the dead-man timer {path}: {exc.strerror}") from exc
    try:
        _done([sys.executable, str(path), "try"])
    except TimerError:
        path.unlink()
        raise
    return path


def program() -> bytes:
    """Return the timer's program as an archive that Python runs: the room's modules that it needs, nothing else."""
    # Named in an import, so that Ansible brings it to the host.
    from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import deadman_run

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        texts = {"__main__.py": _MAIN}
        for name, text in sorted(_sources(deadman_run.__name__)):
            parts = name.split(".")
            texts.update({"/".join([*parts[:depth], "__init__.py"]): "" for depth in range(1, len(parts))})
            texts["/".join(parts) + ".py"] = text
        for inside, text in sorted(texts.items()):
            packed.writestr(zipfile.ZipInfo(inside, _EPOCH), text, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _sources(entry: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of a module of this collection and of all that it imports from it."""
    seen: set[str] = set()
    ahead = [entry]
    while ahead:
        name = ahead.pop()
        text = None if name in seen else _source(name)
        seen.add(name)
        if text is not None:
            yield name, text
            ahead.extend(_imported(text))


def _imported(text: str) -> Iterator[str]:
    """Yield what a module imports from this collection: modules, and what may be a module or a name in one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_ROOM):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source(name: str) -> Optional[str]:
    """Return the text of a module wherever it was loaded from, None for a package and for what is no module."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.submodule_search_locations is not None:
        return None
    # A module that Ansible brought comes out of an archive, whose loader is none of importlib.abc's.
    read = getattr(spec.loader, "get_source", None)
    text: Optional[str] = read(name) if read else None
    return text


def _as_process(timer: Timer, path: Path, program_path: Path) -> Timer:
    """Start a process that waits in a session of its own; it has answered with its number before it is relied on."""
    answer = _done([sys.executable, str(program_path), "start", str(path), timer.token])
    try:
        found = json.loads(answer)
        armed = replace(timer, kind="process", unit=None, pid=int(found["pid"]), started=int(found["started"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise TimerError(f"Failed to arm the dead-man timer of hold {timer.hold_id}: it answered {answer!r}") from exc
    return armed


def _as_unit(timer: Timer, path: Path, program_path: Path, *, soonest: float) -> Timer:
    unit = unit_name(path)
    ahead = max(0.1, soonest - LEAD)
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={unit}",
        f"--description=Release the guests of hold {timer.hold_id} when it outlives its deadline",
        f"--on-active={round(ahead * 1000)}ms",
        "--timer-property=AccuracySec=100ms",
        "--timer-property=RemainAfterElapse=no",
        *(f"--setenv={name}={os.environ[name]}" for name in ("PYTHONPATH",) if os.environ.get(name)),
        "--",
        *[sys.executable, str(program_path), "watch", str(path), timer.token],
    ]
    _done(command)
    return replace(timer, kind="systemd", unit=unit)


def _done(command: Sequence[str]) -> str:
    """Run a program and return what it printed; raises :class:`TimerError`."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            cwd="/",
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise TimerError(f"Failed to arm the dead-man timer: {name}: {exc}") from exc
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise TimerError(f"Failed to arm the dead-man timer: {name} ended with {done.returncode}: {said}")
    return done.stdout


def _output_of(command: Sequence[str]) -> str:
    """Return what a program prints that only shows or stops something; nothing where it cannot run."""
    if shutil.which(command[0]) is None:
        return ""
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
        ).stdout
    return ""
