# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is about to be overwritten or removed, and on whose behalf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union


@dataclass(frozen=True)
class FileTarget:
    """A file of a volume. ``label`` is its place in the words of ``KVM_VM_MAPPING``, ``host_path`` that on this host.

    ``locks``: whether its mount takes locks to the server; None when that is not known. ``fence``: the descriptor by
    which this process itself has the file locked for writing; that lock is no user's, and is kept.
    """

    label: str
    host_path: str
    locks: Optional[bool] = None
    fence: Optional[int] = None


@dataclass(frozen=True)
class LunTarget:
    """A LUN. ``device`` is its map or its single path on this host, None when this host does not see it.

    ``wwid`` is the one that the map must have, ``uuid`` the array's; one that does not exist any more has none.
    """

    label: str
    uuid: Optional[str]
    device: Optional[str]
    wwid: Optional[str] = None


Target = Union[FileTarget, LunTarget]


@dataclass(frozen=True)
class Claim:
    """On whose behalf something is overwritten: ``uuids`` are the guests that may have it as their disk while off.

    ``verb`` completes "Refused to ... the disk". ``initiators`` are those of other hosts that were asked and do not use
    the object, ``unused_elsewhere``: a person said that no other host does. ``still_run``: the guests may be running
    yet, since this is only a plan; then their own locks and processes are no users. ``holders_go``: what this host
    built on the LUN by itself (partitions, logical volumes) is taken down with it, unless it is in use.
    """

    uuids: frozenset[str]
    verb: str = "overwrite"
    initiators: tuple[str, ...] = ()
    unused_elsewhere: bool = False
    still_run: bool = False
    holders_go: bool = False
