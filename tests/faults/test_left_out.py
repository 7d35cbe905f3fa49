# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest that is half restored, or that another process works on, costs no other guest its backup."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from kvmground.ground import SVM
from kvmground.playbooks import Playbooks
from kvmlab.process import wait_until

FIRST = "hv0-first_20261121020000"
GUEST, OTHER = "g1", "g2"
VOLUMES = ("kvm_vol1", "kvm_vol2")
HOST, BACKUP = "hv0", "kvmsnap.ontap.backup"
MODES: dict[str, dict[str, Any]] = {"module": {}, "tasks": {"kvm_backup_mode": "tasks"}}

pytestmark = pytest.mark.long


class Site:
    """A private host with two guests, the first on both volumes, and a backup of them."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.playbooks = Playbooks(ground)
        ground.guests.add_still(GUEST, *VOLUMES)
        ground.guests.add_still(OTHER, VOLUMES[0])
        ground.back_up(FIRST)
        self.discovered = ground.discovered()

    def hash(self, snapshot: str | None = None) -> str:
        """Return the hash of the other guest's disk."""
        return hashlib.sha256(self.ground.guests.image(OTHER, VOLUMES[0], snapshot=snapshot).read_bytes()).hexdigest()

    def half_restore(self) -> None:
        """Kill a restore of the guest while one of its disks has no name."""
        places = [self.ground.seen(self.ground.volume(volume)) for volume in VOLUMES]
        self.ground.control.add_fault("delay", match={"method": "GET", "path": r"/storage/volumes$"}, seconds=1.0)
        running = self.ground.begin("kvm_app_restore", guests=[GUEST], restore_id="half", stop="destroy")

        def aside() -> bool:
            return any(any(place.glob(".kvmsnap-aside-*")) for place in places)

        wait_until(aside, seconds=100, what="a disk that was moved aside", pause=0.01)
        running.kill()
        self.ground.control.clear_faults()

    def saved(self, backup: dict[str, Any], code: str) -> None:
        """See that a backup holds the other guest, whole, and tells why it lacks the first."""
        assert [guest["name"] for guest in backup["guests"]] == [OTHER]
        assert [(each["name"], each["problems"][-1]) for each in backup["unprotected"]] == [(GUEST, code)]
        assert self.hash(backup["backup_id"]) == self.hash()
        assert backup["backup_id"] in self.ground.snapshots()[f"{SVM}:{VOLUMES[0]}"]

    def states(self) -> list[str]:
        """Return what the guests are doing."""
        return [self.ground.guests.state(name).state for name in (GUEST, OTHER)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Have the guest locked, as another process that works on it does."""
        uuid = self.ground.guests.domain(GUEST).UUIDString()
        path = self.ground.seen(Path("/run/kvmsnap/guests")) / f"{uuid}.lock"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
        path.unlink()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Return the private host."""
    with Ground.beside("leftout") as ground:
        yield Site(ground)


def test_a_half_restored_guest_is_left_out_and_the_other_is_saved(site: Site) -> None:
    site.half_restore()
    assert site.states() == ["shutoff", "running"]
    asked = {"backup_id": "hv0-half_1", "owner": HOST, **site.discovered}
    shown = site.ground.module("kvm_vm_backup", check=True, **asked)
    assert [each["problems"] for each in shown["backup"]["unprotected"]] == [["guest-half-restored"]]
    site.saved(site.ground.module("kvm_vm_backup", **asked)["backup"], "guest-half-restored")
    for mode, variables in MODES.items():
        for allowed in (False, True):
            name = f"hv0-half_{mode}_{allowed}"
            played = site.playbooks.run(
                BACKUP, {"kvm_backup_id": name, "kvm_backup_allow_unprotected": allowed, **variables}
            )
            assert (played.rc == 0) == allowed, played.stdout
            assert allowed or f"{GUEST} is not protected" in played.failures(HOST)[-1]
            site.saved(played.facts(HOST)["kvm_backup_result"], "guest-half-restored")
    done = site.ground.module("kvm_app_restore", guests=[GUEST], restore_id="half", stop="destroy")
    assert not done.failed, done.msg
    assert site.states() == ["running", "running"]
    whole = site.ground.module("kvm_vm_backup", **{**asked, "backup_id": "hv0-whole"})
    assert {guest["name"] for guest in whole["backup"]["guests"]} == {GUEST, OTHER}
    assert site.states() == ["running", "running"]


@pytest.mark.parametrize("mode", MODES)
def test_a_guest_that_is_locked_is_left_out_and_the_other_is_saved(site: Site, mode: str) -> None:
    with site.locked():
        variables = {"kvm_backup_id": f"hv0-locked_{mode}", "kvm_backup_allow_unprotected": True, **MODES[mode]}
        played = site.playbooks.run(BACKUP, variables)
        assert played.rc == 0, played.stdout
        site.saved(played.facts(HOST)["kvm_backup_result"], "guest-locked")
    assert site.states() == ["running", "running"]


def test_a_guest_that_is_locked_between_start_and_hold_is_left_out_at_the_hold(site: Site) -> None:
    name = "hv0-between"
    started = site.ground.module("kvm_backup_manifest", state="started", backup_id=name, owner=HOST, **site.discovered)
    assert {hold["name"] for hold in started["plan"]["holds"]} == {GUEST, OTHER}
    with site.locked():
        held = site.ground.module("kvm_vm_quiesce", state="quiesced", hold_id=name, guests=started["plan"]["holds"])
        assert {row["name"]: (row["held"], row["locked"]) for row in held["guests"]} == {
            GUEST: (False, True),
            OTHER: (True, False),
        }
        assert site.states() == ["running", "paused"]
    free = site.ground.module("kvm_app_restore", check=True, guests=[GUEST], restore_id="free")
    assert not free.failed, "the hold has no part in it"
    volumes, comment = started["plan"]["volumes"], started["plan"]["comment"]
    taken = site.ground.module("ontap_snapshot", name=name, volumes=volumes, owner=HOST, comment=comment)
    released = site.ground.module("kvm_vm_quiesce", state="resumed", hold_id=name)
    assert site.states() == ["running", "running"]
    ended = {"holds": released["guests"], "snapshots": taken["snapshots"]}
    done = site.ground.module("kvm_backup_manifest", state="complete", backup_id=name, **ended)
    site.saved(done["backup"], "guest-locked")
    refused = site.ground.module("kvm_app_restore", check=True, guests=[GUEST], backup_id=name)
    assert [each["code"] for each in refused.result["problems"]] == ["guest-not-in-backup"]


def test_the_name_of_a_backup_on_another_host_has_no_line_break(site: Site) -> None:
    asked = {"kvm_restore_vm_list": GUEST, "kvm_restore_backup_id": f"{FIRST}\n", "kvm_restore_catalog_host": HOST}
    played = site.playbooks.run("kvmsnap.ontap.restore", asked)
    assert played.rc != 0
    assert "which must name the backup to take from its catalog" in played.failures(HOST)[-1]
    played = site.playbooks.run("kvmsnap.ontap.restore", {**asked, "kvm_restore_backup_id": "hv0-gone"})
    assert "does not have backup hv0-gone" in played.failures(HOST)[-1], "a name is one"
    cloned = {"kvm_clone_name": "c1", "kvm_clone_guest": GUEST, "kvm_clone_backup_id": f"{FIRST}\n"}
    played = site.playbooks.run("kvmsnap.ontap.clone", {**cloned, "kvm_clone_catalog_host": HOST})
    assert played.rc != 0
    assert "kvm_clone_backup_id" in played.failures(HOST)[-1]
