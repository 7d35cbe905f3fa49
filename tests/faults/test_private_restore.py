# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every step of a restore by what may happen to it, on a private host.

After each cell, from outside: where the module lives the guest is wholly as before or wholly as restored, as was told;
where it was killed the guest is off or whole; the same restore run again ends restored; the neighbour is untouched.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import libvirt
import pytest

from kvmground.ground import SVM, Ground
from kvmground.played import Played, Results
from kvmground.restore_scene import APP, VOLUMES, RestoreScene, RestoreStage
from kvmground.scene import Action, Condition

OPERATION = "restore"
SNAPSHOTS = r"/snapshots$"
LICENSES = r"/cluster/licensing/licenses$"
CLONE = r"/storage/file/clone$"
FIRST, SECOND = VOLUMES

Act = Callable[[RestoreScene], None]


@dataclass(frozen=True)
class Cell:
    """What happens at which step. ``part``: it is in the short run; ``undo``: the restore is undone at the end."""

    step: str
    fault: str
    act: Act
    part: bool = False
    undo: bool = False


# When something happens: each stages what makes it visible and returns its condition.

MOMENTS: dict[str, Callable[[RestoreScene], Condition]] = {
    "prepare": lambda scene: scene.requested("GET", LICENSES),
    "make disk 1": lambda scene: scene.requested("POST", CLONE),
    "prove disk 1": lambda scene: scene.checking(FIRST),
    "make disk 2": lambda scene: scene.requested("POST", CLONE, after=1),
    "prove disk 2": lambda scene: scene.checking(SECOND),
    "stop": lambda scene: lambda: scene.ground.guests.state(APP).state == "shutoff",
    "safety snapshot": lambda scene: scene.requested("POST", SNAPSHOTS),
    "safety made": lambda scene: scene.safety_made(),
    "move disk 2 aside": lambda scene: scene.looking(1),
    "rename disk 1": lambda scene: scene.looking(2),
    "rename disk 2": lambda scene: scene.looking(3),
    "start": lambda scene: lambda: bool(scene.progress().get("written")),
}


def _killed(scene: RestoreScene) -> Action:
    return scene.kill


def _lost(scene: RestoreScene) -> Action:
    return scene.lose


def _restarted(scene: RestoreScene) -> Action:
    return scene.ground.restart_libvirtd


def _array_restarted(scene: RestoreScene) -> Action:
    return lambda: scene.ground.restart_simulator(kill=True)


def _array_clock(scene: RestoreScene) -> Action:
    scene.finally_(scene.control.reset_switches)
    return lambda: scene.control.set_switches(clock_offset=-3600)


INCIDENTS: dict[str, tuple[Callable[[RestoreScene], Action], tuple[str, ...]]] = {
    "the module is killed": (_killed, tuple(MOMENTS)),
    "the control node is gone": (_lost, tuple(MOMENTS)),
    "libvirtd is restarted": (_restarted, ("make disk 1", "safety snapshot", "rename disk 2")),
    "the array's REST server crashes": (_array_restarted, ("make disk 1", "safety snapshot", "rename disk 2")),
    "the array's clock jumps an hour back": (_array_clock, ("safety snapshot", "rename disk 2")),
}
PART = {
    ("safety snapshot", "the module is killed"),
    ("rename disk 2", "the module is killed"),
    ("make disk 1", "the control node is gone"),
}
UNDONE = {("rename disk 2", "the module is killed"), ("rename disk 1", "the module is killed")}


def _incidents() -> Iterator[Cell]:
    for fault, (incident, steps) in INCIDENTS.items():
        for step in steps:

            def act(
                scene: RestoreScene, step: str = step, incident: Callable[[RestoreScene], Action] = incident
            ) -> None:
                scene.when(MOMENTS[step](scene), incident(scene), what="done")

            yield Cell(step, fault, act, (step, fault) in PART, (step, fault) in UNDONE)


# What the array does.


def _array(kind: str, method: str, path: str, ends: str = "", **how: Any) -> Act:
    def act(scene: RestoreScene) -> None:
        scene.ends = ends
        scene.fault(kind, method, path, **how)

    return act


def _volume(moment: str, ends: str, **values: Any) -> Act:
    def act(scene: RestoreScene) -> None:
        good = {"state": "online", "full": False}
        scene.ends = ends
        scene.finally_(lambda: scene.control.change_volume(SVM, SECOND, **{key: good[key] for key in values}))
        scene.when(MOMENTS[moment](scene), lambda: scene.control.change_volume(SVM, SECOND, **values), what="changed")

    return act


def _snapshot_deleted(scene: RestoreScene) -> None:
    volumes = [{"svm": SVM, "volume": SECOND}]

    def delete() -> None:
        scene.ground.module("ontap_snapshot", state="absent", name=scene.backup_id, volumes=volumes, allow_foreign=True)

    scene.ends, scene.again = "before", "refused"
    scene.when(scene.requested("POST", CLONE, seconds=4.0), delete, what="deleted")


def _on_disk(number: int) -> Iterator[Cell]:
    """Yield what may happen to the request that makes the file for one disk."""
    step, after = f"make disk {number}", number - 1
    for fault, kind, ends, how in (
        ("429 once", "burst", "restored", {"status": 429, "retry_after": 1}),
        ("503 once", "burst", "restored", {"status": 503, "retry_after": 1}),
        ("500 once", "status", "", {"status": 500}),
        ("the connection drops before the request took effect", "drop_before", "", {}),
        ("the connection drops after the request took effect", "drop_after", "", {}),
        ("the job fails", "job_fail", "before", {}),
        ("the job fails after its work", "job_fail", "before", {"effect": True}),
        ("the job never ends", "job_hang", "before", {}),
    ):
        part = (number, fault) in ((2, "the job fails"), (1, "the connection drops after the request took effect"))
        yield Cell(step, fault, _array(kind, "POST", CLONE, ends, after=after, **how), part)
    always = _array("status", "POST", CLONE, "before", after=after, status=500, count=None)
    yield Cell(step, "500 every time", always)


ARRAY = (
    Cell("discover", "503 once", _array("burst", "GET", SNAPSHOTS, "restored", status=503, retry_after=1)),
    Cell("discover", "500 every time", _array("status", "GET", SNAPSHOTS, "before", status=500, count=None)),
    Cell("safety snapshot", "429 once", _array("burst", "POST", SNAPSHOTS, "restored", status=429, retry_after=1)),
    Cell("safety snapshot", "500 every time", _array("status", "POST", SNAPSHOTS, "before", status=500, count=None)),
    Cell("safety snapshot", "the connection drops after the request", _array("drop_after", "POST", SNAPSHOTS)),
    Cell("safety snapshot", "the job fails", _array("job_fail", "POST", SNAPSHOTS, "before")),
    Cell("safety snapshot", "the job never ends", _array("job_hang", "POST", SNAPSHOTS)),
    Cell("safety snapshot", "a volume is full", _volume("stop", "before", full=True), part=True),
    Cell("make disk 1", "the other disk's volume goes offline", _volume("make disk 1", "before", state="offline")),
    Cell("rename disk 1", "the other disk's volume goes offline", _volume("rename disk 1", "", state="offline")),
    *_on_disk(1),
    *_on_disk(2),
    Cell("make disk 1", "the backup's snapshot is deleted", _snapshot_deleted),
)


# What people and the host do.


def _tried(scene: RestoreScene) -> None:
    """Try to start the guest, as anybody may; it must not come up while its disks are neither old nor new."""
    with suppress(libvirt.libvirtError):
        scene.ground.guests.domain(APP).create()


def _started_between(scene: RestoreScene) -> None:
    scene.ends = "restored"
    scene.when(MOMENTS["rename disk 2"](scene), lambda: _tried(scene), what="tried to start it")


def _killed_and_started(scene: RestoreScene) -> None:
    def both() -> None:
        scene.kill()
        _tried(scene)

    scene.when(MOMENTS["rename disk 2"](scene), both, what="killed, and tried to start it")


def _catalog_full(moment: str, ends: str) -> Act:
    def act(scene: RestoreScene) -> None:
        place = scene.ground.catalog
        scene.ends = ends
        scene.finally_(lambda: scene.ground.free(place))
        scene.when(MOMENTS[moment](scene) if moment else lambda: True, lambda: scene.ground.fill(place), what="filled")

    return act


def _will_not_start(scene: RestoreScene) -> None:
    log = scene.stage.log.parent
    scene.ends = "off"
    scene.finally_(log.mkdir)
    scene.when(MOMENTS["make disk 2"](scene), lambda: shutil.rmtree(log), what="taken away")


def _powered(power: str, moment: str) -> Act:
    def act(scene: RestoreScene) -> None:
        scene.power = power
        scene.when(MOMENTS[moment](scene), scene.kill, what="killed")

    return act


HOST = (
    Cell("rename disk 2", "somebody starts the guest between the disks", _started_between, part=True),
    Cell("rename disk 2", "the module is killed; somebody starts the guest", _killed_and_started, part=True, undo=True),
    Cell("stop", "the catalog's disk is full", _catalog_full("", "before")),
    Cell("safety snapshot", "the catalog's disk is full", _catalog_full("prove disk 2", "before")),
    Cell("make disk 1", "the catalog's disk is full", _catalog_full("make disk 1", "before")),
    Cell("rename disk 1", "the catalog's disk is full", _catalog_full("rename disk 1", "off")),
    Cell("start", "the guest does not start", _will_not_start, part=True, undo=True),
    Cell("rename disk 2", "the guest was off; the module is killed", _powered("shutoff", "rename disk 2")),
    Cell("rename disk 2", "the guest was paused; the module is killed", _powered("paused", "rename disk 2")),
)

CELLS = [*_incidents(), *ARRAY, *HOST]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each cell, or of those that stand for the others."""
    short = metafunc.config.getoption("--representative")
    if metafunc.config.getoption("--operation") not in (None, OPERATION):
        metafunc.parametrize("cell", [])
        return
    wanted = [pytest.param(cell, id=f"{cell.step}: {cell.fault}") for cell in CELLS if cell.part or not short]
    metafunc.parametrize("cell", wanted)


@pytest.fixture(scope="module")
def restores() -> Iterator[RestoreStage]:
    """Return the private host with the guests of the restores."""
    with Ground() as ground:
        found = RestoreStage(ground)
        found.furnish()
        yield found


def test_cell(restores: RestoreStage, results: Results, cell: Cell) -> None:
    """Play one cell; the table has it in any case."""
    began = time.monotonic()
    try:
        outcome, verdict, scene = restores.play(cell.act, undo=cell.undo)
    except Exception as exc:
        results.add(Played(OPERATION, cell.step, cell.fault, False, repr(exc), round(time.monotonic() - began, 1)))
        raise
    told = outcome.msg if outcome.failed else "restored"
    detail = "; ".join(verdict.complaints) or told
    results.add(Played(OPERATION, cell.step, cell.fault, verdict.clean, detail, round(time.monotonic() - began, 1)))
    assert verdict.clean, f"{detail}\nthe restore: {told}\nwhat was staged: {scene.happened}"
