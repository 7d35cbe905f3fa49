# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a copy is made of: names of its own, files beside the originals, and nothing that would be shared."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from clone_plans import UUID, VOL1, VOL2, complete, planned

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.clone_record import CloneRecord
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.plan import (
    CloneRefusedError,
    chain_of,
    described,
    sources_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import NewSource


def at(path: str, **changes: Any) -> dict[str, Any]:
    return samples.disk(storage=samples.storage("vol1", path), path=f"/mnt/vol1/{path}", **changes)


def places(record: CloneRecord) -> list[tuple[str, int, str, str, str]]:
    return [(each.target, each.layer, each.source, each.storage.path, each.host_path) for each in record.files]


def test_a_copy_s_files_are_its_own_by_their_names() -> None:
    record = planned(complete())
    name = f"kvmsnap-clone-{UUID}-vda.img"
    assert places(record) == [("vda", 0, "web1.img", name, f"/mnt/vol1/{name}")]
    assert record.files[0].storage.volume_uuid == "vol1-uuid"
    assert (record.phase, record.mark.owner, record.mark.guest, record.mark.backup_id) == (
        "making",
        "drill",
        "web1",
        samples.BACKUP,
    )
    assert sources_of(record) == {"vda": NewSource("file", f"/mnt/vol1/{name}", "raw")}


@pytest.mark.parametrize(
    ("path", "mount", "directories", "expected"),
    [
        ("guests/a/x.img", HostVolume("/m"), {(VOL1, "guests/a")}, ("guests/a", "/m/guests/a")),
        ("guests/gone/x.img", HostVolume("/m"), set(), ("", "/m")),
        ("guests/a/x.img", HostVolume("/m", "guests"), {(VOL1, "guests/a")}, ("guests/a", "/m/a")),
        ("guests/gone/x.img", HostVolume("/m", "guests"), set(), ("guests", "/m")),
        ("guests/gone/x.img", HostVolume("/m"), {(VOL2, "guests/gone")}, ("", "/m")),
    ],
)
def test_a_file_goes_beside_its_original_or_where_the_volume_is_mounted(
    path: str, mount: HostVolume, directories: set[Any], expected: tuple[str, str]
) -> None:
    (made,) = planned(complete(samples.guest(disks=[at(path)])), mounts={VOL1: mount}, directories=directories).files
    name = f"kvmsnap-clone-{UUID}-vda.img"
    assert (made.storage.path, made.host_path) == (f"{expected[0]}/{name}".lstrip("/"), f"{expected[1]}/{name}")


def test_what_lies_below_an_overlay_is_copied_with_it_also_from_another_volume() -> None:
    disk = at("guests/a/top.qcow2", format="qcow2", backing=["/mnt/vol1/mid.qcow2", "/mnt/vol2/base.img"])
    record = planned(complete(samples.guest(disks=[disk]), volumes=("vol1", "vol2")))
    assert [(each.layer, each.source, each.storage.volume, each.format) for each in chain_of(record, "vda")] == [
        (0, "guests/a/top.qcow2", "vol1", "qcow2"),
        (1, "mid.qcow2", "vol1", ""),
        (2, "base.img", "vol2", ""),
    ]
    assert chain_of(record, "vda")[2].host_path == f"/mnt/vol2/kvmsnap-clone-{UUID}-vda-2.img"
    assert list(sources_of(record)) == ["vda"]


def test_a_host_that_mounts_the_volumes_elsewhere_finds_the_layers_all_the_same() -> None:
    disk = at("top.qcow2", format="qcow2", backing=["/mnt/vol1/base.img"])
    record = planned(complete(samples.guest(disks=[disk])), mounts={VOL1: HostVolume("/other/place")})
    assert [(each.source, each.host_path.rpartition("/")[0]) for each in record.files] == [
        ("top.qcow2", "/other/place"),
        ("base.img", "/other/place"),
    ]


@pytest.mark.parametrize(
    ("guest", "changes", "code", "words"),
    [
        (samples.guest(disks=[samples.disk(included=False)]), {}, "no-disk-saved", "none of its disks"),
        (samples.guest(), {"snapshots": {}}, "snapshot-missing", "svm1:vol1 has no snapshot"),
        (samples.guest(), {"snapshots": {VOL1: "another"}}, "snapshot-replaced", "uuid another, the backup's was vol1"),
        (
            samples.guest(),
            {"mounts": {}},
            "volume-not-mounted",
            "have the directory of svm1:/vol/vol1/web1.img mounted",
        ),
        (
            samples.guest(disks=[at("guests/a/x.img")]),
            {"mounts": {VOL1: HostVolume("/m", "elsewhere")}},
            "volume-not-mounted",
            "svm1:/vol/vol1/guests/a/x.img",
        ),
        (samples.guest(disks=[at("t", backing=["/local/base.img"])]), {}, "backing-file-outside", "/local/base.img"),
        (
            samples.guest(disks=[at("t", backing=["/mnt/vol1/../../etc/shadow"])]),
            {},
            "backing-file-outside",
            "/etc/shadow",
        ),
        (
            samples.guest(disks=[at("t", backing=["/mnt/vol1/.snapshot/x/base.img"])]),
            {},
            "backing-file-outside",
            ".snapshot",
        ),
        (
            samples.guest(disks=[samples.disk(storage=samples.storage("vol9"))]),
            {},
            "manifest-incomplete",
            "where it lies",
        ),
    ],
)
def test_what_cannot_be_kept_apart_is_refused(
    guest: dict[str, Any], changes: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(CloneRefusedError, match="nothing was made") as caught:
        planned(complete(guest), **changes)
    (problem,) = caught.value.fields["problems"]
    assert problem["code"] == code
    assert words in problem["message"]
    assert problem["remedy"].endswith(".")


def test_every_reason_is_told_at_once() -> None:
    with pytest.raises(CloneRefusedError) as caught:
        planned(complete(samples.two_volume_guest(), volumes=("vol1", "vol2")), snapshots={})
    assert [problem["disk"] for problem in caught.value.fields["problems"]] == ["vda", "vdb"]


def test_a_copy_is_described() -> None:
    assert described(None, "web1-copy") == "copy web1-copy: absent\n"
    text = described(planned(complete()), "web1-copy")
    assert "guest web1 from backup hv1-daily_20261121020000" in text
    assert f"vda: svm1:/vol/vol1/kvmsnap-clone-{UUID}-vda.img" in text
    assert "network: none" in text
