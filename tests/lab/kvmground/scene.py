# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup that something happens to, and what the world looks like afterwards, seen from outside.

What is to happen waits for something that can be seen from outside too: a request that reached the array, a command
that reached an agent, a guest that stands still, a file that is there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from ontapsim.control import ControlClient

from .drive import OWNER, Driver, OneProcess, Report, Settings, TaskWise
from .ground import SVM, Ground
from .modules import IMPORTED, Outcome
from .stand_in import Manner
from .watch import Watch

Action = Callable[[], object]
Condition = Callable[[], bool]

HOLDS = Path("/run/kvmsnap")
TRIGGER_SECONDS = 150.0
GRACE = 1.0
PATIENCE = 30
_LOOK = 0.004

LEVELS = {
    "r1": "filesystem-consistent",
    "r2": "filesystem-consistent",
    "w1": "application-consistent",
    "s1": "crash-consistent",
    "s2": "crash-consistent",
    "off1": "crash-consistent",
}
"""The guests of a scene, and what a backup has of them when nothing happens."""


@dataclass
class Verdict:
    """What is wrong after a cell, in sentences; nothing, when it is clean."""

    complaints: list[str] = field(default_factory=list)

    def add(self, complaint: Optional[str]) -> None:
        """Add a sentence, if there is one."""
        if complaint:
            self.complaints.append(complaint)

    @property
    def clean(self) -> bool:
        return not self.complaints


class Happenings:
    """What is to happen while a backup is made, and how it is undone."""

    def __init__(self, control: ControlClient) -> None:
        self.control = control
        self.happened: list[str] = []
        self.missed: list[str] = []
        self._threads: list[threading.Thread] = []
        self._undo: list[Action] = []
        self._awaited: set[int] = set()
        self._over = threading.Event()

    def when(self, condition: Condition, action: Action, what: str = "") -> None:
        """Do something as soon as the condition holds."""

        def wait() -> None:
            deadline = time.monotonic() + TRIGGER_SECONDS
            while not condition():
                if self._over.is_set() or time.monotonic() > deadline:
                    return
                time.sleep(_LOOK)
            action()
            self.happened.append(what or getattr(action, "__name__", "it"))

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        self._threads.append(thread)

    def finally_(self, action: Action) -> None:
        """Undo something after the backup has ended, in reverse order."""
        self._undo.append(action)

    def requested(self, method: str, path: str, *, seconds: float = 1.0, after: int = 0) -> Condition:
        """Return whether a request has reached the array, which keeps it waiting for ``seconds`` before it acts.

        What happens earlier may keep the request from being sent at all; one that waits for it misses its moment then.
        """
        match = {"method": method, "path": path, "after": after, "count": 1}
        number = self.control.add_fault("delay", match=match, seconds=seconds)
        self._awaited.add(number)
        return lambda: self._hits(number) > 0

    def looking(self, number: int, *, seconds: float = 3.0) -> Condition:
        """Return whether a restore is about to look at a disk for the ``number``-th time since its safety snapshot.

        It looks before it moves a file aside, and before it overwrites a disk or gives a file its name; the array keeps
        it waiting for ``seconds``.
        """
        secured = self.requested("POST", r"/snapshots$")
        staged: list[int] = []

        def looks() -> bool:
            if not staged and secured():
                match = {"method": "GET", "path": r"/storage/volumes$", "after": number - 1, "count": 1}
                staged.append(self.control.add_fault("delay", match=match, seconds=seconds))
                self._awaited.update(staged)
            return bool(staged) and self._hits(staged[0]) > 0

        return looks

    def fault(self, kind: str, method: str, path: str, *, count: Optional[int] = 1, after: int = 0, **how: Any) -> None:
        """Set a fault of the array."""
        match = {"method": method, "path": path, "count": count, "after": after}
        self.control.add_fault(kind, match=match, **how)

    def end(self) -> None:
        """Let nothing more happen, and undo what was staged; `missed` says what never came to pass."""
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=TRIGGER_SECONDS)
        if len(self.happened) < len(self._threads):
            self.missed.append("the moment for it never came")
        self.missed += [
            f"no request met the fault {fault['action']}"
            for fault in self.control.faults()
            if not fault["hits"] and fault["id"] not in self._awaited
        ]
        self.control.clear_faults()
        for action in reversed(self._undo):
            action()

    def _hits(self, number: int) -> int:
        return next((int(fault["hits"]) for fault in self.control.faults() if fault["id"] == number), 0)


class Scene(Happenings):
    """What a cell may do to a backup on the private host; made anew for each cell by `Stage.play`."""

    def __init__(self, stage: Stage, operation: str, backup_id: str) -> None:
        super().__init__(stage.ground.control)
        self.stage = stage
        self.ground = stage.ground
        self.operation = operation
        self.backup_id = backup_id
        self.settings = stage.settings
        self.foreign = stage.foreign
        self._driver: Optional[Driver] = None

    @property
    def driver(self) -> Driver:
        """The backup under way; made when it is first asked for."""
        if self._driver is None:
            self._driver = self.stage.driver(self.operation, self.backup_id, self.settings)
        return self._driver

    @property
    def watch(self) -> Watch:
        """Who is held."""
        assert self.stage.watch is not None
        return self.stage.watch

    def agent_heard(self, guest: str, command: str, *, seconds: float = 0.8) -> Condition:
        """Return whether an agent got a command; it does it and takes ``seconds`` to answer."""
        agent = self.ground.guests.agent(guest)
        agent.behave(command, Manner(seconds=seconds, count=1))
        now = time.monotonic()
        return lambda: agent.heard_since(command, now)

    def snapshot_exists(self, volume: str) -> Condition:
        """Return whether the snapshot of this backup is on a volume."""
        return lambda: self.backup_id in self.ground.snapshots().get(f"{SVM}:{volume}", [])

    def manifest_is(self, phase: str) -> Condition:
        """Return whether the manifest of this backup is in a phase."""
        path = self.ground.seen(self.ground.catalog) / "backups" / self.backup_id / "manifest.json"
        return lambda: _phase(path) == phase

    def in_hold(self, guest: str) -> dict[str, Any]:
        """Return what the record of this backup's hold says of a guest; nothing, where it says nothing."""
        path = self.ground.seen(HOLDS) / "holds" / f"{self.backup_id}.json"
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["guests"]
        except (OSError, ValueError, KeyError):
            return {}
        return next((row for row in rows if row["name"] == guest), {})

    def step_is(self, step: str) -> Condition:
        """Return whether the role is at a step (one that only one of the operations may have)."""
        return lambda: self.driver.step == step

    def released(self, guest: str) -> Condition:
        """Return whether a guest was held and is not any more."""
        return lambda: any(each.guest == guest and each.until is not None for each in self.watch.stretches)

    def volume_uuid(self, volume: str) -> str:
        """Return a volume's uuid, for paths of requests."""
        return next(str(row["uuid"]) for row in self.control.volumes() if row["name"] == volume)

    def end(self) -> None:
        """Let nothing more happen, and undo what was staged; the agents are good ones again."""
        super().end()
        for guest in self.ground.guests.stand_ins():
            self.ground.guests.agent(guest).forgive()


class Stage:
    """The private host with the guests of the cells; `play` gives one cell and looks at what it left."""

    def __init__(self, ground: Ground, settings: Optional[Settings] = None) -> None:
        self.ground = ground
        self.settings = settings or Settings(freeze_timeout=2)
        self.watch: Optional[Watch] = None
        self.foreign: set[str] = set()
        self._count = 0

    def furnish(self) -> None:
        """Start the guests."""
        guests = self.ground.guests
        guests.in_parallel(
            [
                lambda: guests.add_relayed("r1", "kvm_vol1"),
                lambda: guests.add_relayed("r2", "kvm_vol1", "kvm_vol2"),
                lambda: guests.add_relayed("w1", "kvm_vol3", os="windows"),
                lambda: guests.add_still("s1", "kvm_vol2"),
                lambda: guests.add_still("s2", "kvm_vol4"),
            ]
        )
        guests.add_still("off1", "kvm_vol4", running=False)

    def driver(self, operation: str, backup_id: str, settings: Optional[Settings] = None) -> Driver:
        """Return a backup that can be run."""
        kind = TaskWise if operation == TaskWise.operation else OneProcess
        return kind(self.ground, backup_id, settings or self.settings)

    def play(self, operation: str, act: Callable[[Scene], Any]) -> tuple[Report, Verdict, Scene]:
        """Make a backup while ``act`` stages what happens to it; then look, make the next one, and recover.

        ``act`` may return a function of the report and the scene that says what is wrong with the outcome.
        """
        self._count += 1
        scene = Scene(self, operation, f"cell-{operation}_{self._count:03d}")
        verdict = Verdict()
        with self._watching():
            try:
                judge = act(scene)
                report = scene.driver.run()
                self._look_at_holds(scene, verdict)
            finally:
                scene.end()
            for complaint in scene.missed:
                verdict.add(complaint)
            if judge is not None:
                verdict.add(judge(report, scene))
            for complaint in self._untold(scene):
                verdict.add(f"before the next backup {complaint}")
            try:
                self._recover(scene, report, verdict)
            finally:
                if scene.settings.consistency_groups != "never":
                    self.ground.control.remove_groups()
        for complaint in self._contradictions(scene):
            verdict.add(complaint)
        if not verdict.clean:
            self.purge()
        return report, verdict, scene

    def purge(self) -> None:
        """Put right by hand what a cell left."""
        for pid in self._of_ours():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        for guest in self.ground.guests.stand_ins():
            self.ground.guests.agent(guest).recover()
        for guest in LEVELS:
            if self.ground.guests.state(guest).state == "paused":
                self.ground.guests.domain(guest).resume()
        self.ground.run(["find", HOLDS, "-mindepth", "1", "-delete"])
        for volume in self.ground.volume_names:
            for path in self.ground.seen(self.ground.volume(volume) / ".kvmsnap").glob("*.json"):
                path.unlink()
        whole = set()
        for path in (self.ground.seen(self.ground.catalog) / "backups").glob("*"):
            if _phase(path / "manifest.json") == "complete":
                whole.add(path.name)
            else:
                shutil.rmtree(path)
        snapshots = self.ground.snapshots()
        for name in sorted({name for names in snapshots.values() for name in names} - whole):
            there = [volume for volume, names in snapshots.items() if name in names]
            volumes = [dict(zip(("svm", "volume"), volume.split(":"))) for volume in there]
            self.ground.module("ontap_snapshot", state="absent", name=name, volumes=volumes, allow_foreign=True)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        with Watch(self.ground, list(LEVELS)) as watch:
            self.watch = watch
            yield
        self.watch = None

    def _look_at_holds(self, scene: Scene, verdict: Verdict) -> None:
        assert self.watch is not None
        limit = scene.settings.hold_deadline + GRACE
        for guest in self.watch.until_released(seconds=limit + GRACE):
            verdict.add(f"{guest} is held still")
        for each in self.watch.stretches:
            if each.seconds > limit:
                verdict.add(f"{each.guest} was held for {each.seconds:.1f} s")
        for pid in self._of_ours(within=limit + GRACE):
            verdict.add(f"a process has outlived the deadline: {_command_line(pid)[:120]}")

    def _recover(self, scene: Scene, report: Report, verdict: Verdict) -> None:
        """The next backup must succeed as things are; then the recovery must find all that is to be put right."""
        patient = replace(
            self.settings,
            hold_deadline=PATIENCE,
            vss_hold_deadline=PATIENCE,
            consistency_groups=scene.settings.consistency_groups,
        )
        following = self.driver(scene.operation, f"{scene.backup_id}n", patient).run()
        verdict.add(None if following.ok else f"the next backup failed at {following.msg}")
        if following.ok:
            for name, level in LEVELS.items():
                if following.level(name) != level:
                    verdict.add(f"in the next backup {name} is {following.level(name)}: {following.reason(name)}")
        for expected in (None, False):
            put_right = self._put_right(following)
            verdict.add(f"recovery failed: {put_right.msg}" if put_right.failed else None)
            if expected is not None and not put_right.failed and put_right["changed"] is not expected:
                verdict.add(f"a second recovery found {put_right['summary']}")

    def _put_right(self, following: Report) -> Outcome:
        """Run what recover.yml runs, for runs that are known to have ended."""
        volumes = following.results["discover"].result.get("volumes", [])
        return self.ground.module("kvm_leftovers", owner=OWNER, volumes=volumes, grace_period=0, orphans="absent")

    def _untold(self, scene: Scene) -> Iterator[str]:
        """Yield the snapshots of this backup that no manifest tells of, begun or complete, and locks."""
        known = self._manifests().get(scene.backup_id)
        for volume, names in self.ground.snapshots().items():
            told = known is not None and volume in _volumes(known)
            if scene.backup_id in set(names) - scene.foreign and not told:
                yield f"snapshot {scene.backup_id} of {volume} has no manifest"
        yield from self._locks()

    def _manifests(self) -> dict[str, dict[str, Any]]:
        """Return the manifests of the catalog, by backup."""
        paths = (self.ground.seen(self.ground.catalog) / "backups").glob("*/manifest.json")
        found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        return {manifest["backup_id"]: manifest for manifest in found}

    def _contradictions(self, scene: Scene) -> Iterator[str]:
        """Yield what does not belong together: snapshots, manifests, records of holds, locks, processes."""
        snapshots = self.ground.snapshots()
        manifests = self._manifests()
        known = {name: _volumes(manifest) for name, manifest in manifests.items()}
        for name, manifest in manifests.items():
            if manifest["phase"] != "complete":
                yield f"the manifest of {name} is {manifest['phase']}"
        for volume, names in snapshots.items():
            for name in set(names) - scene.foreign:
                if volume not in known.get(name, set()):
                    yield f"snapshot {name} of {volume} has no manifest"
        for name, volumes in known.items():
            for volume in volumes:
                if name not in snapshots.get(volume, []):
                    yield f"the manifest of {name} names a snapshot of {volume} that is not there"
        yield from self.traces()

    def traces(self) -> Iterator[str]:
        """Yield what is left of a run: records, held locks, processes, files in the volumes."""
        holds = self.ground.seen(HOLDS)
        for path in (*holds.rglob("*.json"), *holds.rglob("*.timer")):
            yield f"{path.name} of a hold is left"
        yield from self._locks()
        for pid in self._of_ours():
            yield f"a process is left: {_command_line(pid)[:120]}"
        for volume in self.ground.volume_names:
            for path in self.ground.seen(self.ground.volume(volume) / ".kvmsnap").glob("*.json"):
                yield f"{path.name} is left on {volume}"

    def _locks(self) -> Iterator[str]:
        """Yield the locks that somebody has."""
        for place in (HOLDS, self.ground.catalog):
            for path in self.ground.seen(place).rglob("*.lock"):
                if _locked(path):
                    yield f"the lock {path.name} is held"

    def _of_ours(self, *, within: float = GRACE) -> list[int]:
        """Return the processes of the collection, modules and timers, that do not end within so many seconds.

        Whoever is killed after the thaw leaves a timer that looks once more, at the deadline.
        """
        deadline = time.monotonic() + within
        while True:
            words = (IMPORTED, "kvmsnap-deadman")
            found = [pid for pid in self.ground.processes() if any(word in _command_line(pid) for word in words)]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


def held_on_record(ground: Ground) -> list[str]:
    """Return the guests that a hold has not let go of, by its record."""
    records = [path.read_bytes() for path in ground.seen(HOLDS).rglob("*.json")]
    rows: list[dict[str, Any]] = [row for record in records for row in json.loads(record)["guests"]]
    return [row["name"] for row in rows if row["phase"] in ("holding", "held")]


def at_once() -> bool:
    """The condition that holds."""
    return True


def owned_by(name: str) -> str:
    """Return the comment of a snapshot that this owner's other backup would have made."""
    return f"kvmsnap/{OWNER}: {name}"


def _volumes(manifest: Mapping[str, Any]) -> set[str]:
    """Return the volumes that a manifest names."""
    return {f"{row['svm']}:{row['volume']}" for row in manifest["volumes"]}


def _phase(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["phase"])
    except (OSError, ValueError, KeyError):
        return ""


def _locked(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
