# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore on the lab's KVM host that stands still at a step of its own, and every way to start its guest then."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kvmlab.errors import LabError
from kvmlab.lab import Lab
from kvmlab.second import SecondHost

from .lab_host import PIDS, LabHost, Remote

DEFINITION = "/root/kvmlab-fence.xml"
GUESTS_SERVICE = "/usr/lib/libvirt/libvirt-guests.sh"
GUESTS_OPTIONS = "/etc/default/libvirt-guests"
SECONDS = 240

# Run on the KVM host: stop the module (SIGSTOP) as soon as the guest's disks, its QEMU and the journal are as asked,
# and say so. Arguments: the file with the module's pid, the guest, what is waited for, the restore's journal, then each
# disk's path and inode from before.
WATCH = """\
import glob, json, os, signal, sys, time
pids, guest, wanted, journal, *disks = sys.argv[1:]
disks = [(path, int(inode)) for path, inode in zip(disks[::2], disks[1::2])]
qemu = f"/run/libvirt/qemu/{guest}.pid"

def at(path, inode):
    try:
        return "old" if os.stat(path).st_ino == inode else "new"
    except FileNotFoundError:
        return "gone"

def noted():
    try:
        record = json.load(open(journal))
    except (OSError, ValueError):
        return False, {}
    # The name of a safety snapshot is there before the snapshot is.
    secured = any(safety["snapshots"] for safety in record["safeties"])
    return secured, next(iter(record["guests"].values()), {})

def seen():
    runs = os.path.exists(qemu)
    names = [at(*disk) for disk in disks]
    secured, progress = noted()
    if runs:
        if progress.get("written"):
            return "back"
        made = any(glob.glob(os.path.dirname(path) + "/.kvmsnap-tmp-*") for path, _sha in disks)
        return "made" if made and set(names) == {"old"} else "runs"
    if progress.get("written") or set(names) == {"new"}:
        return "whole"
    if progress.get("pending"):
        return "asked"
    if set(names) <= {"old"}:
        return "secured" if secured else "stopped"
    return "half" if "new" in names else "aside"

deadline = time.monotonic() + 200
while time.monotonic() < deadline:
    if seen() == wanted:
        pid = int(open(pids).read())
        os.kill(pid, signal.SIGSTOP)
        print(seen(), pid, flush=True)
        sys.exit(0)
    time.sleep(0.003)
print("never", flush=True)
"""


@dataclass(frozen=True)
class Attempt:
    """A way to start a guest that was tried: whether its command failed, and what it said."""

    way: str
    refused: bool
    said: str


class Standing:
    """One restore of one guest on the lab's KVM host; its catalog is that of the playbooks."""

    def __init__(self, lab: Lab, guest: str, disks: Sequence[str]) -> None:
        self.lab, self.guest, self.disks = lab, guest, list(disks)
        self.host = LabHost(lab)
        self.host.prepare()

    def begin(self, *, until: str, **options: Any) -> Remote:
        """Begin the restore and let it stand still when the guest is as asked; raises LabError when it never is.

        ``made``: files are made while the guest runs; ``stopped``: it is off, all names are the old files; ``secured``:
        so they are, and the safety snapshot is noted; ``asked``: so is a request that overwrites in place; ``aside``: a
        name is gone; ``half``: a name is the new file, and another is not; ``whole``: all is written, and it is off
        yet; ``back``: it is being started, or runs, and is not said to be done. A guest on LUNs has no ``disks`` here.
        """
        inodes = self.inodes()
        asked = {"guests": [self.guest], "stop": "destroy", "catalog_dir": "/var/lib/kvmsnap", **options}
        watched = [word for disk in self.disks for word in (disk, str(inodes[disk]))]
        number = self.host.next_number
        journal = f"{asked['catalog_dir']}/restores/{asked['restore_id']}.json"
        words = ["python3", "-", f"{PIDS}/{number}", self.guest, until, journal, *watched]
        watch = subprocess.Popen(
            self.lab.host.ssh_command(shlex.join(words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert watch.stdin is not None
        watch.stdin.write(WATCH)
        watch.stdin.close()
        watch.stdin = None
        if until == "stopped":
            # That lasts until the safety snapshot is noted, which may be before the module has got its signal.
            snapshot = {"method": "POST", "path": "/snapshots$", "count": 1}
            self.lab.control.add_fault("delay", match=snapshot, seconds=5)
        running = self.host.begin("kvm_app_restore", **asked)
        said, _error = watch.communicate(timeout=SECONDS)
        if said.split()[:1] != [until]:
            ended = running.ended
            running.kill() if not ended else None
            raise LabError(f"the restore stood still at '{said.strip()}' and not at {until}; it had ended: {ended}")
        return running

    def go_on(self, running: Remote) -> None:
        """Let the restore go on."""
        self.lab.ssh(f"kill -CONT $(cat {PIDS}/{running.number})")

    def inodes(self) -> dict[str, int]:
        """Return which file each disk's name is; raises LabError when one is gone."""
        found = self.present()
        if len(found) != len(self.disks):
            raise LabError(f"{self.guest} has not all its disks: {found}")
        return found

    def present(self) -> dict[str, int]:
        """Return which file each disk's name is, of those that are there."""
        said = {disk: self.lab.ssh(f"stat -c %i {disk} 2> /dev/null || true").strip() for disk in self.disks}
        return {disk: int(inode) for disk, inode in said.items() if inode}

    def state(self) -> str:
        """Return what the guest is doing."""
        return self.lab.virsh("domstate", self.guest).strip()

    def attempts(self, second: SecondHost | None = None) -> list[Attempt]:
        """Try every way to start the guest; one that starts is ended at once."""
        self.lab.ssh(f"virsh -q dumpxml --inactive {self.guest} > {DEFINITION}")
        uuid = self.lab.virsh("domuuid", self.guest).strip()
        # Debian's starts none unless it is told to.
        listed = f"echo ON_BOOT=start >> {GUESTS_OPTIONS}; echo default {uuid} > /var/lib/libvirt/libvirt-guests"
        ways: Mapping[str, Callable[[], str]] = {
            "virsh start": lambda: self._try(f"virsh -q start {self.guest}"),
            "virsh create (as ocf:heartbeat:VirtualDomain does)": lambda: self._try(f"virsh -q create {DEFINITION}"),
            "libvirt-guests": lambda: self._try(f"{listed}; {GUESTS_SERVICE} start 2>&1"),
        }
        found = [self._attempt(way, act, self.lab.virsh) for way, act in ways.items()]
        if second is not None:
            text = self.lab.ssh(f"cat {DEFINITION}")
            second.host.ssh(f"cat > {DEFINITION}", stdin=text)
            found.append(self._attempt("another host", lambda: _on(second, DEFINITION), second.virsh))
        return found

    def _attempt(self, way: str, act: Callable[[], str], virsh: Callable[..., str]) -> Attempt:
        said = act()
        names = virsh("list", "--name").split()
        if self.guest in names:
            virsh("destroy", self.guest)
        return Attempt(way, self.guest not in names, said)

    def _try(self, command: str) -> str:
        return self.lab.ssh(f"{{ {command}; }} 2>&1 || true", timeout=120)


def _on(second: SecondHost, definition: str) -> str:
    return second.ssh(f"virsh -q create {definition} 2>&1 || true", timeout=120)


def told(attempts: Sequence[Attempt]) -> str:
    """Return the attempts as text."""
    return json.dumps([vars(each) for each in attempts], indent=1)
