# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is used when the catalog of the host does not have it: out of the array's snapshots, or handed over.

The array is simulated, a volume stands for its own mount; what a stranger may have put there is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import samples
from backup_site import Site
from virt import Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import (
    catalog,
    choice,
    manifest,
    plan,
    snapshot_manifest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.catalog import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.choice import Chosen, chosen_backup
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Manifest, ManifestError, SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import connected
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy

VOLUMES = ("kvm_vol1", "kvm_vol2")
VARIABLES = b"variables"


class Scene:
    """A host that has two volumes of the array mounted, and a catalog that has lost its backups."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site, self.id, self.root = site, site.name, site.root
        self.points = {name: site.sim.volume_root("svm1", name) for name in VOLUMES}
        self.stale: list[str] = []
        self._patch = monkeypatch
        self.mount()

    def mount(self) -> None:
        """Let the host have the volumes mounted where they are."""
        monkeypatch, keys = self._patch, {str(self.points[name]): self._key(name) for name in VOLUMES}
        monkeypatch.setattr(snapshot_manifest, "nfs_points", lambda: [*keys, *self.stale])
        monkeypatch.setattr(
            snapshot_manifest,
            "volumes_at",
            lambda _clients, points, _deadline: {p: keys[p] for p in points if p in keys},
        )

    def volumes(self) -> list[dict[str, Any]]:
        """The volumes as a discovery of this host returns them."""
        return [{**self.site._volume(name), "mount_point": str(self.points[name])} for name in VOLUMES]

    def started(self, *volumes: str, **changes: Any) -> Manifest:
        """The started manifest of a backup on these volumes."""
        found = samples.manifest()
        wanted = [each for each in self.volumes() if each["volume"] in (volumes or VOLUMES)]
        saved = tuple(manifest.SavedVolume.from_record(each) for each in wanted)
        return replace(found, **{"backup_id": self.id, "volumes": saved, **changes})

    def carry(self, content: bytes, *volumes: str) -> None:
        """Let the volumes' snapshots carry a manifest."""
        for name in volumes or VOLUMES:
            place = self.points[name] / ".kvmsnap" / f"{self.id}.json"
            place.parent.mkdir()
            place.write_bytes(content)
            comment = f"kvmsnap/hv1: {self.started().comment}"
            self.site.sim.control.add_snapshot("svm1", name, self.id, comment=comment)
            shutil.rmtree(place.parent)

    def chosen(self, wanted: str | None = None) -> Chosen:
        """Choose the backup as a restore does."""
        deadline = Deadline.after(30)
        with connected([self.site.controller()], policy=RetryPolicy(), deadline=deadline) as clients:
            return chosen_backup(self.root, wanted or self.id, guests=["web1"], clients=clients, deadline=deadline)

    def _key(self, name: str) -> tuple[str, str]:
        found = self.site._volume(name)
        return (found["svm_uuid"], found["volume_uuid"])


@pytest.fixture
def scene(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The scene; the snapshots of the test go with it."""
    made = Scene(site, monkeypatch)
    yield made
    for name in site.snapshots():
        site.delete(name)


def dumped(found: Manifest) -> bytes:
    return manifest.dump(found).encode("ascii")


def altered(found: Manifest, **changes: Any) -> bytes:
    """A manifest with a right checksum and fields that none of ours has."""
    record = {**json.loads(manifest.dump(found)), **changes}
    record.pop("checksum")
    return json.dumps({**record, "checksum": manifest._checksum(record)}).encode("ascii")


def test_a_backup_whose_catalog_is_gone_comes_out_of_its_snapshots(scene: Scene) -> None:
    scene.site.add("web1", *VOLUMES, agent=Inside())
    made = scene.site.back_up(volumes=scene.volumes())
    known = catalog.load(scene.root, scene.id)
    assert known is not None
    shutil.rmtree(scene.root)
    sent = len(scene.site.sim.control.requests())
    found = scene.chosen()
    assert found.manifest.guests == tuple(replace(guest, consistency=None) for guest in known.guests)
    told = {each["volume"]: (each["snapshot_uuid"], each["create_time"]) for each in made["backup"]["volumes"]}
    assert {each.volume: (each.snapshot_uuid, each.create_time) for each in found.manifest.volumes} == told
    assert found.manifest.complete
    assert found.origin is Origin.REBUILT
    (note,) = found.notes
    assert "the one in the snapshot of svm1:kvm_vol1, svm1:kvm_vol2" in note
    assert "level that it reached is unknown" in note
    assert all(each["method"] == "GET" for each in scene.site.sim.control.requests()[sent:])
    assert not scene.root.exists()


def test_side_files_that_the_catalog_still_has_are_used_and_others_told(scene: Scene) -> None:
    digest = hashlib.sha256(VARIABLES).hexdigest()
    files = (SavedFile("nvram", "/nv", "web.nvram", digest), SavedFile("tpm", "/tpm", "web.tpm", digest))
    started = scene.started()
    scene.carry(dumped(replace(started, guests=(replace(started.guests[0], files=files),))))
    directory = catalog.backup_directory(scene.root, scene.id)
    directory.mkdir(parents=True)
    (directory / "web.nvram").write_bytes(VARIABLES)
    found = scene.chosen()
    assert [file.kind for file in found.manifest.guests[0].files] == ["nvram"]
    assert found.notes_on(samples.WEB, instead="gone") == (
        *found.notes,
        "state of the TPM: kept in the catalog only, which is gone; gone",
    )
    assert found.notes_on(samples.DB, instead="gone") == found.notes


def test_a_mount_that_does_not_answer_is_told_and_keeps_nobody_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    look = snapshot_manifest.copy_below

    def stuck(point: str, backup_id: str) -> bytes | None:
        if point in scene.stale:
            ended.wait(60)
        return look(point, backup_id)

    monkeypatch.setattr(snapshot_manifest, "copy_below", stuck)
    monkeypatch.setattr(snapshot_manifest, "_MOUNT_SECONDS", 0.5)
    scene.stale = ["/mnt/dead"]
    with pytest.raises(InputError, match=r"/mnt/dead did not answer"):
        scene.chosen()
    scene.carry(dumped(scene.started()))
    found = scene.chosen()
    ended.set()
    assert found.notes[1:] == ("the mount /mnt/dead did not answer and was not looked at",)


def test_a_backup_that_is_nowhere_is_said_to_be_nowhere(scene: Scene) -> None:
    scene.site.sim.control.add_snapshot("svm1", "kvm_vol1", scene.id)
    with pytest.raises(InputError, match=r"holds none\. No snapshot below an NFS mount .* of LUNs alone never have"):
        scene.chosen()
    with pytest.raises(InputError, match="cannot be used as a name"):
        scene.chosen("../../etc")


def with_disk(found: Manifest, **changes: Any) -> bytes:
    """The manifest with other words about its guest's disk."""
    record = json.loads(manifest.dump(found))
    record["guests"][0]["disks"][0]["storage"].update(changes)
    return altered(found, guests=record["guests"])


def with_guest(found: Manifest, **changes: Any) -> bytes:
    """The manifest with other words about its guest."""
    record = json.loads(manifest.dump(found))
    record["guests"][0].update(changes)
    return altered(found, guests=record["guests"])


EVIL = "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/shadow'>]><domain><name>&e;</name></domain>"
FORGED: list[tuple[str, Callable[[Manifest], bytes], str]] = [
    ("checksum", lambda found: dumped(found).replace(b'"daily"', b'"other"'), "checksum does not match"),
    ("no json", lambda _found: b"{", "not JSON"),
    ("no text", lambda _found: b"\xff\xfe", "Failed to trust manifest"),
    ("deep", lambda _found: b"[" * 200_000, "not JSON"),
    ("schema", lambda found: altered(found, schema="kvmsnap.manifest/9"), "schema is 'kvmsnap.manifest/9'"),
    ("another backup", lambda found: altered(found, backup_id="hv1-other"), "its backup is hv1-other"),
    ("completed", lambda found: altered(found, phase="complete"), "its phase is complete, not started"),
    ("path out of the volume", lambda found: with_disk(found, path="../vol0/etc/passwd"), r"\.\./vol0"),
    ("side file's name", lambda found: with_guest(found, files=[{"stored_as": "../../x"}]), r"stored_as '\.\./\.\./x'"),
    ("entity", lambda found: with_guest(found, xml=EVIL), "DOCTYPE"),
    ("guests of no kind", lambda found: altered(found, guests=["web1"]), "wrong kind"),
    ("volumes of no kind", lambda found: altered(found, volumes=[{"svm": ["x"]}]), "wrong kind"),
    ("no volume of it", lambda found: dumped(replace(found, volumes=found.volumes[1:])), "is none of its volumes"),
]


@pytest.mark.parametrize(("forged", "words"), [each[1:] for each in FORGED], ids=[each[0] for each in FORGED])
def test_a_manifest_that_was_forged_is_not_believed(
    scene: Scene, forged: Callable[[Manifest], bytes], words: str
) -> None:
    scene.carry(forged(scene.started()))
    with pytest.raises(ManifestError, match=words):
        scene.chosen()
    assert not scene.root.exists()


def test_copies_that_differ_are_not_believed(scene: Scene) -> None:
    scene.carry(dumped(scene.started()), "kvm_vol1")
    scene.carry(dumped(scene.started(run_id="another")), "kvm_vol2")
    with pytest.raises(ManifestError, match=r"they differ below .*kvm_vol1 \(sha256 .*kvm_vol2 \(sha256"):
        scene.chosen()


def test_a_snapshot_of_another_run_does_not_bear_a_manifest_out(scene: Scene) -> None:
    scene.carry(dumped(scene.started()), "kvm_vol1")
    scene.site.sim.control.add_snapshot("svm1", "kvm_vol2", scene.id, comment="kvmsnap/hv1: run another, 1 guests")
    words = (
        r"on svm1:kvm_vol2 has the comment 'kvmsnap/hv1: run another, 1 guests', .* 'kvmsnap/hv1: run run, 1 guests'"
    )
    with pytest.raises(ManifestError, match=words):
        scene.chosen()


def test_a_volume_without_the_snapshot_or_out_of_reach_is_named(scene: Scene) -> None:
    started = scene.started()
    strange = replace(started.volumes[1], volume="elsewhere", volume_uuid="77777777-7777-4777-8777-777777777777")
    scene.carry(dumped(replace(started, volumes=(*started.volumes, strange))), "kvm_vol1")
    with pytest.raises(ManifestError) as caught:
        scene.chosen()
    assert "volume svm1:kvm_vol2 has no snapshot of that name" in caught.value.message
    assert "no controller given has volume svm1:elsewhere" in caught.value.message


def test_a_copy_on_a_mount_that_is_none_of_the_array_is_passed_over(scene: Scene, tmp_path: Path) -> None:
    place = tmp_path / "other" / ".snapshot" / scene.id / ".kvmsnap"
    place.mkdir(parents=True)
    (place / f"{scene.id}.json").write_bytes(dumped(scene.started(run_id="forged")))
    scene.stale = [str(tmp_path / "other")]
    with pytest.raises(InputError, match="There is no backup"):
        scene.chosen()
    scene.carry(dumped(scene.started()))
    assert scene.chosen().manifest.run_id == "run"
    (place / f"{scene.id}.json").unlink()
    (place / f"{scene.id}.json").symlink_to("/etc/passwd")
    assert scene.chosen().manifest.run_id == "run"


def test_a_link_on_a_volume_of_the_array_stops_the_restore(scene: Scene, tmp_path: Path) -> None:
    scene.carry(dumped(scene.started()), "kvm_vol1")
    place = tmp_path / "mount" / ".snapshot" / scene.id / ".kvmsnap"
    place.mkdir(parents=True)
    (place / f"{scene.id}.json").symlink_to("/etc/passwd")
    scene.points["kvm_vol2"] = tmp_path / "mount"
    scene.mount()
    with pytest.raises(ManifestError, match="it is a link, or below one"):
        scene.chosen()


def link(place: Path) -> None:
    """A link in place of the manifest, to one that would be believed."""
    aside = place.with_name("aside")
    aside.write_bytes(b"{}")
    place.symlink_to(aside)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (link, "it is a link, or below one"),
        (os.mkfifo, "it is no file"),
        (lambda place: place.mkdir(), "it is no file"),
    ],
    ids=["link", "fifo", "directory"],
)
def test_what_is_no_file_is_not_read(tmp_path: Path, act: Callable[[Path], Any], words: str) -> None:
    place = tmp_path / "mount" / ".snapshot" / samples.BACKUP / ".kvmsnap" / f"{samples.BACKUP}.json"
    place.parent.mkdir(parents=True)
    act(place)
    with pytest.raises(ManifestError, match=words):
        snapshot_manifest.copy_below(str(tmp_path / "mount"), samples.BACKUP)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_no_link_on_the_way_is_followed(tmp_path: Path, level: int) -> None:
    parts = [".snapshot", samples.BACKUP, ".kvmsnap"]
    elsewhere, mount = tmp_path / "elsewhere", tmp_path / "mount"
    mount.mkdir()
    place = elsewhere.joinpath(*parts, f"{samples.BACKUP}.json")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"{}")
    above = mount.joinpath(*parts[:level])
    above.mkdir(parents=True, exist_ok=True)
    (above / parts[level]).symlink_to(elsewhere.joinpath(*parts[: level + 1]))
    if level == 2:
        with pytest.raises(ManifestError, match="it is a link, or below one"):
            snapshot_manifest.copy_below(str(mount), samples.BACKUP)
    else:
        assert snapshot_manifest.copy_below(str(mount), samples.BACKUP) is None
    assert snapshot_manifest.copy_below(str(elsewhere), samples.BACKUP) == b"{}"


def test_a_manifest_larger_than_any_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_manifest, "MAX_BYTES", 100)
    place = tmp_path / ".snapshot" / samples.BACKUP / ".kvmsnap" / f"{samples.BACKUP}.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x" * 100)
    assert snapshot_manifest.copy_below(str(tmp_path), samples.BACKUP) == b"x" * 100
    place.write_bytes(b"x" * 101)
    with pytest.raises(ManifestError, match="larger than 100 bytes"):
        snapshot_manifest.copy_below(str(tmp_path), samples.BACKUP)


# A backup out of the catalog of another host.


def complete() -> Manifest:
    """A complete backup of web1 with its UEFI variables."""
    done = plan.complete(
        samples.manifest(), holds=[samples.hold()], snapshots=[samples.snapshot()], asked="unknown", at="2026-11-21"
    )
    file = SavedFile("nvram", "/nv", "web.nvram", hashlib.sha256(VARIABLES).hexdigest())
    return replace(done, guests=(replace(done.guests[0], files=(file,)),))


def given(found: Manifest | None = None, **files: bytes) -> dict[str, Any]:
    """The option ``backup_from``."""
    content = files or {"web.nvram": VARIABLES}
    return {
        "manifest": encoded(dumped(found or complete())),
        "files": {name: encoded(data) for name, data in content.items()},
    }


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def taken(root: Path, option: dict[str, Any], *, wanted: str = samples.BACKUP, guest: str = "web1") -> Chosen:
    return chosen_backup(root, wanted, guests=[guest], clients=[], deadline=Deadline.after(5), given=option)


def test_a_backup_of_another_catalog_is_verified_first_and_kept_when_it_is_used(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    for wanted in (samples.BACKUP, "latest"):
        found = taken(root, given(), wanted=wanted)
        assert found.manifest == complete()
        assert not root.exists()
    assert found.notes == ("the backup was handed over from the catalog of another host",)
    found.keep(root)
    assert catalog.load(root, samples.BACKUP) == complete()
    directory = catalog.backup_directory(root, samples.BACKUP)
    assert (directory / "web.nvram").read_bytes() == VARIABLES
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, directory)} == {0o700}
    again = taken(root, {**given(), "files": {}})
    again.keep(root)
    assert (directory / "web.nvram").read_bytes() == VARIABLES


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (given(replace(complete(), phase="started")), "was never completed"),
        (given(**{"web.nvram": b"tampered"}), "its sha256 is .*, the manifest's"),
        (given(**{"web.nvram": VARIABLES, "other": b"x"}), "has no file other"),
        (given(**{"../../x": b"x"}), "cannot be used as a name"),
        ({**given(), "files": {}}, "web.nvram of backup .* is neither in backup_from nor in the catalog"),
        ({**given(), "files": {"web.nvram": "!"}}, "is not base64"),
        ({**given(), "manifest": encoded(dumped(complete()).replace(b"daily", b"other"))}, "checksum does not match"),
        ({**given(), "manifest": "{}"}, "manifest.json in backup_from is not base64"),
        (given(replace(complete(), backup_id="hv1-other_20261121020000")), "holds backup hv1-other.*, not hv1-daily"),
        (given(replace(complete(), guests=(replace(complete().guests[0], xml=EVIL),))), "DOCTYPE"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, option: dict[str, Any], words: str
) -> None:
    with pytest.raises(KvmsnapError, match=words):
        taken(tmp_path / "catalog", option)
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_guests_that_are_not_wanted_may_be_missing(tmp_path: Path) -> None:
    assert taken(tmp_path, {**given(), "files": {}}, guest="db1").manifest == complete()


def test_another_backup_of_that_name_in_this_catalog_stays(tmp_path: Path) -> None:
    catalog.save(tmp_path, replace(complete(), run_id="mine"), origin=Origin.OWN_RUN)
    before = (catalog.backup_directory(tmp_path, samples.BACKUP) / "manifest.json").read_bytes()
    with pytest.raises(CatalogError, match="another of that name, of run mine, and the one given is of run run"):
        taken(tmp_path, given())
    assert (catalog.backup_directory(tmp_path, samples.BACKUP) / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("origin", list(Origin))
def test_what_this_catalog_has_already_keeps_its_origin(tmp_path: Path, origin: Origin) -> None:
    catalog.save(tmp_path, complete(), origin=origin)
    found = taken(tmp_path, given())
    assert found.origin is origin
    found.keep(tmp_path)
    assert catalog.origin_of(tmp_path, samples.BACKUP) is origin


def test_the_restore_s_backup_is_asked_of_the_array_only_when_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_asked: Any, **_more: Any) -> Any:
        raise AssertionError("a session was opened")

    monkeypatch.setattr(choice, "connected", nobody)
    options = {"timeout": 5, "retry_count": 0, "controllers": []}
    handed_over = choice.backup_of(tmp_path, samples.BACKUP, {**options, "backup_from": given()})
    assert (handed_over.given is not None, handed_over.origin) == (True, Origin.IMPORTED)
    catalog.save(tmp_path, complete(), origin=Origin.OWN_RUN)
    assert choice.backup_of(tmp_path, samples.BACKUP, options) == Chosen(complete(), Origin.OWN_RUN)
    with pytest.raises(AssertionError, match="a session was opened"):
        choice.backup_of(tmp_path, "hv1-other_20261121020000", options)
