# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore speaks of, and the texts and the data that a person and a playbook get of its plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
import samples
from restore_world import part

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    ABSENT,
    GuestNow,
    KnownGuest,
    RestorePlan,
    RestoreRefusedError,
    TwoGuests,
    refuse,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.new_definition import NewDefinition

SAVED = KnownGuest("web1", samples.WEB, ("vda svm1:/vol/vol1/web1.img",))
PRESENT = KnownGuest("web1", samples.DB, ())


def test_a_refusal_tells_every_reason_and_none_is_no_refusal() -> None:
    refuse(samples.BACKUP, [])
    problems = [
        Problem("disk-moved", "error", "it moved", "Move it."),
        Problem("disk-in-use", "error", "busy", "Stop."),
    ]
    with pytest.raises(RestoreRefusedError, match=r"nothing was touched: it moved; busy$") as caught:
        refuse(samples.BACKUP, problems)
    assert caught.value.fields == {
        "backup_id": samples.BACKUP,
        "problems": [each.as_dict() for each in problems],
    }


def test_a_guest_is_known_elsewhere_by_the_uuid_that_it_had_too() -> None:
    now = GuestNow("web1", samples.DB, "shutoff", False, True, ())
    assert now.identities == (samples.DB,)
    two = TwoGuests(SAVED, PRESENT)
    assert replace(now, two_guests=two).identities == (samples.DB, samples.WEB)
    assert two.lines == (
        f"in the backup: guest web1 ({samples.WEB}): vda svm1:/vol/vol1/web1.img",
        f"on this host, restored into and keeping its uuid: guest web1 ({samples.DB}): no disks",
    )


@pytest.mark.parametrize(
    ("state", "forget", "absent"), [("shutoff", False, False), (ABSENT, False, True), ("off", True, True)]
)
def test_who_need_not_be_defined(state: str, forget: bool, absent: bool) -> None:
    assert replace(part(), state_now=state, forget=forget).may_be_absent is absent


def test_the_snapshot_s_copy_of_a_disk_is_below_its_mount() -> None:
    disk = part().disks[0]
    assert disk.label == "svm1:/vol/vol1/web1-vda.img"
    assert disk.host_source == f"/mnt/vol1/.snapshot/{samples.BACKUP}/web1-vda.img"
    assert replace(disk, mount_point=None).host_source is None


def test_the_texts_of_a_plan_say_what_is_and_what_will_be() -> None:
    first, second = part().disks
    lun = samples.lun(wwid=wwid_of("81C91$QXsh5a"))
    on_lun = replace(
        second, storage=Storage.from_record(samples.storage("vol2", "a", kind="lun", lun=lun)), remove=True
    )
    guest = replace(
        part(after="shutoff"),
        disks=(replace(first, missing=True, snapshot_time="2026-11-21T02:00:01+00:00"), on_lun),
        files=(FileRestore("nvram", "/nv/web1.fd", None, ""),),
        notes=("be careful",),
        changes=("memory: 1 -> 2",),
        two_guests=TwoGuests(SAVED, PRESENT),
    )
    plan = RestorePlan(samples.BACKUP, "r1", (guest,))
    before, after = plan.before().splitlines(), plan.after().splitlines()
    assert (before[0], after[0]) == (f"guest web1 ({samples.WEB}): running", f"guest web1 ({samples.WEB}): shutoff")
    assert before[1:3] == after[1:3] == [f"  {line}" for line in TwoGuests(SAVED, PRESENT).lines]
    assert before[3] == "  disk vda svm1:/vol/vol1/web1-vda.img (raw, 4096 bytes): not there"
    assert after[3].endswith(
        f"(raw, 4096 bytes): as in snapshot {samples.BACKUP} (vol1-snap, made 2026-11-21T02:00:01+00:00)"
    )
    assert "(LUN serial 81C91$QXsh5a, WWID " in before[4]
    assert before[4].endswith(": as it is now")
    assert after[4].endswith(": removed: there was none")
    assert before[5] == "  UEFI variables /nv/web1.fd: as it is now"
    assert after[5] == "  UEFI variables /nv/web1.fd: as in nothing: there was none"
    assert before[6:] == after[6:] == ["  note: be careful", "  definition, then and now: memory: 1 -> 2"]


def test_the_data_of_a_plan_holds_no_definition() -> None:
    secret = NewDefinition("<domain><graphics passwd='secret'/></domain>", "replace")
    plan = RestorePlan(samples.BACKUP, "r1", (replace(part(), definition=secret), part("db1", samples.DB)))
    told = plan.as_dict()
    assert [each["definition"] for each in told["guests"]] == ["replace", None]
    assert "secret" not in str(told)
