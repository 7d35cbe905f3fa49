# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore and its undo from options to plan: single disks, and what lies on the host beside the disks."""

from __future__ import annotations

import base64
import hashlib
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import found
import pytest
import samples
from asked import restore_request

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import from_snapshots, store, volume_copies
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import manifest as manifests
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    GuestProgress,
    Journal,
    Safety,
    SafetySnapshot,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import Discovery, DiscoveryRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import RestoreRefusedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest

VOLUMES = ("vol1", "vol2")
SAFETY = "hv1-safety_20261122020000"
SIZE = 1 << 26
SAVED, BEFORE = b"variables of the backup", b"variables from before"

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"


def asked(root: Path, **changes: Any) -> RestoreRequest:
    """A request to restore db1."""
    return restore_request(root, **{"guests": ["db1"], "backup_id": samples.BACKUP, "restore_id": "r1", **changes})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog with one backup of db1, which is off and has its UEFI variables in ``vars.fd``."""
    nvram = tmp_path / "vars.fd"
    nvram.write_bytes(b"variables of now")
    started = samples.manifest(samples.two_volume_guest(), volumes=VOLUMES)
    complete = samples.completed(
        started,
        holds=[samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot(name) for name in VOLUMES],
        at="2026-11-21T02:00:03+00:00",
    )
    file = SavedFile("nvram", str(nvram), "db.nvram", hashlib.sha256(SAVED).hexdigest())
    store.save(tmp_path, replace(complete, guests=(replace(complete.guests[0], files=(file,)),)), origin=Origin.OWN_RUN)
    (store.backup_directory(tmp_path, samples.BACKUP) / "db.nvram").write_bytes(SAVED)
    now = {
        **samples.two_volume_guest(),
        "state": "shutoff",
        "managed_save": False,
        "nvram": str(nvram),
        "tpm": False,
    }
    for disk in now["disks"]:
        disk.update(readonly=False)
        disk["storage"].update(locks=True)
    monkeypatch.setattr(run, "discover", lambda _asked, **_how: found.discovery(now))
    monkeypatch.setattr(ArrayAccess, "connected", lambda *_asked: nullcontext([]))
    monkeypatch.setattr(
        run,
        "locate",
        lambda _clients, volumes, **_more: {
            volume.key: SimpleNamespace(client=None, volume=None) for volume in volumes
        },
    )
    names = (samples.BACKUP, SAFETY)
    monkeypatch.setattr(
        run,
        "snapshots_of",
        lambda _places, volumes, **_more: {
            volume.key: {
                name: SimpleNamespace(uuid=snapshot_uuid(volume.volume, name), create_time=None) for name in names
            }
            for volume in volumes
        },
    )
    monkeypatch.setattr(run, "file_size", lambda *_args, **_more: SIZE)
    return tmp_path


def snapshot_uuid(volume: str, name: str) -> str:
    return f"{volume}-snap" if name == samples.BACKUP else f"{volume}-{name}"


def planned(result: dict[str, Any]) -> dict[str, Any]:
    (guest,) = result["plan"]["guests"]
    return {
        "disks": [(disk["target"], disk["snapshot"]) for disk in guest["disks"]],
        "files": [Path(file["source"]).read_bytes() for file in guest["files"]],
    }


@pytest.mark.parametrize(
    ("state", "unused_elsewhere", "codes"),
    [
        ("running", True, ["disk-used-elsewhere"]),
        ("shutoff", False, ["disk-used-elsewhere"]),
        ("shutoff", True, []),
    ],
)
def test_a_disk_that_a_guest_of_another_host_uses_is_refused_whatever_is_said(
    root: Path, state: str, unused_elsewhere: bool, codes: list[str]
) -> None:
    db2 = {**samples.two_volume_guest(), "uuid": samples.WEB, "name": "db2", "state": state}
    db2["disks"] = [{**db2["disks"][1], "type": "file"}]
    request = asked(root, other_hosts_guests={"hv2": [db2]}, disks_unused_elsewhere=unused_elsewhere)
    if codes:
        with pytest.raises(RestoreRefusedError, match="db2") as caught:
            run.run(request, check=True)
        assert [each["code"] for each in caught.value.fields["problems"]] == codes
    else:
        assert "used by guest db2 (vdb) of host hv2, shutoff, too" in str(run.run(request, check=True)["plan"])


def test_initiators_of_hosts_that_were_asked_are_known_to_the_discovery(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    really = run.discover

    def discover(wanted: DiscoveryRequest, **how: Any) -> Discovery:
        seen.append(wanted.known_initiators)
        return really(wanted, **how)

    monkeypatch.setattr(run, "discover", discover)
    passed = {"type": "hostdev", "target": "hostdev-0", "path": None, "source": "0:0:1:0", "storage": None}
    hv3 = [{"name": "x", "uuid": samples.WEB, "state": "shutoff", "disks": [passed]}]
    initiators = {"hv2": ["iqn.hv2"], "hv3": ["iqn.hv3"]}
    run.run(asked(root, other_hosts_guests={"hv2": [], "hv3": hv3}, other_hosts_initiators=initiators), check=True)
    assert seen
    assert all(each == ("iqn.hv2",) for each in seen)


def test_a_restore_takes_all_disks_and_the_saved_variables(root: Path) -> None:
    result = run.run(asked(root), check=True)
    assert planned(result) == {"disks": [("vda", samples.BACKUP), ("vdb", samples.BACKUP)], "files": [SAVED]}
    assert f"UEFI variables {root}/vars.fd: as in {root}/backups" in result["diff"]["after"]


@pytest.mark.parametrize("required", [True, False])
def test_the_guests_are_looked_at_with_the_restore_s_own_asked(
    root: Path, monkeypatch: pytest.MonkeyPatch, required: bool
) -> None:
    seen: list[DiscoveryRequest] = []
    really = run.discover
    monkeypatch.setattr(run, "discover", lambda wanted, **how: seen.append(wanted) or really(wanted, **how))
    run.run(asked(root, multipath_required=required), check=True)
    assert seen
    assert {each.multipath_required for each in seen} == {required}


def test_a_full_comparison_that_cannot_be_made_is_refused_for_each_disk(root: Path) -> None:
    with pytest.raises(RestoreRefusedError) as caught:
        run.run(asked(root, verify="full"), check=True)
    assert [each["code"] for each in caught.value.fields["problems"]] == ["full-verify-impossible"] * 2
    assert f"this host does not see /mnt/vol1/.snapshot/{samples.BACKUP}/db1.img" in caught.value.message


def test_a_restore_of_one_disk_takes_nothing_else(root: Path) -> None:
    result = run.run(asked(root, disks=["vdb"]), check=True)
    assert planned(result) == {"disks": [("vdb", samples.BACKUP)], "files": []}
    assert "note: disk vda stays as it is: it was not asked for" in result["diff"]["after"]
    assert "a mix of two points in time" in result["diff"]["after"]


def written(root: Path, *, disks: tuple[str, ...] = ()) -> None:
    """Leave the journal of a restore that ended, and what it set aside."""
    kept = journals.kept_directory(root, "r1")
    kept.mkdir(parents=True)
    (kept / "db.nvram").write_bytes(BEFORE)
    aside = Aside("nvram", str(root / "vars.fd"), "db.nvram", hashlib.sha256(BEFORE).hexdigest())
    touched = disks or ("svm1:/vol/vol1/db1.img", "svm1:/vol/vol2/db1.img")
    snapshots = tuple(
        SafetySnapshot("svm1", "svm1-uuid", name, f"{name}-uuid", snapshot_uuid(name, SAFETY))
        for name in VOLUMES
        if any(f"/{name}/" in place for place in touched)
    )
    progress = GuestProgress("shutoff", touched, written=True, done=True, files=() if disks else (aside,))
    safety = Safety(SAFETY, (samples.DB,), snapshots)
    journals.save(root, Journal("r1", samples.BACKUP, {samples.DB: progress}, (safety,), disks))


def test_an_undo_takes_the_disks_and_the_variables_from_before(root: Path) -> None:
    written(root)
    result = run.run(asked(root, state="undone"), check=True)
    assert planned(result) == {"disks": [("vda", SAFETY), ("vdb", SAFETY)], "files": [BEFORE]}


def test_an_undo_of_one_disk_takes_no_other_and_needs_no_snapshot_of_the_other(root: Path) -> None:
    written(root, disks=("svm1:/vol/vol2/db1.img",))
    result = run.run(asked(root, state="undone"), check=True)
    assert planned(result) == {"disks": [("vdb", SAFETY)], "files": []}


@pytest.fixture
def lost(root: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """The backup, which only the snapshot of vol1 tells of any more; the variables are gone with the catalog."""
    found = store.load(root, samples.BACKUP)
    assert found is not None
    mount = root / "mount"
    at = mount / ".snapshot" / samples.BACKUP
    at.mkdir(parents=True)
    guests = tuple(replace(guest, consistency=None) for guest in found.guests)
    bare = tuple(
        replace(
            volume, snapshot_uuid=None, create_time=None, mount_point=str(at) if volume is found.volumes[0] else None
        )
        for volume in found.volumes
    )
    started = replace(found, phase="started", completed=None, guests=guests, volumes=bare)
    parts = volume_copies.put_parts(started).parts
    bound, _remarks = volume_copies.put_index(started, parts, owner=found.owner, run_id=RUN)
    shutil.rmtree(root / "backups")
    monkeypatch.setattr(from_snapshots, "nfs_points", lambda: [str(mount)])
    monkeypatch.setattr(
        from_snapshots, "volumes_at", lambda _clients, points, _deadline: dict.fromkeys(points, found.volumes[0].key)
    )
    monkeypatch.setattr(from_snapshots, "locate", run.locate)
    monkeypatch.setattr(
        from_snapshots,
        "snapshots_of",
        lambda _places, volumes, **_more: {
            each.key: {
                samples.BACKUP: Snapshot(f"{each.volume}-snap", samples.BACKUP, comment=bound.stored_comment),
            }
            for each in volumes
        },
    )
    return found


def test_a_restore_without_its_catalog_takes_the_disks_and_says_what_it_lacks(root: Path, lost: Manifest) -> None:
    result = run.run(asked(root), check=True)
    assert planned(result) == {"disks": [("vda", samples.BACKUP), ("vdb", samples.BACKUP)], "files": []}
    after = result["diff"]["after"]
    assert "note: the catalog does not have the backup: its manifest is the one in the snapshot of svm1:vol1" in after
    assert "note: UEFI variables: kept in the catalog only, which is gone; what is there stays as it is" in after
    assert "crash-consistent" not in after
    assert store.load(root, lost.backup_id) is None


def test_an_undo_without_the_catalog_brings_back_what_was_before(root: Path, lost: Manifest) -> None:
    written(root)
    result = run.run(asked(root, state="undone"), check=True)
    assert planned(result) == {"disks": [("vda", SAFETY), ("vdb", SAFETY)], "files": [BEFORE]}
    assert f"its manifest is the one in the snapshot of svm1:{lost.volumes[0].volume}" in result["diff"]["after"]
    assert "kept in the catalog only" not in result["diff"]["after"]


def test_a_snapshot_that_is_gone_stops_a_restore_without_its_catalog(
    root: Path, lost: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = from_snapshots.snapshots_of
    first = lost.volumes[0].key

    def of_the_first(*asked: Any, deadline: Any) -> Any:
        return {key: found for key, found in there(*asked, deadline=deadline).items() if key == first}

    monkeypatch.setattr(from_snapshots, "snapshots_of", of_the_first)
    with pytest.raises(manifests.ManifestError, match=f"volume svm1:{VOLUMES[1]} has no snapshot of that name"):
        run.run(asked(root), check=True)
    assert lost.backup_id == samples.BACKUP


def handed_over(root: Path) -> tuple[dict[str, Any], Path]:
    """What another host's catalog has of the backup, and an empty catalog of this host."""
    directory = store.backup_directory(root, samples.BACKUP)
    found = {"manifest": (directory / "manifest.json").read_bytes(), "db.nvram": SAVED}
    encoded = {name: base64.b64encode(content).decode("ascii") for name, content in found.items()}
    return {"manifest": encoded.pop("manifest"), "files": encoded}, root / "mine"


def test_a_backup_of_another_host_is_planned_with_and_kept_only_when_it_is_used(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option, mine = handed_over(root)
    request = asked(mine, backup_from=option, safety_snapshot=False)
    result = run.run(request, check=True)
    (guest,) = result["plan"]["guests"]
    kept = store.backup_directory(mine, samples.BACKUP) / "db.nvram"
    assert [file["source"] for file in guest["files"]] == [str(kept)]
    assert "note: the backup was handed over from the catalog of another host" in result["diff"]["after"]
    assert not mine.exists()
    seen = []

    def carried_out(*_asked: Any) -> Any:
        seen.append(kept.read_bytes())
        return [], Journal("r1", samples.BACKUP)

    monkeypatch.setattr(run, "_carried_out", carried_out)
    assert run.run(request, check=False)["changed"] is True
    assert seen == [SAVED]
    assert store.load(mine, samples.BACKUP) == store.load(root, samples.BACKUP)


def test_the_backup_of_an_undo_is_asked_of_the_array_only_when_it_is_lost(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_asked: Any, **_more: Any) -> Any:
        raise AssertionError("a session was opened")

    monkeypatch.setattr(ArrayAccess, "connected", nobody)
    option, mine = handed_over(root)
    given = run._backup_of(asked(mine, backup_from=option), samples.BACKUP)
    assert (given.given is not None, given.origin) == (True, Origin.IMPORTED)
    assert run._backup_of(asked(root), samples.BACKUP).origin is Origin.OWN_RUN
    with pytest.raises(AssertionError, match="a session was opened"):
        run._backup_of(asked(root), "hv1-other_20261121020000")


def test_what_a_refused_restore_was_handed_over_is_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    option, mine = handed_over(root)
    monkeypatch.setattr(run, "file_size", lambda *_args, **_more: SIZE + 1)
    with pytest.raises(RestoreRefusedError):
        run.run(asked(mine, backup_from=option, safety_snapshot=False), check=False)
    assert store.entries(mine) == []
    assert not list(mine.rglob("db.nvram"))


def test_the_same_id_again_does_nothing_more(root: Path) -> None:
    written(root, disks=("svm1:/vol/vol2/db1.img",))
    assert run.run(asked(root, disks=["vdb"]), check=True)["changed"] is False
    assert run.run(asked(root), check=True)["changed"] is False


@pytest.mark.parametrize("check", [False, True])
def test_the_name_of_another_restore_releases_none(root: Path, check: bool) -> None:
    with pytest.raises(InputError, match=r"^accept_unknown names 'r0', and this is restore r1; nothing was touched$"):
        run.run(asked(root, accept_unknown="r0", safety_snapshot=False), check=check)
    assert run.run(asked(root, accept_unknown="r1"), check=True)["changed"]


def test_blanks_around_names_in_lists_mean_nothing(root: Path) -> None:
    typed = {"guests": ["db1 ", ""], "disks": [" vdb", ""], "hosts_off": [" hv2 "], "other_hosts": {"hv2": False}}
    result = run.run(asked(root, **typed), check=True)
    assert planned(result)["disks"] == [("vdb", samples.BACKUP)]


def test_no_two_safety_snapshots_have_one_name() -> None:
    """A snapshot of the name that is there is taken for the restore's own: it would hold another moment."""
    names = {run._safety_name("hv1") for _each in range(20)}
    assert len(names) == 20
    assert all(name.startswith("hv1-safety_") for name in names)


def test_a_restore_without_a_name_gets_one_that_no_other_has(root: Path) -> None:
    first = run._new_id(root)
    journals.save(root, Journal(first, samples.BACKUP))
    assert run._new_id(root) != first
