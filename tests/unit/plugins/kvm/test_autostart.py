# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt notes of autostarts, and directories of ours, are synced: which ones, as the kernel is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils import _files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.autostart import make_durable


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return what is synced from now on; it is synced all the same."""
    found: list[Path] = []
    really = os.fsync

    def noting(descriptor: int) -> None:
        found.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return found


@pytest.mark.parametrize(
    ("uri", "made", "expected"),
    [
        ("qemu:///system", "qemu/autostart", ["qemu/autostart", "qemu"]),
        ("qemu:///system", "qemu", ["qemu"]),
        ("qemu:///system", "", []),
        ("qemu:///session", "qemu/autostart", []),
    ],
)
def test_the_links_of_the_system_s_guests_are_synced(
    tmp_path: Path, synced: list[Path], uri: str, made: str, expected: list[str]
) -> None:
    (tmp_path / made).mkdir(parents=True, exist_ok=True)
    make_durable(uri, tmp_path / "qemu" / "autostart")
    assert synced == [tmp_path / each for each in expected]


def test_each_private_directory_that_is_made_is_synced_where_it_was_made(tmp_path: Path, synced: list[Path]) -> None:
    wanted = tmp_path / "catalog" / "restores"
    assert _files.private_directory(wanted) == wanted
    assert synced == [tmp_path, tmp_path / "catalog"]
    assert [path.stat().st_mode & 0o777 for path in (wanted, wanted.parent)] == [0o700, 0o700]
    assert _files.private_directory(wanted) == wanted
    assert synced == [tmp_path, tmp_path / "catalog"]


def test_a_file_in_the_way_of_a_private_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "catalog").write_text("in the way")
    with pytest.raises(OSError, match="catalog"):
        _files.private_directory(tmp_path / "catalog")
