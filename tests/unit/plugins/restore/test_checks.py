# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each reason to refuse a restore, with both values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import samples
from restore_plans import (
    IN_SNAPSHOT,
    LUN_KEY,
    SERIAL,
    SIZE,
    SNAPSHOTS,
    disk_now,
    lun_now,
    mixed,
    planned,
    web_now,
)

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import BackingFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import decide
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.checks import World
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskNow,
    GuestNow,
    RestorePlan,
    RestoreRefusedError,
    SnapshotNow,
)

SHARED = problem_of("disk-used-by-several-guests", "disk vda of guest web1: its image is used by web2 too")
BUSY = problem_of("guest-busy", "guest web1: libvirt works on it")
SILENT = Problem("multipathd-not-running", "error", "multipathd does not answer", "Start it.")


@pytest.mark.parametrize(
    ("now", "changes", "code", "says"),
    [
        (web_now(disk_now(size=SIZE - 4096)), {}, "size-mismatch", ["67104768", "67108864"]),
        (web_now(disk_now(format="qcow2")), {}, "format-mismatch", ["qcow2", "raw"]),
        (
            web_now(disk_now(backing=(BackingFile("/mnt/vol1/base.img"),))),
            {},
            "backing-chain-mismatch",
            ["base.img", "none"],
        ),
        (web_now(disk_now(place=samples.storage("vol3"))), {}, "disk-moved", ["vol1", "vol3"]),
        (web_now(disk_now(storage=None, host_path="/var/x.img")), {}, "disk-moved", ["vol1", "/var/x.img"]),
        (web_now(disk_now("vdz", samples.storage("vol3"))), {}, "disk-moved", ["vda"]),
        (web_now(obstacles=(BUSY,)), {}, "guest-busy", ["web1"]),
        (web_now(managed_save=True, save_hindrance="no file"), {}, "managed-save", ["web1", "no file"]),
        (web_now(disk_now(obstacles=(SHARED,))), {}, "disk-used-by-several-guests", ["web2"]),
        (
            web_now(disk_now(storage=None, obstacles=(SILENT,))),
            {},
            "multipathd-not-running",
            ["vol1", "does not answer"],
        ),
        (web_now(), {"names": {"web1": "another"}}, "guest-identity", ["another", samples.WEB]),
        (web_now(), {"snapshots": {}}, "snapshot-missing", [samples.BACKUP, "svm1:vol1"]),
        (
            web_now(),
            {"snapshots": {("svm1-uuid", "vol1-uuid"): SnapshotNow("other", None)}},
            "snapshot-replaced",
            ["other", "vol1-snap"],
        ),
        (
            web_now(),
            {"snapshots": {("svm1-uuid", "vol1-uuid"): SnapshotNow("vol1-snap", "2026-11-22T02:00:00+00:00")}},
            "snapshot-replaced",
            ["2026-11-22T02:00:00+00:00", "2026-11-21T"],
        ),
        (web_now(), {"sizes": {}}, "file-not-in-snapshot", ["web1.img"]),
        (
            web_now(),
            {"sizes": {("svm1-uuid", "vol1-uuid", "web1.img"): 4096}},
            "size-mismatch",
            ["4096", "67108864"],
        ),
    ],
)
def test_a_mismatch_refuses_and_names_both_values(now: GuestNow, changes: Any, code: str, says: list[str]) -> None:
    with pytest.raises(RestoreRefusedError) as caught:
        planned(["web1"], now, **changes)
    assert [problem["code"] for problem in caught.value.fields["problems"]] == [code]
    assert all(word in caught.value.message for word in says), caught.value.message


OTHER = "abcdefghijkl"


@pytest.mark.parametrize(
    ("now", "changes", "codes", "says"),
    [
        (lun_now(uuid="lun-2"), {}, ["lun-identity"], ["lun-2", "lun-1"]),
        (lun_now(serial=OTHER, wwid=wwid_of(OTHER)), {}, ["lun-identity"], [OTHER, SERIAL]),
        (lun_now(os_type="aix"), {}, ["lun-identity"], ["aix", "linux"]),
        (lun_now(size=4096), {}, ["size-mismatch"], ["4096", str(SIZE)]),
        (replace(lun_now(size=4096), size=SIZE), {}, ["size-mismatch"], ["4096", str(SIZE)]),
        (lun_now(), {"sizes": {("svm1-uuid", "vol1-uuid", "db1.img"): SIZE}}, ["file-not-in-snapshot"], []),
        (
            lun_now(),
            {"sizes": {("svm1-uuid", "vol1-uuid", "db1.img"): SIZE, LUN_KEY: 512}},
            ["size-mismatch"],
            ["512", str(SIZE)],
        ),
        (disk_now("vdb", samples.storage("vol2", "luns/db1")), {}, ["disk-moved"], ["vdb"]),
    ],
)
def test_another_lun_is_never_overwritten(now: DiskNow, changes: Any, codes: list[str], says: list[str]) -> None:
    with pytest.raises(RestoreRefusedError) as caught:
        mixed(now, **changes)
    assert [problem["code"] for problem in caught.value.fields["problems"]] == codes
    assert all(word in caught.value.message for word in says), caught.value.message


def test_a_lun_of_which_nobody_may_ask_is_planned_with_a_note() -> None:
    made = mixed(lun_now(), sizes={("svm1-uuid", "vol1-uuid", "db1.img"): SIZE}, unseen={LUN_KEY})
    assert len(made.guests[0].disks) == 2
    assert any("disk vdb: the account may not look into the snapshot" in note for note in made.guests[0].notes)


def test_a_backing_file_that_changed_since_is_noticed() -> None:
    base = "/mnt/vol1/base.img"
    chain = samples.disk(format="qcow2", backing=[{"path": base, "size": 4096, "modified": 1}])
    made = samples.manifest(samples.guest(disks=[chain]))
    saved = samples.completed(
        made, holds=[samples.hold()], snapshots=[samples.snapshot()], at="2026-11-21T02:00:03+00:00"
    )

    def with_base(modified: int) -> RestorePlan:
        now = web_now(disk_now(format="qcow2", backing=(BackingFile(base, 4096, modified),)))
        world = World({now.uuid: now}, SNAPSHOTS, IN_SNAPSHOT, power="off", names={})
        return decide.restore_plan(saved, world, wanted=["web1"], restore_id="r1")

    assert with_base(1).guests
    with pytest.raises(RestoreRefusedError, match="backing chain"):
        with_base(2)
