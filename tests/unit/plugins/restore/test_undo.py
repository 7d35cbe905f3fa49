# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undoing a restore: which guests, from which safety snapshot, and that it is planned like any restore."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import samples
from asked import restore_request

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    GuestProgress,
    Journal,
    Safety,
    SafetySnapshot,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import run

BEFORE = "hv1-safety_20261122020000"
WRITTEN = GuestProgress("running", ("svm1:/vol/vol1/web1.img",), written=True, done=True)


def backup() -> Manifest:
    started = samples.manifest(samples.guest(), samples.two_volume_guest(), volumes=("vol1", "vol2"))
    return samples.completed(
        started,
        holds=[samples.hold(), samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot(name) for name in ("vol1", "vol2")],
        at="2026-11-21T02:00:03+00:00",
    )


def safety(*guests: str, name: str = BEFORE) -> Safety:
    snapshots = (SafetySnapshot("svm1", "svm1-uuid", "vol1", "vol1-uuid", f"vol1-{name}"),)
    return Safety(name, guests, snapshots)


def journal(*safeties: Safety, **guests: GuestProgress) -> Journal:
    uuids = {"web": samples.WEB, "db": samples.DB}
    return Journal("r1", samples.BACKUP, {uuids[name]: progress for name, progress in guests.items()}, safeties)


@pytest.mark.parametrize(
    ("known", "guests", "todo"),
    [
        (journal(safety(samples.WEB), web=WRITTEN), ["web1"], [samples.WEB]),
        (journal(safety(samples.WEB), web=WRITTEN), [samples.WEB], [samples.WEB]),
        (journal(safety(samples.WEB, samples.DB), web=WRITTEN, db=WRITTEN), ["db1"], [samples.DB]),
        (journal(safety(samples.WEB), web=GuestProgress("running", ("a",))), ["web1"], [samples.WEB]),
        # db1 was put back at once: there is nothing to undo of it
        (
            journal(safety(samples.WEB), web=WRITTEN, db=GuestProgress("running")),
            ["web1", "db1"],
            [samples.WEB],
        ),
    ],
)
def test_the_guests_that_were_overwritten_are_undone(known: Journal, guests: list[str], todo: list[str]) -> None:
    found, names = run._to_undo(known, backup(), guests)
    assert (found.name, names) == (BEFORE, todo)


@pytest.mark.parametrize(
    "known",
    [
        journal(web=WRITTEN),
        journal(safety(samples.WEB), safety(samples.DB, name="other"), web=WRITTEN, db=WRITTEN),
        journal(safety(samples.WEB), web=WRITTEN, db=WRITTEN),
    ],
)
def test_what_no_single_snapshot_holds_is_not_undone(known: Journal) -> None:
    with pytest.raises(InputError, match="cannot be undone"):
        run._to_undo(known, backup(), ["web1", "db1"])


@pytest.mark.parametrize(
    ("known", "guests", "said"),
    [
        (journal(safety(samples.WEB), web=WRITTEN), ["db1"], "undo of db1: .* undone for: web1. Nothing was touched$"),
        (journal(safety(samples.WEB), web=GuestProgress("running")), ["web1"], "undo of web1: .* undone for: none"),
        (journal(), [], "undo of any guest: .* undone for: none"),
        (
            journal(safety(samples.WEB), web=WRITTEN),
            ["web1", "web9"],
            f"made from backup {samples.BACKUP}, which does not hold 'web9'; it holds web1, db1. Nothing was touched$",
        ),
    ],
)
def test_guests_of_which_there_is_nothing_to_undo_are_named(known: Journal, guests: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run._to_undo(known, backup(), guests)


def test_the_safety_snapshot_takes_the_place_of_the_backup() -> None:
    before = run._as_before(backup(), safety(samples.WEB))
    assert before.backup_id == BEFORE
    assert [volume.snapshot_uuid for volume in before.volumes] == [f"vol1-{BEFORE}", None]
    assert before.guests[0].disks == backup().guests[0].disks


def test_an_undo_needs_a_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = restore_request(tmp_path, restore_id="r1", state="undone")
    monkeypatch.setattr(ArrayAccess, "connected", lambda *_asked: nullcontext([]))
    with pytest.raises(InputError, match="There was no restore r1"):
        run.run(request, check=False)
    journals.save(tmp_path, journal(safety(samples.WEB), web=WRITTEN))
    with pytest.raises(InputError, match=f"There is no backup {samples.BACKUP} in the catalog"):
        run.run(request, check=False)


def test_a_journal_with_safety_snapshots_survives(tmp_path: Path) -> None:
    written = journal(safety(samples.WEB), web=WRITTEN)
    journals.save(tmp_path, written)
    assert journals.load(tmp_path, "r1") == written


def test_a_journal_whose_snapshot_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    journals.save(tmp_path, journal(safety(samples.WEB, name="../x"), web=WRITTEN))
    with pytest.raises((CatalogError, InputError)):
        journals.load(tmp_path, "r1")
