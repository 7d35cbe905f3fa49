# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary LUNs that restores of this host left on the array: found, assessed, removed under the restores' lock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Places
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, LunTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import (
    TemporaryLun,
    read_lun,
    temporary_luns,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunMap, lun_maps
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.leftover import Leftover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


def leftover_luns(root: Path, places: Places, *, time: Callable[[], Deadline], gate: Gate) -> Iterator[Leftover]:
    """Yield the temporary LUNs on the volumes of ``places``; none while a restore of this host is under way.

    ``root`` is that of the catalog, ``time`` gives each step its deadline. Raises ``OntapError`` when the array cannot
    be asked for them, and :class:`KvmsnapError` when the lock cannot be looked at.
    """
    if restore_journal.under_way(root):
        return
    clients = {place.client.name: place.client for place in places.values()}
    for name, client in sorted(clients.items()):
        volumes = [place.volume.uuid for place in places.values() if place.client.name == name]
        for found in temporary_luns(client, volumes, deadline=time()):
            reason = _refusal(root, client, found, time())
            what = "a restore that broke off left it"
            if reason:
                yield Leftover("lun", found.label, f"{what}; {reason}")
                continue
            yield Leftover("lun", found.label, what, "removed", partial(_remove, root, client, found, time, gate))


def refusal(found: TemporaryLun, record: Optional[Journal], target: str, maps: Collection[LunMap]) -> Optional[str]:
    """Return why a temporary LUN is not to be removed, or None; pure.

    ``record`` is the journal of its restore, ``target`` the LUN that was to be restored (``svm:/vol/volume/path``).
    Another host's restore may have the same id, but not the same LUN.
    """
    if not found.of:
        return f"its name and its comment {found.lun.comment!r} are not those of a restore of ours"
    if record is None or not any(target in progress.disks for progress in record.guests.values()):
        return f"no restore {found.restore_id!r} of {target or 'its LUN, which is gone,'} is known on this host"
    if maps:
        return f"it is mapped to {', '.join(sorted(each.igroup for each in maps))}, which no restore does"
    return None


def _refusal(root: Path, client: Client, found: TemporaryLun, deadline: Deadline) -> Optional[str]:
    try:
        record = restore_journal.load(root, found.restore_id) if found.of else None
        lun = read_lun(client, found.of, deadline=deadline) if found.of else None
        maps = lun_maps(client, [found.lun.uuid], deadline=deadline)
    except KvmsnapError as exc:
        return exc.message
    return refusal(found, record, f"{found.svm}:{lun.name}" if lun else "", maps)


def _remove(root: Path, client: Client, found: TemporaryLun, time: Callable[[], Deadline], gate: Gate) -> None:
    """Remove one, with everything looked at again while no restore of this host can begin."""
    with restore_journal.alone(root):
        now = read_lun(client, found.lun.uuid, deadline=time())
        if now is None:
            return
        reason = _refusal(root, client, found, time())
        if now != found.lun or reason is not None:
            why = reason or "it is another one than before"
            raise KvmsnapError(f"Failed to remove temporary LUN {found.label}: {why}", lun=found.label)
        target = LunTarget(found.label, now.uuid, None)
        gate.remove_temporary_lun(target, Claim(frozenset(), verb="remove"), client, now, deadline=time())
