# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a discovery to a backup: what is in it, what is left out, what completes it."""

from __future__ import annotations

from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import plan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BackupScope
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError


def backup_plan(
    guests: list[dict[str, Any]], *, volumes: list[dict[str, Any]], problems: list[dict[str, Any]]
) -> plan.BackupPlan:
    """Plan what a discovery found, as the modules do."""
    options = {"owner": "hv1", "policy": "daily", "guests": guests, "volumes": volumes, "problems": problems}
    return plan.backup_plan(BackupScope.from_options({**options, "quiesce": {}, "order": [], "filesystems": {}}))


def test_only_volumes_with_an_included_disk_of_a_protected_guest_are_taken() -> None:
    lost = samples.guest("lost", "l", protected=False, disks=[samples.disk(storage=samples.storage("vol9"))])
    left_out = samples.disk("vdb", included=False, storage=samples.storage("vol2"))
    made = backup_plan(
        [samples.guest(disks=[samples.disk(), left_out]), lost],
        volumes=[samples.volume("vol1"), samples.volume("vol2"), samples.volume("vol9")],
        problems=[
            {"severity": "error", "guest": "lost", "code": "local-file"},
            {"severity": "warning", "guest": "lost", "code": "iso-attached"},
        ],
    )
    assert [volume.volume for volume in made.volumes] == ["vol1"]
    assert [(guest.name, guest.problems) for guest in made.unprotected] == [("lost", ("local-file",))]


def test_nothing_to_protect_is_an_error_that_says_why() -> None:
    with pytest.raises(InputError, match=r"web1 \(local-file\)"):
        backup_plan(
            [samples.guest(protected=False)],
            volumes=[],
            problems=[{"severity": "error", "guest": "web1", "code": "local-file"}],
        )


def test_a_volume_the_discovery_forgot_is_an_error_and_not_a_smaller_backup() -> None:
    with pytest.raises(KvmsnapError, match="does not list"):
        backup_plan([samples.guest()], volumes=[samples.volume("vol2")], problems=[])


def made_plan() -> plan.BackupPlan:
    return backup_plan(
        [samples.guest(), samples.two_volume_guest()],
        volumes=[samples.volume("vol1"), samples.volume("vol2")],
        problems=[],
    )


def test_methods_go_by_name_then_uuid_then_star() -> None:
    holds = made_plan().holds({"web1": "suspend", samples.DB: "none"})
    assert [(hold.name, hold.asked) for hold in holds] == [("web1", "suspend"), ("db1", "none")]
    assert {hold.asked for hold in made_plan().holds({"*": "suspend"})} == {"suspend"}
    assert {hold.asked for hold in made_plan().holds({})} == {"auto"}


def test_what_is_said_by_a_uuid_is_of_no_guest_that_has_it_for_a_name() -> None:
    named = {**samples.two_volume_guest(), "name": samples.WEB}
    volumes = [samples.volume("vol1"), samples.volume("vol2")]
    made = backup_plan([samples.guest(), named], volumes=volumes, problems=[])
    holds = made.holds({samples.WEB: "none"}, order=[[samples.WEB]], filesystems={samples.WEB: ["/srv"]})
    assert [(hold.uuid, hold.asked, hold.order, hold.filesystems) for hold in holds] == [
        (samples.WEB, "none", 0, ("/srv",)),
        (samples.DB, "auto", 1, None),
    ]


def test_a_method_for_an_unknown_guest_is_a_mistake() -> None:
    with pytest.raises(InputError, match="web9"):
        made_plan().holds({"web9": "agent"})


def test_a_complete_manifest_carries_snapshots_and_levels() -> None:
    started = samples.manifest(samples.guest(), samples.two_volume_guest(), volumes=("vol1", "vol2"))
    done = samples.completed(
        started,
        holds=[samples.hold(), samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot("vol1"), samples.snapshot("vol2", confirmed_at=13.0)],
        at="2026-11-21T02:00:03+00:00",
    )
    assert done.complete
    assert [volume.snapshot_uuid for volume in done.volumes] == ["vol1-snap", "vol2-snap"]
    levels = {guest.name: guest.consistency.level for guest in done.guests if guest.consistency}
    assert levels == {"web1": "filesystem-consistent", "db1": "inconsistent"}


def test_a_volume_without_its_snapshot_leaves_the_backup_incomplete() -> None:
    started = samples.manifest(samples.two_volume_guest(), volumes=("vol1", "vol2"))
    with pytest.raises(KvmsnapError, match="svm1:vol2"):
        samples.completed(started, holds=[], snapshots=[samples.snapshot("vol1")], at="2026-11-21T02:00:03+00:00")


def test_a_snapshot_that_was_there_before_is_not_taken_for_this_run_s() -> None:
    with pytest.raises(KvmsnapError, match="svm1:vol1"):
        samples.completed(
            samples.manifest(), holds=[], snapshots=[samples.snapshot(created=False)], at="2026-11-21T02:00:03+00:00"
        )


def test_the_hold_is_told_which_disks_count() -> None:
    left_out = samples.disk("vdb", included=False, storage=samples.storage("vol2"))
    made = backup_plan([samples.guest(disks=[samples.disk(), left_out])], volumes=[samples.volume("vol1")], problems=[])
    assert made.holds({})[0].disks == ("vda",)
