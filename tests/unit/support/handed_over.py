# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A complete backup of another catalog, and the option that hands it over."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    manifest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.imported_backup import BackupFrom
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import Chosen, chosen_backup
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

VARIABLES = b"variables"


def dumped(found: Manifest) -> bytes:
    return manifest.dump(found).encode("ascii")


def complete() -> Manifest:
    """A complete backup of web1 with its UEFI variables."""
    done = samples.completed(
        samples.manifest(), holds=[samples.hold()], snapshots=[samples.snapshot()], asked="unknown", at="2026-11-21"
    )
    file = SavedFile("nvram", "/nv", "web.nvram", hashlib.sha256(VARIABLES).hexdigest())
    return replace(done, guests=(replace(done.guests[0], files=(file,)),))


def given(found: Manifest | None = None, **files: bytes) -> dict[str, Any]:
    """The option ``backup_from``."""
    content = files or {"web.nvram": VARIABLES}
    return {
        "manifest": encoded(dumped(found or complete())),
        "files": {name: encoded(data) for name, data in content.items()},
    }


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def taken(
    root: Path,
    option: dict[str, Any],
    *,
    wanted: str = samples.BACKUP,
    guest: str = "web1",
    trust: Trust = Trust(),  # noqa: B008
) -> Chosen:
    deadline = Deadline.after(5)
    return chosen_backup(
        root, wanted, guests=[guest], clients=[], deadline=deadline, trust=trust, given=BackupFrom.from_option(option)
    )
