# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An array whose overwrite of a LUN takes effect late, on the lab: multipath, iSCSI, and a guest that boots from it."""

from __future__ import annotations

import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import pytest

from kvmground.guests import WAITING, still_xml
from kvmground.lab_host import LabHost
from kvmground.late_watch import PowerWatch, complaints
from kvmground.modules import Outcome
from kvmground.played import Played, Results
from kvmlab.domain import DiskSpec
from kvmlab.guests import DEFAULTS
from kvmlab.lab import Lab
from kvmlab.process import wait_until

pytestmark = pytest.mark.long

GUEST, LUN, INSIDE, VOLUME = "late1", "/vol/kvm_san1/late1", "late1", "kvm_san1"
SIZE_MIB = 8
LIMIT = 30
"""Seconds that the product gives the array; an answer is waited for half as long."""
PATIENCE = 60
MOMENTS = {"before": 2.0, "at": float(LIMIT), "after": LIMIT + 10.0}
PATCH = {"method": "PATCH", "path": "/storage/luns/", "count": 1}
ANSWERS: dict[str, dict[str, Any]] = {
    "cut at once": {"answer": "drop"},
    "answered before": {"answer": "now", "job": "none"},
    "its job running": {"answer": "now"},
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
class Cell:
    """One overwrite of a LUN that is late."""

    operation: str
    answer: str
    moment: str

    @property
    def fault(self) -> str:
        """How a table names it."""
        return f"LUN, {self.answer}, {self.moment} the limit"


CELLS = [
    Cell("restore", "cut at once", "before"),
    Cell("restore", "cut at once", "at"),
    Cell("restore", "cut at once", "after"),
    Cell("restore", "answered before", "after"),
    Cell("restore", "its job running", "after"),
    Cell("restore", "answered afterwards", "before"),
    Cell("restore", "answered afterwards", "after"),
    Cell("restore", "503", "after"),
    Cell("restore", "500", "at"),
    Cell("undo", "cut at once", "after"),
]


class Word:
    """What the KVM host's libvirt last said of the guest, and when."""

    def __init__(self, lab: Lab) -> None:
        command = lab.host.ssh_command(shlex.join(["python3", "-uc", TELL_ACTIVE, GUEST]))
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


class LunStage:
    """The lab's KVM host with a guest that boots from a LUN and does nothing."""

    def __init__(self, host: LabHost) -> None:
        self.host, self.lab = host, host.lab
        self.stamp = f"{time.time():.0f}"
        self.backup = f"hv1-late_{self.stamp}"
        self._count = 0

    def furnish(self) -> None:
        """Make the LUN, start the guest from it, and back it up; the lab's other guests leave it the processor."""
        self._others("suspend")
        lun = self.lab.san.provide(LUN, SIZE_MIB)
        self.lab.luns.file(lun).write_bytes(WAITING.ljust(SIZE_MIB << 20, b"\0"))
        xml = still_xml(GUEST, [DiskSpec(lun.device)])
        self.lab.ssh("virsh -q define /dev/stdin", stdin=xml)
        self.lab.virsh("start", GUEST)
        found = self.host.module("kvm_vm_discover", guests=[GUEST])
        asked = {key: found[key] for key in ("guests", "volumes", "problems")}
        made = self.host.module("kvm_vm_backup", backup_id=self.backup, owner="hv1", policy="late", **asked)
        assert not made.failed, made.msg
        self.saved = self.sha256(self.backup)

    def remove(self) -> None:
        """Take guest, LUN and backup away, and let the others run again."""
        self._others("resume")
        volumes = [{"svm": "svm1", "volume": VOLUME}]
        self.host.module("ontap_snapshot", state="absent", name=self.backup, volumes=volumes, owner="hv1")
        self.lab.remove_guest(GUEST)

    def _others(self, verb: str) -> None:
        for spec in DEFAULTS:
            self.lab.virsh(verb, spec.name)

    def sha256(self, snapshot: Optional[str] = None) -> str:
        """Return the hash of the LUN's bytes on the storage."""
        return self.lab.control.sha256("svm1", VOLUME, INSIDE, snapshot=snapshot)

    def play(self, cell: Cell, word: Word) -> tuple[list[str], str]:
        """Play a cell; return what is wrong, and how it ended."""
        self._count += 1
        control, lun = self.lab.control, self.lab.luns.get(LUN)
        before = self._prepare()
        known, changed = len(control.late()), len(control.journal())
        control.clear_requests()
        with PowerWatch(word.active, pause=0.1) as watch:
            if cell.operation == "undo":
                done = self._restore()
                assert not done.failed, done.msg
            control.add_fault("late", match=PATCH, seconds=MOMENTS[cell.moment], **ANSWERS[cell.answer])
            outcome = self._restore(undo=cell.operation == "undo")
            control.settle(90)
        effects = control.late()[known:]
        changes = control.journal()[changed:]
        found = list(complaints(watch, target=lun.uuid, effects=effects, requests=control.requests(), changes=changes))
        found += [] if effects else ["no request was late"]
        found += [] if watch.looks > 10 else ["nobody looked at the guest"]
        now = self.sha256()
        if now not in (before, self.saved):
            found.append("the LUN holds neither the bytes of before nor those of the backup")
        left = [each.name for each in self.lab.luns.all() if "kvmsnap-tmp-" in each.name]
        control.clear_faults()
        again = self._restore()
        if again.failed or self.sha256() != self.saved or word.active() is False:
            found.append(f"the restore does not go on afterwards: {again.msg}")
        left = [each for each in left if each in {lun.name for lun in self.lab.luns.all()}]
        found += [f"{name} is left" for name in left]
        return found, outcome.msg if outcome.failed else "as asked"

    def _prepare(self) -> str:
        """Let the guest run on other bytes than the backup's; return their hash."""
        self.lab.ssh(f"virsh -q destroy {GUEST} 2> /dev/null || :")
        device = self.lab.luns.get(LUN).device
        changed = f"changed before cell {self._count}"
        self.lab.ssh(f"printf %s {shlex.quote(changed)} | dd of={device} bs=4096 seek=1 conv=notrunc,fsync status=none")
        self.lab.virsh("start", GUEST)
        return self.sha256()

    def _restore(self, **options: Any) -> Outcome:
        return self.host.module(
            "kvm_app_restore",
            within=400,
            guests=[GUEST],
            backup_id=self.backup,
            restore_id=f"late_{self.stamp}_{self._count:03d}",
            stop="destroy",
            controllers=self.host.controllers(timeout=LIMIT // 2),
            timeout=LIMIT,
            unknown_wait=PATIENCE,
            retry_count=1,
            **options,
        )


@pytest.fixture(scope="module")
def stage() -> Iterator[LunStage]:
    """Return the lab's KVM host, up, with the guest."""
    lab = Lab()
    lab.up()
    host = LabHost(lab)
    host.prepare()
    found = LunStage(host)
    found.furnish()
    yield found
    lab.control.clear_faults()
    found.remove()
    host.remove()


@pytest.fixture(scope="module")
def word(stage: LunStage) -> Iterator[Word]:
    """Return what libvirt says of the guest all the while."""
    found = Word(stage.lab)
    yield found
    found.close()


@pytest.mark.parametrize("cell", CELLS, ids=[f"{cell.operation}: {cell.fault}" for cell in CELLS])
def test_no_late_overwrite_touches_the_lun_of_a_running_guest(
    stage: LunStage, word: Word, results: Results, cell: Cell
) -> None:
    began = time.monotonic()
    found, said = stage.play(cell, word)
    seconds = time.monotonic() - began
    results.add(Played("late", cell.operation, cell.fault, not found, "; ".join(found) or said, seconds, "lab"))
    assert found == [], said
