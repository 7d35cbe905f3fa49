# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Late requests of the array on the lab's KVM host: a guest on LUNs or on NFS, watched from outside."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from kvmlab.domain import DiskSpec
from kvmlab.lab import Lab
from kvmlab.process import wait_until

from .guests import WAITING, still_xml
from .lab_host import LabHost, Remote
from .late_watch import PowerWatch, complaints
from .modules import Outcome

ANSWER, LIMIT = 15, 60
"""Seconds for which the product waits for an answer, and for all that it asks of the array for a disk."""
PATIENCE = 60
"""Seconds for which the fate of an overwrite is looked for: between ``after`` and ``long after`` below."""
OF_COPIES = "kvmsnap-clone-"
"""How the names of a copy's disks begin on the array."""
MOMENTS = {"before": 2.0, "at": float(ANSWER), "after": ANSWER + 25.0, "long after": ANSWER + 75.0}
OF_JOB = {"at": float(LIMIT), "after": LIMIT + 10.0}
"""The moments of a request with a job: that is what is waited for, and not the answer."""
RUNNING = "its job running"
ANSWERS: dict[str, dict[str, Any]] = {
    "cut at once": {"answer": "drop"},
    "answered before": {"answer": "now", "job": "none"},
    RUNNING: {"answer": "now"},
    "answered afterwards": {"answer": "after"},
    "503": {"answer": "error", "status": 503},
    "500": {"answer": "error", "status": 500},
}
# Run on the KVM host: tell whether a guest is active, again and again.
TELL_ACTIVE = """\
import sys, time, libvirt
libvirt.registerErrorHandler(lambda *_said: None, None)
connection = None
while True:
    try:
        connection = connection or libvirt.open("qemu:///system")
        print(connection.lookupByName(sys.argv[1]).isActive(), flush=True)
    except libvirt.libvirtError:
        connection = None
    time.sleep(0.5)
"""


@dataclass(frozen=True)
class LabCell:
    """One request that is late. ``begun``: it had begun, and needs its source no more. ``in_place``: no rename."""

    operation: str
    answer: str
    moment: str
    method: str = "auto"
    begun: bool = False
    in_place: bool = False

    @property
    def fault(self) -> str:
        """How a table names it."""
        how = f"{' in place' if self.in_place else ''}, {'begun, ' if self.begun else ''}{self.answer}"
        return f"{self.method if self.method != 'auto' else 'LUN'}{how}, {self.moment} the limit"

    @property
    def seconds(self) -> float:
        """When its request takes effect."""
        return {**MOMENTS, **(OF_JOB if self.answer == RUNNING else {})}[self.moment]


class Word:
    """What the KVM host's libvirt last said of a guest, and when."""

    def __init__(self, lab: Lab, guest: str) -> None:
        command = lab.host.ssh_command(shlex.join(["python3", "-uc", TELL_ACTIVE, guest]))
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._last: Optional[tuple[float, bool]] = None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        wait_until(lambda: self._last is not None, seconds=60, what="word of the guest on the host")

    def active(self) -> Optional[bool]:
        """Whether the guest is active, None without a word that is fresh."""
        last = self._last
        return last[1] if last and time.monotonic() - last[0] < 1 else None

    def close(self) -> None:
        """Listen no more."""
        self._process.kill()
        self._process.wait(10)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last = (time.monotonic(), line.strip() == "1")


class LateOnLab(ABC):
    """The lab's KVM host with a guest that boots and does nothing; the requests for its first disk are late."""

    guest: str

    def __init__(self, host: LabHost) -> None:
        self.host, self.lab = host, host.lab
        self.stamp = f"{time.time():.0f}"
        self.backup = f"hv1-{self.guest}_{self.stamp}"
        self.count = 0
        self.word: Word

    @abstractmethod
    def devices(self) -> list[str]:
        """Make the disks unless they are there, and return what the KVM host calls them."""

    @abstractmethod
    def stored(self, snapshot: Optional[str] = None) -> list[Path]:
        """Return where the array keeps the disks' bytes."""

    @abstractmethod
    def target(self) -> str:
        """Return what an overwriting request names as the first disk."""

    @abstractmethod
    def late(self, cell: LabCell) -> Mapping[str, Any]:
        """Return which request of a cell is late."""

    @abstractmethod
    def fail_restore(self) -> None:
        """Let the restore that is begun beside fail once its first disk is overwritten."""

    @abstractmethod
    def left(self) -> list[str]:
        """Return the names on the array that a restore or a copy has made for itself."""

    @abstractmethod
    def volumes(self) -> list[dict[str, str]]:
        """Return the volumes of the disks."""

    def furnish(self) -> None:
        """Start the guest and back it up."""
        devices = self.devices()
        self.lab.ssh("virsh -q define /dev/stdin", stdin=still_xml(self.guest, [DiskSpec(each) for each in devices]))
        self.lab.virsh("start", self.guest)
        found = self.host.module("kvm_vm_discover", guests=[self.guest])
        asked = {key: found[key] for key in ("guests", "volumes", "problems")}
        made = self.host.module("kvm_vm_backup", backup_id=self.backup, owner="hv1", policy="late", **asked)
        assert not made.failed, made.msg
        self.saved = self.hashes(self.backup)
        self.word = Word(self.lab, self.guest)

    def remove(self) -> None:
        """Take guest, disks and backup away."""
        self.word.close()
        self.lab.control.clear_faults()
        self.host.module("ontap_snapshot", state="absent", name=self.backup, volumes=self.volumes(), owner="hv1")
        self.lab.remove_guest(self.guest)

    def hashes(self, snapshot: Optional[str] = None) -> list[str]:
        """Return the hashes of the disks' bytes on the storage; empty for one whose name is moved aside."""
        return [
            hashlib.sha256(image.read_bytes()).hexdigest() if image.exists() else "" for image in self.stored(snapshot)
        ]

    def play(self, cell: LabCell) -> tuple[list[str], str]:
        """Play a cell; return what is wrong, and how it ended."""
        self.count += 1
        self.prepare(cell)
        control, before = self.lab.control, self.hashes()
        control.clear_faults()
        if cell.operation == "undo":
            done = self.restore(cell)
            assert not done.failed, done.msg
        known, changed = len(control.late()), len(control.journal())
        control.clear_requests()
        ways = {"restore": self.restore, "roll-back": self._roll_back, "undo": self._undo, "clone": self._copy}
        with PowerWatch(self.word.active, pause=0.1) as watch:
            fault = {**ANSWERS[cell.answer], **({"begun": True} if cell.begun else {})}
            control.add_fault("late", match=dict(self.late(cell)), seconds=cell.seconds, **fault)
            outcome = ways[cell.operation](cell)
            power = self.word.active()
            control.settle(120)
            time.sleep(2 * watch._pause)
        effects = control.late()[known:]
        changes = control.journal()[changed:]
        target, requests = self.target(), control.requests()
        found = list(complaints(watch, target=target, effects=effects, requests=requests, changes=changes))
        found += [] if effects else ["no request was late"]
        found += [] if watch.looks > 10 else ["nobody looked at the guest"]
        asked = {"restore": self.saved, "undo": before}.get(cell.operation)
        found += self._bytes(before, outcome, power=power, asked=asked)
        control.clear_faults()
        found += self._copy_is_whole() if cell.operation == "clone" else self._goes_on(cell, outcome)
        return found, outcome.msg if outcome.failed else "as asked"

    def _bytes(
        self, before: Sequence[str], outcome: Outcome, *, power: Optional[bool], asked: Optional[Sequence[str]]
    ) -> Iterator[str]:
        """Look at the bytes after the last effect: whole, and the same as when the guest was let go."""
        now = self.hashes()
        if now not in (before, self.saved) and power is not False:
            yield "the guest runs on disks that are neither those of before nor those of the backup"
        if any(each not in ("", *before, *self.saved) for each in now):
            yield "a disk holds neither the bytes of before nor those of the backup"
        if not outcome.failed and power is False:
            yield "it said that all is done, and the guest is off"
        if not outcome.failed and asked is not None and now != asked:
            yield "it said that all is done, and the disks hold something else"

    def prepare(self, cell: LabCell) -> None:
        """Let the guest run on other bytes than the backup's."""
        self.lab.ssh(f"virsh -q destroy {self.guest} 2> /dev/null || :")
        for number, device in enumerate(self.devices()):
            changed = shlex.quote(f"disk {number} changed before cell {self.count}: {cell.fault}")
            self.lab.ssh(f"printf %s {changed} | dd of={device} bs=4096 seek=1 conv=notrunc,fsync status=none")
        self.lab.virsh("start", self.guest)

    def options(self, cell: LabCell) -> dict[str, Any]:
        """Return what modules are given for a cell."""
        controllers = self.host.controllers(timeout=ANSWER)
        return {"controllers": controllers, "method": cell.method, "timeout": LIMIT, "retry_count": 1}

    def restore(self, cell: LabCell, **options: Any) -> Outcome:
        """Restore the guest."""
        return self._begin(cell, **options).wait(400)

    def _begin(self, cell: LabCell, **options: Any) -> Remote:
        restore_id = f"{self.guest}_{self.stamp}_{self.count:03d}"
        usual = {"guests": [self.guest], "backup_id": self.backup, "restore_id": restore_id, "stop": "destroy"}
        return self.host.begin(
            "kvm_app_restore", **{**usual, "unknown_wait": PATIENCE, **self.options(cell), **options}
        )

    def _undo(self, cell: LabCell) -> Outcome:
        return self.restore(cell, state="undone")

    def _roll_back(self, cell: LabCell) -> Outcome:
        """Restore while something fails, so that the first disk is put back, which is late."""
        with ThreadPoolExecutor() as pool:
            failing = pool.submit(self.fail_restore)
            running = self._begin(cell)
            failing.result()
            return running.wait(400)

    @property
    def copy(self) -> str:
        """The name of this cell's copy."""
        return f"{self.guest}-copy{self.count:03d}"

    def _copy(self, cell: LabCell) -> Outcome:
        """Copy the guest under another name: late, and once more under the same name at once."""
        asked: dict[str, Any] = {"name": self.copy, "guest": self.guest, "backup_id": self.backup, "running": True}
        asked.update(self.options(cell))
        first = self.host.begin("kvm_vm_clone", **asked).wait(400)
        if first.failed:
            self.host.begin("kvm_vm_clone", **asked).wait(400)
        return first

    def copies(self) -> Iterator[tuple[str, Path]]:
        """Yield the hash that each disk of the one copy is to have, and where the array keeps it."""
        for saved, image in zip(self.saved, self.stored()):
            for each in sorted(image.parent.glob(f"{OF_COPIES}*")):
                yield saved, each

    def _copy_is_whole(self) -> Iterator[str]:
        """A copy that is there holds the bytes of the backup after the last effect, and can be removed whole.

        What the array made of the first one, after that was taken back, the recovery takes away.
        """
        self.host.module("kvm_leftovers", owner="hv1", grace_period=0, timeout=LIMIT)
        if self.copy in self.lab.virsh("list", "--all", "--name").split():
            disks = 0
            for saved, image in self.copies():
                disks += 1
                if hashlib.sha256(image.read_bytes()).hexdigest() != saved:
                    yield f"{image.name} of the copy does not hold what the backup holds"
            if disks != len(self.saved):
                yield f"the copy has {disks} disks on the array"
        gone = self.host.module("kvm_vm_clone", within=400, name=self.copy, state="absent")
        if gone.failed:
            yield f"the copy cannot be removed: {gone.msg}"
        if not self.word.active():
            yield "the original does not run"
        for name in self.left():
            yield f"{name} is left"

    def _goes_on(self, cell: LabCell, outcome: Outcome) -> Iterator[str]:
        """When all is well again the same restore ends restored, or a new one does; then nothing is left."""
        again = outcome
        if again.failed:
            again = self.restore(cell, restore_id=f"{self.guest}_{self.stamp}_{self.count:03d}_again")
        if again.failed:
            first, again = again, self.restore(cell)
            if again.failed:
                yield f"no restore goes on afterwards: a new one says: {first.msg}; the same one: {again.msg}"
                return
        if outcome.failed and self.hashes() != self.saved:
            yield "a restore afterwards left other bytes"
        wait_until(lambda: self.word.active() is not None, seconds=20, what="word of the guest")
        if not self.word.active():
            yield "a restore afterwards left the guest off"
        if self.left():
            self.host.module("kvm_leftovers", owner="hv1", grace_period=0, timeout=LIMIT)
        for name in self.left():
            yield f"{name} is left"


def waiting(size: int) -> bytes:
    """Return a disk that boots into a guest which does nothing."""
    return WAITING.ljust(size, b"\0")
