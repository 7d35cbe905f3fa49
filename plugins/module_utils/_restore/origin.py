# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a restore, with what there is to say of where its backup came from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.imported_backup import ImportedBackup, put_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import Chosen
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import RestorePlan

_INSTEAD = "what is there stays as it is"


def with_notes(chosen: Chosen, plan: RestorePlan) -> RestorePlan:
    """Return a plan that says where the backup came from."""
    return replace(plan, guests=tuple(replace(each, notes=(*each.notes, *chosen.notes)) for each in plan.guests))


def planned(chosen: Chosen, root: Path, plan: Callable[[Path], RestorePlan]) -> RestorePlan:
    """Return the plan that ``plan`` makes with the directory of the side files, with notes about it."""
    directory = store.backup_directory(root, chosen.manifest.backup_id)
    found = _with_given(directory, chosen.given, plan) if chosen.given else plan(directory)
    parts = (replace(each, notes=(*each.notes, *chosen.notes_on(each.uuid, instead=_INSTEAD))) for each in found.guests)
    return replace(found, guests=tuple(parts))


def _with_given(directory: Path, given: ImportedBackup, plan: Callable[[Path], RestorePlan]) -> RestorePlan:
    """Plan with the side files aside: the catalog gets them when the plan stands."""
    with tempfile.TemporaryDirectory(prefix="kvmsnap-") as aside:
        put_files(Path(aside), given)
        found = plan(Path(aside))
    parts = []
    for part in found.guests:
        files = (replace(each, source=each.source and str(directory / Path(each.source).name)) for each in part.files)
        parts.append(replace(part, files=tuple(files)))
    return replace(found, guests=tuple(parts))
