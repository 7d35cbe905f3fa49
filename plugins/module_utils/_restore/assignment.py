# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host of a play restores which guest, and which one gets a guest under a new name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._guest_words import called


@dataclass(frozen=True)
class DefinedGuest:
    """A guest that a host defines; ``state`` is None where it is unknown."""

    name: str
    uuid: str
    state: Optional[str] = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> DefinedGuest:
        """Read one of the ``guests`` that ``kvm_vm_discover`` returns."""
        return cls(str(record["name"]), str(record["uuid"]), record.get("state"))


Defined = Mapping[str, Sequence[DefinedGuest]]
"""The guests that each host of a play defines."""


def defined_by(hosts: Mapping[str, Iterable[Mapping[str, Any]]]) -> Defined:
    """Read the guests that discoveries returned, by host."""
    return {host: tuple(map(DefinedGuest.from_record, guests)) for host, guests in hosts.items()}


def assign_into(wanted: Sequence[str], defined: Defined, into: str) -> dict[str, list[str]]:
    """Return host -> the one wanted guest, as it was asked for, for the host that has guest ``into`` (a uuid).

    Arguments and errors are those of :func:`assign`.
    """
    if len(wanted) != 1:
        raise InputError(
            f"Refused to restore {', '.join(wanted) or 'nothing'} into guest {into} (kvm_restore_into_uuid), which is"
            " for one guest. Nothing was touched",
            guests=list(wanted),
        )
    try:
        shares = assign([into.strip().lower()], defined)
    except InputError as exc:
        raise InputError(
            f"Refused to restore {wanted[0]} into guest {into} (kvm_restore_into_uuid): {exc.message}", guests=[into]
        ) from exc
    return {host: list(wanted) if mine else [] for host, mine in shares.items()}


def assign(wanted: Iterable[str], defined: Defined, home: str = "") -> dict[str, list[str]]:
    """Return host -> the uuids of the wanted guests that it is to restore, in the order asked for, each once.

    A uuid leaves no doubt: the name may have been another guest's at the time of the backup.

    ``wanted`` are names or uuids. A uuid that several hosts define is one guest, and that of the host where it is not
    off. ``home`` is the host that gets the
    guests which none defines, as they were asked for. Raises :class:`InputError` naming the hosts when a guest is
    defined on several and not active on just one of them, on none without a ``home``, or on another host than that.
    """
    if home and home not in defined:
        raise InputError(
            f"Refused to restore, nothing was touched: {home}, which is to have the guests, is none of"
            f" {', '.join(defined)}"
        )
    shares: dict[str, list[str]] = {host: [] for host in defined}
    faults = []
    seen: set[tuple[str, str]] = set()
    everyone = [guest for guests in defined.values() for guest in guests]
    for name in wanted:
        found = [
            (host, guest.uuid, guest.state)
            for host, guests in defined.items()
            for guest in called(name, guests, everyone)
        ]
        one_guest = len({uuid for _host, uuid, _state in found}) == 1
        active = [(host, uuid) for host, uuid, state in found if state != "shutoff"]
        owners = active if one_guest and len(active) == 1 else [(host, uuid) for host, uuid, _state in found]
        if not owners and home:
            shares[home] += [] if name in shares[home] else [name]
        elif not owners:
            faults.append(
                f"guest {name} is defined on none of {', '.join(defined)}; if it was deleted, name the host that is to"
                " have it (kvm_restore_host); if it was defined anew under another uuid, name that"
                " (kvm_restore_into_uuid)"
            )
        elif len(owners) > 1:
            where = f"is defined on {', '.join(host for host, _uuid in owners)}"
            if one_guest and active:
                where += f" and not off on {', '.join(host for host, _uuid in active)}"
            advice = "undefine it where it does not belong" if one_guest else "give its uuid"
            faults.append(f"guest {name} {where}; {advice}")
        elif home and owners[0][0] != home:
            faults.append(
                f"guest {name} is defined on {owners[0][0]}, and {home} is to have it; undefine it there first, or"
                f" restore it there"
            )
        elif owners[0] not in seen:
            seen.add(owners[0])
            shares[owners[0][0]].append(owners[0][1])
    if faults:
        raise InputError(f"Refused to restore, nothing was touched: {'; '.join(faults)}", guests=faults)
    return shares


def host_of_copy(wanted: Sequence[str], defined: Defined, named: str) -> str:
    """Return the host that defines the wanted guest, else the one that is named, else the only one there is.

    ``wanted`` are names or uuids, exactly one. Raises :class:`InputError` when the hosts do not tell.
    """
    if len(wanted) != 1:
        raise InputError(
            f"Refused to restore {', '.join(wanted) or 'nothing'} to a new name: one guest at a time. Nothing was"
            " touched",
            guests=list(wanted),
        )
    guest = wanted[0]
    if named and named not in defined:
        raise InputError(
            f"Refused to restore guest {guest} on {named}, which is none of the play's hosts ({', '.join(defined)}).",
            guest=guest,
        )
    everyone = [each for known in defined.values() for each in known]
    owners = [host for host, known in defined.items() if called(guest, known, everyone)]
    if len(owners) == 1:
        return owners[0]
    if named and (named in owners or not owners):
        return named
    if not owners and len(defined) == 1:
        return next(iter(defined))
    where = f"is defined on {', '.join(owners)}" if owners else f"is defined on none of {', '.join(defined)}"
    raise InputError(
        f"Refused to restore guest {guest} to a new name: it {where}. Name the host that gets it (kvm_restore_host)."
        " Nothing was touched",
        guest=guest,
    )
