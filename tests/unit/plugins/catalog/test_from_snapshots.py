# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is used when the catalog of the host does not have it: out of the array's snapshots, or handed over.

The array is simulated, a volume stands for its own mount; what a stranger may have put there is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import samples
from backup_site import Site
from handed_over import VARIABLES, dumped
from virt import Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    from_snapshots,
    manifest,
    store,
    volume_copies,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, ManifestError, SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_index import made_index
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import ManifestKey, Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import Chosen, chosen_backup
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import volume_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.volume_directory import (
    Carried,
    UnreadableCopyError,
    read_carried,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

VOLUMES = ("kvm_vol1", "kvm_vol2")
RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
UNPROVEN = Trust(require="none")


NO_INDEX = "its manifest is unproven: no index binds it to the snapshots (manifest_require is none)"


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
        monkeypatch.setattr(from_snapshots, "nfs_points", lambda: [*keys, *self.stale])
        monkeypatch.setattr(
            from_snapshots,
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
        return replace(found, **{"backup_id": self.id, "volumes": saved, "run_id": RUN, **changes})

    def carry(self, content: bytes, *volumes: str) -> None:
        """Let the volumes' snapshots carry a manifest as a version put it there that wrote no index."""
        for name in volumes or VOLUMES:
            place = self.points[name] / ".kvmsnap" / f"{self.id}.json"
            place.parent.mkdir()
            place.write_bytes(content)
            self.site.sim.control.add_snapshot("svm1", name, self.id, comment=self.started().stored_comment)
            shutil.rmtree(place.parent)

    def chosen(self, wanted: str | None = None, trust: Trust = UNPROVEN) -> Chosen:
        """Choose the backup as a restore does; most tests are about manifests without an index."""
        deadline = Deadline.after(30)
        with self.site.access().connected(deadline) as clients:
            found = {"guests": ["web1"], "clients": clients, "deadline": deadline, "trust": trust}
            return chosen_backup(self.root, wanted or self.id, **found)

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


def altered(found: Manifest, **changes: Any) -> bytes:
    """A manifest with a right checksum and fields that none of ours has."""
    record = {**json.loads(manifest.dump(found)), **changes}
    record.pop("checksum")
    return json.dumps({**record, "checksum": manifest._checksum(record)}).encode("ascii")


def test_a_backup_whose_catalog_is_gone_comes_out_of_its_snapshots(scene: Scene) -> None:
    scene.site.add("web1", *VOLUMES, agent=Inside())
    made = scene.site.back_up(volumes=scene.volumes())
    known = store.load(scene.root, scene.id)
    assert known is not None
    shutil.rmtree(scene.root)
    sent = len(scene.site.sim.control.requests())
    found = scene.chosen(trust=Trust())
    assert found.manifest.guests == tuple(replace(guest, consistency=None) for guest in known.guests)
    assert found.manifest.snapshot_comment == known.snapshot_comment
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
    directory = store.backup_directory(scene.root, scene.id)
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
    look = from_snapshots.read_carried

    def stuck(point: str, backup_id: str, names: tuple[str, ...]) -> Carried:
        if point in scene.stale:
            ended.wait(60)
        return look(point, backup_id, names)

    monkeypatch.setattr(from_snapshots, "read_carried", stuck)
    monkeypatch.setattr(from_snapshots, "_MOUNT_SECONDS", 0.25)
    scene.stale = ["/mnt/dead"]
    with pytest.raises(InputError, match=r"/mnt/dead did not answer"):
        scene.chosen()
    scene.carry(dumped(scene.started()))
    found = scene.chosen()
    ended.set()
    assert found.notes[1:] == (NO_INDEX, "the mount /mnt/dead did not answer and was not looked at")


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
    ("volumes of no kind", lambda found: altered(found, volumes=[{"svm": ["x"]}]), "is missing or is no text"),
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
    scene.carry(dumped(scene.started(policy="another")), "kvm_vol2")
    with pytest.raises(ManifestError, match=r"they differ below .*kvm_vol1 \(sha256 .*kvm_vol2 \(sha256"):
        scene.chosen()


def test_a_snapshot_of_another_run_does_not_bear_a_manifest_out(scene: Scene) -> None:
    scene.carry(dumped(scene.started()), "kvm_vol1")
    another = f"kvmsnap/hv1: run {RUN.replace('0', '1')}, 1 guests"
    scene.site.sim.control.add_snapshot("svm1", "kvm_vol2", scene.id, comment=another)
    words = f"on svm1:kvm_vol2 has the comment '{another}', .* 'kvmsnap/hv1: run {RUN}, 1 guests'"
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
    assert scene.chosen().manifest.run_id == RUN
    (place / f"{scene.id}.json").unlink()
    (place / f"{scene.id}.json").symlink_to("/etc/passwd")
    assert scene.chosen().manifest.run_id == RUN


def test_a_link_on_a_volume_of_the_array_stops_the_restore(scene: Scene, tmp_path: Path) -> None:
    scene.carry(dumped(scene.started()), "kvm_vol1")
    place = tmp_path / "mount" / ".snapshot" / scene.id / ".kvmsnap"
    place.mkdir(parents=True)
    (place / f"{scene.id}.json").symlink_to("/etc/passwd")
    scene.points["kvm_vol2"] = tmp_path / "mount"
    scene.mount()
    with pytest.raises(ManifestError, match="it is a link"):
        scene.chosen()


def below(mount: Path) -> bytes | None:
    """Read the manifest out of the snapshot below a mount point."""
    name = f"{samples.BACKUP}.json"
    return read_carried(str(mount), samples.BACKUP, (name,)).files.get(name)


def twice(place: Path) -> None:
    """A file that has another name, too."""
    place.write_bytes(b"{}")
    os.link(place, place.with_name("another"))


def link(place: Path) -> None:
    """A link in place of the manifest, to one that would be believed."""
    aside = place.with_name("aside")
    aside.write_bytes(b"{}")
    place.symlink_to(aside)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (link, "it is a link"),
        (os.mkfifo, "it is no file"),
        (lambda place: place.mkdir(), "it is no file"),
        (twice, "the file has 2 names"),
    ],
    ids=["link", "fifo", "directory", "two names"],
)
def test_what_is_no_file_is_not_read(tmp_path: Path, act: Callable[[Path], Any], words: str) -> None:
    place = tmp_path / "mount" / ".snapshot" / samples.BACKUP / ".kvmsnap" / f"{samples.BACKUP}.json"
    place.parent.mkdir(parents=True)
    act(place)
    with pytest.raises(UnreadableCopyError, match=words):
        below(tmp_path / "mount")


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
        with pytest.raises(UnreadableCopyError, match="it is a link"):
            below(mount)
    else:
        assert below(mount) is None
    assert below(elsewhere) == b"{}"


def test_a_manifest_larger_than_any_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_directory, "MAX_BYTES", 100)
    place = tmp_path / ".snapshot" / samples.BACKUP / ".kvmsnap" / f"{samples.BACKUP}.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x" * 100)
    assert below(tmp_path) == b"x" * 100
    place.write_bytes(b"x" * 101)
    with pytest.raises(UnreadableCopyError, match="larger than 100 bytes"):
        below(tmp_path)


# A backup that an index binds to its snapshots.

KEY, OLDER = ManifestKey("k2", b"a key of this year"), ManifestKey("k1", b"a key of last year")


class Bound:
    """A started backup whose volumes carry what this version puts there, before their snapshots are made."""

    def __init__(self, scene: Scene, key: ManifestKey | None = None) -> None:
        self.scene = scene
        started = replace(scene.started(), guests=self._guests(scene))
        copies = volume_copies.put_parts(started)
        self.manifest, notes = volume_copies.put_index(started, copies.parts, owner="hv1", run_id=RUN, key=key)
        assert (copies.notes, notes) == ((), [])
        self.index, self.part = volume_copies.names_of(started)

    def _guests(self, scene: Scene) -> tuple[manifest.SavedGuest, ...]:
        """web1 on the first volume, db1 on both."""
        first, second = scene.volumes()

        def place(volume: dict[str, Any], path: str) -> dict[str, Any]:
            keys = ("svm_uuid", "volume", "volume_uuid")
            return samples.storage(path=path, **{key: volume[key] for key in keys})

        web = samples.guest(disks=[samples.disk(storage=place(first, "web1.img"))])
        disks = [samples.disk(storage=place(first, "db1.img")), samples.disk("vdb", storage=place(second, "db1.img"))]
        db = samples.guest("db1", samples.DB, disks=disks, xml=SYSINFO)
        return tuple(manifest.SavedGuest.from_record(each) for each in (web, db))

    def file(self, volume: str, name: str) -> Path:
        """A file that a volume carries."""
        return self.scene.points[volume] / ".kvmsnap" / name

    def snapshot(self, *volumes: str, comment: str | None = None) -> None:
        """Make the snapshots, with the comment that this run gives."""
        for name in volumes or VOLUMES:
            given = self.manifest.stored_comment if comment is None else comment
            self.scene.site.sim.control.add_snapshot("svm1", name, self.scene.id, comment=given)
        for name in VOLUMES:
            shutil.rmtree(self.scene.points[name] / ".kvmsnap", ignore_errors=True)


SYSINFO = "<domain><sysinfo type='smbios'><oemStrings><entry>s3cr3t</entry></oemStrings></sysinfo></domain>"
HASH, SIGNED = Trust(), Trust("signed", (KEY,))


@pytest.mark.parametrize("trust", [HASH, SIGNED, UNPROVEN, Trust("signed", (OLDER, KEY))])
def test_a_bound_backup_is_put_together_from_all_its_volumes(scene: Scene, trust: Trust) -> None:
    bound = Bound(scene, KEY)
    bound.snapshot()
    found = scene.chosen(trust=trust)
    assert [guest.name for guest in found.manifest.guests] == ["web1", "db1"]
    assert found.manifest.stored_comment == bound.manifest.stored_comment
    assert found.notes[1:] == ("guest db1: sysinfo oemStrings may be secret and is not in the copy; give it again",)
    assert "s3cr3t" not in found.manifest.guests[1].xml


def test_further_fields_of_the_comment_change_nothing(scene: Scene) -> None:
    bound = Bound(scene)
    bound.snapshot(comment=f"{bound.manifest.stored_comment}; level=offline")
    assert len(scene.chosen(trust=HASH).manifest.guests) == 2


def test_a_volume_that_is_not_mounted_here_is_named_and_its_guests_are_those_of_the_others(scene: Scene) -> None:
    Bound(scene).snapshot()
    del scene.points["kvm_vol1"]
    scene.points["kvm_vol1"] = scene.root / "nowhere"
    scene.mount()
    found = scene.chosen(trust=HASH)
    assert [guest.name for guest in found.manifest.guests] == ["db1"]
    assert "not seen on this host: the manifest of hv1 on svm1:kvm_vol1; guests of those alone" in found.notes[1]


def swap_part(bound: Bound) -> None:
    """Somebody swaps a manifest for one with a right checksum."""
    place = bound.file("kvm_vol2", bound.part)
    found = manifest.parse(place.read_text(encoding="utf-8"), where="x")
    place.write_text(manifest.dump(replace(found, guests=(replace(found.guests[0], name="evil"),))), encoding="utf-8")


def swap_both(bound: Bound) -> None:
    """Somebody swaps a manifest and the index that names it."""
    swap_part(bound)
    place = bound.file("kvm_vol2", bound.index)
    parts = json.loads(place.read_bytes())
    for part in parts["parts"]:
        if part["volume"] == "svm1:kvm_vol2":
            part["sha256"] = hashlib.sha256(bound.file("kvm_vol2", bound.part).read_bytes()).hexdigest()
    place.write_bytes(json.dumps(parts, indent=1, sort_keys=True).encode("ascii") + b"\n")


def old_style(bound: Bound) -> None:
    """Somebody puts a manifest of the old kind in the index's place."""
    bound.file("kvm_vol2", bound.index).write_bytes(dumped(bound.scene.started()))


SWAPS: dict[str, tuple[Callable[[Bound], object], str]] = {
    "a manifest": (swap_part, r"and the index [0-9a-f]{64}: it was swapped or damaged before the snapshot"),
    "a manifest and its index": (swap_both, "is not the one that the comment of the snapshot names: it was swapped"),
    "a manifest of the old kind": (old_style, "is not the one that the comment of the snapshot names: it was swapped"),
    "an empty index": (lambda bound: bound.file("kvm_vol1", bound.index).write_bytes(b""), "it was swapped or damaged"),
}


@pytest.mark.parametrize("trust", [HASH, SIGNED, UNPROVEN], ids=lambda trust: trust.require)
@pytest.mark.parametrize(("swap", "words"), SWAPS.values(), ids=SWAPS.keys())
def test_what_was_swapped_before_the_snapshot_is_never_believed(
    scene: Scene, swap: Callable[[Bound], object], words: str, trust: Trust
) -> None:
    bound = Bound(scene, KEY)
    swap(bound)
    bound.snapshot()
    with pytest.raises(ManifestError, match=words):
        scene.chosen(trust=trust)


@pytest.mark.parametrize(
    ("key", "trust", "words"),
    [
        (None, SIGNED, "it is not signed"),
        (KEY, Trust("signed", (OLDER,)), r"signed with key k2, which was not given"),
        (
            KEY,
            Trust("signed", (ManifestKey("k2", b"another key of it"),)),
            "signed with key k2, and the key given does not fit",
        ),
        (
            KEY,
            Trust("hash", (ManifestKey("k2", b"another key of it"),)),
            "signed with key k2, and the key given does not fit",
        ),
    ],
)
def test_a_signature_that_is_needed_and_does_not_hold_is_refused(
    scene: Scene, key: ManifestKey | None, trust: Trust, words: str
) -> None:
    Bound(scene, key).snapshot()
    with pytest.raises(ManifestError, match=words):
        scene.chosen(trust=trust)


def test_a_signature_by_a_key_that_is_unknown_is_none_where_none_is_needed(scene: Scene) -> None:
    Bound(scene, KEY).snapshot()
    assert len(scene.chosen(trust=Trust("hash", (OLDER,))).manifest.guests) == 2


def test_manifests_without_an_index_are_unproven_and_refused_by_default(scene: Scene) -> None:
    scene.carry(dumped(scene.started()))
    for trust in (HASH, SIGNED):
        with pytest.raises(ManifestError, match=r"unproven: .* manifest_require=none \(kvm_manifest_require\)"):
            scene.chosen(trust=trust)
    assert scene.chosen(trust=UNPROVEN).notes[1:] == (NO_INDEX,)


def test_an_index_that_no_comment_names_is_refused_whatever_is_required(scene: Scene) -> None:
    scene.carry(made_index(scene.id, owner="hv1", run_id=RUN, parts=()).dump())
    with pytest.raises(ManifestError, match=r"an index lies below .*, and the comment of the snapshot names none"):
        scene.chosen()


def test_comments_of_which_some_name_an_index_and_others_do_not_are_refused(scene: Scene) -> None:
    bound = Bound(scene)
    scene.site.sim.control.add_snapshot("svm1", "kvm_vol2", scene.id, comment=scene.started().stored_comment)
    bound.snapshot("kvm_vol1")
    for trust in (HASH, UNPROVEN):
        with pytest.raises(ManifestError, match=r"some of its snapshots name an index .*, and others do not"):
            scene.chosen(trust=trust)


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_without_an_index_a_directory_that_others_could_write_into_is_not_believed(scene: Scene, mode: int) -> None:
    place = scene.points["kvm_vol1"] / ".kvmsnap"
    place.mkdir()
    (place / f"{scene.id}.json").write_bytes(dumped(scene.started("kvm_vol1")))
    place.chmod(mode)
    comment = scene.started().stored_comment
    scene.site.sim.control.add_snapshot("svm1", "kvm_vol1", scene.id, comment=comment)
    shutil.rmtree(place)
    with pytest.raises(ManifestError, match="others may write into it"):
        scene.chosen()


@pytest.mark.parametrize("comment", ["", "kvmsnap/hv1:", "kvmsnap/hv1: before restore r on hv1", "made by hand"])
@pytest.mark.parametrize("trust", [HASH, UNPROVEN], ids=lambda trust: trust.require)
def test_a_snapshot_that_no_backup_made_bears_nothing_out(scene: Scene, comment: str, trust: Trust) -> None:
    Bound(scene).snapshot(comment=comment)
    with pytest.raises(ManifestError, match=r"which no backup gave|names no index"):
        scene.chosen(trust=trust)


def test_snapshots_of_two_runs_are_no_backup(scene: Scene) -> None:
    bound = Bound(scene)
    bound.snapshot("kvm_vol1")
    Bound(scene, KEY).snapshot("kvm_vol2")
    with pytest.raises(ManifestError, match="its snapshots are of different runs"):
        scene.chosen(trust=HASH)
