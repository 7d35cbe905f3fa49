# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest that operations are let loose on, and what must be whole afterwards, seen from outside.

`APP` has a disk on each of two volumes. Its disks hold one of the states that it was in as a whole, it runs as it did,
and nothing is left: no lock, record, temporary file, copy, process, and no snapshot that nobody knows of.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .drive import OWNER, Driver, OneProcess, Settings, TaskWise
from .ground import Ground
from .modules import Outcome
from .scene import HOLDS, Stage

APP = "app"
VOLUMES = ("kvm_vol1", "kvm_vol2")
BASE = "hv0-base_20261121020000"
WITHIN = 180
REMOVAL_SECONDS = 60
_WRITTEN_AT = 4096

ABSENT = "absent"

Bytes = tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What an operation said: whether it did what it was asked for, else why not."""

    operation: str
    ok: bool
    said: str = ""

    def __str__(self) -> str:
        return f"{self.operation}: {'done' if self.ok else self.said}"


def done(operation: str, outcome: Outcome) -> Done:
    """Return what a module said."""
    return Done(operation, not outcome.failed, "" if not outcome.failed else outcome.msg)


class Whole:
    """The private host with the guest; `prepare` begins a round, `complaints` ends it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.saved: Bytes = ()
        self.allowed: dict[Bytes, str] = {}
        self.round = 0
        self.undone = ""
        self._volumes: list[dict[str, Any]] = []

    def furnish(self) -> None:
        """Start the guest, and make the backup that restores, undos and copies begin with."""
        self.ground.guests.add_still(APP, *VOLUMES)
        report = OneProcess(self.ground, BASE, self.settings).run()
        assert report.ok, report.msg
        self.saved = self.hashes(BASE)
        self._volumes = list(report.results["discover"].result["volumes"])

    @property
    def settings(self) -> Settings:
        """How backups are made: with time enough on a busy machine, and no waiting for the others."""
        return Settings(hold_deadline=20, vss_hold_deadline=20, guests=(APP,))

    def prepare(self, number: int, *, undo: bool) -> None:
        """Have the guest running with bytes of this round; with ``undo`` there is a restore that can be undone."""
        self.round = number
        self.undone = f"round_{number:03d}_before"
        self._write(f"round {number}")
        self.allowed = {self.hashes(): "as before", self.saved: "as in the backup"}
        if undo:
            outcome = self.restore(self.undone)
            assert outcome.ok, outcome.said

    def backup_module(self, name: str) -> Done:
        """Make a backup in one process."""
        return self._backup("backup module", OneProcess(self.ground, name, self.settings))

    def backup_tasks(self, name: str) -> Done:
        """Make a backup in the role's tasks."""
        return self._backup("backup tasks", TaskWise(self.ground, name, self.settings))

    def restore(self, restore_id: str) -> Done:
        """Restore the guest from the backup of the beginning."""
        return done("restore", self.ground.module("kvm_app_restore", within=WITHIN, **self.restoring(restore_id)))

    def restoring(self, restore_id: str) -> dict[str, Any]:
        """Return the options of a restore."""
        return {"guests": [APP], "backup_id": BASE, "restore_id": restore_id, "stop": "destroy", "start_timeout": 20}

    def undo(self) -> Done:
        """Undo the restore of the beginning of the round."""
        options: dict[str, Any] = {"restore_id": self.undone, "undo": True, "stop": "destroy", "start_timeout": 20}
        return done("undo", self.ground.module("kvm_app_restore", within=WITHIN, guests=[], **options))

    def clone(self, name: str) -> Done:
        """Make a copy of the guest and take it away again, which has to succeed when nobody works on copies."""
        copy: dict[str, Any] = {"name": name, "owner": OWNER}
        made = done("clone", self.ground.module("kvm_vm_clone", within=WITHIN, guest=APP, backup_id=BASE, **copy))
        deadline = time.monotonic() + REMOVAL_SECONDS
        while True:
            gone = self.ground.module("kvm_vm_clone", within=WITHIN, state="absent", guest=None, **copy)
            if not gone.failed:
                return made
            if time.monotonic() > deadline:
                return Done("clone", False, f"the copy cannot be removed: {gone.msg}")
            time.sleep(0.2)

    def recover(self, *, settle: int = 3600) -> Done:
        """Run the recovery; with ``settle`` 0 as one who knows that no run is alive."""
        return done("recover", self._recovered(settle))

    def hashes(self, snapshot: str | None = None) -> Bytes:
        """Return what the array has of the guest's disks; a name that a restore moved aside is `ABSENT`."""
        return tuple(_hash(self.ground.guests.image(APP, volume, snapshot=snapshot)) for volume in VOLUMES)

    def state(self) -> str:
        """Return libvirt's word on the guest."""
        return str(self.ground.guests.state(APP).state)

    def held(self) -> str:
        """Say which state of before the guest's disks hold."""
        found = self.hashes()
        for whole, name in self.allowed.items():
            if found == whole:
                return name
        parts = [
            next((name for whole, name in self.allowed.items() if whole[at] == each), "unknown")
            for at, each in enumerate(found)
        ]
        return f"mixed ({', '.join(parts)})"

    def complaints(self) -> Iterator[str]:
        """Yield what is not whole, before and after the recovery that nothing may need, but may do."""
        if self.state() != "running":
            yield f"the guest is {self.state()}"
        if self.held() not in self.allowed.values():
            yield f"the guest's disks are {self.held()}"
        yield from self._locks()
        yield from self.complaints_after_recovery()

    def complaints_after_recovery(self) -> Iterator[str]:
        """Yield what is left after the recovery."""
        for expected in (None, False):
            outcome = self._recovered(0)
            if outcome.failed:
                yield f"the recovery failed: {outcome.msg}"
            elif expected is not None and outcome["changed"]:
                yield f"a second recovery found {outcome['summary']}"
        yield from Stage(self.ground).traces()
        yield from self._locks()
        yield from self._copies()
        yield from self._files()
        yield from self._unknown_snapshots()

    def _recovered(self, settle: int) -> Outcome:
        options: dict[str, Any] = {"owner": OWNER, "volumes": self._volumes, "settle": settle, "orphans": "absent"}
        return self.ground.module("kvm_leftovers", within=WITHIN, **options)

    def _backup(self, operation: str, driver: Driver) -> Done:
        report = driver.run()
        return Done(operation, report.ok, report.msg)

    def _write(self, what: str) -> None:
        domain = self.ground.guests.domain(APP)
        if domain.isActive():
            domain.destroy()
        for volume in VOLUMES:
            with self.ground.guests.image(APP, volume).open("r+b") as image:
                image.seek(_WRITTEN_AT)
                image.write(f"{what} on {volume}".encode())
        domain.create()

    def _locks(self) -> Iterator[str]:
        for path in (self.ground.seen(HOLDS) / "guests").glob("*"):
            yield f"the lock {path.name} of a guest is left"
        for path in (self.ground.seen(self.ground.catalog) / "leases").glob("*"):
            yield f"{path.name} of a lease is left"

    def _copies(self) -> Iterator[str]:
        for domain in self.ground.guests.connection.listAllDomains(0):
            if domain.name() != APP:
                yield f"guest {domain.name()} is left"
        for path in self._records("clones"):
            yield f"the record {path.name} of a copy is left"

    def _files(self) -> Iterator[str]:
        known = {f"{APP}.img", ".snapshot", ".kvmsnap"}
        for volume in VOLUMES:
            for path in self.ground.seen(self.ground.volume(volume)).iterdir():
                if path.name not in known:
                    yield f"{path.name} is left on {volume}"

    def _unknown_snapshots(self) -> Iterator[str]:
        manifests = (self.ground.seen(self.ground.catalog) / "backups").glob("*/manifest.json")
        backups = [json.loads(path.read_text(encoding="utf-8")) for path in manifests]
        known = {backup["backup_id"] for backup in backups if backup["phase"] == "complete"}
        for path in self._records("restores"):
            known |= {each["name"] for each in json.loads(path.read_text(encoding="utf-8"))["safeties"]}
        for volume, names in self.ground.snapshots().items():
            for name in sorted(set(names) - known):
                yield f"snapshot {name} of {volume} is known to nobody"
        for backup in backups:
            if backup["phase"] != "complete":
                yield f"the manifest of {backup['backup_id']} is {backup['phase']}"

    def _records(self, place: str) -> Sequence[Path]:
        return sorted((self.ground.seen(self.ground.catalog) / place).glob("*.json"))


def _hash(image: Path) -> str:
    try:
        return hashlib.sha256(image.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ABSENT


Operation = Callable[[Whole, str], Done]

OPERATIONS: dict[str, Operation] = {
    "backup module": Whole.backup_module,
    "backup tasks": Whole.backup_tasks,
    "restore": Whole.restore,
    "undo": lambda whole, _name: whole.undo(),
    "clone": Whole.clone,
    "recover": lambda whole, _name: whole.recover(),
}
