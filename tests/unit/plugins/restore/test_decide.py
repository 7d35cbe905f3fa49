# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore plan: every mismatch refuses the whole restore and names both values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import samples
from restore_plans import (
    IN_SNAPSHOT,
    SERIAL,
    SNAPSHOTS,
    backup,
    db_now,
    disk_now,
    lun_now,
    mixed,
    planned,
    web_now,
)

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.checks import World
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.decide import restore_plan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    RestoreRefusedError,
)


def test_a_sound_restore_names_source_and_target() -> None:
    made = planned(["web1"], web_now())
    (part,) = made.guests[0].disks
    assert part.host_source == f"/mnt/vol1/.snapshot/{samples.BACKUP}/web1.img"
    assert part.label == "svm1:/vol/vol1/web1.img"
    assert (part.storage.volume, part.storage.path, part.snapshot_uuid) == ("vol1", "web1.img", "vol1-snap")


def test_a_disk_is_matched_by_its_place_and_never_by_its_order() -> None:
    made = planned(["db1"], db_now(*reversed(db_now().disks)))
    assert [(disk.target, disk.storage.volume) for disk in made.guests[0].disks] == [("vda", "vol1"), ("vdb", "vol2")]


def test_one_bad_guest_refuses_all_and_every_reason_is_told() -> None:
    with pytest.raises(RestoreRefusedError) as caught:
        planned(["web1", "db1", "ghost"], web_now(), db_now(managed_save=True, save_hindrance="no file"))
    assert [problem["code"] for problem in caught.value.fields["problems"]] == ["managed-save", "guest-not-in-backup"]


def test_a_guest_that_this_host_does_not_define_is_refused() -> None:
    with pytest.raises(RestoreRefusedError, match="not defined on this host"):
        planned(["web1"])


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


def test_a_guest_that_is_asked_for_by_its_uuid_in_capitals_is_that_one_whoever_has_it_for_a_name() -> None:
    uuid = "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"
    saved = tuple(replace(each, uuid=uuid) if each.name == "web1" else each for each in backup().guests)
    now = {uuid: replace(web_now(), uuid=uuid)}
    world = World(now, SNAPSHOTS, IN_SNAPSHOT, power="as_was", names={"web1": uuid, uuid.upper(): samples.DB})
    made = restore_plan(replace(backup(), guests=saved), world, wanted=[uuid.upper()], restore_id="r1")
    assert [guest.uuid for guest in made.guests] == [uuid]


def test_a_guest_that_was_defined_anew_and_is_asked_for_by_its_new_uuid_is_told_both_ways_on() -> None:
    new = "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"
    with pytest.raises(RestoreRefusedError) as caught:
        planned([new.upper()], names={"web1": new})
    (problem,) = caught.value.fields["problems"]
    assert problem["code"] == "guest-identity"
    for word in (new, samples.WEB, "kvm_restore_as", f"kvm_restore_into_uuid={new}"):
        assert word in problem["message"]


def test_the_name_that_is_asked_for_must_not_be_another_guest_s_by_now_though_the_guest_is_here() -> None:
    names = {"web1-old": samples.WEB, "web1": samples.DB}
    with pytest.raises(RestoreRefusedError) as caught:
        planned(["web1"], web_now(name="web1-old"), names=names)
    (problem,) = caught.value.fields["problems"]
    assert problem["code"] == "guest-identity"
    assert samples.DB in problem["message"]
    assert planned([samples.WEB], web_now(name="web1-old"), names=names).guests[0].name == "web1-old"
