# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module of copies as a user runs it, and how it tells what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running_module import run

NOBODY = {"hostname": "192.0.2.1", "username": "somebody", "password": "hunter2-hunter2", "timeout": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "state is present but all of the following are missing: guest"),
        ({"guest": "web1", "name": "../x"}, "name '../x' cannot be used"),
        ({"guest": "web1", "owner": ""}, "owner is empty"),
        ({"guest": "web1", "method": "magic"}, "value of method must be one of"),
        ({"guest": "web1", "timeout": 1}, "192.0.2.1"),
        ({"guest": "web1", "interfaces": "all"}, "value of interfaces must be one of"),
        ({"guest": "web1", "backup_from": {}}, "missing required arguments: manifest found in backup_from"),
        ({"state": "absent", "controllers": [{**NOBODY, "hostname": "a b"}]}, "hostname must be a name"),
    ],
)
def test_failures_are_told(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    given = {"name": "copy", "controllers": [NOBODY], "catalog_dir": str(tmp_path), "retry_count": 0, **options}
    result = run("kvm_vm_clone", {"uri": "test:///default", **given})
    assert result["failed"] is True
    assert message in result["msg"]
    assert list(tmp_path.glob("clones/*.json")) == []
