# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog on the host: what is there after a write, and what a stranger's link cannot do."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import manifest, store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError


def test_what_is_saved_is_loaded_and_private(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    path = store.save(root, samples.manifest(), origin=Origin.OWN_RUN)
    assert store.load(root, samples.BACKUP) == samples.manifest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(item.stat().st_mode) for item in (root, path.parent)} == {0o700}
    assert sorted(item.name for item in path.parent.iterdir()) == ["manifest.json", "origin"]


def test_no_catalog_is_an_empty_one(tmp_path: Path) -> None:
    assert store.entries(tmp_path / "none") == []
    assert store.load(tmp_path / "none", samples.BACKUP) is None


def test_a_damaged_backup_is_listed_with_its_error_beside_the_sound_one(tmp_path: Path) -> None:
    store.save(tmp_path, samples.manifest(), origin=Origin.OWN_RUN)
    broken = tmp_path / "backups" / "a-broken_20260101000000"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    first, second = store.entries(tmp_path)
    assert first.manifest is None
    assert "not JSON" in str(first.error)
    assert second.manifest == samples.manifest()


def test_a_manifest_under_another_backup_s_name_is_refused(tmp_path: Path) -> None:
    path = store.save(tmp_path, samples.manifest(), origin=Origin.OWN_RUN)
    path.parent.rename(tmp_path / "backups" / "other")
    with pytest.raises(KvmsnapError, match=samples.BACKUP):
        store.load(tmp_path, "other")


ENTITY = "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/shadow'>]><domain><name>&e;</name></domain>"


def forged(**changes: Any) -> manifest.Manifest:
    """A manifest whose first guest was altered by somebody who can compute a checksum."""
    found = samples.manifest()
    return replace(found, guests=(replace(found.guests[0], **changes), *found.guests[1:]))


def with_path(path: str) -> manifest.Manifest:
    (disk,) = samples.manifest().guests[0].disks
    assert disk.storage is not None
    return forged(disks=(replace(disk, storage=replace(disk.storage, path=path)),))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (forged(xml=ENTITY), "it has a DOCTYPE"),
        (with_path("../vol0/etc/passwd"), "../vol0/etc/passwd"),
        (with_path("a/../../b"), "a/../../b"),
        (forged(files=(manifest.SavedFile("nvram", "/x", "../../x", "0"),)), "stored_as '../../x'"),
        (forged(files=(manifest.SavedFile("nvram", "/x", "a/x", "0"),)), "stored_as 'a/x'"),
    ],
    ids=["entity", "path out of the volume", "path that turns back", "side file elsewhere", "side file below"],
)
def test_a_forged_manifest_with_a_right_checksum_is_not_trusted(
    tmp_path: Path, found: manifest.Manifest, words: str
) -> None:
    path = store.save(tmp_path, found, origin=Origin.OWN_RUN)
    with pytest.raises(manifest.ManifestError) as caught:
        store.load(tmp_path, samples.BACKUP)
    assert caught.value.message.startswith(f"Failed to trust manifest {path}: ")
    assert words in caught.value.message
    (entry,) = store.entries(tmp_path)
    assert (entry.manifest, entry.error) == (None, caught.value.message)


def test_a_definition_that_only_speaks_of_doctypes_is_trusted(tmp_path: Path) -> None:
    spoken = forged(xml="<domain><description><![CDATA[<!DOCTYPE html>]]></description></domain>")
    store.save(tmp_path, spoken, origin=Origin.OWN_RUN)
    assert store.load(tmp_path, samples.BACKUP) == spoken


def test_removing_twice_says_what_it_did(tmp_path: Path) -> None:
    store.save(tmp_path, samples.manifest(), origin=Origin.OWN_RUN)
    assert store.remove(tmp_path, samples.BACKUP) is True
    assert store.remove(tmp_path, samples.BACKUP) is False
    assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/etc", ""])
def test_no_id_leaves_the_catalog(tmp_path: Path, name: str) -> None:
    with pytest.raises(KvmsnapError):
        store.remove(tmp_path, name)


def test_nvram_is_kept_beside_the_manifest(tmp_path: Path) -> None:
    source = tmp_path / "web1_VARS.fd"
    source.write_bytes(b"variables")
    found = [store.SideFile(samples.WEB, "nvram", str(source)), store.SideFile(samples.WEB, "tpm", "/nowhere")]
    kept, notes = store.keep_side_files(tmp_path / "catalog", samples.manifest(), found)
    assert len(notes) == 1
    assert "no tpm state yet" in notes[0]
    (item,) = kept.guests[0].files
    stored = store.backup_directory(tmp_path / "catalog", samples.BACKUP) / item.stored_as
    assert stored.read_bytes() == b"variables"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert item.path == str(source)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 8 << 40)


@pytest.mark.parametrize(
    ("put", "said"),
    [
        pytest.param(os.mkfifo, "neither a file nor a block device", id="a fifo"),
        pytest.param(lambda path: path.symlink_to("/etc/shadow"), "symbolic links", id="a link"),
        pytest.param(_huge, "more than", id="8 TiB"),
    ],
)
def test_what_is_put_in_the_place_of_variables_is_not_saved(
    tmp_path: Path, put: Callable[[Path], object], said: str
) -> None:
    """They may lie in a volume; the guest is named, and the others are saved."""
    source, honest = tmp_path / "VARS.fd", tmp_path / "tpm"
    put(source)
    honest.mkdir()
    found = [store.SideFile(samples.WEB, "nvram", str(source)), store.SideFile(samples.WEB, "tpm", str(honest))]
    keep = partial(store.keep_side_files, tmp_path / "catalog", samples.manifest(), found)
    kept, notes = bounded(keep, seconds=30, what="keep them")
    assert [item.kind for item in kept.guests[0].files] == ["tpm"]
    assert len(notes) == 1
    assert said in notes[0]


def test_a_directory_of_tpm_state_is_kept_as_one_private_archive(tmp_path: Path) -> None:
    source = tmp_path / samples.WEB
    (source / "tpm2").mkdir(parents=True)
    (source / "tpm2" / "tpm2-00.permall").write_bytes(b"state")
    found = [store.SideFile(samples.WEB, "tpm", str(source))]
    kept, notes = store.keep_side_files(tmp_path / "catalog", samples.manifest(), found)
    stored = store.backup_directory(tmp_path / "catalog", samples.BACKUP) / kept.guests[0].files[0].stored_as
    assert notes == []
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    with tarfile.open(stored) as archive:
        assert f"{samples.WEB}/tpm2/tpm2-00.permall" in archive.getnames()
