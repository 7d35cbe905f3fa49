# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables and TPM states go back with the disks, or stay as they were; the files are real ones."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Optional

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedFile, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    SafetySnapshot,
    SideFileAttributes,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import content_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import execute, firmware, firmware_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import Notes, Overwritten, Verified
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_selection import NOT_ASKED, narrowed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware_check import with_firmware
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestNow,
    GuestRestore,
    RestorePlan,
    RestoreRefusedError,
)

SAFETY = "hv1-safety_20261122020000"


class Host:
    """A guest's files on a host: what it has now, and what a backup saved."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.saved, self.kept = root / "saved", root / "restores" / "r1.files"
        self.nvram, self.tpm = root / "nvram" / "web1.fd", root / "swtpm" / samples.WEB
        for directory in (self.saved, self.nvram.parent, self.tpm / "tpm2"):
            directory.mkdir(parents=True)
        self.write("then")
        (self.tpm / "tpm2" / "only-then").write_text("x")
        self.files = (self._save("nvram", self.nvram), self._save("tpm", self.tpm))
        (self.tpm / "tpm2" / "only-then").unlink()
        self.write("now")
        self.tpm.chmod(0o711)
        self.nvram.chmod(0o640)

    def write(self, content: str) -> None:
        self.nvram.write_text(content)
        (self.tpm / "tpm2" / "permall").write_text(content)

    def _save(self, kind: str, path: Path) -> SavedFile:
        content = content_of(path)
        (self.saved / f"w.{kind}").write_bytes(content)
        return SavedFile(kind, str(path), f"w.{kind}", hashlib.sha256(content).hexdigest())

    def restores(self) -> tuple[FileRestore, ...]:
        places = {"nvram": str(self.nvram), "tpm": str(self.tpm)}
        return tuple(
            FileRestore(each.kind, places[each.kind], str(self.saved / each.stored_as), each.sha256)
            for each in self.files
        )

    def world(self) -> dict[str, tuple[int, str]]:
        """Path -> mode and content of all that the guest has beside its disks."""
        paths = [*self.nvram.parent.rglob("*"), *self.tpm.parent.rglob("*")]
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode & 0o7777,
                path.read_text() if path.is_file() else "",
            )
            for path in sorted(paths)
        }


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(firmware, "TPM_STATE", str(tmp_path / "swtpm"))
    return Host(tmp_path)


def saved_guest(*files: SavedFile) -> SavedGuest:
    return replace(SavedGuest.from_record(samples.guest()), files=files)


VARS = SavedFile("nvram", "/etc/passwd", "w.nvram", "a")
STATE = SavedFile("tpm", "/etc", "w.tpm", "b")


@pytest.mark.parametrize(
    ("files", "nvram", "tpm", "places", "notes"),
    [
        ((), None, False, [], []),
        ((VARS,), "/n/web1.fd", False, [("/n/web1.fd", "/s/w.nvram")], []),
        ((STATE,), None, True, [(f"/var/lib/libvirt/swtpm/{samples.WEB}", "/s/w.tpm")], []),
        ((VARS,), None, False, [], ["UEFI variables was saved and is not put back"]),
        ((), "/n/web1.fd", True, [], ["at /n/web1.fd is not restored", "state of the TPM at"]),
        ((replace(VARS, stored_as=""),), "/n/web1.fd", False, [("/n/web1.fd", None)], []),
    ],
)
def test_what_goes_where(files: Any, nvram: Optional[str], tpm: bool, places: Any, notes: list[str]) -> None:
    found, said = firmware.firmware_plan(saved_guest(*files), nvram=nvram, tpm=tpm, directory=Path("/s"))
    assert [(each.path, each.source) for each in found] == places
    assert len(said) == len(notes)
    assert all(part in note for part, note in zip(notes, said))


def test_what_was_saved_replaces_what_is_there_and_goes_back(host: Host) -> None:
    before = host.world()
    asides = [firmware_files.keep(host.kept, samples.WEB, file) for file in host.restores()]
    assert host.world() == before
    for file, aside in zip(host.restores(), asides):
        firmware_files.put(file, aside.attributes)
    restored = host.world()
    assert restored["nvram/web1.fd"] == (0o640, "then")
    assert restored[f"swtpm/{samples.WEB}/tpm2/permall"][1] == "then"
    assert f"swtpm/{samples.WEB}/tpm2/only-then" in restored
    assert {path.stat().st_mode & 0o777 for path in host.kept.iterdir()} == {0o600}
    assert host.kept.stat().st_mode & 0o777 == 0o700
    for aside in asides:
        firmware_files.put_back(host.kept, Aside.from_record(asdict(aside)))
    assert host.world() == before


def test_what_was_not_there_is_gone_again(host: Host) -> None:
    host.nvram.unlink()
    (host.tpm / "tpm2" / "permall").unlink()
    (host.tpm / "tpm2").rmdir()
    host.tpm.rmdir()
    for file in host.restores():
        aside = firmware_files.keep(host.kept, samples.WEB, file)
        assert aside == Aside(file.kind, file.path)
        firmware_files.put(file, aside.attributes)
        assert os.path.exists(file.path)
        firmware_files.put_back(host.kept, aside)
    assert host.world() == {}


def test_owner_and_label_are_those_of_before(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    labels: list[bytes] = []
    monkeypatch.setattr(os, "fchown", lambda _fd, uid, gid: owners.append((uid, gid)))
    monkeypatch.setattr(os, "setxattr", lambda _path, _name, value, **_more: labels.append(value))
    firmware_files.put(host.restores()[0], SideFileAttributes(107, 108, 0o600, "system_u:object_r:svirt_image_t:s0"))
    assert (owners, labels) == ([(107, 108)], [b"system_u:object_r:svirt_image_t:s0"])


def test_what_a_killed_run_left_beside_is_no_obstacle(host: Host) -> None:
    file = host.restores()[1]
    aside = firmware_files.keep(host.kept, samples.WEB, file)
    host.tpm.rename(host.tpm.with_name(f".{samples.WEB}.kvmsnap-old"))
    (host.tpm.parent / f".{samples.WEB}.kvmsnap-new").mkdir()
    firmware_files.put(file, aside.attributes)
    assert (host.tpm / "tpm2" / "permall").read_text() == "then"
    assert [path.name for path in host.tpm.parent.iterdir()] == [samples.WEB]
    firmware_files.put_back(host.kept, aside)
    assert (host.tpm / "tpm2" / "permall").read_text() == "now"


def archive(name: str, **changes: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        top = tarfile.TarInfo("top")
        top.type = tarfile.DIRTYPE
        tar.addfile(top)
        member = tarfile.TarInfo(name)
        for key, value in changes.items():
            setattr(member, key, value)
        tar.addfile(member)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (archive("top/../../etc/x"), "etc/x"),
        (archive("/etc/x"), "etc/x"),
        (archive("top/x", type=tarfile.SYMTYPE, linkname="/etc"), "top/x"),
        (b"no archive", "Failed to read the TPM's state"),
    ],
)
def test_an_archive_that_leads_astray_is_refused(host: Host, content: bytes, says: str) -> None:
    (host.saved / "w.tpm").write_bytes(content)
    before = host.world()
    file = replace(host.restores()[1], sha256=hashlib.sha256(content).hexdigest())
    assert says in str(firmware_files.fault(file))
    assert host.world() == before


def test_what_cannot_be_trusted_or_is_no_file_is_found_beforehand(host: Host) -> None:
    nvram, tpm = host.restores()
    assert (firmware_files.fault(nvram), firmware_files.fault(tpm)) == (None, None)
    (host.saved / "w.nvram").write_text("other")
    (host.saved / "w.tpm").unlink()
    assert "checksum" in str(firmware_files.fault(nvram))
    assert "Failed to read" in str(firmware_files.fault(tpm))
    host.nvram.unlink()
    host.nvram.symlink_to("/etc/passwd")
    linked = replace(nvram, source=None)
    assert "it is no file" in str(firmware_files.fault(linked))
    with pytest.raises(KvmsnapError, match="it is no file"):
        firmware_files.keep(host.kept, samples.WEB, linked)


def now(host: Host) -> GuestNow:
    return GuestNow("web1", samples.WEB, "shutoff", False, True, (), nvram=str(host.nvram), tpm=True)


def part(*files: FileRestore) -> GuestRestore:
    place = Storage.from_record(samples.storage())
    disk = DiskRestore("vda", "raw", place, "/mnt/vol1/web1.img", "/mnt/vol1", samples.BACKUP, "vol1-snap", 4096)
    return GuestRestore("web1", samples.WEB, "shutoff", "shutoff", (disk,), files=files)


def test_the_plan_names_the_files_and_refuses_what_was_altered(host: Host) -> None:
    manifest = replace(samples.manifest(), guests=(saved_guest(*host.files),))
    plan = RestorePlan(samples.BACKUP, "r1", (part(),))
    made = with_firmware(plan, manifest, {samples.WEB: now(host)}, directory=host.saved)
    assert made.guests[0].files == host.restores()
    assert f"UEFI variables {host.nvram}: as in {host.saved}/w.nvram" in made.after()
    assert f"UEFI variables {host.nvram}: as it is now" in made.before()
    (host.saved / "w.nvram").write_text("other")
    with pytest.raises(RestoreRefusedError, match="checksum") as refused:
        with_firmware(plan, manifest, {samples.WEB: now(host)}, directory=host.saved)
    assert [each["code"] for each in refused.value.as_result()["problems"]] == ["firmware-state"]


def test_single_disks_leave_firmware_and_tpm_alone(host: Host) -> None:
    manifest = narrowed(
        replace(samples.manifest(), guests=(saved_guest(*host.files),)), ("svm1:/vol/vol1/web1.img",), reason=NOT_ASKED
    )
    made = with_firmware(
        RestorePlan(samples.BACKUP, "r1", (part(),)), manifest, {samples.WEB: now(host)}, directory=host.saved
    )
    assert made.guests[0].files == ()
    assert len(made.guests[0].notes) == 2


class Killed(BaseException):
    """The process ends."""


class World:
    """One guest that is off, whose disk holds what a snapshot held; its files are real."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.disk = "now"
        self.breaks: dict[str, BaseException] = {}

    @property
    def guests(self) -> World:
        return self

    @property
    def disks(self) -> World:
        return self

    def _step(self, name: str) -> None:
        if name in self.breaks:
            raise self.breaks.pop(name)

    def stop(self, guest: GuestRestore) -> None:
        raise AssertionError("the guest is off")

    def start(self, guest: GuestRestore, state: str) -> None:
        raise AssertionError("the guest stays off")

    def state(self, guest: GuestRestore) -> str:
        return "shutoff"

    def secure(self, disks: Any, name: str) -> tuple[SafetySnapshot, ...]:
        return (SafetySnapshot("svm1", "svm1-uuid", "vol1", "vol1-uuid", f"vol1-{name}"),)

    def make(self, disk: DiskRestore, notes: Notes) -> None:
        """Say that it is overwritten in place."""

    def unlock(self, guest: GuestRestore) -> None:
        """Hold no locks."""

    def prepare(self, disk: DiskRestore, old: Optional[str]) -> None:
        self._step("prepare")

    def overwrite(self, disk: DiskRestore, notes: Notes) -> Overwritten:
        self.disk = disk.snapshot
        return Overwritten("file_clone")

    def verify(self, disk: DiskRestore) -> Verified:
        return Verified("size")

    def autostart(self, guest: GuestRestore) -> bool:
        return False

    def set_autostart(self, guest: GuestRestore, wanted: bool) -> None:
        raise AssertionError("it does not start with its host")

    def saved_image(self, guest: GuestRestore) -> Optional[str]:
        return None

    def set_aside(self, guest: GuestRestore, place: str) -> None:
        raise AssertionError("it has no image of its memory")

    def bring_back(self, guest: GuestRestore, place: str) -> None:
        raise AssertionError("it has no image of its memory")

    def keep_file(self, guest: GuestRestore, file: FileRestore) -> Aside:
        self._step(f"keep {file.kind}")
        return firmware_files.keep(self.host.kept, guest.uuid, file)

    def put_file(self, file: FileRestore, attributes: Optional[SideFileAttributes]) -> None:
        self._step(f"before {file.kind}")
        firmware_files.put(file, attributes)
        self._step(f"after {file.kind}")

    def put_file_back(self, aside: Aside) -> None:
        firmware_files.put_back(self.host.kept, aside)


def carried_out(host: Host, world: World, *, safety: Optional[str] = SAFETY) -> execute.GuestResult:
    journal = journals.load(host.root, "r1") or journals.Journal("r1", samples.BACKUP)
    results, _journal = execute.run(
        RestorePlan(samples.BACKUP, "r1", (part(*host.restores()),)),
        actor=world,
        journal=journal,
        save=lambda changed: journals.save(host.root, changed),
        safety=safety,
    )
    return results[0]


STEPS = [f"{when} {kind}" for kind in ("nvram", "tpm") for when in ("keep", "before", "after")]


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_file_brings_disks_and_files_back(host: Host, step: str) -> None:
    before, world = host.world(), World(host)
    world.breaks[step] = KvmsnapError(f"Failed at {step}")
    result = carried_out(host, world)
    assert str(result.error).startswith(f"Failed at {step}. vda was put back")
    assert (host.world(), world.disk, result.files) == (before, SAFETY, ())
    again = carried_out(host, world)
    assert (again.error, world.disk) == (None, samples.BACKUP)
    assert host.nvram.read_text() == "then"


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_file_the_next_run_ends_it_and_keeps_what_was_first(host: Host, step: str) -> None:
    before, world = host.world(), World(host)
    world.breaks[step] = Killed()
    with pytest.raises(Killed):
        carried_out(host, world)
    result = carried_out(host, world)
    assert (result.error, result.files) == (None, (str(host.nvram), str(host.tpm)))
    assert host.nvram.read_text() == "then"
    assert (host.tpm / "tpm2" / "permall").read_text() == "then"
    known = journals.load(host.root, "r1")
    assert known is not None
    undone = firmware.with_kept(samples.manifest(), {uuid: each.files for uuid, each in known.guests.items()})
    plan = with_firmware(
        RestorePlan(SAFETY, "r1.undo", (part(),)), undone, {samples.WEB: now(host)}, directory=host.kept
    )
    for file, aside in zip(plan.guests[0].files, known.guests[samples.WEB].files):
        firmware_files.put(file, aside.attributes)
    assert host.world() == before


@pytest.mark.parametrize("step", STEPS[1:])
def test_without_a_safety_snapshot_the_error_names_what_may_be_replaced(host: Host, step: str) -> None:
    world = World(host)
    world.breaks[step] = KvmsnapError("Failed")
    result = carried_out(host, world, safety=None)
    assert "vda, UEFI variables" in str(result.error)
    assert "may have been overwritten" in str(result.error)


def test_a_journal_cannot_name_a_file_elsewhere() -> None:
    with pytest.raises(InputError):
        Aside.from_record({"kind": "nvram", "path": "/n", "stored_as": "../../x", "sha256": ""})


def test_a_journal_of_an_earlier_version_keeps_owner_and_mode() -> None:
    look = {"uid": 107, "gid": 108, "mode": 0o600, "label": None}
    found = Aside.from_record({"kind": "nvram", "path": "/n", "stored_as": "x", "sha256": "", "look": look})
    assert found.attributes == SideFileAttributes(107, 108, 0o600)
