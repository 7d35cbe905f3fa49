# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a LUN on this host: the daemon that looks after its paths does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate import device_users
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.device_users import checks_paths


@pytest.mark.parametrize(
    ("program", "is_so"),
    [
        ("/usr/sbin/multipathd", True),
        ("/sbin/multipathd (deleted)", True),
        ("/usr/bin/qemu-system-x86_64", False),
        ("/usr/sbin/multipathd/dd", False),
        ("/tmp/multipathd-reader", False),
        (None, False),
    ],
)
def test_the_daemon_that_keeps_the_paths_open_to_see_whether_they_work(
    tmp_path: Path, program: str | None, is_so: bool
) -> None:
    if program is not None:
        (tmp_path / "exe").symlink_to(program)
    assert checks_paths(tmp_path) is is_so


def test_a_mount_point_is_one_word_of_the_command_that_unmounts_it(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    line = "40 21 254:0 / /media/a\\040b;reboot rw - ext4 /dev/mapper/data rw\n"
    (tmp_path / "1" / "mountinfo").write_text(line, encoding="ascii")
    (user,) = device_users._mounted(frozenset(["254:0"]), "/dev/dm-0", tmp_path)
    assert user.remedy == "Unmount it (umount '/media/a b;reboot')."
