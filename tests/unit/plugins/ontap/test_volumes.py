# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: read from records, placed by junction, chosen among several systems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef, volume_by_junction

VOLUME = Volume(controller="c1", svm="svm1", svm_uuid="s1", name="kvm_vol1", uuid="v1", junction="/kvm_vol1")


def mounted(*junctions: str | None) -> list[Volume]:
    """Return a volume for each junction, named after it."""
    return [replace(VOLUME, name=str(junction), uuid=str(junction), junction=junction) for junction in junctions]


@pytest.mark.parametrize(
    ("path", "junction", "rest"),
    [
        ("/kvm_vol1", "/kvm_vol1", ""),
        ("/kvm_vol1/", "/kvm_vol1", ""),
        ("/kvm_vol1/dir/a.img", "/kvm_vol1", "dir/a.img"),
        ("/kvm_vol1/nested/a.img", "/kvm_vol1/nested", "a.img"),
        ("/kvm_vol1/nested2/a.img", "/kvm_vol1", "nested2/a.img"),
        ("/KVM_vol1/Nested/Dir/A.img", "/kvm_vol1/nested", "Dir/A.img"),
        ("/kvm_vol11/a.img", "/", "kvm_vol11/a.img"),
        ("//kvm_vol1//a.img", "/kvm_vol1", "a.img"),
        ("/", "/", ""),
    ],
)
def test_the_longest_junction_wins(path: str, junction: str, rest: str) -> None:
    found = volume_by_junction(mounted("/", "/kvm_vol1/nested", None, "/kvm_vol1"), path)
    assert found is not None
    assert (found[0].junction, found[1]) == (junction, rest)


def test_a_path_under_no_junction_has_no_volume() -> None:
    assert volume_by_junction(mounted("/kvm_vol1", None), "/other/a.img") is None
    assert volume_by_junction([], "/") is None


def test_a_record_as_ontap_writes_it() -> None:
    record = {
        "uuid": "0070e9cb-6be2-11ed-b1a6-00a098d39e12",
        "name": "kvm_vol1",
        "size": 8589934592,
        "state": "online",
        "style": "flexvol",
        "type": "rw",
        "is_svm_root": False,
        "nas": {"path": "/kvm_vol1"},
        "snapshot_locking_enabled": True,
        "flexcache_endpoint_type": "origin",
        "svm": {"name": "svm1", "uuid": "835c0d25", "_links": {}},
    }
    assert Volume.from_record(record, controller="c1") == Volume(
        controller="c1",
        svm="svm1",
        svm_uuid="835c0d25",
        name="kvm_vol1",
        uuid="0070e9cb-6be2-11ed-b1a6-00a098d39e12",
        size=8589934592,
        junction="/kvm_vol1",
        snapshot_locking=True,
        flexcache="origin",
    )


def test_a_volume_that_is_not_mounted_has_no_junction() -> None:
    volume = Volume.from_record({"uuid": "v1", "name": "kvm_vol1"}, controller="c1")
    assert (volume.junction, volume.size, volume.label) == (None, None, ":kvm_vol1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"flexcache": "origin"}, None),
        ({"style": "flexgroup"}, "FlexGroup"),
        ({"flexcache": "cache"}, "FlexCache"),
        ({"type": "dp"}, "dp volume"),
        ({"type": "ls"}, "ls volume"),
        ({"state": "offline"}, "offline"),
        ({"state": "mixed"}, "mixed"),
    ],
)
def test_which_volumes_are_refused(change: dict[str, Any], reason: str | None) -> None:
    told = replace(VOLUME, **change).unfit()
    assert told is None if reason is None else reason in str(told)


@pytest.mark.parametrize("option", [{"svm": "", "volume": "v"}, {"svm": "s", "volume": " "}, {"svm": None}, {}])
def test_a_volume_without_a_name_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="both svm and volume"):
        VolumeRef.from_option(option)


def test_a_volume_option_is_read() -> None:
    option = {"svm": " svm1", "volume": "kvm_vol1", "volume_uuid": "", "controller": None}
    assert VolumeRef.from_option(option) == VolumeRef("svm1", "kvm_vol1")
