# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a guest whose maker or remover is killed, with a real libvirtd: recovery takes away what is left, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kvmground import Ground
from kvmlab.process import wait_until

BACKUP, COPY = "hv1-daily_20261121020000", "c1-copy"
VOLUMES = ("kvm_vol1", "kvm_vol2")
CLONE = "/storage/file/clone"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host of its own with one guest on two volumes and a backup of it."""
    with Ground.beside("copies") as found:
        found.guests.add_still("c1", *VOLUMES)
        found.back_up(BACKUP)
        yield found


def world(ground: Ground) -> dict[str, Any]:
    """Everything that a copy may leave: files where the array keeps them, guests, records."""
    roots = {name: ground.seen(ground.volume(name)) for name in VOLUMES}
    return {
        "files": sorted(f"{name}/{path.name}" for name, root in roots.items() for path in root.iterdir()),
        "guests": sorted(domain.name() for domain in ground.guests.connection.listAllDomains(0)),
        "records": sorted(path.name for path in (ground.seen(ground.catalog) / "clones").glob("*.json")),
    }


def recovered(ground: Ground, *, grace_period: int = 0, check: bool = False) -> dict[str, Any]:
    """Run the recovery, which must succeed."""
    outcome = ground.module("kvm_leftovers", check=check, owner="hv1", grace_period=grace_period)
    assert not outcome.failed, outcome.msg
    return outcome.result


def told(result: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Return what is left beside the lock and the lease of a process that died, which are of no use to anybody."""
    dead = [each for each in result["leftovers"] if each["kind"] == "lease" or each["name"].endswith(".lock")]
    assert {each["action"] for each in dead} <= {"removed"}
    return [(item["kind"], item["name"], item["action"]) for item in result["leftovers"] if item not in dead]


def cloning(**options: Any) -> dict[str, Any]:
    """Return the options of a copy of the guest."""
    return {"name": COPY, "guest": "c1", "backup_id": BACKUP, **options}


@pytest.mark.parametrize("files", [1, 2], ids=["at the first file", "at the second file"])
def test_a_copy_whose_maker_is_killed_is_taken_away(ground: Ground, files: int) -> None:
    before = world(ground)
    match = {"method": "POST", "path": CLONE, "after": files - 1, "count": 1}
    ground.control.add_fault("delay", match=match, seconds=3)
    running = ground.begin("kvm_vm_clone", **cloning())
    wait_until(lambda: any(each["hits"] for each in ground.control.faults()), seconds=60, what="the request")
    assert told(recovered(ground)) == [], "it is being made"
    running.kill()
    count = len(before["files"]) + files
    wait_until(lambda: len(world(ground)["files"]) == count, seconds=30, what="what the array was asked for")
    ground.control.settle()
    ground.control.clear_faults()
    left = world(ground)
    assert left["records"] == [f"{COPY}.json"]
    young = recovered(ground, grace_period=3600)
    assert told(young) == [("clone", COPY, None)]
    assert world(ground) == left
    shown = recovered(ground, check=True)
    assert (shown["changed"], told(shown)) == (True, [("clone", COPY, "taken away")])
    assert world(ground) == left
    assert told(recovered(ground)) == [("clone", COPY, "taken away")]
    assert world(ground) == before
    again = recovered(ground)
    assert (again["changed"], again["leftovers"]) == (False, [])


def test_a_copy_whose_remover_is_killed_is_taken_away_and_a_whole_one_stays(ground: Ground) -> None:
    before = world(ground)
    made = ground.module("kvm_vm_clone", **cloning(running=True))
    assert not made.failed, made.msg
    assert told(recovered(ground)) == []
    domain = ground.guests.domain(COPY)
    assert domain.isActive()
    ground.control.add_fault("delay", match={"method": "GET", "path": "/files/kvmsnap-clone-", "count": 1}, seconds=3)
    running = ground.begin("kvm_vm_clone", **cloning(state="absent"))
    wait_until(lambda: any(each["hits"] for each in ground.control.faults()), seconds=60, what="the look at a file")
    running.kill()
    ground.control.clear_faults()
    left = world(ground)
    assert left["records"] == [f"{COPY}.json"]
    assert left["guests"] == before["guests"]
    assert told(recovered(ground)) == [("clone", COPY, "taken away")]
    assert world(ground) == before
    assert told(recovered(ground)) == []
