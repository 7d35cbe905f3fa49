# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the volumes of a backup carry: each its own guests, an index beside them, nothing of it after the backup."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import manifest, volume_copies
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.comment import SnapshotComment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_index import parse_index
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.volume_directory import ForeignDirectoryError

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
SECRET = "<domain><sysinfo type='smbios'><oemStrings><entry>s3cr3t</entry></oemStrings></sysinfo></domain>"


def mounted(found: manifest.Manifest, root: Path) -> manifest.Manifest:
    """The manifest with each volume mounted below ``root``."""
    for volume in found.volumes:
        (root / volume.volume).mkdir(parents=True)
    volumes = tuple(replace(each, mount_point=str(root / each.volume)) for each in found.volumes)
    return replace(found, run_id=RUN, volumes=volumes)


def three_guests(root: Path) -> manifest.Manifest:
    """web1 on vol1, db1 on vol1 and vol2, app1 on vol3."""
    app = samples.guest(
        "app1", "33333333-3333-4333-8333-333333333333", disks=[samples.disk(storage=samples.storage("vol3"))]
    )
    found = samples.manifest(
        samples.guest(xml=SECRET), samples.two_volume_guest(), app, volumes=("vol1", "vol2", "vol3")
    )
    return mounted(found, root)


def carried(root: Path, volume: str, found: manifest.Manifest) -> manifest.Manifest:
    """The manifest that a volume carries."""
    _index, name = volume_copies.names_of(found)
    return manifest.parse((root / volume / ".kvmsnap" / name).read_text(encoding="utf-8"), where=volume)


def put(found: manifest.Manifest) -> manifest.Manifest:
    """Put all there is into the volumes."""
    copies = volume_copies.put_parts(found)
    assert copies.notes == ()
    bound, notes = volume_copies.put_index(found, copies.parts, owner="hv1", run_id=RUN)
    assert notes == []
    return bound


def test_each_volume_carries_only_the_guests_that_have_a_disk_there(tmp_path: Path) -> None:
    found = three_guests(tmp_path)
    put(found)
    names = {
        each.volume: [guest.name for guest in carried(tmp_path, each.volume, found).guests] for each in found.volumes
    }
    assert names == {"vol1": ["web1", "db1"], "vol2": ["db1"], "vol3": ["app1"]}
    assert [each.volume for each in carried(tmp_path, "vol2", found).volumes] == ["vol1", "vol2"]
    assert carried(tmp_path, "vol2", found).guests[0] == found.guests[1]


def test_no_volume_carries_what_may_be_secret_and_the_backup_keeps_it(tmp_path: Path) -> None:
    found = three_guests(tmp_path)
    assert put(found).guests[0].xml == SECRET
    assert carried(tmp_path, "vol1", found).guests[0].left_out == ("sysinfo oemStrings",)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 6
    assert not [path for path in written if b"s3cr3t" in path.read_bytes()]


def test_the_comment_names_the_index_and_the_index_each_manifest(tmp_path: Path) -> None:
    found = three_guests(tmp_path)
    bound = put(found)
    index_name, part_name = volume_copies.names_of(found)
    comment = SnapshotComment.parse(bound.snapshot_comment or "")
    assert comment == SnapshotComment("hv1", RUN, comment.index if comment else None)
    for volume in found.volumes:
        place = tmp_path / volume.volume / ".kvmsnap"
        content = (place / index_name).read_bytes()
        assert comment is not None
        assert hashlib.sha256(content).hexdigest() == comment.index
        (part,) = [each for each in parse_index(content, where="x").parts if each.key == volume.key]
        assert part.sha256 == hashlib.sha256((place / part_name).read_bytes()).hexdigest()
        assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}


def test_two_hosts_put_their_manifests_side_by_side_under_one_index(tmp_path: Path) -> None:
    first = three_guests(tmp_path)
    second = replace(first, owner="hv2", guests=first.guests[:1], volumes=first.volumes[:1])
    parts = [*volume_copies.put_parts(first).parts, *volume_copies.put_parts(second).parts]
    comments = {
        volume_copies.put_index(each, parts, owner="hv1", run_id=RUN)[0].snapshot_comment for each in (first, second)
    }
    assert len(comments) == 1
    bound = [volume_copies.put_index(each, parts, owner="hv1", run_id=RUN)[0] for each in (first, second)]
    assert [each.shared_with for each in bound] == [
        {first.volumes[0].volume_uuid: ("hv2",)},
        {first.volumes[0].volume_uuid: ("hv1",)},
    ]
    assert len(list((tmp_path / "vol1" / ".kvmsnap").iterdir())) == 3
    assert [guest.name for guest in carried(tmp_path, "vol1", second).guests] == ["web1"]
    volume_copies.take_out(second)
    assert carried(tmp_path, "vol1", first).owner == "hv1"
    volume_copies.take_out(first)
    assert list(tmp_path.rglob(".kvmsnap")) == []


def test_a_check_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    found = three_guests(tmp_path)
    foreseen = volume_copies.put_parts(found, check=True)
    planned, _none = volume_copies.put_index(found, foreseen.parts, owner="hv1", run_id=RUN, check=True)
    assert [path for path in tmp_path.rglob("*") if path.name not in ("vol1", "vol2", "vol3")] == []
    assert planned == put(found)


@pytest.mark.parametrize("check", [True, False])
def test_what_somebody_else_has_put_there_is_refused(tmp_path: Path, check: bool) -> None:
    found = three_guests(tmp_path)
    (tmp_path / "vol2" / ".kvmsnap").symlink_to(tmp_path)
    with pytest.raises(ForeignDirectoryError, match=r"vol2/\.kvmsnap: it is a symbolic link"):
        volume_copies.refuse_foreign(found) if check else volume_copies.put_parts(found)


def test_an_unmounted_volume_is_a_remark_and_stands_in_the_index_without_a_manifest(tmp_path: Path) -> None:
    found = samples.manifest()
    gone = replace(found, volumes=tuple(replace(volume, mount_point=None) for volume in found.volumes))
    copies = volume_copies.put_parts(gone)
    assert copies.notes == ("svm1:vol1 is not mounted on this host",)
    assert [part.sha256 for part in copies.parts] == [None]


def test_a_volume_that_cannot_be_written_is_a_remark(tmp_path: Path) -> None:
    found = mounted(samples.manifest(), tmp_path)
    (tmp_path / "vol1").rmdir()
    copies = volume_copies.put_parts(found)
    assert copies.notes == (f"svm1:vol1 at {tmp_path}/vol1: No such file or directory",)
    assert [part.sha256 for part in copies.parts] == [None]


def test_a_volume_of_luns_takes_no_manifest(tmp_path: Path) -> None:
    place = samples.storage("san1", "luns/a", kind="lun", mount_point=None, lun=samples.lun())
    guest = samples.guest(disks=[samples.disk(), samples.disk("vdb", storage=place)])
    bare_guest = samples.guest("san1", "44444444-4444-4444-8444-444444444444", disks=[samples.disk(storage=place)])
    mixed = samples.manifest(guest, bare_guest, volumes=("vol1", "san1"))
    homes = {"vol1": str(tmp_path), "san1": None}
    mixed = replace(mixed, volumes=tuple(replace(each, mount_point=homes[each.volume]) for each in mixed.volumes))
    copies = volume_copies.put_parts(mixed)
    assert copies.notes == ()
    assert [part.sha256 is None for part in copies.parts] == [False, True]
    carried_there = (tmp_path / ".kvmsnap" / volume_copies.names_of(mixed)[1]).read_text(encoding="utf-8")
    assert [each.name for each in manifest.parse(carried_there, where="x").guests] == ["web1", "san1"]
    bare = samples.manifest(samples.guest(disks=[samples.disk(storage=place)]), volumes=("san1",))
    bare = replace(bare, volumes=tuple(replace(each, mount_point=None) for each in bare.volumes))
    assert volume_copies.put_parts(bare).notes == (
        "no snapshot carries the manifest; it is in the catalog of this host alone",
    )
