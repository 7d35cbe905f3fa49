# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One restore that something happens to, and what the world looks like afterwards, seen from outside.

`APP` has a disk on each of two volumes, `NEAR` lies beside it and runs on. Bytes are read where the array keeps them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

from .drive import OneProcess, Settings
from .ground import SVM, Ground
from .modules import Outcome, Running
from .scene import Condition, Happenings, Stage, Verdict

APP, NEAR = "app", "near"
VOLUMES = ("kvm_vol1", "kvm_vol2")
SAFETY = "-safety_"
SECONDS = 10
WITHIN = 120
_CHANGED_AT = 4096
_WRITTEN_AT = 65536

Bytes = tuple[str, ...]


class RestoreScene(Happenings):
    """What a cell may do to a restore; made anew for each cell by `RestoreStage.play`.

    ``ends`` is what the cell expects where the module lives: ``restored``; ``before``; ``off``, not brought back and
    told; ``half``, somebody runs it in between, told; nothing: restored or as before, whichever was told.
    ``again`` is what a second run is to say when all is well again.
    """

    def __init__(self, stage: RestoreStage, restore_id: str) -> None:
        super().__init__(stage.ground.control)
        self.stage = stage
        self.ground = stage.ground
        self.restore_id = restore_id
        self.backup_id = stage.backup_id
        self.options: dict[str, Any] = {}
        self.power = "running"
        self.ends = ""
        self.again = "restored"
        self.lost = False
        self.running: Optional[Running] = None
        self.known = set(stage.safeties())

    def kill(self) -> None:
        """End the module with SIGKILL."""
        if self.running is not None:
            self.running.end()

    def lose(self) -> None:
        """Let the control node vanish: the module ends alone, and nobody counts on what it said."""
        self.lost = True

    def journal(self) -> dict[str, Any]:
        """Return what the restore wrote down, empty when nothing."""
        path = self.ground.seen(self.ground.catalog) / "restores" / f"{self.restore_id}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return dict(found)

    def progress(self) -> dict[str, Any]:
        """Return what is written down of the guest."""
        return dict(next(iter(self.journal().get("guests", {}).values()), {}))

    def checking(self, volume: str) -> Condition:
        """Return whether the file for the disk on a volume was made and is about to be compared."""
        return self.requested("GET", f"{self.volume_uuid(volume)}/files/%2Ekvmsnap-tmp-")

    def safety_made(self) -> Condition:
        """Return whether a safety snapshot is on the first volume; its job is not at its end then."""
        self.control.set_switches(job_seconds=0.5)
        self.finally_(self.control.reset_switches)
        return lambda: bool(set(self.stage.safeties(VOLUMES[:1])) - self.known)

    def volume_uuid(self, volume: str) -> str:
        """Return a volume's uuid, for paths of requests."""
        return next(str(row["uuid"]) for row in self.control.volumes() if row["name"] == volume)


class RestoreStage:
    """The private host with the guests of the cells; `play` gives one cell and looks at what it left."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.backup_id = ""
        self._count = 0
        self._backups = 0
        self._saved: Bytes = ()

    def furnish(self) -> None:
        """Start the guests; one writes a log where a cell may take its directory away."""
        for name in (APP, NEAR):
            self.ground.guests.add_still(name, *VOLUMES)
        guests = self.ground.guests
        self.log.parent.mkdir()
        log = f"<serial type='file'><source path='{self.log}'/></serial></devices>"
        guests.domain(APP).destroy()
        guests.connection.defineXML(guests.domain(APP).XMLDesc(2).replace("</devices>", log))

    @property
    def log(self) -> Path:
        """The guest's serial log; without its directory the guest does not start."""
        return self.ground.host / "serial" / "app.log"

    def play(self, act: Callable[[RestoreScene], None], *, undo: bool) -> tuple[Outcome, Verdict, RestoreScene]:
        """Restore while ``act`` stages what happens; look, run it again, look again, and undo it when asked."""
        self._prepare()
        self._count += 1
        scene = RestoreScene(self, f"cell_{self._count:03d}")
        verdict = Verdict()
        near = self.hashes(NEAR)
        try:
            act(scene)
            self._bring(scene.power)
            before = self.hashes(APP)
            outcome = self._run(scene)
        finally:
            scene.end()
        for complaint in scene.missed:
            verdict.add(complaint)
        self._judge(scene, outcome, before, verdict)
        self._told_safety(scene, outcome, verdict)
        self._again(scene, outcome, before, verdict)
        if undo:
            self._undo(scene, before, verdict)
        if self.hashes(NEAR) != near or self.ground.guests.state(NEAR).state != "running":
            verdict.add("the neighbour is not as it was")
        for complaint in self._traces():
            verdict.add(complaint)
        return outcome, verdict, scene

    def restore(self, scene: RestoreScene, **more: Any) -> Running:
        """Start the module."""
        usual = {"guests": [APP], "backup_id": scene.backup_id, "restore_id": scene.restore_id, "stop": "destroy"}
        controllers = self.ground.controllers(timeout=5)
        times = {"timeout": SECONDS, "start_timeout": 5, "retry_count": 2}
        return self.ground.begin("kvm_app_restore", controllers=controllers, **{**usual, **times, **more})

    def hashes(self, guest: str, snapshot: Optional[str] = None) -> Bytes:
        """Return what the array has of a guest's disks; one without a name is empty."""
        images = (self.ground.guests.image(guest, volume, snapshot=snapshot) for volume in VOLUMES)
        return tuple(hashlib.sha256(image.read_bytes()).hexdigest() if image.exists() else "" for image in images)

    def write(self, what: str, *, at: int) -> None:
        """Change bytes of both disks."""
        for volume in VOLUMES:
            with self.ground.guests.image(APP, volume).open("r+b") as image:
                image.seek(at)
                image.write(f"{what} on {volume}".encode())

    def safeties(self, volumes: tuple[str, ...] = VOLUMES) -> list[str]:
        """Return the names of the safety snapshots on these volumes."""
        found = self.ground.snapshots()
        return sorted({name for each in volumes for name in found.get(f"{SVM}:{each}", []) if SAFETY in name})

    def _prepare(self) -> None:
        """Have a whole backup and a guest that has other bytes than it."""
        if any(self.backup_id not in self.ground.snapshots().get(f"{SVM}:{each}", []) for each in VOLUMES):
            self._backups += 1
            self.backup_id = f"backup_{self._backups:03d}"
            report = OneProcess(self.ground, self.backup_id, Settings(guests=(APP, NEAR))).run()
            assert report.ok, report.msg
            self._saved = self.hashes(APP, self.backup_id)
        self._bring("shutoff")
        self.write(f"changed before cell {self._count}", at=_CHANGED_AT)

    def _bring(self, power: str) -> None:
        domain = self.ground.guests.domain(APP)
        if domain.isActive():
            domain.destroy()
        if power != "shutoff":
            domain.createWithFlags(1 if power == "paused" else 0)

    def _run(self, scene: RestoreScene) -> Outcome:
        scene.running = self.restore(scene, **scene.options)
        return scene.running.wait(WITHIN)

    def _held(self, before: Bytes) -> str:
        """Return which bytes the guest's disks hold."""
        return {before: "before", self._saved: "restored"}.get(self.hashes(APP), "mixed")

    def _judge(self, scene: RestoreScene, outcome: Outcome, before: Bytes, verdict: Verdict) -> None:
        held, power = self._held(before), self.ground.guests.state(APP).state
        where = f"its disks are {held}, it is {power}"
        if outcome.rc < 0:
            verdict.add(f"killed: {where}" if held == "mixed" and power != "shutoff" else None)
            return
        whole = held != "mixed" and power == scene.power
        if scene.lost:
            verdict.add(None if whole else f"the control node is gone: {where}")
            return
        if scene.ends in ("restored", "before") and (held != scene.ends or not whole):
            verdict.add(f"expected as {scene.ends}: {where}")
        if not outcome.failed:
            verdict.add(None if whole and held == "restored" else f"it said restored: {where}")
            return
        verdict.add("expected to fail" if scene.ends == "restored" else None)
        rows = outcome.result.get("guests") or []
        if rows and (rows[0]["restored"] or rows[0]["state_after"] != power):
            verdict.add(f"it said restored {rows[0]['restored']}, {rows[0]['state_after']}: {where}")
        if not rows and not outcome.result.get("msg"):
            verdict.add("it gave no reason")
        if scene.ends in ("off", "half") and rows:
            verdict.add(f"it should be off: {where}" if scene.ends == "off" and power != "shutoff" else None)
        elif not whole or held != "before":
            verdict.add(f"it failed: {where}")

    def _told_safety(self, scene: RestoreScene, outcome: Outcome, verdict: Verdict) -> None:
        """Whatever snapshot was told is there; where the module lives, no other is."""
        new = set(self.safeties()) - scene.known
        noted = {str(each["name"]) for each in scene.journal().get("safeties", []) if each["guests"]}
        rows = outcome.result.get("guests", [])
        told = {str(row["safety"]) for row in rows if row["safety"]}
        for name in (noted | told) - new:
            verdict.add(f"the safety snapshot {name} is told and not there")

    def _again(self, scene: RestoreScene, outcome: Outcome, before: Bytes, verdict: Verdict) -> None:
        """A second run of the same name ends restored, or changes nothing when the first had."""
        done = bool(scene.progress().get("done"))
        if done:
            self.write(f"written since cell {self._count}", at=_WRITTEN_AT)
        now = self.hashes(APP)
        following = self.restore(scene).wait(WITHIN)
        if scene.again == "refused":
            verdict.add(None if following.failed and self.hashes(APP) == now else "the second run was not refused")
            return
        verdict.add(f"the second run failed: {following.msg}" if following.failed else None)
        if done:
            same = not following.result.get("changed") and self.hashes(APP) == now
            verdict.add(None if same else "the second run changed a guest that was brought back")
            return
        power = self.ground.guests.state(APP).state
        if self._held(before) != "restored" or power != scene.power:
            verdict.add(f"after the second run its disks are {self._held(before)}, it is {power}")
        verdict.add(None if scene.progress().get("done") else "the journal does not say that it is done")

    def _undo(self, scene: RestoreScene, before: Bytes, verdict: Verdict) -> None:
        undone = self.restore(scene, state="undone").wait(WITHIN)
        verdict.add(f"the undo failed: {undone.msg}" if undone.failed else None)
        verdict.add(None if self.hashes(APP) == before else "the undo did not bring the bytes of before")

    def _traces(self) -> Iterator[str]:
        yield from Stage(self.ground).traces()
        images = {f"{guest}.img" for guest in (APP, NEAR)}
        for volume in VOLUMES:
            for path in self.ground.seen(self.ground.volume(volume)).iterdir():
                if path.name not in images | {".snapshot", ".kvmsnap"}:
                    yield f"{path.name} is left on {volume}"
