# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest and its disks as a restore sees them now, out of what a discovery found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import BackingFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import lun_device
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.assess import FoundDisk, FoundGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import file_state
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import own_initiators
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.reservations import Held, reservation_on
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import choose_lun_method
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskNow, GuestNow, Sharer

Subject = tuple[Optional[str], Optional[str]]
"""What a problem is about: a guest's name and a disk's target."""

NOT_FREE = (
    "disk-used-by-several-guests",
    "lun-activated-on-host",
    "lun-used-by-several-guests",
    "multipathd-not-running",
    "no-working-path",
)
"""A disk with one of these findings must not be written while it has it."""

ELSEWHERE = ("lun-mapped-elsewhere", "lun-maps-unknown")
"""Findings that other hosts may use the disk's LUN, about which only a person can know."""

WORTH_A_NOTE = (*ELSEWHERE, "path-failed", "backing-file-shared")
"""Findings about a disk that a person wants to read in the plan."""

UNUSED_ELSEWHERE = "Make sure that no guest of another host uses the LUN, then say so with disks_unused_elsewhere=true."


@dataclass(frozen=True)
class DiskQuestion:
    """With which method a disk is to be restored, and whether a person says that guests of other hosts are off."""

    method: str
    unused_elsewhere: bool


def guest_now(
    found: FoundGuest,
    problems: Mapping[Subject, Sequence[Problem]],
    shared: Mapping[tuple[str, str], tuple[Sharer, ...]],
    asked: DiskQuestion,
) -> GuestNow:
    """Return the guest; ``problems`` are those of the discovery, ``shared`` tells who shares which of its disks."""
    guest = found.guest
    return GuestNow(
        name=guest.name,
        uuid=guest.uuid,
        state=guest.state.state,
        managed_save=guest.managed_save,
        nvram=guest.definition.nvram,
        tpm=guest.definition.tpm,
        xml=guest.xml,
        persistent=guest.persistent,
        disks=tuple(
            disk_now(
                found,
                disk,
                problems.get((guest.name, disk.observed.disk.target), ()),
                sharers=shared.get((guest.uuid, disk.observed.disk.target), ()),
                asked=asked,
            )
            for disk in found.disks
        ),
    )


def disk_now(
    owner: FoundGuest,
    found: FoundDisk,
    problems: Sequence[Problem],
    *,
    sharers: tuple[Sharer, ...] = (),
    asked: DiskQuestion,
) -> DiskNow:
    """Return the disk with why it must not be written now."""
    observed, disk, storage = found.observed, found.observed.disk, found.storage
    lun = storage.lun if storage else None
    obstacles = [*_of_the_discovery(found, problems, asked), *_read_only(owner, found, problems, asked)]
    if lun is not None:
        off = owner.guest.state.state == "shutoff" and not any(each.active for each in sharers)
        known = {each.code for each in obstacles}
        hindrances = _lun_hindrances(lun, off=off, method=asked.method)
        obstacles += [
            each.on(_what(owner, found), guest=owner.guest.name, disk=disk.target)
            for each in hindrances
            if each.code not in known
        ]
    held = reservation_on(lun.device, own_initiators()) if lun and not obstacles else None
    return DiskNow(
        target=disk.target,
        format=disk.format,
        host_path=lun.device if lun else observed.path or disk.source,
        mount_point=storage.mount_point if storage else None,
        size=observed.size,
        backing=tuple(BackingFile(layer.source, *file_state(layer.source)) for layer in observed.layers),
        storage=storage.on_array if storage else None,
        locks=bool(storage and storage.locks),
        obstacles=(*obstacles, *_reserved(owner, found, held, asked)),
        shareable=disk.shareable,
        sharers=sharers,
        unreadable=next((each.message for each in problems if each.code == "image-unreadable"), ""),
        notes=(*(each.message for each in problems if each.code in WORTH_A_NOTE), *([held.text] if held else ())),
    )


def _what(owner: FoundGuest, found: FoundDisk) -> str:
    return f"disk {found.observed.disk.target} of guest {owner.guest.name}"


def _of_the_discovery(found: FoundDisk, problems: Sequence[Problem], asked: DiskQuestion) -> Iterator[Problem]:
    """Findings that forbid to write the disk, and those that only a person can answer unless one has."""
    for each in problems:
        if each.code in NOT_FREE or (found.storage is None and each.severity == "error"):
            yield each
    for each in problems:
        if each.code in ELSEWHERE and not asked.unused_elsewhere:
            yield replace(each, severity="error", remedy=UNUSED_ELSEWHERE)


def _read_only(
    owner: FoundGuest, found: FoundDisk, problems: Sequence[Problem], asked: DiskQuestion
) -> Iterator[Problem]:
    """A disk that this guest only reads and others use, of which no finding says so."""
    disk, storage = found.observed.disk, found.storage
    said = any(True for _each in _of_the_discovery(found, problems, asked))
    fixed = disk.device not in ("cdrom", "floppy")
    if storage and fixed and disk.readonly and not found.included and not said:
        code: Code = "lun-used-by-several-guests" if storage.lun else "disk-used-by-several-guests"
        what = f"{_what(owner, found)}: it is {found.reason}"
        yield problem_of(code, what, guest=owner.guest.name, disk=disk.target)


def _reserved(owner: FoundGuest, found: FoundDisk, held: Optional[Held], asked: DiskQuestion) -> Iterator[Problem]:
    """A reservation of another host on the LUN."""
    if held is not None and held.foreign and not asked.unused_elsewhere:
        what = f"{_what(owner, found)}: {held.text}"
        yield problem_of("lun-reserved", what, guest=owner.guest.name, disk=found.observed.disk.target)


def _lun_hindrances(lun: LunIdentity, *, off: bool, method: str) -> list[Problem]:
    """Return why a LUN could not be restored as asked; one whose guest is off must not be open."""
    try:
        choose_lun_method(method)
    except InputError as exc:
        return [problem_of("method-not-for-luns", exc.message)]
    return lun_device.obstacles(lun.device, wwid=lun.wwid, off=off)
