# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed in a guest's definition since the backup, for people: a restore in place leaves it as it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import changes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestNow, RestorePlan


def with_changes(plan: RestorePlan, manifest: Manifest, guests: Mapping[str, GuestNow]) -> RestorePlan:
    """Return the plan with what became of each definition that stays since the backup, and a note where it differs."""
    parts = []
    for part in plan.guests:
        if part.definition is not None or part.forget:
            parts.append(part)
            continue
        saved = manifest.guest(part.uuid)
        lines, note = since(saved.xml if saved else "", guests[part.uuid].xml)
        parts.append(replace(part, changes=lines, notes=(*part.notes, *note)))
    return replace(plan, guests=tuple(parts))


def since(saved: str, now: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a unified diff without its head (``-`` the backup's, ``+`` the present one's) and what there is to note.

    Noise of libvirt is left out. A definition that cannot be read is a note and hinders nothing.
    """
    try:
        lines = changes(saved, now)[2:]
    except DomainXmlError as exc:
        return (), (f"whether its definition changed since the backup is not known: {exc.message}",)
    if not lines:
        return (), ()
    return lines, ("its definition changed since the backup and stays as it is now; the plan shows the difference",)
