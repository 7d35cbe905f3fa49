# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore asks about a guest beyond its discovery, before anything is planned: off means off everywhere.

What the other hosts of the play said, a cluster, who uses the disks, jobs of libvirt and a managed-save image.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate import guest_users, locks
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget, LunTarget, Target
from ansible_collections.kvmsnap.ontap.plugins.module_utils._guest_words import called
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import pacemaker
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import RAW, ImageError, image_info
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import managed_save
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.invalidated import (
    invalidated_in_image,
    invalidated_of_guest,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import ABSENT, DiskNow, GuestNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest

NO_LOCKS = "its mount takes no locks to the server: that no QEMU holds the file here proves nothing about other hosts"


def looked_at(request: RestoreRequest, restore_id: str, guests: Mapping[str, GuestNow]) -> dict[str, GuestNow]:
    """Return the guests (by uuid) with what libvirt, their images and the other hosts say of each."""
    if not guests:
        return {}
    images = restore_journal.images_of(request.catalog_dir, restore_id)
    guests = in_cluster(guests, request.uri, request.unmanaged_guests)
    with closing(request.reach()) as host:
        gate = Gate(lambda: host)
        return {uuid: _looked_at(request, now, host.domain(uuid=uuid), images, gate) for uuid, now in guests.items()}


def in_cluster(
    guests: Mapping[str, GuestNow],
    uri: str,
    off: Collection[str],
    *,
    read: Callable[[], Optional[pacemaker.Cluster]] = pacemaker.read_cluster,
) -> dict[str, GuestNow]:
    """Return the guests (by uuid) with what Pacemaker means for each; ``off`` names those that it will not start."""
    cluster, failure = None, None
    try:
        cluster = read()
    except pacemaker.ClusterError as exc:
        failure = exc
    named = pacemaker.definitions_of(cluster) if cluster else {}

    def verdict(now: GuestNow) -> pacemaker.Verdict:
        is_off = any(called(word, (now,), guests.values()) for word in off)
        if failure is not None:
            return pacemaker.unreadable(failure, name=now.name, off=is_off)
        if cluster is None:
            return pacemaker.Verdict()
        return pacemaker.verdict(cluster, named, name=now.name, uuid=now.uuid, uri=uri, off=is_off)

    found = {}
    for uuid, now in guests.items():
        more = verdict(now)
        found[uuid] = replace(now, obstacles=(*now.obstacles, *more.problems), notes=(*now.notes, *more.notes))
    return found


def elsewhere(
    now: GuestNow, said: Mapping[str, Optional[Collection[str]]], hosts_off: Collection[str]
) -> list[Problem]:
    """Return why the guest may be active on another host; pure.

    ``said`` maps each other host to the uuids of the guests active there; None is a host that could not be asked, which
    counts as off when ``hosts_off`` names it.
    """
    problems = [
        problem_of("guest-active-elsewhere", f"guest {now.name} ({uuid}) is active on host {host}", guest=now.name)
        for host, active in said.items()
        for uuid in now.identities
        if active is not None and uuid in active
    ]
    silent = [host for host, active in said.items() if active is None and host not in hosts_off]
    if silent:
        what = f"guest {now.name}: {', '.join(silent)} of the play could not be asked whether it is active there"
        problems.append(problem_of("host-unreachable", what, guest=now.name))
    return problems


def _looked_at(request: RestoreRequest, now: GuestNow, domain: Optional[Domain], images: Path, gate: Gate) -> GuestNow:
    obstacles = [*now.obstacles, *elsewhere(now, request.others.active, request.others.off)]
    disks = (_with_users(_with_invalidated(_with_lock_note(disk)), now, gate) for disk in now.disks)
    seen = replace(now, disks=tuple(disks))
    if domain is not None:
        lost = invalidated_of_guest(now.name, snapshots=domain.snapshots(), checkpoints=domain.checkpoints())
        seen = replace(seen, notes=(*seen.notes, *lost))
        obstacles += _jobs(now, domain)
        seen = _with_image(seen, domain, managed_save.image_of(request.uri, domain.name), images)
    return replace(seen, obstacles=tuple(obstacles))


def _with_image(now: GuestNow, domain: Domain, image: Optional[Path], images: Path) -> GuestNow:
    if not managed_save.is_there(domain, image):
        return replace(now, managed_save=False)
    return replace(now, managed_save=True, save_hindrance=managed_save.hindrance(image, images))


def _jobs(now: GuestNow, domain: Domain) -> list[Problem]:
    """Return the jobs of libvirt that work on the guest or on its disks; one without a process has none."""
    if not domain.state().active:
        return []
    problems = []
    if domain.busy():
        what = f"guest {now.name}: libvirt works on it (a migration, a save, a dump or a backup)"
        problems.append(problem_of("guest-busy", what, guest=now.name))
    for disk in now.disks:
        if disk.storage is not None and domain.block_job(disk.target):
            what = f"disk {disk.target} of guest {now.name}: a block job of libvirt works on it"
            problems.append(problem_of("guest-busy", what, guest=now.name, disk=disk.target))
    return problems


def _with_users(disk: DiskNow, now: GuestNow, gate: Gate) -> DiskNow:
    """Return the disk with who else uses it, and which looks for that were possible and which not.

    While its guest, or one that shares it, is not off, locks do not distinguish its own use from another one; it is
    asked again when all are off. One that must not be written anyway is not looked at.
    """
    if disk.storage is None or disk.obstacles or disk.missing:
        return disk
    off = now.state in ("shutoff", ABSENT) and not any(each.active for each in disk.sharers)
    uuids = frozenset((now.uuid, *(each.uuid for each in disk.sharers)))
    answers = gate.answers(target_of(disk), Claim(uuids, still_run=not off))
    obstacles = (_used(answer, user, disk, now) for answer in answers for user in answer.users)
    note = f"other users were looked for: {'; '.join(map(str, answers))}"
    return replace(disk, obstacles=(*disk.obstacles, *obstacles), notes=(*disk.notes, note))


def _used(answer: Answer, user: User, disk: DiskNow, now: GuestNow) -> Problem:
    what = f"disk {disk.target} of guest {now.name}: {user}"
    if answer.look == locks.LOOK:
        found = problem_of("image-locked", what, guest=now.name, disk=disk.target)
    elif answer.look == guest_users.LOOK:
        found = problem_of("disk-used-by-several-guests", what, guest=now.name, disk=disk.target)
    else:
        found = problem_of("disk-in-use", what, guest=now.name, disk=disk.target)
    return replace(found, remedy=user.remedy)


def target_of(disk: DiskNow) -> Target:
    """Return the file or LUN of a disk that lies on the array."""
    if disk.storage is None:
        raise TypeError(f"{disk.host_path} does not lie on the array")
    lun = disk.storage.lun
    if lun is not None:
        return LunTarget(disk.storage.label, lun.uuid, lun.device, lun.wwid)
    return FileTarget(disk.storage.label, disk.host_path, disk.locks)


def _with_invalidated(disk: DiskNow) -> DiskNow:
    """Say what inside the image goes with it; one that must not be written, or cannot be read, is not asked."""
    if disk.storage is None or disk.format in RAW or disk.unreadable or disk.obstacles:
        return disk
    try:
        info = image_info(disk.host_path, image_format=disk.format)
    except ImageError:
        return disk
    return replace(disk, notes=(*disk.notes, *invalidated_in_image(snapshots=info.snapshots, bitmaps=info.bitmaps)))


def _with_lock_note(disk: DiskNow) -> DiskNow:
    if disk.locks or disk.storage is None or disk.storage.lun is not None:
        return disk
    return replace(disk, notes=(*disk.notes, NO_LOCKS))
