# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which restores of a host broke off, and whose disks are neither old nor new."""

from __future__ import annotations

from pathlib import Path

import pytest
import samples
from broken_off import BACK, DONE, HALF, STOPPED, VDA, WRITTEN, journal

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import known_restores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    GuestProgress,
)


@pytest.mark.parametrize(
    ("progress", "open_", "half"),
    [
        (HALF, True, True),
        (WRITTEN, True, False),
        (STOPPED, True, False),
        (DONE, False, False),
        (BACK, False, False),
    ],
)
def test_what_is_unfinished_and_what_is_half_restored(progress: GuestProgress, open_: bool, half: bool) -> None:
    found = known_restores.restores_of([journal(progress=progress)])
    assert bool(found.unfinished(samples.WEB)) is open_
    assert bool(found.half_restored(samples.WEB)) is half
    assert found.unfinished(samples.DB) == []


def test_the_journals_of_a_host_are_read_and_a_damaged_one_hides_none(tmp_path: Path) -> None:
    kept = journal(progress=GuestProgress("running", (VDA,), autostart=True, as_before=True, took_over=("r0",)))
    journals.save(tmp_path, kept)
    (tmp_path / "restores" / "r2.json").write_text("{")
    assert known_restores.read_restores(tmp_path).journals == (kept,)
    assert known_restores.read_restores(tmp_path / "nothing").journals == ()
