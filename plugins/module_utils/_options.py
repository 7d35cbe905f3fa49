# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pieces of argument specs that several modules have; the doc fragments of the same names tell of them.

What belongs to one room stands there: the controllers (``_ontap/options``), keys (``_catalog/manifest_key``), what a
backup is to hold (``_backup/request``), what a foreign definition may name (``_restore/foreign_definition``).
"""

from __future__ import annotations

from typing import Any

Options = dict[str, dict[str, Any]]

LIBVIRT: Options = {"uri": {"type": "str", "default": "qemu:///system"}}
LIBVIRT_FILES: Options = {"config_dir": {"type": "path", "default": "/etc/libvirt/qemu"}}
CATALOG: Options = {"catalog_dir": {"type": "path", "default": "/var/lib/kvmsnap"}}
RETRY: Options = {"retry_count": {"type": "int", "default": 3}}
HOLD: Options = {"hold_dir": {"type": "path", "default": "/run/kvmsnap/holds"}}
HOLD_AGENT: Options = {
    "freeze_timeout": {"type": "int", "default": 20},
    "agent_ping_timeout": {"type": "int", "default": 5},
}
"""Seconds for which agents are waited for."""
HOLD_DEADLINE: Options = {
    "hold_deadline": {"type": "float", "default": 30},
    "vss_hold_deadline": {"type": "float", "default": 8},
    "hold_margin": {"type": "float", "default": 0.5},
    "unquiesce_timeout": {"type": "float"},
}
"""Seconds for which a hold may last."""
