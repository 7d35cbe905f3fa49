# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record of another version is not read as if it were one of this."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError


def test_a_record_of_another_schema_is_refused(tmp_path: Path) -> None:
    restore_journal.save(tmp_path, Journal("r1", "b1"))
    assert restore_journal.load(tmp_path, "r1") == Journal("r1", "b1")
    path = tmp_path / "restores" / "r1.json"
    path.write_text(path.read_text(encoding="utf-8").replace(restore_journal.SCHEMA, "of-tomorrow"), encoding="utf-8")
    with pytest.raises(CatalogError, match="its schema is 'of-tomorrow'"):
        restore_journal.load(tmp_path, "r1")
