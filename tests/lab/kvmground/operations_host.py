# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest that operations are let loose on, and what must be whole afterwards, seen from outside.

`APP` has a disk on each of two volumes. Its disks hold one of the states that it was in as a whole, it runs as it did,
on the files that have the names of its disks, and nothing is left: no lock, record, temporary file, copy, process, and
no snapshot that nobody knows of.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
AS_BEFORE, AS_SAVED = "as before", "as in the backup"
BROUGHT = {"restore": AS_SAVED, "undo": AS_BEFORE}
"""What the operations that overwrite the guest's disks bring."""
REFUSED = re.compile(
    r"is locked by|is held by (?:another )?hold|Another restore is under way|Another copy is being made"
    r"|is already in the catalog"
    r"|another run of this backup_id has taken it back|a snapshot of this name is there already"
    r"|is complete: without its manifest"
    r"|failed part-way through its disks|nothing to back up: app \((?:image-missing|guest-locked|guest-half-restored)\)"
)
"""How an operation says that another one is at work, which is the only reason it may have to do nothing.

A disk whose name a restore has moved aside, when the guests are discovered, is a file that is missing. A second run in
tasks that would take its backup back, and meets what the first one has completed, leaves that.
"""

Bytes = tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What an operation said: whether it did what it was asked for, else why not."""

    operation: str
    ok: bool
    said: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.operation}: {'done' if self.ok else self.said}"


def done(operation: str, outcome: Outcome) -> Done:
    """Return what a module said."""
    return Done(operation, not outcome.failed, "" if not outcome.failed else outcome.msg)


def held_after(before: str, said: Sequence[Done]) -> str:
    """Return what the guest's disks have to hold after operations that ended in this order; pure.

    The last one that overwrote them decides; one that failed has changed nothing.
    """
    brought = [BROUGHT[each.operation] for each in said if each.ok and each.operation in BROUGHT]
    return brought[-1] if brought else before


def unexpected(said: Sequence[Done]) -> Iterator[str]:
    """Yield the failures that no other operation on the guest explains, and that of all; pure."""
    for each in said:
        if not each.ok and not REFUSED.search(each.said):
            yield f"{each.operation} failed for another reason than the other operation"
    if not any(each.ok for each in said):
        yield "none was done"


class OperationsHost:
    """The private host with the guest; `prepare` begins a round, `complaints` ends it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.saved: Bytes = ()
        self.allowed: dict[Bytes, str] = {}
        self.round = 0
        self.undone = ""
        self.seconds: dict[str, float] = {}
        """How long each operation took when it was last done."""
        self._definition = ""
        self._volumes: list[dict[str, Any]] = []

    def furnish(self) -> None:
        """Start the guest, and make the backup that restores, undos and copies begin with."""
        self.ground.guests.add_still(APP, *VOLUMES)
        report = OneProcess(self.ground, BASE, self.settings).run()
        assert report.ok, report.msg
        self.seconds["backup module"] = report.seconds
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
        self.allowed = {self.hashes(): AS_BEFORE, self.saved: AS_SAVED}
        self._definition = self._defined()
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
        options: dict[str, Any] = {"restore_id": self.undone, "state": "undone", "stop": "destroy", "start_timeout": 20}
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

    def recover(self, *, grace_period: int = 3600) -> Done:
        """Run the recovery; with ``grace_period`` 0 as one who knows that no run is alive."""
        return done("recover", self._recovered(grace_period))

    def hashes(self, snapshot: str | None = None) -> Bytes:
        """Return what the array has of the guest's disks; a name that a restore moved aside is `ABSENT`."""
        return tuple(_hash(self.ground.guests.image(APP, volume, snapshot=snapshot)) for volume in VOLUMES)

    def state(self) -> str:
        """Return libvirt's word on the guest."""
        return str(self.ground.guests.state(APP).state)

    def held(self) -> str:
        """Say which state of before the guest's disks hold."""
        found = self.hashes()
        for allowed, name in self.allowed.items():
            if found == allowed:
                return name
        parts = [
            next((name for allowed, name in self.allowed.items() if allowed[at] == each), "unknown")
            for at, each in enumerate(found)
        ]
        return f"mixed ({', '.join(parts)})"

    def play(self, operation: str, name: str) -> Done:
        """Carry out one operation, and remember how long it took."""
        began = time.monotonic()
        said = replace(OPERATIONS[operation](self, name), name=name)
        if said.ok:
            self.seconds[operation] = time.monotonic() - began
        return said

    def can_be_started(self) -> bool:
        """Try to start the guest, as a person would."""
        import libvirt

        try:
            self.ground.guests.domain(APP).create()
        except libvirt.libvirtError:
            return False
        return True

    def complaints(self, held: str) -> Iterator[str]:
        """Yield what is not whole, before and after the recovery that nothing may need, but may do.

        ``held`` is what the disks have to hold (`held_after`).
        """
        yield from self.complaints_of_guest(held)
        yield from self._locks()
        yield from self.complaints_after_recovery()
        yield from self.complaints_of_guest(held)

    def complaints_of_guest(self, held: str) -> Iterator[str]:
        """Yield how the guest is not as it was, with disks that hold ``held``."""
        if self.state() != "running":
            yield f"the guest is {self.state()}"
        if self.held() != held:
            yield f"the guest's disks are {self.held()}, not {held}"
        if self._defined() != self._definition:
            yield "the guest's definition is another one"
        if self.ground.guests.domain(APP).hasManagedSaveImage():
            yield "the guest has a managed-save image"
        yield from self._opened()

    def complaints_of_backups(self, said: Sequence[Done]) -> Iterator[str]:
        """Yield the backups that were made, as they say, of disks of several times."""
        for each in said:
            if each.operation.startswith("backup") and each.ok and self.hashes(each.name) not in self.allowed:
                yield f"backup {each.name} holds disks of several times"

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

    def _recovered(self, grace_period: int) -> Outcome:
        options: dict[str, Any] = {
            "owner": OWNER,
            "volumes": self._volumes,
            "grace_period": grace_period,
            "orphans": "absent",
        }
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

    def _defined(self) -> str:
        """Return the guest's definition, whether libvirt keeps it, and whether it starts with its host."""
        import libvirt

        domain = self.ground.guests.domain(APP)
        kept = f"persistent {domain.isPersistent()}, autostart {domain.autostart()}"
        return f"{kept}\n{domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)}"

    def _opened(self) -> Iterator[str]:
        """Yield that the guest does not run once, on the very files that have the names of its disks."""
        pids = [pid for pid in self.ground.processes() if f"guest={APP}," in _command_line(pid)]
        if len(pids) != 1:
            yield f"{len(pids)} processes run the guest"
        for pid in pids:
            opened = set(map(_file, Path(f"/proc/{pid}/fd").iterdir()))
            for volume in VOLUMES:
                if _file(self.ground.guests.image(APP, volume)) not in opened:
                    yield f"the guest runs on another file than its disk on {volume}"

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


def _file(path: Path) -> tuple[int, int]:
    """Return which file a path leads to; a descriptor that was closed meanwhile leads to none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _hash(image: Path) -> str:
    try:
        return hashlib.sha256(image.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ABSENT


Operation = Callable[[OperationsHost, str], Done]

OPERATIONS: dict[str, Operation] = {
    "backup module": OperationsHost.backup_module,
    "backup tasks": OperationsHost.backup_tasks,
    "restore": OperationsHost.restore,
    "undo": lambda operated, _name: operated.undo(),
    "clone": OperationsHost.clone,
    "recover": lambda operated, _name: operated.recover(),
}
