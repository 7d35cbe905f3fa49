# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests and disks can be saved, and why the others cannot. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.inspection import DiskObservation, Layer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import LunPlace
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import (
    HostStorage,
    NfsPlace,
    Place,
    Placed,
    Stored,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import MappingEntry
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem, errors_of

Places = Mapping[Place, Stored]
Remarks = Mapping[LunPlace, Sequence[Problem]]


@dataclass(frozen=True)
class FoundDisk:
    """One disk as assessed.

    ``reason`` says why it is not included, ``below`` where its backing files lie (top first).
    """

    observed: DiskObservation
    included: bool
    reason: str
    storage: Optional[HostStorage]
    below: tuple[HostStorage, ...] = ()


@dataclass(frozen=True)
class FoundGuest:
    """One guest as assessed."""

    guest: Guest
    disks: tuple[FoundDisk, ...]
    problems: tuple[Problem, ...]

    @property
    def protected(self) -> bool:
        """Whether a backup would hold everything of the guest that was asked for."""
        return not errors_of(self.problems) and any(disk.included for disk in self.disks)

    @property
    def included(self) -> list[FoundDisk]:
        """The disks that a backup holds, the boot disk first."""
        kept = [disk for disk in self.disks if disk.included]
        return sorted(kept, key=lambda disk: disk.observed.disk.role != "boot")


@dataclass(frozen=True)
class Use:
    """How one guest uses a file or device: as a disk of its own, or as a file below one.

    ``uuid`` tells the guest; ``guest``, its name, is for people: two guests may bear it one after the other.
    """

    uuid: str
    guest: str
    target: str
    below: bool
    shareable: bool = False
    readonly: bool = False


@dataclass
class _Verdicts:
    """Problems of one guest in the making."""

    guest: Guest
    found: list[Problem] = field(default_factory=list)

    def say(self, code: Code, reason: str, observed: Optional[DiskObservation] = None) -> str:
        return self.add(problem_of(code, reason), observed)

    def add(self, problem: Problem, observed: Optional[DiskObservation] = None) -> str:
        name, disk = self.guest.name, observed.disk if observed else None
        subject = f"disk {disk.target} of guest {name} ({disk.source or disk.kind})" if disk else f"guest {name}"
        self.found.append(problem.on(subject, guest=name, disk=disk.target if disk else None))
        return problem.message


def assess(
    inspected: Mapping[str, tuple[Guest, Sequence[DiskObservation]]],
    places: Places,
    *,
    chosen: Collection[str],
    remarks: Optional[Remarks] = None,
) -> list[FoundGuest]:
    """Assess the ``chosen`` guests (uuids); the others count as users of shared files and LUNs.

    ``inspected`` maps a uuid to the guest and its disks, ``places`` each place to where it is stored, ``remarks`` a LUN
    to what the array has to say of it.
    """
    uses = uses_of(inspected.values(), places)
    noted = {
        uuid: (guest, [_with_remarks(observed, remarks or {}) for observed in disks])
        for uuid, (guest, disks) in inspected.items()
        if uuid in chosen
    }
    return [_assess_guest(guest, disks, places, uses) for guest, disks in noted.values()]


def uses_of(inspected: Iterable[tuple[Guest, Sequence[DiskObservation]]], places: Places) -> dict[str, list[Use]]:
    """Return who uses each file or device, by each thing that identifies it."""
    uses: dict[str, list[Use]] = {}
    for guest, disks in inspected:
        for observed in disks:
            disk = observed.disk
            # Guests that share a disk are restored together, which takes its place on the array in each of them.
            shared = disk.shareable and isinstance(_stored(observed.placed, places), HostStorage)
            own = Use(guest.uuid, guest.name, disk.target, False, shared, disk.readonly)
            for keys, use in (
                (_keys(observed, places), own),
                *(
                    (_keys(layer, places), Use(guest.uuid, guest.name, disk.target, True))
                    for layer in (*observed.layers, *observed.outside)
                ),
            ):
                for key in keys:
                    uses.setdefault(key, []).append(use)
    return uses


def mapping_of(guests: Iterable[FoundGuest]) -> list[MappingEntry]:
    """Return the mapping of what would be saved: guests by name, each with its boot disk first."""
    return [
        MappingEntry(found.guest.name, disk.storage.svm, f"/vol/{disk.storage.volume}/{disk.storage.path}")
        for found in sorted(guests, key=lambda found: found.guest.name)
        for disk in found.included
        if disk.storage
    ]


def drift(
    stored: Sequence[MappingEntry], found: Sequence[MappingEntry], *, chosen: Sequence[str], known: Collection[str]
) -> list[Problem]:
    """Compare a stored mapping with the one found, for the ``chosen`` guests; ``known`` are all guests of the host."""
    if not stored:
        return []
    problems = []
    for name in chosen:
        before, now = (
            sorted(entry.as_text() for entry in entries if entry.guest == name) for entries in (stored, found)
        )
        if before != now:
            expected = " ".join(before) or "nothing"
            message = f"guest {name}: the stored mapping says {expected}, found was {' '.join(now) or 'nothing'}"
            problems.append(problem_of("mapping-drift", message, guest=name))
    for name in dict.fromkeys(entry.guest for entry in stored if entry.guest not in known):
        message = f"the stored mapping names guest {name}, which this host does not have"
        problems.append(problem_of("mapping-unknown-guest", message, guest=name))
    return problems


def _with_remarks(observed: DiskObservation, remarks: Remarks) -> DiskObservation:
    more = remarks.get(observed.placed, ()) if isinstance(observed.placed, LunPlace) and not observed.skipped else ()
    return replace(observed, notes=(*observed.notes, *more)) if more else observed


def _assess_guest(
    guest: Guest, disks: Sequence[DiskObservation], places: Places, uses: Mapping[str, Sequence[Use]]
) -> FoundGuest:
    verdicts = _Verdicts(guest)
    _about_guest(verdicts)
    own = {
        stored.volume_key
        for observed in disks
        if not observed.skipped and isinstance(stored := _stored(observed.placed, places), HostStorage)
    }
    found = tuple(
        replace(_assess_disk(observed, verdicts, places=places, uses=uses, own=own), below=_below(observed, places))
        for observed in disks
    )
    if not any(disk.included for disk in found) and not errors_of(verdicts.found):
        verdicts.say("nothing-to-protect", "it has no disk that would be saved")
    return FoundGuest(guest, found, tuple(verdicts.found))


def _below(observed: DiskObservation, places: Places) -> tuple[HostStorage, ...]:
    stored = (_stored(layer.placed, places) for layer in observed.layers)
    return tuple(each for each in stored if isinstance(each, HostStorage))


def _about_guest(verdicts: _Verdicts) -> None:
    guest = verdicts.guest
    if guest.definition.agent == "none":
        verdicts.say("no-agent", "it has no channel for the guest agent")
    elif guest.definition.agent == "disconnected" and guest.state.state == "running":
        verdicts.say("agent-disconnected", "no agent is connected to its agent channel")
    if guest.autostart:
        verdicts.say("autostart", "it starts with the host")
    if guest.managed_save:
        verdicts.say("managed-save", "its next start would resume a saved memory image")
    if not guest.persistent:
        verdicts.say("transient-guest", "its definition is gone when it stops")


def _assess_disk(
    observed: DiskObservation,
    verdicts: _Verdicts,
    *,
    places: Places,
    uses: Mapping[str, Sequence[Use]],
    own: Collection[tuple[str, str]],
) -> FoundDisk:
    disk = observed.disk
    if not observed.matched:
        if disk.removable and not disk.empty:
            verdicts.say("media-attached", f"a medium is in the {disk.device} drive", observed)
        for note in observed.notes:
            verdicts.add(note, observed)
    stored = _stored(observed.placed, places)
    storage = stored if isinstance(stored, HostStorage) else None
    if observed.skipped:
        return FoundDisk(observed, False, observed.skipped, storage)
    keys = _keys(observed, places)
    sharers = [
        use
        for use in _users(uses, keys)
        if use.uuid != verdicts.guest.uuid or (not use.below and use.target != disk.target)
    ]
    refusal = _refusal(observed, stored, places=places, sharers=sharers, own=own)
    if refusal is not None:
        return FoundDisk(observed, False, verdicts.add(refusal, observed), storage)
    if disk.readonly and sharers:
        return FoundDisk(
            observed, False, f"read-only, and used by other guests too: {_users_in_words(sharers)}", storage
        )
    _about_disk(observed, verdicts, places=places, uses=uses, sharers=sharers)
    return FoundDisk(observed, True, "", storage)


def _refusal(
    observed: DiskObservation,
    stored: Optional[Stored],
    *,
    places: Places,
    sharers: Sequence[Use],
    own: Collection[tuple[str, str]],
) -> Optional[Problem]:
    """Return the first reason why a disk cannot be saved."""
    disk = observed.disk
    if not isinstance(stored, HostStorage):
        return stored or problem_of("unsupported-disk-type", "it is nowhere")
    if observed.refusal is not None:
        return observed.refusal
    for layer in observed.layers:
        below = _stored(layer.placed, places)
        if not isinstance(below, HostStorage):
            why = below.message if below else "it is nowhere"
            return problem_of("backing-file-outside", f"its backing file {layer.source} cannot be saved: {why}")
        if below.volume_key not in own:
            where = f"{below.svm}:{below.volume}"
            return problem_of(
                "backing-file-outside", f"its backing file {layer.source} lies on {where}, which holds no disk of it"
            )
    if sharers and not disk.readonly and not (disk.shareable and all(use.shareable for use in sharers)):
        if stored.kind == "lun":
            return problem_of("lun-used-by-several-guests", f"its LUN is used by {_users_in_words(sharers)} too")
        return problem_of("disk-used-by-several-guests", f"its image is used by {_users_in_words(sharers)} too")
    return None


def _about_disk(
    observed: DiskObservation,
    verdicts: _Verdicts,
    *,
    places: Places,
    uses: Mapping[str, Sequence[Use]],
    sharers: Sequence[Use],
) -> None:
    disk = observed.disk
    if observed.layers:
        chain = ", ".join(layer.source for layer in observed.layers)
        verdicts.say("backing-chain", f"its image is an overlay over {chain}", observed)
    for layer in observed.layers:
        keys = _keys(layer, places)
        others = [use for use in _users(uses, keys) if use.uuid != verdicts.guest.uuid]
        if others:
            verdicts.say(
                "backing-file-shared",
                f"its backing file {layer.source} is used by {_users_in_words(others)} too",
                observed,
            )
    if disk.shareable:
        with_whom = f": {_users_in_words(sharers)}" if sharers else ""
        verdicts.say("shareable-disk", f"it is marked as shared between guests{with_whom}", observed)
    if disk.cache == "unsafe" and not disk.readonly:
        verdicts.say("unsafe-cache", "its cache mode is 'unsafe'", observed)
    if disk.block_job:
        verdicts.say("block-job-active", f"a block job ({disk.block_job}) is active on it", observed)
    if disk.transient:
        verdicts.say("transient-disk", "it is transient", observed)


def _stored(placed: Optional[Placed], places: Places) -> Optional[Stored]:
    return places.get(placed) if isinstance(placed, (NfsPlace, LunPlace)) else placed


def _keys(found: Union[DiskObservation, Layer], places: Places) -> list[str]:
    """Return what identifies a file or device.

    That is its place on the array (over several mounts), its inode (over hard links), and what the device has in common
    with others on the same LUN (over paths and partitions, also of disks that cannot be saved).
    """
    stored = _stored(found.placed, places)
    place = "/".join(stored.key) if isinstance(stored, HostStorage) else ""
    return [key for key in (place, found.identity, *found.marks) if key]


def _users(uses: Mapping[str, Sequence[Use]], keys: Iterable[str]) -> list[Use]:
    return list(dict.fromkeys(use for key in keys for use in uses.get(key, ())))


def _users_in_words(uses: Iterable[Use]) -> str:
    return ", ".join(dict.fromkeys(f"guest {use.guest} ({'below ' if use.below else ''}{use.target})" for use in uses))
