# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every step of a backup by what may happen to it, on a private host.

After each cell, from outside: no guest was held for longer than the deadline and a second, no snapshot is without a
manifest or the reverse, nothing is left of the hold, and the next backup has everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Optional

import pytest

from kvmground.drive import OneProcess, Report, TaskWise
from kvmground.ground import SVM
from kvmground.modules import Outcome
from kvmground.played import Played, Results
from kvmground.scene import HOLDS, Action, Condition, Scene, Stage, at_once, owned_by
from kvmground.stand_in import Manner

TASKS, MODULE = TaskWise.operation, OneProcess.operation

# What requests look like that matter.
SNAPSHOTS = r"/snapshots$"
ONE_SNAPSHOT = r"/snapshots/[^/]+$"
JOBS = r"/cluster/jobs/"
LIFS = r"/network/ip/interfaces"
VOLUMES = r"/storage/volumes$"
START = r"/consistency-groups/[^/]+/snapshots$"
COMMIT = r"/consistency-groups/[^/]+/snapshots/[^/]+$"

Judge = Callable[[Report, Scene], Optional[str]]
Act = Callable[[Scene], Optional[Judge]]


@dataclass(frozen=True)
class Cell:
    """What happens at which step. ``part``: for these operations it stands for others in the short run."""

    step: str
    fault: str
    act: Act
    part: tuple[str, ...] = ()
    operations: tuple[str, ...] = (TASKS, MODULE)


def made(report: Report, scene: Scene) -> Optional[str]:
    """Expect a backup."""
    return None if report.ok else f"there is no backup: {report.msg}"


def not_made(report: Report, scene: Scene) -> Optional[str]:
    """Expect that there is none, with a reason."""
    if report.ok:
        return "it said that there is a backup"
    return None if report.msg.partition(": ")[2] else "it gave no reason"


def made_unless(*, weaker: str, than: str) -> Judge:
    """Expect that, if there is a backup, a guest's recorded level is lower."""

    def judge(report: Report, scene: Scene) -> Optional[str]:
        if report.ok and report.level(weaker) == than:
            return f"{weaker} was recorded as {than}"
        return None

    return judge


def made_with(**levels: str) -> Judge:
    """Expect a backup in which these guests have these levels."""

    def judge(report: Report, scene: Scene) -> Optional[str]:
        if not report.ok:
            return made(report, scene)
        wrong = [f"{guest} is {report.level(guest)}" for guest, level in levels.items() if report.level(guest) != level]
        return "; ".join(wrong) or None

    return judge


# When something happens: each stages what makes it visible and returns its condition.


def _discovering(scene: Scene) -> Condition:
    return scene.requested("GET", LIFS)


def _planning(scene: Scene) -> Condition:
    return scene.requested("GET", SNAPSHOTS)


def _starting(scene: Scene) -> Condition:
    return scene.manifest_is("started")


def _freezing(scene: Scene) -> Condition:
    return scene.agent_heard("r1", "freeze")


def _suspending(scene: Scene) -> Condition:
    # Without it the guests stand still for so short a time that a look may miss it.
    scene.control.set_switches(job_seconds=0.5)
    scene.finally_(scene.control.reset_switches)
    return lambda: "s1" in scene.watch.held_now()


def _asking(scene: Scene) -> Condition:
    return scene.requested("POST", SNAPSHOTS)


def _confirming(scene: Scene) -> Condition:
    scene.control.set_switches(job_seconds=0.5)
    scene.finally_(scene.control.reset_switches)
    return scene.snapshot_exists("kvm_vol1")


def _one_of_several(scene: Scene) -> Condition:
    scene.requested("POST", f"{scene.volume_uuid('kvm_vol2')}{SNAPSHOTS}", seconds=1.5)
    return scene.snapshot_exists("kvm_vol1")


def _thawing(scene: Scene) -> Condition:
    return scene.agent_heard("r1", "thaw")


def _released(scene: Scene) -> Condition:
    # What is left to do then takes so short a time that it may be over before a look.
    _labelling(scene)
    return scene.released("s2")


def _labelling(scene: Scene) -> Condition:
    scene.settings = replace(scene.settings, label="daily")
    return scene.requested("PATCH", ONE_SNAPSHOT)


MOMENTS: dict[str, Callable[[Scene], Condition]] = {
    "discover": _discovering,
    "look for names": _planning,
    "manifest begun": _starting,
    "freeze": _freezing,
    "suspend": _suspending,
    "snapshot asked for": _asking,
    "snapshot made": _confirming,
    "one of several": _one_of_several,
    "thaw": _thawing,
    "released": _released,
    "label": _labelling,
}


# What happens.


def _killed(scene: Scene) -> Action:
    return scene.driver.kill


def _lost(scene: Scene) -> Action:
    return scene.driver.lose


def _lost_and_killed(scene: Scene) -> Action:
    def both() -> None:
        scene.driver.lose()
        scene.driver.kill()

    return both


def _restarted(scene: Scene) -> Action:
    return scene.ground.restart_libvirtd


def _crashed(scene: Scene) -> Action:
    def away() -> None:
        scene.ground.stop_libvirtd(kill=True)
        time.sleep(1)
        scene.ground.start_libvirtd()

    return away


def _array_restarted(scene: Scene) -> Action:
    return lambda: scene.ground.restart_simulator(kill=True)


def _array_clock(seconds: float) -> Callable[[Scene], Action]:
    def jump(scene: Scene) -> Action:
        scene.finally_(scene.control.reset_switches)
        return lambda: scene.control.set_switches(clock_offset=seconds)

    return jump


INCIDENTS: dict[str, tuple[Callable[[Scene], Action], tuple[str, ...]]] = {
    "the module is killed": (_killed, tuple(MOMENTS)),
    "the control node is gone": (_lost, tuple(MOMENTS)),
    "the control node and the module are gone": (
        _lost_and_killed,
        ("freeze", "suspend", "snapshot asked for", "snapshot made", "one of several", "thaw", "released"),
    ),
    "libvirtd is restarted": (_restarted, ("discover", "freeze", "suspend", "snapshot asked for", "thaw")),
    "libvirtd crashes and is away for a second": (_crashed, ("freeze", "suspend", "snapshot made", "thaw")),
    "the array's REST server crashes": (_array_restarted, ("discover", "snapshot asked for", "snapshot made")),
    "the array's clock jumps an hour ahead": (_array_clock(3600), ("suspend", "snapshot asked for")),
    "the array's clock jumps an hour back": (_array_clock(-3600), ("suspend",)),
}
PART = {
    ("freeze", "the module is killed"): (TASKS, MODULE),
    ("one of several", "the module is killed"): (MODULE,),
    ("thaw", "the control node and the module are gone"): (TASKS,),
    ("snapshot asked for", "the control node and the module are gone"): (TASKS, MODULE),
    ("snapshot asked for", "libvirtd is restarted"): (MODULE,),
    ("suspend", "the control node is gone"): (TASKS,),
    ("thaw", "libvirtd crashes and is away for a second"): (MODULE,),
}


def _incidents() -> Iterator[Cell]:
    for fault, (incident, steps) in INCIDENTS.items():
        for step in steps:

            def act(scene: Scene, step: str = step, incident: Callable[[Scene], Action] = incident) -> None:
                scene.when(MOMENTS[step](scene), incident(scene), what="done")

            yield Cell(step, fault, act, PART.get((step, fault), ()))


# What guests' agents do.


def _agent(command: str, judge: Optional[Judge] = None, *, guest: str = "r1", **manner: Any) -> Act:
    def act(scene: Scene) -> Optional[Judge]:
        scene.ground.guests.agent(guest).behave(command, Manner(**manner))
        return judge

    return act


def _vss_expires(scene: Scene) -> Judge:
    agent = scene.ground.guests.agent("w1")
    agent.vss_seconds = 1.0
    scene.finally_(lambda: setattr(agent, "vss_seconds", 10.0))
    scene.fault("delay", "POST", SNAPSHOTS, seconds=2.0)
    return made_unless(weaker="w1", than="application-consistent")


def _hangs_and_nobody_minds(scene: Scene) -> Judge:
    scene.settings = replace(scene.settings, on_failure="continue")
    scene.ground.guests.agent("r1").behave("freeze", Manner(seconds=4.0, late_effect=True, count=1))
    return made_with(r1="crash-consistent", r2="filesystem-consistent")


def _paused_before(scene: Scene) -> Judge:
    guests = scene.ground.guests
    scene.when(lambda: bool(scene.in_hold("r1")), lambda: guests.domain("r1").suspend(), what="paused")
    scene.finally_(lambda: guests.domain("r1").resume())
    return made_with(r1="crash-consistent", r2="filesystem-consistent")


def _paused_while_frozen(scene: Scene) -> Judge:
    guests = scene.ground.guests
    scene.when(_asking(scene), lambda: guests.domain("r1").suspend(), what="paused")
    refused = "it was frozen and is paused"
    scene.when(
        lambda: refused in (scene.in_hold("r1").get("error") or ""),
        lambda: guests.domain("r1").resume(),
        what="resumed",
    )
    return made_with(r1="filesystem-consistent", r2="filesystem-consistent")


def _held_by_two(scene: Scene) -> Judge:
    """A hold in tasks comes while the backup has the guest; it waits until the guest is let go."""
    other: list[Outcome] = []

    def hold() -> None:
        hold_id = f"{scene.backup_id}o"
        other.append(
            scene.ground.module(
                "kvm_vm_quiesce",
                state="quiesced",
                hold_id=hold_id,
                guests=[{"name": "r1", "method": "agent"}],
                freeze_timeout=2,
                concurrency_timeout=40,
            )
        )
        other.append(scene.ground.module("kvm_vm_quiesce", state="resumed", hold_id=hold_id))

    scene.when(_asking(scene), hold, what="held by another")

    def judge(report: Report, scene: Scene) -> Optional[str]:
        failed = [each.msg for each in other if each.failed]
        if failed:
            return f"the other hold failed: {failed[0]}"
        (row,) = other[-1]["guests"]
        if row["consistency"] != "filesystem-consistent":
            return f"in the other hold r1 was {row['consistency']}: {row['reason']}"
        return made_with(r1="filesystem-consistent")(report, scene)

    return judge


def _paused_meanwhile(scene: Scene) -> None:
    guests = scene.ground.guests
    scene.when(_asking(scene), lambda: guests.domain("s1").resume(), what="resumed")


def _stopped_meanwhile(scene: Scene) -> None:
    guests = scene.ground.guests
    scene.when(_asking(scene), lambda: guests.domain("s2").destroy(), what="stopped")
    scene.finally_(lambda: guests.domain("s2").create())


def _started_meanwhile(scene: Scene) -> None:
    guests = scene.ground.guests
    scene.when(_asking(scene), guests.domain("off1").create, what="started")
    scene.finally_(lambda: guests.domain("off1").destroy())


AGENTS = (
    Cell("ping", "an agent is silent", _agent("ping", not_made, silent=True)),
    Cell("ping", "an agent answers too late", _agent("ping", not_made, seconds=2.5, count=1)),
    Cell("freeze", "an agent does it and does not answer", _agent("freeze", silent=True, count=1), part=(TASKS,)),
    Cell("freeze", "an agent never does it nor answers", _agent("freeze", not_made, silent=True, effect=False)),
    Cell(
        "freeze",
        "an agent does it at once and answers too late",
        _agent("freeze", seconds=4.0, count=1),
        part=(MODULE,),
    ),
    Cell("freeze", "an agent does it too late", _agent("freeze", seconds=4.0, late_effect=True, count=1)),
    Cell("freeze", "an agent hangs and the policy is to go on", _hangs_and_nobody_minds, part=(MODULE,)),
    Cell("freeze", "somebody pauses the guest just before", _paused_before, part=(TASKS,)),
    Cell("freeze", "an agent refuses", _agent("freeze", not_made, error="failed to freeze /data")),
    Cell(
        "freeze",
        "an agent says it did and did not",
        _agent("freeze", made_unless(weaker="r1", than="filesystem-consistent"), effect=False),
    ),
    Cell("thaw", "an agent is silent once", _agent("thaw", silent=True, effect=False, count=1)),
    Cell("thaw", "an agent answers late", _agent("thaw", seconds=2.5, count=1)),
    Cell("thaw", "an agent refuses once", _agent("thaw", error="failed to thaw /data", count=1)),
    Cell("thaw", "VSS answers slowly", _agent("thaw", guest="w1", seconds=1.5, count=1)),
    Cell("snapshot", "VSS lets go before the snapshot", _vss_expires, part=(TASKS, MODULE)),
    Cell("snapshot", "a suspended guest is resumed by somebody", _paused_meanwhile),
    Cell("snapshot", "a frozen guest is paused by somebody", _paused_while_frozen),
    Cell("snapshot", "another hold wants a guest", _held_by_two),
    Cell("snapshot", "a suspended guest is stopped", _stopped_meanwhile),
    Cell("snapshot", "a guest that is off is started", _started_meanwhile),
)


# What the array does.


def _array(kind: str, method: str, path: str, judge: Optional[Judge] = None, *, label: str = "", **how: Any) -> Act:
    def act(scene: Scene) -> Optional[Judge]:
        if label:
            scene.settings = replace(scene.settings, label=label)
        scene.fault(kind, method, path, **how)
        return judge

    return act


def _on(volume: str, kind: str, judge: Optional[Judge] = not_made, **how: Any) -> Act:
    def act(scene: Scene) -> Optional[Judge]:
        scene.fault(kind, "POST", f"{scene.volume_uuid(volume)}{SNAPSHOTS}", **how)
        return judge

    return act


def _there_already(comment: str) -> Act:
    def act(scene: Scene) -> Judge:
        scene.control.add_snapshot(SVM, "kvm_vol2", scene.backup_id, comment=comment)
        scene.foreign.add(scene.backup_id)
        return not_made

    return act


def _made_by_another(scene: Scene) -> Judge:
    def another() -> None:
        scene.control.add_snapshot(SVM, "kvm_vol2", scene.backup_id, comment="somebody else's")
        scene.foreign.add(scene.backup_id)

    scene.when(_freezing(scene), another, what="made by another")
    return not_made


def _volume(step: str, judge: Optional[Judge], **values: Any) -> Act:
    def act(scene: Scene) -> Optional[Judge]:
        good = {"state": "online", "full": False}

        def change() -> None:
            scene.control.change_volume(SVM, "kvm_vol2", **values)

        scene.finally_(lambda: scene.control.change_volume(SVM, "kvm_vol2", **{key: good[key] for key in values}))
        scene.when(at_once if step == "plan" else _freezing(scene), change, what="changed")
        return judge

    return act


def _taking_back_fails(scene: Scene) -> Judge:
    scene.fault("job_fail", "POST", f"{scene.volume_uuid('kvm_vol4')}{SNAPSHOTS}")
    scene.fault("job_fail", "DELETE", ONE_SNAPSHOT, count=None)
    return not_made


def _taking_back_drops(scene: Scene) -> Judge:
    scene.fault("job_fail", "POST", f"{scene.volume_uuid('kvm_vol4')}{SNAPSHOTS}")
    scene.fault("drop_after", "DELETE", ONE_SNAPSHOT)
    return not_made


ARRAY = (
    Cell("discover", "503 once", _array("burst", "GET", LIFS, made, status=503, retry_after=1)),
    Cell("discover", "the connection drops", _array("drop_before", "GET", VOLUMES, made)),
    Cell("look for names", "500 every time", _array("status", "GET", SNAPSHOTS, not_made, status=500, count=None)),
    Cell("look for names", "429 once", _array("burst", "GET", SNAPSHOTS, made, status=429, retry_after=1)),
    Cell("snapshot", "429 once", _array("burst", "POST", SNAPSHOTS, made, status=429, retry_after=1), part=(TASKS,)),
    Cell("snapshot", "503 once", _array("burst", "POST", SNAPSHOTS, made, status=503, retry_after=1)),
    Cell("snapshot", "429 every time", _array("burst", "POST", SNAPSHOTS, not_made, status=429, count=None)),
    Cell("snapshot", "503 every time", _array("burst", "POST", SNAPSHOTS, not_made, status=503, count=None)),
    Cell("snapshot", "500 once", _array("status", "POST", SNAPSHOTS, status=500)),
    Cell("snapshot", "500 every time", _array("status", "POST", SNAPSHOTS, not_made, status=500, count=None)),
    Cell(
        "snapshot",
        "the connection drops before the request took effect",
        _array("drop_before", "POST", SNAPSHOTS),
        part=(MODULE,),
    ),
    Cell(
        "snapshot",
        "the connection drops after the request took effect",
        _array("drop_after", "POST", SNAPSHOTS, made),
        part=(TASKS, MODULE),
    ),
    Cell(
        "snapshot",
        "every connection drops after its request",
        _array("drop_after", "POST", SNAPSHOTS, made, count=None),
    ),
    Cell("snapshot", "the connection drops while its job is asked", _array("drop_before", "GET", JOBS, made)),
    Cell("snapshot", "the job fails", _array("job_fail", "POST", SNAPSHOTS, not_made), part=(MODULE,)),
    Cell("snapshot", "the job fails after its work", _array("job_fail", "POST", SNAPSHOTS, effect=True)),
    Cell("snapshot", "the job never ends", _array("job_hang", "POST", SNAPSHOTS)),
    Cell("snapshot", "the job never ends after its work", _array("job_hang", "POST", SNAPSHOTS, effect=True)),
    Cell("snapshot", "the answer comes after the deadline", _array("delay", "POST", SNAPSHOTS, seconds=8.0)),
    Cell("snapshot", "one of several fails", _on("kvm_vol2", "status", status=500, count=None), part=(TASKS, MODULE)),
    Cell("snapshot", "one of several loses its connection", _on("kvm_vol3", "drop_after", made)),
    Cell("snapshot", "one of several has a failing job", _on("kvm_vol4", "job_fail")),
    Cell("snapshot", "one of several is late", _on("kvm_vol4", "delay", None, seconds=2.0)),
    Cell("look for names", "the snapshot exists and is somebody else's", _there_already("somebody else's")),
    Cell("look for names", "the snapshot exists and is ours", _there_already(owned_by("run of yesterday"))),
    Cell("snapshot", "somebody else makes it first", _made_by_another),
    Cell("discover", "a volume is offline", _volume("plan", None, state="offline")),
    Cell("snapshot", "a volume goes offline", _volume("hold", not_made, state="offline"), part=(TASKS,)),
    Cell("snapshot", "a volume is full", _volume("hold", not_made, full=True), part=(MODULE,)),
    Cell("label", "503 once", _array("burst", "PATCH", ONE_SNAPSHOT, made, label="daily", status=503, retry_after=1)),
    Cell(
        "label",
        "500 every time",
        _array("status", "PATCH", ONE_SNAPSHOT, not_made, label="daily", status=500, count=None),
    ),
    Cell(
        "label",
        "the connection drops after the request took effect",
        _array("drop_after", "PATCH", ONE_SNAPSHOT, made, label="daily"),
    ),
    Cell("take back", "a snapshot cannot be deleted", _taking_back_fails),
    Cell("take back", "the connection drops", _taking_back_drops),
)


# What happens between the two phases of a consistency group's snapshot.


def _group(act: Act) -> Act:
    def grouped(scene: Scene) -> Optional[Judge]:
        scene.control.add_group(SVM, "cg1", scene.ground.volume_names)
        scene.settings = replace(scene.settings, consistency_groups="require", hold_deadline=7)
        return act(scene)

    return grouped


def _killed_between_the_phases(scene: Scene) -> None:
    scene.when(scene.requested("PATCH", COMMIT), scene.driver.kill, what="killed")


def _refusing(method: str, path: str, code: str) -> Act:
    return _array("status", method, path, not_made, status=400, code=code, message="refused")


GROUPS = tuple(
    replace(cell, act=_group(cell.act), operations=(MODULE,))
    for cell in (
        Cell("group: start", "it is refused", _refusing("POST", START, "53411918")),
        Cell(
            "group: start",
            "the connection drops before the request took effect",
            _array("drop_before", "POST", START, made),
        ),
        Cell(
            "group: start",
            "the connection drops after the request took effect",
            _array("drop_after", "POST", START, not_made),
        ),
        Cell("group: commit", "it is refused", _refusing("PATCH", COMMIT, "53411921")),
        Cell(
            "group: commit",
            "the connection drops after the request took effect",
            _array("drop_after", "PATCH", COMMIT, made),
        ),
        Cell(
            "group: commit",
            "it reaches the array after the fence",
            _array("delay", "PATCH", COMMIT, not_made, seconds=8.0, count=None),
        ),
        Cell("group: commit", "the module is killed before it", _killed_between_the_phases, part=(MODULE,)),
    )
)


# What the host does.


def _disk_full(where: str, moment: str) -> Act:
    def act(scene: Scene) -> Judge:
        place = scene.ground.catalog if where == "catalog" else HOLDS
        if moment == "before":
            scene.ground.fill(place)
        else:
            scene.when(MOMENTS[moment](scene), lambda: scene.ground.fill(place), what="filled")
        scene.finally_(lambda: scene.ground.free(place))
        return not_made

    return act


HOST = (
    Cell("manifest begun", "the catalog's disk is full", _disk_full("catalog", "before"), part=(MODULE,)),
    Cell("complete", "the catalog's disk is full", _disk_full("catalog", "freeze"), part=(TASKS,)),
    Cell("freeze", "no room for the record of the hold", _disk_full("holds", "before")),
)

CELLS = [*_incidents(), *AGENTS, *ARRAY, *GROUPS, *HOST]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each cell for each operation, or of those that stand for the others."""
    short = metafunc.config.getoption("--representative")
    wanted = [
        pytest.param(operation, cell, id=f"{operation}: {cell.step}: {cell.fault}")
        for operation in (MODULE, TASKS)
        if metafunc.config.getoption("--operation") in (None, operation)
        for cell in CELLS
        if operation in (cell.part if short else cell.operations)
    ]
    metafunc.parametrize(("operation", "cell"), wanted)


def test_cell(stage: Stage, results: Results, operation: str, cell: Cell) -> None:
    """Play one cell; the table has it in any case."""
    began = time.monotonic()
    try:
        report, verdict, scene = stage.play(operation, cell.act)
    except Exception as exc:
        results.add(Played(operation, cell.step, cell.fault, False, repr(exc), round(time.monotonic() - began, 1)))
        stage.purge()
        raise
    outcome = "there is a backup" if report.ok else report.msg
    detail = "; ".join(verdict.complaints) or outcome
    results.add(Played(operation, cell.step, cell.fault, verdict.clean, detail, round(time.monotonic() - began, 1)))
    assert verdict.clean, f"{detail}\nthe backup: {outcome}\nwhat was staged: {scene.happened}"
