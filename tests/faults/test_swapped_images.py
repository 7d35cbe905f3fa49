# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that somebody with access to the volume swapped just before the snapshot reaches nobody's guest."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvmground import Ground

GUEST, VOLUME = "swapped", "kvm_vol1"
SECRET = "/etc/passwd"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest on a qcow2 image."""
    with Ground.beside("swap") as found:
        found.guests.add_still(GUEST, VOLUME, running=False)
        image = found.guests.image(GUEST, VOLUME)
        image.unlink()
        create(image)
        xml = found.guests.domain(GUEST).XMLDesc(2)
        found.guests.connection.defineXML(xml.replace("type='raw'", "type='qcow2'"))
        yield found


def create(image: Path, *options: str) -> None:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, image.name, "1M"]
    subprocess.run(command, check=True, timeout=30, cwd=image.parent)


def over_a_file_of_the_host(image: Path) -> None:
    create(image, "-u", "-b", SECRET, "-F", "raw")


def data_in_a_file_of_the_host(image: Path) -> None:
    create(image, "-o", f"data_file={'x' * len(SECRET)},data_file_raw=on")
    image.with_name("x" * len(SECRET)).unlink()
    image.write_bytes(image.read_bytes().replace(b"x" * len(SECRET), SECRET.encode()))


@pytest.mark.parametrize(
    ("swap", "number"),
    [(over_a_file_of_the_host, 1), pytest.param(data_in_a_file_of_the_host, 2, marks=pytest.mark.long)],
)
def test_what_the_snapshot_has_must_be_what_the_backup_says(
    ground: Ground, swap: Callable[[Path], None], number: int
) -> None:
    backup = f"hv1-daily_2026112102000{number}"
    image = ground.guests.image(GUEST, VOLUME)
    found = ground.discovered()
    honest = image.read_bytes()
    image.unlink()
    swap(image)
    made = ground.module("kvm_vm_backup", backup_id=backup, owner="hv1", policy="daily", **found)
    assert not made.failed, made.msg
    image.write_bytes(honest)
    done = ground.module("kvm_app_restore", guests=[GUEST], backup_id=backup, restore_id=f"swapped_{number}")
    after, left = image.read_bytes(), [path.name for path in image.parent.iterdir()]
    image.write_bytes(honest)
    assert after == honest
    assert done.failed
    assert SECRET in done.msg
    assert not [name for name in left if name.startswith(".kvmsnap")]
