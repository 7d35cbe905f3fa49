# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's KVM host as a place for cells: modules as processes over SSH, and a watch on its guests from the array.

Slower than the private host, but with systemd, NFS, real agents, a network that can be cut and a clock of its own.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import struct
import subprocess
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import ansible

from kvmlab import topology
from kvmlab.errors import LabError
from kvmlab.host import Host
from kvmlab.lab import Lab
from kvmlab.process import wait_until

from . import old_side
from .modules import IMPORTED, PLUGINS, Outcome, Running, knows
from .watch import Stretch

PLACE = "/opt/kvmfaults"
CATALOG = "/var/lib/kvmfaults"
HOLDS = "/run/kvmsnap"
PIDS = "/run/kvmfaults"
EXT4_NEEDS_RECOVERY = 0x4
_SUPERBLOCK, _MAGIC_AT, _INCOMPAT_AT = 1024, 0x38, 0x60
_EXT4 = 0xEF53


@dataclass
class Remote(Running):
    """A module on the KVM host: `end` ends it there, `cut` ends the connection to it."""

    lab: Optional[Lab] = None
    number: int = 0

    def end(self) -> None:
        """Send the module on the host SIGKILL."""
        assert self.lab is not None
        self.lab.ssh(f"kill -9 $(cat {PIDS}/{self.number})")

    def cut(self) -> None:
        """End the connection, as a control node that vanishes."""
        self.process.kill()


class LabHost:
    """Runs modules on the lab's KVM host; the same to a `Driver` as the private host.

    ``system`` is another KVM host of the lab, with the same root file system.
    """

    def __init__(self, lab: Lab, system: Optional[Host] = None) -> None:
        self.lab = lab
        self.system = system or lab.host
        self._count = 0

    def prepare(self) -> None:
        """Put the collection and what Ansible gives to a module there."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            theirs = Path(ansible.__file__).parent
            archive.addfile(tarfile.TarInfo("ansible/__init__.py"))
            for name in ("release.py", "module_utils"):
                archive.add(theirs / name, f"ansible/{name}", filter=_clean)
            for name in ("modules", "module_utils"):
                archive.add(PLUGINS / name, f"ansible_collections/kvmsnap/ontap/plugins/{name}", filter=_clean)
        put = self.lab.host.ssh_command(f"rm -rf {PLACE}; mkdir -p {PLACE} {PIDS} && tar -C {PLACE} -xz")
        subprocess.run(put, input=packed.getvalue(), check=True, timeout=120)
        self.lab.ssh(
            f"mountpoint -q {CATALOG} || {{ mkdir -p {CATALOG}; mount -t tmpfs -o size=8m kvmfaults {CATALOG}; }}"
        )

    def remove(self) -> None:
        """Remove what `prepare` put there."""
        self.lab.ssh(f"umount {CATALOG}; rm -rf {PLACE} {PIDS} {CATALOG}")

    @property
    def next_number(self) -> int:
        """The number of the module that is started next; the file of its pid has that name."""
        return self._count + 1

    def begin(self, module: str, /, *, check: bool = False, **options: Any) -> Remote:
        """Start a module; what it needs to find the array and the catalog is added."""
        self._count += 1
        given = {"controllers": self.controllers(), "catalog_dir": CATALOG}
        usual = {key: value for key, value in given.items() if knows(module, key)}
        arguments = {
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": "/tmp",
            **usual,
            **old_side.for_module(module, options),
        }
        command = (
            f"echo $$ > {PIDS}/{self._count}; cd {PLACE}; "
            f"PYTHONPATH={PLACE} exec {topology.PYTHON_ON_HOST} -m {IMPORTED}.{module}"
        )
        process = subprocess.Popen(
            [*self._ssh(), command],
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
        return Remote(module, process, lab=self.lab, number=self._count)

    def module(self, module: str, /, *, check: bool = False, within: float = 180, **options: Any) -> Outcome:
        """Run a module to its end."""
        return self.begin(module, check=check, **options).wait(within)

    def knows(self, module: str, option: str) -> bool:
        """Whether a module has an option."""
        return knows(module, option)

    def controllers(self, **options: Any) -> list[dict[str, Any]]:
        """Return the ``controllers`` option of the modules."""
        known = {
            "hostname": "cluster1",
            "username": topology.REST_USER,
            "password": topology.REST_PASSWORD,
            "ca_path": topology.CA_ON_HOST,
        }
        return [{**known, **options}]

    def _ssh(self) -> list[str]:
        """Return how to reach the host on a connection that nobody shares."""
        host = self.system
        options = [option for option in host.ssh_options if option != "-o" and not option.startswith("Control")]
        spread = [word for option in options for word in ("-o", option)]
        named = ["-p", str(host.port), "-i", str(host.places.private_key)]
        return ["ssh", "-F", "none", "-q", *named, *spread, f"root@{topology.HOST_ADDRESS}"]


# Run on the KVM host: tell whenever a guest is paused or not any more, also when libvirtd was away meanwhile.
TELL_PAUSED = """\
import sys, time, libvirt
libvirt.registerErrorHandler(lambda *_said: None, None)
known, connection = {}, None
while True:
    try:
        connection = connection or libvirt.open("qemu:///system")
        for name in sys.argv[1:]:
            paused = connection.lookupByName(name).state()[0] == libvirt.VIR_DOMAIN_PAUSED
            if known.get(name) != paused:
                known[name] = paused
                print(name, paused)
    except libvirt.libvirtError:
        connection = None
    time.sleep(0.1)
"""


class LabWatch:
    """Who is held on the KVM host: frozen guests by their superblocks on the array, others as libvirt there says.

    ``frozen`` maps guests to one of their images, as the KVM host calls it.
    """

    def __init__(self, lab: Lab, frozen: Mapping[str, str], suspended: Sequence[str]) -> None:
        self._lab = lab
        self._frozen = {guest: lab.storage_path(path) for guest, path in frozen.items()}
        self._suspended = list(suspended)
        self._end = threading.Event()
        self._open: dict[str, Stretch] = {}
        self._events: Optional[subprocess.Popen[str]] = None
        self._heard: set[str] = set()
        self.stretches: list[Stretch] = []

    def __enter__(self) -> LabWatch:
        command = self._lab.host.ssh_command(shlex.join(["python3", "-uc", TELL_PAUSED, *self._suspended]))
        self._events = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for work in (self._look, self._listen):
            threading.Thread(target=work, daemon=True).start()
        try:
            wait_until(lambda: self._heard >= set(self._suspended), seconds=60, what="word of the guests on the host")
        except LabError:
            self._close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._close()

    def _close(self) -> None:
        self._end.set()
        if self._events is not None:
            self._events.kill()
            self._events.wait(10)

    def held_now(self) -> list[str]:
        """Return the guests that stand still."""
        return sorted(self._open)

    def until_released(self, *, seconds: float) -> list[str]:
        """Wait until no guest stands still, at most ``seconds``; return those that do."""
        with suppress(LabError):
            wait_until(lambda: not self._open, seconds=seconds, what="all released")
        return self.held_now()

    def _note(self, guest: str, *, held: bool) -> None:
        if held and guest not in self._open:
            self._open[guest] = Stretch(guest, time.monotonic())
            self.stretches.append(self._open[guest])
        elif not held and guest in self._open:
            self._open.pop(guest).until = time.monotonic()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            for guest, image in self._frozen.items():
                self._note(guest, held=not running_file_system(image))

    def _listen(self) -> None:
        assert self._events is not None
        assert self._events.stdout is not None
        for line in self._events.stdout:
            guest, paused = line.split()
            self._note(guest, held=paused == "True")
            self._heard.add(guest)


def running_file_system(image: Path) -> bool:
    """Whether the ext4 file system of a raw image is mounted and not frozen: its superblock asks for a recovery."""
    with image.open("rb") as file:
        file.seek(_SUPERBLOCK)
        block = file.read(1024)
    (magic,) = struct.unpack_from("<H", block, _MAGIC_AT)
    if magic != _EXT4:
        raise LabError(f"Failed to look at {image}: no ext4 file system")
    (incompatible,) = struct.unpack_from("<I", block, _INCOMPAT_AT)
    return bool(incompatible & EXT4_NEEDS_RECOVERY)


def _clean(entry: tarfile.TarInfo) -> Optional[tarfile.TarInfo]:
    return None if "__pycache__" in entry.name else entry


# Run on the KVM host: what is left there of holds, backups and processes, as JSON.
LEFT = f"""\
import fcntl, glob, json, os, subprocess
def locked(path):
    with open(path, "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
def command(pid):
    try:
        return open("/proc/%s/cmdline" % pid, "rb").read().replace(b"\\0", b" ").decode(errors="replace")
    except OSError:
        return ""
units = subprocess.run(["systemctl", "list-units", "--plain", "--no-legend", "kvmsnap*"], stdout=subprocess.PIPE)
words = ("{IMPORTED}", "kvmsnap-deadman")
print(json.dumps(dict(
    records=[each for end in ("json", "timer") for each in glob.glob("{HOLDS}/**/*." + end, recursive=True)],
    locks=[each for each in glob.glob("{HOLDS}/**/*.lock", recursive=True) if locked(each)],
    processes=[command(pid) for pid in os.listdir("/proc") if pid.isdigit() and any(w in command(pid) for w in words)],
    units=units.stdout.decode().split("\\n")[:-1],
    manifests=[json.load(open(each)) for each in glob.glob("{CATALOG}/backups/*/manifest.json")],
)))
"""
