# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of this host a foreign guest may name, and where on this host the disks of its backup lie."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_allowed import FIRMWARE_DIRECTORIES
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import (
    Allowed,
    own_nvram,
    places_of,
    site_of,
)

HERE = frozenset(["default"])

NONE: dict[str, Any] = {"allowed_networks": [], "allowed_paths": []}


@pytest.mark.parametrize(
    ("given", "networks"),
    [
        ({}, HERE),
        ({"allowed_networks": []}, HERE),
        ({"allowed_networks": [""]}, HERE),
        ({"allowed_networks": [" "]}, HERE),
        ({"allowed_networks": ["lan", " br0"]}, frozenset(["lan", "br0"])),
    ],
)
def test_networks_are_those_of_libvirt_unless_others_are_named(given: dict[str, Any], networks: frozenset[str]) -> None:
    with closing(connect("test:///default", retry_count=0)) as host:
        assert site_of(host, Allowed.from_options({**NONE, **given})).networks == networks


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({}, frozenset()),
        ({"allowed_paths": [""]}, frozenset()),
        ({"allowed_paths": ["/boot/k", " /boot/i\n"]}, frozenset(["/boot/k", "/boot/i"])),
    ],
)
def test_files_are_those_that_a_person_names(given: dict[str, Any], paths: frozenset[str]) -> None:
    with closing(connect("test:///default", retry_count=0)) as host:
        site = site_of(host, Allowed.from_options({**NONE, **given}))
    assert (site.paths, site.firmware) == (paths, FIRMWARE_DIRECTORIES)


def test_uefi_variables_are_this_guest_s_own() -> None:
    found = own_nvram("u-1", "web1")
    assert "/var/lib/libvirt/qemu/nvram/web1_VARS.fd" in found
    assert "/etc/libvirt/qemu/nvram/u-1_VARS.qcow2" in found
    assert len(found) == 8
    assert not [path for path in own_nvram("u-1", "../../../../tmp/x") if "tmp" in path]


def test_disks_of_a_lost_guest_lie_where_this_host_has_their_volumes() -> None:
    (saved,) = samples.manifest(samples.two_volume_guest(), volumes=("vol1", "vol2")).guests
    first, second = saved.saved_disks
    assert first.storage is not None
    assert second.storage is not None
    here = {(first.storage.svm_uuid, first.storage.volume_uuid): HostVolume("/mnt/one")}

    def a_link(path: str) -> str:
        return f"/elsewhere{path}"

    assert places_of(saved, None, here, real=str) == {first.target: f"/mnt/one/{first.storage.path}"}
    assert places_of(saved, None, {}, real=str) == {}
    assert places_of(saved, None, here, real=a_link) == {}


@pytest.mark.parametrize(("real", "found"), [("/dev/dm-3", True), ("/dev/sda", False), ("/tmp/x", False)])
def test_a_lun_is_its_map_by_wwid_or_nowhere(real: str, found: bool) -> None:
    lun = samples.disk(storage=samples.storage(kind="lun", path="lun1", lun=samples.lun()))
    (saved,) = samples.manifest(samples.guest(disks=[lun])).guests
    places = places_of(saved, None, {}, real=lambda _path: real)
    assert places == ({"vda": f"/dev/disk/by-id/dm-uuid-mpath-{samples.lun()['wwid']}"} if found else {})
