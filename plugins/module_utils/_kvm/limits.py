# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many guests libvirt's daemon can work on at once.

It serves ``max_workers`` calls at a time (20 unless configured otherwise), and a call to an agent that does not answer
keeps its worker until it is given up. Some are left to those who look at guests meanwhile, and to the thaw.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

CONFIGURATION = Path("/etc/libvirt")
RUNNING = Path("/run/libvirt")
MAX_WORKERS = 20
SPARE_WORKERS = 4
MOST_AT_ONCE = 64

_WORKERS = re.compile(r"^\s*max_workers\s*=\s*(\d{1,9})\s*(?:#.*)?$", re.MULTILINE)


def max_workers(text: str) -> Optional[int]:
    """Read ``max_workers`` of a daemon's configuration, None when it is not set. Pure."""
    found = _WORKERS.findall(text)
    return int(found[-1]) if found else None


def at_once(configuration: Path = CONFIGURATION, running: Path = RUNNING) -> int:
    """Return for how many guests libvirt can be asked for something at the same time, at least for one.

    The daemon is virtqemud where its socket is, else libvirtd; what cannot be read is as libvirt's default.
    """
    daemon = "virtqemud" if (running / "virtqemud-sock").exists() else "libvirtd"
    try:
        text = (configuration / f"{daemon}.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return max(1, min((max_workers(text) or MAX_WORKERS) - SPARE_WORKERS, MOST_AT_ONCE))
