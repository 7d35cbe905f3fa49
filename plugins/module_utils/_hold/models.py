# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hold speaks of: who is wanted, what was seen of a guest, what is to be done with it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional, Protocol, Union, get_args

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import Row
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.agent_answers import FreezeStatus
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DomainState, Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem, is_windows
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import AgentState, GuestXml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import BOOT_ID, Process
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import MOST_WORKERS
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

DEADLINE = 30.0
"""Seconds that a hold may last: what guests and their applications are expected to bear."""

Asked = Literal["auto", "agent", "suspend", "agent+suspend", "none"]

METHODS = get_args(Asked)
"""What may be asked for."""

Method = Literal["agent", "suspend", "agent+suspend", "none"]

VSS_DEADLINE = 8.0
"""Seconds that a Windows guest, or one whose system is not known, is held: VSS thaws by itself after ten."""

GONE = "libvirt does not know it any more"

UNSEEN = "it cannot be looked at"


class HoldError(KvmsnapError):
    """Guests could not be held, or not be released; ``guests`` tells of each."""


class RecordLeftError(KvmsnapError):
    """All guests of a hold are free, and ``rows`` tells of them; its record or its timer could not be removed."""

    def __init__(self, message: str, rows: Sequence[Row]) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class TakenError(HoldError):
    """Guests could not be held since another hold has them; nothing was held."""


class Guard(Protocol):
    """Who watches over a hold that its process may not live to end; armed before the first guest is held."""

    def arm(self, record: Path) -> None:
        """Begin to watch over the hold with this record; when it raises, nothing is held."""

    def disarm(self, record: Path) -> None:
        """End the watch, if there is one: no guest of the hold is held any more."""


class NoGuard:
    """Nobody watches."""

    def arm(self, record: Path) -> None:
        """Begin nothing."""

    def disarm(self, record: Path) -> None:
        """End nothing."""


@dataclass(frozen=True)
class HoldRequest:
    """A guest to hold; ``disks`` are the targets that the backup holds, None for all.

    ``filesystems`` are the mount points to freeze, None for all. Guests of a lower ``order`` are held first and
    released last.
    """

    name: str
    uuid: str
    asked: Asked
    disks: Optional[tuple[str, ...]] = None
    filesystems: Optional[tuple[str, ...]] = None
    order: int = 0

    @classmethod
    def from_option(cls, option: Mapping[str, Any]) -> HoldRequest:
        """Read one entry of the ``guests`` option; raises :class:`InputError`."""
        name, uuid = str(option.get("name") or "").strip(), str(option.get("uuid") or "").strip().lower()
        if not name and not uuid:
            raise InputError("A guest to hold needs a uuid or a name")
        disks, chosen = option.get("disks"), option.get("filesystems")
        return cls(
            name,
            uuid,
            option.get("method") or "auto",
            disks=None if disks is None else tuple(disks),
            filesystems=tuple(chosen) if chosen else None,
            order=option.get("order") or 0,
        )

    @property
    def label(self) -> str:
        """How to call it."""
        return self.name or self.uuid

    def as_option(self, *, ordered: bool) -> dict[str, Any]:
        """Return an entry of the ``guests`` option; ``ordered``: with the place in the order."""
        option: dict[str, Any] = {"uuid": self.uuid, "name": self.name, "method": self.asked}
        if self.disks is not None:
            option["disks"] = list(self.disks)
        if self.filesystems is not None:
            option["filesystems"] = list(self.filesystems)
        return {**option, "order": self.order} if ordered else option


@dataclass(frozen=True)
class Observation:
    """What a guest was like just before the hold, and its QEMU ``process`` when it was found.

    ``holder`` is another hold that has not released it.
    """

    name: str
    uuid: str
    state: DomainState
    definition: GuestXml
    agent: AgentState = "none"
    status: Optional[FreezeStatus] = None
    agent_error: Optional[str] = None
    holder: Optional[str] = None
    mounts: Optional[tuple[FileSystem, ...]] = None

    @property
    def vss(self) -> Optional[bool]:
        """Whether it is a Windows guest, which thaws by itself; None when nothing tells."""
        if self.definition.os != "unknown":
            return self.definition.os == "windows"
        return is_windows(self.mounts or ())

    process: Optional[Process] = None


@dataclass(frozen=True)
class Unseen:
    """A guest that could not be looked at, and why; the others can."""

    error: str


Found = Union[Observation, Unseen, None]


@dataclass(frozen=True)
class HoldStep:
    """What is to be done with a guest, what that gives, and why it is not more; ``error``: what was asked cannot be.

    ``expected``: how many file systems the agent should freeze, None when that is not known.
    """

    method: Method
    consistency: str
    reason: str = ""
    error: Optional[str] = None
    expected: Optional[int] = None


@dataclass(frozen=True)
class HoldSettings:
    """Where and how a hold is made; times are in seconds. ``hold_deadline`` bounds the hold from its beginning on.

    ``vss_deadline`` bounds that of a guest which may thaw by itself, from the answer of its freeze on. ``at_once`` is
    how many guests libvirt works on at a time.
    """

    directory: Path
    connect: Callable[[], Host]
    retry_count: int = 3
    freeze_timeout: int = 20
    ping_timeout: int = 5
    hold_deadline: float = DEADLINE
    vss_deadline: float = VSS_DEADLINE
    at_once: int = MOST_WORKERS
    boot: str = BOOT_ID
    guard: Guard = field(default_factory=NoGuard)
    clock: Clock = field(default_factory=Clock)
    """How time passes between two tries. Moments of the record are those of this boot, whatever clock this is."""


def not_held(broken: Sequence[Row], rows: Sequence[Row], fate: str, kind: type[HoldError] = HoldError) -> HoldError:
    said = "; ".join(f"{row.name}: {row.error}" for row in broken)
    return kind(f"Failed to hold {names_of(broken)}, {fate}: {said}", guests=[row.as_dict() for row in rows])


def names_of(rows: Sequence[Row]) -> str:
    return f"guest{'s' if len(rows) > 1 else ''} {', '.join(row.name for row in rows)}"
