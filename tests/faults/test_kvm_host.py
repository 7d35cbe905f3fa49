# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cells on the lab's KVM host: real agents, systemd's timer, NFS, a network that can be cut, a clock that jumps.

A guest's thaw is sent within the deadline and a second; how long its answer takes is up to the one slow processor that
serves the host and all its guests, so it has some seconds more here.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Optional

import pytest
from world import STAMP

from kvmground.drive import OWNER, OneProcess, Report, Settings
from kvmground.lab_host import CATALOG, LEFT, LabHost, LabWatch, Remote
from kvmground.played import Played, Results
from kvmground.scene import Action, Condition, Happenings
from kvmlab.errors import LabError
from kvmlab.lab import Lab

OPERATION = "module on hv1"
DEADLINE = 10
ANSWER = 5.0
SETTLE_SECONDS = 60.0
SLOW = Settings(
    hold_deadline=60,
    vss_hold_deadline=60,
    freeze_timeout=15,
    agent_ping_timeout=10,
    snapshot_timeout=60,
    request_timeout=20,
)
SNAPSHOTS = r"/snapshots$"
GUESTS = ("web1", "db1", "sol1")
FROZEN = {"web1": "/mnt/kvm_vol1/web1.img", "db1": "/mnt/kvm_vol1/db1.img"}


class LabStage(Happenings):
    """One cell on the KVM host."""

    def __init__(self, host: LabHost, found: dict[str, Any], name: str) -> None:
        super().__init__(host.lab.control)
        self.host, self.lab, self.name = host, host.lab, name
        self.settings = replace(SLOW, hold_deadline=DEADLINE, vss_hold_deadline=DEADLINE)
        self.driver = OneProcess(host, name, self.settings)
        self.driver.found = found
        self.watch = LabWatch(host.lab, FROZEN, ["sol1"])
        self.unheard: set[str] = set()

    def snapshot_exists(self, volume: str) -> Condition:
        """Return whether the snapshot of this backup is on a volume."""
        return lambda: any(self.name in row["snapshots"] for row in self.control.volumes() if row["name"] == volume)

    def volume_uuid(self, volume: str) -> str:
        """Return a volume's uuid."""
        return next(str(row["uuid"]) for row in self.control.volumes() if row["name"] == volume)

    def cut(self) -> None:
        """Cut the connection of the module that runs."""
        self.driver.lose()
        assert isinstance(self.driver.running, Remote)
        self.driver.running.cut()

    def jump(self, seconds: float) -> None:
        """Let the host's clock jump; it is right again afterwards."""
        self.finally_(lambda: self.lab.ssh(f"date -s @{time.time():.0f}"))
        self.lab.ssh(f"date -s @{time.time() + seconds:.0f}")


Act = Callable[[LabStage], None]


def _asking(cell: LabStage) -> Condition:
    return cell.requested("POST", SNAPSHOTS, seconds=2.0)


def _suspended(cell: LabStage) -> Condition:
    """Return whether the guest without an agent is suspended; a slow array lets that last until it has been seen."""
    _asking(cell)
    return lambda: "sol1" in cell.watch.held_now()


def _frozen(cell: LabStage) -> Condition:
    """Return whether a guest with an agent is frozen, which lasts until it has been seen, too."""
    _asking(cell)
    return lambda: "web1" in cell.watch.held_now()


def _one_of_several(cell: LabStage) -> Condition:
    cell.requested("POST", f"{cell.volume_uuid('kvm_vol2')}{SNAPSHOTS}", seconds=3.0)
    return cell.snapshot_exists("kvm_vol1")


def _released(cell: LabStage) -> Condition:
    return lambda: any(each.until is not None for each in cell.watch.stretches)


def _killed(moment: Callable[[LabStage], Condition], *, before: Optional[Callable[[LabStage], Action]] = None) -> Act:
    def act(cell: LabStage) -> None:
        def kill() -> None:
            if before is not None:
                before(cell)()
            cell.driver.kill()

        cell.when(moment(cell), kill)

    return act


def _cut(*, kill: bool) -> Act:
    def act(cell: LabStage) -> None:
        def cut() -> None:
            if kill:
                cell.driver.kill()
            cell.cut()

        cell.when(_asking(cell), cut)

    return act


def _unplugged(cell: LabStage) -> None:
    """Cut off control node and management LIFs until the frozen guests run again, which is seen on the array.

    Of the suspended one nothing is heard meanwhile, so its time cannot be told.
    """
    network, limit = cell.lab.network, DEADLINE + 1 + ANSWER
    cell.unheard = {"sol1"}

    def cut() -> None:
        network.set_management(up=False)
        began = time.monotonic()
        while set(FROZEN) & set(cell.watch.held_now()) and time.monotonic() < began + limit:
            time.sleep(0.1)
        network.set_management(up=True)

    cell.finally_(lambda: network.set_management(up=True))
    cell.when(_frozen_and_asking(cell), cut)


def _frozen_and_asking(cell: LabStage) -> Condition:
    asking = _asking(cell)
    return lambda: asking() and set(FROZEN) <= set(cell.watch.held_now())


def _on_host(command: str) -> Act:
    def act(cell: LabStage) -> None:
        cell.when(_asking(cell), lambda: cell.lab.ssh(command))

    return act


def _jumped(seconds: float) -> Callable[[LabStage], Action]:
    return lambda cell: lambda: cell.jump(seconds)


def _jumps(seconds: float) -> Act:
    def act(cell: LabStage) -> None:
        cell.when(_asking(cell), lambda: cell.jump(seconds))

    return act


def _array(kind: str, *, volume: str = "", **how: Any) -> Act:
    def act(cell: LabStage) -> None:
        uuid = cell.volume_uuid(volume) if volume else ""
        cell.fault(kind, "POST", f"{uuid}{SNAPSHOTS}", **how)

    return act


def _full(cell: LabStage) -> None:
    cell.lab.ssh(f"dd if=/dev/zero of={CATALOG}/filler bs=64k 2> /dev/null; true")
    cell.finally_(lambda: cell.lab.ssh(f"rm -f {CATALOG}/filler"))


def _nfs_restarted(cell: LabStage) -> None:
    cell.when(_asking(cell), cell.lab.array.restart_nfs)


CELLS: dict[tuple[str, str], Act] = {
    ("suspend", "the module is killed"): _killed(_suspended),
    ("freeze", "the module is killed"): _killed(_frozen),
    ("snapshot asked for", "the module is killed"): _killed(_asking),
    ("one of several", "the module is killed"): _killed(_one_of_several),
    ("released", "the module is killed"): _killed(_released),
    ("snapshot asked for", "the control node is gone"): _cut(kill=False),
    ("snapshot asked for", "the control node and the module are gone"): _cut(kill=True),
    ("snapshot asked for", "the network is cut for longer than the deadline"): _unplugged,
    ("snapshot asked for", "libvirtd is restarted"): _on_host("systemctl restart libvirtd"),
    ("snapshot asked for", "libvirtd crashes"): _on_host(
        "systemctl kill --signal KILL libvirtd; systemctl start libvirtd"
    ),
    ("suspend", "the clock jumps an hour ahead, the module is killed"): _killed(_suspended, before=_jumped(3600)),
    ("suspend", "the clock jumps an hour back, the module is killed"): _killed(_suspended, before=_jumped(-3600)),
    ("snapshot asked for", "the clock jumps an hour ahead"): _jumps(3600),
    ("snapshot asked for", "503 once"): _array("burst", status=503, retry_after=1),
    ("snapshot asked for", "the connection drops after the request took effect"): _array("drop_after"),
    ("snapshot asked for", "the job never ends"): _array("job_hang"),
    ("snapshot asked for", "one of several fails"): _array("status", volume="kvm_vol2", status=500, count=None),
    ("manifest begun", "the catalog's disk is full"): _full,
    ("snapshot asked for", "the NFS server is restarted"): _nfs_restarted,
}


@dataclass
class Theatre:
    """The KVM host, prepared, with what was discovered there."""

    host: LabHost
    found: dict[str, Any]
    count: int = 0

    def cell(self) -> LabStage:
        """Return the next cell."""
        self.count += 1
        return LabStage(self.host, self.found, f"hv1-cell_{STAMP}_{self.count:03d}")

    def untold(self, cell: LabStage) -> Iterator[str]:
        """Yield the snapshots of the cell's backup that no manifest tells of, begun or complete, and locks."""
        found = self._settled()
        known = {row["backup_id"] for row in found["manifests"]}
        for volume in cell.control.volumes():
            if cell.name in volume["snapshots"] and cell.name not in known:
                yield f"before the next backup snapshot {cell.name} of {volume['name']} has no manifest"
        for each in found["locks"]:
            yield f"before the next backup the lock {each} is held"

    def _settled(self) -> dict[str, Any]:
        """Return what is on the host once the backup's processes have ended, also those that nobody waits for."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (found := self._look())["processes"] and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.host.lab.ssh("python3 -", stdin=LEFT))
        return found

    def left(self, cell: LabStage) -> Iterator[str]:
        """Yield what does not belong together."""
        found = self._look()
        for kind in ("records", "locks", "processes", "units"):
            for each in found[kind]:
                yield f"one of the {kind} is left: {each[:120]}"
        complete = {row["backup_id"] for row in found["manifests"] if row["phase"] == "complete"}
        for row in found["manifests"]:
            if row["phase"] != "complete":
                yield f"the manifest of {row['backup_id']} is {row['phase']}"
        there = {
            (volume["name"], name)
            for volume in cell.control.volumes()
            for name in volume["snapshots"]
            if f"-cell_{STAMP}_" in name
        }
        for volume, name in there:
            if name not in complete:
                yield f"snapshot {name} of {volume} has no manifest"
        for row in found["manifests"]:
            for volume in row["volumes"]:
                if row["phase"] == "complete" and (volume["volume"], row["backup_id"]) not in there:
                    yield f"the manifest of {row['backup_id']} names a snapshot of {volume['volume']} that is not there"


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    """Return the KVM host."""
    lab = Lab()
    lab.up()
    host = LabHost(lab)
    host.prepare()
    found = host.module("kvm_vm_discover", guests=list(GUESTS))
    yield Theatre(host, {key: found[key] for key in ("guests", "volumes", "problems")})
    for row in lab.control.volumes():
        for name in [name for name in row["snapshots"] if f"-cell_{STAMP}_" in name]:
            volumes = [{"svm": row["svm"], "volume": row["name"]}]
            host.module("ontap_snapshot", state="absent", name=name, volumes=volumes, owner=OWNER)
    host.remove()


@pytest.mark.parametrize(("step", "fault"), CELLS, ids=[f"{OPERATION}: {step}: {fault}" for step, fault in CELLS])
def test_cell(theatre: Theatre, results: Results, step: str, fault: str) -> None:
    """Play one cell; the table has it in any case."""
    began = time.monotonic()
    cell = theatre.cell()
    complaints: list[str] = []
    report: Optional[Report] = None
    try:
        report = _play(theatre, cell, CELLS[step, fault], complaints)
    except (LabError, OSError, subprocess.SubprocessError) as exc:
        complaints.append(repr(exc))
    outcome = "there is a backup" if report and report.ok else report.msg if report else "it broke off"
    detail = "; ".join(complaints) or outcome
    seconds = round(time.monotonic() - began, 1)
    results.add(Played(OPERATION, step, fault, not complaints, detail, seconds, ground="lab"))
    assert not complaints, f"{detail}\nthe backup: {outcome}"


def _play(theatre: Theatre, cell: LabStage, act: Act, complaints: list[str]) -> Report:
    limit = DEADLINE + 1 + ANSWER
    with cell.watch:
        try:
            act(cell)
            report = cell.driver.run()
            complaints += [f"{guest} is held still" for guest in cell.watch.until_released(seconds=limit)]
        finally:
            cell.end()
        complaints += [f"{name} is {state}" for name, state in cell.lab.guests.states().items() if state == "paused"]
        late = [each for each in cell.watch.stretches if each.seconds > limit and each.guest not in cell.unheard]
        complaints += [f"{each.guest} was held for {each.seconds:.1f} s" for each in late]
    complaints += cell.missed
    complaints += theatre.untold(cell)
    following = OneProcess(theatre.host, f"{cell.name}n", SLOW)
    following.found = theatre.found
    after = following.run()
    if not after.ok:
        complaints.append(f"the next backup failed at {after.msg}")
    put_right = theatre.host.module(
        "kvm_leftovers", owner=OWNER, volumes=theatre.found["volumes"], grace_period=0, orphans="absent"
    )
    if put_right.failed:
        complaints.append(f"recovery failed: {put_right.msg}")
    complaints += theatre.left(cell)
    return report
