# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying a plan out: the order of steps, what is written down, and how a broken run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.catalog import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError


class World:
    """A small world with guests and disks that refuses what libvirt and the array would refuse."""

    def __init__(self, *guests: GuestRestore) -> None:
        self.states = {guest.uuid: guest.state_now for guest in guests}
        self.content: dict[str, str] = {}
        self.fails_at = ""
        self.steps: list[str] = []

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.fails_at:
            raise KvmsnapError(f"Failed to {name}")

    def stop(self, guest: GuestRestore) -> None:
        self._step(f"stop {guest.name}")
        self.states[guest.uuid] = "shutoff"

    def start(self, guest: GuestRestore) -> None:
        assert self.states[guest.uuid] == "shutoff", "a running guest cannot be started"
        self._step(f"start {guest.name}")
        self.states[guest.uuid] = guest.state_after

    def state(self, guest: GuestRestore) -> str:
        return self.states[guest.uuid]

    def overwrite(self, disk: DiskRestore) -> str:
        self._step(f"overwrite {disk.target}")
        self.content[disk.storage.path] = disk.snapshot
        return "file_clone"

    def verify(self, disk: DiskRestore) -> str:
        self._step(f"verify {disk.target}")
        return "size"


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


def carried_out(root: Path, world: World, *guests: GuestRestore) -> list[restore.GuestResult]:
    journal = journals.load(root, "r1") or journals.Journal("r1", samples.BACKUP)
    results, _journal = restore.run(
        RestorePlan(samples.BACKUP, "r1", guests),
        actor=world,
        journal=journal,
        save=lambda changed: journals.save(root, changed),
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
    assert broken.error == f"Failed to {step}"
    assert not broken.restored
    world.fails_at = ""
    again = part(state=world.states[samples.WEB], after="running")
    (mended,) = carried_out(tmp_path, world, again)
    assert mended.restored
    assert mended.state_before == "running"
    assert world.states[samples.WEB] == "running"
    assert set(world.content.values()) == {samples.BACKUP}
    assert len(world.content) == 2


def test_one_guest_s_failure_does_not_stop_the_next(tmp_path: Path) -> None:
    second = part("db1", samples.DB)
    world = World(part(), second)
    world.fails_at = "stop web1"
    results = carried_out(tmp_path, world, part(), second)
    assert [result.restored for result in results] == [False, True]


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
