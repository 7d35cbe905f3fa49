# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which consistency a guest's backup has, decided from the hold, the snapshots and what other hosts said.

All times are seconds on the KVM host's monotonic clock. The array's own times are never part of the proof: they have
one-second grain and a clock of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional

OFFLINE = "offline"
APPLICATION = "application-consistent"
FILESYSTEM = "filesystem-consistent"
CRASH = "crash-consistent"
INCONSISTENT = "inconsistent"
UNKNOWN = "unknown"

STRONGEST_FIRST = (OFFLINE, APPLICATION, FILESYSTEM, CRASH, INCONSISTENT, UNKNOWN)


@dataclass(frozen=True)
class Hold:
    """What ``kvm_vm_quiesce`` says of one guest; times are monotonic seconds or None.

    ``fired``: it was held until the dead-man timer ended the hold, at ``thaw_sent``. ``locked``: another process worked
    on it, and it had no part in the hold.
    """

    name: str
    uuid: str
    method: str
    held: bool
    fired: bool
    consistency: str
    reason: str
    freeze_sent: Optional[float]
    freeze_answered: Optional[float]
    thaw_sent: Optional[float]
    thaw_answered: Optional[float]
    held_seconds: Optional[float]
    wall_frozen: Optional[str]
    wall_thawed: Optional[str]
    locked: bool = False

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Hold:
        """Read one entry of the ``guests`` that ``kvm_vm_quiesce`` returns."""
        return cls(
            name=str(record["name"]),
            uuid=str(record["uuid"]),
            method=str(record.get("method") or "none"),
            held=bool(record.get("held")),
            fired=bool(record.get("fired")),
            consistency=str(record.get("consistency") or UNKNOWN),
            reason=str(record.get("reason") or ""),
            freeze_sent=_seconds(record.get("freeze_sent")),
            freeze_answered=_seconds(record.get("freeze_answered")),
            thaw_sent=_seconds(record.get("thaw_sent")),
            thaw_answered=_seconds(record.get("thaw_answered")),
            held_seconds=_seconds(record.get("held_seconds")),
            wall_frozen=record.get("wall_frozen") or None,
            wall_thawed=record.get("wall_thawed") or None,
            locked=bool(record.get("locked")),
        )


@dataclass(frozen=True)
class Stamp:
    """When one volume's snapshot was asked for and known to exist; monotonic seconds or None."""

    volume: str
    requested_at: Optional[float]
    confirmed_at: Optional[float]


@dataclass(frozen=True)
class Reached:
    """The consistency that one guest's backup reached, and why it is not stronger; ``asked`` was to be reached."""

    level: str
    method: str
    reason: str
    asked: Optional[str] = None
    held_seconds: Optional[float] = None
    freeze_sent: Optional[float] = None
    freeze_answered: Optional[float] = None
    thaw_sent: Optional[float] = None
    thaw_answered: Optional[float] = None
    wall_frozen: Optional[str] = None
    wall_thawed: Optional[str] = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Reached:
        """Read the ``consistency`` of a guest in a manifest."""
        return cls(**{key: record.get(key) for key in cls.__dataclass_fields__})  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for manifests and results."""
        return asdict(self)


def at_least(level: str, floor: str) -> bool:
    """Say whether ``level`` is as strong as ``floor`` or stronger; an unheard-of word is the weakest."""
    order = {word: rank for rank, word in enumerate(STRONGEST_FIRST)}
    return order.get(level, len(order)) <= order.get(floor, len(order))


def reached(hold: Hold | None, stamps: Iterable[Stamp], active_on: Sequence[str] = ()) -> Reached:
    """Decide a guest's level from its hold and the stamps of the volumes its disks lie on.

    ``active_on`` are the other hosts where the guest is active: that it is off here says nothing of its disks then.

    A hold counts only when every snapshot was asked for after the freeze had answered and was known to exist before
    the thaw was sent. Outside a hold one volume is crash-consistent by the array's own atomicity; several are not. Of a
    guest that the dead-man timer let go before the last of its snapshots existed nothing is claimed.
    """
    asked = list(stamps)
    if hold is None:
        return Reached(level=_unheld(asked), method="none", reason="the guest was not part of the hold")
    if not hold.held and not hold.fired:
        level, reason = hold.consistency, hold.reason
        if level == OFFLINE and active_on:
            level, reason = CRASH, f"off here, and active on {', '.join(active_on)}"
        if level == CRASH and len(asked) > 1:
            level = INCONSISTENT
            reason = _joined(reason, f"its {len(asked)} volumes were snapshotted one by one without a hold")
        return _of(hold, level, reason)
    outside = [stamp.volume for stamp in asked if not spans(hold, stamp)]
    if outside:
        level = INCONSISTENT if hold.fired else _unheld(asked)
        return _of(hold, level, _joined(hold.reason, f"the hold did not span the snapshot of {', '.join(outside)}"))
    if hold.method == "agent" and hold.consistency == CRASH:
        # The freeze did not cover all of the guest, so its disks went on being written to, one by one.
        return _of(hold, _unheld(asked), hold.reason)
    return _of(hold, hold.consistency, hold.reason)


def spans(hold: Hold, stamp: Stamp) -> bool:
    """Say whether a hold proves itself to have lasted from before the snapshot was asked for until it existed."""
    if hold.freeze_answered is None or stamp.requested_at is None or stamp.confirmed_at is None:
        return False
    if hold.thaw_sent is None:
        return False
    return hold.freeze_answered <= stamp.requested_at and stamp.confirmed_at <= hold.thaw_sent


def _unheld(stamps: list[Stamp]) -> str:
    return CRASH if len(stamps) <= 1 else INCONSISTENT


def _of(hold: Hold, level: str, reason: str) -> Reached:
    return Reached(
        level=level,
        method=hold.method,
        reason=reason,
        held_seconds=hold.held_seconds,
        freeze_sent=hold.freeze_sent,
        freeze_answered=hold.freeze_answered,
        thaw_sent=hold.thaw_sent,
        thaw_answered=hold.thaw_answered,
        wall_frozen=hold.wall_frozen,
        wall_thawed=hold.wall_thawed,
    )


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _seconds(value: Any) -> Optional[float]:
    return None if value is None else float(value)
