# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab, and a way to run the playbooks on it as a user would. The lab is brought up when it is not, and left up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kvmground import old_side
from kvmlab.lab import Lab
from kvmlab.second import SecondHost

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK_SECONDS = 600


@dataclass(frozen=True)
class PlayResult:
    """A run of ansible-playbook: what it printed (standard error too), the recap by host, and each task's result."""

    rc: int
    stdout: str
    stats: dict[str, dict[str, int]]
    results: list[dict[str, Any]]

    def facts(self, host: str) -> dict[str, Any]:
        """Return the facts that tasks set for a host, the last one of each."""
        found: dict[str, Any] = {}
        for entry in self.results:
            if entry["host"] == host:
                found.update(entry["result"].get("ansible_facts") or {})
        return found

    def failures(self, host: str) -> list[str]:
        """Return the messages of the tasks that failed on a host."""
        failed = [entry for entry in self.results if entry["host"] == host and entry["status"] == "failed"]
        return [str(entry["result"].get("msg", "")) for entry in failed]


class Runner:
    """Runs playbooks with nothing of the user's configuration."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._configuration = directory / "ansible.cfg"
        self._configuration.write_text("", encoding="utf-8")

    def playbook(
        self,
        name: str,
        *arguments: str,
        inventory: Path,
        extra_vars: Mapping[str, Any] | None = None,
        check: bool = False,
        diff: bool = False,
    ) -> PlayResult:
        """Run a playbook of the collection by its short name, or any by its path."""
        record = self._directory / "record.jsonl"
        record.write_text("", encoding="utf-8")
        done = subprocess.run(
            self._command(name, *arguments, inventory=inventory, extra_vars=extra_vars, check=check, diff=diff),
            check=False,
            cwd=self._directory,
            env=self._environment(record),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PLAYBOOK_SECONDS,
            encoding="utf-8",
        )
        entries = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        stats = next((entry["stats"] for entry in entries if "stats" in entry), {})
        return PlayResult(done.returncode, done.stdout, stats, [entry for entry in entries if "task" in entry])

    def begin(self, name: str, *, inventory: Path, extra_vars: Mapping[str, Any]) -> subprocess.Popen[str]:
        """Start a playbook in a session of its own, to be ended by who started it; what it prints is lost."""
        return subprocess.Popen(
            self._command(name, inventory=inventory, extra_vars=extra_vars),
            cwd=self._directory,
            env=self._environment(self._directory / "begun.jsonl"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    @property
    def control_path(self) -> str:
        """Where the SSH connections of the playbooks have their sockets, which their command lines name."""
        return str(self._directory / "ansible" / "cp")

    def _command(
        self,
        name: str,
        *arguments: str,
        inventory: Path,
        extra_vars: Mapping[str, Any] | None = None,
        check: bool = False,
        diff: bool = False,
    ) -> list[str]:
        playbook = name if name.endswith((".yml", ".yaml")) else f"kvmsnap.ontap.{name}"
        command = ["ansible-playbook", "-i", str(inventory), playbook, *arguments]
        command += ["--extra-vars", json.dumps(old_side.for_playbook(extra_vars))] if extra_vars else []
        command += ["--check"] if check else []
        return [*command, "--diff"] if diff else command

    def _environment(self, record: Path) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_CONFIG": str(self._configuration),
            "ANSIBLE_HOME": str(self._directory / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "KVMSNAP_RECORD": str(record),
        }


class LabUnderTest:
    """The lab (whatever it offers can be used), with playbooks."""

    def __init__(self, lab: Lab, runner: Runner) -> None:
        self._lab = lab
        self._runner = runner
        self.inventory_path = lab.write_inventory()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab, name)

    @property
    def itself(self) -> Lab:
        """The lab."""
        return self._lab

    def playbook(self, name: str, *arguments: str, inventory: Path | None = None, **how: Any) -> PlayResult:
        """Run a playbook on the lab; ``how`` is that of `Runner.playbook`."""
        return self._runner.playbook(name, *arguments, inventory=inventory or self.inventory_path, **how)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Return a way to run playbooks without the lab."""
    return Runner(tmp_path_factory.mktemp("playbooks"))


@pytest.fixture(scope="session")
def lab(runner: Runner) -> LabUnderTest:
    """Return the lab, up."""
    running = Lab()
    running.up()
    return LabUnderTest(running, runner)


@pytest.fixture(scope="module")
def second(lab: LabUnderTest) -> Iterator[SecondHost]:
    """Return a second KVM host that sees the same storage, up; it is gone afterwards."""
    host = SecondHost(lab.itself)
    host.up()
    yield host
    host.down()
