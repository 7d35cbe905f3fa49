# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the other hosts of a play say about their guests, and whose initiators are no news then. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import copy_mark_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.interfaces import Interface, interfaces_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import listed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Place
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

_DRIVE = re.compile(r"/dev/(sr|fd)\d+")


@dataclass(frozen=True)
class OtherUse:
    """A disk of a guest of another host.

    ``place`` is where it lies, None when that host could not tell; ``device``: it is, or may be, a device, and no file.
    ``below``: it is no disk of its own but a file below one, which is worthless once that file has other bytes.
    """

    host: str
    guest: str
    uuid: str
    state: str
    target: str
    place: Optional[Place]
    device: bool
    below: bool = False

    @classmethod
    def from_record(cls, host: str, guest: Mapping[str, Any], disk: Mapping[str, Any]) -> OtherUse:
        """Read a disk of a guest as ``kvm_vm_discover`` returns both; raises KeyError and TypeError."""
        return cls(
            host=host,
            guest=str(guest["name"]),
            uuid=str(guest["uuid"]).lower(),
            state=str(guest["state"]),
            target=str(disk["target"]),
            place=place_in(disk["storage"]) if disk["storage"] else None,
            device=_is_device(disk),
        )

    @property
    def off(self) -> bool:
        """Whether its guest is off; of one that libvirt could not tell about nobody knows."""
        return self.state == "shutoff"

    def __str__(self) -> str:
        return f"guest {self.guest} ({'below ' if self.below else ''}{self.target}) of host {self.host}, {self.state}"


@dataclass(frozen=True)
class OtherGuest:
    """A guest of this host (``host`` is None) or of another one; ``copy``: it carries the mark of a copy of ours."""

    host: Optional[str]
    name: str
    uuid: str
    state: str
    interfaces: tuple[Interface, ...]
    copy: bool

    @classmethod
    def from_record(cls, host: str, record: Mapping[str, Any]) -> OtherGuest:
        """Read a guest as ``kvm_vm_discover`` returns it, interfaces and mark only if it has them."""
        return cls(
            host=host,
            name=str(record["name"]),
            uuid=str(record["uuid"]).lower(),
            state=str(record["state"]),
            interfaces=tuple(Interface.from_record(each) for each in record.get("interfaces") or ()),
            copy=bool(record.get("copy")),
        )

    @classmethod
    def of_this_host(cls, guest: Guest) -> OtherGuest:
        """Return a guest that was found on this host."""
        return cls(
            host=None,
            name=guest.name,
            uuid=guest.uuid.lower(),
            state=guest.state.state,
            interfaces=tuple(interfaces_of(guest.xml)),
            copy=copy_mark_of(guest.xml) is not None,
        )

    def __str__(self) -> str:
        return f"guest {self.name} ({self.uuid}) of {f'host {self.host}' if self.host else 'this host'}, {self.state}"


@dataclass(frozen=True)
class OtherHosts:
    """What a restore knows of the other hosts of its play.

    ``active`` maps each to the uuids of the guests active there; None is a host that could not be asked, which counts
    as off when ``off`` names it. ``uses`` and ``guests`` are what those tell that were asked; ``unused_elsewhere``: a
    person says that guests there that are off stay off. ``known_initiators``: see :func:`known_initiators`.
    """

    active: Mapping[str, Optional[tuple[str, ...]]] = field(default_factory=dict)
    off: tuple[str, ...] = ()
    uses: tuple[OtherUse, ...] = ()
    guests: tuple[OtherGuest, ...] = ()
    unused_elsewhere: bool = False
    known_initiators: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> OtherHosts:
        """Read the options of ``kvm_app_restore`` about other hosts; raises :class:`InputError`."""
        said = options["other_hosts_guests"] or {}
        uses = uses_of(said)
        return cls(
            active={host: _uuids(active) for host, active in (options["other_hosts"] or {}).items()},
            off=tuple(listed(options["hosts_off"])),
            uses=uses,
            guests=guests_of(said),
            unused_elsewhere=options["disks_unused_elsewhere"],
            known_initiators=tuple(known_initiators(options["other_hosts_initiators"] or {}, uses)),
        )


def place_in(storage: Mapping[str, Any]) -> Place:
    """Return what tells a file or LUN apart from all others, out of a ``storage``; raises KeyError and TypeError."""
    return str(storage["svm_uuid"]), str(storage["volume_uuid"]), str(storage["path"])


def uses_of(said: Mapping[str, Any]) -> tuple[OtherUse, ...]:
    """Return the disks of the guests of the other hosts; ``said`` is the option ``other_hosts_guests``.

    Raises :class:`InputError` when it does not hold guests.
    """
    found: list[OtherUse] = []
    for host, guests in said.items():
        with _readable(host):
            for guest in guests or ():
                for disk in guest["disks"]:
                    own = OtherUse.from_record(host, guest, disk)
                    below = map(place_in, disk.get("backing_storage") or ())
                    found += [own, *(replace(own, place=place, device=False, below=True) for place in below)]
    return tuple(found)


def guests_of(said: Mapping[str, Any]) -> tuple[OtherGuest, ...]:
    """Return the guests of the other hosts (option ``other_hosts_guests``); raises :class:`InputError`."""
    found: list[OtherGuest] = []
    for host, guests in said.items():
        with _readable(host):
            found += [OtherGuest.from_record(host, guest) for guest in guests or ()]
    return tuple(found)


def known_initiators(initiators: Mapping[str, Sequence[str]], uses: Sequence[OtherUse]) -> list[str]:
    """Return the initiators of the hosts that reported the LUN of each device of their guests.

    A guest whose device could not be placed may use any LUN that its host sees, so the host counts as not asked.
    """
    unsure = {use.host for use in uses if use.device and use.place is None}
    return [name for host, names in initiators.items() if host not in unsure for name in names or ()]


@contextmanager
def _readable(host: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError) as exc:
        message = f"Failed to read other_hosts_guests: {host} does not have a list of guests ({why_unreadable(exc)})"
        raise InputError(message, option="other_hosts_guests") from exc


def _uuids(active: Any) -> Optional[tuple[str, ...]]:
    return tuple(str(each).lower() for each in active) if isinstance(active, list) else None


def _is_device(disk: Mapping[str, Any]) -> bool:
    where = str(disk["path"] or disk["source"] or "")
    if disk.get("device") in ("cdrom", "floppy") and _DRIVE.fullmatch(where):
        return False
    if disk["type"] == "volume":
        return not where.startswith("/") or where.startswith("/dev/")
    return disk["type"] == "hostdev" or (disk["type"] == "block" and bool(where))
