# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases on backups: who reads one keeps it, and only as long as it lives or its time lasts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id, own_process
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import lease
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import (
    Lease,
    LeasedError,
    deletable,
    grant,
    leased,
    standing,
    stands,
)

BACKUP, OTHER = "hv1-daily_20261121020000", "hv1-daily_20261122020000"
HERE = os.uname().nodename
OWN = own_process()
READS = """
import sys
from pathlib import Path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import leased
with leased(Path(sys.argv[1]), sys.argv[2], purpose="restore", identity="r1"):
    print("ready", flush=True)
    sys.stdin.readline()
"""
BY_PLAYBOOK = Lease("a1", BACKUP, "restore", "r1", "hv2", "2026-11-21T02:00:00+00:00", ends=1000.0)
BY_PROCESS = replace(BY_PLAYBOOK, host="hv1", boot="b1", pid=OWN.pid, started=OWN.started)


@contextmanager
def reader(root: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that reads a backup."""
    command = [sys.executable, "-c", READS, str(root), name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("one", "now", "boot", "expected"),
    [
        pytest.param(BY_PLAYBOOK, 999.0, "b1", True, id="of a playbook, before its time is over"),
        pytest.param(BY_PLAYBOOK, 1000.0, "b1", False, id="of a playbook, after it"),
        pytest.param(BY_PROCESS, 999.0, "b1", True, id="of a process that lives"),
        pytest.param(BY_PROCESS, 1000.0, "b1", False, id="of a process that lives and hangs"),
        pytest.param(BY_PROCESS, 999.0, "b2", False, id="of a process before the last boot"),
        pytest.param(replace(BY_PROCESS, started=OWN.started - 1), 999.0, "b1", False, id="its number is another's"),
        pytest.param(replace(BY_PROCESS, host="hv2", started=1), 999.0, "b1", True, id="of another host's process"),
    ],
)
def test_how_long_a_lease_stands(one: Lease, now: float, boot: str, expected: bool) -> None:
    assert stands(one, now=now, host="hv1", boot=boot, since_boot=0.0) is expected


@pytest.mark.parametrize(
    ("now", "since_boot", "boot", "expected"),
    [
        pytest.param(10**9, 499.0, "b1", True, id="the clock was set forward"),
        pytest.param(-(10**9), 499.0, "b1", True, id="the clock was set back"),
        pytest.param(-(10**9), 500.0, "b1", False, id="the clock was set back, and its time is over"),
        pytest.param(999.0, 1.0, "b2", False, id="the host was started again"),
    ],
)
def test_a_clock_that_is_set_neither_ends_nor_lengthens_a_lease(
    now: float, since_boot: float, boot: str, expected: bool
) -> None:
    one = replace(BY_PROCESS, until=500.0)
    assert stands(one, now=now, host="hv1", boot=boot, since_boot=since_boot) is expected


def test_a_backup_that_is_read_stays_though_the_clock_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reader(tmp_path, BACKUP):
        tomorrow = time.time() + 86400
        monkeypatch.setattr(lease.time, "time", lambda: tomorrow)
        with pytest.raises(LeasedError, match="it is read by restore r1"), deletable(tmp_path, [BACKUP]):
            raise AssertionError


def test_who_reads_a_backup_keeps_it_and_no_other(tmp_path: Path) -> None:
    with reader(tmp_path, BACKUP), deletable(tmp_path, [OTHER]):
        deletion = deletable(tmp_path, [OTHER + "x", BACKUP])
        with (
            pytest.raises(LeasedError, match=rf"delete backup {BACKUP}: it is read by restore r1 on {HERE} "),
            deletion,
        ):
            pytest.fail("it is read")
    with deletable(tmp_path, [BACKUP]):
        assert standing(tmp_path, BACKUP) == []


def test_many_may_read(tmp_path: Path) -> None:
    with reader(tmp_path, BACKUP), leased(tmp_path, BACKUP, purpose="clone", identity="c1"):
        assert lease.outlived(tmp_path) == []
        assert sorted(each.purpose for each in standing(tmp_path, BACKUP)) == ["clone", "restore"]
    with deletable(tmp_path, [BACKUP]):
        pass


def test_the_lease_of_a_killed_reader_is_over(tmp_path: Path) -> None:
    with reader(tmp_path, BACKUP) as process:
        process.kill()
        process.wait(10)
        assert [each.identity for each in lease.outlived(tmp_path)] == ["r1"]
        with deletable(tmp_path, [BACKUP]):
            pass
    assert list((tmp_path / "leases").iterdir()) == []


def test_the_lock_of_a_process_that_was_killed_while_it_had_it_is_found_and_removed(tmp_path: Path) -> None:
    changes = READS.replace("leased", "changing").replace(', purpose="restore", identity="r1"', "")
    command = [sys.executable, "-c", changes, str(tmp_path), BACKUP]
    assert lease.left_locks(tmp_path) == []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        lock = tmp_path / "leases" / f"{BACKUP}.lock"
        assert lease.left_locks(tmp_path) == []
        lease.remove_left(lock)
        assert lock.exists(), "somebody has it"
        process.kill()
        process.wait(10)
        assert lease.left_locks(tmp_path) == [lock]
        lease.remove_left(lock)
    assert list((tmp_path / "leases").iterdir()) == []


def test_nothing_is_left_of_a_lease(tmp_path: Path) -> None:
    with leased(tmp_path, BACKUP, purpose="restore", identity="r1"):
        pass
    assert list((tmp_path / "leases").iterdir()) == []


def test_nobody_begins_to_read_what_is_being_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_WAIT", 0.2)
    with deletable(tmp_path, [BACKUP]):
        begun = leased(tmp_path, BACKUP, purpose="restore", identity="r1")
        with pytest.raises(LeasedError, match=f"read backup {BACKUP}: it is being deleted"), begun:
            pytest.fail("it is being deleted")


def test_a_lease_is_renewed_while_its_reader_reads(tmp_path: Path) -> None:
    renewed = threading.Event()
    with leased(tmp_path, BACKUP, purpose="restore", identity="r1", seconds=0.6) as mine:
        deadline = time.monotonic() + 30
        while not renewed.is_set() and time.monotonic() < deadline:
            if any(each.ends > mine.ends for each in standing(tmp_path, BACKUP)):
                renewed.set()
    assert renewed.is_set()


def test_a_lease_that_cannot_be_read_keeps_the_backup(tmp_path: Path) -> None:
    place = tmp_path / "leases" / BACKUP
    place.mkdir(parents=True)
    (place / "a1.json").write_text("{")
    with pytest.raises(LeasedError, match=r"its lease .*a1\.json cannot be read"), deletable(tmp_path, [BACKUP]):
        pytest.fail("who reads it is not known")


def test_a_lease_of_a_playbook_ends_by_itself(tmp_path: Path) -> None:
    grant(tmp_path, replace(BY_PLAYBOOK, ends=time.time() - 1))
    with deletable(tmp_path, [BACKUP]):
        pass
    grant(tmp_path, replace(BY_PLAYBOOK, ends=time.time() + 600))
    with pytest.raises(LeasedError, match="restore r1 on hv2"), deletable(tmp_path, [BACKUP]):
        pytest.fail("it is read")


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError), leased(tmp_path, name, purpose="restore", identity="r1"):
        pytest.fail("it leads elsewhere")


def test_the_boot_of_a_lease_is_this_one(tmp_path: Path) -> None:
    with leased(tmp_path, BACKUP, purpose="restore", identity="r1") as mine:
        assert (mine.boot, mine.pid, mine.host) == (boot_id(), os.getpid(), HERE)
