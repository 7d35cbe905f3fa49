# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An array whose overwriting request ends at every moment around the time limits: no running guest's disk changes.

Each cell is a restore, a roll-back, an undo or a copy of which one request takes effect late, answered or not. The
guest is watched from outside all the while; its bytes are compared on the storage after the last effect.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import libvirt
import pytest

from kvmground import Ground
from kvmground.late_watch import PowerWatch, complaints
from kvmground.modules import Outcome
from kvmground.played import Played, Results
from kvmlab.process import wait_until

APP, VOLUMES, BACKUP = "app", ("kvm_vol1", "kvm_vol2"), "hv1-late_20261121020000"
DISK = f"{APP}.img"
TEMPORARY = ".kvmsnap-tmp-"
LIMIT = 6
"""Seconds that the product gives the array per disk; an answer is waited for half as long."""
PATIENCE = 25
"""Seconds for which the fate of an overwrite in place is looked for."""
MOMENTS = {"before": 1.0, "at": float(LIMIT), "after": LIMIT + 6.0}
ANSWERS: dict[str, dict[str, Any]] = {
    "its job running": {"answer": "now"},
    "its job ended before": {"answer": "now", "job": "ended"},
    "its job hidden": {"answer": "now"},
    "cut at once": {"answer": "drop"},
    "cut later": {"answer": "drop", "answer_seconds": 2},
    "answered afterwards": {"answer": "after"},
    "503": {"answer": "error", "status": 503},
    "429": {"answer": "error", "status": 429},
    "500": {"answer": "error", "status": 500},
}
METHODS = {"file_clone": "POST", "sfsr_cli": "POST", "sfsr": "PATCH"}
PATHS = {"file_clone": "/storage/file/clone", "sfsr_cli": "/restore-file", "sfsr": "/storage/volumes/"}


@dataclass(frozen=True)
class Cell:
    """One request of an operation that is late. ``in_place``: the host may not rename, so the disk is overwritten."""

    operation: str
    method: str
    answer: str
    moment: str
    in_place: bool = False
    part: bool = False

    @property
    def fault(self) -> str:
        """How a table names it."""
        return f"{self.method}{' in place' if self.in_place else ''}, {self.answer}, {self.moment} the limit"


EVERY, LATE = ("before", "at", "after"), ("at", "after")
RUNNING, ENDED, CUT, HIDDEN = "its job running", "its job ended before", "cut at once", "its job hidden"
PART = {
    ("restore", RUNNING, "after"),
    ("restore", CUT, "at"),
    ("restore", "503", "after"),
    ("roll-back", CUT, "after"),
    ("undo", RUNNING, "after"),
}


def cells() -> list[Cell]:
    """Return all cells; those of the short run stand for the others."""
    table = [
        ("restore", "file_clone", (RUNNING, ENDED, CUT, "503", "answered afterwards"), EVERY),
        ("restore", "sfsr", (RUNNING, ENDED, CUT), LATE),
        ("restore", "sfsr_cli", (RUNNING, "cut later"), LATE),
        ("roll-back", "file_clone", (RUNNING, CUT, "429"), EVERY),
        ("undo", "file_clone", (RUNNING, CUT, "500"), LATE),
        ("clone", "file_clone", (RUNNING, CUT), LATE),
        ("clone", "sfsr", (CUT, "503"), LATE),
        ("clone", "sfsr_cli", (CUT,), LATE),
    ]
    found = [
        Cell(operation, method, answer, moment, part=method == "file_clone" and (operation, answer, moment) in PART)
        for operation, method, answers, moments in table
        for answer in answers
        for moment in moments
    ]
    found += [
        Cell("restore", "file_clone", answer, moment, in_place=True, part=(answer, moment) == (CUT, "after"))
        for answer in (RUNNING, CUT, "503")
        for moment in ("before", "after")
    ]
    found += [Cell("restore", "sfsr", answer, "after", in_place=True) for answer in (RUNNING, CUT)]
    found.append(Cell("restore", "file_clone", HIDDEN, "after", in_place=True))
    return [*found, Cell("undo", "file_clone", CUT, "after", in_place=True)]


class LateStage:
    """The private host with the guest of the cells."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._count = 0
        self._connection: Any = None

    def furnish(self) -> None:
        """Start the guest and back it up."""
        self.ground.guests.add_still(APP, *VOLUMES)
        self.ground.back_up(BACKUP, APP)
        self.saved = self.hashes(BACKUP)

    def images(self, snapshot: Optional[str] = None) -> list[Path]:
        """Return the guest's disks where the storage keeps them."""
        return [self.ground.guests.image(APP, volume, snapshot=snapshot) for volume in VOLUMES]

    def hashes(self, snapshot: Optional[str] = None) -> list[str]:
        """Return the hashes of the disks' bytes on the storage; empty for one whose name is moved aside."""
        return [
            hashlib.sha256(image.read_bytes()).hexdigest() if image.exists() else "" for image in self.images(snapshot)
        ]

    def active(self) -> Optional[bool]:
        """Ask libvirt, over a connection of its own, whether the guest is active."""
        try:
            if self._connection is None:
                self._connection = libvirt.open(self.ground.uri)
            return bool(self._connection.lookupByName(APP).isActive())
        except libvirt.libvirtError:
            self._connection = None
            return None

    def play(self, cell: Cell) -> tuple[list[str], str]:
        """Play a cell; return what is wrong, and how it ended."""
        self._count += 1
        self._prepare(cell)
        ways = {"restore": self._restore, "roll-back": self._roll_back, "undo": self._undo, "clone": self._clone}
        run = ways[cell.operation]
        ground, before = self.ground, self.hashes()
        known, changed = len(ground.control.late()), len(ground.control.journal())
        ground.control.clear_requests()
        with PowerWatch(self.active) as watch:
            outcome = run(cell)
            power = self.active()
            ground.control.settle(90)
            time.sleep(2 * watch._pause)
        found = list(
            complaints(
                watch,
                target=DISK,
                effects=ground.control.late()[known:],
                requests=ground.control.requests(),
                changes=ground.control.journal()[changed:],
            )
        )
        found += [] if ground.control.late()[known:] else ["no request was late"]
        found += [] if watch.looks > 10 else ["nobody looked at the guest"]
        found += self._bytes(before, outcome, power=power)
        ground.control.clear_faults()
        found += self._goes_on(cell)
        said = "as asked" if not outcome.failed else outcome.msg
        return found, said

    def _bytes(self, before: list[str], outcome: Outcome, *, power: Optional[bool]) -> Iterator[str]:
        """Look at the bytes after the last effect: whole, and the same as when the guest was let go."""
        now = self.hashes()
        if now not in (before, self.saved) and power is not False:
            yield "the guest runs on disks that are neither those of before nor those of the backup"
        if any(each not in ("", *before, *self.saved) for each in now):
            yield "a disk holds neither the bytes of before nor those of the backup"
        if not outcome.failed and not power:
            yield "it said that all is done, and the guest is off"

    def _prepare(self, cell: Cell) -> None:
        """Have a running guest with other bytes than the backup's, and nothing beside its disk."""
        domain = self.ground.guests.domain(APP)
        if domain.isActive():
            domain.destroy()
        for path in self.images():
            link = path.with_suffix(".link")
            link.unlink(missing_ok=True)
            with path.open("r+b") as image:
                image.seek(4096)
                image.write(f"{path.parent.name} changed before cell {self._count}".encode())
            if cell.in_place:
                link.hardlink_to(path)
        domain.create()

    def _be_late(self, cell: Cell, *, after: int = 0) -> None:
        match = {"method": METHODS[cell.method], "path": PATHS[cell.method], "count": 1, "after": after}
        if cell.answer == HIDDEN:
            jobs = {"method": "GET", "path": "/cluster/jobs/"}
            self.ground.control.add_fault("status", match=jobs, status=404, code="4")
        self.ground.control.add_fault("late", match=match, seconds=MOMENTS[cell.moment], **ANSWERS[cell.answer])

    def _module(self, cell: Cell, **options: Any) -> Outcome:
        controllers = self.ground.controllers(timeout=LIMIT // 2)
        usual = {"guests": [APP], "backup_id": BACKUP, "restore_id": f"cell_{self._count:03d}", "stop": "destroy"}
        times = {"timeout": LIMIT, "start_timeout": 5, "retry_count": 1, "unknown_wait": PATIENCE}
        return self.ground.module(
            "kvm_app_restore", within=200, controllers=controllers, method=cell.method, **{**usual, **times, **options}
        )

    def _restore(self, cell: Cell) -> Outcome:
        self._be_late(cell)
        return self._module(cell)

    def _roll_back(self, cell: Cell) -> Outcome:
        """Restore while the second disk's new file vanishes, so that the first disk is put back, which is late."""
        self._be_late(cell, after=len(VOLUMES))
        safety = {"method": "POST", "path": "/snapshots$", "count": 1}
        number = self.ground.control.add_fault("delay", match=safety, seconds=2)

        def asked() -> bool:
            return any(fault["id"] == number and fault["hits"] for fault in self.ground.control.faults())

        with ThreadPoolExecutor() as pool:
            running = pool.submit(self._module, cell)
            wait_until(asked, seconds=60, what="the safety snapshot", pause=0.05)
            for path in self.images()[1].parent.glob(f"{TEMPORARY}*"):
                path.unlink()
            return running.result()

    def _undo(self, cell: Cell) -> Outcome:
        done = self._module(cell)
        assert not done.failed, done.msg
        self._be_late(cell)
        return self._module(cell, state="undone")

    def _clone(self, cell: Cell) -> Outcome:
        """Copy the guest under another name: late, and once more under the same name at once."""
        self._be_late(cell)
        first = self._copy(cell)
        if first.failed:
            self._copy(cell)
        return first

    def _copy(self, cell: Cell) -> Outcome:
        return self.ground.module(
            "kvm_vm_clone",
            name=f"copy{self._count:03d}",
            guest=APP,
            backup_id=BACKUP,
            running=True,
            method=cell.method,
            controllers=self.ground.controllers(timeout=LIMIT // 2),
            timeout=LIMIT,
            retry_count=1,
        )

    def _goes_on(self, cell: Cell) -> Iterator[str]:
        """When all is well again, the same restore ends restored, or a new one does; a copy is removed."""
        if cell.operation == "clone":
            yield from self._copy_is_whole(f"copy{self._count:03d}")
            return
        again = self._module(cell, restore_id=f"again_{self._count:03d}")
        if again.failed:
            again = self._module(cell)
        if again.failed:
            yield f"no restore goes on afterwards: {again.msg}"
        elif self.hashes() != self.saved or not self.active():
            yield "a restore afterwards left other bytes, or the guest off"

    def _copy_is_whole(self, name: str) -> Iterator[str]:
        """A copy that runs holds the bytes of the backup, after the last effect."""
        guests = self.ground.guests
        if name in guests.names():
            for saved, image in zip(self.saved, self.images()):
                for copy in image.parent.glob("kvmsnap-clone-*"):
                    if hashlib.sha256(copy.read_bytes()).hexdigest() != saved:
                        yield f"{copy.name} of the copy does not hold what the backup holds"
        gone = self.ground.module("kvm_vm_clone", name=name, state="absent")
        if gone.failed:
            yield f"the copy cannot be removed: {gone.msg}"


@pytest.fixture(scope="module")
def stage() -> Iterator[LateStage]:
    """Return a private host of its own."""
    with Ground.beside("late") as ground:
        found = LateStage(ground)
        found.furnish()
        yield found


def _marks(cell: Cell) -> Any:
    name = f"{cell.operation}: {cell.fault}"
    return pytest.param(cell, id=name, marks=[] if cell.part else [pytest.mark.long])


@pytest.mark.parametrize("cell", [_marks(cell) for cell in cells()])
def test_no_late_request_touches_the_disk_of_a_running_guest(stage: LateStage, results: Results, cell: Cell) -> None:
    began = time.monotonic()
    found, said = stage.play(cell)
    seconds = time.monotonic() - began
    detail = "; ".join(found) or said
    results.add(Played("late", cell.operation, cell.fault, not found, detail, seconds))
    assert found == [], said
