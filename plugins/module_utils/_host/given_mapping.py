# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery switched off: a given mapping of files and LUNs is taken as it is and checked against ONTAP.

What a file or LUN holds only the guest's definition tells: its format, its size and what lies below it come from the
disk that libvirt has at that place. Without one it cannot be restored, so it is not saved either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.assess import FoundDisk, FoundGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_storage import lun_record, unfit_lun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import LunPlace
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import HostStorage, fitting
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest, Unknown, select, unmatched
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import MappingEntry
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import FileStat, stat_file
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import lun_by_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.network import (
    find_lifs,
    lifs_by_address,
    normal_address,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, list_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem, errors_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

Held = tuple[Client, Volume]


@dataclass(frozen=True)
class MappedDisk:
    """One entry of the mapping as checked.

    ``size`` is the file's or LUN's, in bytes. ``found`` is the disk of the guest's definition at that place, and
    ``remarks`` are the problems with it.
    """

    entry: MappingEntry
    storage: Optional[HostStorage]
    size: Optional[int]
    refusal: Optional[Problem]
    found: Optional[FoundDisk] = None
    remarks: tuple[Problem, ...] = ()

    @property
    def included(self) -> bool:
        """Whether a backup would hold it."""
        return self.found is not None and self.found.included

    @property
    def stored(self) -> Optional[HostStorage]:
        """Where it lies, with the host's mount of it when that is known."""
        return self.found.storage if self.found else self.storage


@dataclass(frozen=True)
class MappedGuest:
    """One guest of the mapping; ``known`` is what libvirt says of it, when it does."""

    name: str
    known: Optional[Guest]
    disks: tuple[MappedDisk, ...]

    @property
    def uuid(self) -> str:
        """The uuid, empty when libvirt does not know the guest."""
        return self.known.uuid if self.known else ""

    @property
    def problems(self) -> list[Problem]:
        """What there is to say about the entries."""
        problems: list[Problem] = []
        for number, disk in enumerate(self.disks):
            problems.extend(disk.remarks)
            if disk.refusal:
                subject = f"{disk.entry.as_text()} of the mapping"
                problems.append(disk.refusal.on(subject, guest=self.name, disk=target_of(number)))
        return problems

    @property
    def protected(self) -> bool:
        """Whether a backup would hold everything of the guest that the mapping names, and could be restored."""
        return not errors_of(self.problems) and any(disk.included for disk in self.disks)


def check(
    guests: Iterable[Guest],
    mapping: Sequence[MappingEntry],
    clients: Sequence[Client],
    *,
    wanted: Sequence[str],
    exclude: Sequence[str],
    unknown: Unknown,
    addresses_of: Callable[[str], Sequence[str]],
    deadline: Deadline,
) -> tuple[list[MappedGuest], list[Problem]]:
    """Return the chosen guests of the mapping with each entry checked, and a problem for each word that means none.

    Raises :class:`InputError` and ``OntapError``.
    """
    if not mapping:
        raise InputError(
            "Discovery is switched off (auto_discovery) and the mapping is empty: there is nothing to go by"
        )
    known = {guest.name: guest for guest in guests}
    unchecked = [MappedGuest(name, known.get(name), ()) for name in dict.fromkeys(entry.guest for entry in mapping)]
    chosen = {guest.name: guest for guest in select(unchecked, wanted=wanted, exclude=exclude, unknown=unknown)}
    entries = [entry for entry in mapping if entry.guest in chosen]
    volumes = _volumes(entries, clients, addresses_of=addresses_of, deadline=deadline)
    disks = [_checked(entry, volumes[entry.controller], deadline) for entry in entries]
    guests_of_mapping = [
        MappedGuest(name, guest.known, tuple(disk for disk in disks if disk.entry.guest == name))
        for name, guest in chosen.items()
    ]
    return guests_of_mapping, unmatched(unchecked, wanted=wanted)


def with_definitions(guests: Iterable[MappedGuest], assessed: Iterable[FoundGuest]) -> list[MappedGuest]:
    """Return the guests with the disk of its definition for each entry, by its place on ONTAP.

    ``assessed`` are the guests that libvirt knows. An entry without such a disk is refused.
    """
    known = {found.guest.uuid: found for found in assessed}
    return [
        replace(guest, disks=tuple(_defined(disk, known.get(guest.uuid)) for disk in guest.disks)) for guest in guests
    ]


def _defined(disk: MappedDisk, guest: Optional[FoundGuest]) -> MappedDisk:
    if disk.refusal or disk.storage is None:
        return disk
    at = disk.storage.key
    found = next((each for each in guest.disks if each.storage and each.storage.key == at), None) if guest else None
    if guest is None or found is None:
        why = "no disk of the guest's definition lies there" if guest else "libvirt does not tell of the guest"
        reason = f"{why}, so its format is not known and a backup of it could not be restored"
        return replace(disk, refusal=problem_of("mapping-format-unknown", reason), remarks=_about_luns(disk, guest))
    target = found.observed.disk.target
    return replace(disk, found=found, remarks=tuple(each for each in guest.problems if each.disk == target))


def _about_luns(disk: MappedDisk, guest: Optional[FoundGuest]) -> tuple[Problem, ...]:
    """Return why LUNs of the guest's definition were refused, when the mapping names a LUN that none of them is."""
    if guest is None or disk.storage is None or disk.storage.lun is None:
        return ()
    refused = {each.observed.disk.target for each in guest.disks if isinstance(each.observed.placed, LunPlace)}
    return tuple(problem for problem in errors_of(guest.problems) if problem.disk in refused)


def disk_row(number: int, disk: MappedDisk) -> dict[str, Any]:
    """Return a disk that no definition tells of as the module's result has it."""
    return {
        "target": target_of(number),
        "bus": None,
        "device": "disk",
        "role": "boot" if number == 0 else "data",
        "type": "block" if disk.storage and disk.storage.lun else "file",
        "source": disk.entry.path,
        "path": None,
        "format": "unknown",
        "cache": None,
        "readonly": False,
        "shareable": False,
        "serial": None,
        "backing": [],
        "backing_storage": [],
        "included": disk.included,
        "reason": disk.refusal.message if disk.refusal else "",
        "size": disk.size,
        "storage": disk.storage.as_dict() if disk.storage else None,
    }


def target_of(number: int) -> str:
    """Return the name of a guest's disk that only the mapping knows (0 is its boot disk)."""
    return f"disk{number + 1}"


def mapping_of(guests: Iterable[MappedGuest]) -> list[MappingEntry]:
    """Return the mapping as it was given, of the chosen guests."""
    return [disk.entry for guest in guests for disk in guest.disks]


def volumes_in(guests: Iterable[MappedGuest]) -> list[tuple[str, HostStorage]]:
    """Return where the included disks lie."""
    return [(guest.name, disk.stored) for guest in guests for disk in guest.disks if disk.included and disk.stored]


def _volumes(
    entries: Sequence[MappingEntry],
    clients: Sequence[Client],
    *,
    addresses_of: Callable[[str], Sequence[str]],
    deadline: Deadline,
) -> dict[str, Union[list[Held], Problem]]:
    """Return the volumes of the SVM that each controller of the mapping means: an SVM's name, or a LIF's address."""
    controllers = list(dict.fromkeys(entry.controller for entry in entries))
    if not controllers:
        return {}
    named = [
        (client, volume) for client in clients for volume in list_volumes(client, svms=controllers, deadline=deadline)
    ]
    found: dict[str, Union[list[Held], Problem]] = {}
    for controller in controllers:
        volumes = [held for held in named if held[1].svm == controller]
        found[controller] = _one_svm(controller, volumes or _by_address(controller, clients, addresses_of, deadline))
    return found


def _by_address(
    controller: str, clients: Sequence[Client], addresses_of: Callable[[str], Sequence[str]], deadline: Deadline
) -> list[Held]:
    addresses = [normal_address(address) for address in addresses_of(controller)]
    lifs = lifs_by_address(lif for client in clients for lif in find_lifs(client, addresses, deadline=deadline))
    named = {client.name: client for client in clients}
    held: list[Held] = []
    for lif in (lif for found in lifs.values() for lif in found if lif.svm):
        client = named[lif.controller]
        held.extend((client, each) for each in list_volumes(client, svms=[str(lif.svm)], deadline=deadline))
    return held


def _one_svm(controller: str, volumes: Sequence[Held]) -> Union[list[Held], Problem]:
    if not volumes:
        return problem_of("mapping-unknown-controller", f"{controller} is no SVM and no LIF of the given controllers")
    svms = {volume.svm_uuid: f"{volume.svm} at {volume.controller}" for _client, volume in volumes}
    if len(svms) > 1:
        return problem_of("ambiguous-address", f"{controller} is several SVMs: {', '.join(svms.values())}")
    unique = {volume.uuid: (client, volume) for client, volume in reversed(volumes)}
    return list(unique.values())


def _checked(entry: MappingEntry, volumes: Union[list[Held], Problem], deadline: Deadline) -> MappedDisk:
    if isinstance(volumes, Problem):
        return MappedDisk(entry, None, None, volumes)
    held = next((held for held in volumes if held[1].name == entry.volume), None)
    if held is None:
        return _refused(entry, "mapping-unknown-volume", f"SVM {volumes[0][1].svm} has no volume {entry.volume}")
    client, volume = held
    unfit = fitting(volume)
    if unfit is not None:
        return MappedDisk(entry, None, None, unfit)
    found = stat_file(client, volume, entry.inner_path, deadline=deadline)
    if found is None or found.type == "lun":
        try:
            lun = lun_by_path(client, svm=volume.svm, name=entry.path, deadline=deadline)
        except OntapDeniedError as exc:
            return _refused(entry, "luns-unreadable", exc.message)
        if lun is not None:
            refusal = unfit_lun(lun, volume)
            return MappedDisk(entry, None if refusal else lun_record(lun, device=""), lun.size, refusal)
        return _refused(entry, "mapping-unknown-path", f"volume {volume.label} has no file or LUN {entry.inner_path}")
    if found.type != "file":
        return _refused(entry, "mapping-not-a-file", f"{entry.inner_path} of volume {volume.label} is a {found.type}")
    return MappedDisk(entry, _storage(volume, found), found.size, None)


def _storage(volume: Volume, found: FileStat) -> HostStorage:
    return HostStorage(
        kind="nfs",
        controller=volume.controller,
        svm=volume.svm,
        svm_uuid=volume.svm_uuid,
        volume=volume.name,
        volume_uuid=volume.uuid,
        path=found.path,
        mount_point=None,
        mount_path="",
        junction=volume.junction,
    )


def _refused(entry: MappingEntry, code: Code, reason: str) -> MappedDisk:
    return MappedDisk(entry, None, None, problem_of(code, reason))
