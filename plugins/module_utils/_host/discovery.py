# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery: what runs on this host, where its disks lie on ONTAP, and what stands in the way of a backup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import given_mapping, names
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.assess import (
    FoundDisk,
    FoundGuest,
    assess,
    drift,
    mapping_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import SYSFS
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.given_mapping import MappedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.inspection import (
    Choice,
    DiskInspector,
    DiskObservation,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_storage import lun_storages
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import MOUNTINFO, read_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import (
    Daemon,
    LunPlace,
    ask_multipathd,
    own_initiators,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import (
    HostFiles,
    HostStorage,
    NfsPlace,
    Place,
    Placed,
    storages,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.sanlun import Sanlun, ask_sanlun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import UnexpectedError, outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Host,
    LibvirtUnavailableError,
    connect,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import copy_mark_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import (
    Guest,
    as_planned,
    guests_in_files,
    guests_of,
    select,
    unmatched,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.interfaces import interfaces_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import (
    MappingEntry,
    format_mapping,
    listed,
    parse_mapping,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess, Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

_UNKNOWN: Mapping[str, Any] = {
    "uuid": "",
    "state": "unknown",
    "state_reason": "libvirt does not know the guest",
    "persistent": True,
    "autostart": False,
    "agent": "none",
    "os": "unknown",
    "xml": "",
    "nvram": None,
    "tpm": False,
    "managed_save": False,
    "interfaces": [],
    "copy": False,
}


@dataclass(frozen=True)
class HostProbes:
    """Where the host tells of itself, and whom it asks."""

    mountinfo: str = MOUNTINFO
    sysfs: Path = SYSFS
    multipathd: Callable[[], Daemon] = ask_multipathd
    sanlun: Callable[[], Sanlun] = ask_sanlun
    initiators: Callable[[], tuple[str, ...]] = own_initiators


@dataclass(frozen=True)
class DiscoveryRequest:
    """What a discovery is asked for: by default all guests of the host with all their disks.

    ``known_initiators`` are those of other
    hosts that are no news: a LUN may be mapped to them. ``stored`` is the mapping that is there: what is checked
    without ``auto_discovery``, and what drifted with it.
    """

    array: ArrayAccess
    uri: str
    config_dir: Path
    guests: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    disks: Literal["all", "boot"] = "all"
    exclude_disks: tuple[str, ...] = ()
    stored: tuple[MappingEntry, ...] = ()
    auto_discovery: bool = True
    unknown_guests: Literal["fail", "ignore"] = "fail"
    known_initiators: tuple[str, ...] = ()
    multipath_required: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> DiscoveryRequest:
        """Read the options of ``kvm_vm_discover``; raises :class:`InputError` for what cannot be used."""
        return cls(
            array=ArrayAccess.from_options(options),
            uri=options["uri"],
            config_dir=directory(options, "config_dir"),
            guests=tuple(listed(options["guests"])),
            exclude=tuple(listed(options["exclude"])),
            disks=options["disks"],
            exclude_disks=tuple(listed(options["exclude_disks"])),
            stored=tuple(parse_mapping(options["mapping"])),
            auto_discovery=options["auto_discovery"],
            unknown_guests=options["unknown_guests"],
            multipath_required=options["multipath_required"],
        )


@dataclass(frozen=True)
class AssessedGuests:
    """The chosen guests as assessed, and findings that are about none of them."""

    guests: list[FoundGuest]
    problems: list[Problem]


@dataclass(frozen=True)
class Census:
    """The guests of the host and how they were found; ``host`` is None when libvirt did not answer."""

    guests: tuple[Guest, ...]
    problems: tuple[Problem, ...]
    host: Optional[Host] = field(default=None, compare=False)


@dataclass(frozen=True)
class System:
    """An ONTAP system that was asked."""

    controller: str
    cluster: str
    version: str


@dataclass(frozen=True)
class Discovery:
    """What a discovery found.

    ``found`` are the guests with the disks that their definitions name, ``mapped`` those of a mapping that was checked:
    one of the two is empty. ``systems`` are the ONTAP systems that were asked.
    """

    found: tuple[FoundGuest, ...]
    mapped: tuple[MappedGuest, ...]
    problems: tuple[Problem, ...]
    mapping: tuple[MappingEntry, ...]
    libvirt_available: bool
    initiators: tuple[str, ...]
    systems: tuple[System, ...]

    def as_result(self) -> dict[str, Any]:
        """Return the result of ``kvm_vm_discover``."""
        stored = [(guest.guest.name, disk.storage) for guest in self.found for disk in guest.included if disk.storage]
        return {
            "changed": False,
            "guests": [*map(_guest, self.found), *map(_mapped_guest, self.mapped)],
            "volumes": volumes_of([*stored, *given_mapping.volumes_in(self.mapped)]),
            "problems": [problem.as_dict() for problem in self.problems],
            # What one line cannot hold is only in the list.
            "kvm_vm_mapping": format_mapping(entry for entry in self.mapping if entry.writable),
            "kvm_vm_mapping_list": [entry.as_dict() for entry in self.mapping],
            "libvirt_available": self.libvirt_available,
            "initiators": list(self.initiators),
            "ontap": [asdict(system) for system in self.systems],
        }


@dataclass(frozen=True)
class _Site:
    """What one discovery works with."""

    request: DiscoveryRequest
    census: Census
    clients: Sequence[Client]
    deadline: Deadline
    probes: HostProbes


def discover(
    request: DiscoveryRequest,
    probes: Optional[HostProbes] = None,
    *,
    planned: Optional[Mapping[str, str]] = None,
) -> Discovery:
    """Return what there is; everything about single guests and disks is a problem in it.

    ``planned`` maps the uuid of a guest to the XML that it is to have: it is assessed as if it had that already.

    Raises :class:`InputError` (a guest that is not known), ``OntapError``, :class:`LibvirtError`.
    """
    deadline = request.array.deadline()
    probes = probes or HostProbes()
    with census_of(request) as counted, request.array.connected(deadline) as clients:
        census = replace(counted, guests=tuple(as_planned(counted.guests, planned))) if planned else counted
        site = _Site(request, census, clients, deadline, probes)
        return _discover(site) if request.auto_discovery else _check(site)


@contextmanager
def census_of(request: DiscoveryRequest) -> Iterator[Census]:
    """Yield the guests of the host, from libvirt or, when it does not answer, from their files."""
    try:
        host = connect(request.uri, retry_count=request.array.retry_count)
    except LibvirtUnavailableError as exc:
        if not request.auto_discovery:
            yield Census((), ())
            return
        guests, problems = guests_in_files(request.config_dir)
        message = f"{exc.message}; the guests were read from {request.config_dir}, and what runs is not known"
        yield Census(tuple(guests), (problem_of("libvirt-unavailable", message), *problems))
        return
    try:
        guests, problems = guests_of(host)
        yield Census(tuple(guests), tuple(problems), host)
    finally:
        host.close()


def _discover(site: _Site) -> Discovery:
    request, census = site.request, site.census
    chosen = select(census.guests, wanted=request.guests, exclude=request.exclude, unknown=request.unknown_guests)
    choice = Choice(request.disks, request.exclude_disks)
    assessed = _assessed(choice, site, {guest.uuid for guest in chosen})
    found = assessed.guests
    mapping = mapping_of(found)
    known = {guest.name for guest in census.guests}
    problems = [
        *census.problems,
        *assessed.problems,
        *unmatched(census.guests, wanted=request.guests),
        *_unused_exclusions(request.exclude_disks, found),
        *(problem for guest in found for problem in guest.problems),
        *drift(request.stored, mapping, chosen=[guest.name for guest in chosen], known=known),
    ]
    return _discovery(site, problems, mapping, found=found)


def _check(site: _Site) -> Discovery:
    request, census = site.request, site.census
    checked, unmatching = given_mapping.check(
        census.guests,
        request.stored,
        site.clients,
        wanted=request.guests,
        exclude=request.exclude,
        unknown=request.unknown_guests,
        addresses_of=_addresses_of,
        deadline=site.deadline,
    )
    known = {guest.uuid for guest in checked if guest.known}
    assessed = _assessed(Choice("all", ()), site, known) if known else AssessedGuests([], [])
    mapped = given_mapping.with_definitions(checked, assessed.guests)
    problems = [*assessed.problems, *unmatching, *(problem for guest in mapped for problem in guest.problems)]
    return _discovery(site, problems, given_mapping.mapping_of(mapped), mapped=mapped)


def _discovery(
    site: _Site,
    problems: Sequence[Problem],
    mapping: Sequence[MappingEntry],
    *,
    found: Sequence[FoundGuest] = (),
    mapped: Sequence[MappedGuest] = (),
) -> Discovery:
    return Discovery(
        found=tuple(found),
        mapped=tuple(mapped),
        problems=(*problems, *_unwritable(mapping)),
        mapping=tuple(mapping),
        libvirt_available=site.census.host is not None,
        initiators=tuple(site.probes.initiators()),
        systems=tuple(
            System(client.name, client.cluster_name, ".".join(map(str, client.version))) for client in site.clients
        ),
    )


def _assessed(choice: Choice, site: _Site, chosen: set[str]) -> AssessedGuests:
    inspected, problems = _inspected(choice, site, chosen)
    places = list(_places(inspected))
    files = storages(
        site.clients,
        (place for place in places if isinstance(place, NfsPlace)),
        addresses_of=_addresses_of,
        deadline=site.deadline,
    )
    luns = lun_storages(
        site.clients,
        (place for place in places if isinstance(place, LunPlace)),
        ask_sanlun=site.probes.sanlun,
        initiators=(*site.probes.initiators(), *site.request.known_initiators),
        deadline=site.deadline,
    )
    if luns.sanlun and luns.sanlun.error:
        message = f"{luns.sanlun.error}; the LUNs were found by their WWIDs, and nothing was compared"
        problems.append(problem_of("sanlun-failed", message))
    return AssessedGuests(assess(inspected, {**files, **luns.stored}, chosen=chosen, remarks=luns.remarks), problems)


def _inspected(
    choice: Choice, site: _Site, chosen: set[str]
) -> tuple[dict[str, tuple[Guest, list[DiskObservation]]], list[Problem]]:
    """Return the disks of each guest, and a problem for each guest whose disks cannot be looked at: it has none then.

    Raises ``KvmsnapError`` when libvirt went away meanwhile.
    """
    probes, census = site.probes, site.census
    files = HostFiles(
        lambda: read_mounts(probes.mountinfo),
        sysfs=probes.sysfs,
        multipath_required=site.request.multipath_required,
    )
    inspector = DiskInspector(files, census.host, sysfs=probes.sysfs, multipathd=probes.multipathd)
    inspected: dict[str, tuple[Guest, list[DiskObservation]]] = {}
    problems = []
    for guest in census.guests:
        images = guest.uuid in chosen
        found = outcome_of(
            partial(inspector.look, guest, choice, images=images), what=f"look at the disks of guest {guest.name}"
        )
        if isinstance(found, KvmsnapError):
            if not isinstance(found, UnexpectedError) and (census.host is None or not census.host.alive):
                raise found
            problems.append(problem_of("guest-unreadable", found.message, guest=guest.name))
            found = []
        inspected[guest.uuid] = (guest, found)
    return inspected, problems


def _places(inspected: Mapping[str, tuple[Guest, Sequence[DiskObservation]]]) -> Iterator[Place]:
    for _owner, disks in inspected.values():
        for observed in disks:
            placed: list[Optional[Placed]] = [observed.placed, *(layer.placed for layer in observed.layers)]
            yield from (place for place in placed if isinstance(place, (NfsPlace, LunPlace)))


def _addresses_of(server: str) -> Sequence[str]:
    return names.resolve([server], service=names.read_name_service())[server].addresses


def volumes_of(stored: Iterable[tuple[str, HostStorage]]) -> list[dict[str, Any]]:
    """Return each volume once with the guests on it; of several mounts, with that of the volume's root."""
    volumes: dict[tuple[str, str], dict[str, Any]] = {}
    for guest, storage in stored:
        row = volumes.setdefault(
            storage.volume_key,
            {
                "controller": storage.controller,
                "svm": storage.svm,
                "svm_uuid": storage.svm_uuid,
                "volume": storage.volume,
                "volume_uuid": storage.volume_uuid,
                "junction": storage.junction,
                "mount_point": None,
                "mount_path": "",
                "guests": [],
            },
        )
        if storage.mount_point and (row["mount_point"] is None or len(storage.mount_path) < len(row["mount_path"])):
            row.update(mount_point=storage.mount_point, mount_path=storage.mount_path)
        if guest not in row["guests"]:
            row["guests"].append(guest)
    return sorted(volumes.values(), key=lambda row: (row["svm"], row["volume"]))


def _unwritable(mapping: Sequence[MappingEntry]) -> list[Problem]:
    return [
        problem_of("mapping-unwritable", f"{entry.as_text()} cannot be written in one line", guest=entry.guest)
        for entry in mapping
        if not entry.writable
    ]


def _unused_exclusions(entries: Sequence[str], found: Sequence[FoundGuest]) -> list[Problem]:
    used = {entry for guest in found for disk in guest.disks for entry in disk.observed.matched}
    return [
        problem_of("exclusion-matches-nothing", f"{entry!r} of exclude_disks matches no disk")
        for entry in entries
        if entry not in used
    ]


def _guest(found: FoundGuest) -> dict[str, Any]:
    return {
        **_known(found.guest),
        "protected": found.protected,
        "disks": [_disk(disk) for disk in found.disks],
    }


def _mapped_guest(found: MappedGuest) -> dict[str, Any]:
    return {
        **(_known(found.known) if found.known else _UNKNOWN),
        "name": found.name,
        "source": "mapping",
        "protected": found.protected,
        "disks": [
            _disk(disk.found) if disk.found else given_mapping.disk_row(number, disk)
            for number, disk in enumerate(found.disks)
        ],
    }


def _known(guest: Guest) -> dict[str, Any]:
    return {
        "name": guest.name,
        "uuid": guest.uuid,
        "state": guest.state.state,
        "state_reason": guest.state.reason,
        "persistent": guest.persistent,
        "autostart": guest.autostart,
        "source": guest.source,
        "agent": guest.definition.agent,
        "os": guest.definition.os,
        "xml": guest.xml,
        "nvram": guest.definition.nvram,
        "tpm": guest.definition.tpm,
        "managed_save": guest.managed_save,
        "interfaces": [asdict(each) for each in interfaces_of(guest.xml)],
        "copy": copy_mark_of(guest.xml) is not None,
    }


def _disk(found: FoundDisk) -> dict[str, Any]:
    observed, disk = found.observed, found.observed.disk
    return {
        "target": disk.target,
        "bus": disk.bus,
        "device": disk.device,
        "role": disk.role,
        "type": disk.kind,
        "source": disk.source,
        "path": observed.path,
        "format": disk.format,
        "cache": disk.cache,
        "readonly": disk.readonly,
        "shareable": disk.shareable,
        "serial": disk.serial,
        "backing": [layer.source for layer in observed.layers],
        "backing_storage": [storage.as_dict() for storage in found.below],
        "included": found.included,
        "reason": found.reason,
        "size": observed.size,
        "storage": found.storage.as_dict() if found.storage else None,
    }
