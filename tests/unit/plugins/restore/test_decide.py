# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore plan: every mismatch refuses the whole restore and names both values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import BackingFile, Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
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

SIZE = 1 << 26
VOLUMES = ("vol1", "vol2")


SHARED = problem_of("disk-used-by-several-guests", "disk vda of guest web1: its image is used by web2 too")
BUSY = problem_of("guest-busy", "guest web1: libvirt works on it")
SILENT = Problem("multipathd-not-running", "error", "multipathd does not answer", "Start it.")


def backup() -> Manifest:
    started = samples.manifest(samples.guest(), samples.two_volume_guest(), volumes=VOLUMES)
    return samples.completed(
        started,
        holds=[samples.hold(), samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot(name) for name in VOLUMES],
        at="2026-11-21T02:00:03+00:00",
    )


def disk_now(target: str = "vda", place: dict[str, Any] | None = None, **changes: Any) -> DiskNow:
    storage = Storage.from_record(place or samples.storage())
    now = DiskNow(target, "raw", f"/mnt/{storage.volume}/{storage.path}", f"/mnt/{storage.volume}", SIZE, (), storage)
    return replace(now, **changes)


def web_now(*disks: DiskNow, **changes: Any) -> GuestNow:
    now = GuestNow("web1", samples.WEB, "running", False, True, disks or (disk_now(),))
    return replace(now, **changes)


def db_now(*disks: DiskNow, **changes: Any) -> GuestNow:
    both = (disk_now("vda", samples.storage("vol1", "db1.img")), disk_now("vdb", samples.storage("vol2", "db1.img")))
    return replace(GuestNow("db1", samples.DB, "running", False, True, disks or both), **changes)


SNAPSHOTS = {("svm1-uuid", f"{name}-uuid"): SnapshotNow(f"{name}-snap", None) for name in VOLUMES}
IN_SNAPSHOT = {
    ("svm1-uuid", "vol1-uuid", "web1.img"): SIZE,
    ("svm1-uuid", "vol1-uuid", "db1.img"): SIZE,
    ("svm1-uuid", "vol2-uuid", "db1.img"): SIZE,
}


def planned(wanted: list[str], *guests: GuestNow, **changes: Any) -> RestorePlan:
    asked: dict[str, Any] = {
        "snapshots": SNAPSHOTS,
        "sizes": IN_SNAPSHOT,
        "power": "as_was",
        "states_before": {},
        "names": {guest.name: guest.uuid for guest in guests},
    }
    world = World(guests={guest.uuid: guest for guest in guests}, **{**asked, **changes})
    return decide.restore_plan(backup(), world, wanted=wanted, restore_id="r1")


def test_a_sound_restore_names_source_and_target() -> None:
    made = planned(["web1"], web_now())
    (part,) = made.guests[0].disks
    assert part.host_source == f"/mnt/vol1/.snapshot/{samples.BACKUP}/web1.img"
    assert part.label == "svm1:/vol/vol1/web1.img"
    assert (part.storage.volume, part.storage.path, part.snapshot_uuid) == ("vol1", "web1.img", "vol1-snap")


def test_a_disk_is_matched_by_its_place_and_never_by_its_order() -> None:
    made = planned(["db1"], db_now(*reversed(db_now().disks)))
    assert [(disk.target, disk.storage.volume) for disk in made.guests[0].disks] == [("vda", "vol1"), ("vdb", "vol2")]


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (("vdb", "vda"), [("vda", "vdb"), ("vdb", "vda")]),
        (("vdb", "vdc"), [("vda", "vdb")]),
        (("sda", "vda"), [("vdb", "vda")]),
        (("sda", "sdb"), []),
        (("vda", "sda"), []),
    ],
    ids=["swapped", "moved on", "moved up", "another bus", "one on another bus"],
)
def test_disks_in_each_other_s_place_are_refused(targets: tuple[str, str], told: list[tuple[str, str]]) -> None:
    first, second = (replace(disk, target=target) for disk, target in zip(db_now().disks, targets))
    if not told:
        assert [disk.target for disk in planned(["db1"], db_now(first, second)).guests[0].disks] == list(targets)
        return
    with pytest.raises(RestoreRefusedError) as caught:
        planned(["db1"], db_now(second, first))
    problems = caught.value.fields["problems"]
    assert [(each["code"], each["disk"]) for each in problems] == [("disk-swapped", was) for was, _is in told]
    undone = planned(["db1"], db_now(second, first), undoes=True)
    assert [disk.storage.volume for disk in undone.guests[0].disks] == ["vol1", "vol2"]
    place = {"vda": "svm1:/vol/vol1/db1.img", "vdb": "svm1:/vol/vol2/db1.img"}
    for (was, now), problem in zip(told, problems):
        words = f"{place[was]} was {was} in the backup and is {now} now, which was {place[now]} then"
        assert words in problem["message"]


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


def test_one_bad_guest_refuses_all_and_every_reason_is_told() -> None:
    with pytest.raises(RestoreRefusedError) as caught:
        planned(["web1", "db1", "ghost"], web_now(), db_now(managed_save=True, save_hindrance="no file"))
    assert [problem["code"] for problem in caught.value.fields["problems"]] == ["managed-save", "guest-not-in-backup"]


def test_a_guest_that_this_host_does_not_define_is_refused() -> None:
    with pytest.raises(RestoreRefusedError, match="not defined on this host"):
        planned(["web1"])


SERIAL = "81C91$QXsh5a"
LUN = {
    "uuid": "lun-1",
    "serial": SERIAL,
    "wwid": wwid_of(SERIAL),
    "size": SIZE,
    "os_type": "linux",
    "device": "/dev/mapper/mpatha",
}
LUN_PLACE = samples.storage("vol2", "luns/db1", kind="lun", mount_point=None, lun=LUN)
LUN_KEY = ("svm1-uuid", "vol2-uuid", "luns/db1")


def lun_now(**changes: Any) -> DiskNow:
    """The LUN as the discovery finds it."""
    place = Storage.from_record({**LUN_PLACE, "lun": {**LUN, **changes}})
    return DiskNow("vdb", "raw", "/dev/mapper/mpatha", None, int(changes.get("size", SIZE)), (), place)


def mixed(disk: DiskNow, **changes: Any) -> RestorePlan:
    """Plan the restore of a guest that boots from a file and has its data on a LUN."""
    boot = samples.disk(storage=samples.storage("vol1", "db1.img"))
    data = samples.disk("vdb", role="data", path="/dev/dm-3", source="/dev/mapper/mpatha", storage=LUN_PLACE)
    saved = samples.completed(
        samples.manifest(samples.guest("db1", samples.DB, disks=[boot, data]), volumes=VOLUMES),
        holds=[samples.hold(samples.DB, "db1")],
        snapshots=[samples.snapshot(name) for name in VOLUMES],
        at="2026-11-21T02:00:03+00:00",
    )
    asked: dict[str, Any] = {
        "snapshots": SNAPSHOTS,
        "sizes": {("svm1-uuid", "vol1-uuid", "db1.img"): SIZE, LUN_KEY: SIZE},
        "power": "as_was",
        "states_before": {},
        "names": {"db1": samples.DB},
    }
    now = db_now(disk_now("vda", samples.storage("vol1", "db1.img")), disk)
    world = World(guests={now.uuid: now}, **{**asked, **changes})
    return decide.restore_plan(saved, world, wanted=["db1"], restore_id="r1")


def test_a_guest_on_files_and_luns_is_planned_as_one() -> None:
    made = mixed(lun_now(device="/dev/mapper/renamed"))
    assert [(disk.storage.kind, disk.host_path) for disk in made.guests[0].disks] == [
        ("nfs", "/mnt/vol1/db1.img"),
        ("lun", "/dev/mapper/mpatha"),
    ]
    data = made.guests[0].disks[1]
    assert (data.host_source, data.label) == (None, "svm1:/vol/vol2/luns/db1")
    assert data.storage.lun is not None
    assert data.storage.lun.device == "/dev/mapper/renamed", "the host's name of the LUN is the present one"


def test_the_plan_shows_what_identifies_a_lun() -> None:
    text = mixed(lun_now()).after()
    for shown in (SERIAL, wwid_of(SERIAL), "svm1:/vol/vol2/luns/db1", f"as in snapshot {samples.BACKUP} (vol2-snap)"):
        assert shown in text


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


def test_what_there_is_to_say_of_a_disk_is_in_the_plan() -> None:
    made = mixed(replace(lun_now(), notes=("its LUN is mapped to other hosts too: iqn.x (other)",)))
    assert "note: disk vdb: its LUN is mapped to other hosts too: iqn.x (other)" in made.after()


@pytest.mark.parametrize(
    ("state", "power", "before", "after"),
    [
        ("running", "as_was", {}, "running"),
        ("paused", "as_was", {}, "paused"),
        ("shutoff", "as_was", {}, "shutoff"),
        ("crashed", "as_was", {}, "shutoff"),
        ("pmsuspended", "as_was", {}, "shutoff"),
        ("running", "off", {}, "shutoff"),
        ("shutoff", "running", {}, "running"),
        # an interrupted run of this restore had found it running
        ("shutoff", "as_was", {samples.WEB: "running"}, "running"),
    ],
)
def test_power_afterwards(state: str, power: str, before: dict[str, str], after: str) -> None:
    made = planned(["web1"], web_now(state=state), power=power, states_before=before)
    assert made.guests[0].state_after == after


def test_the_diff_shows_state_and_content() -> None:
    made = planned(["web1"], web_now(), power="off")
    assert "web1" in made.before()
    assert "running" in made.before()
    assert "shutoff" in made.after()
    assert f"as in snapshot {samples.BACKUP}" in made.after()


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


def test_a_guest_of_another_name_now_is_shown_by_both() -> None:
    made = planned([samples.WEB], web_now(name="web1-old"))
    assert made.guests[0].name == "web1-old"
    assert "it was called web1 at the time of the backup" in made.after()


def test_a_transient_guest_is_told() -> None:
    (part,) = planned(["web1"], web_now(persistent=False)).guests
    assert any(note.startswith("it is transient") for note in part.notes)


def test_what_there_is_to_say_of_a_guest_is_told_once() -> None:
    (part,) = planned(["web1"], web_now(notes=("its definition changes",))).guests
    assert part.notes.count("its definition changes") == 1


def test_what_the_backup_does_not_hold_is_told_in_the_plan() -> None:
    made = planned(["web1"], web_now(disk_now(), disk_now("vdb", samples.storage("vol3"))))
    assert "disk vdb came after the backup and stays as it is" in made.guests[0].notes
    assert "the backup is filesystem-consistent" in made.guests[0].notes


def test_a_guest_that_was_defined_anew_and_is_asked_for_by_its_new_uuid_is_told_both_ways_on() -> None:
    new = "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"
    with pytest.raises(RestoreRefusedError) as caught:
        planned([new.upper()], names={"web1": new})
    (problem,) = caught.value.fields["problems"]
    assert problem["code"] == "guest-identity"
    for word in (new, samples.WEB, "kvm_restore_as", f"kvm_restore_into_uuid={new}"):
        assert word in problem["message"]
