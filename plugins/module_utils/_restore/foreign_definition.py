# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions of backups that this host's own runs did not write, cut down to what may be defined here.

They are examined before anything else is done with them: a look at the disks that one names would open files of this
host, and libvirt runs the emulator that it names to tell what that can do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedDisk, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import with_paths
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_allowed import USER, Checked, Site, checked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.host_fit import HostCapabilities
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import listed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import Options
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestNow, refuse
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.new_definition import NewDefinition

NVRAM_DIRECTORIES = ("/var/lib/libvirt/qemu/nvram", "/etc/libvirt/qemu/nvram")
_NVRAM_ENDS = ("_VARS.fd", "_VARS.qcow2")
_BY_WWID = "/dev/disk/by-id/dm-uuid-mpath-"
_WWID = re.compile(r"[0-9a-f]{16,64}")

Real = Callable[[str], str]


@dataclass(frozen=True)
class Allowed:
    """What definitions of backups that this host's own runs did not write may name besides their disks.

    ``networks`` are all of the host where none is named; ``paths`` are more host paths.
    """

    networks: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Allowed:
        """Read the options ``allowed_networks`` and ``allowed_paths``."""
        return cls(tuple(listed(options["allowed_networks"])), tuple(listed(options["allowed_paths"])))


FOREIGN_DEFINITION: Options = {
    "allowed_networks": {"type": "list", "elements": "str", "default": []},
    "allowed_paths": {"type": "list", "elements": "str", "default": []},
}
"""The argument spec of what :class:`Allowed` reads."""


def examined(
    reach: Callable[[], Host],
    allowed: Allowed,
    backup_id: str,
    wanted: Sequence[SavedGuest],
    found: Mapping[str, GuestNow],
    here: Mapping[Key, HostVolume],
    new: Mapping[str, NewDefinition],
) -> dict[str, NewDefinition]:
    """Return the new definitions of guests, by uuid, as they may be defined; ``found`` are the guests that are.

    Raises :class:`RestoreRefusedError` with everything in them that is not allowed, and ``LibvirtError``.
    """
    result, problems = {}, []
    with closing(reach()) as host:
        general = site_of(host, allowed)
    for saved in wanted:
        if saved.uuid not in new:
            continue
        now = found.get(saved.uuid)
        places = places_of(saved, now, here)
        nvram = own_nvram(saved.uuid, now.name if now else saved.name)
        site = replace(general, disks=frozenset(places.values()), nvram=nvram)
        seen = checked(with_paths(new[saved.uuid].saved, places), site)
        problems += not_allowed(saved.name, seen)
        if now is None and parse_guest(seen.xml).name != saved.name:
            what = f"guest {saved.name}: the definition in the backup is that of another guest by name"
            problems.append(problem_of("guest-identity", what, guest=saved.name))
        result[saved.uuid] = replace(new[saved.uuid], saved=seen.xml, notes=seen.notes)
    refuse(backup_id, problems)
    return result


def not_allowed(guest: str, seen: Checked) -> list[Problem]:
    """Return a problem for each thing in a definition that is not allowed."""
    return [
        problem_of("definition-not-allowed", f"guest {guest}: its definition in the backup: {reason}", guest=guest)
        for reason in seen.refusals
    ]


def site_of(host: Host, allowed: Allowed) -> Site:
    """Return what any foreign guest may name of this host; raises ``LibvirtError``."""
    machines = HostCapabilities.from_xml(host.capabilities()).machines
    return Site(
        emulators=frozenset(path for each in machines for path in each.emulators),
        networks=frozenset(allowed.networks or host.networks()),
        types=frozenset(kind for each in machines for kind in each.types),
        paths=frozenset(allowed.paths),
        user_network=USER in allowed.networks,
    )


def own_nvram(uuid: str, name: str) -> frozenset[str]:
    """Return where libvirt keeps the UEFI variables of this very guest."""
    return frozenset(
        f"{directory}/{word}{end}"
        for directory in NVRAM_DIRECTORIES
        for word in (uuid, name)
        for end in _NVRAM_ENDS
        if "/" not in word
    )


def places_of(
    saved: SavedGuest, now: Optional[GuestNow], here: Mapping[Key, HostVolume], *, real: Real = os.path.realpath
) -> dict[str, str]:
    """Return where on this host the disks of the backup lie, by target; those that are nowhere here are left out.

    ``here`` is where this host has the volumes. Nothing in between is a link: what is checked is what QEMU opens.
    """
    known = {disk.storage.label: disk.host_path for disk in now.disks if disk.storage} if now else {}
    found = {}
    for disk in saved.saved_disks:
        path = _place(disk, known, here, real)
        if path is not None:
            found[disk.target] = path
    return found


def _place(disk: SavedDisk, known: Mapping[str, str], here: Mapping[Key, HostVolume], real: Real) -> Optional[str]:
    storage = disk.storage
    if storage is None:
        return None
    if storage.label in known:
        return known[storage.label]
    if storage.lun is not None:
        path = f"{_BY_WWID}{storage.lun.wwid}"
        named = _WWID.fullmatch(storage.lun.wwid) is not None
        return path if named and real(path).startswith("/dev/dm-") else None
    mount = here.get(storage.volume_key)
    file = mount.on_host(storage.path) if mount else None
    if mount is None or file is None or not file.startswith(f"{mount.mount_point.rstrip('/')}/"):
        return None
    return file if real(file) == file else None


def unexamined(new: Mapping[str, NewDefinition]) -> dict[str, NewDefinition]:
    """Return definitions that this host's own runs wrote, as they are."""
    return dict(new)
