# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an entry of the catalog came from: kept beside the manifest, never read out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError


@pytest.mark.parametrize("origin", list(Origin))
def test_what_is_written_is_read(tmp_path: Path, origin: Origin) -> None:
    store.save(tmp_path, samples.manifest(), origin=origin)
    assert store.origin_of(tmp_path, samples.BACKUP) is origin
    assert [entry.origin for entry in store.entries(tmp_path)] == [origin]


def test_only_the_host_s_own_runs_are_trusted() -> None:
    assert [origin for origin in Origin if origin.trusted] == [Origin.OWN_RUN]


def test_an_entry_of_a_version_that_kept_no_origin_is_the_host_s_own(tmp_path: Path) -> None:
    path = store.save(tmp_path, samples.manifest(), origin=Origin.IMPORTED)
    (path.parent / "origin").unlink()
    assert store.origin_of(tmp_path, samples.BACKUP) is Origin.OWN_RUN


@pytest.mark.parametrize("content", [b"", b"root\n", b"own-run imported\n", b"\xff", b"Origin.OWN_RUN\n"])
def test_an_entry_whose_origin_cannot_be_read_is_no_own_run(tmp_path: Path, content: bytes) -> None:
    path = store.save(tmp_path, samples.manifest(), origin=Origin.IMPORTED)
    (path.parent / "origin").write_bytes(content)
    with pytest.raises(KvmsnapError, match=f"Failed to read where backup {samples.BACKUP} came from"):
        store.origin_of(tmp_path, samples.BACKUP)
    (entry,) = store.entries(tmp_path)
    assert (entry.manifest, entry.origin) == (None, None)
    assert f"Failed to read where backup {samples.BACKUP} came from" in str(entry.error)
