# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host loses its power in each phase of a restore and boots: no guest starts on half a disk, the restore goes on.

Guests start with the host (autostart), and libvirt-guests wants to start those on files. What a disk holds is measured
where the array keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from world import STAMP

from kvmground.guests import still_xml
from kvmground.lab_restore import Standing, told
from kvmground.power_cut import PowerCut
from kvmlab.domain import Disk
from kvmlab.lab import DiskSpec, GuestSpec, LunSpec

# The first lies on NFS 4.1 and the second on NFS 3: their locks are released in different ways after a boot.
FILES, FILE_DISKS = "reb2", ("/mnt/kvm_vol1/reb2.img", "/mnt/kvm_vol2/reb2-data.img")
LUNS, LUN_DISK = "rebl", "/vol/kvm_san1/rebl"
OLD, NEW, GONE = "old", "new", "gone"
STARTS_BY_ITSELF = "enable"


@dataclass(frozen=True)
class Cut:
    """A phase of the restore of a guest at which the power goes, and what must hold then and after the boot.

    ``holds`` are the sets that the disks' contents may be then; ``runs`` says whether the guest must run after the
    boot, must not, or may (None).
    """

    phase: str
    holds: tuple[frozenset[str], ...]
    runs: bool | None


WHOLE_OLD, WHOLE_NEW = (frozenset({OLD}),), (frozenset({NEW}),)
ANY_HALF = (frozenset({OLD, GONE}), frozenset({NEW, GONE}), frozenset({OLD, NEW, GONE}))
# A guest that is off and not fenced yet is started by its host: all its disks are as they were.
OF_FILES = (
    Cut("made", WHOLE_OLD, runs=True),
    Cut("stopped", WHOLE_OLD, runs=True),
    Cut("secured", (*WHOLE_OLD, *ANY_HALF), runs=None),
    Cut("aside", ANY_HALF, runs=False),
    Cut("half", ANY_HALF, runs=False),
    Cut("whole", WHOLE_NEW, runs=None),
    Cut("back", WHOLE_NEW, runs=None),
)
# A guest on LUNs alone has nothing but its autostart to fence it against a boot.
OF_LUNS = {
    "stopped": Cut("stopped", WHOLE_OLD, runs=None),
    "secured": Cut("secured", (*WHOLE_OLD, *WHOLE_NEW), runs=None),
    "aside": Cut("asked", (*WHOLE_OLD, *WHOLE_NEW), runs=False),
    "whole": Cut("whole", WHOLE_NEW, runs=False),
    "back": Cut("back", WHOLE_NEW, runs=None),
}


class Guest:
    """A guest without a system, with a backup in a catalog of its own: its restore waits for no other one's."""

    def __init__(self, lab: Any, name: str, disks: Sequence[Disk]) -> None:
        self.lab, self.name = lab, name
        self.files = [disk.path for disk in disks if isinstance(disk, DiskSpec)]
        self.places = [disk.lun if isinstance(disk, LunSpec) else disk.path for disk in disks]
        self.devices = self._made(disks)
        definition = f"/run/{name}.xml"
        lab.ssh(f"cat > {definition}", stdin=still_xml(name, [DiskSpec(path) for path in self.devices]))
        lab.virsh("define", definition)
        lab.virsh("start", name)
        self.restore = Standing(lab.itself, name, self.files)
        self.catalog = f"/var/lib/kvmsnap-{name}"
        self.backup = f"hv1-{name}_{STAMP}"
        play = lab.playbook(
            "backup",
            extra_vars={
                "kvm_backup_guests": [name],
                "kvm_backup_id": self.backup,
                "kvm_catalog_dir": self.catalog,
            },
        )
        assert play.rc == 0, play.stdout

    def _made(self, disks: Sequence[Disk]) -> list[str]:
        """Make its disks and return what the host calls them."""
        self.lab.guests.make_images([GuestSpec(self.name, disks)])
        luns = [self.lab.luns.get(disk.lun) for disk in disks if isinstance(disk, LunSpec)]
        if luns:
            self.lab.san.attach(luns)
        return [self.lab.san.named(disk).path if isinstance(disk, LunSpec) else disk.path for disk in disks]

    def ready(self) -> None:
        """Let it run, start with its host, and hold something else than its backup.

        What a phase that failed, or a killed run, left beside its disks is taken for nothing of this phase, and a
        restore that stands still since then is ended.
        """
        self.lab.ssh("pkill -KILL -f 'modules.kvm_app_restor[e]' || true")
        for found in self.left():
            self.lab.ssh(f"rm {found}")
        if self.restore.state() != "shut off":
            self.lab.virsh("destroy", self.name)
        for device in self.devices:
            self.lab.ssh(f"dd if=/dev/urandom of={device} bs=64k count=1 seek=8 conv=notrunc,fsync status=none")
        self.lab.virsh("start", self.name)
        self.lab.virsh("autostart", self.name)
        assert self.holds() == {OLD}

    def holds(self) -> frozenset[str]:
        """Say what its disks hold on the array: what the backup has, something else, or that there is no such file."""
        return frozenset(map(self._holds, self.places))

    def _holds(self, place: str) -> str:
        now, then = self.lab.storage_path(place), self.lab.storage_path(place, snapshot=self.backup)
        if not now.exists():
            return GONE
        with now.open("rb") as one, then.open("rb") as other:
            while True:
                block = one.read(1 << 20)
                if block != other.read(1 << 20):
                    return OLD
                if not block:
                    return NEW

    def left(self) -> list[str]:
        """Return the files of restores beside its disks."""
        beside = [path.rpartition("/")[0] for path in self.files]
        found = [self.lab.ssh(f"find {each} -maxdepth 1 -name '.kvmsnap-*' ! -name .kvmsnap") for each in beside]
        return " ".join(found).split()

    def identities(self) -> list[int]:
        """Return which files its disks are on the array, 0 for one that is gone."""
        paths = (self.lab.storage_path(path) for path in self.files)
        return [path.stat().st_ino if path.exists() else 0 for path in paths]

    def begin(self, phase: str) -> None:
        """Begin a restore and let it stand still in a phase."""
        self.restore.begin(until=phase, **self.options(phase))

    def options(self, phase: str, **others: Any) -> dict[str, Any]:
        """Return the options of the restore that is to lose its power in this phase."""
        found = {"restore_id": f"{self.name}-{phase}-{STAMP}", "backup_id": self.backup, "catalog_dir": self.catalog}
        return {**found, **others}

    def finish(self, phase: str, *, power: str) -> None:
        """Run the restore again, and see that it ends as if nothing had happened."""
        self.restore.host.prepare()
        asked = self.options(phase, guests=[self.name], stop="destroy", power=power)
        outcome = self.restore.host.module("kvm_app_restore", within=600, **asked)
        assert not outcome.failed, outcome.msg
        assert self.restore.state() == ("running" if power == "running" else "shut off")
        if power == "off":
            assert self.holds() == {NEW}
        assert self.autostart() == STARTS_BY_ITSELF
        assert self.left() == []
        again = self.restore.host.module("kvm_app_restore", **asked)
        assert (again.failed, again.result["changed"]) == (False, False), again.msg
        self._swept()

    def autostart(self) -> str:
        """Return what libvirt says of its autostart."""
        return str(self.lab.virsh("dominfo", self.name).partition("Autostart:")[2].split()[0])

    def _swept(self) -> None:
        """Let the recovery remove what the lost processes left, and see that it finds nothing else, and no more."""
        asked = {"owner": "hv1", "catalog_dir": self.catalog, "grace_period": 0}
        found = self.restore.host.module("kvm_leftovers", **asked)
        assert not found.failed, found.msg
        # Snapshots of other catalogs' backups, and temporary LUNs of lost catalogs' restores, are told and left alone.
        told_only = [each for each in found.result["leftovers"] if each["kind"] == "lun" and STAMP not in each["name"]]
        assert all(each["action"] is None for each in told_only), found.result["summary"]
        mine = [each for each in found.result["leftovers"] if each["kind"] != "snapshot" and each not in told_only]
        assert {each["kind"] for each in mine} <= {"lease", "file"}, found.result["summary"]
        assert not self.restore.host.module("kvm_leftovers", **asked).result["changed"]


@pytest.fixture(scope="module", name="power")
def _power(lab: Any) -> PowerCut:
    """The host, set up to come back by itself; the lab's own guests are off meanwhile."""
    for name in lab.virsh("list", "--name").split():
        lab.virsh("destroy", name)
    found = PowerCut(lab.itself)
    found.prepare()
    return found


@pytest.fixture(scope="module", name="guests")
def _guests(lab: Any, power: PowerCut) -> Iterator[dict[str, Guest]]:
    """Both guests and their backups; afterwards the host is started anew, with a root that knows nothing of this."""
    made = {
        FILES: Guest(lab, FILES, [DiskSpec(path) for path in FILE_DISKS]),
        LUNS: Guest(lab, LUNS, [LunSpec(LUN_DISK)]),
    }
    yield made
    if not lab.host.runs:
        power.boot()
    for guest in made.values():
        lab.remove_guest(guest.name)
    lab.host.stop()
    lab.up()


@pytest.mark.long
@pytest.mark.parametrize("cut", OF_FILES, ids=lambda cut: cut.phase)
def test_no_guest_starts_on_half_a_disk_after_the_host_lost_its_power(
    lab: Any, power: PowerCut, guests: dict[str, Guest], cut: Cut
) -> None:
    if not lab.host.runs:
        power.boot()
    played = {FILES: cut, **({LUNS: OF_LUNS[cut.phase]} if cut.phase in OF_LUNS else {})}
    for name in played:
        guests[name].ready()
    before = guests[FILES].identities()
    power.list_for_boot([FILES])
    for name, each in played.items():
        guests[name].begin(each.phase)
    power.cut()
    lab.control.settle()
    for name, each in played.items():
        # A guest that is being started writes to the disks that it has got back.
        if each.phase != "back":
            assert guests[name].holds() in each.holds, (name, each.phase)
    replaced = [inode not in (0, old) for inode, old in zip(guests[FILES].identities(), before)]
    assert all(replaced) is (cut.phase in ("whole", "back"))
    held = {name: guests[name].holds() for name in played}
    power.boot()
    for name, each in played.items():
        running = guests[name].restore.state() == "running"
        assert running is each.runs or each.runs is None, (name, each.phase)
        assert not running or len(held[name]) == 1, (name, each.phase)
    if cut.runs is False:
        tried = guests[FILES].restore.attempts()
        assert all(each.refused for each in tried), told(tried)
        assert guests[FILES].holds() == held[FILES]
    for name, each in played.items():
        guests[name].finish(each.phase, power="running" if each.phase == "back" else "off")
