# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that a backup leaves out, since somebody works on them or a restore of them broke off."""

from __future__ import annotations

from pathlib import Path

import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import left_out
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BackupScope
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import GuestProgress, Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import Busy, guest_locks, lock_directory

GUESTS = [(samples.WEB, "web1"), (samples.DB, "db1")]


def test_a_guest_whose_disks_are_neither_old_nor_new_is_left_out(tmp_path: Path) -> None:
    assert left_out.half_restored(tmp_path, GUESTS) == {}
    begun = GuestProgress("running", ("svm1:/vol/vol1/web1.img",))
    restore_journal.save(
        tmp_path, Journal("r1", samples.BACKUP, {samples.WEB: begun, samples.DB: GuestProgress("off")})
    )
    found = left_out.half_restored(tmp_path, GUESTS)
    problem = found[samples.WEB]
    assert len(found) == 1
    assert (problem.code, problem.severity, problem.guest) == (left_out.HALF_RESTORED, "error", "web1")
    assert problem.message == f"guest web1: restore r1 from backup {samples.BACKUP} failed part-way through its disks"


def test_a_guest_that_another_process_works_on_is_left_out(tmp_path: Path) -> None:
    assert left_out.locked_now(tmp_path / "holds", GUESTS) == {}
    locks = lock_directory(tmp_path / "holds")
    with guest_locks(locks, [(samples.DB, "db1")], purpose="restore", identity="r1"):
        found = left_out.locked_now(tmp_path / "holds", GUESTS)
    problem = found[samples.DB]
    assert len(found) == 1
    assert (problem.code, problem.severity, problem.guest) == ("guest-locked", "error", "db1")
    assert "guest db1 is locked by restore r1 (process " in problem.message
    assert left_out.locked_now(tmp_path / "holds", GUESTS) == {}


def test_nothing_is_asked_for_a_guest_that_is_left_out() -> None:
    scope = BackupScope.from_options(
        {
            "owner": "hv1",
            "policy": "daily",
            "guests": [samples.guest(), samples.guest("db1", samples.DB.upper())],
            "volumes": [samples.volume()],
            "problems": [{"severity": "error", "guest": "db1", "code": "no-agent"}],
            "quiesce": {"*": "auto", "web1": "agent", "db1": "suspend"},
            "order": [["db1"], ["web1", "db1"]],
            "filesystems": {"web1": ["/srv"], samples.DB.upper(): ["/"]},
            "manifest_key": None,
        }
    )
    assert left_out.without(scope, {}) is scope
    left = left_out.without(scope, left_out.locked([Busy(samples.DB, "db1", None)]))
    assert left.protected == [(samples.WEB, "web1")]
    assert [guest.name for guest in left.guests] == ["web1", "db1"]
    assert left.reasons == {"db1": ("no-agent", "guest-locked")}
    assert left.methods == {"*": "auto", "web1": "agent"}
    assert left.filesystems == {"web1": ("/srv",)}
    assert left.order == ((), ("web1",))
