# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk's file gets its name: locked without a gap while the gate looks, and what a killed run's move comes to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.disk_actor import MOVE_SETTLE, DiskActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.journal import TemporaryFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import DiskRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.locks import lock_answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import replacement
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

LOCKED = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 100, 103, 0)
sys.exit(struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] == fcntl.F_UNLCK)
"""


class LookingGate:
    """Looks for locks alone, and tells what another process sees meanwhile; ``uses`` is what keeps it from acting."""

    def __init__(self) -> None:
        self.locked: list[bool] = []
        self.uses: Optional[str] = None

    def refuse_used(self, target: FileTarget, claim: Claim) -> None:
        users = () if claim.still_run else lock_answer(target).users
        self.locked.append(is_locked(Path(target.host_path)))
        if self.uses or users:
            raise InUseError(f"Refused: {self.uses or users}")

    def rename_over(
        self, target: FileTarget, claim: Claim, *, directory: int, temporary: str, name: str, run: Callable[..., None]
    ) -> None:
        self.refuse_used(target, claim)
        run(lambda: os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory))


def is_locked(path: Path) -> bool:
    """Whether another process would be refused a lock for writing."""
    return path.exists() and not subprocess.run([sys.executable, "-c", LOCKED, path], check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> DiskRestore:
    """A disk whose file is there."""
    path = tmp_path / "web1.img"
    path.write_bytes(b"old")
    storage = Storage.from_record(samples.storage("vol1", "web1.img"))
    return DiskRestore("vda", "raw", storage, str(path), str(tmp_path), samples.BACKUP, "vol1-snap", 3)


@pytest.fixture
def actor() -> DiskActor:
    """Renames through a gate that looks for locks."""
    nothing: Any = None
    gate: Any = LookingGate()
    claim = Claim(frozenset({samples.WEB}))
    found = DiskActor({}, nothing, "auto", 5.0, 5.0, "r1", nothing, gate, claim)
    found.clock = Clock(sleep=lambda _seconds: None)
    return found


def made(disk: DiskRestore, content: bytes) -> restore.Made:
    """Return a file that is to take the disk's place."""
    place = Path(disk.host_path).with_name(replacement.temporary_name("1234"))
    place.write_bytes(content)
    file = replacement.file_id(str(place))
    assert file is not None
    temporary = TemporaryFile(disk.label, str(place), place.name)
    return restore.Made(temporary, file, restore.Overwritten("copy"), restore.Verified("size"), 0.1)


def gate_of(actor: DiskActor) -> LookingGate:
    found: Any = actor.gate
    assert isinstance(found, LookingGate)
    return found


def put(actor: DiskActor, disk: DiskRestore, content: bytes) -> restore.Made:
    """Prepare the disk and give it a new file."""
    new = made(disk, content)
    actor.prepare(disk, None)
    assert actor.put(disk, new) == ()
    return new


def open_inodes() -> set[int]:
    """Return which files this process has open."""
    found = (f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd"))
    return {os.stat(each).st_ino for each in found if os.path.exists(each)}


def test_a_disk_that_is_put_back_is_locked_until_its_old_file_has_the_name(actor: DiskActor, disk: DiskRestore) -> None:
    path = Path(disk.host_path)
    first = put(actor, disk, b"new")
    assert (path.read_bytes(), is_locked(path)) == (b"new", True)
    put(actor, disk, b"old again")
    assert gate_of(actor).locked == [False, True], "the gate looks at a disk that nobody can open meanwhile"
    assert (path.read_bytes(), is_locked(path)) == (b"old again", True)
    assert first.file.inode not in open_inodes()
    actor.unlock_all()
    assert not is_locked(path)


def test_a_disk_that_the_gate_refuses_to_put_back_stays_locked(actor: DiskActor, disk: DiskRestore) -> None:
    path = Path(disk.host_path)
    put(actor, disk, b"new")
    gate_of(actor).uses = "a QEMU"
    again = made(disk, b"old again")
    with pytest.raises(InUseError):
        actor.put(disk, again)
    assert (path.read_bytes(), is_locked(path), is_locked(Path(again.temporary.place))) == (b"new", True, False)


def test_a_rename_that_is_refused_leaves_the_disk_locked(actor: DiskActor, disk: DiskRestore) -> None:
    path = Path(disk.host_path)
    put(actor, disk, b"new")
    again = made(disk, b"old again")
    place = str(path.with_name("no such directory") / "aside")
    with pytest.raises(Exception, match="No such file or directory"):
        actor.move_aside(disk, place)
    gate = gate_of(actor)
    gate.rename_over = lambda *_target, run, **_names: run(lambda: os.rename("/nothing", "/here"))  # type: ignore[method-assign]
    with pytest.raises(Exception, match="No such file or directory"):
        actor.put(disk, again)
    assert (path.read_bytes(), is_locked(path), is_locked(Path(again.temporary.place))) == (b"new", True, False)


def test_a_lock_of_somebody_else_on_the_disk_is_met(actor: DiskActor, disk: DiskRestore) -> None:
    held = replacement.locked(disk.host_path)
    try:
        with pytest.raises(InUseError):
            put(actor, disk, b"new")
    finally:
        os.close(held)
    assert Path(disk.host_path).read_bytes() == b"old"


@pytest.mark.parametrize(("names", "moved"), [("name", False), ("place", True), ("both", True), ("neither", True)])
def test_a_killed_run_s_move_is_told_by_the_names(actor: DiskActor, disk: DiskRestore, names: str, moved: bool) -> None:
    place, slept = Path(disk.host_path).with_name(replacement.aside_name()), []
    actor.clock = Clock(sleep=slept.append)
    if names in ("place", "both"):
        place.write_bytes(b"moved")
    if names in ("place", "neither"):
        Path(disk.host_path).unlink()
    assert actor.was_moved(disk, str(place)) is moved
    assert slept == ([] if moved else [MOVE_SETTLE])


def test_a_move_that_is_carried_out_late_is_seen(actor: DiskActor, disk: DiskRestore) -> None:
    place = Path(disk.host_path).with_name(replacement.aside_name())
    actor.clock = Clock(sleep=lambda _seconds: os.rename(disk.host_path, place))
    assert actor.was_moved(disk, str(place))


def test_a_killed_run_s_move_is_unknown_while_a_process_has_the_file(actor: DiskActor, disk: DiskRestore) -> None:
    gate_of(actor).uses = "process 17 (python3) has it open on this host"
    with pytest.raises(restore.FateUnknownError, match=r"yet moved .* unknown: .*process 17"):
        actor.was_moved(replace(disk), str(Path(disk.host_path).with_name("aside")))
