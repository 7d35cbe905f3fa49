# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks of the collection on a private host, over a local connection; what each task returned is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from kvmlab.errors import LabError

from . import old_side

if TYPE_CHECKING:
    from .ground import Ground

ROOT = Path(__file__).resolve().parents[3]
CALLBACKS = ROOT / "tests" / "integration" / "callback_plugins"
COLLECTIONS = ROOT / "build" / "collections"
SECONDS = 300
UNREACHABLE = "hv-gone"
"""A host of the inventory, of no play, that nobody reaches."""
_NO_WAY = {"ansible_connection": "ssh", "ansible_host": "localhost", "ansible_ssh_common_args": "-o ProxyCommand=false"}


@dataclass(frozen=True)
class Played:
    """A run of ansible-playbook: what it printed, and what its tasks returned and the recap said, in order."""

    rc: int
    stdout: str
    entries: list[dict[str, Any]]

    def facts(self, host: str) -> dict[str, Any]:
        """Return the facts that tasks set for a host, the last one of each."""
        found: dict[str, Any] = {}
        for entry in self.entries:
            if entry.get("host") == host:
                found.update(entry["result"].get("ansible_facts") or {})
        return found

    def failures(self, host: str) -> list[str]:
        """Return the messages of the tasks that failed on a host."""
        failed = [each for each in self.entries if each.get("host") == host and each["status"] == "failed"]
        return [str(each["result"].get("msg", "")) for each in failed]


class Playbooks:
    """Runs playbooks as processes of one private host, with nothing of the user's configuration.

    All ``hosts`` of the inventory are the private host itself, each with a catalog of its own but for the first, which
    has that of the modules.
    """

    def __init__(self, ground: Ground, *, hosts: Sequence[str] = ("hv0",)) -> None:
        self._ground = ground
        self.work = ground.places.run / "playbooks"
        self.work.mkdir()
        self._inventory = self.work / "inventory.json"
        catalogs = [str(ground.catalog), *(str(self.work / f"catalog-{host}") for host in hosts[1:])]
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(_interpreter(ground, self.work)),
            "kvm_controllers": ground.controllers(),
        }
        own = {host: {**common, "kvm_catalog_dir": catalog} for host, catalog in zip(hosts, catalogs)}
        self._inventory.write_text(
            json.dumps({"kvm_hosts": {"hosts": own}, "elsewhere": {"hosts": {UNREACHABLE: _NO_WAY}}}), encoding="utf-8"
        )

    def run(
        self,
        playbook: str,
        variables: Mapping[str, Any],
        *,
        venv: Optional[Path] = None,
        core: Optional[Path] = None,
        collections: Path = COLLECTIONS,
        within: float = SECONDS,
        check: bool = False,
    ) -> Played:
        """Run a playbook, named as Ansible knows it or by its path, within so many seconds.

        ``venv``: an environment whose own collections are to be used, and not this one. ``core``: an environment whose
        ansible-core plays the playbook. ``collections``: where this collection is, in another version maybe.
        """
        record = self.work / "record.jsonl"
        record.write_text("", encoding="utf-8")
        environment = venv or core
        tools = environment / "bin" if environment else Path(sys.executable).parent
        # By its interpreter: the script's first line names the place where the environment was made.
        command = [
            str(tools / "python"),
            str(tools / "ansible-playbook"),
            "-i",
            str(self._inventory),
            playbook,
            "-e",
            json.dumps(old_side.for_playbook(variables)),
            *(["--check"] if check else []),
        ]
        done = subprocess.run(
            self._ground.inside(command),
            check=False,
            cwd=self.work,
            env=self._environment(tools, record, None if venv else collections),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within,
        )
        entries = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        return Played(done.returncode, done.stdout, entries)

    def _environment(self, tools: Path, record: Path, collections: Optional[Path]) -> dict[str, str]:
        own = {"ANSIBLE_COLLECTIONS_PATH": str(collections)} if collections else {}
        return {
            "PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.work),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.work / "none.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self.work / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "KVMSNAP_RECORD": str(record),
            **own,
        }


def _interpreter(ground: Ground, directory: Path) -> Path:
    """Make the interpreter of the modules: Python, shown the volumes as NFS mounts."""
    script = directory / "python"
    mounts = ground.places.run / "mountinfo"
    if not mounts.is_file():
        raise LabError("the private host is not up")
    script.write_text(
        f'#!/bin/sh\nexec unshare --mount sh -c \'mount --bind {mounts} /proc/$$/mountinfo && exec "$0" "$@"\''
        f' {sys.executable} "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return script
