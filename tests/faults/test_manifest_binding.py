# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups whose catalog is gone, proven by the comment of their snapshots: two hosts on one volume, and keys."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kvmground import Ground
from kvmground.ground import SVM
from kvmground.playbooks import Playbooks

FIRST, SECOND = "hv0", "hv-00"
MINE, THEIRS = "p1", "p2"
VOLUME = "kvm_vol1"
TOGETHER, SIGNED = "group_20261121020000", "hv0-signed_20261121020000"
SECRETS = {"2025": b"the key of last year", "2026": b"the key of this year", "2027": b"the key of next year"}
KEYS = {name: {"id": name, "key": base64.b64encode(secret).decode("ascii")} for name, secret in SECRETS.items()}


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with two guests on one volume, each of which is of another host of the inventory."""
    with Ground.beside("bound") as found:
        for guest in (MINE, THEIRS):
            found.guests.add_still(guest, VOLUME, running=False)
        yield found


@pytest.fixture(scope="module")
def playbooks(ground: Ground) -> Playbooks:
    return Playbooks(ground, hosts=(FIRST, SECOND))


def content(ground: Ground, guest: str, snapshot: str | None = None) -> str:
    return hashlib.sha256(ground.guests.image(guest, VOLUME, snapshot=snapshot).read_bytes()).hexdigest()


def damage(ground: Ground, data: bytes) -> None:
    for guest in (MINE, THEIRS):
        with ground.guests.image(guest, VOLUME).open("r+b") as stream:
            stream.seek(65536)
            stream.write(data)


def carried(ground: Ground, backup_id: str) -> list[str]:
    """The names of what a snapshot carries."""
    place = ground.seen(ground.volume(VOLUME) / ".snapshot" / backup_id / ".kvmsnap")
    return sorted(path.name for path in place.iterdir())


def lose_catalogs(ground: Ground, playbooks: Playbooks) -> None:
    for directory in (ground.seen(ground.catalog), playbooks.work / f"catalog-{SECOND}"):
        shutil.rmtree(directory / "backups", ignore_errors=True)


def restore(ground: Ground, guest: str, backup_id: str, **options: Any) -> Any:
    return ground.module("kvm_app_restore", guests=[guest], backup_id=backup_id, safety_snapshot=False, **options)


@pytest.mark.parametrize("key", [{}, KEYS["2026"]], ids=["no key", "a key"])
def test_two_hosts_at_one_point_share_a_volume_and_both_come_back_without_their_catalogs(
    ground: Ground, playbooks: Playbooks, key: dict[str, str]
) -> None:
    name = f"{TOGETHER}-{len(key)}"
    mine = f"{{{{ ['{MINE}'] if inventory_hostname == '{FIRST}' else ['{THEIRS}'] }}}}"
    asked = {
        "kvm_hosts_pattern": "kvm_hosts",
        "kvm_backup_guests": mine,
        "kvm_backup_id": name,
        "kvm_manifest_key": key,
    }
    played = playbooks.run("kvmsnap.ontap.backup_one_point", asked)
    assert played.rc == 0, played.stdout
    assert not key or key["key"] not in played.stdout + str(played.entries)
    comments = {played.facts(host)["kvm_backup_result"]["comment"] for host in (FIRST, SECOND)}
    assert len(comments) == 1
    assert len(carried(ground, name)) == 3
    assert not ground.seen(ground.volume(VOLUME) / ".kvmsnap").exists()
    lose_catalogs(ground, playbooks)
    damage(ground, b"since the backup")
    trust = {"manifest_require": "signed", "manifest_key": key} if key else {}
    for guest in (MINE, THEIRS):
        done = restore(ground, guest, name, **trust)
        assert not done.failed, done.msg
        assert content(ground, guest) == content(ground, guest, name)


def test_one_point_in_time_that_cannot_be_bound_is_not_made_and_leaves_nothing(
    ground: Ground, playbooks: Playbooks
) -> None:
    """The second host's key cannot be used, so that it writes down nothing."""
    name, before = f"{TOGETHER}-refused", ground.snapshots()
    mine = f"{{{{ ['{MINE}'] if inventory_hostname == '{FIRST}' else ['{THEIRS}'] }}}}"
    short = {"id": "k", "key": base64.b64encode(b"short").decode("ascii")}
    key = f"{{{{ {{}} if inventory_hostname == '{FIRST}' else {short} }}}}"
    asked = {
        "kvm_hosts_pattern": "kvm_hosts",
        "kvm_backup_guests": mine,
        "kvm_backup_id": name,
        "kvm_manifest_key": key,
    }
    played = playbooks.run("kvmsnap.ontap.backup_one_point", asked)
    assert played.rc != 0
    assert "give at least 16 bytes in base64" in " ".join(played.failures(SECOND))
    assert ground.snapshots() == before
    for catalog in (ground.seen(ground.catalog), playbooks.work / f"catalog-{SECOND}"):
        assert not (catalog / "backups" / name).exists()
    assert not ground.seen(ground.volume(VOLUME) / ".kvmsnap").exists()


@pytest.mark.long
def test_a_host_that_cannot_write_down_its_part_leaves_the_other_one_its_snapshot(
    ground: Ground, playbooks: Playbooks
) -> None:
    """The first host, whose all snapshots are, can write nothing down from the end of the hold on."""
    name = f"{TOGETHER}-half"
    mine = f"{{{{ ['{MINE}'] if inventory_hostname == '{FIRST}' else ['{THEIRS}'] }}}}"
    entry = ground.catalog / "backups" / name
    stop = [{"command": f"chattr +i {entry}"}]
    hooks = {"before_resume": f"{{{{ {stop} if inventory_hostname == '{FIRST}' else [] }}}}"}
    asked = {
        "kvm_hosts_pattern": "kvm_hosts",
        "kvm_backup_guests": mine,
        "kvm_backup_id": name,
        "kvm_backup_hooks": hooks,
    }
    try:
        played = playbooks.run("kvmsnap.ontap.backup_one_point", asked)
    finally:
        subprocess.run(["chattr", "-i", ground.seen(entry)], check=False)
    assert "Not all of it could be taken back" in " ".join(played.failures(FIRST))
    assert played.facts(SECOND)["kvm_backup_result"]["phase"] == "complete"
    assert carried(ground, name), "the second host's backup has its snapshot"
    for way in ("module", "tasks"):
        alone = {"kvm_hosts_pattern": FIRST, "kvm_backup_guests": [MINE], "kvm_backup_id": name, "kvm_backup_mode": way}
        refused = " ".join(playbooks.run("kvmsnap.ontap.backup", alone).failures(FIRST))
        assert f"as one point in time with {SECOND}, whose parts of it may need its snapshots" in refused
        assert carried(ground, name)
    recovered = ground.module("kvm_leftovers", owner=FIRST, grace_period=0, orphans="absent")
    assert not recovered.failed, recovered.msg
    assert not ground.seen(entry).exists()
    again = ground.module(
        "kvm_leftovers", owner=FIRST, grace_period=0, orphans="absent", volumes=ground.discovered()["volumes"]
    )
    assert f"{SECOND} may have it as a backup" in str(again.result), "its index names both hosts"
    assert carried(ground, name)


def test_only_what_a_key_that_is_given_has_signed_is_believed_where_that_is_asked_for(ground: Ground) -> None:
    ground.back_up(SIGNED, MINE, manifest_key=KEYS["2025"])
    written = (ground.seen(ground.catalog) / "backups" / SIGNED).rglob("*")
    assert not [path for path in written if path.is_file() and SECRETS["2025"] in base64_free(path.read_bytes())]
    shutil.rmtree(ground.seen(ground.catalog) / "backups")
    damage(ground, b"since the signed backup")
    before = content(ground, MINE)
    wrong = {**KEYS["2026"], "id": "2025"}
    for trust, words in (
        ({"manifest_require": "signed"}, "no key was given"),
        ({"manifest_require": "signed", "manifest_key": KEYS["2026"]}, "signed with key 2025, which was not given"),
        ({"manifest_require": "signed", "manifest_key": wrong}, "and the key given does not fit"),
        ({"manifest_key": wrong}, "and the key given does not fit"),
    ):
        refused = restore(ground, MINE, SIGNED, **trust)
        assert words in refused.msg
        assert content(ground, MINE) == before
    keys = {"manifest_key": KEYS["2027"], "manifest_keys": [KEYS["2026"], KEYS["2025"]]}
    done = restore(ground, MINE, SIGNED, manifest_require="signed", **keys)
    assert not done.failed, done.msg
    assert content(ground, MINE) == content(ground, MINE, SIGNED)
    assert not [key["key"] for key in KEYS.values() if key["key"] in str(done.result)]


def base64_free(data: bytes) -> bytes:
    """The bytes, and with them what base64 in them would hide."""
    return data.replace(KEYS["2025"]["key"].encode("ascii"), SECRETS["2025"])


def test_an_owner_too_long_for_the_comment_is_refused_before_the_hold(ground: Ground) -> None:
    before = ground.snapshots()
    asked = {"backup_id": "hv0-long_20261121020000", "policy": "daily", **ground.discovered(guests=[MINE])}
    for check in (True, False):
        refused = ground.module("kvm_vm_backup", check=check, owner="h" * 104, **asked)
        assert "the comment of a snapshot has room for 103" in refused.msg
    assert ground.snapshots() == before
    made = ground.module("kvm_vm_backup", owner="h" * 103, **asked)
    assert not made.failed, made.msg
    assert asked["backup_id"] in ground.snapshots()[f"{SVM}:{VOLUME}"]
