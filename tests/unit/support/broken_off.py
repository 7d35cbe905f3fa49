# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals of restores that broke off, and the backup that they are of."""

from __future__ import annotations

from typing import Optional

import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    GuestProgress,
    Journal,
    Safety,
    SafetySnapshot,
)

VDA = "svm1:/vol/vol1/web1.img"
SAFETY = Safety(
    "hv1-safety_1", (samples.WEB,), (SafetySnapshot("svm1", "svm1-uuid", "vol1", "vol1-uuid", "vol1-safety"),)
)
HALF = GuestProgress("running", (VDA,), autostart=True)
WRITTEN = GuestProgress("running", (VDA,), written=True, autostart=True)
STOPPED = GuestProgress("running")
DONE = GuestProgress("running", (VDA,), written=True, done=True)
BACK = GuestProgress("running", as_before=True)


def journal(
    name: str = "r1", progress: GuestProgress = HALF, *, backup: str = samples.BACKUP, safety: Optional[Safety] = SAFETY
) -> Journal:
    return Journal(name, backup, {samples.WEB: progress}, (safety,) if safety else ())


def backup() -> Manifest:
    started = samples.manifest(samples.guest(), volumes=("vol1",))
    return samples.completed(
        started, holds=[samples.hold()], snapshots=[samples.snapshot("vol1")], at="2026-11-21T02:00:03+00:00"
    )
