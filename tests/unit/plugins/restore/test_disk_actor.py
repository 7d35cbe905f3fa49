# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a guest's files on the simulated array: brought back in place, removed, and how that is seen."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest
import samples
from backup_site import Site

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Place
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Pending, TemporaryFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import replacement
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity, wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import CheckFailedError, Verified
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_actor import DiskActor, hindrance
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.lun_actor import LunActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

VOLUME, NAME = "kvm_vol1", "disk.img"
SERIAL = "81C91$QXsh5a"
THEN, NOW = b"then" * 4096, b"now!" * 4096


class Written:
    """What an actor writes down, in order."""

    def __init__(self) -> None:
        self.requests: list[Optional[str]] = []

        self.temporaries: list[TemporaryFile] = []

    def temporary(self, file: TemporaryFile) -> None:
        self.temporaries.append(file)

    def no_temporary(self, file: TemporaryFile) -> None:
        self.temporaries.remove(file)

    def pending(self, disk: str, request: Optional[Pending]) -> None:
        self.requests.append(request.kind if request else None)


class Bench:
    """An actor at a volume of the array, with a file that was changed since its snapshot."""

    def __init__(self, site: Site, stack: ExitStack) -> None:
        self.file: Path = site.sim.volume_root("svm1", VOLUME) / NAME
        self.file.write_bytes(THEN)
        site.sim.control.add_snapshot("svm1", VOLUME, site.name)
        self.file.write_bytes(NOW)
        clients = stack.enter_context(site.access().connected(Deadline.after(30.0)))
        ((client, volume),) = find_volumes(clients, [VolumeRef("svm1", VOLUME)])
        saved = SavedVolume.from_record({**site._volume(VOLUME), "mount_point": str(self.file.parent)})
        host = stack.enter_context(closing(connect("test:///default", retry_count=0)))
        gate, claim = Gate(lambda: host), Claim(frozenset())
        self.actor = DiskActor(
            places={saved.key: Place(client, volume)},
            manifest=replace(samples.manifest(), volumes=(saved,)),
            method="file_clone",
            timeout=30.0,
            unknown_wait=1.0,
            restore_id="r1",
            luns=LunActor("r1", gate, claim, timeout=30.0, unknown_wait=1.0),
            gate=gate,
            claim=claim,
        )
        keys = {"svm_uuid": saved.svm_uuid, "volume_uuid": saved.volume_uuid}
        place = Storage.from_record(samples.storage(VOLUME, NAME, **keys))
        point = str(self.file.parent)
        self.disk = DiskRestore("vda", "raw", place, str(self.file), point, site.name, "snap", len(THEN))


@pytest.fixture
def bench(site: Site) -> Iterator[Bench]:
    """The bench; its file is gone afterwards."""
    with ExitStack() as stack:
        found = Bench(site, stack)
        yield found
        found.file.unlink(missing_ok=True)


def test_a_file_that_the_restore_made_is_removed_and_its_absence_is_seen(bench: Bench) -> None:
    made, notes = replace(bench.disk, remove=True), Written()
    with pytest.raises(CheckFailedError, match=f"^Failed to remove {made.label}: it is still there$"):
        bench.actor.verify(made)
    assert bench.actor.overwrite(made, notes).method == "removed"
    assert not bench.file.exists()
    assert bench.actor.verify(made) == Verified("gone")
    assert bench.actor.overwrite(made, notes).method == "removed"
    assert notes.requests == []


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_file_in_place_is_noted_brought_back_and_keeps_its_owner_and_mode(bench: Bench) -> None:
    os.chown(bench.file, 1234, 4321)
    bench.file.chmod(0o640)
    notes = Written()
    bench.actor.prepare(bench.disk, None)
    done = bench.actor.overwrite(bench.disk, notes)
    assert (done.method, notes.requests[0], notes.requests[-1]) == ("file_clone", "file", None)
    assert bench.file.read_bytes() == THEN
    found = bench.file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o640)


def test_a_file_is_made_and_proved_beside_the_disk_takes_its_place_and_stays_locked(bench: Bench) -> None:
    notes = Written()
    made = bench.actor.make(bench.disk, notes)
    assert made is not None
    assert [made.temporary] == notes.temporaries
    assert (bench.file.read_bytes(), Path(made.temporary.place).read_bytes()) == (NOW, THEN)
    bench.actor.prepare(bench.disk, None)
    assert bench.actor.put(bench.disk, made) == ()
    assert (bench.file.read_bytes(), os.path.exists(made.temporary.place)) == (THEN, False)
    with pytest.raises(BlockingIOError):
        replacement.locked(str(bench.file))
    bench.actor.unlock_all()
    os.close(replacement.locked(str(bench.file)))


def test_a_file_that_was_made_and_is_not_wanted_is_dropped(bench: Bench) -> None:
    made = bench.actor.make(bench.disk, Written())
    assert made is not None
    bench.actor.drop(made.temporary)
    assert [path.name for path in bench.file.parent.glob(".kvmsnap-tmp-*")] == []
    bench.actor.drop(made.temporary)
    assert bench.file.read_bytes() == NOW


@pytest.mark.parametrize("method", ["file_clone", "auto"])
def test_what_an_array_refuses_is_tried_by_another_way_only_where_all_are_asked_for(
    site: Site, bench: Bench, method: str
) -> None:
    match = {"method": "POST", "path": "/storage/file/clone"}
    site.sim.control.add_fault("status", match=match, status=403, code="6", message="not authorized")
    actor, notes = replace(bench.actor, method=method), Written()
    if method == "file_clone":
        with pytest.raises(OntapDeniedError):
            actor.make(bench.disk, notes)
        return
    made = actor.make(bench.disk, notes)
    assert made is not None
    assert made.overwritten.method == "copy"
    actor.drop(made.temporary)


def test_a_request_that_the_gate_refuses_is_none_whose_fate_is_unknown(bench: Bench) -> None:
    bench.actor.prepare(bench.disk, None)
    notes, lock = Written(), replacement.locked(str(bench.file))
    try:
        with pytest.raises(InUseError):
            bench.actor.overwrite(bench.disk, notes)
    finally:
        os.close(lock)
    assert notes.requests == ["file", None]
    assert bench.file.read_bytes() == NOW


def test_what_differs_from_the_snapshot_is_no_restored_disk(bench: Bench) -> None:
    with pytest.raises(CheckFailedError):
        bench.actor.verify(bench.disk)
    bench.actor.prepare(bench.disk, None)
    bench.actor.overwrite(bench.disk, Written())
    assert bench.actor.verify(bench.disk).what.startswith("size")
    bench.file.write_bytes(THEN + b"more")
    with pytest.raises(CheckFailedError, match=f"it has {len(THEN) + 4} bytes, the snapshot's copy {len(THEN)}"):
        bench.actor.verify(bench.disk)


def test_what_a_lun_lost_is_a_note_of_its_check_and_fails_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lun = {"uuid": "u", "serial": SERIAL, "wwid": wwid_of(SERIAL), "size": 1, "os_type": "linux", "device": "/dev/dm-0"}
    disk = replace(bench.disk, storage=replace(bench.disk.storage, kind="lun", lun=LunIdentity.from_record(lun)))
    found = Verified("identity", None, ("its QoS policy is none and was gold",))
    monkeypatch.setattr(bench.actor.luns, "verify", lambda *_what: found)
    assert bench.actor.verify(disk) == found


def test_what_keeps_this_host_from_a_rename_is_said(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("disk.img")
    assert hindrance(str(tmp_path / "disk.img")) is None
    assert hindrance(str(tmp_path / "link")) == f"{tmp_path}/link is a symbolic link"


def test_a_lun_is_looked_at_as_one_before_it_may_be_overwritten(bench: Bench) -> None:
    gone = {"uuid": "u", "serial": SERIAL, "wwid": wwid_of(SERIAL), "size": 1, "os_type": "linux"}
    lun = LunIdentity.from_record({**gone, "device": "/dev/mapper/nosuch"})
    disk = replace(bench.disk, storage=replace(bench.disk.storage, kind="lun", lun=lun))
    with pytest.raises(KvmsnapError, match=f"^Failed to restore LUN {disk.label}: .*/dev/mapper/nosuch"):
        bench.actor.prepare(disk, None)
