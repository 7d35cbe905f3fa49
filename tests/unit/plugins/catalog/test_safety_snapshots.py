# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long what restores kept from before stays: which of them have ended, hang together and are old enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import samples
from asked import restore_request

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.known_restores import restores_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    GuestProgress,
    Journal,
    Safety,
    SafetySnapshot,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.safety_snapshots import DAY, due, families, reduced
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import run

NOW = 2_000_000_000.0
DONE = GuestProgress("running", ("svm1:/vol/vol1/web1.img",), written=True, done=True)
BACK = GuestProgress("running", as_before=True)
HALF = GuestProgress("running", ("svm1:/vol/vol1/web1.img",))


def safety(name: str) -> Safety:
    return Safety(name, (samples.WEB,), (SafetySnapshot("svm1", "s", "vol1", "v", f"uuid of {name}"),))


def journal(name: str, progress: GuestProgress = DONE, *safeties: str, backup: str = samples.BACKUP) -> Journal:
    return Journal(name, backup, {samples.WEB: progress}, tuple(map(safety, safeties or (f"{name}-safety",))))


def removed(
    *found: Journal, ages: dict[str, float] | None = None, days: int = 30, holding: tuple[str, ...] = ()
) -> list[tuple[str, ...]]:
    """The names of those that are to go, each family by itself; all are 40 days old but for those in ``ages``."""
    ended = {each.restore_id: NOW - (ages or {}).get(each.restore_id, 40) * DAY for each in found}
    return [each.ids for each in due(restores_of(found), ended, holding=holding, now=NOW, days=days)]


@pytest.mark.parametrize(
    ("found", "how", "goes"),
    [
        ([journal("r1")], {}, [("r1",)]),
        ([journal("r1", BACK)], {}, [("r1",)]),
        ([journal("r1"), journal("r2")], {"ages": {"r2": 29.9}}, [("r1",)]),
        ([journal("r1")], {"ages": {"r1": 30}}, [("r1",)]),
        ([journal("r1")], {"ages": {"r1": -1}}, []),
        ([journal("r1")], {"days": 0}, []),
        ([journal("r1")], {"days": 41}, []),
        ([journal("r1", HALF)], {}, []),
        ([journal("r1", GuestProgress("running"))], {}, []),
        ([Journal("r1", samples.BACKUP, {samples.WEB: DONE, samples.DB: HALF}, (safety("s"),))], {}, []),
        ([Journal("r1", samples.BACKUP, {samples.WEB: DONE})], {}, []),
        ([Journal("r1", samples.BACKUP, {samples.WEB: DONE})], {"holding": ("r1",)}, [("r1",)]),
    ],
    ids=[
        "all guests are back",
        "all guests are as before",
        "one is younger",
        "as old as that",
        "from the future",
        "for ever",
        "longer than that",
        "it broke off",
        "it was begun",
        "one guest is half-done",
        "nothing is kept",
        "files alone are kept",
    ],
)
def test_what_is_kept_goes_when_its_restore_ended_long_ago(
    found: list[Journal], how: dict[str, Any], goes: list[tuple[str, ...]]
) -> None:
    assert removed(*found, **how) == goes


HEIR = GuestProgress("running", DONE.disks, written=True, done=True, took_over=("r1",))
KEEPS = GuestProgress("running", written=True, done=True, files=(Aside("nvram", "/x", "web1", "a", kept_by="r1"),))
DEFINED = GuestProgress("running", written=True, done=True, definition=Aside("xml", "web1", "web1.xml", kept_by="r1"))
IMAGE = GuestProgress("running", written=True, done=True, image_to_bring="/c/restores/r1.images/web1.1.save")


@pytest.mark.parametrize(
    "other",
    [
        journal("r2", HEIR),
        journal("r2", KEEPS),
        journal("r2", DEFINED),
        journal("r2", IMAGE),
        journal("r2", DONE, "r1-safety"),
        journal("r1.undo"),
        journal("r2", DONE, "other", backup="r1-safety"),
    ],
    ids=[
        "took its place",
        "has its files",
        "has its definition",
        "brings its image",
        "has its snapshot",
        "undid it",
        "is made from it",
    ],
)
def test_restores_that_hang_together_go_together(other: Journal) -> None:
    first = journal("r1")
    both = ("r1", other.restore_id)
    assert removed(first, other) == [both]
    assert removed(other, first) == [both[::-1]]
    assert removed(first, other, ages={other.restore_id: 1}) == []
    unfinished = Journal(other.restore_id, other.backup_id, {**other.guests, samples.DB: HALF}, other.safeties)
    assert removed(first, unfinished) == []


def test_what_a_restore_that_broke_off_handed_on_goes_once_its_heir_has_ended() -> None:
    broken = journal("r1", HALF)
    assert removed(broken, journal("r2", HEIR)) == [("r1", "r2")]
    assert removed(broken, journal("r2", GuestProgress("running", took_over=("r1",)))) == []


def test_several_hang_together_over_one_between_them() -> None:
    middle = journal("r3", GuestProgress("running", written=True, done=True, took_over=("r1", "r2")))
    found = restores_of([journal("r1"), journal("r2"), journal("r9"), middle])
    ended = dict.fromkeys(("r1", "r2", "r3", "r9"), NOW)
    assert sorted(each.ids for each in families(found, ended)) == [("r1", "r2", "r3"), ("r9",)]


def test_restores_from_one_backup_do_not_hang_together() -> None:
    assert removed(journal("r1"), journal("r2"), ages={"r2": 1}) == [("r1",)]


def test_a_reduced_journal_keeps_what_was_done_and_says_why_there_is_no_undo(tmp_path: Path) -> None:
    known = reduced(journal("r1", IMAGE), at="2026-12-24T02:00:00+00:00")
    assert (known.safeties, known.guests[samples.WEB].image_to_bring, known.done(samples.WEB)) == ((), "", True)
    assert reduced(journal("r1", DEFINED), at="x").guests[samples.WEB].definition is None
    assert removed(known) == []
    journals.save(tmp_path, known)
    assert journals.load(tmp_path, "r1") == known
    with pytest.raises(InputError, match="was removed at 2026-12-24T02:00:00") as caught:
        run.run(restore_request(tmp_path, restore_id="r1", state="undone", guests=[]), check=False)
    assert caught.value.fields["safety_removed"] == "2026-12-24T02:00:00+00:00"
