# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An array whose overwrite of a LUN takes effect late, on the lab: multipath, iSCSI, and a guest that boots from it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import pytest

from kvmground.lab_host import LabHost
from kvmground.late_lab import OF_COPIES, LabCell, LateOnLab, waiting
from kvmground.played import Played, Results
from kvmlab.guests import DEFAULTS
from kvmlab.lab import Lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

VOLUME = "kvm_san1"
LUN = f"/vol/{VOLUME}/late1"
SIZE_MIB = 8

CELLS = [
    LabCell("restore", "cut at once", "after", begun=True),
    LabCell("roll-back", "cut at once", "after"),
    LabCell("undo", "cut at once", "after"),
    LabCell("clone", "503", "at"),
    LabCell("restore", "cut at once", "after"),
    LabCell("restore", "its job running", "after"),
    LabCell("restore", "cut at once", "long after", begun=True),
    LabCell("restore", "answered before", "after"),
    LabCell("restore", "503", "after"),
    LabCell("restore", "answered afterwards", "after"),
    LabCell("restore", "cut at once", "before"),
    LabCell("restore", "cut at once", "at"),
    LabCell("restore", "answered afterwards", "before"),
    LabCell("restore", "500", "at"),
    LabCell("roll-back", "503", "at"),
    LabCell("undo", "its job running", "at"),
    LabCell("clone", "cut at once", "after"),
]


class LunStage(LateOnLab):
    """A guest on a LUN."""

    guest = "late1"

    def devices(self) -> list[str]:
        """Make and map the LUN."""
        known = self.lab.luns.find(LUN)
        lun = known or self.lab.san.provide(LUN, SIZE_MIB)
        if known is None:
            self.lab.luns.file(lun).write_bytes(waiting(SIZE_MIB << 20))
        return [lun.device]

    def stored(self, snapshot: Optional[str] = None) -> list[Path]:
        return [self.lab.storage_path(LUN, snapshot=snapshot)]

    def target(self) -> str:
        return self.lab.luns.get(LUN).uuid

    def late(self, cell: LabCell) -> Mapping[str, Any]:
        if cell.operation == "clone":
            return {"method": "POST", "path": "/storage/luns$", "count": 1}
        after = 1 if cell.operation == "roll-back" else 0
        return {"method": "PATCH", "path": f"/storage/luns/{self.target()}$", "count": 1, "after": after}

    def fail_restore(self) -> None:
        """Let the overwrite be answered long before it takes effect, so that the LUN is compared and differs."""
        match = {"method": "PATCH", "path": f"/storage/luns/{self.target()}$", "count": 1}
        self.lab.control.add_fault("late", match=match, seconds=20, answer="now", job="none")

    def left(self) -> list[str]:
        names = [lun.name for lun in self.lab.luns.all()]
        return [name for name in names if "kvmsnap-tmp-" in name or OF_COPIES in name]

    def volumes(self) -> list[dict[str, str]]:
        return [{"svm": "svm1", "volume": VOLUME}]


@pytest.fixture(scope="module")
def stage() -> Iterator[LunStage]:
    """Return the lab's KVM host, up, with the guest."""
    lab = Lab()
    lab.up()
    host = LabHost(lab)
    # The lab's own guests leave the processor to this one.
    with lab.guests.suspended(DEFAULTS):
        host.prepare()
        found = LunStage(host)
        found.furnish()
        yield found
        found.remove()
        host.remove()


@pytest.mark.parametrize("cell", CELLS, ids=[f"{cell.operation}: {cell.fault}" for cell in CELLS])
def test_no_late_overwrite_touches_the_lun_of_a_running_guest(stage: LunStage, results: Results, cell: LabCell) -> None:
    began = time.monotonic()
    found, said = stage.play(cell)
    seconds = time.monotonic() - began
    results.add(Played("late", cell.operation, cell.fault, not found, "; ".join(found) or said, seconds, "lab"))
    assert found == [], said
