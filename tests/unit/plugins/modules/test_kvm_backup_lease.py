# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases for readers on other hosts, by the module as a user runs it, on a catalog of files."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from running_module import run, undocumented
from samples import manifest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import LeasedError, deletable, standing
from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_backup_lease

SAVED = manifest()
BACKUP = SAVED.backup_id


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a catalog with one backup of a run of its own."""
    root = tmp_path / "catalog"
    root.mkdir(mode=0o700)
    store.save(root, SAVED, origin=Origin.OWN_RUN)
    return root


def wanted(root: Path, **options: Any) -> dict[str, Any]:
    return {
        "backup_id": BACKUP,
        "purpose": "clone",
        "identity": "web1-drill",
        "reader": "hv2",
        "catalog_dir": str(root),
        **options,
    }


def unwanted(root: Path, lease_id: str) -> dict[str, Any]:
    return {"state": "absent", "backup_id": BACKUP, "lease_id": lease_id, "catalog_dir": str(root)}


def files(root: Path) -> list[str]:
    return sorted(str(Path(where, name)) for where, _folders, names in os.walk(root) for name in names)


def test_a_lease_is_written_renewed_and_removed(root: Path) -> None:
    before = files(root)
    shown = run("kvm_backup_lease", wanted(root), check=True)
    assert (shown["changed"], files(root)) == (True, before)
    made = run("kvm_backup_lease", wanted(root, seconds=60))
    (first,) = standing(root, BACKUP)
    assert (first.lease_id, first.purpose) == (made["lease_id"], "clone")
    assert (first.identity, first.host) == ("web1-drill", "hv2")
    assert time.time() < first.ends <= time.time() + 60
    with pytest.raises(LeasedError, match="it is read by clone web1-drill on hv2"), deletable(root, [BACKUP]):
        pytest.fail("it is read")
    again = run("kvm_backup_lease", wanted(root, seconds=600, lease_id=made["lease_id"]))
    (renewed,) = standing(root, BACKUP)
    assert (renewed.lease_id, renewed.ends > first.ends + 300) == (again["lease_id"], True)
    checked = run("kvm_backup_lease", unwanted(root, made["lease_id"]), check=True)
    assert (checked["changed"], standing(root, BACKUP)) == (True, [renewed])
    assert run("kvm_backup_lease", unwanted(root, made["lease_id"]))["changed"] is True
    assert files(root) == before
    gone = run("kvm_backup_lease", unwanted(root, made["lease_id"]))
    assert (gone["changed"], files(root)) == (False, before)
    for result in (shown, made, gone):
        told = {key: value for key, value in result.items() if key not in ("invocation", "changed")}
        assert undocumented(kvm_backup_lease.RETURN, told) == []


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"seconds": 0}, "InputError", "seconds is 0"),
        ({"backup_id": "hv1-daily_20200101000000"}, "CatalogError", "There is no backup"),
    ],
)
def test_what_cannot_be_a_lease_is_refused(root: Path, change: dict[str, Any], kind: str, message: str) -> None:
    before = files(root)
    refused = run("kvm_backup_lease", wanted(root, **change))
    assert (refused["failed"], refused.get("error_kind")) == (True, kind)
    assert message in refused["msg"]
    assert files(root) == before
