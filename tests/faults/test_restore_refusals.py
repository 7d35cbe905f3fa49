# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore must refuse, with real bytes and a real libvirtd: after each refusal nothing was touched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground

BACKUP = "hv1-daily_20261121020000"
GUEST, NEAR = "pair", "near"
VOLUMES = ("kvm_vol1", "kvm_vol2")
FIRST, SECOND = VOLUMES
SIZE = 1 << 20
ENTITY = "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/hostname'>]>"

Record = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Everything that a refused restore must leave as it is; files by their hashes, guests by libvirt's word."""

    disks: dict[str, str]
    guests: dict[str, tuple[Any, ...]]
    snapshots: dict[str, list[str]]
    catalog: dict[str, str]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host of its own: a guest with two equally large disks, a neighbour, a backup of both."""
    with Ground.beside("refusals") as found:
        for name in (GUEST, NEAR):
            found.guests.add_still(name, *VOLUMES)
            for volume in VOLUMES:
                with found.guests.image(name, volume).open("r+b") as image:
                    image.seek(4096)
                    image.write(f"{name} on {volume} at the time of the backup".encode())
        found.back_up(BACKUP)
        found.guests.domain(GUEST).destroy()
        for volume in VOLUMES:
            with found.guests.image(GUEST, volume).open("r+b") as image:
                image.seek(4096)
                image.write(b"written since".ljust(64))
        yield found


def world(ground: Ground) -> World:
    """Look at everything, on the storage's side where it is about bytes."""
    guests = {}
    for name in (GUEST, NEAR):
        domain = ground.guests.domain(name)
        guests[name] = (*domain.state(), domain.ID(), domain.autostart(), domain.XMLDesc(0), domain.XMLDesc(2))
    disks = {
        f"{name} on {volume}": hashlib.sha256(ground.guests.image(name, volume).read_bytes()).hexdigest()
        for name in (GUEST, NEAR)
        for volume in VOLUMES
    }
    root = ground.seen(ground.catalog)
    # A restore's lock is made by whoever looks first, refused or not, and holds nothing.
    files = [path for path in root.rglob("*") if path.is_file() and path.name != ".lock"]
    catalog = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return World(disks, guests, ground.snapshots(), catalog)


def refused(ground: Ground, **options: Any) -> Record:
    """Restore the guest, which must be refused and leave everything as it is; return the result."""
    before = world(ground)
    outcome = ground.module("kvm_app_restore", guests=[GUEST], backup_id=BACKUP, stop="destroy", **options)
    assert outcome.result.get("failed"), outcome.result or outcome.msg
    assert asdict(world(ground)) == asdict(before)
    return outcome.result


def codes(result: Record) -> list[tuple[str, str]]:
    """Return the codes of a refusal, each with the disk that it is about."""
    return [(problem["code"], problem["disk"]) for problem in result["problems"]]


@contextmanager
def redefined(ground: Ground, change: Callable[[str], str]) -> Iterator[None]:
    """Have the guest defined otherwise for a while."""
    xml = ground.guests.domain(GUEST).XMLDesc(2)
    assert change(xml) != xml
    ground.guests.connection.defineXML(change(xml))
    yield
    ground.guests.connection.defineXML(xml)


@contextmanager
def altered(ground: Ground, change: Callable[[str], str]) -> Iterator[None]:
    """Have another text in the place of the manifest in the catalog for a while."""
    path = ground.seen(ground.catalog) / "backups" / BACKUP / "manifest.json"
    text = path.read_text(encoding="utf-8")
    assert change(text) != text
    path.write_text(change(text), encoding="utf-8")
    yield
    path.write_text(text, encoding="utf-8")


def forged(change: Callable[[Record], object]) -> Callable[[str], str]:
    """Return how somebody alters a manifest who can compute its checksum."""

    def forge(text: str) -> str:
        record = json.loads(text)
        del record["checksum"]
        change(next(guest for guest in record["guests"] if guest["name"] == GUEST))
        canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return json.dumps({**record, "checksum": f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"})

    return forge


def test_two_disks_that_were_swapped_in_the_definition_are_refused(ground: Ground) -> None:
    first, second = (str(ground.guests.disk(GUEST, volume)) for volume in VOLUMES)

    def swap(xml: str) -> str:
        return xml.replace(first, "@").replace(second, first).replace("@", second)

    with redefined(ground, swap):
        result = refused(ground)
        assert codes(result) == [("disk-swapped", "vda"), ("disk-swapped", "vdb")]
        for words in (
            f"svm1:/vol/{FIRST}/pair.img was vda in the backup and is vdb now",
            f"svm1:/vol/{SECOND}/pair.img was vdb in the backup and is vda now",
        ):
            assert words in result["msg"]
        assert codes(refused(ground, disks=["vda"])) == [("disk-swapped", "vda")]


def test_a_disk_that_shrank_is_refused(ground: Ground) -> None:
    image = ground.guests.image(GUEST, SECOND)
    kept = image.read_bytes()
    os.truncate(image, SIZE - 65536)
    try:
        result = refused(ground)
    finally:
        image.write_bytes(kept)
    assert codes(result) == [("size-mismatch", "vdb")]
    assert f"its size is {SIZE - 65536} bytes now and was {SIZE} in the backup" in result["msg"]


def test_a_disk_that_gave_way_to_an_equal_one_is_refused(ground: Ground) -> None:
    mine, other = (str(ground.guests.disk(name, SECOND)) for name in (GUEST, "other"))
    ground.seen(Path(other)).write_bytes(bytes(SIZE))
    try:
        with redefined(ground, lambda xml: xml.replace(mine, other)):
            result = refused(ground)
    finally:
        ground.seen(Path(other)).unlink()
    assert codes(result) == [("disk-moved", "vdb")]
    assert f"svm1:/vol/{SECOND}/pair.img" in result["msg"]
    assert f"svm1:/vol/{SECOND}/other.img" in result["msg"]


def test_a_manifest_that_was_altered_is_refused(ground: Ground) -> None:
    with altered(ground, lambda text: text.replace(f'"volume": "{SECOND}"', f'"volume": "{FIRST}"')):
        result = refused(ground)
    assert f"backups/{BACKUP}/manifest.json: its checksum does not match its content" in result["msg"]


def _disk(change: Callable[[Record], object]) -> Callable[[Record], object]:
    return lambda guest: change(guest["disks"][1])


FORGED: dict[str, tuple[Callable[[Record], object], str]] = {
    "a path out of the volume": (
        _disk(lambda disk: disk["storage"].update(path="../kvm_vol1/near.img")),
        "../kvm_vol1",
    ),
    "a path that turns back": (_disk(lambda disk: disk["storage"].update(path="a/../near.img")), "a/../near.img"),
    "a neighbour's disk": (_disk(lambda disk: disk["storage"].update(path="near.img")), "/kvm_vol2/near.img"),
    "the manifest itself": (_disk(lambda disk: disk["storage"].update(path=f".kvmsnap/{BACKUP}.json")), ".kvmsnap/"),
    "a volume of no backup": (
        _disk(lambda disk: disk["storage"].update(volume_uuid="x")),
        "does not say where it lies",
    ),
    "a side file elsewhere": (
        lambda guest: guest.update(files=[{"kind": "nvram", "path": "/x", "stored_as": "../../x", "sha256": "0"}]),
        "stored_as '../../x'",
    ),
    "a side file below": (
        lambda guest: guest.update(files=[{"kind": "nvram", "path": "/x", "stored_as": "a/x", "sha256": "0"}]),
        "stored_as 'a/x'",
    ),
    "an entity": (lambda guest: guest.update(xml=ENTITY + guest["xml"]), "it has a DOCTYPE"),
    "another guest's uuid": (lambda guest: guest.update(uuid="6695eb01-f6a4-8304-79aa-97f2502e193f"), "another guest"),
}


@pytest.mark.parametrize(("change", "words"), FORGED.values(), ids=FORGED)
def test_a_manifest_that_was_forged_is_refused_though_its_checksum_is_right(
    ground: Ground, change: Callable[[Record], object], words: str
) -> None:
    with altered(ground, forged(change)):
        result = refused(ground)
    assert words in result["msg"]
    assert "Traceback" not in result["msg"]


@pytest.mark.parametrize("name", ["../../etc", f"../backups/{BACKUP}", "a/b", ".hidden"])
def test_a_name_that_is_a_path_is_refused(ground: Ground, name: str) -> None:
    before = world(ground)
    for option in ("backup_id", "restore_id"):
        named: Record = {option: name}
        outcome = ground.module("kvm_app_restore", guests=[GUEST], **named)
        assert outcome.failed
        assert f"{option} {name!r} cannot be used as a name" in outcome.msg
    assert world(ground) == before


def test_a_backup_under_the_name_of_another_is_refused(ground: Ground) -> None:
    backups = ground.seen(ground.catalog) / "backups"
    (backups / BACKUP).rename(backups / "hv1-daily_20261231020000")
    try:
        outcome = ground.module("kvm_app_restore", guests=[GUEST], backup_id="hv1-daily_20261231020000")
    finally:
        (backups / "hv1-daily_20261231020000").rename(backups / BACKUP)
    assert outcome.failed
    assert f"it is that of backup {BACKUP}" in outcome.msg


def test_files_that_exchanged_their_content_get_their_own_bytes_back(ground: Ground) -> None:
    """On the array a file is its path and nothing else: a restore brings to each path what it held."""
    near = ground.guests.image(NEAR, FIRST).read_bytes()
    mine, other = (ground.guests.image(GUEST, volume) for volume in VOLUMES)
    now = (mine.read_bytes(), other.read_bytes())
    mine.write_bytes(now[1])
    other.write_bytes(now[0])
    outcome = ground.module("kvm_app_restore", guests=[GUEST], backup_id=BACKUP, power="off")
    assert not outcome.failed, outcome.msg
    for volume in VOLUMES:
        restored = ground.guests.image(GUEST, volume).read_bytes()
        assert restored == ground.guests.image(GUEST, volume, snapshot=BACKUP).read_bytes()
        assert f"{GUEST} on {volume} at the time of the backup".encode() in restored
    assert ground.guests.image(NEAR, FIRST).read_bytes() == near
    assert ground.guests.state(GUEST).state == "shutoff"
