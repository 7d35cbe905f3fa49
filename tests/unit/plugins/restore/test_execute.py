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
from restore_world import BEFORE, Killed, World, carried_out, part

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import known_restores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    Pending,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import execute, resume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import (
    FateUnknownError,
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


@pytest.mark.parametrize(
    ("step", "state"),
    [
        ("stop web1", "running"),
        ("secure safe", "running"),
        ("overwrite vda", "shutoff"),
        ("verify vda", "running"),
        ("verify vdb", "running"),
    ],
)
def test_what_nobody_thought_of_leaves_no_guest_off(tmp_path: Path, step: str, state: str) -> None:
    """But where something may be being overwritten: that stays off until it is known."""
    world = World(part())
    world.breaks_at = step
    (broken,) = carried_out(tmp_path, world, part(), safety="safe")
    assert "ValueError: nobody thought of that" in str(broken.error)
    assert (broken.restored, world.states[samples.WEB]) == (False, state)
    again = part(state=world.states[samples.WEB], after="running")
    (mended,) = carried_out(tmp_path, world, again, safety="safe")
    assert (mended.restored, world.states[samples.WEB]) == (True, "running")


@pytest.mark.parametrize("renames", [False, True])
@pytest.mark.parametrize("step", ["stop web1", "stop db1", "secure safe"])
def test_a_catalog_that_cannot_be_written_any_more_leaves_no_untouched_guest_off(step: str, renames: bool) -> None:
    world = World(part(), part("db1", samples.DB))
    world.renames = renames

    def save(_journal: journals.Journal) -> None:
        if step in world.steps:
            raise CatalogError("Failed to write: no space left")

    results, _journal = execute.run(
        RestorePlan(samples.BACKUP, "r1", (part(), part("db1", samples.DB))),
        actor=world,
        journal=journals.Journal("r1", samples.BACKUP),
        save=save,
        safety="safe",
    )
    assert [(each.restored, str(each.error)) for each in results] == 2 * [
        (False, "Failed to write: no space left. Nothing was overwritten, and the guest is running again")
    ]
    assert (world.states, world.content) == ({samples.WEB: "running", samples.DB: "running"}, {})


def test_a_guest_is_not_started_when_the_journal_cannot_forget_what_was_kept_of_it(tmp_path: Path) -> None:
    """The next run would take a snapshot from before this start for what the guest held last."""
    world = World(part())

    def save(journal: journals.Journal) -> None:
        if "secure safe" in world.steps and journals.load(tmp_path, "r1") != journal and world.count:
            raise CatalogError("Failed to write: no space left")
        journals.save(tmp_path, journal)
        world.count += journal.safety_of(samples.WEB) is not None

    plan = RestorePlan(samples.BACKUP, "r1", (part(),))
    begun = journals.Journal("r1", samples.BACKUP)
    ((result,), _journal) = execute.run(plan, actor=world, journal=begun, save=save, safety="safe")
    assert str(result.error).endswith("The guest stays off: Failed to write: no space left")
    assert (world.states, world.content) == ({samples.WEB: "shutoff"}, {})
    (mended,) = carried_out(tmp_path, world, part(state="shutoff", after="running"), safety="other")
    assert (mended.restored, mended.safety, world.states[samples.WEB]) == (True, "safe", "running")


def test_a_guest_whose_disk_was_about_to_be_moved_aside_is_started_when_the_next_run_fails_early(
    tmp_path: Path,
) -> None:
    """The killed run had written down that it moves the disk, and had not moved it."""
    world = World(part())
    world.renames, world.dies_at = True, 4
    with pytest.raises(Killed):
        carried_out(tmp_path, world, part(), safety="safe")
    assert (world.steps[-1], world.states[samples.WEB]) == ("secure safe", "shutoff")
    begun = journals.load(tmp_path, "r1")
    assert begun is not None
    assert begun.guests[samples.WEB].moved_aside is not None
    world.dies_at, world.fails_at = -1, "ask about vda"
    (result,) = carried_out(tmp_path, world, part(state="shutoff", after="running"), safety="safe")
    assert str(result.error).endswith("Nothing of the guest was overwritten, and the guest is running again")
    assert (world.states[samples.WEB], world.content) == ("running", {})


def sharing(web: str, db: str) -> tuple[GuestRestore, GuestRestore]:
    """web1 and db1, in these states, which share a disk."""
    return (
        replace(part(state=web, after="running"), shares=(samples.DB,)),
        replace(part("db1", samples.DB, state=db, after="running"), shares=(samples.WEB,)),
    )


@pytest.mark.parametrize("renames", [False, True])
def test_no_guest_is_started_while_one_that_shares_a_disk_with_it_is_half_restored(
    tmp_path: Path, renames: bool
) -> None:
    """Killed anywhere, then run again when the array does not answer: all are as before, or stay off."""
    for dies_at in range(40):
        root = tmp_path / str(dies_at)
        world = World(*sharing("running", "running"))
        world.renames, world.dies_at = renames, dies_at
        try:
            carried_out(root, world, *sharing("running", "running"), safety="safe")
        except Killed:
            world.dies_at, world.fails_at = -1, "ask about vda"
            world.locked.clear()
            states = [world.states[uuid] for uuid in (samples.WEB, samples.DB)]
            results = carried_out(root, world, *sharing(*states), safety="safe")
        else:
            break
        untouched = not world.content and not world.nameless
        whole = len(world.content) == 4 and not any(each.error for each in results)
        known = journals.load(root, "r1")
        begun = known is not None and any(each.disks for each in known.guests.values())
        wanted = "running" if whole or (untouched and not begun) else "shutoff"
        assert set(world.states.values()) == {wanted}, dies_at
    assert dies_at > 10


def test_those_that_share_a_disk_are_started_once_it_is_put_back(tmp_path: Path) -> None:
    world = World(*sharing("running", "running"))
    world.dies_at = 6
    with pytest.raises(Killed):
        carried_out(tmp_path, world, *sharing("running", "running"), safety="safe")
    assert world.content == {"web1-vda.img": samples.BACKUP, "web1-vdb.img": samples.BACKUP}
    world.dies_at, world.fails_once = -1, []
    world.locked.clear()

    def make(disk: DiskRestore, notes: Notes) -> None:
        if disk.storage.path.startswith("db1"):
            raise KvmsnapError("Failed to ask about db1")

    world.make = make  # type: ignore[assignment]
    web, db = carried_out(tmp_path, world, *sharing("shutoff", "shutoff"), safety="safe")
    assert set(world.states.values()) == {"running"}
    assert world.content == {"web1-vda.img": "safe", "web1-vdb.img": "safe"}
    assert "vda, vdb was put back from safety snapshot safe, and the guest is running again" in str(web.error)
    assert db.error == "Failed to ask about db1. Nothing of the guest was overwritten, and the guest is running again"


@pytest.mark.parametrize("transient", [False, True])
def test_a_guest_that_went_off_though_its_stop_failed_is_started_again(tmp_path: Path, transient: bool) -> None:
    """libvirtd was gone before it had answered."""
    world = World(part())
    world.transient = {samples.WEB} if transient else set()
    stops = world.stop

    def stop(guest: GuestRestore) -> None:
        stops(guest)
        raise KvmsnapError("Failed to stop web1: no answer")

    world.stop = stop  # type: ignore[method-assign]
    (result,) = carried_out(tmp_path, world, part(), safety="safe")
    assert str(result.error).startswith("Failed to stop web1: no answer. Nothing of the guest was overwritten, and the")
    assert (world.states[samples.WEB], world.content) == ("running", {})
    assert world.transient == ({samples.WEB} if transient else set())


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
    assert "None" not in str(result.error)
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
    record = resume.taken_over(journals.Journal("r2", "b2"), known_restores.read_restores(tmp_path), [samples.WEB])
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
    assert known_restores.read_restores(tmp_path).unfinished(samples.WEB) == []


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


@pytest.mark.parametrize("renames", [False, True])
def test_the_array_is_waited_for_from_the_stop_on_and_not_while_the_guest_runs(tmp_path: Path, renames: bool) -> None:
    class Watched(World):
        def _step(self, name: str) -> None:
            patient[name.split(maxsplit=1)[0]] = self.patient
            super()._step(name)

    patient: dict[str, bool] = {}
    world = Watched(part(state="running"))
    world.renames = renames
    (result,) = carried_out(tmp_path, world, part(state="running", after="running"), safety=BEFORE)
    assert result.restored
    assert not world.patient
    assert patient.pop("make", False) is False
    assert {"stop", "secure", "start"} < set(patient)
    assert all(patient.values()), patient
