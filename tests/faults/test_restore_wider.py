# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores with a real libvirtd from a backup that the host's catalog does not have, and beside a running original."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground

BACKUP, FORGED = "hv1-daily_20261121020000", "hv1-daily_20261122020000"
VOLUMES = ("kvm_vol1", "kvm_vol2")
GUEST, COPY = "w1", "w1-old"
NETWORK = "<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>"
NIC = "<interface type='network'><mac address='52:54:00:11:22:33'/><source network='lan'/></interface></devices>"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host of its own with a guest on two volumes and on a network, and a backup of it."""
    with Ground.beside("wider") as found:
        found.run(["ip", "link", "add", "br0", "type", "bridge"])
        connection = found.guests.connection
        network = connection.networkDefineXML(NETWORK)
        network.create()
        found.guests.add_still(GUEST, *VOLUMES, running=False)
        connection.defineXML(found.guests.domain(GUEST).XMLDesc(2).replace("</devices>", NIC))
        found.back_up(BACKUP)
        yield found
        network.destroy()
        network.undefine()


def hashes(ground: Ground, *, snapshot: str | None = None) -> list[str]:
    """Return the hashes of the guest's images."""
    images = (ground.guests.image(GUEST, volume, snapshot=snapshot) for volume in VOLUMES)
    return [hashlib.sha256(image.read_bytes()).hexdigest() for image in images]


def damage(ground: Ground) -> list[str]:
    """Overwrite what the guest has, and return the hashes of that."""
    for volume in VOLUMES:
        with ground.guests.image(GUEST, volume).open("r+b") as stream:
            stream.seek(4096)
            stream.write(os.urandom(65536))
    return hashes(ground)


@pytest.fixture
def lost(ground: Ground) -> Iterator[Path]:
    """Move the catalog's backups away for the test, and tell where they are."""
    backups = ground.seen(ground.catalog) / "backups"
    aside = backups.with_name("aside")
    backups.rename(aside)
    yield aside
    shutil.rmtree(backups, ignore_errors=True)
    aside.rename(backups)


def restore(ground: Ground, **options: Any) -> Any:
    """Run the restore of the guest."""
    return ground.module("kvm_app_restore", **{"guests": [GUEST], "backup_id": BACKUP, "stop": "destroy", **options})


def test_without_the_catalog_the_snapshot_s_manifest_brings_the_disks_back_byte_for_byte_and_an_undo_takes_them(
    ground: Ground, lost: Path
) -> None:
    before = damage(ground)
    outcome = restore(ground, restore_id="lost")
    assert not outcome.failed, outcome.msg
    assert hashes(ground) == hashes(ground, snapshot=BACKUP) != before
    assert any("the catalog does not have the backup" in line for line in outcome["summary"])
    assert lost.exists()
    undone = restore(ground, restore_id="lost", state="undone")
    assert not undone.failed, undone.msg
    assert hashes(ground) == before


def test_a_manifest_that_was_altered_or_is_nowhere_restores_nothing(ground: Ground, lost: Path) -> None:
    before = damage(ground)
    text = (lost / BACKUP / "manifest.json").read_text(encoding="utf-8").replace(BACKUP, FORGED)
    for volume in VOLUMES:
        place = ground.seen(ground.volume(volume) / ".kvmsnap")
        place.mkdir()
        (place / f"{FORGED}.json").write_text(text, encoding="utf-8")
        comment = "kvmsnap/hv1: run 0f8fad5b-d9cb-469f-a165-70867728950e, 1 guests"
        ground.control.add_snapshot("svm1", volume, FORGED, comment=comment)
        shutil.rmtree(place)
    assert "they are unproven" in restore(ground, backup_id=FORGED).msg
    outcome = restore(ground, backup_id=FORGED, manifest_require="none")
    assert "its checksum does not match its content" in outcome.msg
    nowhere = restore(ground, backup_id="hv1-daily_20200101000000")
    assert "those of a backup of LUNs alone never have" in nowhere.msg
    assert hashes(ground) == before
    assert ground.guests.state(GUEST).state == "shutoff"


def test_the_catalog_of_another_host_takes_the_place_of_this_one(ground: Ground, lost: Path) -> None:
    before = damage(ground)
    manifest = base64.b64encode((lost / BACKUP / "manifest.json").read_bytes()).decode("ascii")
    wrong = base64.b64encode(base64.b64decode(manifest).replace(b'"w1"', b'"w2"')).decode("ascii")
    refused = restore(ground, backup_from={"manifest": wrong})
    assert "its checksum does not match its content" in refused.msg
    catalog = ground.seen(ground.catalog) / "backups"
    assert not catalog.exists()
    assert hashes(ground) == before
    outcome = restore(ground, backup_from={"manifest": manifest})
    assert not outcome.failed, outcome.msg
    assert hashes(ground) == hashes(ground, snapshot=BACKUP)
    assert (catalog / BACKUP / "manifest.json").read_bytes() == base64.b64decode(manifest)
    assert manifest not in json.dumps(outcome.result)


def test_a_guest_comes_back_under_a_new_name_beside_the_running_original(ground: Ground, lost: Path) -> None:
    domain = ground.guests.domain(GUEST)
    domain.create()
    before, definition = damage(ground), domain.XMLDesc(2)
    asked: dict[str, Any] = {"name": COPY, "guest": GUEST, "backup_id": BACKUP, "interfaces": "original"}
    asked["running"] = True
    planned = ground.module("kvm_vm_clone", check=True, **asked)
    assert planned["changed"] is True
    made = ground.module("kvm_vm_clone", **asked)
    assert not made.failed, made.msg
    copies = [ground.seen(Path(each["host_path"])) for each in made["disks"]]
    assert [hashlib.sha256(each.read_bytes()).hexdigest() for each in copies] == hashes(ground, snapshot=BACKUP)
    copied = ground.guests.domain(COPY).XMLDesc(2)
    assert "network='lan'" in copied
    assert "52:54:00:11:22:33" not in copied
    assert made["clone"]["state"] == "running"
    assert made["clone"]["uuid"] != domain.UUIDString()
    assert any("the catalog does not have the backup" in note for note in made["notes"])
    again = ground.module("kvm_vm_clone", **asked)
    assert (again["changed"], lost.exists()) == (False, True)
    assert (hashes(ground), domain.XMLDesc(2), domain.isActive()) == (before, definition, 1)
    gone = ground.module("kvm_vm_clone", name=COPY, state="absent")
    assert gone["changed"] is True
    assert COPY not in ground.guests.names()
    assert not any(each.exists() for each in copies)
    assert (hashes(ground), domain.isActive()) == (before, 1)
