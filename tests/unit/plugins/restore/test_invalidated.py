# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore makes worthless is named before it happens."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import host_guard
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.invalidated import (
    invalidated_in_image,
    invalidated_of_guest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskNow


@pytest.mark.parametrize(
    ("snapshots", "checkpoints", "says"),
    [
        ([], [], []),
        (["s1"], [], ["snapshots s1 do not fit"]),
        ([], ["c1", "c2"], ["checkpoints c1, c2 are of no use"]),
        (["s1"], ["c1"], ["virsh snapshot-delete web1", "virsh checkpoint-delete web1"]),
    ],
)
def test_what_libvirt_has_of_a_guest(snapshots: list[str], checkpoints: list[str], says: list[str]) -> None:
    notes = invalidated_of_guest("web1", snapshots=snapshots, checkpoints=checkpoints)
    assert len(notes) == len(says)
    assert all(word in note for word, note in zip(says, notes))


@pytest.mark.parametrize(
    ("snapshots", "bitmaps", "says"),
    [([], [], []), (["s1", "s2"], [], ["(s1, s2)"]), ([], ["b1"], ["(b1)"]), (["s1"], ["b1"], ["(s1)", "(b1)"])],
)
def test_what_is_inside_an_image(snapshots: list[str], bitmaps: list[str], says: list[str]) -> None:
    notes = invalidated_in_image(snapshots=snapshots, bitmaps=bitmaps)
    assert len(notes) == len(says)
    assert all(word in note for word, note in zip(says, notes))


def test_a_real_image_is_looked_into_and_a_raw_one_never(tmp_path: Path) -> None:
    path = str(tmp_path / "web1.qcow2")
    for command in (["create", "-f", "qcow2", path, "1M"], ["snapshot", "-c", "before", path]):
        subprocess.run(["qemu-img", *command], check=True, capture_output=True)
    subprocess.run(["qemu-img", "bitmap", "--add", path, "nightly"], check=True, capture_output=True)
    disk = DiskNow("vda", "qcow2", path, str(tmp_path), 1 << 20, (), Storage.from_record(samples.storage()))
    notes = host_guard._with_invalidated(disk).notes
    assert [word in note for word, note in zip(("(before)", "(nightly)"), notes)] == [True, True]
    assert host_guard._with_invalidated(replace(disk, format="raw")).notes == ()
    assert host_guard._with_invalidated(replace(disk, format="vmdk")).notes == ()
