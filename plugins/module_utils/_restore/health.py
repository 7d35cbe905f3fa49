# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the guests that a restore brought back are healthy: looked at once all disks are written, all at a time.

Nothing is overwritten or put back here: a guest that is not healthy runs on its restored disks, and people decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import UNDO, GuestProgress, Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health import AGENT, COMMAND, RUNNING, Condition
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health_watch import Health, wait_healthy
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.execute import GuestResult
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import RestorePlan, refuse

Reach = Callable[[], Host]


class RestoreUnhealthyError(KvmsnapError):
    """All guests were brought back, and some did not become healthy; ``guests`` tells of each."""


def foreseen(condition: Condition, plan: RestorePlan, reach: Reach) -> None:
    """Raise :class:`RestoreRefusedError` when guests of the plan that are to run can never show their health."""
    wanted = [guest for guest in plan.guests if guest.state_after == "running"]
    if condition.kind not in (AGENT, COMMAND) or not wanted:
        return
    with closing(reach()) as host:
        faults = [
            problem_of(
                "health-impossible",
                f"guest {guest.name}: to see that {condition.text} it needs an agent channel, and has none",
                guest=guest.name,
            )
            for guest in wanted
            for domain in [host.domain(uuid=guest.uuid)]
            if domain is not None and parse_guest(domain.xml(inactive=True)).agent == "none"
        ]
    refuse(plan.backup_id, faults)


def looked_at(
    condition: Condition,
    record: Journal,
    results: Sequence[GuestResult],
    names: Mapping[str, str],
    *,
    power: str,
    reach: Reach,
    forgotten: Collection[str] = (),
) -> list[GuestResult]:
    """Return the results with the health of the guests that are to run.

    ``names`` are the guests by uuid that were asked for, ``power`` says what they are to be afterwards, and ``reach``
    opens a connection to libvirt; ``forgotten`` are the uuids of those that an undo undefined,
    which have none. Those that an earlier run of this restore brought back are
    looked at again when more is asked than that they run.
    """
    known = {each.uuid for each in results}
    again = (
        []
        if condition.kind == RUNNING
        else [uuid for uuid in names if uuid not in {*known, *forgotten} and record.done(uuid)]
    )
    results = [*results, *(_of_before(names[uuid], uuid, record, reach) for uuid in again)]
    here = [each for each in results if each.uuid not in forgotten]
    wanted = [each for each in here if each.error is None and _is_to_run(power, each)]
    found = {each.uuid: _at_once(each, condition) for each in wanted}
    open_ones = [uuid for uuid, health in found.items() if health is None]
    if open_ones:
        with ThreadPoolExecutor(min(at_once(), len(open_ones))) as pool:
            look = partial(wait_healthy, condition=condition, connect=reach)
            found.update(zip(open_ones, pool.map(look, open_ones)))
    return [_with_health(each, found.get(each.uuid)) for each in results]


def refuse_unhealthy(record: Journal, result: dict[str, Any], results: Sequence[GuestResult]) -> None:
    """Raise :class:`RestoreUnhealthyError` when a guest was brought back and is not healthy."""
    said = unhealthy(record, results)
    if said:
        raise RestoreUnhealthyError(
            f"Restore {record.restore_id} from backup {record.backup_id} brought back its guests, but {said}",
            restore_id=record.restore_id,
            backup_id=record.backup_id,
            changed=result["changed"],
            guests=result["guests"],
            summary=result["summary"],
        )


def unhealthy(record: Journal, results: Sequence[GuestResult]) -> str:
    """Return the sentences about guests that are not healthy, with what to do; nothing when there is none. Pure."""
    sick = [each for each in results if each.healthy is False and each.health]
    if not sick:
        return ""
    said = "; ".join(
        f"{each.name} is not healthy {each.health['seconds']:g} s later, {each.health['seen']} (wanted:"
        f" {each.health['wanted']})"
        for each in sick
        if each.health
    )
    return (
        f"{said}. What is not healthy is left as it is, on its restored disks. {_remedy(record, sick)}. Run again with"
        f" restore_id {record.restore_id} to look again, which restores nothing"
    )


def lines(result: GuestResult) -> list[str]:
    """Return what the summary says of a guest's health. Pure."""
    if result.healthy is None or result.health is None:
        return []
    word = "healthy" if result.healthy else "not healthy"
    return [f"    {word}: {result.health['seen']} ({result.health['seconds']:g} s, wanted: {result.health['wanted']})"]


def _remedy(record: Journal, sick: Sequence[GuestResult]) -> str:
    kept = sorted({each.safety for each in sick if each.safety})
    if not kept:
        return "There is no safety snapshot to undo it by"
    if record.restore_id.endswith(UNDO):
        return f"This was an undo; safety snapshot {', '.join(kept)} holds what was there before it"
    names = ", ".join(each.name for each in sick if each.safety)
    return f"To undo it, restore {names} with restore_id {record.restore_id} and state=undone"


def _of_before(name: str, uuid: str, record: Journal, reach: Callable[[], Host]) -> GuestResult:
    """Return the result of a guest that an earlier run brought back."""
    with closing(reach()) as host:
        domain = host.domain(uuid=uuid)
        state = domain.state().state if domain else "unknown"
    progress = record.guests.get(uuid) or GuestProgress("unknown")
    safety = record.safety_of(uuid)
    return GuestResult(
        name=name,
        uuid=uuid,
        restored=False,
        state_before=progress.state_before,
        state_after=state,
        disks=(),
        seconds=0.0,
        safety=safety.name if safety else None,
        files=tuple(each.path for each in progress.files),
    )


def _is_to_run(power: str, result: GuestResult) -> bool:
    """Tell whether a guest was to run afterwards; one that was paused before cannot show how it is."""
    return power == "running" or (power == "as_was" and result.state_before == "running")


def _at_once(result: GuestResult, condition: Condition) -> Optional[Health]:
    """Return the health of a guest of which nothing but to run is asked, and which was just seen to."""
    if condition.kind == RUNNING and result.state_after == "running":
        return Health(True, condition.kind, condition.text, "it runs", 0.0)
    return None


def _with_health(result: GuestResult, health: Optional[Health]) -> GuestResult:
    if health is None:
        return result
    found = {key: getattr(health, key) for key in ("condition", "wanted", "seen", "seconds")}
    return replace(result, healthy=health.healthy, health=found)
