# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done with each guest of a hold, in which order, and whose time is over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import (
    APPLICATION,
    CRASH,
    FILESYSTEM,
    INCONSISTENT,
    OFFLINE,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import Asked, HoldStep, Method, Observation
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import Row
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.agent_answers import few
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DomainState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import coverage


def decide(
    asked: Asked, seen: Observation, disks: Optional[Sequence[str]] = None, filesystems: Optional[Sequence[str]] = None
) -> HoldStep:
    """Decide how a guest is held; pure. What cannot be had is an ``error``, what is not had by default a ``reason``."""
    if not seen.state.active:
        return _inactive(seen.state)
    unsafe = [target for target in seen.definition.unsafe_cache if disks is None or target in disks]
    step = _active(asked, seen, disks, filesystems)
    if unsafe:
        why = f"disk {', '.join(unsafe)} has cache='unsafe', which ignores the guest's flushes"
        return replace(step, consistency=INCONSISTENT, reason="; ".join(filter(None, (step.reason, why))))
    return step


def _inactive(state: DomainState) -> HoldStep:
    if (state.state, state.reason) == ("shutoff", "shutdown"):
        return HoldStep("none", OFFLINE, "shut off")
    why = "libvirt does not know how" if state.reason == "unknown" else state.reason
    return HoldStep("none", CRASH, f"off, but not known to be cleanly shut down ({why})")


def _active(
    asked: Asked, seen: Observation, disks: Optional[Sequence[str]], filesystems: Optional[Sequence[str]]
) -> HoldStep:
    if asked == "none":
        return HoldStep("none", CRASH, "not to be held")
    if seen.holder is not None:
        return HoldStep("none", CRASH, *taken_by(seen.holder))
    if seen.state.state != "running":
        reason = f"it was {seen.state.state} ({seen.state.reason}) before and is left as it is"
        insists = asked in ("agent", "agent+suspend")
        return HoldStep("none", CRASH, reason, error=f"{reason}, so it cannot be frozen" if insists else None)
    if asked == "suspend":
        return HoldStep("suspend", CRASH, "suspended as asked")
    return _by_agent(asked, seen, disks, filesystems)


def taken_by(holder: str) -> tuple[str, str]:
    """Return why a guest of another hold is not held, and what to do about it."""
    reason = f"it is held by another hold, {holder}"
    release = f"kvm_vm_quiesce state=resumed hold_id={holder}, or playbooks/recover.yml"
    return reason, f"{reason}; wait for the end of that backup, or release the hold when its run is dead ({release})"


def _by_agent(
    asked: Asked, seen: Observation, disks: Optional[Sequence[str]], filesystems: Optional[Sequence[str]]
) -> HoldStep:
    insists = asked in ("agent", "agent+suspend")
    if seen.agent != "connected":
        why = "it has no guest agent" if seen.agent == "none" else "no agent is connected to its agent channel"
        if insists:
            return HoldStep("none", CRASH, why, error=f"{why}, so it cannot be frozen")
        if seen.definition.passthrough:
            devices = ", ".join(seen.definition.passthrough)
            return HoldStep(
                "none",
                CRASH,
                f"{why}, and with devices of the host passed through ({devices}) it is only"
                " suspended when that is asked for",
            )
        return HoldStep("suspend", CRASH, f"suspended: {why}")
    if seen.agent_error is not None:
        return HoldStep("none", CRASH, seen.agent_error, error=seen.agent_error)
    if seen.status == "frozen":
        reason = "someone else froze it before; it is left as it is"
        return HoldStep("none", CRASH, reason, error=reason if insists else None)
    return _covered("agent+suspend" if asked == "agent+suspend" else "agent", seen, disks, filesystems)


def _covered(
    method: Method, seen: Observation, disks: Optional[Sequence[str]], filesystems: Optional[Sequence[str]]
) -> HoldStep:
    """Return what a freeze by the agent gives, by what it covers of the guest."""
    level = APPLICATION if seen.vss else FILESYSTEM
    if seen.mounts is None:
        return HoldStep(method, level)
    unknown = set(filesystems or ()) - {each.mountpoint for each in seen.mounts}
    if unknown:
        why = f"nothing is mounted at {', '.join(sorted(unknown))}, which was to be frozen"
        return HoldStep("none", CRASH, why, error=why)
    targets = [disk.target for disk in seen.definition.disks if not (disk.removable or disk.readonly)]
    saved = targets if disks is None else disks
    found = coverage(seen.mounts, saved=saved, chosen=filesystems)
    if found.missed:
        return HoldStep(method, CRASH, "; ".join(few(found.missed)), expected=found.devices)
    return HoldStep(method, level, expected=found.devices or None)


def due(rows: Iterable[Row], now: float) -> list[Row]:
    """Return the held guests whose own time is over before the hold's; pure."""
    return [
        row
        for row in rows
        if row.limit is not None
        and row.phase == "held"
        and row.freeze_answered is not None
        and now >= row.freeze_answered + row.limit
    ]


def phases(rows: Iterable[Row]) -> list[list[Row]]:
    """Return who is held together, one phase after the other; pure.

    Groups keep their order. Within one, guests that must not be held for long (VSS) or are held in no time (suspended)
    come when the others are held.
    """
    found: dict[tuple[int, bool], list[Row]] = {}
    for row in rows:
        late = row.limit is not None or not row.by_agent
        found.setdefault((row.order, late), []).append(row)
    return [sorted(found[key], key=lambda row: not row.by_agent) for key in sorted(found)]
