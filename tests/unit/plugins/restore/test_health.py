# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose health a restore looks at, and what it tells of it; guests are libvirt's test driver's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import pytest
from asked import restore_request
from virt import URI, Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    GuestProgress,
    Journal,
    Safety,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health_watch import Health
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import health as restore_health
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.execute import GuestResult
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    GuestRestore,
    RestorePlan,
    RestoreRefusedError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest

AGENT = {"condition": "agent", "timeout": 1}
NOBODY = {"condition": "tcp", "timeout": 1, "port": 1, "address": "127.0.0.1"}
SAFETY = "hv1-safety_20261122020000"


def asked(health: Optional[dict[str, Any]] = None, power: str = "as_was", uri: str = URI) -> RestoreRequest:
    return restore_request(Path("/nonexistent"), health=health, power=power, uri=uri)


def looked_at(
    request: RestoreRequest, record: Journal, results: Sequence[GuestResult], names: Mapping[str, str]
) -> list[GuestResult]:
    return restore_health.looked_at(request.condition, record, results, names, power=request.power, reach=request.reach)


def foreseen(request: RestoreRequest, plan_: RestorePlan) -> None:
    restore_health.foreseen(request.condition, plan_, request.reach)


def result(uuid: str, name: str = "web1", **changes: Any) -> GuestResult:
    usual = {
        "restored": True,
        "state_before": "running",
        "state_after": "running",
        "disks": (),
        "seconds": 1.0,
        "safety": SAFETY,
    }
    return GuestResult(name=name, uuid=uuid, **{**usual, **changes})


def journal(*uuids: str, restore_id: str = "r1", before: str = "running") -> Journal:
    done = {uuid: GuestProgress(before, written=True, done=True) for uuid in uuids}
    return Journal(restore_id, "backup", done, (Safety(SAFETY, uuids, ()),))


def test_a_guest_that_runs_is_healthy_without_asking_libvirt_again() -> None:
    (found,) = looked_at(asked(uri="none:///"), journal("u"), [result("u")], {"u": "web1"})
    assert found.healthy is True
    assert found.health == {"condition": "running", "wanted": "it runs", "seen": "it runs", "seconds": 0.0}


@pytest.mark.parametrize("state", ["shutoff", "paused", "crashed"])
def test_a_guest_that_was_to_run_and_does_not_is_asked_for_its_health(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    seen = Health(False, "running", "it runs", f"it is {state}", 1.0)
    monkeypatch.setattr(restore_health, "wait_healthy", lambda _uuid, **_how: seen)
    (found,) = looked_at(asked(), journal("u"), [result("u", state_after=state)], {"u": "web1"})
    assert (found.healthy, found.health and found.health["seen"]) == (False, f"it is {state}")


@pytest.mark.parametrize(
    ("changes", "power"),
    [
        ({"state_before": "shutoff", "state_after": "shutoff"}, "as_was"),
        ({"state_before": "paused", "state_after": "paused"}, "as_was"),
        ({"state_after": "shutoff"}, "off"),
        ({"error": "Failed to overwrite", "restored": False, "state_after": "shutoff"}, "running"),
    ],
)
def test_guests_that_stay_off_or_failed_are_not_looked_at(changes: dict[str, Any], power: str) -> None:
    request = asked(AGENT, power, uri="none:///")
    (found,) = looked_at(request, journal("u"), [result("u", **changes)], {"u": "web1"})
    assert (found.healthy, found.health) == (None, None)


def test_several_guests_are_looked_at_together(guests: Guests) -> None:
    uuids = [guests.add(f"g{number}") for number in range(3)]
    given = [result(uuid, f"g{number}") for number, uuid in enumerate(uuids)]
    found = looked_at(asked(NOBODY), journal(*uuids), given, {})
    assert [each.healthy for each in found] == [False] * 3
    assert all("accepted no connection" in str(each.health) for each in found)


def test_guests_of_an_earlier_run_are_looked_at_when_more_is_asked_than_that_they_run(guests: Guests) -> None:
    uuid = guests.add("web1")
    names = {uuid: "web1", "other": "not restored yet"}
    assert looked_at(asked(), journal(uuid), [], names) == []
    (found,) = looked_at(asked(AGENT), journal(uuid), [], names)
    assert (found.name, found.restored, found.state_after, found.safety) == ("web1", False, "running", SAFETY)
    assert (found.healthy, found.health and found.health["seen"]) == (
        False,
        "it has no agent channel; use condition running or tcp",
    )


def test_an_earlier_run_left_a_guest_off_that_was_off(guests: Guests) -> None:
    uuid = guests.add("web1", running=False)
    (found,) = looked_at(asked(AGENT), journal(uuid, before="shutoff"), [], {uuid: "web1"})
    assert (found.healthy, found.state_after) == (None, "shutoff")


def test_a_wrong_condition_is_refused() -> None:
    with pytest.raises(InputError):
        looked_at(asked({"condition": "tcp"}), journal(), [], {})


def plan(uuid: str, after: str = "running") -> RestorePlan:
    return RestorePlan("backup", "r1", (GuestRestore("web1", uuid, "shutoff", after, ()),))


def test_a_guest_without_agent_channel_is_refused_before_anything_is_touched(guests: Guests) -> None:
    uuid = guests.add("web1", running=False)
    for health in (AGENT, {"condition": "command", "command": ["/bin/true"]}):
        with pytest.raises(RestoreRefusedError, match="nothing was touched: guest web1: to see that") as caught:
            foreseen(asked(health), plan(uuid))
        assert [each["code"] for each in caught.value.fields["problems"]] == ["health-impossible"]
    for health in (None, NOBODY):
        foreseen(asked(health, uri="none:///"), plan(uuid))
    foreseen(asked(AGENT, uri="none:///"), plan(uuid, after="shutoff"))


def sick(uuid: str = "u", **changes: Any) -> GuestResult:
    health = {"condition": "agent", "wanted": "its agent answers", "seen": "it was silent", "seconds": 7.5}
    return result(uuid, healthy=False, health=health, **changes)


@pytest.mark.parametrize(
    ("restore_id", "found", "remedy"),
    [
        ("r1", [sick()], "To undo it, restore web1 with restore_id r1 and state=undone"),
        ("r1", [sick(safety=None)], "There is no safety snapshot to undo it by"),
        ("r1.undo", [sick()], f"This was an undo; safety snapshot {SAFETY} holds what was there before it"),
    ],
)
def test_what_is_not_healthy_is_told_with_the_way_back(restore_id: str, found: list[GuestResult], remedy: str) -> None:
    told = {"changed": True, "guests": [{"name": "web1"}], "summary": ["line"]}
    record = journal("u", restore_id=restore_id)
    with pytest.raises(restore_health.RestoreUnhealthyError) as caught:
        restore_health.refuse_unhealthy(record, told, found)
    message = caught.value.message
    assert "web1 is not healthy 7.5 s later, it was silent (wanted: its agent answers)" in message
    assert remedy in message
    assert caught.value.fields == {"restore_id": restore_id, "backup_id": "backup", **told}


def test_the_healthy_and_those_not_looked_at_are_no_failure() -> None:
    record, told = journal("u"), {"changed": True, "guests": [], "summary": []}
    fine = result("u", healthy=True, health={"seen": "it runs", "wanted": "it runs", "seconds": 0.0})
    restore_health.refuse_unhealthy(record, told, [fine, result("v")])
    assert restore_health.lines(fine) == ["    healthy: it runs (0 s, wanted: it runs)"]
    assert restore_health.lines(result("v")) == []


def test_the_summary_says_what_was_seen() -> None:
    assert restore_health.lines(sick()) == ["    not healthy: it was silent (7.5 s, wanted: its agent answers)"]
