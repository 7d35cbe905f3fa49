# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a copy is made of: names of its own, files beside the originals, and nothing that would be shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import clone_record
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.clone_record import CloneRecord
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.network import network_refusal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.plan import (
    CloneRefusedError,
    NewClone,
    Observation,
    chain_of,
    described,
    plan_clone,
    sources_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import NetworkState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import NewSource

UUID = "99999999-9999-4999-8999-999999999999"
VOL1, VOL2 = ("svm1-uuid", "vol1-uuid"), ("svm1-uuid", "vol2-uuid")
WANTED = NewClone("web1-copy", UUID, "drill", None, "2026-11-22T03:00:00+00:00", nvram="/nv/x.fd")


def complete(*guests: dict[str, Any], volumes: tuple[str, ...] = ("vol1",)) -> Manifest:
    """A manifest whose volumes have their snapshots."""
    started = samples.manifest(*guests, volumes=volumes)
    known = tuple(replace(volume, snapshot_uuid=f"{volume.volume}-snap") for volume in started.volumes)
    return started.completed_with(guests=started.guests, volumes=known, at="2026-11-21T02:01:00+00:00")


def planned(manifest: Manifest, **changes: Any) -> CloneRecord:
    how: dict[str, Any] = {
        "snapshots": {VOL1: "vol1-snap", VOL2: "vol2-snap"},
        "mounts": {VOL1: HostVolume("/mnt/vol1"), VOL2: HostVolume("/mnt/vol2")},
        "directories": {(VOL1, "guests/a")},
    }
    return plan_clone(manifest, manifest.guests[0], WANTED, Observation(**{**how, **changes}))


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


def test_names_of_a_manifest_do_not_become_paths() -> None:
    assert clone_record.file_name(UUID, "../v d/a", 0) == f"kvmsnap-clone-{UUID}-vda.img"


def test_a_copy_is_described() -> None:
    assert described(None, "web1-copy") == "copy web1-copy: absent\n"
    text = described(planned(complete()), "web1-copy")
    assert "guest web1 from backup hv1-daily_20261121020000" in text
    assert f"vda: svm1:/vol/vol1/kvmsnap-clone-{UUID}-vda.img" in text
    assert "network: none" in text


def test_a_record_survives_and_is_private(tmp_path: Path) -> None:
    record = replace(planned(complete()), network="drill")
    assert clone_record.load(tmp_path, "web1-copy") is None
    clone_record.save(tmp_path, record.at("made"))
    assert clone_record.load(tmp_path, "web1-copy") == record.at("made")
    path = tmp_path / "clones" / "web1-copy.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(path.with_name("other.json"))
    with pytest.raises(CatalogError, match="that of copy web1-copy"):
        clone_record.load(tmp_path, "other")
    clone_record.forget(tmp_path, "other")
    clone_record.forget(tmp_path, "other")
    assert clone_record.load(tmp_path, "other") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{", ""),
        ("kvmsnap.clone/1", "kvmsnap.clone/9"),
        ('"phase": "making"', '"phase": "x"'),
        ('"owner"', '"x"'),
        ('"path": "kvmsnap', '"path": "../kvmsnap'),
    ],
)
def test_a_record_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, old: str, new: str) -> None:
    clone_record.save(tmp_path, planned(complete()))
    path = tmp_path / "clones" / "web1-copy.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises((CatalogError, InputError), match=r"web1-copy[.]json|as a path inside"):
        clone_record.load(tmp_path, "web1-copy")


def test_a_second_maker_is_kept_out(tmp_path: Path) -> None:
    refused = pytest.raises(CatalogError, match="Another copy is being made")
    with clone_record.alone(tmp_path), refused, clone_record.alone(tmp_path):
        pass
    with clone_record.alone(tmp_path):
        pass


@pytest.mark.parametrize(
    ("xml", "active", "words"),
    [
        ("<network><name>n</name><bridge name='virbr9'/><ip address='10.0.0.1'/></network>", True, None),
        ("<network><forward mode='none'/></network>", True, None),
        ("<network/>", False, "not active"),
        ("<network><forward/></network>", True, "forwards (nat)"),
        ("<network><forward mode='route'/></network>", True, "forwards (route)"),
        ("<network><forward mode='bridge'/><bridge name='br0'/></network>", True, "forwards (bridge)"),
        ("<network><bridge name='virbr9' zone='public'/></network>", True, "firewall zone"),
    ],
)
def test_only_a_network_that_leads_nowhere_is_isolated(xml: str, active: bool, words: str | None) -> None:
    found = network_refusal(NetworkState("n", active, xml))
    assert (found is None) if words is None else (words in (found or ""))


def test_a_network_that_is_not_there_is_no_network() -> None:
    assert network_refusal(None) == "libvirt knows no such network on this host"
