# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pieces of argument specs that several modules have, and what their options may hold.

The doc fragments of the same names describe the pieces. What belongs to one room stands there: the controllers
(``_ontap/options``), keys (``_catalog/manifest_key``), what a backup is to hold (``_backup/request``), what a foreign
definition may name (``_restore/foreign_definition``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

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

LONGEST = 2**31 - 1
"""The most seconds that libvirt takes; an infinite time would never be over, and one that is no number neither."""


def directory(options: Mapping[str, Any], name: str) -> Path:
    """Return the directory that an option names; raises :class:`InputError` unless it is an absolute path.

    Any other would lead somewhere else for each process that runs in another directory: locks and records that are to
    keep them apart would be shared with none of them.
    """
    text = str(options[name])
    if not text.startswith("/") or text.strip() != text or "\0" in text:
        raise InputError(
            f"{name} is {text!r}; give an absolute path, or leave it out for the default. Nothing was touched",
            option=name,
        )
    return Path(text)


def check_numbers(
    options: Mapping[str, Any], least: Mapping[str, float], most: Optional[Mapping[str, float]] = None
) -> None:
    """Raise :class:`InputError` for an option that has a value below its ``least``, above its ``most``, or no number.

    ``most`` is :data:`LONGEST` where it says nothing.
    """
    for name, lowest in least.items():
        value, highest = options[name], (most or {}).get(name, LONGEST)
        if value is None:
            continue
        if not value >= lowest:
            raise InputError(f"{name} is {value:.15g}; it must be at least {lowest:.15g}", option=name)
        if value > highest:
            raise InputError(f"{name} is {value:.15g}; it must be at most {highest:.15g}", option=name)
