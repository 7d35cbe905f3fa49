# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hold is asked for, and what a look at a guest tells."""

from __future__ import annotations

from typing import Any

import pytest
from holding import seen

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldRequest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem

ROOT = FileSystem("/", "vda1", "ext4", ("vda",))


@pytest.mark.parametrize(
    ("os", "mounts", "vss"),
    [
        ("windows", None, True),
        ("linux", None, False),
        ("unknown", None, None),
        ("unknown", (ROOT,), False),
        ("unknown", (FileSystem("C:", "c", "NTFS"),), True),
    ],
)
def test_who_thaws_by_itself(os: str, mounts: Any, vss: Any) -> None:
    assert seen(os=os, mounts=mounts).vss is vss


def test_the_disks_of_the_backup_come_from_the_options() -> None:
    given = {"name": "g", "uuid": None, "method": "auto"}
    assert HoldRequest.from_option({**given, "disks": ["vdb"]}).disks == ("vdb",)
    assert HoldRequest.from_option({**given, "disks": None}).disks is None


def test_a_guest_without_any_name() -> None:
    with pytest.raises(InputError, match="needs a uuid or a name"):
        HoldRequest.from_option({"name": " ", "uuid": None})
