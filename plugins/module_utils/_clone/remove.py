# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a copy of a guest again, and take it away: only what carries its mark, in an order that may be broken off."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import clone_record
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.clone_record import (
    ClonedFile,
    ClonedLun,
    CloneRecord,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Place, Places, locate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.plan import lun_label
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget, LunTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import look_anew
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_attach import San
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import copy_mark_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.power import power_off
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import lun_clone
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import LunNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_actor import file_size
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


class NotOursError(KvmsnapError):
    """What is to be removed does not carry the mark of the copy that is meant; nothing was touched."""


def take_away(root: Path, record: CloneRecord, *, host: Host, places: Places, san: San, timeout: float) -> None:
    """Remove a copy and all that it consists of; what is gone already is no error.

    The order: off, forgotten by libvirt, files, LUNs (this host forgets one before the array does), side files,
    record. Before each of them the gate is asked who uses it.

    Raises :class:`NotOursError` and :class:`InUseError` before anything is touched, and :class:`KvmsnapError` (an
    :class:`InUseError` is one) when a part could not be removed: the record stays, and the same call goes on.
    """
    domain, luns = check_removable(record, host=host, places=places, san=san, deadline=Deadline.after(timeout))
    clone_record.save(root, record.at("removing"))
    gate, claim = Gate(lambda: host), claim_of(record, san.initiators() if luns else ())
    if domain is not None:
        power_off(domain, graceful=False, timeout=0.0)
        refuse_used(record, luns, places, gate, claim)
        domain.undefine()
    for item in record.files:
        _remove_file(item, places[item.key], gate, claim, timeout=timeout)
    for lun, found in luns:
        gate.refuse_used(lun_target(lun, found), claim, client=places[lun.key].client)
        wwid = wwid_of(found.serial) if found else lun.wwid
        if wwid is not None:
            san.detach(wwid=wwid)
        if found is not None:
            gone = replace(lun_target(lun, found), device=None)
            gate.remove_lun(gone, claim, places[lun.key].client, found, deadline=Deadline.after(timeout))
    with telling(f"remove side files of copy {record.name}"):
        if record.nvram:
            Path(record.nvram).unlink(missing_ok=True)
        if record.tpm and Path(record.tpm).exists():
            shutil.rmtree(record.tpm)
    clone_record.forget(root, record.name)


def check_removable(
    record: CloneRecord, *, host: Host, places: Places, san: San, deadline: Deadline
) -> tuple[Optional[Domain], list[tuple[ClonedLun, Optional[LunNow]]]]:
    """Return a copy's guest and its LUNs as they are now, None for what is gone; nothing is touched.

    Raises :class:`NotOursError` and :class:`KvmsnapError` when it may not be taken away.
    """
    domain = own_domain(host, record)
    unreached = [item.storage.label for item in record.files if item.key not in places]
    unreached += [lun_label(lun) for lun in record.luns if lun.key not in places]
    if unreached:
        raise KvmsnapError(
            f"Failed to remove copy {record.name}: the volume of {unreached[0]} is not reached through the controllers"
            " given; nothing was touched",
            guest=record.name,
        )
    luns = [(lun, found_lun(record, lun, places, deadline=deadline)) for lun in record.luns]
    claim = claim_of(record, san.initiators() if luns else ())
    refuse_used(record, luns, places, Gate(lambda: host), replace(claim, still_run=domain is not None))
    return domain, luns


def claim_of(record: CloneRecord, initiators: Iterable[str] = ()) -> Claim:
    """Return on whose behalf a copy is removed: its own guest may have its parts, while it is off."""
    return Claim(frozenset((record.uuid,)), verb="remove", initiators=tuple(initiators), holders_go=True)


def refuse_used(
    record: CloneRecord, luns: Iterable[tuple[ClonedLun, Optional[LunNow]]], places: Places, gate: Gate, claim: Claim
) -> None:
    """Raise :class:`InUseError` when somebody else than the copy itself uses a part of it; nothing is touched.

    The array is asked as well, to which hosts it gives a LUN.
    """
    for target in map(file_target, record.files):
        gate.refuse_used(target, claim)
    for lun, found in luns:
        gate.refuse_used(lun_target(lun, found), claim, client=places[lun.key].client)


def _remove_file(item: ClonedFile, place: Place, gate: Gate, claim: Claim, *, timeout: float) -> None:
    """Remove a file of a copy, and know from the array that it is gone."""
    for last in (False, True):
        with telling(f"remove {item.host_path}"):
            gate.remove_file(file_target(item), claim)
        size = file_size(
            place.client,
            place.volume,
            item.storage.path,
            snapshot=None,
            seen_at=item.host_path,
            deadline=Deadline.after(timeout),
        )
        if size is None:
            return
        if not last:
            with suppress(OSError):
                look_anew(item.host_path)
    raise KvmsnapError(
        f"Failed to remove {item.storage.label}: the array still has it, and this host does not see it at"
        f" {item.host_path}; mount the volume there",
        path=item.host_path,
    )


def found_lun(record: CloneRecord, lun: ClonedLun, places: Places, *, deadline: Deadline) -> Optional[LunNow]:
    """Return a copy's LUN as the array has it now, None when it has none.

    Raises :class:`NotOursError` when the one of that name is another one, and ``OntapError``.
    """
    place = places[lun.key]
    found = lun_clone.find_clone(
        place.client, place.volume, lun.path, comment=record.comment_of(lun), deadline=deadline
    )
    if found is not None and lun.serial not in (None, found.serial):
        raise NotOursError(
            f"Refused to touch LUN {lun_label(lun)}: its serial is {found.serial}, the copy's was {lun.serial}",
            guest=record.name,
        )
    return found


def still_there(record: CloneRecord, places: Places, *, san: San, deadline: Deadline) -> bool:
    """Tell whether the array still has all of a copy, and this host sees it; raises ``OntapError``."""
    for item in record.files:
        place = places.get(item.key)
        if place is None:
            raise KvmsnapError(f"Failed to reach the volume of {item.storage.label} through the controllers given")
        client, volume, path = place.client, place.volume, item.storage.path
        size = file_size(client, volume, path, snapshot=None, seen_at=item.host_path, deadline=deadline)
        if size is None:
            return False
    for lun in record.luns:
        if lun.key not in places:
            raise KvmsnapError(f"Failed to reach the volume of {lun_label(lun)} through the controllers given")
        if found_lun(record, lun, places, deadline=deadline) is None:
            return False
        if san.map(lun.wwid or "") is None:
            raise KvmsnapError(
                f"Failed to see LUN {lun_label(lun)} of copy {record.name} on this host: the array has it, and there is"
                " no map of it. Bring its paths back, or remove the copy with state=absent; nothing was touched",
                guest=record.name,
            )
    return True


def own_domain(host: Host, record: CloneRecord) -> Optional[Domain]:
    """Return the copy's guest, None when libvirt does not know it; raises :class:`NotOursError` when it lost our mark.

    It is found by its uuid, which is the copy's own; a guest that only has its name is somebody else's.
    """
    domain = host.domain(uuid=record.uuid)
    if domain is None:
        return None
    found = copy_mark_of(domain.xml(inactive=domain.persistent()))
    if found != record.mark:
        carried = f"that of {found.owner} from backup {found.backup_id}" if found else "no mark of ours"
        raise NotOursError(
            f"Refused to remove guest {domain.name} ({domain.uuid}): it carries {carried}, not that of"
            f" {record.mark.owner} from backup {record.mark.backup_id}; nothing was touched",
            guest=domain.name,
        )
    return domain


def file_target(item: ClonedFile) -> FileTarget:
    """Return a file of a copy as the gate knows it."""
    return FileTarget(item.storage.label, item.host_path)


def lun_target(lun: ClonedLun, found: Optional[LunNow]) -> LunTarget:
    """Return a LUN of a copy as the gate knows it; ``found`` is what the array has of it now."""
    return LunTarget(lun_label(lun), found.uuid if found else None, lun.device, lun.wwid)


def volumes_of(record: CloneRecord) -> list[SavedVolume]:
    """Return the volumes that a copy's files lie on, each once."""
    luns = {
        lun.key: SavedVolume(
            controller=lun.controller,
            svm=lun.svm,
            svm_uuid=lun.svm_uuid,
            volume=lun.volume,
            volume_uuid=lun.volume_uuid,
        )
        for lun in record.luns
    }
    found = {
        item.key: SavedVolume(
            controller=item.storage.controller,
            svm=item.storage.svm,
            svm_uuid=item.storage.svm_uuid,
            volume=item.storage.volume,
            volume_uuid=item.storage.volume_uuid,
        )
        for item in record.files
    }
    return list({**luns, **found}.values())


def places_of(record: CloneRecord, clients: Iterable[Client], *, deadline: Deadline) -> Places:
    """Return where the volumes of a copy's files are now; raises ``OntapError``."""
    return locate(list(clients), volumes_of(record), deadline=deadline)


@contextmanager
def telling(action: str) -> Iterator[None]:
    """Turn an operating system's error into a sentence of ours."""
    try:
        yield
    except (OSError, tarfile.TarError) as exc:
        raise KvmsnapError(f"Failed to {action}: {getattr(exc, 'strerror', None) or exc}") from exc
