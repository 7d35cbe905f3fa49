# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing starts a guest whose disks are neither old nor new: its autostart, its managed-save image, its definition."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest
import samples
from restore_world import BEFORE, Killed, World, carried_out, part

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import execute, resume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import Verified
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
)


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
