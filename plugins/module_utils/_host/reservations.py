# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a persistent reservation (SPC-3) on a LUN: this host, or another one, which may have a guest that writes.

The REST API of ONTAP does not tell of reservations, so the LUN itself is asked (PERSISTENT RESERVE IN), by
``mpathpersist`` or, where that does not serve, by ``sg_persist``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import DeviceError, Run, command
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import initiator_key

_KEY = re.compile(r"Key\s*=\s*(0x[0-9a-f]+)", re.IGNORECASE)
_TYPE = re.compile(r"type\s*[:=]\s*([A-Za-z][A-Za-z ,]*)")
_HOLDER = re.compile(r"<<\s*Reservation holder\s*>>", re.IGNORECASE)
_ISCSI = re.compile(r"\b(?:iqn\.[^\s,]+|(?:eui|naa)\.[0-9A-Fa-f]{16,32})")
_PORT = re.compile(r"(?<![0-9a-f])[0-9a-f]{2}(?:[ :][0-9a-f]{2}){7}(?![0-9a-f])", re.IGNORECASE)


@dataclass(frozen=True)
class Registrant:
    """Who has registered a key with a LUN; ``initiator`` is an iSCSI name or a WWPN, empty when unknown."""

    key: str
    initiator: str
    holder: bool


@dataclass(frozen=True)
class Held:
    """A reservation that is held; ``foreign``: by another host, or by an unknown one. ``text`` says so."""

    text: str
    foreign: bool


def reservation_on(device: str, own: Collection[str], *, run: Run = command) -> Optional[Held]:
    """Return the reservation on the LUN at ``device``, None when there is none or the LUN cannot be asked.

    ``own`` are the initiators of this host. A path must be up: this asks the array.
    """
    said = _ask("--read-reservation", device, run)
    key = reserved_by(said)
    if key is None:
        return None
    registered = registrants_of(_ask("--read-full-status", device, run))
    return holder_of(device, said, registered, own=own, own_key=_own_key(device, run))


def reserved_by(said: str) -> Optional[str]:
    """Return the key of the reservation in the answer to READ RESERVATION, None when there is none; pure."""
    found = _KEY.search(said)
    return _number(found.group(1)) if found else None


def registrants_of(said: str) -> tuple[Registrant, ...]:
    """Return who has registered, by the answer to READ FULL STATUS; pure."""
    keys = list(_KEY.finditer(said))
    ends = [*(found.start() for found in keys[1:]), len(said)]
    return tuple(
        Registrant(_number(found.group(1)), _initiator(part), bool(_HOLDER.search(part)))
        for found, end in zip(keys, ends)
        for part in [said[found.end() : end]]
    )


def holder_of(
    device: str, said: str, registered: Sequence[Registrant], *, own: Collection[str], own_key: Optional[str]
) -> Held:
    """Say whose a reservation is; pure. ``said`` is the answer to READ RESERVATION, ``own_key`` the key of this host.

    Of the kinds that let all registrants write, each registrant counts; of the others, the holder alone.
    """
    key, kind = reserved_by(said), _TYPE.search(said)
    what = f"a persistent reservation is held on {device} (key {key})"
    all_write = kind is not None and "registrants" in kind.group(1).lower()
    counting = [each for each in registered if all_write or each.holder]
    ours = {initiator_key(name) for name in own}
    if counting and all(each.initiator for each in counting):
        others = [each.initiator for each in counting if initiator_key(each.initiator) not in ours]
        if others:
            return Held(f"{what}, by other hosts: {', '.join(dict.fromkeys(others))}", foreign=True)
        return Held(f"{what}, by this host", foreign=False)
    if own_key is not None and own_key == key and not all_write:
        return Held(f"{what}, by this host", foreign=False)
    return Held(f"{what}, and the host that holds it is unknown", foreign=True)


def _ask(service: str, device: str, run: Run) -> str:
    """Return the answer of the first program that has one, nothing when none has."""
    for program in ("mpathpersist", "sg_persist"):
        try:
            return run([program, "--in", service, device]).decode("utf-8", "replace")
        except DeviceError:
            continue
    return ""


def _own_key(device: str, run: Run) -> Optional[str]:
    """Return the key under which this host's multipathd registers the map, None when it has none."""
    try:
        said = run(["multipathd", "getprkey", "map", os.path.basename(device)]).decode("ascii", "replace")
    except DeviceError:
        return None
    found = re.match(r"\s*(0x[0-9a-fA-F]+)", said)
    return _number(found.group(1)) if found else None


def _initiator(part: str) -> str:
    """Return the iSCSI name or the WWPN of a transport id; the latter is shown as a dump of its bytes."""
    name = _ISCSI.search(part)
    if name is not None:
        return name.group(0)
    port = _PORT.search(part)
    return re.sub(r"[ :]", "", port.group(0)).lower() if port else ""


def _number(key: str) -> str:
    return hex(int(key, 16))
