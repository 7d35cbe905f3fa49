# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owner and mode of a file, which the one that takes its place gets as well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.file_attributes import attributes_of, put_label


def test_a_file_has_an_owner_and_a_mode(tmp_path: Path) -> None:
    path = tmp_path / "vars.fd"
    assert attributes_of(str(path)) is None
    path.write_bytes(b"x")
    path.chmod(0o640)
    found = attributes_of(str(path))
    assert found is not None
    assert (found.uid, found.gid, found.mode) == (os.getuid(), path.stat().st_gid, 0o640)


def test_a_link_is_looked_at_itself(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    found = attributes_of(str(tmp_path / "link"))
    assert found is not None
    assert found.mode == 0o777


def test_what_cannot_be_labelled_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        put_label(tmp_path / "vars.fd", "system_u:object_r:svirt_image_t:s0")
