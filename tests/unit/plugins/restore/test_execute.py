# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying a plan out: the order of steps, what is written down, and how a broken run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_survey
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    Pending,
    SafetySnapshot,
    TemporaryFile,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.replacement import FileId
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import execute, resume
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
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.new_definition import NewDefinition

WHOLE = Verified("size and sampled blocks")


class Killed(BaseException):
    """The process ends."""


class World:
    """A small world with guests and disks that refuses what libvirt and the array would refuse."""

    def __init__(self, *guests: GuestRestore) -> None:
        self.states = {guest.uuid: guest.state_now for guest in guests}
        self.content: dict[str, str] = {}
        self.fails_at = ""
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


def test_a_guest_is_stopped_overwritten_verified_and_started_in_this_order(tmp_path: Path) -> None:
    world = World(part())
    (result,) = carried_out(tmp_path, world, part())
    assert world.steps == ["stop web1", "overwrite vda", "verify vda", "overwrite vdb", "verify vdb", "start web1"]
    assert (result.restored, result.state_before, result.state_after) == (True, "running", "running")


def test_a_guest_that_is_to_stay_off_is_not_started(tmp_path: Path) -> None:
    world = World(part(state="shutoff", after="shutoff"))
    carried_out(tmp_path, world, part(state="shutoff", after="shutoff"))
    assert world.steps[0] == "overwrite vda"
    assert "start web1" not in world.steps
    assert world.states[samples.WEB] == "shutoff"


def test_a_second_run_of_the_same_restore_touches_nothing(tmp_path: Path) -> None:
    world = World(part())
    carried_out(tmp_path, world, part())
    world.steps.clear()
    (result,) = carried_out(tmp_path, world, part())
    assert (world.steps, result.restored, result.error) == ([], False, None)


def test_a_guest_whose_disks_are_back_is_never_overwritten_again_only_started(tmp_path: Path) -> None:
    world = World(part())
    world.fails_at = "start web1"
    carried_out(tmp_path, world, part())
    world.fails_at = ""
    world.steps.clear()
    (mended,) = carried_out(tmp_path, world, part(state="shutoff", after="running"))
    assert world.steps == ["start web1"]
    assert mended.restored


def test_a_guest_that_an_admin_started_after_its_disks_were_back_is_left_alone(tmp_path: Path) -> None:
    world = World(part())
    world.fails_at = "start web1"
    carried_out(tmp_path, world, part())
    world.states[samples.WEB] = "running"
    world.steps.clear()
    (mended,) = carried_out(tmp_path, world, part())
    assert world.steps == []
    assert mended.error is None


def test_a_second_restore_at_the_same_time_is_kept_out(tmp_path: Path) -> None:
    with journals.alone(tmp_path), pytest.raises(CatalogError, match="Another restore"), journals.alone(tmp_path):
        pass


@pytest.mark.parametrize(
    "step", ["stop web1", "overwrite vda", "verify vda", "overwrite vdb", "verify vdb", "start web1"]
)
def test_after_a_failure_at_any_step_the_same_restore_goes_on_to_its_end(tmp_path: Path, step: str) -> None:
    world = World(part())
    world.fails_at = step
    (broken,) = carried_out(tmp_path, world, part())
    assert str(broken.error).startswith(f"Failed to {step}")
    assert not broken.restored
    world.fails_at = ""
    again = part(state=world.states[samples.WEB], after="running")
    (mended,) = carried_out(tmp_path, world, again)
    assert mended.restored
    assert mended.state_before == "running"
    assert world.states[samples.WEB] == "running"
    assert set(world.content.values()) == {samples.BACKUP}
    assert len(world.content) == 2


def test_what_an_overwrite_left_behind_is_told(tmp_path: Path) -> None:
    world = World(part())
    world.notes = ("the temporary LUN is left behind",)
    (result,) = carried_out(tmp_path, world, part())
    assert [disk.notes for disk in result.disks] == [world.notes, world.notes]
    assert result.restored


def test_one_guest_s_failure_does_not_stop_the_next(tmp_path: Path) -> None:
    second = part("db1", samples.DB)
    world = World(part(), second)
    world.fails_at = "stop web1"
    results = carried_out(tmp_path, world, part(), second)
    assert [result.restored for result in results] == [False, True]


def test_after_a_failure_the_next_is_not_begun_when_asked_for_and_runs_again(tmp_path: Path) -> None:
    second = part("db1", samples.DB)
    world = World(part(), second)
    world.fails_at = "overwrite vda"
    results = carried_out(tmp_path, world, part(), second, safety="safe", stop_at_failure=True)
    assert [result.restored for result in results] == [False, False]
    assert "was not begun, since web1 failed, and the guest is running again" in str(results[1].error)
    assert world.states[samples.DB] == "running"
    assert world.steps.count("overwrite vda") == 2, "the first guest's disk, and putting it back"
    world.fails_at = ""
    again = [replace(each, state_now=world.states[each.uuid]) for each in (part(), second)]
    assert [result.restored for result in carried_out(tmp_path, world, *again, safety="safe")] == [True, True]


def test_a_guest_that_somebody_starts_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    world = World(part(state="shutoff"))
    world.states[samples.WEB] = "running"
    (result,) = carried_out(tmp_path, world, part(state="shutoff"))
    assert world.steps == []
    assert "somebody started it" in str(result.error)


def test_the_journal_is_private_and_survives(tmp_path: Path) -> None:
    carried_out(tmp_path, World(part()), part())
    path = tmp_path / "restores" / "r1.json"
    assert path.stat().st_mode & 0o777 == 0o600
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert found.done(samples.WEB)
    assert len(found.guests[samples.WEB].disks) == 2


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema": "other"}', '{"schema": "kvmsnap.restore/1", "guests": 3}']
)
def test_a_damaged_journal_is_an_error_and_not_a_fresh_start(tmp_path: Path, text: str) -> None:
    directory = tmp_path / "restores"
    directory.mkdir()
    (directory / "r1.json").write_text(text)
    with pytest.raises(CatalogError, match=r"r1[.]json"):
        journals.load(tmp_path, "r1")


BEFORE = "hv1-safety_20261122020000"


def test_all_guests_are_off_before_the_safety_snapshot_and_that_exists_before_any_overwrite(tmp_path: Path) -> None:
    second = part("db1", samples.DB)
    world = World(part(), second)
    results = carried_out(tmp_path, world, part(), second, safety=BEFORE)
    assert world.steps[:4] == ["stop web1", "stop db1", f"secure {BEFORE}", "overwrite vda"]
    assert [(result.restored, result.safety) for result in results] == [(True, BEFORE), (True, BEFORE)]
    found = journals.load(tmp_path, "r1")
    assert found is not None
    safety = found.safety_of(samples.WEB)
    assert safety is not None
    assert safety.uuid_on("svm1-uuid", "vol1-uuid") == f"vol1-{BEFORE}"
    assert safety.uuid_on("svm1-uuid", "vol9-uuid") is None


@pytest.mark.parametrize("step", ["overwrite vdb", "verify vdb", "overwrite vda", "verify vda"])
def test_when_a_disk_fails_all_that_was_touched_is_put_back_and_the_guest_runs_again(tmp_path: Path, step: str) -> None:
    world = World(part())
    world.fails_once = [step]
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert not result.restored
    assert result.state_after == "running"
    assert "put back from safety snapshot" in str(result.error)
    assert set(world.content.values()) == {BEFORE}
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert (found.guests[samples.WEB].disks, found.safety_of(samples.WEB)) == ((), None)


def test_a_disk_that_was_not_touched_is_not_put_back(tmp_path: Path) -> None:
    world = World(part())
    world.fails_at = "prepare vdb"
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert world.content == {"web1-vda.img": BEFORE}
    assert "vda was put back" in str(result.error)
    world.fails_at = "prepare vda"
    world.content.clear()
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert world.content == {}
    assert "Nothing of the guest was overwritten, and the guest is running again" in str(result.error)


@pytest.mark.parametrize("renames", [False, True])
@pytest.mark.parametrize("used", ["vda", "vdb"])
def test_a_disk_that_somebody_uses_is_not_put_back_and_the_guest_runs_again(
    tmp_path: Path, used: str, renames: bool
) -> None:
    """It was refused before it was touched; putting it back would be refused, too, and leave the guest off."""
    world = World(part())
    world.used, world.renames = used, renames
    (result,) = carried_out(tmp_path, world, part(), safety="s1")
    assert "somebody has it open" in str(result.error)
    assert "failed, too" not in str(result.error)
    assert (result.state_after, world.nameless) == ("running", set())
    assert f"put {used}" not in world.steps
    assert world.content.get(f"web1-{used}.img", "old") == "old"
    world.used = ""
    (again,) = carried_out(tmp_path, world, replace(part(), state_now="running"), safety="s2")
    assert (again.restored, set(world.content.values())) == (True, {samples.BACKUP})


def test_after_it_was_put_back_the_same_restore_takes_a_new_safety_snapshot(tmp_path: Path) -> None:
    world = World(part())
    world.fails_once = ["overwrite vdb"]
    carried_out(tmp_path, world, part(), safety=BEFORE)
    world.steps.clear()
    (result,) = carried_out(tmp_path, world, part(), safety="hv1-safety_20261122030000")
    assert "secure hv1-safety_20261122030000" in world.steps
    assert (result.restored, result.safety) == (True, "hv1-safety_20261122030000")


def test_when_putting_back_fails_too_the_guest_stays_off_and_both_reasons_are_told(tmp_path: Path) -> None:
    world = World(part())
    world.fails_at = "overwrite vdb"
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert result.state_after == "shutoff"
    assert f"Failed to overwrite vdb. Putting vda, vdb back from safety snapshot {BEFORE} failed" in str(result.error)
    world.fails_at = ""
    world.steps.clear()
    (mended,) = carried_out(tmp_path, world, part(state="shutoff", after="running"), safety="another")
    assert mended.restored
    assert not [step for step in world.steps if step.startswith("secure")], "what it was before is in the first one"
    assert mended.safety == BEFORE


def test_without_a_safety_snapshot_nothing_is_overwritten_and_the_guests_run_again(tmp_path: Path) -> None:
    second = part("db1", samples.DB)
    world = World(part(), second)
    world.fails_at = f"secure {BEFORE}"
    results = carried_out(tmp_path, world, part(), second, safety=BEFORE)
    assert world.content == {}
    assert [(result.restored, result.state_after) for result in results] == [(False, "running"), (False, "running")]
    assert all("Nothing was overwritten, and the guest is running again" in str(result.error) for result in results)


@pytest.mark.parametrize("made", [False, True], ids=["before", "after"])
def test_the_safety_snapshot_of_a_run_that_was_killed_at_it_is_known_and_counts_for_nobody(
    tmp_path: Path, made: bool
) -> None:
    class Dying(World):
        def secure(self, disks: Sequence[DiskRestore], name: str) -> tuple[journals.SafetySnapshot, ...]:
            if made:
                super().secure(disks, name)
            raise Killed

    with pytest.raises(Killed):
        carried_out(tmp_path, Dying(part()), part(), safety=BEFORE)
    known = journals.load(tmp_path, "r1")
    assert known is not None
    assert ([each.name for each in known.safeties], known.safety_of(samples.WEB)) == ([BEFORE], None)
    (result,) = carried_out(tmp_path, World(part(state="shutoff")), part(state="shutoff"), safety="another")
    assert (result.restored, result.safety) == (True, "another")
    ended = journals.load(tmp_path, "r1")
    assert ended is not None
    assert [(each.name, bool(each.snapshots)) for each in ended.safeties] == [(BEFORE, False), ("another", True)]


def test_a_killed_run_goes_on_with_the_safety_snapshot_that_it_took(tmp_path: Path) -> None:
    class Dying(World):
        def overwrite(self, disk: DiskRestore, notes: Notes) -> Overwritten:
            if disk.target == "vdb":
                raise Killed
            return super().overwrite(disk, notes)

    with pytest.raises(Killed):
        carried_out(tmp_path, Dying(part()), part(), safety=BEFORE)
    world = World(part(state="shutoff"))
    (result,) = carried_out(tmp_path, world, part(state="shutoff", after="running"), safety="another")
    assert world.steps == ["overwrite vda", "verify vda", "overwrite vdb", "verify vdb", "start web1"]
    assert (result.restored, result.safety) == (True, BEFORE)


def test_a_file_that_a_killed_run_had_not_moved_aside_yet_is_moved_anew(tmp_path: Path) -> None:
    class Dying(World):
        def move_aside(self, disk: DiskRestore, place: str) -> None:
            raise Killed

    dying = Dying(part())
    dying.renames = True
    with pytest.raises(Killed):
        carried_out(tmp_path, dying, part(), safety=BEFORE)
    known = journals.load(tmp_path, "r1")
    assert known is not None
    assert known.guests[samples.WEB].moved_aside is not None
    world = World(part(state="shutoff"))
    world.renames = True
    (result,) = carried_out(tmp_path, world, part(state="shutoff", after="running"))
    assert result.restored
    assert "move vdb aside" in world.steps
    assert world.steps.index("move vdb aside") < world.steps.index("put vda")


def test_a_guest_stays_off_while_a_killed_run_s_move_may_be_carried_out(tmp_path: Path) -> None:
    class Dying(World):
        def move_aside(self, disk: DiskRestore, place: str) -> None:
            raise Killed

    class Moving(World):
        def was_moved(self, disk: DiskRestore, place: str) -> bool:
            raise FateUnknownError(f"Whether {disk.label} is yet moved is unknown")

    dying, world = Dying(part()), Moving(part(state="shutoff"))
    dying.renames = world.renames = True
    with pytest.raises(Killed):
        carried_out(tmp_path, dying, part(), safety=BEFORE)
    (result,) = carried_out(tmp_path, world, part(state="shutoff", after="running"))
    assert (result.restored, result.state_after) == (False, "shutoff")
    assert "is yet moved is unknown" in str(result.error)
    assert world.steps == []


def test_a_guest_that_ran_after_its_safety_snapshot_gets_a_new_one(tmp_path: Path) -> None:
    class Dying(World):
        def prepare(self, disk: DiskRestore, old: Optional[str]) -> None:
            raise Killed

    with pytest.raises(Killed):
        carried_out(tmp_path, Dying(part()), part(), safety=BEFORE)
    (result,) = carried_out(tmp_path, World(part()), part(), safety="hv1-safety_20261122030000")
    assert (result.restored, result.safety) == (True, "hv1-safety_20261122030000")


def test_a_guest_does_not_start_with_its_host_while_its_disks_are_written_and_does_again_afterwards(
    tmp_path: Path,
) -> None:
    world = World(part())
    world.autostarts = {samples.WEB}
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert (result.restored, result.autostart_off, world.autostarts) == (True, False, {samples.WEB})
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert not found.guests[samples.WEB].autostart


def test_a_guest_without_autostart_gets_none(tmp_path: Path) -> None:
    world = World(part())
    carried_out(tmp_path, world, part())
    assert world.autostarts == set()


def test_a_guest_that_was_put_back_starts_with_its_host_again(tmp_path: Path) -> None:
    world = World(part())
    world.autostarts = {samples.WEB}
    world.fails_once = ["overwrite vdb"]
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert (result.restored, result.autostart_off, world.autostarts) == (False, False, {samples.WEB})
    assert execute.AUTOSTART_OFF not in str(result.error)


@pytest.mark.parametrize("step", ["overwrite vdb", "start web1"])
def test_a_guest_that_stays_off_because_it_failed_does_not_start_with_its_host(tmp_path: Path, step: str) -> None:
    world = World(part())
    world.autostarts = {samples.WEB}
    world.fails_at = step
    (result,) = carried_out(tmp_path, world, part())
    assert (result.state_after, result.autostart_off, world.autostarts) == ("shutoff", True, set())
    assert str(result.error).endswith(execute.AUTOSTART_OFF)
    world.fails_at = ""
    (mended,) = carried_out(tmp_path, world, part(state="shutoff", after="running"))
    assert (mended.restored, world.autostarts) == (True, {samples.WEB})


def test_a_guest_whose_autostart_cannot_be_switched_off_is_not_overwritten(tmp_path: Path) -> None:
    world = World(part())
    world.autostarts = {samples.WEB}
    world.fails_at = "set autostart False"
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert (result.restored, result.state_after, world.content) == (False, "running", {})
    assert world.autostarts == {samples.WEB}


@pytest.mark.parametrize("at", range(10))
def test_killed_at_any_step_the_guest_ends_restored_with_its_autostart(tmp_path: Path, at: int) -> None:
    world = World(part())
    world.autostarts = {samples.WEB}
    world.dies_at = at
    try:
        carried_out(tmp_path, world, part(), safety=BEFORE)
    except Killed:
        world.dies_at = -1
        found = journals.load(tmp_path, "r1")
        assert found is not None
        assert found.guests[samples.WEB].autostart or samples.WEB in world.autostarts, "nobody knows that it was on"
        carried_out(tmp_path, world, part(state=world.states[samples.WEB]), safety="another")
    assert at == 9 or world.dies_at == -1, "there are nine steps to be killed at"
    assert set(world.content.values()) == {samples.BACKUP}
    assert (world.states[samples.WEB], world.autostarts) == ("running", {samples.WEB})


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("at", range(9))
def test_another_restore_after_a_kill_brings_the_backup_or_what_was_before_the_first(
    tmp_path: Path, at: int, fails: bool
) -> None:
    world = World(part())
    world.autostarts = {samples.WEB}
    world.dies_at = at
    with pytest.raises(Killed):
        carried_out(tmp_path, world, part(), safety=BEFORE)
    world.dies_at = -1
    world.fails_once = ["verify vdb"] if fails else []
    record = resume.taken_over(journals.Journal("r2", "b2"), restore_survey.survey(tmp_path), [samples.WEB])
    guest = part(state=world.states[samples.WEB])
    anew = replace(guest, disks=tuple(replace(disk, snapshot="b2") for disk in guest.disks))
    (result,), _done = execute.run(
        RestorePlan("b2", "r2", (anew,)),
        actor=world,
        journal=record,
        save=lambda changed: journals.save(tmp_path, changed),
        safety="hv1-safety_2",
    )
    assert result.restored is not fails
    assert (world.states[samples.WEB], world.autostarts) == ("running", {samples.WEB})
    kept = BEFORE if 3 <= at <= 6 else "hv1-safety_2"
    assert set(world.content.values()) == {kept if fails else "b2"}
    assert restore_survey.survey(tmp_path).unfinished(samples.WEB) == []


OFF = part(state="shutoff", after="shutoff")


def saved_world(*guests: GuestRestore) -> World:
    """A world whose guest is off and has a managed-save image."""
    world = World(*guests)
    world.saved = {samples.WEB: "memory"}
    return world


def test_a_managed_save_image_is_aside_before_the_first_overwrite_and_never_resumed(tmp_path: Path) -> None:
    guest = part(state="shutoff", after="running")
    world = saved_world(guest)
    (result,) = carried_out(tmp_path, world, guest, safety=BEFORE)
    assert (result.restored, world.resumed, world.saved) == (True, [], {})
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert world.aside == {found.guests[samples.WEB].saved_image: "memory"}


@pytest.mark.parametrize("step", ["overwrite vda", "verify vdb"])
def test_a_guest_that_was_put_back_has_its_managed_save_image_again(tmp_path: Path, step: str) -> None:
    world = saved_world(OFF)
    world.fails_once = [step]
    (result,) = carried_out(tmp_path, world, OFF, safety=BEFORE)
    assert (result.restored, world.saved, world.aside) == (False, {samples.WEB: "memory"}, {})
    assert set(world.content.values()) == {BEFORE}


@pytest.mark.parametrize("at", range(7))
def test_killed_at_any_step_the_image_is_not_lost_and_not_resumed(tmp_path: Path, at: int) -> None:
    world = saved_world(OFF)
    world.dies_at = at
    try:
        carried_out(tmp_path, world, OFF, safety=BEFORE)
    except Killed:
        world.dies_at = -1
        assert at < 6
        found = journals.load(tmp_path, "r1")
        assert found is not None
        progress = found.guests[samples.WEB]
        assert world.saved or progress.saved_image in world.aside
        carried_out(tmp_path, world, OFF, safety="another")
    assert (world.saved, list(world.aside.values()), world.resumed) == ({}, ["memory"], [])


def test_an_undo_brings_the_image_back_with_the_disks(tmp_path: Path) -> None:
    world = saved_world(OFF)
    carried_out(tmp_path, world, OFF, safety=BEFORE)
    done = journals.load(tmp_path, "r1")
    assert done is not None
    world.states[samples.WEB] = "running"
    before = part()
    record, plan = resume.with_images(
        done, journals.Journal("r1.undo", BEFORE), RestorePlan(BEFORE, "r1.undo", (before,))
    )
    assert "its managed-save image of that time is brought back" in plan.after()
    (result,), _done = execute.run(
        plan, actor=world, journal=record, save=lambda changed: journals.save(tmp_path, changed)
    )
    assert (result.restored, world.resumed, world.aside) == (True, ["memory"], {})


def test_an_image_that_somebody_made_amid_the_overwrites_stops_them(tmp_path: Path) -> None:
    class Busy(World):
        def verify(self, disk: DiskRestore) -> Verified:
            self.saved = {samples.WEB: "another memory"}
            return super().verify(disk)

    (result,) = carried_out(tmp_path, Busy(OFF), OFF, safety=BEFORE)
    assert "the guest is saved; somebody started and saved it" in str(result.error)


def test_an_image_of_untouched_disks_is_of_no_use_once_the_guest_ran_without_it(tmp_path: Path) -> None:
    class Dying(World):
        def prepare(self, disk: DiskRestore, old: Optional[str]) -> None:
            if self.dies_at == 0:
                raise Killed

    world = Dying(OFF)
    world.saved = {samples.WEB: "memory"}
    world.dies_at, world.done = 0, 1
    with pytest.raises(Killed):
        carried_out(tmp_path, world, OFF, safety=BEFORE)
    assert list(world.aside.values()) == ["memory"]
    world.dies_at = -1
    world.states[samples.WEB] = "running"
    world.fails_once = ["overwrite vdb"]
    (result,) = carried_out(tmp_path, world, part(), safety="another")
    assert (result.restored, world.saved, world.states[samples.WEB]) == (False, {}, "shutoff")


def test_what_is_put_back_is_compared_by_samples_and_its_image_is_not_judged(tmp_path: Path) -> None:
    """What made the check fail may fail it for the disk of before as well, which must come back all the same."""

    class Strict(World):
        def verify(self, disk: DiskRestore) -> Verified:
            self.steps.append(f"{disk.snapshot} {disk.verify} {disk.check_image}")
            if disk.check_image:
                raise KvmsnapError("Failed to check the image")
            return Verified("size")

    guest = part()
    disk = replace(guest.disks[0], verify="full")
    world = Strict(guest)
    (result,) = carried_out(tmp_path, world, replace(guest, disks=(disk,)), safety=BEFORE)
    assert [step for step in world.steps if "True" in step or "False" in step] == [
        f"{samples.BACKUP} full True",
        f"{BEFORE} sampled False",
    ]
    assert "vda was put back" in str(result.error)
    assert world.states[samples.WEB] == "running"


def test_what_the_comparison_found_is_told_of_the_disk(tmp_path: Path) -> None:
    class Thorough(World):
        def verify(self, disk: DiskRestore) -> Verified:
            return Verified("size and all content", "c0ffee", ("1 leaked cluster",))

    world = Thorough(part())
    world.notes = ("a clone is left",)
    (result,) = carried_out(tmp_path, world, part())
    (disk, _other) = result.disks
    assert (disk.verified, disk.sha256) == ("size and all content", "c0ffee")
    assert disk.notes == ("a clone is left", "1 leaked cluster")


class Sharing(World):
    """A world whose guests share a disk: none may start while they are not all of one moment."""

    def start(self, guest: GuestRestore, state: str) -> None:
        held = set(self.content.values())
        assert held <= {BEFORE} or (held == {samples.BACKUP} and len(self.content) == 3), "they are of several moments"
        super().start(guest, state)

    def overwrite(self, disk: DiskRestore, notes: Notes) -> Overwritten:
        assert set(self.states.values()) == {"shutoff"}, "a guest that shares the disk writes to it"
        return super().overwrite(disk, notes)


def pair(world: Optional[World] = None) -> tuple[GuestRestore, GuestRestore]:
    """db1, whose second disk web1 shares; web1 has one of its own. They are as in the world, at first running."""
    states = world.states if world else {samples.WEB: "running", samples.DB: "running"}
    first = part("db1", samples.DB, states[samples.DB])
    second = part("web1", samples.WEB, states[samples.WEB])
    own = replace(second.disks[0], target="sda")
    return replace(first, shares=(samples.WEB,)), replace(second, disks=(own,), shares=(samples.DB,))


ALL_WRITTEN = [f"{what} {disk}" for disk in ("vda", "vdb", "sda") for what in ("overwrite", "verify")]


def test_guests_that_share_a_disk_are_written_before_one_of_them_starts(tmp_path: Path) -> None:
    world = Sharing(*pair())
    results = carried_out(tmp_path, world, *pair(), safety=BEFORE)
    assert world.steps == ["stop db1", "stop web1", f"secure {BEFORE}", *ALL_WRITTEN, "start db1", "start web1"]
    assert [(result.restored, len(result.disks), result.state_after) for result in results] == [
        (True, 2, "running"),
        (True, 1, "running"),
    ]


@pytest.mark.parametrize("step", ALL_WRITTEN)
def test_when_one_of_them_fails_all_are_put_back_and_only_then_started(tmp_path: Path, step: str) -> None:
    world = Sharing(*pair())
    world.fails_once = [step]
    results = carried_out(tmp_path, world, *pair(), safety=BEFORE)
    assert [(result.restored, result.state_after) for result in results] == [(False, "running"), (False, "running")]
    assert set(world.content.values()) == {BEFORE}
    assert sum("which shares a disk with it, was not restored" in str(result.error) for result in results) == 1
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert all(progress.as_before and not progress.disks and not progress.written for progress in found.guests.values())


@pytest.mark.parametrize("step", ["stop web1", "set autostart False"])
def test_when_one_of_them_cannot_be_kept_off_none_is_touched(tmp_path: Path, step: str) -> None:
    world = Sharing(*pair())
    world.autostarts = {samples.WEB}
    world.fails_at = step
    results = carried_out(tmp_path, world, *pair(), safety=BEFORE)
    assert [(result.restored, result.state_after) for result in results] == [(False, "running"), (False, "running")]
    assert (world.content, world.autostarts) == ({}, {samples.WEB})


@pytest.mark.parametrize("begun", [False, True])
def test_guests_that_share_a_disk_are_not_begun_after_a_failure_either_when_asked_to(
    tmp_path: Path, begun: bool
) -> None:
    first, second = pair()
    alone = part("other", "33333333-3333-4333-8333-333333333333")
    world = Sharing(alone, first, second)
    if begun:
        half = journals.Journal("r1", samples.BACKUP)
        progress = journals.GuestProgress("running", disks=(first.disks[1].label,))
        journals.save(tmp_path, half.with_guest(samples.DB, progress))
    world.fails_at = "prepare vda"
    results = carried_out(tmp_path, world, alone, first, second, safety=BEFORE, stop_at_failure=True)
    after = "shutoff" if begun else "running"
    assert [(each.restored, each.state_after) for each in results] == [
        (False, "running"),
        (False, after),
        (False, after),
    ]
    assert world.content == {}
    assert all("was not begun, since other failed" in str(each.error) for each in results[1:])


class Defining(Sharing):
    """A world in which guests have definitions."""

    def __init__(self, *guests: GuestRestore) -> None:
        super().__init__(*guests)
        self.definitions = {guest.uuid: "old" for guest in guests}

    def set_definition_aside(self, guest: GuestRestore) -> Aside:
        return Aside("definition", "", self.definitions[guest.uuid])

    def define(self, guest: GuestRestore) -> None:
        self.definitions[guest.uuid] = "new"

    def bring_definition_back(self, guest: GuestRestore, aside: Aside) -> None:
        self.definitions[guest.uuid] = aside.stored_as


def test_a_guest_without_a_disk_of_its_own_gets_its_definition_back_with_those_that_share(tmp_path: Path) -> None:
    whole, bare = pair()
    bare = replace(bare, disks=(), definition=NewDefinition("new", "replace"))
    world = Defining(bare, whole)
    world.fails_once = ["verify vdb"]
    results = carried_out(tmp_path, world, bare, whole, safety=BEFORE)
    assert [result.restored for result in results] == [False, False]
    assert set(world.definitions.values()) == {"old"}
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert all(progress.as_before and not progress.written for progress in found.guests.values())


def test_when_putting_one_back_fails_all_stay_off(tmp_path: Path) -> None:
    world = Sharing(*pair())
    world.fails_at = "verify vdb"
    results = carried_out(tmp_path, world, *pair(), safety=BEFORE)
    assert [(result.restored, result.state_after) for result in results] == [(False, "shutoff"), (False, "shutoff")]
    assert "failed, too" in str(results[0].error)
    world.fails_at = ""
    mended = carried_out(tmp_path, world, *as_they_are(world), safety="another")
    assert [(result.restored, result.state_after) for result in mended] == [(True, "running"), (True, "running")]


def as_they_are(world: World) -> tuple[GuestRestore, ...]:
    """The pair as a plan finds it, to run again afterwards."""
    return tuple(replace(each, state_after="running") for each in pair(world))


def test_what_they_share_is_not_touched_when_somebody_starts_one_of_them(tmp_path: Path) -> None:
    class Busy(Sharing):
        def verify(self, disk: DiskRestore) -> Verified:
            if disk.target == "vda":
                self.states[samples.WEB] = "running"
            return super().verify(disk)

    world = Busy(*pair())
    results = carried_out(tmp_path, world, *pair(), safety=BEFORE)
    assert "overwrite vdb" not in world.steps
    assert "guest web1, which shares a disk with it, is running; somebody started it" in str(results[0].error)
    assert not any(result.restored for result in results)


def test_killed_at_any_moment_guests_that_share_a_disk_end_together(tmp_path: Path) -> None:
    for at in range(40):
        world, root = Sharing(*pair()), tmp_path / str(at)
        world.autostarts, world.dies_at = {samples.WEB}, at
        try:
            carried_out(root, world, *pair(), safety=BEFORE)
        except Killed:
            world.dies_at = -1
            carried_out(root, world, *as_they_are(world), safety="another")
        else:
            break
        assert set(world.content.values()) == {samples.BACKUP}
        assert (len(world.content), set(world.states.values())) == (3, {"running"})
        assert world.autostarts == {samples.WEB}
    assert at == 13, "there are thirteen steps to be killed at"


def test_what_was_written_is_written_anew_when_one_that_shares_it_ran_since(tmp_path: Path) -> None:
    world = Sharing(*pair())
    world.dies_at = 7
    with pytest.raises(Killed):
        carried_out(tmp_path, world, *pair(), safety=BEFORE)
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert [found.guests[uuid].written for uuid in (samples.DB, samples.WEB)] == [True, False]
    world.dies_at = -1
    world.steps.clear()
    world.states[samples.WEB] = "running"
    results = carried_out(tmp_path, world, *as_they_are(world), safety="another")
    assert [step for step in world.steps if step.startswith("overwrite")] == [
        "overwrite vda",
        "overwrite vdb",
        "overwrite sda",
    ]
    assert all(result.restored for result in results)


def transient() -> World:
    world = World(part())
    world.transient = {samples.WEB}
    return world


@pytest.mark.parametrize("fails", ["", "overwrite vdb", "verify vda"])
def test_a_transient_guest_is_transient_again_restored_or_put_back(tmp_path: Path, fails: str) -> None:
    world = transient()
    world.fails_once = [fails] if fails else []
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert (result.restored, result.state_after, world.transient) == (not fails, "running", {samples.WEB})


def test_a_guest_that_cannot_be_made_transient_again_is_told_and_mended(tmp_path: Path) -> None:
    class Stubborn(World):
        stubborn = True

        def drop_definition(self, guest: GuestRestore) -> None:
            if self.stubborn:
                raise KvmsnapError("Failed to drop the definition")
            super().drop_definition(guest)

    world = Stubborn(part())
    world.transient, world.fails_once = {samples.WEB}, ["overwrite vdb"]
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert "but the guest is not transient again: Failed to drop the definition" in str(result.error)
    assert result.state_after == "running"
    world.stubborn = False
    (mended,) = carried_out(tmp_path, world, part(), safety="another")
    assert (mended.restored, world.transient) == (True, {samples.WEB})


def test_a_transient_guest_that_is_to_be_off_is_not_lost(tmp_path: Path) -> None:
    world = transient()
    (result,) = carried_out(tmp_path, world, part(after="shutoff"))
    assert (result.restored, result.state_after, world.transient) == (True, "shutoff", set())


def test_killed_at_any_moment_a_transient_guest_is_transient_again_in_the_end(tmp_path: Path) -> None:
    for at in range(40):
        world, root = transient(), tmp_path / str(at)
        world.dies_at = at
        try:
            carried_out(root, world, part(), safety=BEFORE)
        except Killed:
            world.dies_at = -1
            again = part(state=world.states[samples.WEB])
            (result,) = carried_out(root, world, again, safety="another")
            assert (result.error, result.state_after) == (None, "running")
        else:
            break
        assert (set(world.content.values()), world.transient) == ({samples.BACKUP}, {samples.WEB})
    assert at == 9, "there are nine steps to be killed at"


def renaming(*guests: GuestRestore) -> World:
    """A world whose files can be renamed."""
    world = World(*guests)
    world.renames = True
    return world


def test_files_are_made_while_the_guest_runs_and_one_name_is_missing_until_all_are_there(tmp_path: Path) -> None:
    world = renaming(part())
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert world.steps == [
        "make vda",
        "make vdb",
        "stop web1",
        f"secure {BEFORE}",
        "move vdb aside",
        "put vda",
        "put vdb",
        "start web1",
    ]
    assert [disk.verified for disk in result.disks] == ["size and sampled blocks"] * 2
    assert (set(world.content.values()), world.files) == ({samples.BACKUP}, {})
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert found.guests[samples.WEB].moved_aside is None


def test_one_disk_alone_is_never_without_a_name(tmp_path: Path) -> None:
    guest = replace(part(), disks=part().disks[:1])
    world = renaming(guest)
    carried_out(tmp_path, world, guest)
    assert world.steps == ["make vda", "stop web1", "put vda", "start web1"]


def test_a_disk_that_a_guest_starts_without_is_no_fence(tmp_path: Path) -> None:
    world = renaming(part())
    world.optional = {"vdb"}
    carried_out(tmp_path, world, part())
    assert "move vda aside" in world.steps
    assert world.steps[-3:] == ["put vdb", "put vda", "start web1"]


@pytest.mark.parametrize("step", ["ask about vda", "make vda", "make vdb"])
@pytest.mark.parametrize("renames", [True, False])
def test_what_fails_before_anything_changed_leaves_the_guest_running(tmp_path: Path, step: str, renames: bool) -> None:
    world = renaming(part()) if renames else World(part())
    world.fails_at = step if renames else "ask about vda"
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert str(result.error).endswith("Nothing of the guest was overwritten, and the guest was not stopped")
    assert (result.restored, world.states[samples.WEB], world.content) == (False, "running", {})
    assert not [step for step in world.steps if step.startswith(("stop", "secure", "put"))]
    world.fails_at = ""
    assert carried_out(tmp_path, world, part(), safety=BEFORE)[0].restored


@pytest.mark.parametrize("step", ["move vdb aside", "put vda", "put vdb"])
@pytest.mark.parametrize("safety", [BEFORE, None])
def test_a_failing_rename_puts_the_guest_back(tmp_path: Path, step: str, safety: Optional[str]) -> None:
    world = renaming(part())
    world.fails_once = [step]
    (result,) = carried_out(tmp_path, world, part(), safety=safety)
    if step == "move vdb aside" or safety:
        assert (result.restored, world.states[samples.WEB], world.nameless) == (False, "running", set())
        assert samples.BACKUP not in world.content.values()
    else:
        assert (world.states[samples.WEB], world.nameless != set()) == ("shutoff", True)
    world.fails_once = []
    again = part(state=world.states[samples.WEB], after="running")
    assert carried_out(tmp_path, world, again, safety=safety)[0].restored
    assert set(world.content.values()) == {samples.BACKUP}


@pytest.mark.parametrize("fails", ["", "put vdb"])
def test_a_restore_by_names_that_is_killed_anywhere_goes_on_and_no_half_guest_can_start(
    tmp_path: Path, fails: str
) -> None:
    at, world = 0, World()
    while at < 40:
        world, root = renaming(part()), tmp_path / str(at)
        world.dies_at, world.fails_once = at, [fails] if fails else []
        try:
            carried_out(root, world, part(), safety=BEFORE)
            break
        except Killed:
            pass
        new = [content for content in world.content.values() if content == samples.BACKUP]
        whole = len(new) in (0, 2) or world.nameless
        assert whole or world.states[samples.WEB] == "shutoff"
        assert len(new) in (0, 2) or world.nameless, f"killed at {at} half a guest could be started"
        world.dies_at = -1
        again = part(state=world.states[samples.WEB], after="running")
        (result,) = carried_out(root, world, again, safety="another")
        if not result.restored:
            (result,) = carried_out(root, world, part(state=world.states[samples.WEB]), safety="another")
        assert (result.restored, world.states[samples.WEB], world.nameless) == (True, "running", set())
        assert set(world.content.values()) == {samples.BACKUP}
        at += 1
    assert 8 < at < 40


def test_an_overwrite_of_unknown_fate_leaves_the_guest_off_until_it_is_known(tmp_path: Path) -> None:
    world = World(part())
    world.unknown = True
    (result,) = carried_out(tmp_path, world, part(), safety=BEFORE)
    assert execute.STAYS_OFF in str(result.error)
    assert world.states[samples.WEB] == "shutoff"
    assert world.steps.count("overwrite vda") == 1, "nothing is put back"
    world.steps.clear()
    (result,) = carried_out(tmp_path, world, part(state="shutoff"), safety=BEFORE)
    assert (result.restored, world.steps) == (False, [])
    world.unknown = False
    (result,) = carried_out(tmp_path, world, part(state="shutoff"), safety=BEFORE)
    assert (result.restored, world.states[samples.WEB]) == (True, "running")


def test_a_person_may_release_a_guest_and_the_journal_keeps_that(tmp_path: Path) -> None:
    world = World(part())
    world.unknown = True
    carried_out(tmp_path, world, part(), safety=BEFORE)
    journal = journals.load(tmp_path, "r1")
    assert journal is not None
    assert [each.disk for each in journal.guests[samples.WEB].pending] == ["svm1:/vol/vol1/web1-vda.img"]

    class Settled(World):
        def settle(self, disk: DiskRestore, request: Pending) -> None:
            raise AssertionError("a person knows")

    released = Settled(part(state="shutoff"))
    (result,), after = execute.run(
        RestorePlan(samples.BACKUP, "r1", (part(state="shutoff"),)),
        actor=released,
        journal=journal,
        save=lambda changed: journals.save(tmp_path, changed),
        accept_unknown=True,
    )
    assert result.restored
    progress = after.guests[samples.WEB]
    assert (len(progress.accepted), progress.pending) == (1, ())
    assert journals.load(tmp_path, "r1") == after
