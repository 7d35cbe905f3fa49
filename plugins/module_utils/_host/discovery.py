# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery: what runs on this host, where its disks lie on ONTAP, and what stands in the way of a backup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import given_mapping, names
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import SYSFS
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.judge import (
    FoundDisk,
    FoundGuest,
    drift,
    judge,
    mapping_of,
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
    NfsPlace,
    Place,
    Placed,
    Storage,
    storages,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.sanlun import Sanlun, ask_sanlun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.survey import Choice, Looked, Survey
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import UnexpectedError, outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Host,
    LibvirtUnavailableError,
    connect,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import mark_of
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
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, connected
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy

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
class Surroundings:
    """Where the host tells of itself, and whom it asks."""

    mountinfo: str = MOUNTINFO
    sysfs: Path = SYSFS
    multipathd: Callable[[], Daemon] = ask_multipathd
    sanlun: Callable[[], Sanlun] = ask_sanlun
    initiators: Callable[[], tuple[str, ...]] = own_initiators


@dataclass(frozen=True)
class Seen:
    """The chosen guests as judged, and findings that are about none of them."""

    guests: list[FoundGuest]
    problems: list[Problem]


@dataclass(frozen=True)
class Census:
    """The guests of the host and how they were found; ``host`` is None when libvirt did not answer."""

    guests: tuple[Guest, ...]
    problems: tuple[Problem, ...]
    host: Optional[Host] = field(default=None, compare=False)


def discover(
    options: Mapping[str, Any],
    surroundings: Optional[Surroundings] = None,
    *,
    planned: Optional[Mapping[str, str]] = None,
) -> dict[str, Any]:
    """Return the result of ``kvm_vm_discover``; ``options`` are the module's.

    ``known_initiators`` among them are those of other hosts that are no news: a LUN may be mapped to them.
    ``planned`` maps the uuid of a guest to the XML that it is to have: it is judged as if it had that already.

    Raises :class:`InputError` (a guest that is not known, a mapping that cannot be used), ``OntapError``,
    :class:`LibvirtError`. Everything about single guests and disks is a problem in the result.
    """
    options = {**options, **{name: listed(options[name]) for name in ("guests", "exclude", "exclude_disks")}}
    stored = parse_mapping(options["mapping"])
    policy = RetryPolicy(retry_count=options["retry_count"])
    deadline = Deadline.after(options["timeout"])
    around = surroundings or Surroundings()
    with (
        census_of(options) as counted,
        connected(options["controllers"], policy=policy, deadline=deadline) as clients,
    ):
        census = replace(counted, guests=tuple(as_planned(counted.guests, planned))) if planned else counted
        if options["auto_discovery"]:
            found = _discover(options, census, clients, deadline, around, stored)
        else:
            found = _check(options, census, clients, deadline, around, stored)
        return {
            "changed": False,
            **found,
            "libvirt_available": census.host is not None,
            "initiators": list(around.initiators()),
            "ontap": [_system(client) for client in clients],
        }


@contextmanager
def census_of(options: Mapping[str, Any]) -> Iterator[Census]:
    """Yield the guests of the host, from libvirt or, when it does not answer, from their files."""
    try:
        host = connect(options["uri"], retry_count=options["retry_count"])
    except LibvirtUnavailableError as exc:
        if not options["auto_discovery"]:
            yield Census((), ())
            return
        config_dir = Path(options["config_dir"])
        guests, problems = guests_in_files(config_dir)
        message = f"{exc.message}; the guests were read from {config_dir}, and what runs is not known"
        yield Census(tuple(guests), (problem_of("libvirt-unavailable", message), *problems))
        return
    try:
        guests, problems = guests_of(host)
        yield Census(tuple(guests), tuple(problems), host)
    finally:
        host.close()


def _discover(
    options: Mapping[str, Any],
    census: Census,
    clients: Sequence[Client],
    deadline: Deadline,
    surroundings: Surroundings,
    stored: Sequence[MappingEntry],
) -> dict[str, Any]:
    chosen = select(
        census.guests,
        wanted=options["guests"],
        exclude=options["exclude"],
        unknown=options.get("unknown_guests", "fail"),
    )
    choice = Choice(options["disks"], tuple(options["exclude_disks"]))
    seen = _judged(choice, options, census, clients, deadline, surroundings, {guest.uuid for guest in chosen})
    found = seen.guests
    mapping = mapping_of(found)
    known = {guest.name for guest in census.guests}
    problems = [
        *census.problems,
        *seen.problems,
        *unmatched(census.guests, wanted=options["guests"]),
        *_unused_exclusions(options["exclude_disks"], found),
        *(problem for guest in found for problem in guest.problems),
        *drift(stored, mapping, chosen=[guest.name for guest in chosen], known=known),
        *_unwritable(mapping),
    ]
    return {
        "guests": [_guest(guest) for guest in found],
        "volumes": volumes_of(
            (guest.guest.name, disk.storage) for guest in found for disk in guest.included if disk.storage
        ),
        "problems": [problem.as_dict() for problem in problems],
        **mapping_result(mapping),
    }


def _check(
    options: Mapping[str, Any],
    census: Census,
    clients: Sequence[Client],
    deadline: Deadline,
    surroundings: Surroundings,
    stored: Sequence[MappingEntry],
) -> dict[str, Any]:
    checked, unmatching = given_mapping.check(
        census.guests,
        stored,
        clients,
        wanted=options["guests"],
        exclude=options["exclude"],
        unknown=options.get("unknown_guests", "fail"),
        addresses_of=_addresses_of,
        deadline=deadline,
    )
    known = {guest.uuid for guest in checked if guest.known}
    seen = (
        _judged(Choice("all", ()), options, census, clients, deadline, surroundings, known) if known else Seen([], [])
    )
    found = given_mapping.with_definitions(checked, seen.guests)
    mapping = given_mapping.mapping_of(found)
    problems = [
        *seen.problems,
        *unmatching,
        *(problem for guest in found for problem in guest.problems),
        *_unwritable(mapping),
    ]
    return {
        "guests": [_mapped_guest(guest) for guest in found],
        "volumes": volumes_of(given_mapping.volumes_in(found)),
        "problems": [problem.as_dict() for problem in problems],
        **mapping_result(mapping),
    }


def _judged(
    choice: Choice,
    options: Mapping[str, Any],
    census: Census,
    clients: Sequence[Client],
    deadline: Deadline,
    surroundings: Surroundings,
    chosen: set[str],
) -> Seen:
    surveyed, problems = _survey(choice, options, census, surroundings, chosen)
    places = list(_places(surveyed))
    files = storages(
        clients,
        (place for place in places if isinstance(place, NfsPlace)),
        addresses_of=_addresses_of,
        deadline=deadline,
    )
    luns = lun_storages(
        clients,
        (place for place in places if isinstance(place, LunPlace)),
        ask_sanlun=surroundings.sanlun,
        initiators=(*surroundings.initiators(), *options.get("known_initiators", ())),
        deadline=deadline,
    )
    if luns.sanlun and luns.sanlun.error:
        message = f"{luns.sanlun.error}; the LUNs were found by their WWIDs, and nothing was compared"
        problems.append(problem_of("sanlun-failed", message))
    return Seen(judge(surveyed, {**files, **luns.stored}, chosen=chosen, remarks=luns.remarks), problems)


def _survey(
    choice: Choice, options: Mapping[str, Any], census: Census, surroundings: Surroundings, chosen: set[str]
) -> tuple[dict[str, tuple[Guest, list[Looked]]], list[Problem]]:
    """Return the disks of each guest, and a problem for each guest whose disks cannot be looked at: it has none then.

    Raises ``KvmsnapError`` when libvirt went away meanwhile.
    """
    files = HostFiles(
        lambda: read_mounts(surroundings.mountinfo),
        sysfs=surroundings.sysfs,
        multipath_required=options.get("multipath_required", True),
    )
    survey = Survey(files, census.host, sysfs=surroundings.sysfs, multipathd=surroundings.multipathd)
    surveyed: dict[str, tuple[Guest, list[Looked]]] = {}
    problems = []
    for guest in census.guests:
        images = guest.uuid in chosen
        found = outcome_of(
            partial(survey.look, guest, choice, images=images), what=f"look at the disks of guest {guest.name}"
        )
        if isinstance(found, KvmsnapError):
            if not isinstance(found, UnexpectedError) and (census.host is None or not census.host.alive):
                raise found
            problems.append(problem_of("guest-unreadable", found.message, guest=guest.name))
            found = []
        surveyed[guest.uuid] = (guest, found)
    return surveyed, problems


def _places(surveyed: Mapping[str, tuple[Guest, Sequence[Looked]]]) -> Iterator[Place]:
    for _owner, disks in surveyed.values():
        for looked in disks:
            placed: list[Optional[Placed]] = [looked.placed, *(layer.placed for layer in looked.layers)]
            yield from (place for place in placed if isinstance(place, (NfsPlace, LunPlace)))


def _addresses_of(server: str) -> Sequence[str]:
    return names.resolve([server], service=names.read_name_service())[server].addresses


def volumes_of(stored: Iterable[tuple[str, Storage]]) -> list[dict[str, Any]]:
    """Return each volume once with the guests on it; of several mounts that of the volume's root is told."""
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


def mapping_result(mapping: Sequence[MappingEntry]) -> dict[str, Any]:
    """Return the mapping in both forms; what one line cannot hold is only in the list."""
    return {
        "kvm_vm_mapping": format_mapping(entry for entry in mapping if entry.writable),
        "kvm_vm_mapping_list": [entry.as_dict() for entry in mapping],
    }


def _unwritable(mapping: Sequence[MappingEntry]) -> list[Problem]:
    return [
        problem_of("mapping-unwritable", f"{entry.as_text()} cannot be written in one line", guest=entry.guest)
        for entry in mapping
        if not entry.writable
    ]


def _unused_exclusions(entries: Sequence[str], found: Sequence[FoundGuest]) -> list[Problem]:
    used = {entry for guest in found for disk in guest.disks for entry in disk.looked.matched}
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


def _mapped_guest(found: given_mapping.MappedGuest) -> dict[str, Any]:
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
        "copy": mark_of(guest.xml) is not None,
    }


def _disk(found: FoundDisk) -> dict[str, Any]:
    looked, disk = found.looked, found.looked.disk
    return {
        "target": disk.target,
        "bus": disk.bus,
        "device": disk.device,
        "role": disk.role,
        "type": disk.kind,
        "source": disk.source,
        "path": looked.path,
        "format": disk.format,
        "cache": disk.cache,
        "readonly": disk.readonly,
        "shareable": disk.shareable,
        "serial": disk.serial,
        "backing": [layer.source for layer in looked.layers],
        "backing_storage": [storage.as_dict() for storage in found.below],
        "included": found.included,
        "reason": found.reason,
        "size": looked.size,
        "storage": found.storage.as_dict() if found.storage else None,
    }


def _system(client: Client) -> dict[str, Any]:
    version = ".".join(str(part) for part in client.version)
    return {"controller": client.name, "cluster": client.cluster_name, "version": version}
