# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On which host of a play a guest is brought back beside the original. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.assignment import called


def host_beside(wanted: Sequence[str], defined: Mapping[str, Iterable[Mapping[str, Any]]], named: str) -> str:
    """Return the host that defines the wanted guest, else the one that is named, else the only one there is.

    ``wanted`` are names or uuids, exactly one; ``defined`` maps each host to its guests (``name``, ``uuid``). Raises
    :class:`InputError` when the hosts do not tell.
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
    owners = [host for host, known in defined.items() if called(guest, known, defined)]
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
