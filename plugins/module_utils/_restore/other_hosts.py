# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the other hosts of a play say about the disks of their guests, and whose initiators are no news then. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

Place = tuple[str, str, str]

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


def place_in(storage: Mapping[str, Any]) -> Place:
    """Return what tells a file or LUN apart from all others, out of a ``storage``; raises KeyError and TypeError."""
    return str(storage["svm_uuid"]), str(storage["volume_uuid"]), str(storage["path"])


def uses_of(said: Mapping[str, Any]) -> tuple[OtherUse, ...]:
    """Return the disks of the guests of the other hosts; ``said`` is the option ``other_hosts_guests``.

    Raises :class:`InputError` when it does not hold guests.
    """
    found: list[OtherUse] = []
    for host, guests in said.items():
        try:
            for guest in guests or ():
                for disk in guest["disks"]:
                    own = OtherUse.from_record(host, guest, disk)
                    below = map(place_in, disk.get("backing_storage") or ())
                    found += [own, *(replace(own, place=place, device=False, below=True) for place in below)]
        except (KeyError, TypeError) as exc:
            message = f"Failed to read other_hosts_guests: {host} does not have a list of guests ({exc!r})"
            raise InputError(message, option="other_hosts_guests") from exc
    return tuple(found)


def known_initiators(initiators: Mapping[str, Sequence[str]], uses: Sequence[OtherUse]) -> list[str]:
    """Return the initiators of the hosts that told of each device of their guests which LUN it is.

    A guest whose device could not be placed may use any LUN that its host sees, so the host counts as not asked.
    """
    unsure = {use.host for use in uses if use.device and use.place is None}
    return [name for host, names in initiators.items() if host not in unsure for name in names or ()]


def _is_device(disk: Mapping[str, Any]) -> bool:
    where = str(disk["path"] or disk["source"] or "")
    if disk.get("device") in ("cdrom", "floppy") and _DRIVE.fullmatch(where):
        return False
    if disk["type"] == "volume":
        return not where.startswith("/") or where.startswith("/dev/")
    return disk["type"] == "hostdev" or (disk["type"] == "block" and bool(where))
