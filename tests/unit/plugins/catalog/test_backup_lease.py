# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases that a playbook writes into a catalog for a reader on another host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import manifest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import backup_lease, store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.backup_lease import LeaseRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import lease
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import LeasedError, deletable, standing

SAVED = manifest()
BACKUP = SAVED.backup_id


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A catalog with one backup of a run of its own."""
    root = tmp_path / "catalog"
    root.mkdir(mode=0o700)
    store.save(root, SAVED, origin=Origin.OWN_RUN)
    return root


def request(root: Path, **changes: Any) -> LeaseRequest:
    """Ask for a lease as a playbook does."""
    usual = {
        "state": "present",
        "backup_id": BACKUP,
        "lease_id": None,
        "purpose": "clone",
        "identity": "web1-drill",
        "reader": "hv2",
        "seconds": 60,
        "catalog_dir": str(root),
    }
    return LeaseRequest.from_options({**usual, **changes})


def test_a_lease_is_written_and_removed(root: Path) -> None:
    assert backup_lease.run(request(root), check=True)["changed"] is True
    assert standing(root, BACKUP) == []
    made = backup_lease.run(request(root), check=False)
    (found,) = standing(root, BACKUP)
    assert (found.lease_id, found.purpose, found.identity, found.host) == (
        made["lease_id"],
        "clone",
        "web1-drill",
        "hv2",
    )
    gone = request(root, state="absent", lease_id=made["lease_id"], reader="", purpose=None)
    assert backup_lease.run(gone, check=True)["changed"] is True
    assert standing(root, BACKUP) == [found]
    assert backup_lease.run(gone, check=False) == {"changed": True, "lease_id": made["lease_id"]}
    assert standing(root, BACKUP) == []
    assert backup_lease.run(gone, check=False)["changed"] is False


@pytest.mark.parametrize(
    ("origin", "owned"),
    [(Origin.OWN_RUN, True), (Origin.ADOPTED, True), (Origin.IMPORTED, False), (Origin.REBUILT, False)],
)
def test_whose_backup_it_is_is_told(root: Path, origin: Origin, owned: bool) -> None:
    store.save(root, SAVED, origin=origin)
    made = backup_lease.run(request(root), check=False)
    assert (made["owned"], made["owner"]) == (owned, SAVED.owner)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"seconds": 0}, InputError, "seconds is 0"),
        ({"seconds": 604801}, InputError, "seconds is 604801"),
        ({"identity": "x" * 256}, InputError, "identity is longer than 255"),
        ({"purpose": "x" * 256}, InputError, "purpose is longer than 255"),
        ({"backup_id": "../x"}, InputError, "backup_id"),
        ({"lease_id": "../x"}, InputError, "lease_id"),
        ({"backup_id": "hv1-daily_20200101000000"}, CatalogError, "There is no backup"),
        ({"reader": ""}, InputError, "reader is empty"),
    ],
)
def test_what_cannot_be_a_lease_is_refused(
    root: Path, change: dict[str, Any], kind: type[Exception], message: str
) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(kind, match=message):
        backup_lease.run(request(root, **change), check=False)
    assert sorted(root.rglob("*")) == before


def test_a_backup_that_is_being_deleted_gets_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_WAIT", 0.2)
    with deletable(root, [BACKUP]), pytest.raises(LeasedError, match="it is being deleted"):
        backup_lease.run(request(root), check=False)
    assert standing(root, BACKUP) == []
