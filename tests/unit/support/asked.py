# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules are asked for: their options with the defaults of their argument specs, read as at their doors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest
from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_app_restore

ARRAY = {"hostname": "cluster1", "username": "kvmsnap", "password": "lab-Secret1"}


def defaults(spec: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options of a module to which nothing was said."""
    return {name: option.get("default") for name, option in spec.items()}


def restore_request(catalog: Path, **changes: Any) -> RestoreRequest:
    """Return a restore's request with this catalog and an array that is not there; the holds lie below the catalog."""
    here = {"catalog_dir": str(catalog), "hold_dir": str(catalog / "run" / "holds"), "controllers": [ARRAY]}
    usual = {"guests": ["web1"], "retry_count": 0, "timeout": 60, "uri": "test:///default"}
    options = {**defaults(kvm_app_restore.argument_spec()), **here, **usual, **changes}
    return RestoreRequest.from_options(options)


def discovery_options(controller: dict[str, Any], root: Path, **more: Any) -> dict[str, Any]:
    """The options of a discovery of all guests; ``more`` says where libvirt is (``uri``)."""
    return {
        "controllers": [controller],
        "guests": ["*"],
        "exclude": [],
        "unknown_guests": "fail",
        "disks": "all",
        "exclude_disks": [],
        "config_dir": str(root / "etc"),
        "retry_count": 0,
        "timeout": 60,
        "mapping": [],
        "auto_discovery": True,
        "multipath_required": True,
        **more,
    }
