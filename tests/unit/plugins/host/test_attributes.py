# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with an inode: taken over by the file that takes another one's place, and told where that fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import attributes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.attributes import FileAttributes, differences


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_owner_mode_and_attributes_are_taken_over(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for each in (old, new):
        each.touch()
    os.chown(old, 64055, 107)
    old.chmod(0o640)
    try:
        os.setxattr(old, "user.kept", b"yes")
        os.setxattr(new, "user.surplus", b"no")
    except OSError as exc:
        pytest.skip(f"the file system has no extended attributes ({exc.strerror})")
    wanted = attributes.attributes_of(str(old))
    assert attributes.give(str(new), wanted) == []
    assert attributes.attributes_of(str(new)) == wanted
    assert (new.stat().st_uid, new.stat().st_gid, new.stat().st_mode & 0o7777) == (64055, 107, 0o640)
    assert os.listxattr(new) == ["user.kept"]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_an_access_list_is_taken_over_after_the_mode(tmp_path: Path) -> None:
    """Source of the bytes: version 2, then owner rw, user 64055 rw, group none, mask rw, others none."""
    old, new = tmp_path / "old", tmp_path / "new"
    for each in (old, new):
        each.touch(mode=0o600)
    entries = [(1, 6, 2**32 - 1), (2, 6, 64055), (4, 0, 2**32 - 1), (16, 6, 2**32 - 1), (32, 0, 2**32 - 1)]
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, mode, who in entries
    )
    try:
        os.setxattr(old, "system.posix_acl_access", acl)
    except OSError as exc:
        pytest.skip(f"the file system has no access lists ({exc.strerror})")
    wanted = attributes.attributes_of(str(old))
    assert attributes.give(str(new), wanted) == []
    assert os.getxattr(new, "system.posix_acl_access") == acl


def test_a_link_that_was_put_in_the_file_s_place_leads_nowhere(tmp_path: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.touch(mode=0o600)
    other.chmod(0o600)
    link.symlink_to(other)
    attributes.give(str(link), FileAttributes(os.getuid(), os.getgid(), 0o666))
    assert other.stat().st_mode & 0o777 == 0o600


def test_what_could_not_be_given_is_told_with_both_values() -> None:
    wanted = FileAttributes(64055, 64055, 0o600, (("security.selinux", b"svirt_image_t"),))
    assert differences(wanted, FileAttributes(0, 0, 0o644)) == [
        "its owner is 0:0 and was 64055:64055",
        "its mode is 644 and was 600",
        "its attribute security.selinux is not what it was",
    ]
    assert differences(wanted, wanted) == []
