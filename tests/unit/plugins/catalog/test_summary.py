# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules return of a backup, and the lines that a person reads of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.summary import (
    backup_record,
    lines,
    unreadable_record,
)

VOL1 = ("svm1-uuid", "vol1-uuid")


def complete(*guests: dict[str, Any]) -> Manifest:
    return samples.completed(
        samples.manifest(*guests),
        holds=[samples.hold()],
        snapshots=[samples.snapshot()],
        asked="crash-consistent",
        at="2026-11-21T02:00:03+00:00",
    )


@pytest.mark.parametrize(
    ("manifest", "missing", "exists", "gone"),
    [
        (complete(), None, None, []),
        (complete(), [], True, []),
        (complete(), [("svm1-uuid", "another")], True, []),
        (complete(), [VOL1], False, ["svm1:vol1"]),
        (samples.manifest(), [], False, []),
    ],
)
def test_a_backup_exists_when_somebody_looked_and_nothing_is_missing(
    manifest: Manifest, missing: Any, exists: bool | None, gone: list[str]
) -> None:
    record = backup_record(manifest, missing=missing)
    assert (record["exists"], record["missing"]) == (exists, gone)


def test_the_record_is_plain_data_with_each_guest_and_disk() -> None:
    left_out = samples.disk("vdb", storage=None, included=False, reason="excluded")
    record = backup_record(complete(samples.guest(disks=[samples.disk(), left_out])), origin=Origin.IMPORTED)
    assert json.loads(json.dumps(record)) == record
    assert (record["backup_id"], record["phase"], record["origin"]) == (samples.BACKUP, "complete", "imported")
    (guest,) = record["guests"]
    assert (guest["name"], guest["consistency"], guest["method"]) == ("web1", "filesystem-consistent", "agent")
    assert [(disk["target"], disk["included"], disk["location"]) for disk in guest["disks"]] == [
        ("vda", True, "svm1:/vol/vol1/web1.img"),
        ("vdb", False, None),
    ]
    assert [(each["volume"], each["snapshot_uuid"]) for each in record["volumes"]] == [("vol1", "vol1-snap")]


def test_one_that_cannot_be_read_has_the_same_keys() -> None:
    record = unreadable_record(samples.BACKUP, "its checksum does not match")
    assert set(backup_record(complete())) - set(record) == {"shared_with"}
    assert lines(record) == [
        f"{samples.BACKUP} (unreadable) - CANNOT BE RESTORED FROM",
        "  its checksum does not match",
    ]


def test_a_person_reads_what_it_is_and_who_is_in_it() -> None:
    record = backup_record(complete(), missing=[])
    assert lines(record) == [
        f"{samples.BACKUP} (complete, 2026-11-21T02:00:03+00:00)",
        "  web1: filesystem-consistent by agent, held 3.00 s",
    ]


def test_a_guest_that_was_not_held_has_no_method() -> None:
    record = backup_record(complete(), missing=[])
    changed = {"consistency": "crash-consistent", "method": "none", "held_seconds": None, "reason": "suspended before"}
    record["guests"][0].update(changed)
    assert lines(record)[1:] == ["  web1: crash-consistent, not held (suspended before)"]


def test_nobody_claims_a_consistency_before_the_end() -> None:
    record = backup_record(samples.manifest())
    assert lines(record)[1:] == ["  web1: its consistency is known once the backup is complete"]
    record["phase"] = "complete"
    assert lines(record)[1:] == ["  web1: its consistency is not known"]


def test_a_person_reads_what_is_missing_left_out_and_not_protected() -> None:
    left_out = samples.disk("vdb", storage=None, included=False, reason="excluded")
    found = complete(samples.guest(disks=[samples.disk(), left_out]))
    record = backup_record(found, missing=[VOL1], origin=Origin.REBUILT)
    record["unprotected"] = [
        {"name": "db1", "uuid": samples.DB, "problems": ["no-agent", "local-file"]},
        {"name": "app1", "uuid": "u", "problems": []},
    ]
    assert lines(record) == [
        f"{samples.BACKUP} (complete, 2026-11-21T02:00:03+00:00, rebuilt) - CANNOT BE RESTORED FROM",
        "  snapshots missing on svm1:vol1",
        "  web1: filesystem-consistent by agent, held 3.00 s",
        "    vdb is not in the backup: excluded",
        "  db1: NOT PROTECTED (no-agent, local-file)",
        "  app1: NOT PROTECTED (see the discovery)",
    ]


def test_a_person_reads_of_groups_and_of_a_clock_that_was_set() -> None:
    found = complete()
    volume = replace(found.volumes[0], create_time_off=-120.0)
    record = backup_record(replace(found, volumes=(volume,)))
    record["groups"] = [
        {"svm": "svm1", "name": "cg1", "volumes": ["vol1", "vol2"], "foreign_volumes": []},
        {"svm": "svm1", "name": "cg2", "volumes": ["vol1"], "foreign_volumes": ["vol9"]},
    ]
    told = lines(record)
    assert "svm1:vol1: the array dates its snapshot 2026-11-21T02:00:01+00:00, at least 120 s before" in told[2]
    assert told[3:] == [
        "  consistency group svm1:cg1: the snapshots of vol1, vol2",
        "  consistency group svm1:cg2: the snapshots of vol1, and of vol9 (not of this backup)",
    ]
