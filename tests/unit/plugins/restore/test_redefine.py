# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests get another definition, and where on this host it says that their disks lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import redefine
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskNow, GuestNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.redefine import Redefinition

VOLUMES = ("vol1", "vol2")


def disk_xml(target: str, path: str) -> str:
    return f"<disk type='file'><driver type='raw'/><source file='{path}'/><target dev='{target}' bus='virtio'/></disk>"


def guest() -> SavedGuest:
    """db1 as it was saved, with a definition that says what its disks say."""
    (saved,) = samples.manifest(samples.two_volume_guest(), volumes=VOLUMES).guests
    disks = "".join(disk_xml(disk.target, disk.source) for disk in saved.disks)
    xml = f"<domain type='kvm'><name>{saved.name}</name><uuid>{saved.uuid}</uuid><devices>{disks}</devices></domain>"
    return replace(saved, xml=xml)


def now(saved: SavedGuest, **moved: str) -> GuestNow:
    """The guest as it is now; ``moved`` maps a target to another path inside its volume."""
    disks = []
    for disk in saved.saved_disks:
        assert disk.storage is not None
        path = moved.get(disk.target, disk.storage.path)
        place = replace(disk.storage, path=path)
        disks.append(DiskNow(disk.target, "raw", f"/mnt/{place.volume}/{path}", f"/mnt/{place.volume}", 1, (), place))
    return GuestNow(saved.name, saved.uuid, "shutoff", False, True, tuple(disks), xml=saved.xml)


@pytest.mark.parametrize(
    ("found", "asked", "expected"),
    [
        pytest.param(now(guest()), Redefinition(), None, id="it stays as it is"),
        pytest.param(None, Redefinition(), None, id="not defined, and not to be"),
        pytest.param(None, Redefinition(define_missing=True), ("replace", ()), id="defined anew"),
        pytest.param(now(guest()), Redefinition(define_missing=True), None, id="defined already"),
        pytest.param(now(guest(), vdb="other.img"), Redefinition(), None, id="moved: the plan refuses"),
        pytest.param(now(guest(), vdb="other.img"), Redefinition(old_place=True), ("keep", ("vdb",)), id="moved: back"),
        pytest.param(now(guest()), Redefinition(old_place=True), None, id="nothing was moved"),
        pytest.param(now(guest()), Redefinition("replace"), ("replace", ()), id="replaced"),
        pytest.param(now(guest()), Redefinition("merge"), ("merge", ()), id="merged"),
    ],
)
def test_who_gets_which_definition(
    found: Optional[GuestNow], asked: Redefinition, expected: Optional[tuple[str, tuple[str, ...]]]
) -> None:
    saved = guest()
    there = {saved.uuid: found} if found else {}
    new = redefine.new_definitions([saved], there, asked, here={}).get(saved.uuid)
    assert (new and (new.policy, new.targets)) == expected


def test_a_host_that_has_the_volume_elsewhere_gets_a_definition_that_says_so() -> None:
    saved = guest()
    first = saved.saved_disks[0].storage
    assert first is not None
    here = {(first.svm_uuid, first.volume_uuid): HostVolume("/srv/one")}
    new = redefine.new_definitions(
        [saved], {}, Redefinition(define_missing=True), here=here, real=lambda path: path, exists=lambda _path: True
    )
    sources = [disk.source for disk in parse_guest(new[saved.uuid].saved).disks]
    assert sources == [f"/srv/one/{first.path}", saved.saved_disks[1].source]
