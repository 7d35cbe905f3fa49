# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is used, where it came from, and whether it is protected."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import samples
from handed_over import complete, given, taken

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    store,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.imported_backup import ImportedBackup
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import ManifestError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import ManifestKey, Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import Chosen


@pytest.mark.parametrize("origin", list(Origin))
def test_what_this_catalog_has_already_keeps_its_origin(tmp_path: Path, origin: Origin) -> None:
    store.save(tmp_path, complete(), origin=origin)
    found = taken(tmp_path, given())
    assert found.origin is origin
    found.keep(tmp_path)
    assert store.origin_of(tmp_path, samples.BACKUP) is origin


@pytest.mark.parametrize(
    ("origin", "owner", "leased", "protected"),
    [
        (Origin.OWN_RUN, "hv1", False, True),
        (Origin.ADOPTED, "hv1", False, True),
        (Origin.IMPORTED, "hv1", True, True),
        (Origin.IMPORTED, "hv1", False, False),
        (Origin.REBUILT, "hv1", False, False),
        (Origin.REBUILT, os.uname().nodename, False, True),
    ],
)
def test_a_backup_of_another_host_without_a_lease_there_is_said_to_be_unprotected(
    origin: Origin, owner: str, leased: bool, protected: bool
) -> None:
    found = replace(complete(), owner=owner)
    handed_over = ImportedBackup(found, {}, origin, leased=leased) if origin is Origin.IMPORTED else None
    told = Chosen(found, origin, given=handed_over).protection
    assert told["leased"] is protected
    warned = [f"Backup {samples.BACKUP} is not protected against deletion" in each for each in told.get("warnings", [])]
    assert warned == ([] if protected else [True])


@pytest.mark.parametrize("leased", [True, False])
def test_a_lease_of_the_owner_is_handed_over_with_the_backup(tmp_path: Path, leased: bool) -> None:
    assert taken(tmp_path, {**given(), "leased": leased}).protection["leased"] is leased
    store.save(tmp_path, complete(), origin=Origin.OWN_RUN)
    assert taken(tmp_path, {**given(), "leased": leased}).protection == {"leased": True}


def test_where_a_signature_is_needed_only_the_host_s_own_catalog_is_believed_without(tmp_path: Path) -> None:
    signed = Trust("signed", (ManifestKey("k", b"x" * 16),))
    with pytest.raises(ManifestError, match=r"\(imported\): manifest_require is signed"):
        taken(tmp_path, given(), trust=signed)
    store.save(tmp_path, complete(), origin=Origin.OWN_RUN)
    assert taken(tmp_path, given(), trust=signed).origin is Origin.OWN_RUN
