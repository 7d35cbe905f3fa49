# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are off and have a disk of another guest without naming it by its path: nothing is overwritten."""

from __future__ import annotations

import hashlib
import json
import subprocess
import uuid as uuids
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvmground import Ground

BACKUP = "hv1-daily_20261121020000"
VOLUME = "kvm_vol1"
OWNER, OTHER = "owner", "other"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest that was backed up, is off, and whose disk was changed since."""
    with Ground.beside("indirect") as found:
        found.guests.add_still(OWNER, VOLUME)
        found.back_up(BACKUP)
        found.guests.domain(OWNER).destroy()
        with found.guests.image(OWNER, VOLUME).open("r+b") as image:
            image.write(b"written since")
        yield found


def create(image: Path, *options: str) -> None:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, image.name, "1M"]
    subprocess.run(command, check=True, timeout=30, cwd=image.parent)


def data_file(image: Path, target: str) -> None:
    """An image whose data are in the target; it is made for another file, since making it empties that."""
    create(image, "-o", f"data_file={'x' * len(target)},data_file_raw=on")
    image.with_name("x" * len(target)).unlink()
    content = image.read_bytes()
    image.write_bytes(content.replace(b"x" * len(target), target.encode()))


def nodes(image: Path, target: str) -> None:
    described = {"driver": "raw", "file": {"driver": "file", "filename": target}}
    create(image, "-u", "-b", f"json:{json.dumps(described)}", "-F", "raw")


def dotted_nodes(image: Path, target: str) -> None:
    described = {"driver": "raw", "file.driver": "file", "file.filename": target}
    create(image, "-u", "-b", f"json:{json.dumps(described)}", "-F", "raw")


def prefixed(image: Path, target: str) -> None:
    create(image, "-u", "-b", f"file:{target}", "-F", "raw")


def link(image: Path, target: str) -> None:
    image.symlink_to(target)


WAYS: dict[str, Callable[[Path, str], None]] = {
    "an image that keeps its data in it": data_file,
    "an overlay that describes nodes": nodes,
    "an overlay that describes nodes with dots": dotted_nodes,
    "an overlay with a file: before the path": prefixed,
    "a link to it": link,
}


LONG = (dotted_nodes, link, prefixed)


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, id=name, marks=pytest.mark.long if way in LONG else ()) for name, way in WAYS.items()],
)
def test_another_guest_s_disk_is_not_overwritten(ground: Ground, way: Callable[[Path, str], None]) -> None:
    mine = ground.guests.disk(OWNER, VOLUME)
    image = ground.seen(mine.with_name("other.img"))
    before = hashlib.sha256(ground.seen(mine).read_bytes()).hexdigest()
    way(image, str(mine) if way is not data_file else mine.name)
    xml = ground.guests.domain(OWNER).XMLDesc(2)
    xml = xml.replace(ground.guests.domain(OWNER).UUIDString(), str(uuids.uuid4()))
    xml = xml.replace(f"<name>{OWNER}</name>", f"<name>{OTHER}</name>").replace(
        str(mine), str(mine.with_name(image.name))
    )
    if not image.is_symlink():
        xml = xml.replace("type='raw'", "type='qcow2'")
    domain = ground.guests.connection.defineXML(xml)
    try:
        planned = ground.module("kvm_app_restore", check=True, guests=[OWNER], backup_id=BACKUP)
        done = ground.module(
            "kvm_app_restore", guests=[OWNER], backup_id=BACKUP, restore_id=f"way_{list(WAYS.values()).index(way)}"
        )
    finally:
        domain.undefine()
        image.unlink()
    assert hashlib.sha256(ground.seen(mine).read_bytes()).hexdigest() == before
    assert (planned.failed, done.failed) == (True, True)
    assert f"guest {OTHER}" in planned.msg, planned.msg
    assert f"guest {OTHER}" in done.msg, done.msg
