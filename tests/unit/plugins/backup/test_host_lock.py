# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup of a host at a time."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.host_lock import LOCK, BusyError, backup_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError


def test_a_second_backup_is_told_of_the_first(tmp_path: Path) -> None:
    first, second = backup_lock(tmp_path / "run", "first", wait=0), backup_lock(tmp_path / "run", "second", wait=0)
    busy = pytest.raises(BusyError, match="backup first of this host is under way")
    with first, busy, second:
        pytest.fail("both are under way")
    with backup_lock(tmp_path / "run", "second", wait=0):
        assert stat.S_IMODE((tmp_path / "run" / LOCK).stat().st_mode) == 0o600


@pytest.mark.parametrize("fails", [False, True])
def test_a_backup_that_has_ended_is_named_no_more(tmp_path: Path, fails: bool) -> None:
    try:
        with backup_lock(tmp_path, "first", wait=0):
            if fails:
                raise KvmsnapError("the backup failed")
    except KvmsnapError:
        assert fails
    assert (tmp_path / LOCK).read_bytes() == b""


@pytest.mark.parametrize("call", ["pwrite", "ftruncate"])
def test_a_full_file_system_keeps_no_backup_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_args: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    busy = pytest.raises(BusyError, match="another backup of this host is under way")
    with backup_lock(tmp_path, "first", wait=0), busy, backup_lock(tmp_path, "second", wait=0):
        pytest.fail("both are under way")
    with backup_lock(tmp_path, "second", wait=0):
        pass


def test_a_backup_that_was_killed_is_not_named_for_one_that_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK).write_text('{"backup_id": "killed", "pid": 1}', encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda *_args: 0)
        with (
            backup_lock(tmp_path, "first", wait=0),
            pytest.raises(BusyError) as busy,
            backup_lock(tmp_path, "second", wait=0),
        ):
            pytest.fail("both are under way")
    assert "killed" not in busy.value.message
