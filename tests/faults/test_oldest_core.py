# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks with their defaults on the oldest supported ansible-core, where every template is a string at first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import ground as tools
from kvmground import Ground
from kvmground.ground import SVM
from kvmground.playbooks import Playbooks
from kvmground.playbooks import Played as Play

HOST, SECOND = "hv0", "hv-00"
GUEST, NEIGHBOUR, VOLUME = "p1", "p2", "kvm_vol1"


class Site:
    """A private host with two guests on one volume, and its playbooks on the oldest ansible-core."""

    def __init__(self, ground: Ground, playbooks: Playbooks) -> None:
        self.ground, self.playbooks = ground, playbooks
        self._core = tools.ensure_venv("sanity-2.16")

    def play(self, name: str, **variables: Any) -> Play:
        """Run a playbook on the first host of the inventory, to its good end."""
        wanted = {"kvm_hosts_pattern": HOST, **variables}
        played = self.playbooks.run(f"kvmsnap.ontap.{name}", wanted, core=self._core)
        assert played.rc == 0, played.stdout
        return played

    def back_up(self, **variables: Any) -> str:
        """Make a backup and return its name."""
        return str(self.play("backup", **variables).facts(HOST)["kvm_backup_result"]["backup_id"])

    def snapshots(self) -> list[str]:
        """Return the snapshots of the guests' volume."""
        return self.ground.snapshots().get(f"{SVM}:{VOLUME}", [])

    def states(self) -> set[str]:
        """Return what the guests are doing."""
        return {self.ground.guests.state(guest).state for guest in (GUEST, NEIGHBOUR)}

    def content(self, guest: str) -> str:
        """Return the hash of a guest's disk."""
        return hashlib.sha256(self.ground.guests.image(guest, VOLUME).read_bytes()).hexdigest()

    def change(self, data: bytes) -> None:
        """Write something into the disks of both guests."""
        for guest in (GUEST, NEIGHBOUR):
            with self.ground.guests.image(guest, VOLUME).open("r+b") as stream:
                stream.seek(4096)
                stream.write(data)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Return the private host; its catalog is empty at first."""
    with Ground.beside("core") as ground:
        for guest in (GUEST, NEIGHBOUR):
            ground.guests.add_still(guest, VOLUME)
        yield Site(ground, Playbooks(ground, hosts=(HOST, SECOND)))


@pytest.mark.parametrize("mode", [{}, {"kvm_backup_mode": "tasks"}], ids=["defaults", "tasks"])
def test_a_backup_is_made_listed_and_restored(site: Site, mode: dict[str, Any]) -> None:
    before = site.snapshots()
    name = site.back_up(**mode)
    assert sorted(site.snapshots()) == sorted([*before, name])
    assert site.states() == {"running"}
    listed = site.play("list")
    assert name in listed.stdout
    saved = site.content(GUEST)
    site.change(f"written after {name}".encode())
    neighbour = site.content(NEIGHBOUR)
    assert site.content(GUEST) != saved
    # A guest without an operating system does not obey a shutdown.
    site.play("restore", kvm_restore_vm_list=GUEST, kvm_restore_stop="destroy")
    assert site.content(GUEST) == saved
    assert site.content(NEIGHBOUR) == neighbour
    assert site.states() == {"running"}


@pytest.mark.long
def test_the_same_backup_again_is_told_and_left(site: Site) -> None:
    name = "hv0-again_20261121020000"
    assert site.back_up(kvm_backup_id=name) == name
    before = site.snapshots()
    assert site.back_up(kvm_backup_id=name) == name
    assert site.snapshots() == before


@pytest.mark.long
def test_booleans_given_as_text_are_what_they_say(site: Site) -> None:
    name = site.back_up(kvm_backup_one_point="false", kvm_backup_allow_unprotected="no", kvm_multipath_required="yes")
    saved = site.content(GUEST)
    site.change(b"text")
    asked = {
        "kvm_restore_backup_id": name,
        "kvm_restore_safety_snapshot": "yes",
        "kvm_restore_disks_unused_elsewhere": "no",
    }
    site.play("restore", kvm_restore_vm_list=f"{GUEST},", kvm_restore_stop="destroy", **asked)
    assert site.content(GUEST) == saved


def test_hosts_at_one_point_in_time(site: Site) -> None:
    name, before = "group_20261121020000", site.snapshots()
    mine = f"{{{{ ['{GUEST}'] if inventory_hostname == '{HOST}' else ['{NEIGHBOUR}'] }}}}"
    played = site.play("backup_one_point", kvm_hosts_pattern="kvm_hosts", kvm_backup_guests=mine, kvm_backup_id=name)
    assert sorted(site.snapshots()) == sorted([*before, name])
    levels = {
        row["name"]: row["consistency"]
        for host in (HOST, SECOND)
        for row in played.facts(host)["kvm_backup_result"]["guests"]
    }
    assert levels == {GUEST: "crash-consistent", NEIGHBOUR: "crash-consistent"}


@pytest.mark.long
def test_a_copy_is_made_and_taken_away(site: Site) -> None:
    site.back_up()
    site.play("clone", kvm_clone_name="copy1", kvm_clone_guest=GUEST)
    assert "copy1" in [domain.name() for domain in site.ground.guests.connection.listAllDomains()]
    site.play("clone", kvm_clone_name="copy1", kvm_clone_state="absent")
    assert "copy1" not in [domain.name() for domain in site.ground.guests.connection.listAllDomains()]


@pytest.mark.long
def test_what_is_there_is_found_kept_checked_and_put_right(site: Site, tmp_path: Path) -> None:
    played = site.play("discover", kvm_discover_persist=True, kvm_discover_host_vars_dir=str(tmp_path))
    assert {guest["name"] for guest in played.facts(HOST)["kvm_discovery"]["guests"]} == {GUEST, NEIGHBOUR}
    (kept,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    mapped = str(yaml.safe_load(kept.read_text(encoding="utf-8"))["kvm_vm_mapping"])
    assert f"{GUEST}:{SVM}:/vol/{VOLUME}/{GUEST}" in mapped
    site.play("preflight", kvm_preflight_fail="false")
    assert site.play("recover").facts(HOST)["kvm_recover_result"] == []
