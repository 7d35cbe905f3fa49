# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables and TPM states go back with the disks, or stay as they were; the files are real ones."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
import samples
from firmware_host import Host, now, part, saved_guest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    SafetySnapshot,
    SideFileAttributes,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import execute, firmware, firmware_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import Notes, Overwritten, Verified
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware_check import with_firmware
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
)

SAFETY = "hv1-safety_20261122020000"


VARS = SavedFile("nvram", "/etc/passwd", "w.nvram", "a")
STATE = SavedFile("tpm", "/etc", "w.tpm", "b")


@pytest.mark.parametrize(
    ("files", "nvram", "tpm", "places", "notes"),
    [
        ((), None, False, [], []),
        ((VARS,), "/n/web1.fd", False, [("/n/web1.fd", "/s/w.nvram")], []),
        ((STATE,), None, True, [(f"/var/lib/libvirt/swtpm/{samples.WEB}", "/s/w.tpm")], []),
        ((VARS,), None, False, [], ["UEFI variables was saved and is not put back"]),
        ((), "/n/web1.fd", True, [], ["at /n/web1.fd is not restored", "state of the TPM at"]),
        ((replace(VARS, stored_as=""),), "/n/web1.fd", False, [("/n/web1.fd", None)], []),
    ],
)
def test_what_goes_where(files: Any, nvram: Optional[str], tpm: bool, places: Any, notes: list[str]) -> None:
    found, said = firmware.firmware_plan(saved_guest(*files), nvram=nvram, tpm=tpm, directory=Path("/s"))
    assert [(each.path, each.source) for each in found] == places
    assert len(said) == len(notes)
    assert all(part in note for part, note in zip(notes, said))


class Killed(BaseException):
    """The process ends."""


class World:
    """One guest that is off, whose disk holds what a snapshot held; its files are real."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.disk = "now"
        self.breaks: dict[str, BaseException] = {}

    @property
    def guests(self) -> World:
        return self

    @property
    def disks(self) -> World:
        return self

    def _step(self, name: str) -> None:
        if name in self.breaks:
            raise self.breaks.pop(name)

    def stop(self, guest: GuestRestore) -> None:
        raise AssertionError("the guest is off")

    def start(self, guest: GuestRestore, state: str) -> None:
        raise AssertionError("the guest stays off")

    def state(self, guest: GuestRestore) -> str:
        return "shutoff"

    def patience(self) -> AbstractContextManager[None]:
        return nullcontext()

    def secure(self, disks: Any, name: str) -> tuple[SafetySnapshot, ...]:
        return (SafetySnapshot("svm1", "svm1-uuid", "vol1", "vol1-uuid", f"vol1-{name}"),)

    def make(self, disk: DiskRestore, notes: Notes) -> None:
        """Say that it is overwritten in place."""

    def unlock(self, guest: GuestRestore) -> None:
        """Hold no locks."""

    def prepare(self, disk: DiskRestore, old: Optional[str]) -> None:
        self._step("prepare")

    def overwrite(self, disk: DiskRestore, notes: Notes) -> Overwritten:
        self.disk = disk.snapshot
        return Overwritten("file_clone")

    def verify(self, disk: DiskRestore) -> Verified:
        return Verified("size")

    def autostart(self, guest: GuestRestore) -> bool:
        return False

    def set_autostart(self, guest: GuestRestore, wanted: bool) -> None:
        raise AssertionError("it does not start with its host")

    def saved_image(self, guest: GuestRestore) -> Optional[str]:
        return None

    def set_aside(self, guest: GuestRestore, place: str) -> None:
        raise AssertionError("it has no image of its memory")

    def bring_back(self, guest: GuestRestore, place: str) -> None:
        raise AssertionError("it has no image of its memory")

    def keep_file(self, guest: GuestRestore, file: FileRestore) -> Aside:
        self._step(f"keep {file.kind}")
        return firmware_files.keep(self.host.kept, guest.uuid, file)

    def put_file(self, file: FileRestore, attributes: Optional[SideFileAttributes]) -> None:
        self._step(f"before {file.kind}")
        firmware_files.put(file, attributes)
        self._step(f"after {file.kind}")

    def put_file_back(self, aside: Aside) -> None:
        firmware_files.put_back(self.host.kept, aside)


def carried_out(host: Host, world: World, *, safety: Optional[str] = SAFETY) -> execute.GuestResult:
    journal = journals.load(host.root, "r1") or journals.Journal("r1", samples.BACKUP)
    results, _journal = execute.run(
        RestorePlan(samples.BACKUP, "r1", (part(*host.restores()),)),
        actor=world,
        journal=journal,
        save=lambda changed: journals.save(host.root, changed),
        safety=safety,
    )
    return results[0]


STEPS = [f"{when} {kind}" for kind in ("nvram", "tpm") for when in ("keep", "before", "after")]


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_file_brings_disks_and_files_back(host: Host, step: str) -> None:
    before, world = host.world(), World(host)
    world.breaks[step] = KvmsnapError(f"Failed at {step}")
    result = carried_out(host, world)
    assert str(result.error).startswith(f"Failed at {step}. vda was put back")
    assert (host.world(), world.disk, result.files) == (before, SAFETY, ())
    again = carried_out(host, world)
    assert (again.error, world.disk) == (None, samples.BACKUP)
    assert host.nvram.read_text() == "then"


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_file_the_next_run_ends_it_and_keeps_what_was_first(host: Host, step: str) -> None:
    before, world = host.world(), World(host)
    world.breaks[step] = Killed()
    with pytest.raises(Killed):
        carried_out(host, world)
    result = carried_out(host, world)
    assert (result.error, result.files) == (None, (str(host.nvram), str(host.tpm)))
    assert host.nvram.read_text() == "then"
    assert (host.tpm / "tpm2" / "permall").read_text() == "then"
    known = journals.load(host.root, "r1")
    assert known is not None
    undone = firmware.with_kept(samples.manifest(), {uuid: each.files for uuid, each in known.guests.items()})
    plan = with_firmware(
        RestorePlan(SAFETY, "r1.undo", (part(),)), undone, {samples.WEB: now(host)}, directory=host.kept
    )
    for file, aside in zip(plan.guests[0].files, known.guests[samples.WEB].files):
        firmware_files.put(file, aside.attributes)
    assert host.world() == before


@pytest.mark.parametrize("step", STEPS[1:])
def test_without_a_safety_snapshot_the_error_names_what_may_be_replaced(host: Host, step: str) -> None:
    world = World(host)
    world.breaks[step] = KvmsnapError("Failed")
    result = carried_out(host, world, safety=None)
    assert "vda, UEFI variables" in str(result.error)
    assert "may have been overwritten" in str(result.error)
