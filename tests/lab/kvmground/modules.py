# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of the collection as processes of the private host, with nothing of Ansible around them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from kvmlab.errors import LabError

from . import old_side

if TYPE_CHECKING:
    from .ground import Ground

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
IMPORTED = "ansible_collections.kvmsnap.ontap.plugins.modules"
# Each process is shown the mount table with the volumes as NFS mounts. The shell becomes the module, pid and all.
_WITH_MOUNTS = 'mount --bind "$1" /proc/$$/mountinfo && shift && exec "$@"'


@dataclass(frozen=True)
class Outcome:
    """How a module ended: its result (empty when it printed none), and the seconds it took. ``rc`` < 0: a signal."""

    name: str
    rc: int
    result: dict[str, Any]
    seconds: float
    stderr: str = ""

    @property
    def failed(self) -> bool:
        """Whether the task would have failed."""
        return self.rc != 0 or bool(self.result.get("failed")) or not self.result

    @property
    def msg(self) -> str:
        """Why it failed."""
        return str(self.result.get("msg") or self.stderr[-1500:] or f"exit code {self.rc}")

    def __getitem__(self, key: str) -> Any:
        if self.failed:
            raise LabError(f"Failed to run {self.name}: {self.msg}")
        return self.result[key]


@dataclass
class Running:
    """A module that was started; ``pid`` is its own."""

    name: str
    process: subprocess.Popen[str]
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def end(self) -> None:
        """Send it SIGKILL, and nothing but it."""
        self.process.kill()

    def kill(self) -> Outcome:
        """End it with SIGKILL and return its outcome."""
        self.end()
        return self.wait(10)

    def wait(self, within: float = 120) -> Outcome:
        """Return its outcome; raises LabError, after killing it, when it does not end within so many seconds."""
        try:
            stdout, stderr = self.process.communicate(timeout=within)
        except subprocess.TimeoutExpired as exc:
            self.process.kill()
            self.process.communicate()
            raise LabError(f"Failed to run {self.name}: no end within {within:.0f} s") from exc
        seconds = time.monotonic() - self.started
        return Outcome(self.name, self.process.returncode, _result(stdout), seconds, stderr)


class Modules:
    """Starts modules on one private host."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def begin(self, name: str, options: Mapping[str, Any], *, check: bool) -> Running:
        """Start a module; array and catalog are added where it takes them and they are not given."""
        given = {key: value for key, value in self._usual(name).items() if key not in options}
        arguments = {
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": "/tmp",
            **given,
            **old_side.for_module(name, options),
        }
        shown = self._ground.places.run / "mountinfo"
        own = ["unshare", "--mount", "sh", "-c", _WITH_MOUNTS, "sh", str(shown)]
        process = subprocess.Popen(
            self._ground.inside([*own, sys.executable, "-m", f"{IMPORTED}.{name}"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=dict(os.environ),
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        process.stdin.close()
        process.stdin = None
        return Running(name, process)

    def _usual(self, name: str) -> dict[str, Any]:
        usual = {"controllers": self._ground.controllers(), "catalog_dir": str(self._ground.catalog)}
        return {key: value for key, value in usual.items() if knows(name, key)}


def knows(module: str, word: str) -> bool:
    """Whether a module has an option, or a word that one of its options can be."""
    spec = old_side.argument_spec_of(module)
    return word in spec or any(word in (entry.get("choices") or ()) for entry in spec.values())


def _result(stdout: str) -> dict[str, Any]:
    """Return the JSON of a module's output, empty when it printed none (it was killed)."""
    lines = [line for line in stdout.splitlines() if line.startswith("{")]
    try:
        found: Optional[Any] = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {}
