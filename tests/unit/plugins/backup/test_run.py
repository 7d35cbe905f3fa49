# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole backups of guests of libvirt's test driver on the simulated array; both are asked, not the module's word."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import Any

import libvirt
import pytest
from backup_site import Site, two_guests
from virt import Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import critical_section, run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.host_lock import BusyError, backup_lock
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.run import BackupError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import hold, models
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import HoldRecord, HoldRecordError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import TimerError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem

PAUSED, RUNNING = libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_RUNNING
EXPIRY = "2026-12-31T23:59:00+00:00"


def test_a_backup_is_made_once(site: Site) -> None:
    web, _sol = two_guests(site)
    result = site.back_up(snapmirror_label="daily", expiry_time=EXPIRY)
    assert (result["changed"], result["guests_below_consistency"]) == (True, [])
    assert site.left() == (["kvm_vol1", "kvm_vol2"], ["complete"], [])
    assert site.free()
    levels = {guest["name"]: (guest["method"], guest["consistency"]) for guest in result["backup"]["guests"]}
    assert levels == {"web1": ("agent", "filesystem-consistent"), "sol1": ("suspend", "crash-consistent")}
    assert {(each["snapmirror_label"], each["expiry_time"]) for each in result["snapshots"]} == {("daily", EXPIRY)}
    frozen = max(row["freeze_answered"] for row in result["guests"])
    thawed = min(row["thaw_sent"] for row in result["guests"])
    for each in result["snapshots"]:
        assert each["absent_at"] < frozen <= each["requested_at"] < each["confirmed_at"] <= thawed
    saved = store.load(site.root, site.name)
    assert saved is not None
    assert {guest.consistency.asked for guest in saved.guests if guest.consistency} == {"crash-consistent"}
    assert site.guests.inside[web].journal.count("freeze") == 1
    requests = len(site.sim.control.requests())
    again = site.back_up(snapmirror_label="daily", expiry_time=EXPIRY)
    assert (again["changed"], again["backup"]["exists"], again["guests"]) == (False, True, [])
    assert all(each["method"] == "GET" for each in site.sim.control.requests()[requests:])
    assert site.guests.inside[web].journal.count("freeze") == 1


def test_a_check_changes_nothing(site: Site) -> None:
    web, _sol = two_guests(site)
    result = site.back_up(check=True)
    assert result["changed"] is True
    assert [(row["method"], row["held"]) for row in result["guests"]] == [("agent", False), ("suspend", False)]
    assert all(each["method"] == "GET" for each in site.sim.control.requests())
    assert site.left() == ([], [], [])
    assert sorted(path.name for path in site.directory.iterdir()) == ["boot_id"]
    assert "freeze" not in site.guests.inside[web].journal
    site.back_up()
    assert site.back_up(check=True)["changed"] is False


@pytest.mark.parametrize("fault", [{"kind": "job_fail"}, {"kind": "status", "status": 400}])
def test_a_snapshot_that_fails_leaves_nothing(site: Site, fault: dict[str, Any]) -> None:
    two_guests(site)
    site.fault(volume="kvm_vol2", code="524479", message="The volume has no space left", **fault)
    with pytest.raises(BackupError) as raised:
        site.back_up()
    assert "svm1:kvm_vol2" in raised.value.message
    assert "taken back" in raised.value.message
    assert raised.value.fields["failure_kind"] == "SnapshotSetError"
    assert site.left() == ([], [], [])
    assert site.free()
    assert site.back_up()["changed"] is True


def break_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a backup of two guests whose process ends once its snapshots are there."""
    two_guests(site)

    def die(*_arguments: Any) -> None:
        raise SystemExit(9)

    with monkeypatch.context() as patched:
        patched.setattr(run, "_undone", lambda _run, exc, *_others, **_more: exc)
        patched.setattr(run, "_completed", die)
        with pytest.raises(SystemExit):
            site.back_up()


def test_a_run_that_broke_off_is_taken_back_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    break_off(site, monkeypatch)
    assert site.left() == (["kvm_vol1", "kvm_vol2"], ["started"], [])
    result = site.back_up()
    assert (result["changed"], site.left()) == (True, (["kvm_vol1", "kvm_vol2"], ["complete"], []))


@pytest.mark.parametrize("check", [True, False])
def test_what_other_hosts_of_one_point_in_time_may_need_is_not_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    break_off(site, monkeypatch)
    known = store.load(site.root, site.name)
    assert known is not None
    shared = {known.volumes[0].volume_uuid: ("hv1", "hv2")}
    store.save(site.root, replace(known, shared_with=shared), origin=Origin.OWN_RUN)
    with pytest.raises(InputError, match=r"as one point in time with hv2, .* Nothing was touched\. Choose another"):
        site.back_up(check=check)
    assert site.left() == (["kvm_vol1", "kvm_vol2"], ["started"], [])


def test_a_crash_in_the_hold_is_undone_by_the_same_name_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _web, sol = two_guests(site)

    def crash(*_arguments: Any) -> None:
        raise SystemExit(9)

    with monkeypatch.context() as patched:
        patched.setattr(critical_section, "release_all", crash)
        patched.setattr(run, "_undone", lambda _run, exc, *_others, **_more: exc)
        with pytest.raises(SystemExit):
            site.back_up()
    assert site.guests.state(sol)[0] == PAUSED
    assert site.back_up()["changed"] is True
    assert site.free()
    assert site.left() == (["kvm_vol1", "kvm_vol2"], ["complete"], [])


@pytest.mark.parametrize(
    ("place", "name", "error"),
    [
        (HoldRecord, "remove", HoldRecordError("Failed to remove it")),
        (models.NoGuard, "disarm", TimerError("Failed to remove it")),
        (models.NoGuard, "disarm", TypeError("never expected")),
    ],
)
def test_a_backup_stays_when_what_was_written_down_of_its_hold_cannot_be_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch, place: type, name: str, error: Exception
) -> None:
    two_guests(site)

    def fail(*_arguments: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(place, name, fail)
        result = site.back_up()
    (said,) = [each for each in result["notes"] if str(error) in each]
    assert said.startswith("All guests of hold")
    assert all(site.guests.state(uuid)[0] == RUNNING for uuid in site.guests.inside)
    assert site.left()[:2] == (["kvm_vol1", "kvm_vol2"], ["complete"])
    assert site.back_up()["changed"] is False
    site.name += "9"
    assert site.back_up()["changed"] is True


@pytest.mark.parametrize(("below", "left"), [("fail_guest", ["complete"]), ("record", ["complete"]), ("fail_run", [])])
def test_a_guest_below_the_level_asked_for(site: Site, below: str, left: list[str]) -> None:
    two_guests(site)
    wanted = {"consistency": "filesystem-consistent", "below_consistency": below}
    if below == "fail_run":
        with pytest.raises(BackupError, match="sol1 reached crash-consistent") as raised:
            site.back_up(**wanted)
        assert raised.value.fields["guests_below_consistency"] == ["sol1"]
    else:
        assert site.back_up(**wanted)["guests_below_consistency"] == ["sol1"]
    assert site.left()[1] == left
    assert bool(site.snapshots()) is bool(left)


def test_a_label_that_failed_is_set_by_the_same_name_again(site: Site) -> None:
    two_guests(site)
    failure = {"status": 400, "code": "1638446", "message": "Failed to set the label"}
    site.sim.control.add_fault("status", match={"method": "PATCH"}, **failure)
    with pytest.raises(BackupError, match="can be restored from, but"):
        site.back_up(snapmirror_label="daily")
    assert site.left() == (["kvm_vol1", "kvm_vol2"], ["complete"], [])
    site.sim.control.clear_faults()
    again = site.back_up(snapmirror_label="daily")
    assert (again["changed"], {each["snapmirror_label"] for each in again["snapshots"]}) == (True, {"daily"})
    assert site.back_up(snapmirror_label="daily")["changed"] is False


def test_a_foreign_snapshot_of_the_name_stays(site: Site) -> None:
    two_guests(site)
    site.sim.control.add_snapshot("svm1", "kvm_vol2", site.name, comment="by hand")
    with pytest.raises(KvmsnapError, match="kvm_vol2"):
        site.back_up()
    assert site.left() == (["kvm_vol2"], [], [])


def test_our_snapshot_without_a_manifest_stays(site: Site) -> None:
    two_guests(site)
    site.sim.control.add_snapshot("svm1", "kvm_vol1", site.name, comment="kvmsnap/hv1: run x")
    site.sim.control.add_snapshot("svm1", "kvm_vol2", site.name, comment="kvmsnap/hv1: run x")
    with pytest.raises(InputError, match="without a backup of that name"):
        site.back_up()
    assert site.left() == (["kvm_vol1", "kvm_vol2"], [], [])


def test_a_backup_whose_snapshot_is_gone_is_an_error_and_stays(site: Site) -> None:
    two_guests(site)
    site.back_up()
    site.delete("kvm_vol2")
    with pytest.raises(BackupError, match="missing on svm1:kvm_vol2"):
        site.back_up()
    assert site.left() == (["kvm_vol1"], ["complete"], [])


def test_two_backups_of_a_host_take_turns(site: Site) -> None:
    two_guests(site)
    with backup_lock(site.directory, "the-other", wait=0):
        with pytest.raises(BusyError, match="the-other") as raised:
            site.back_up()
        assert raised.value.fields["backup_id"] == "the-other"
        with pytest.raises(BusyError):
            site.back_up(concurrency="wait", concurrency_timeout=0.3)
    assert site.left() == ([], [], [])
    assert site.back_up()["changed"] is True


@pytest.mark.usefixtures("hurry")
def test_a_guest_that_cannot_be_released_is_told_and_the_backup_kept(site: Site) -> None:
    web, _sol = two_guests(site)
    site.guests.inside[web].thaws = ["silent"] * 99
    with pytest.raises(BackupError, match="web1") as raised:
        site.back_up()
    assert raised.value.fields["changed"] is True
    assert site.left()[:2] == (["kvm_vol1", "kvm_vol2"], ["complete"])
    record = json.loads((site.directory / "holds" / f"{site.name}.json").read_text())
    assert [row["name"] for row in record["guests"] if row["phase"] == "held"] == ["web1"]
    site.guests.inside[web].thaws = []
    hold.release(site.name, site.settings(), check=False)
    assert site.free()


def test_a_guest_that_thaws_itself_is_let_go_in_time_and_called_what_it_is(site: Site) -> None:
    site.vss_seconds = 0.3
    mounts = {
        "windows": (FileSystem("C:\\", "c", "NTFS", ("vda",)), FileSystem("D:\\", "d", "NTFS", ("vdb",))),
        "linux": (FileSystem("/", "vda1", "ext4", ("vda",)), FileSystem("/srv", "vdb", "xfs", ("vdb",))),
    }
    windows = site.add(
        "win1", "kvm_vol1", "kvm_vol2", os="http://microsoft.com/win/2k22", agent=Inside(mounts=mounts["windows"])
    )
    site.add("web1", "kvm_vol1", "kvm_vol2", agent=Inside(mounts=mounts["linux"]))
    site.fault("delay", "kvm_vol2", seconds=1.5)
    result = site.back_up()
    rows = {row["name"]: row for row in result["guests"]}
    assert rows["win1"]["thaw_sent"] - rows["win1"]["freeze_answered"] < 1.0
    assert rows["web1"]["thaw_sent"] > max(each["confirmed_at"] for each in result["snapshots"])
    levels = {guest["name"]: guest["consistency"] for guest in result["backup"]["guests"]}
    assert levels == {"win1": "inconsistent", "web1": "filesystem-consistent"}
    assert result["guests_below_consistency"] == ["win1"]
    assert not site.guests.inside[windows].frozen


def test_guests_that_do_not_fit_go_in_waves_and_the_result_says_so(site: Site) -> None:
    site.at_once = 2
    for number in range(5):
        site.add(f"sol{number}", "kvm_vol1")
    result = site.back_up()
    assert result["notes"][-1].startswith("5 guests were held in 3 waves")
    assert all(row["held"] for row in result["guests"])


def test_being_asked_to_end_takes_the_backup_back(site: Site) -> None:
    web = site.add("web1", "kvm_vol1", agent=Inside())
    site.guests.inside[web].on_freeze = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(BackupError, match="asked to end"):
        site.back_up()
    assert site.left() == ([], [], [])
    assert site.free()


def test_groups_are_held_in_order_and_released_in_reverse(site: Site) -> None:
    for name in ("app", "db", "other"):
        site.add(name, "kvm_vol1", agent=Inside())
    result = site.back_up(order=[["db"], ["app"]])
    rows = {row["name"]: row for row in result["guests"]}
    assert rows["db"]["freeze_answered"] <= rows["app"]["freeze_sent"]
    assert rows["app"]["freeze_answered"] <= rows["other"]["freeze_sent"]
    assert rows["other"]["thaw_answered"] <= rows["app"]["thaw_sent"]
    assert rows["app"]["thaw_answered"] <= rows["db"]["thaw_sent"]
    assert all(row["held"] for row in rows.values())


def test_chosen_file_systems_alone_are_frozen(site: Site) -> None:
    mounts = (FileSystem("/", "vda1", "ext4", ("vda",)), FileSystem("/srv", "vda2", "xfs", ("vda",)))
    web = site.add("web1", "kvm_vol1", agent=Inside(mounts=mounts))
    result = site.back_up(filesystems={"web1": ["/srv"]})
    assert site.guests.inside[web].asked_for == [["/srv"]]
    (guest,) = result["backup"]["guests"]
    assert (guest["consistency"], guest["reason"]) == ("crash-consistent", "/ (ext4) is not frozen")
    with pytest.raises(BackupError, match="nothing is mounted at /data"):
        site.back_up(backup_id=f"{site.name}-2", filesystems={"web1": ["/data"]})


def test_frozen_and_suspended(site: Site) -> None:
    mounts = (FileSystem("/", "vda1", "ext4", ("vda",)),)
    web = site.add("web1", "kvm_vol1", "kvm_vol2", agent=Inside(mounts=mounts))
    result = site.back_up(quiesce={"web1": "agent+suspend"})
    (guest,) = result["backup"]["guests"]
    assert (guest["method"], guest["consistency"]) == ("agent+suspend", "crash-consistent")
    assert guest["reason"] == "disk vdb has no file system that is frozen"
    assert result["guests"][0]["held"] is True
    assert site.free()
    journal = [verb for verb in site.guests.inside[web].journal if verb in ("freeze", "thaw")]
    assert journal == ["freeze", "thaw"]


@pytest.mark.usefixtures("hurry")
def test_a_snapshot_that_may_come_late_is_named_and_the_same_name_goes_on(site: Site) -> None:
    two_guests(site)
    site.fault("late", "kvm_vol1", count=9, seconds=60, answer="error", status=503)
    with pytest.raises(BackupError, match="Run again with the same backup_id") as caught:
        site.back_up()
    assert "kvm_vol1" in str(caught.value)
    assert site.left() == ([], ["started"], [])
    assert site.free()
    site.sim.control.hasten()
    site.sim.control.settle()
    assert site.snapshots() == ["kvm_vol1"]
    site.sim.control.clear_faults()
    assert site.back_up()["changed"] is True


@pytest.mark.usefixtures("hurry")
def test_an_earlier_run_s_snapshot_that_comes_into_the_next_is_not_used(site: Site) -> None:
    """It comes while a guest is frozen: nobody saw it before, and the run's own is asked for afterwards."""
    web, _other = two_guests(site)
    site.fault("late", "kvm_vol1", count=9, seconds=60, answer="error", status=503)
    with pytest.raises(BackupError):
        site.back_up()
    site.sim.control.clear_faults()

    def come() -> None:
        site.sim.control.hasten()
        site.sim.control.settle()

    site.guests.inside[web].on_freeze = come
    with pytest.raises(BackupError, match="came meanwhile"):
        site.back_up()
    assert site.left() == (["kvm_vol1"], ["started"], [])
    assert site.free()
    assert site.back_up()["changed"] is True
