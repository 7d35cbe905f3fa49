# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that guests share: who uses them, what refuses them, and which guest's part overwrites them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import found
import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import shared_disks
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskNow,
    DiskRestore,
    GuestNow,
    GuestRestore,
    RestorePlan,
    Sharer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.other_hosts import OtherUse

QUORUM = samples.storage("vol1", "quorum.img")
WEB2 = "33333333-3333-4333-8333-333333333333"
WITH_DB = Sharer(samples.DB, "db1", "vdb", active=True)


def row(name: str, uuid: str, *disks: dict[str, Any], state: str = "running") -> dict[str, Any]:
    return {"name": name, "uuid": uuid, "state": state, "disks": list(disks)}


def shared(target: str = "vdb", **changed: Any) -> dict[str, Any]:
    return {"target": target, "storage": QUORUM, "shareable": True, **changed}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("web1", samples.WEB, shared())], {(samples.WEB, "vdb"): []}),
        (
            [row("web1", samples.WEB, shared()), row("db1", samples.DB, shared("vdc"), state="shutoff")],
            {(samples.WEB, "vdb"): [("db1", "vdc", False)], (samples.DB, "vdc"): [("web1", "vdb", True)]},
        ),
        (
            [row("web1", samples.WEB, shared()), row("db1", samples.DB, shared(storage=samples.storage("vol2", "q")))],
            {(samples.WEB, "vdb"): [], (samples.DB, "vdb"): []},
        ),
        (
            [row("web1", samples.WEB, shared()), row("db1", samples.DB, shared(shareable=False))],
            {(samples.WEB, "vdb"): []},
        ),
        ([row("web1", samples.WEB, shared(storage=None))], {}),
    ],
)
def test_who_shares_a_disk(rows: list[dict[str, Any]], expected: Any) -> None:
    told = shared_disks.sharers_of([found.guest(each) for each in rows])
    assert {key: [(each.name, each.target, each.active) for each in users] for key, users in told.items()} == expected


def now(*sharers: Sharer, shareable: bool = True) -> GuestNow:
    storage = Storage.from_record(QUORUM)
    disk = DiskNow("vdb", "raw", "/mnt/vol1/quorum.img", "/mnt/vol1", 4096, (), storage, shareable=shareable)
    return GuestNow("web1", samples.WEB, "running", False, True, (replace(disk, sharers=sharers),))


ALONE = now(shareable=False)


def there(
    state: str = "running", uuid: str = WEB2, *, file: Optional[str] = "quorum.img", host: str = "hv2"
) -> OtherUse:
    """A disk of a guest of another host, on the file of the guest's disk; that host cannot place it without one."""
    place = samples.storage("vol1", file) if file else None
    disk = {"target": "vdc", "type": "file", "path": "/mnt/q", "source": "/mnt/q", "storage": place}
    return OtherUse.from_record(host, row("web2", uuid, state=state), disk)


@pytest.mark.parametrize(
    ("guest", "restored", "elsewhere", "unused_elsewhere", "refused"),
    [
        (now(), [samples.WEB], [], False, []),
        (now(WITH_DB), [samples.WEB, samples.DB], [], False, []),
        (now(WITH_DB), [samples.WEB], [], False, [("shareable-disk", "guest db1 (vdb)")]),
        (now(WITH_DB), [samples.WEB], [], True, [("shareable-disk", "guest db1 (vdb)")]),
        # marked as shared, and used on another host
        (now(), [samples.WEB], [there("shutoff")], False, [("shareable-disk", "guest web2 (vdc) of host hv2")]),
        (now(), [samples.WEB], [there("shutoff")], True, []),
        (now(), [samples.WEB], [there()], True, [("disk-used-elsewhere", "guest web2 (vdc) of host hv2, running")]),
        (
            now(WITH_DB),
            [samples.WEB],
            [there("shutoff")],
            False,
            [("shareable-disk", "guest db1 (vdb)"), ("shareable-disk", "guest web2 (vdc) of host hv2, shutoff")],
        ),
        # not marked, and used on another host
        (ALONE, [samples.WEB], [there()], False, [("disk-used-elsewhere", "hv2, running")]),
        (ALONE, [samples.WEB], [there()], True, [("disk-used-elsewhere", "hv2, running")]),
        (ALONE, [samples.WEB], [there("paused")], True, [("disk-used-elsewhere", "hv2, paused")]),
        (ALONE, [samples.WEB], [there("unknown")], True, [("disk-used-elsewhere", "hv2, unknown")]),
        (ALONE, [samples.WEB], [there("shutoff")], False, [("disk-used-elsewhere", "hv2, shutoff")]),
        (ALONE, [samples.WEB], [replace(there("shutoff"), below=True)], True, [("disk-used-elsewhere", "below vdc")]),
        (ALONE, [samples.WEB], [there("shutoff")], True, []),
        (
            ALONE,
            [samples.WEB],
            [there("shutoff"), there(host="hv3")],
            True,
            [("disk-used-elsewhere", "used by guest web2 (vdc) of host hv3, running, too")],
        ),
        # another file, one that could not be placed, and the same guest
        (ALONE, [samples.WEB], [there(file="other.img")], False, []),
        (ALONE, [samples.WEB], [there(file=None)], False, []),
        (ALONE, [samples.WEB], [there("shutoff", samples.WEB.upper())], False, []),
    ],
)
def test_a_disk_takes_all_its_users(
    guest: GuestNow,
    restored: list[str],
    elsewhere: list[OtherUse],
    unused_elsewhere: bool,
    refused: list[tuple[str, str]],
) -> None:
    seen = shared_disks.with_obstacles(
        {guest.uuid: guest}, restored=restored, elsewhere=elsewhere, unused_elsewhere=unused_elsewhere
    )
    obstacles = seen[guest.uuid].disks[0].obstacles
    assert [each.code for each in obstacles] == [code for code, _word in refused]
    assert all(
        each.severity == "error" and "web1" in each.message and word in each.message
        for each, (_code, word) in zip(obstacles, refused)
    )


def test_a_user_that_stays_off_is_in_the_plan() -> None:
    seen = shared_disks.with_obstacles(
        {samples.WEB: ALONE}, restored=[samples.WEB], elsewhere=[there("shutoff")], unused_elsewhere=True
    )
    assert seen[samples.WEB].disks[0].notes == ("it is used by guest web2 (vdc) of host hv2, shutoff, too",)


def backup(*without: str) -> Manifest:
    """A backup of web1 and db1 with the disk that they share; ``without``: it does not hold it of these."""
    guests = [
        samples.guest(
            name,
            uuid,
            disks=[
                samples.disk(storage=samples.storage("vol1", f"{name}.img")),
                samples.disk("vdb", storage=QUORUM, included=name not in without),
            ],
        )
        for name, uuid in (("web1", samples.WEB), ("db1", samples.DB))
    ]
    return samples.completed(
        samples.manifest(*guests),
        holds=[samples.hold(), samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot()],
        at="2026-11-21T02:00:03+00:00",
    )


def part(name: str, uuid: str, *targets: str, shares: tuple[str, ...] = ()) -> GuestRestore:
    disks = tuple(
        DiskRestore(
            target,
            "raw",
            Storage.from_record(QUORUM if target == "vdb" else samples.storage("vol1", f"{name}.img")),
            f"/mnt/vol1/{name}-{target}",
            "/mnt/vol1",
            samples.BACKUP,
            "vol1-snap",
            4096,
        )
        for target in targets
    )
    return GuestRestore(name, uuid, "running", "running", disks, shares=shares)


def planned(manifest: Manifest, *parts: GuestRestore) -> list[tuple[str, list[str], tuple[str, ...]]]:
    """Name, targets and notes of each guest's part, when web1 and db1 share vdb and both are restored."""
    web = now(WITH_DB)
    disk = replace(web.disks[0], sharers=(Sharer(samples.WEB, "web1", "vdb", active=True),))
    guests = {samples.WEB: web, samples.DB: replace(web, name="db1", uuid=samples.DB, disks=(disk,))}
    made = shared_disks.once(
        RestorePlan(samples.BACKUP, "r1", parts), manifest, guests, restored=[samples.WEB, samples.DB]
    )
    assert all(each.shares for each in made.guests)
    return [(each.name, [disk.target for disk in each.disks], each.notes) for each in made.guests]


OWNS = "disk vdb is shared with guest {} (vdb): it is overwritten once, and all of them come back or none"
COMES = "disk vdb is shared with guest {} and comes back with it"


@pytest.mark.parametrize("turned", [False, True])
def test_a_shared_disk_is_overwritten_once_whatever_the_order(turned: bool) -> None:
    parts = [part("web1", samples.WEB, "vda", "vdb"), part("db1", samples.DB, "vda", "vdb")]
    found = planned(backup(), *(parts[::-1] if turned else parts))
    assert sorted(found) == [
        ("db1", ["vda"], (COMES.format("web1"),)),
        ("web1", ["vda", "vdb"], (OWNS.format("db1"),)),
    ]


def test_it_comes_with_a_guest_that_an_earlier_run_brought_back() -> None:
    assert planned(backup(), part("db1", samples.DB, "vda", "vdb")) == [("db1", ["vda"], (COMES.format("web1"),))]


def test_it_comes_with_the_one_that_the_backup_holds_it_of() -> None:
    found = planned(backup("web1"), part("web1", samples.WEB, "vda"), part("db1", samples.DB, "vda", "vdb"))
    assert found == [("web1", ["vda"], (COMES.format("db1"),)), ("db1", ["vda", "vdb"], (OWNS.format("web1"),))]


def test_one_that_the_backup_holds_of_nobody_is_nobody_s_to_bring_back() -> None:
    parts = (part("web1", samples.WEB, "vda"), part("db1", samples.DB, "vda"))
    plan_of_both = RestorePlan(samples.BACKUP, "r1", parts)
    guests = {samples.WEB: now(WITH_DB)}
    restored = [samples.WEB, samples.DB]
    assert shared_disks.once(plan_of_both, backup("web1", "db1"), guests, restored=restored) == plan_of_both


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ({}, []),
        ({"a": "b", "b": "a"}, [["a", "b"]]),
        ({"a": "b"}, [["a", "b"]]),
        ({"a": "c", "b": "c", "c": "ab"}, [["a", "b", "c"]]),
        ({"a": "c", "c": "d", "d": "c"}, [["a", "c", "d"]]),
        ({"a": "b", "c": "d"}, [["a", "b"], ["c", "d"]]),
        ({"a": "gone"}, []),
    ],
)
def test_who_is_restored_together(shares: dict[str, str], found: list[list[str]]) -> None:
    parts = [
        part(name, name, shares=(shares[name],) if shares.get(name) == "gone" else tuple(shares.get(name, "")))
        for name in "abcd"
    ]
    assert [[each.uuid for each in unit] for unit in shared_disks.units(parts)] == found
