# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore asks about a guest beyond its discovery, before anything is planned: off means off everywhere.

What the other hosts of the play said, a cluster, QEMU's lock on the image, jobs of libvirt and a managed-save image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_losses import guest_losses, image_losses
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import ABSENT, DiskNow, GuestNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import pacemaker
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import RAW, ImageError, image_info, in_use
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import managed_save
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

NO_LOCKS = "its mount takes no locks to the server: that no QEMU holds the file here proves nothing about other hosts"


def looked_at(options: Mapping[str, Any], restore_id: str, guests: Mapping[str, GuestNow]) -> dict[str, GuestNow]:
    """Return the guests (by uuid) with what libvirt, their images and the other hosts say of each."""
    if not guests:
        return {}
    images = journal.images_of(Path(options["catalog_dir"]), restore_id)
    guests = in_cluster(guests, options["uri"], options["cluster_off"])
    with closing(connect(options["uri"], retry_count=options["retry_count"])) as host:
        return {uuid: _looked_at(options, now, host.domain(uuid=uuid), images) for uuid, now in guests.items()}


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
        is_off = now.name in off or now.uuid in [word.lower() for word in off]
        if failure is not None:
            return pacemaker.unreadable(failure, name=now.name, off=is_off)
        if cluster is None:
            return pacemaker.Verdict()
        return pacemaker.verdict(cluster, named, name=now.name, uuid=now.uuid, uri=uri, off=is_off)

    return {uuid: _with_verdict(now, verdict(now)) for uuid, now in guests.items()}


def elsewhere(now: GuestNow, said: Mapping[str, Any], hosts_off: Collection[str]) -> list[Problem]:
    """Return why the guest may be active on another host; pure.

    ``said`` maps each other host to the uuids of the guests active there; anything but a list is a host that could not
    be asked, which counts as off when ``hosts_off`` names it.
    """
    problems = [
        problem_of("guest-active-elsewhere", f"guest {now.name} ({now.uuid}) is active on host {host}", guest=now.name)
        for host, active in said.items()
        if isinstance(active, list) and now.uuid in [str(each).lower() for each in active]
    ]
    silent = [host for host, active in said.items() if not isinstance(active, list) and host not in hosts_off]
    if silent:
        what = f"guest {now.name}: {', '.join(silent)} of the play could not be asked whether it is active there"
        problems.append(problem_of("host-not-asked", what, guest=now.name))
    return problems


def _looked_at(options: Mapping[str, Any], now: GuestNow, domain: Optional[Domain], images: Path) -> GuestNow:
    obstacles = [*now.obstacles, *elsewhere(now, options["other_hosts"] or {}, options["hosts_off"]), *_locked(now)]
    seen = replace(now, disks=tuple(_with_losses(_with_lock_note(disk)) for disk in now.disks))
    if domain is not None:
        lost = guest_losses(now.name, snapshots=domain.snapshots(), checkpoints=domain.checkpoints())
        seen = replace(seen, notes=(*seen.notes, *lost))
        obstacles += _jobs(now, domain)
        seen = _with_image(seen, domain, managed_save.image_of(options["uri"], domain.name), images)
    return replace(seen, obstacles=tuple(obstacles))


def _with_verdict(now: GuestNow, verdict: pacemaker.Verdict) -> GuestNow:
    obstacles, notes = (*now.obstacles, *verdict.problems), (*now.notes, *verdict.notes)
    return replace(now, obstacles=obstacles, notes=notes)


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


def _locked(now: GuestNow) -> list[Problem]:
    """Return the images of a guest that is off and that a QEMU holds all the same.

    One that a guest of this restore shares is held by that one while it runs; it is asked again when all are off.
    """
    return [
        problem_of(
            "image-locked",
            f"disk {disk.target} of guest {now.name}: the guest is off here, and a QEMU holds its lock on"
            f" {disk.host_path}, here or on another host",
            guest=now.name,
            disk=disk.target,
        )
        for disk in now.disks
        if now.state in ("shutoff", ABSENT)
        and not any(each.active for each in disk.sharers)
        and _takes_locks(disk)
        and in_use(disk.host_path, image_format=disk.format)
    ]


def _takes_locks(disk: DiskNow) -> bool:
    return disk.locks and disk.storage is not None and disk.storage.lun is None and os.path.exists(disk.host_path)


def _with_losses(disk: DiskNow) -> DiskNow:
    """Say what inside the image goes with it; one that must not be written, or cannot be read, is not asked."""
    if disk.storage is None or disk.format in RAW or disk.unreadable or disk.obstacles:
        return disk
    try:
        info = image_info(disk.host_path, image_format=disk.format)
    except ImageError:
        return disk
    return replace(disk, notes=(*disk.notes, *image_losses(snapshots=info.snapshots, bitmaps=info.bitmaps)))


def _with_lock_note(disk: DiskNow) -> DiskNow:
    if disk.locks or disk.storage is None or disk.storage.lun is not None:
        return disk
    return replace(disk, notes=(*disk.notes, NO_LOCKS))
