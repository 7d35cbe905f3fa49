# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a device of this host that is a LUN to the LUN on ONTAP and its volume, or to the reason why there is none.

WWID → serial → LUN, asked at every system; what sanlun says, where it is installed, must agree. Where the WWID does not
tell, sanlun's word counts only when the LUN's serial is the one that the device's own paths tell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import LunPlace
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import HostStorage, Place, Stored, fitting
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.sanlun import Sanlun, SanlunLun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError, OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import (
    Lun,
    LunMap,
    foreign_initiators,
    lun_by_path,
    lun_maps,
    luns_by_serial,
    seen_by,
    serial_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, list_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


@dataclass(frozen=True)
class LunAnswers:
    """Where each LUN is stored, and what the array has to say of it. ``sanlun`` is None when nobody asked it."""

    stored: Mapping[Place, Stored]
    remarks: Mapping[LunPlace, Sequence[Problem]]
    sanlun: Optional[Sanlun] = None


def lun_storages(
    clients: Sequence[Client],
    places: Iterable[LunPlace],
    *,
    ask_sanlun: Callable[[], Sanlun],
    initiators: Collection[str],
    deadline: Optional[Deadline] = None,
) -> LunAnswers:
    """Return where each LUN lies on the systems behind ``clients``; without any LUN nobody is asked anything.

    A system whose role allows no look at LUNs leaves them unfound and says so; ``initiators`` are those of this host.
    Raises ``OntapError``.
    """
    wanted = list(dict.fromkeys(places))
    if not wanted:
        return LunAnswers({}, {})
    sanlun = ask_sanlun()
    entries = {place: sanlun.of(name=place.name, wwid=place.wwid) for place in wanted}
    found, denials = _find(clients, wanted, entries, deadline)
    volumes = _volumes(clients, found.values(), deadline)
    stored: dict[Place, Stored] = {
        place: _denied(lun_of(place, found.get(place, ()), entries[place], volumes=volumes), denials)
        for place in wanted
    }
    remarks = _remarks(clients, stored, initiators, deadline)
    for place, notes in remarks.items():
        notes.extend(not_compared(place, sanlun, entries[place]))
    return LunAnswers(stored, remarks, sanlun)


def lun_of(
    place: LunPlace, found: Sequence[Lun], entries: Sequence[SanlunLun], *, volumes: Mapping[str, Volume]
) -> Stored:
    """Decide where a LUN lies; pure. ``found`` are the LUNs of its serial (or of sanlun's path, without a serial).

    ``entries`` are what sanlun says of the device, ``volumes`` the volumes by UUID.
    """
    said = ", ".join(dict.fromkeys(entry.label for entry in entries))
    if any(entry.seven_mode for entry in entries):
        return problem_of("seven-mode-lun", f"{place.device} is a LUN of a system in 7-Mode, as sanlun says ({said})")
    if place.serial is None and not entries:
        return place.unresolved or problem_of("unresolvable-wwid", f"{place.device} does not tell which LUN it is")
    if not found:
        what = f"serial {place.serial}, WWID {place.wwid}" if place.serial else f"named {said} by sanlun"
        return problem_of("lun-not-found", f"no LUN {what} is known to the given controllers")
    if len(found) > 1:
        where = ", ".join(f"{lun.label} at {lun.controller}" for lun in found)
        return problem_of("ambiguous-lun", f"several LUNs have serial {place.serial or found[0].serial}: {where}")
    lun = found[0]
    if place.serial is None and lun.serial not in _confirmed(place, entries):
        confirmed = ", ".join(_confirmed(place, entries)) or "none"
        reason = f"sanlun calls {place.device} {said}, which has serial {lun.serial}; the device tells {confirmed}"
        return problem_of("sanlun-unconfirmed", reason)
    if any(entry.label != lun.label for entry in entries):
        return problem_of("sanlun-disagrees", f"by its WWID {place.device} is {lun.label}, by sanlun it is {said}")
    return unfit_lun(lun, volumes.get(lun.volume_uuid)) or _stored(place, lun)


def unfit_lun(lun: Lun, volume: Optional[Volume]) -> Optional[Problem]:
    """Return why a LUN cannot be saved and restored, None when it can; pure."""
    if not lun.path or volume is None:
        return problem_of("lun-outside-volume", f"its LUN {lun.label} lies in no volume (disaggregated system, ASA r2)")
    refusal = fitting(volume)
    if refusal is not None:
        return refusal
    if lun.lun_class != "regular":
        return problem_of("unsupported-lun-class", f"its LUN {lun.label} is of class {lun.lun_class}")
    if lun.container_state != "online" or lun.state != "online" or not lun.enabled:
        state = lun.state if lun.state != "online" else lun.container_state
        return problem_of("lun-offline", f"its LUN {lun.label} is {state if lun.enabled else 'offline'}")
    if lun.read_only:
        return problem_of("lun-read-only", f"its LUN {lun.label} allows only reading")
    return None


def lun_record(lun: Lun, *, device: str) -> HostStorage:
    """Return the place of a LUN on the array; ``device`` is the host's name of it, empty when not known."""
    return HostStorage(
        kind="lun",
        controller=lun.controller,
        svm=lun.svm,
        svm_uuid=lun.svm_uuid,
        volume=lun.volume,
        volume_uuid=lun.volume_uuid,
        path=lun.path,
        mount_point=None,
        mount_path="",
        junction=None,
        lun=lun.identity(device=device),
    )


def _stored(place: LunPlace, lun: Lun) -> Stored:
    if lun.size != place.size:
        reason = f"its LUN {lun.label} has {lun.size} bytes, the host's {place.device} {place.size}"
        return problem_of("lun-size-differs", reason)
    return lun_record(lun, device=place.device)


def _confirmed(place: LunPlace, entries: Iterable[SanlunLun]) -> list[str]:
    """Return the serials that the device itself tells: page 80 of its paths, and the WWID that sanlun read."""
    read = [serial_of(entry.wwid or entry.device) for entry in entries]
    return list(dict.fromkeys([*place.unit_serials, *(serial for serial in read if serial)]))


def _find(
    clients: Sequence[Client],
    places: Sequence[LunPlace],
    entries: Mapping[LunPlace, Sequence[SanlunLun]],
    deadline: Optional[Deadline],
) -> tuple[dict[LunPlace, Sequence[Lun]], list[str]]:
    """Return the LUNs of each place, and what the systems said that allow no look at LUNs."""
    serials = [place.serial for place in places if place.serial]
    named = {place: (entry.owner, entry.path) for place in places if not place.serial for entry in entries[place][:1]}
    found: dict[LunPlace, dict[str, Lun]] = {}
    denials: list[str] = []
    for client in clients:
        try:
            by_serial = luns_by_serial([client], serials, deadline=deadline)
            by_name = {
                place: lun_by_path(client, svm=svm, name=path, deadline=deadline)
                for place, (svm, path) in named.items()
            }
        except OntapError as exc:
            if not _no_look(exc):
                raise
            denials.append(exc.message)
            continue
        for place in places:
            one = by_name.get(place)
            for lun in by_serial.get(place.serial, ()) if place.serial else [one] if one else []:
                found.setdefault(place, {}).setdefault(lun.uuid, lun)
    return {place: tuple(luns.values()) for place, luns in found.items()}, denials


def _no_look(exc: OntapError) -> bool:
    return isinstance(exc, OntapDeniedError) or exc.has_code(codes.NOT_SUPPORTED, codes.BAD_URL)


def _denied(stored: Stored, denials: Sequence[str]) -> Stored:
    """Say that a LUN which was not found may be one of a system that allows no look."""
    if denials and isinstance(stored, Problem) and stored.code == "lun-not-found":
        return problem_of(
            "luns-unreadable", f"{stored.message}, and not all of them allow a look: {'; '.join(denials)}"
        )
    return stored


def _volumes(
    clients: Sequence[Client], found: Iterable[Sequence[Lun]], deadline: Optional[Deadline]
) -> dict[str, Volume]:
    luns = [lun for each in found for lun in each if lun.svm and lun.volume]
    volumes: dict[str, Volume] = {}
    for client in clients:
        here = [lun for lun in luns if lun.controller == client.name]
        if here:
            svms, names = {lun.svm for lun in here}, {lun.volume for lun in here}
            for volume in list_volumes(client, svms=svms, names=names, deadline=deadline):
                volumes.setdefault(volume.uuid, volume)
    return volumes


def _remarks(
    clients: Sequence[Client],
    stored: Mapping[Place, Stored],
    initiators: Collection[str],
    deadline: Optional[Deadline],
) -> dict[LunPlace, list[Problem]]:
    """Return what there is to say of LUNs that can be saved: who else sees them."""
    remarks: dict[LunPlace, list[Problem]] = {}
    for client in clients:
        uuids = {
            place: each.lun.uuid
            for place, each in stored.items()
            if isinstance(place, LunPlace)
            and isinstance(each, HostStorage)
            and each.lun
            and each.controller == client.name
        }
        try:
            maps = seen_by(client, lun_maps(client, uuids.values(), deadline=deadline), deadline=deadline)
        except OntapError as exc:
            if not _no_look(exc):
                raise
            note = problem_of("lun-maps-unknown", f"to whom its LUN is mapped cannot be read: {exc.reason}")
            remarks.update({place: [note] for place in uuids})
            continue
        for place, uuid in uuids.items():
            remarks[place] = mapped_elsewhere([each for each in maps if each.lun_uuid == uuid], initiators)
    return remarks


def not_compared(place: LunPlace, sanlun: Sanlun, entries: Sequence[SanlunLun]) -> list[Problem]:
    """Return a note when sanlun answered and says nothing of a LUN; pure. ``entries`` are what it says of it."""
    if sanlun.path is None or sanlun.error or entries:
        return []
    reason = f"'sanlun lun show -p' does not name {place.device}, so nothing was compared"
    return [problem_of("sanlun-device-unknown", reason)]


def mapped_elsewhere(maps: Sequence[LunMap], initiators: Collection[str]) -> list[Problem]:
    """Return notes when a LUN is mapped to initiators that are none of this host's, or are unknown; pure."""
    notes = []
    others = foreign_initiators(maps, initiators)
    if others:
        groups = ", ".join(dict.fromkeys(each.igroup for each in maps if foreign_initiators([each], initiators)))
        what = f"its LUN is mapped to other hosts too: {', '.join(others)} ({groups})"
        notes.append(problem_of("lun-mapped-elsewhere", what))
    silent = ", ".join(dict.fromkeys(each.igroup for each in maps if not each.initiators))
    if silent:
        what = f"its LUN is mapped to an igroup of which the array shows no initiators: {silent}"
        notes.append(problem_of("lun-maps-unknown", what))
    return notes
