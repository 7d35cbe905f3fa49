# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small world with guests and disks, on which a restore is carried out and killed at any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Pending,
    SafetySnapshot,
    TemporaryFile,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.replacement import FileId
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import execute
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import (
    FateUnknownError,
    Made,
    Notes,
    Overwritten,
    Verified,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
)

WHOLE = Verified("size and sampled blocks")


class Killed(BaseException):
    """The process ends."""


class World:
    """A small world with guests and disks that refuses what libvirt and the array would refuse."""

    def __init__(self, *guests: GuestRestore) -> None:
        self.states = {guest.uuid: guest.state_now for guest in guests}
        self.content: dict[str, str] = {}
        self.fails_at = ""
        self.breaks_at = ""
        self.fails_once: list[str] = []
        self.steps: list[str] = []
        self.notes: tuple[str, ...] = ()
        self.autostarts: set[str] = set()
        self.saved: dict[str, str] = {}
        self.aside: dict[str, str] = {}
        self.resumed: list[str] = []
        self.transient: set[str] = set()
        self.renames = False
        self.files: dict[str, str] = {}
        self.optional: set[str] = set()
        self.nameless: set[str] = set()
        self.locked: set[str] = set()
        self.used = ""
        self.unknown = False
        self.count = 0
        self.dies_at = -1
        self.done = 0
        self.patient = False

    @property
    def guests(self) -> World:
        return self

    @property
    def disks(self) -> World:
        return self

    def _alive(self) -> None:
        """Count what is done to the world; the process is killed before the one that is named."""
        if self.done == self.dies_at:
            raise Killed
        self.done += 1

    def _step(self, name: str) -> None:
        self._alive()
        self.steps.append(name)
        if name in self.fails_once:
            self.fails_once.remove(name)
            raise KvmsnapError(f"Failed to {name}")
        if name == self.fails_at:
            raise KvmsnapError(f"Failed to {name}")
        if name == self.breaks_at:
            self.breaks_at = ""
            raise ValueError("nobody thought of that")

    def stop(self, guest: GuestRestore) -> None:
        self._step(f"stop {guest.name}")
        assert guest.uuid not in self.transient, "it would be gone"
        self.states[guest.uuid] = "shutoff"

    def start(self, guest: GuestRestore, state: str) -> None:
        assert self.states[guest.uuid] == "shutoff", "a running guest cannot be started"
        assert not self.locked, "QEMU would be refused"
        assert not self.nameless, "a disk is not there"
        self._step(f"start {guest.name}")
        self.resumed += [self.saved.pop(guest.uuid)] if guest.uuid in self.saved else []
        self.states[guest.uuid] = state

    def state(self, guest: GuestRestore) -> str:
        return self.states[guest.uuid]

    def persistent(self, guest: GuestRestore) -> bool:
        return guest.uuid not in self.transient

    def keep_definition(self, guest: GuestRestore) -> None:
        self._alive()
        self.transient -= {guest.uuid}

    def drop_definition(self, guest: GuestRestore) -> None:
        if self.states[guest.uuid] != "shutoff":
            self._alive()
            self.transient |= {guest.uuid}

    def autostart(self, guest: GuestRestore) -> bool:
        return guest.uuid in self.autostarts

    def set_autostart(self, guest: GuestRestore, wanted: bool) -> None:
        self._alive()
        if self.fails_at == f"set autostart {wanted}":
            raise KvmsnapError("Failed to set the autostart")
        self.autostarts = self.autostarts | {guest.uuid} if wanted else self.autostarts - {guest.uuid}

    def saved_image(self, guest: GuestRestore) -> Optional[str]:
        return f"place{len(self.aside)}" if guest.uuid in self.saved else None

    def set_aside(self, guest: GuestRestore, place: str) -> None:
        self._alive()
        assert place not in self.aside, "an image would be lost"
        self.aside[place] = self.saved.pop(guest.uuid)

    def bring_back(self, guest: GuestRestore, place: str) -> None:
        self._alive()
        assert self.states[guest.uuid] == "shutoff"
        if place in self.aside:
            assert guest.uuid not in self.saved
            self.saved[guest.uuid] = self.aside.pop(place)

    @contextmanager
    def patience(self) -> Iterator[None]:
        self.patient = True
        yield
        self.patient = False

    def secure(self, disks: Sequence[DiskRestore], name: str) -> tuple[SafetySnapshot, ...]:
        self._step(f"secure {name}")
        assert set(self.states.values()) <= {"shutoff"}, "a guest still writes"
        places = {(disk.storage.svm_uuid, disk.storage.volume_uuid): disk.storage for disk in disks}
        return tuple(
            SafetySnapshot(each.svm, each.svm_uuid, each.volume, each.volume_uuid, f"{each.volume}-{name}")
            for each in places.values()
        )

    def make(self, disk: DiskRestore, notes: Notes) -> Optional[Made]:
        if self.fails_at == f"ask about {disk.target}":
            raise KvmsnapError(f"Failed to ask about {disk.target}")
        if not self.renames:
            return None
        self.count += 1
        file = TemporaryFile(disk.label, f"/mnt/vol1/.tmp-{self.count}", f".tmp-{self.count}")
        notes.temporary(file)
        self.files[file.place] = disk.snapshot
        self._step(f"make {disk.target}")
        return Made(file, FileId(1, self.count, 1, 1), Overwritten("file_clone"), WHOLE, 0.1)

    def drop(self, file: TemporaryFile) -> None:
        self._alive()
        self.files.pop(file.place, None)

    def can_fence(self, guest: GuestRestore, disk: DiskRestore) -> bool:
        return disk.target not in self.optional

    def move_aside(self, disk: DiskRestore, place: str) -> None:
        self._step(f"move {disk.target} aside")
        self.files[place] = self.content.pop(disk.storage.path, "old")
        self.nameless.add(disk.storage.path)

    def was_moved(self, disk: DiskRestore, place: str) -> bool:
        return place in self.files or disk.storage.path in self.nameless

    def bring_aside_back(self, disk: DiskRestore, place: str) -> None:
        self._step(f"bring {disk.target} back")
        if place in self.files:
            self.content[disk.storage.path] = self.files.pop(place)
        self.nameless.discard(disk.storage.path)

    def put(self, disk: DiskRestore, made: Made) -> tuple[str, ...]:
        self._refuse_used(disk)
        self._step(f"put {disk.target}")
        self._bring(disk, self.files.pop(made.temporary.place))
        return self.notes

    def _refuse_used(self, disk: DiskRestore) -> None:
        if self.used == disk.target:
            raise InUseError(f"Refused to overwrite {disk.label}: somebody has it open")

    def settle(self, disk: DiskRestore, request: Pending) -> None:
        if self.unknown:
            raise FateUnknownError("Whether it is overwritten is unknown")

    def unlock(self, guest: GuestRestore) -> None:
        self.locked.clear()

    def prepare(self, disk: DiskRestore, old: Optional[str]) -> None:
        if self.fails_at == f"prepare {disk.target}":
            raise KvmsnapError(f"Failed to prepare {disk.target}")

    def _bring(self, disk: DiskRestore, content: str) -> None:
        assert not self.autostarts, "the boot of the host would start a half-restored guest"
        assert not self.saved, "the next start would resume old memory"
        self.content[disk.storage.path] = content
        self.nameless.discard(disk.storage.path)
        self.locked.add(disk.storage.path)

    def overwrite(self, disk: DiskRestore, notes: Notes) -> Overwritten:
        self._refuse_used(disk)
        if not disk.remove:
            notes.pending(disk.label, Pending(disk.label, "file", "2026-11-21T02:00:00+00:00"))
        self._step(f"overwrite {disk.target}")
        if self.unknown:
            raise FateUnknownError("Whether it is overwritten is unknown")
        self._bring(disk, disk.snapshot)
        notes.pending(disk.label, None)
        return Overwritten("file_clone", self.notes)

    def verify(self, disk: DiskRestore) -> Verified:
        self._step(f"verify {disk.target}")
        return Verified("size")


def part(name: str = "web1", uuid: str = samples.WEB, state: str = "running", after: str = "running") -> GuestRestore:
    disks = tuple(
        DiskRestore(
            target,
            "raw",
            Storage.from_record(samples.storage("vol1", f"{name}-{target}.img")),
            f"/mnt/vol1/{name}-{target}.img",
            "/mnt/vol1",
            samples.BACKUP,
            "vol1-snap",
            4096,
        )
        for target in ("vda", "vdb")
    )
    return GuestRestore(name, uuid, state, after, disks)


def carried_out(
    root: Path, world: World, *guests: GuestRestore, safety: Optional[str] = None, stop_at_failure: bool = False
) -> list[execute.GuestResult]:
    journal = journals.load(root, "r1") or journals.Journal("r1", samples.BACKUP)
    results, _journal = execute.run(
        RestorePlan(samples.BACKUP, "r1", guests),
        actor=world,
        journal=journal,
        save=lambda changed: journals.save(root, changed),
        safety=safety,
        stop_at_failure=stop_at_failure,
    )
    return results


BEFORE = "hv1-safety_20261122020000"
