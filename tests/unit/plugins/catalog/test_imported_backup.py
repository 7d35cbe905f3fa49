# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup out of the catalog of another host is verified first, and kept when it is used."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import samples
from handed_over import VARIABLES, complete, dumped, encoded, given, taken

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    store,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError

EVIL = "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/shadow'>]><domain><name>&e;</name></domain>"


def test_a_backup_of_another_catalog_is_verified_first_and_kept_when_it_is_used(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    for wanted in (samples.BACKUP, "latest"):
        found = taken(root, given(), wanted=wanted)
        assert found.manifest == complete()
        assert not root.exists()
    assert found.notes == ("the backup was handed over from the catalog of another host",)
    found.keep(root)
    assert store.load(root, samples.BACKUP) == complete()
    directory = store.backup_directory(root, samples.BACKUP)
    assert (directory / "web.nvram").read_bytes() == VARIABLES
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, directory)} == {0o700}
    again = taken(root, {**given(), "files": {}})
    again.keep(root)
    assert (directory / "web.nvram").read_bytes() == VARIABLES


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (given(replace(complete(), phase="started")), "was never completed"),
        (given(**{"web.nvram": b"tampered"}), "its sha256 is .*, the manifest's"),
        (given(**{"web.nvram": VARIABLES, "other": b"x"}), "has no file other"),
        (given(**{"../../x": b"x"}), "cannot be used as a name"),
        ({**given(), "files": {}}, "web.nvram of backup .* is neither in backup_from nor in the catalog"),
        ({**given(), "files": {"web.nvram": "!"}}, "is not base64"),
        ({**given(), "manifest": encoded(dumped(complete()).replace(b"daily", b"other"))}, "checksum does not match"),
        ({**given(), "manifest": "{}"}, "manifest.json in backup_from is not base64"),
        (given(replace(complete(), backup_id="hv1-other_20261121020000")), "holds backup hv1-other.*, not hv1-daily"),
        (given(replace(complete(), guests=(replace(complete().guests[0], xml=EVIL),))), "DOCTYPE"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, option: dict[str, Any], words: str
) -> None:
    with pytest.raises(KvmsnapError, match=words):
        taken(tmp_path / "catalog", option)
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_guests_that_are_not_wanted_may_be_missing(tmp_path: Path) -> None:
    assert taken(tmp_path, {**given(), "files": {}}, guest="db1").manifest == complete()


def test_another_backup_of_that_name_in_this_catalog_stays(tmp_path: Path) -> None:
    store.save(tmp_path, replace(complete(), run_id="mine"), origin=Origin.OWN_RUN)
    before = (store.backup_directory(tmp_path, samples.BACKUP) / "manifest.json").read_bytes()
    with pytest.raises(CatalogError, match="another of that name, of run mine, and the one given is of run run"):
        taken(tmp_path, given())
    assert (store.backup_directory(tmp_path, samples.BACKUP) / "manifest.json").read_bytes() == before
