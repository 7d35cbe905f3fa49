# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An array whose file clone or restore takes effect late, seen through the lab's NFS client (4.1 and 3)."""

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
from kvmlab.process import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

DISKS = ["/mnt/kvm_vol1/late2-boot.img", "/mnt/kvm_vol2/late2-data.img"]
SIZE = 1 << 20
REQUESTS = {
    "file_clone": ("POST", "/storage/file/clone"),
    "sfsr_cli": ("POST", "/restore-file"),
    "sfsr": ("PATCH", "/storage/volumes/"),
}

CELLS = [
    LabCell("restore", "cut at once", "after", "file_clone"),
    LabCell("roll-back", "cut at once", "after", "file_clone"),
    LabCell("undo", "its job running", "after", "file_clone"),
    LabCell("restore", "cut at once", "after", "file_clone", in_place=True),
    LabCell("clone", "cut at once", "at", "file_clone"),
]


class NfsStage(LateOnLab):
    """A guest on a file of each of two NFS mounts."""

    guest = "late2"

    def devices(self) -> list[str]:
        """Make the files on the array."""
        for image in self.stored():
            if not image.exists():
                image.write_bytes(waiting(SIZE))
        return DISKS

    def stored(self, snapshot: Optional[str] = None) -> list[Path]:
        return [self.lab.storage_path(path, snapshot=snapshot) for path in DISKS]

    def target(self) -> str:
        return Path(DISKS[0]).name

    def prepare(self, cell: LabCell) -> None:
        """Give each file a second name where the host is not to rename over it."""
        for path in DISKS:
            link = Path(path).with_suffix(".link")
            self.lab.ssh(f"rm -f {link}" + (f" && ln {path} {link}" if cell.in_place else ""))
        super().prepare(cell)

    def late(self, cell: LabCell) -> Mapping[str, Any]:
        method, path = REQUESTS[cell.method]
        after = len(DISKS) if cell.operation == "roll-back" else 0
        return {"method": method, "path": path, "count": 1, "after": after}

    def fail_restore(self) -> None:
        """Take the second disk's new file away while the safety snapshot is made."""
        control = self.lab.control
        safety = {"method": "POST", "path": "/snapshots$", "count": 1}
        number = control.add_fault("delay", match=safety, seconds=8)

        def asked() -> bool:
            return any(fault["id"] == number and fault["hits"] for fault in control.faults())

        wait_until(asked, seconds=120, what="the safety snapshot", pause=0.05)
        self.lab.ssh(f"rm {Path(DISKS[1]).parent}/.kvmsnap-tmp-*")

    def left(self) -> list[str]:
        found = [each for image in self.stored() for each in image.parent.iterdir()]
        return [each.name for each in found if ".kvmsnap-tmp-" in each.name or OF_COPIES in each.name]

    def volumes(self) -> list[dict[str, str]]:
        return [{"svm": "svm1", "volume": "kvm_vol1"}, {"svm": "svm1", "volume": "kvm_vol2"}]


@pytest.fixture(scope="module")
def stage() -> Iterator[NfsStage]:
    """Return the lab's KVM host, up, with the guest."""
    lab = Lab()
    lab.up()
    host = LabHost(lab)
    # The lab's own guests leave the processor to this one.
    with lab.guests.suspended(DEFAULTS):
        host.prepare()
        found = NfsStage(host)
        found.furnish()
        yield found
        found.remove()
        for path in DISKS:
            lab.ssh(f"rm -f {Path(path).with_suffix('.link')}")
        host.remove()


@pytest.mark.parametrize("cell", CELLS, ids=[f"{cell.operation}: {cell.fault}" for cell in CELLS])
def test_no_late_request_touches_the_file_of_a_running_guest(stage: NfsStage, results: Results, cell: LabCell) -> None:
    began = time.monotonic()
    found, said = stage.play(cell)
    seconds = time.monotonic() - began
    results.add(Played("late", cell.operation, cell.fault, not found, "; ".join(found) or said, seconds, "lab"))
    assert found == [], said
