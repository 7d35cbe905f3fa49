# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks on files that stay: whoever only looks at one keeps nobody from it, whoever has it does."""

from __future__ import annotations

import fcntl
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import host_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import clone_record, restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import file_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.file_lock import LEAST
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

Locking = Callable[[Path], AbstractContextManager[object]]

LOCKS = [
    pytest.param(restore_journal.alone, "restores/.lock", "Another restore is under way", id="restore"),
    pytest.param(clone_record.alone, "clones/.lock", "Another copy is being made", id="copy"),
    pytest.param(
        lambda root: host_lock.backup_lock(root, "b2", wait=0), host_lock.LOCK, "backup b2 of this host", id="backup"
    ),
]


class LookingOn(Clock):
    """A clock whose first pause ends the look of another process at a lock."""

    def __init__(self, path: Path) -> None:
        self.looks = path.open("w", encoding="utf-8")
        fcntl.flock(self.looks, fcntl.LOCK_SH)
        self.pauses = 0
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1
        self.looks.close()


def test_a_look_at_the_lock_is_waited_for(tmp_path: Path) -> None:
    clock = LookingOn(tmp_path / "lock")
    with file_lock.locked(tmp_path / "lock", clock=clock) as had:
        assert had is not None
    assert clock.pauses == 1


@pytest.mark.parametrize(("alone", "place", "said"), LOCKS)
def test_a_lock_makes_no_directory_that_others_may_read(tmp_path: Path, alone: Locking, place: str, said: str) -> None:
    root = tmp_path / "lib" / "catalog"
    with alone(root):
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (root / place).parents if tmp_path in path.parents}
    assert modes == {0o700}, said


@pytest.mark.parametrize(("alone", "place", "said"), LOCKS)
def test_nobody_is_kept_out_by_a_look(tmp_path: Path, alone: Locking, place: str, said: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as looks:
        fcntl.flock(looks, fcntl.LOCK_SH)
        over = threading.Event()

        def end() -> None:
            over.set()
            fcntl.flock(looks, fcntl.LOCK_UN)

        timer = threading.Timer(LEAST / 3, end)
        timer.start()
        with alone(tmp_path):
            assert over.is_set(), said
        timer.join()


@pytest.mark.parametrize(("alone", "place", "said"), LOCKS)
def test_whoever_has_the_lock_is_told_of_after_a_moment(tmp_path: Path, alone: Locking, place: str, said: str) -> None:
    path = tmp_path / place
    with alone(tmp_path):
        before = path.read_bytes()
        with pytest.raises(KvmsnapError, match=said), alone(tmp_path):
            pytest.fail("both have the lock")
        assert path.read_bytes() == before
    with alone(tmp_path):
        pass


def test_what_fails_under_the_lock_is_not_taken_for_a_lock(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), restore_journal.alone(tmp_path):
        raise BlockingIOError


def test_no_longer_than_the_least_is_waited_without_a_wait(tmp_path: Path) -> None:
    clock = LookingOn(tmp_path / "lock")
    other = (tmp_path / "lock").open("w", encoding="utf-8")
    with other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with file_lock.locked(tmp_path / "lock", clock=clock) as had:
            assert had is None
    assert clock.now == pytest.approx(LEAST)
