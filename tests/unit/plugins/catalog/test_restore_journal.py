# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a restore: private, whole, and no way to a place that is none of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal as journals
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    GuestProgress,
    Journal,
    SideFileAttributes,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError


def test_a_second_restore_at_the_same_time_is_kept_out(tmp_path: Path) -> None:
    with journals.alone(tmp_path), pytest.raises(CatalogError, match="Another restore"), journals.alone(tmp_path):
        pass


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema": "other"}', '{"schema": "kvmsnap.restore/1", "guests": 3}']
)
def test_a_damaged_journal_is_an_error_and_not_a_fresh_start(tmp_path: Path, text: str) -> None:
    directory = tmp_path / "restores"
    directory.mkdir()
    (directory / "r1.json").write_text(text)
    with pytest.raises(CatalogError, match=r"r1[.]json"):
        journals.load(tmp_path, "r1")


def test_a_journal_cannot_name_a_file_elsewhere() -> None:
    with pytest.raises(InputError):
        Aside.from_record({"kind": "nvram", "path": "/n", "stored_as": "../../x", "sha256": ""})


def test_a_journal_of_an_earlier_version_keeps_owner_and_mode() -> None:
    look = {"uid": 107, "gid": 108, "mode": 0o600, "label": None}
    found = Aside.from_record({"kind": "nvram", "path": "/n", "stored_as": "x", "sha256": "", "look": look})
    assert found.attributes == SideFileAttributes(107, 108, 0o600)


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "restores").mkdir()
    (tmp_path / "restores" / "r1.json").write_text(
        '{"schema": "kvmsnap.restore/1", "restore_id": "r1", "backup_id": "b",'
        ' "guests": {"u": {"state_before": "paused"}}}'
    )
    found = journals.load(tmp_path, "r1")
    assert found is not None
    assert found.guests["u"] == GuestProgress("paused")
    assert found.guests["u"].open


def test_a_journal_of_all_disks_is_read_as_before(tmp_path: Path) -> None:
    restore_journal.save(tmp_path, Journal("r1", samples.BACKUP))
    path = tmp_path / "restores" / "r1.json"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if '"disks"' not in line))
    assert restore_journal.load(tmp_path, "r1") == Journal("r1", samples.BACKUP)
