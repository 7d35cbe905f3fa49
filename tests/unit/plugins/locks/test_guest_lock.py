# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel lock on a guest, with processes that hold it, die with it and fork."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import uuid as uuids
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import file_lock, guest_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import (
    GuestLockedError,
    all_locked,
    busy_guests,
    guest_locks,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

A, B, C = (str(uuids.UUID(int=number)) for number in (10, 11, 12))
HOLDS_IT = """
import sys
from pathlib import Path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import all_locked
with all_locked(Path(sys.argv[1]), [(uuid, uuid[-2:]) for uuid in sys.argv[2:]], purpose="restore", identity="r1"):
    print("ready", flush=True)
    sys.stdin.readline()
"""


class Ticking(Clock):
    """A clock that only moves when somebody waits, and tells how long was waited."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def holder(place: Path, *guests: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has these guests' locks."""
    command = [sys.executable, "-c", HOLDS_IT, str(place), *guests]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def free(place: Path, *guests: str) -> bool:
    with guest_locks(place, [(guest, guest) for guest in guests], purpose="backup", identity="b1") as busy:
        return not busy


def test_a_busy_guest_is_named_with_its_holder_and_the_others_are_had(tmp_path: Path) -> None:
    place = tmp_path / "guests"
    with holder(place, B) as process:
        with guest_locks(place, [(C, "c"), (B, "b"), (A, "a")], purpose="backup", identity="b1") as busy:
            assert [each.uuid for each in busy] == [B]
            assert busy[0].holder is not None
            assert (busy[0].holder.purpose, busy[0].holder.identity, busy[0].holder.pid) == (
                "restore",
                "r1",
                process.pid,
            )
            assert str(busy[0]).startswith(f"guest b is locked by restore r1 (process {process.pid}, since 20")
            assert [each.name for each in busy_guests(place, [(A, "a"), (B, "b"), (C, "c")])] == ["a", "b", "c"]
        assert [each.name for each in busy_guests(place, [(A, "a"), (B, "b"), (C, "c")])] == ["b"]


def test_all_or_none(tmp_path: Path) -> None:
    with holder(tmp_path, B):
        locks = all_locked(tmp_path, [(A, "a"), (B, "b")], purpose="restore", identity="r2")
        with (
            pytest.raises(GuestLockedError, match=r"begin restore r2: guest b is locked by restore r1 .* touched"),
            locks,
        ):
            pytest.fail("one of them is busy")
        assert free(tmp_path, A)


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    assert free(tmp_path, A, B)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_dies_leaves_no_lock(tmp_path: Path, number: signal.Signals) -> None:
    with holder(tmp_path, A) as process:
        assert not free(tmp_path, A)
        assert guest_lock.left_locks(tmp_path) == []
        process.send_signal(number)
        process.wait(10)
        assert guest_lock.left_locks(tmp_path) == [tmp_path / f"{A}.lock"]
        assert free(tmp_path, A)
    assert list(tmp_path.iterdir()) == []


def test_only_a_lock_that_nobody_has_is_removed(tmp_path: Path) -> None:
    with holder(tmp_path, A) as process:
        guest_lock.remove_left(tmp_path / f"{A}.lock")
        assert not free(tmp_path, A)
        process.kill()
        process.wait(10)
        guest_lock.remove_left(tmp_path / f"{A}.lock")
        assert list(tmp_path.iterdir()) == []


def test_while_it_waits_it_has_none(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looking(Ticking):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            seen.append(not busy_guests(tmp_path, [(A, "a")]))

    clock = Looking()
    with holder(tmp_path, B):
        guests = [(A, "a"), (B, "b")]
        with guest_locks(tmp_path, guests, purpose="backup", identity="b1", wait=2.0, clock=clock) as busy:
            assert [each.uuid for each in busy] == [B]
            assert busy_guests(tmp_path, [(A, "a")])
    assert 2.0 <= clock.now <= 2.2
    assert seen
    assert all(seen)


def test_it_has_a_guest_as_soon_as_that_is_free(tmp_path: Path) -> None:
    with holder(tmp_path, A) as process:

        class Ending(Ticking):
            def sleep(self, seconds: float) -> None:
                super().sleep(seconds)
                process.kill()
                process.wait(10)

        clock = Ending()
        with guest_locks(tmp_path, [(A, "a")], purpose="backup", identity="b1", wait=60.0, clock=clock) as busy:
            assert not busy
    assert clock.now < 1.0


def test_no_program_and_no_fork_keeps_a_lock(tmp_path: Path) -> None:
    """The children outlive the block: a lock that one of them kept would still be had."""
    reader, writer = os.pipe()
    with all_locked(tmp_path, [(A, "a")], purpose="backup", identity="b1"):
        program = subprocess.Popen(["sleep", "60"], close_fds=False)
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    try:
        assert free(tmp_path, A)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)
        program.kill()
        program.wait(10)


def test_a_fork_does_not_end_the_lock_of_its_parent(tmp_path: Path) -> None:
    with all_locked(tmp_path, [(A, "a")], purpose="backup", identity="b1"):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert busy_guests(tmp_path, [(A, "a")])


def test_a_uuid_in_capitals_is_the_same_guest(tmp_path: Path) -> None:
    with holder(tmp_path, A):
        assert not free(tmp_path, A.upper())


@pytest.mark.parametrize("uuid", ["", "../etc", "web1", None, 7])
def test_what_is_no_uuid_names_no_file(tmp_path: Path, uuid: str) -> None:
    with pytest.raises(InputError, match="is no uuid of a guest"):
        free(tmp_path, uuid)


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "passwd"
    target.write_text("root")
    place = tmp_path / "guests"
    place.mkdir()
    (place / f"{A}.lock").symlink_to(target)
    with pytest.raises(KvmsnapError, match="Failed to lock a guest"):
        free(place, A)
    assert target.read_text() == "root"


def test_a_lock_without_a_note_is_a_lock(tmp_path: Path) -> None:
    with holder(tmp_path, A):
        (tmp_path / f"{A}.lock").write_bytes(b'{"purpose": ')
        found = busy_guests(tmp_path, [(A, "a")])
        assert [each.holder for each in found] == [None]
        assert str(found[0]) == "guest a is locked by another process"


def test_the_locks_of_32_guests_take_a_moment(tmp_path: Path) -> None:
    guests = [(str(uuids.UUID(int=number)), f"g{number}") for number in range(1, 33)]
    with guest_locks(tmp_path, guests, purpose="backup", identity="b1") as busy:
        assert not busy
        assert len(list(tmp_path.iterdir())) == 32
        assert len(file_lock._held) == 32
    assert not file_lock._held


@pytest.mark.parametrize(
    "note", [None, b"", b"[" * 4000, b"\xff\xfe", b"5", b'{"pid": []}'], ids=lambda value: repr(value)[:20]
)
def test_whatever_lies_in_the_place_of_a_lock_keeps_nobody_waiting(tmp_path: Path, note: bytes | None) -> None:
    """A directory that others may write into, as somebody may choose for the holds, may have a FIFO there."""
    path = tmp_path / f"{A}.lock"
    if note is None:
        os.mkfifo(path)
    else:
        path.write_bytes(note)
    assert bounded(lambda: busy_guests(tmp_path, [(A, "a")]), seconds=10, what="look") == ()
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (busy,) = bounded(lambda: busy_guests(tmp_path, [(A, "a")]), seconds=10, what="look")
        assert str(busy) == "guest a is locked by another process"
    finally:
        os.close(descriptor)
