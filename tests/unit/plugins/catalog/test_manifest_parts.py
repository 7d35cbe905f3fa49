# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup put together again from what its volumes carry."""

from __future__ import annotations

from dataclasses import replace

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, ManifestError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_parts import merge, part_of


def whole() -> Manifest:
    return samples.manifest(samples.guest(), samples.two_volume_guest(), volumes=("vol1", "vol2"))


def test_the_parts_of_all_volumes_are_the_backup_again() -> None:
    found = merge([part_of(whole(), volume) for volume in whole().volumes])
    assert (found.manifest, found.notes) == (replace(whole(), unprotected=()), ())


def test_a_part_alone_has_its_guests_whole() -> None:
    found = merge([part_of(whole(), whole().volumes[1])]).manifest
    assert [guest.name for guest in found.guests] == ["db1"]
    assert [volume.volume for volume in found.volumes] == ["vol1", "vol2"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_guest_of_two_hosts_is_taken_from_the_one_on_which_it_ran(turned: bool) -> None:
    ran = part_of(whole(), whole().volumes[0])
    standby = replace(ran, owner="hv2", guests=(replace(ran.guests[0], state="shutoff", autostart=True),))
    found = merge([standby, ran] if turned else [ran, standby])
    assert found.manifest.guest("web1") == ran.guests[0]
    assert found.notes == ("guest web1 is taken from hv1, where it ran",)


@pytest.mark.parametrize(("owner", "state"), [("hv1", "shutoff"), ("hv2", "running")])
def test_where_nothing_tells_which_guest_is_meant_nothing_is_taken(owner: str, state: str) -> None:
    first = part_of(whole(), whole().volumes[0])
    other = replace(first, owner=owner, guests=(replace(first.guests[0], state=state, autostart=True),))
    with pytest.raises(ManifestError, match=r"guest web1 \(.*\) is another one in the manifest of"):
        merge([first, other])
