# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests of a restore get another definition, and which of their files are made anew where none is.

A guest that is to have another definition is looked at as if it had it already, so that every proof is about the disks
that it will have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Protocol
from uuid import UUID

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import BackingFile, SavedDisk, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import file_state
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import mount_of, read_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import Policy, changes, with_paths
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest, without_passwords
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.host_fit import facts_of, host_problems
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import definition_actor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import (
    NVRAM_DIRECTORIES,
    unexamined,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import ABSENT, DiskNow, GuestNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.new_definition import AS_IS, NewDefinition

KEEP: Policy = "keep"
NOT_DEFINED = (
    "it is not defined on this host, and is defined anew as it was in the backup, which has no passwords of screens"
)
NO_PASSWORDS = (
    "its screens have no passwords afterwards, since no backup holds any: set them before it starts (virsh edit)"
)
NEVER_DEFINED = "it is not defined now and was not before the restore: its disks become again what they were"
_BY_WWID = "/dev/disk/by-id/dm-uuid-mpath-"


Examine = Callable[[Mapping[str, NewDefinition]], dict[str, NewDefinition]]


class FoundGuests(Protocol):
    """What the host was found to have."""

    @property
    def guests(self) -> Mapping[str, GuestNow]:
        """The guests by uuid."""


@dataclass(frozen=True)
class Redefinition:
    """What becomes of definitions: ``policy`` of those that exist, ``define_missing`` of those that do not.

    ``old_place``: disks that lie elsewhere now go back to where the backup has them.
    """

    policy: Policy = KEEP
    define_missing: bool = False
    old_place: bool = False


def new_definitions(
    wanted: Sequence[SavedGuest],
    found: Mapping[str, GuestNow],
    asked: Redefinition,
    *,
    here: Mapping[Key, HostVolume],
    real: Callable[[str], str] = os.path.realpath,
    exists: Callable[[str], bool] = os.path.exists,
) -> dict[str, NewDefinition]:
    """Return the new definition of each guest that gets one, by uuid; ``found`` are the guests that are defined.

    ``here`` is where this host has the volumes. Raises ``DomainXmlError``.
    """
    made: dict[str, NewDefinition] = {}
    for saved in wanted:
        now = found.get(saved.uuid)
        if now is None and not asked.define_missing:
            continue
        displaced = _displaced(saved, now) if now is not None and asked.old_place else ()
        policy: Policy = asked.policy if now is not None else "replace"
        if policy == KEEP and not displaced:
            continue
        paths = _paths(saved, now, here, real, exists)
        made[saved.uuid] = NewDefinition(with_paths(saved.xml, paths), policy, tuple(displaced))
    return made


def needs_places(wanted: Sequence[SavedGuest], found: Mapping[str, GuestNow], asked: Redefinition) -> bool:
    """Tell whether it has to be known where this host has the volumes."""
    changing = asked.policy != KEEP or asked.old_place
    return changing or any(
        each.uuid not in found or any(disk.storage is None for disk in found[each.uuid].disks) for each in wanted
    )


def redefined(
    asked: Redefinition,
    wanted: Sequence[SavedGuest],
    found: Mapping[str, GuestNow],
    here: Mapping[Key, HostVolume],
    *,
    reach: Callable[[], Host],
    look: Callable[[Mapping[str, str]], FoundGuests],
    examine: Examine = unexamined,
) -> dict[str, GuestNow]:
    """Return the guests by uuid, those that get another definition as ``look`` sees them with it.

    ``look`` takes the XML by uuid, which ``examine`` has seen before. Raises ``DomainXmlError``, ``DefinitionError``,
    ``LibvirtError``.
    """
    new = examine(new_definitions(wanted, found, asked, here=here))
    if not new:
        return dict(found)
    xml = {uuid: each.out_of(found[uuid].xml if uuid in found else None).xml for uuid, each in new.items()}
    seen = look(xml).guests
    result = _with_new_neighbours(found, seen)
    with closing(reach()) as host:
        for saved in wanted:
            if saved.uuid in new and saved.uuid in seen:
                redefined = with_definition(seen[saved.uuid], found.get(saved.uuid), saved, new[saved.uuid])
                keeps = new[saved.uuid].policy == KEEP
                result[saved.uuid] = redefined if keeps else fit(redefined, host, xml[saved.uuid])
    return result


def as_before(found: Mapping[str, GuestNow], undone: Journal, kept: Path) -> dict[str, GuestNow]:
    """Return the guests with the definitions that they had before a restore; ``kept`` is where it kept them.

    Raises :class:`KvmsnapError` when one that was kept is gone or altered.
    """
    result = {}
    for uuid, now in found.items():
        progress = undone.guests.get(uuid)
        aside = progress.definition if progress else None
        if aside is None:
            result[uuid] = now
        elif not aside.stored_as:
            note = "it was not defined before the restore, and is undefined again"
            result[uuid] = replace(now, forget=True, notes=(*now.notes, note))
        else:
            xml = definition_actor.kept(kept, aside)
            lines = changes(now.xml, without_passwords(xml))[2:]
            notes = (*now.notes, "its definition becomes again what it was before the restore")
            result[uuid] = replace(now, definition=NewDefinition(xml, AS_IS), changes=lines, notes=notes)
    return result


def gone_before(
    wanted: Sequence[SavedGuest],
    found: Mapping[str, GuestNow],
    undone: Journal,
    here: Mapping[Key, HostVolume],
    *,
    look: Callable[[Mapping[str, str]], FoundGuests],
    examine: Examine = unexamined,
) -> dict[str, GuestNow]:
    """Return the guests, too, that were not defined before a restore and are not now: only their disks are to go back.

    The restore broke off before it defined them, or its undo after it had undefined them. ``look`` sees them with the
    definition of the backup, which ``examine`` has seen before. Raises ``DomainXmlError``.
    """
    absent = undefined_before(wanted, found, undone)
    new = examine(new_definitions(absent, {}, Redefinition(define_missing=True), here=here))
    if not new:
        return dict(found)
    seen = look({uuid: each.out_of(None).xml for uuid, each in new.items()}).guests
    gone = {
        uuid: replace(seen[uuid], state=ABSENT, forget=True, notes=(*seen[uuid].notes, NEVER_DEFINED))
        for uuid in new
        if uuid in seen
    }
    return {**_with_new_neighbours(found, seen), **gone}


def undefined_before(wanted: Sequence[SavedGuest], found: Mapping[str, GuestNow], undone: Journal) -> list[SavedGuest]:
    """Return the guests that were not defined before a restore, and are not among those that are defined now."""
    absent = {uuid for uuid, progress in undone.guests.items() if progress.state_before == ABSENT}
    return [saved for saved in wanted if saved.uuid in absent and saved.uuid not in found]


def with_definition(now: GuestNow, before: Optional[GuestNow], saved: SavedGuest, new: NewDefinition) -> GuestNow:
    """Return the guest as it is to be, with what is to be said of its definition, and why it must not have it."""
    edited = new.out_of(before.xml if before else None)
    if before is None:
        lines = tuple(f"+{line}" for line in edited.xml.splitlines())
        notes = [NOT_DEFINED]
    else:
        lines = changes(before.xml, edited.xml)[2:]
        notes = ["its definition changes; the plan shows how"] if lines else []
        if new.policy == "replace" and "<graphics" in edited.xml:
            notes.append(NO_PASSWORDS)
        gone = sorted({disk.target for disk in before.disks} - {disk.target for disk in now.disks})
        notes += [f"disk {target} came after the backup and is detached; what it holds stays" for target in gone]
    return replace(
        now,
        state=before.state if before else ABSENT,
        definition=new,
        notes=(*now.notes, *notes, *edited.notes),
        changes=lines,
        obstacles=(*now.obstacles, *_untrue(saved, now)),
    )


def fit(now: GuestNow, host: Host, xml: str) -> GuestNow:
    """Return the guest with what this host lacks of its new definition; raises ``LibvirtError``."""
    found = host_problems(xml, facts_of(host, xml))
    refused = tuple(each for each in found if each.severity == "error")
    notes = tuple(each.message for each in found if each.severity != "error")
    return replace(now, obstacles=(*now.obstacles, *refused), notes=(*now.notes, *notes))


def with_missing(
    saved: SavedGuest, now: GuestNow, *, here: Mapping[Key, HostVolume], used: Collection[str] = ()
) -> GuestNow:
    """Return the guest with each of its files that is gone while its directory is there: it can be made anew.

    ``used`` are the paths of other guests' disks.
    """
    by_target = {disk.target: disk for disk in saved.saved_disks}
    disks = [_or_missing(by_target.get(disk.target), disk, now, here, used) for disk in now.disks]
    return replace(now, disks=tuple(disks))


def _with_new_neighbours(found: Mapping[str, GuestNow], seen: Mapping[str, GuestNow]) -> dict[str, GuestNow]:
    """Return the guests as they are, each disk as it is used once others are defined: shared with these, or theirs."""
    return {uuid: replace(now, disks=seen[uuid].disks) if uuid in seen else now for uuid, now in found.items()}


def _displaced(saved: SavedGuest, now: GuestNow) -> list[str]:
    """Return the disks of the backup that are not where they were, or by the name that another one had.

    One that the guest has by a name that is none of the backup's is there: it was attached to another bus.
    """
    there = {disk.target: disk.storage.label for disk in now.disks if disk.storage is not None}
    then = {disk.target for disk in saved.disks}
    renamed = {label for target, label in there.items() if target not in then}
    return [
        disk.target
        for disk in saved.saved_disks
        if disk.storage and disk.storage.label not in (there.get(disk.target), *renamed)
    ]


def _paths(
    saved: SavedGuest,
    now: Optional[GuestNow],
    here: Mapping[Key, HostVolume],
    real: Callable[[str], str],
    exists: Callable[[str], bool],
) -> dict[str, str]:
    """Return where on this host the disks of the backup lie, of those that the backup's definition has elsewhere."""
    known = {disk.storage.label: disk.host_path for disk in now.disks if disk.storage} if now else {}
    found = {}
    for disk in saved.saved_disks:
        storage = disk.storage
        if storage is None or not disk.source.startswith("/"):
            continue
        if storage.lun is not None:
            by_wwid = f"{_BY_WWID}{storage.lun.wwid}"
            path = disk.source if exists(disk.source) or not exists(by_wwid) else by_wwid
        else:
            mount = here.get(storage.volume_key)
            path = known.get(storage.label) or (mount.on_host(storage.path) if mount else None) or disk.source
        if real(disk.source) != path:
            found[disk.target] = path
    return found


def _or_missing(
    saved: Optional[SavedDisk],
    disk: DiskNow,
    now: GuestNow,
    here: Mapping[Key, HostVolume],
    used: Collection[str],
) -> DiskNow:
    storage = saved.storage if saved else None
    mount = here.get(storage.volume_key) if storage else None
    if saved is None or storage is None or storage.lun is not None or disk.storage is not None or mount is None:
        return disk
    place = mount.on_host(storage.path)
    if place is None or os.path.realpath(disk.host_path) != place or not _is_free(place, mount.mount_point):
        return disk
    obstacles = [each for each in disk.obstacles if each.code != "image-missing"]
    if place in used:
        what = f"disk {disk.target} of guest {now.name}: its file {place} is gone, and another guest is to have it"
        obstacles.append(problem_of("disk-used-by-several-guests", what, guest=now.name, disk=disk.target))
    return replace(
        disk,
        host_path=place,
        mount_point=mount.mount_point,
        storage=storage,
        backing=tuple(BackingFile(layer.path, *file_state(layer.path)) for layer in saved.backing),
        missing=True,
        obstacles=tuple(obstacles),
        notes=(*disk.notes, "its file is gone and is made anew"),
    )


def _is_free(place: str, mount_point: str) -> bool:
    """Tell whether nothing is at a place while its directory is, on the very mount of the volume."""
    if os.path.lexists(place) or not os.path.isdir(os.path.dirname(place)):
        return False
    mounts = read_mounts()
    return mount_of(mounts, os.path.dirname(place)) == mount_of(mounts, mount_point)


def _untrue(saved: SavedGuest, now: GuestNow) -> list[Problem]:
    """Return why the definition of a backup must not become that of a guest: it is not about it, or reaches out."""
    problems = []
    definition = parse_guest(saved.xml)
    if definition.uuid != saved.uuid or not _is_uuid(saved.uuid):
        what = f"guest {saved.name}: the definition in the backup is that of {definition.uuid}, not of {saved.uuid}"
        problems.append(problem_of("guest-identity", what, guest=saved.name))
    if now.nvram is not None and os.path.dirname(os.path.normpath(now.nvram)) not in NVRAM_DIRECTORIES:
        what = f"guest {saved.name}: its UEFI variables are to lie at {now.nvram}, outside of {NVRAM_DIRECTORIES[0]}"
        problems.append(problem_of("firmware-state", what, guest=saved.name))
    return problems


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
