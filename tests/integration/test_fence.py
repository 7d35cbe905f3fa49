# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody starts a guest on the lab while its disks are being overwritten, or are neither old nor new.

The restore is stopped or killed at a step; then every way to start is tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from world import STAMP

from kvmground.lab_host import Remote
from kvmground.lab_restore import Standing, told
from kvmlab.lab import DiskSpec, GuestSpec
from kvmlab.second import SecondHost

# The first lies on NFS 4.1 and the second on NFS 3.
TWO, TWO_DISKS = "fen2", ("/mnt/kvm_vol1/fen2.img", "/mnt/kvm_vol2/fen2-data.img")
ONE, ONE_DISKS = "fen1", ("/mnt/kvm_vol1/fen1.img",)
BACKUP = f"hv1-fence_{STAMP}"


class Guest:
    """A guest with a backup; its disks hold something else now."""

    def __init__(self, lab: Any, name: str, disks: tuple[str, ...]) -> None:
        self.lab, self.name = lab, name
        self.spec = GuestSpec(name, [DiskSpec(disk) for disk in disks])
        self.restore = Standing(lab.itself, name, disks)
        self._count = 0

    def ready(self) -> None:
        """Let it run, with its autostart on."""
        if self.restore.state() != "running":
            self.lab.virsh("start", self.name)
        self.lab.virsh("autostart", self.name)

    def begin(self, *, until: str) -> Remote:
        """Begin a restore that stands still at a step."""
        self._count += 1
        self.id = f"fence-{self.name}-{self._count}-{STAMP}"
        return self.restore.begin(until=until, **self.options)

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of the restore."""
        return {"restore_id": self.id, "backup_id": BACKUP, "power": "as_was"}

    def finish(self) -> None:
        """Run the same restore again, and see that the guest is brought back and runs as it did."""
        outcome = self.restore.host.module("kvm_app_restore", **self._asked())
        assert not outcome.failed, outcome.msg
        self.is_back()

    def is_back(self) -> None:
        """See that the guest runs, starts with its host, and that nothing of ours is left beside its disks."""
        assert self.restore.state() == "running"
        assert "enable" in self.lab.virsh("dominfo", self.name).partition("Autostart:")[2].split()[0]
        for disk in self.restore.disks:
            left = self.lab.ssh(f"find {disk.rpartition('/')[0]} -maxdepth 1 -name '.kvmsnap-*' ! -name .kvmsnap")
            assert left == "", left

    def _asked(self) -> dict[str, Any]:
        return {"guests": [self.name], "stop": "destroy", "catalog_dir": "/var/lib/kvmsnap", **self.options}


@pytest.fixture(scope="module", name="guests")
def _guests(lab: Any) -> Iterator[dict[str, Guest]]:
    """The two guests and their backup; the lab's own guests run again afterwards."""
    made = {}
    for name, disks in ((ONE, ONE_DISKS), (TWO, TWO_DISKS)):
        lab.add_guest(name, [DiskSpec(disk) for disk in disks])
        made[name] = Guest(lab, name, disks)
    play = lab.playbook("backup", extra_vars={"kvm_backup_guests": [ONE, TWO], "kvm_backup_id": BACKUP})
    assert play.rc == 0, play.stdout
    yield made
    for guest in made.values():
        lab.virsh("autostart", "--disable", guest.name)
        lab.remove_guest(guest.name)
    made[ONE].restore.host.remove()
    lab.up()


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "step"), [(TWO, "half"), (ONE, "whole")], ids=["half restored", "one disk, before it is started"]
)
def test_nobody_starts_a_guest_whose_disks_are_being_overwritten(
    lab: Any, second: SecondHost, guests: dict[str, Guest], name: str, step: str
) -> None:
    guest = guests[name]
    guest.ready()
    running = guest.begin(until=step)
    try:
        tried = guest.restore.attempts(second)
        assert all(each.refused for each in tried), told(tried)
    finally:
        guest.restore.go_on(running)
    outcome = running.wait(within=180)
    assert not outcome.failed, outcome.msg
    guest.is_back()


def test_nobody_starts_a_guest_that_a_killed_restore_left_half_restored(
    lab: Any, second: SecondHost, guests: dict[str, Guest]
) -> None:
    guest = guests[TWO]
    guest.ready()
    guest.begin(until="half").kill()
    tried = guest.restore.attempts(second)
    assert all(each.refused for each in tried), told(tried)
    guest.finish()
