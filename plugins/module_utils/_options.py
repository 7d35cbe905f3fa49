# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pieces of argument specs that several modules have; the doc fragments of the same names tell of them.

What belongs to one room stands there: the controllers (``_ontap/options``), keys (``_catalog/manifest_key``), what a
backup is to hold (``_backup/request``), what a foreign definition may name (``_restore/foreign_definition``).
"""

from __future__ import annotations

from typing import Any


def libvirt_options() -> dict[str, Any]:
    """Return ``uri``."""
    return {"uri": {"type": "str", "default": "qemu:///system"}}


def libvirt_files_options() -> dict[str, Any]:
    """Return ``config_dir``."""
    return {"config_dir": {"type": "path", "default": "/etc/libvirt/qemu"}}


def catalog_options() -> dict[str, Any]:
    """Return ``catalog_dir``."""
    return {"catalog_dir": {"type": "path", "default": "/var/lib/kvmsnap"}}


def retry_options() -> dict[str, Any]:
    """Return ``retry_count``."""
    return {"retry_count": {"type": "int", "default": 3}}


def timeout_options(seconds: int) -> dict[str, Any]:
    """Return ``timeout``; what it bounds, each module tells itself."""
    return {"timeout": {"type": "int", "default": seconds}}


def hold_options() -> dict[str, Any]:
    """Return ``hold_dir``."""
    return {"hold_dir": {"type": "path", "default": "/run/kvmsnap/holds"}}


def hold_agent_options() -> dict[str, Any]:
    """Return how long agents are waited for, in seconds."""
    return {
        "freeze_timeout": {"type": "int", "default": 20},
        "agent_ping_timeout": {"type": "int", "default": 5},
    }


def hold_deadline_options() -> dict[str, Any]:
    """Return how long a hold may last, in seconds."""
    return {
        "hold_deadline": {"type": "float", "default": 30},
        "vss_hold_deadline": {"type": "float", "default": 8},
        "hold_margin": {"type": "float", "default": 0.5},
        "unquiesce_timeout": {"type": "float"},
    }
