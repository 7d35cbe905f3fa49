# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What restores kept goes with them, when its time is over and nothing needs it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from recovery_host import Host, told

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery import run, safety_removal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy


def test_what_a_restore_kept_is_shown_then_removed_and_its_journal_stays(host: Host) -> None:
    old = host.restored("old", "kvm_vol1", "kvm_vol2")
    host.restored("young", "kvm_vol1", days=29)
    host.restored("broken", "kvm_vol2", done=False)
    before = (host.safeties(), sorted(path.name for path in old.parent.iterdir()))
    shown = host.recover(check=True)
    assert (shown["changed"], told(shown)) == (True, [("restore", None), ("safety", "removed")])
    assert shown["leftovers"][1]["name"] == "old"
    for word in ("31 days ago", "svm1:kvm_vol1, svm1:kvm_vol2", "old.files", "old.images"):
        assert word in shown["leftovers"][1]["message"]
    assert (host.safeties(), sorted(path.name for path in old.parent.iterdir())) == before
    assert host.recover() == shown
    assert host.safeties() == {"kvm_vol1": [f"{host.owner}-safety-young"], "kvm_vol2": [f"{host.owner}-safety-broken"]}
    left = {path.name for path in old.parent.iterdir()}
    assert left == set(before[1]) - {"old.files", "old.images"} | {".lock"}
    known = restore_journal.load(host.catalog, "old")
    assert known is not None
    assert (known.done("u1"), known.safeties) == (True, ())
    assert known.safety_removed.startswith(f"{datetime.now(timezone.utc):%Y-%m-%dT}")
    again = host.recover()
    assert (again["changed"], told(again)) == (False, [("restore", None)])


def test_nothing_that_was_kept_is_removed_when_it_is_to_be_kept_for_ever(host: Host) -> None:
    host.restored("old", "kvm_vol1", days=4000)
    assert host.recover(safety_days=0)["leftovers"] == []
    assert "kvm_vol1" in host.safeties()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"owners": ["snapmirror"]}, "busy, it is in use by snapmirror"),
        ({"expiry_time": "2099-01-01T00:00:00+00:00"}, "kept until 2099"),
        ({"comment": "kvmsnap/other: before restore other on hv1"}, "is not of it"),
    ],
    ids=["busy", "not expired", "another's"],
)
def test_a_safety_snapshot_that_must_stay_keeps_all_of_its_restore(
    host: Host, values: dict[str, Any], said: str
) -> None:
    path = host.restored("old", "kvm_vol1", "kvm_vol2")
    name = f"{host.owner}-safety-old"
    host.sim.control.change_snapshot("svm1", "kvm_vol2", name, **values)
    text = path.read_text(encoding="utf-8")
    result = host.recover()
    assert (result["changed"], told(result)) == (False, [("safety", None)])
    assert said in result["leftovers"][0]["message"]
    assert (host.safeties(), path.read_text(encoding="utf-8")) == ({"kvm_vol1": [name], "kvm_vol2": [name]}, text)
    assert (restore_journal.images_of(host.catalog, "old") / "u1.save").exists()
    host.sim.control.change_snapshot("svm1", "kvm_vol2", name, owners=[], expiry_time=None)


@pytest.mark.parametrize("owner", ["../x", "a+b", "-x"])
def test_a_comment_with_an_owner_that_nobody_can_be_hinders_nothing_else(host: Host, owner: str) -> None:
    host.restored("odd", "kvm_vol1")
    host.restored("old", "kvm_vol2")
    name = f"{host.owner}-safety-odd"
    comment = f"kvmsnap/{owner}: before restore odd on hv1"
    host.sim.control.change_snapshot("svm1", "kvm_vol1", name, comment=comment)
    result = host.recover()
    assert sorted(told(result), key=str) == [("safety", "removed"), ("safety", None)]
    (kept,) = (each for each in result["leftovers"] if not each["action"])
    assert f"is not of it ({comment!r})" in kept["message"]
    assert host.safeties() == {"kvm_vol1": [name]}


def test_another_snapshot_of_the_name_stays_and_hinders_nothing(host: Host) -> None:
    host.restored("old", "kvm_vol1", "kvm_vol2")
    name = f"{host.owner}-safety-old"
    with connect(Controller.from_option(host.controller), policy=RetryPolicy(0)) as client:
        wanted = SnapshotRequest.checked(name=name, owner=host.owner)
        ref = [VolumeRef("svm1", "kvm_vol2")]
        run.ensure_absent([client], ref, wanted, check_mode=False, deadline=Deadline.after(30))
    host.sim.control.add_snapshot("svm1", "kvm_vol2", name, comment="mine")
    assert told(host.recover()) == [("safety", "removed")]
    assert host.safeties() == {"kvm_vol2": [name]}


def test_nothing_that_was_kept_is_removed_while_a_restore_is_under_way_or_a_journal_cannot_be_read(host: Host) -> None:
    path = host.restored("old", "kvm_vol1")
    with restore_journal.alone(host.catalog):
        result = host.recover()
        assert told(result) == [("safety", None)]
        assert "a restore of this host is under way" in result["leftovers"][0]["message"]
    unread = path.with_name("r9.json")
    unread.write_text("{", encoding="ascii")
    result = host.recover()
    assert told(result) == [("restore", None), ("safety", None)]
    assert "what restore r9 needs is not known" in result["leftovers"][1]["message"]
    assert "kvm_vol1" in host.safeties()
    unread.unlink()
    assert told(host.recover()) == [("safety", "removed")]


def test_a_volume_that_no_controller_has_keeps_all_of_its_restore(host: Host) -> None:
    path = host.restored("old", "kvm_vol1")
    record = json.loads(path.read_text(encoding="utf-8"))
    record["safeties"][0]["snapshots"].append({**record["safeties"][0]["snapshots"][0], "volume_uuid": "gone"})
    path.write_text(json.dumps(record), encoding="utf-8")
    host.age(path, 31)
    result = host.recover()
    assert told(result) == [("safety", None)]
    assert "no controller that was given has svm1:kvm_vol1" in result["leftovers"][0]["message"]
    assert "kvm_vol1" in host.safeties()


def test_a_removal_that_was_killed_is_ended_by_the_next(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.restored("old", "kvm_vol1")

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(safety_removal, "_remove_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            host.recover()
    assert (host.safeties(), restore_journal.images_of(host.catalog, "old").is_dir()) == ({}, True)
    assert told(host.recover()) == [("safety", "removed")]
    assert not restore_journal.images_of(host.catalog, "old").exists()
    assert host.recover()["leftovers"] == []


def test_a_link_in_place_of_what_was_set_aside_leads_nowhere(host: Host, tmp_path: Path) -> None:
    host.restored("old", "kvm_vol1")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    images = restore_journal.images_of(host.catalog, "old")
    (images / "u1.save").unlink()
    images.rmdir()
    images.symlink_to(precious)
    assert told(host.recover()) == [("safety", "removed")]
    assert (precious / "file").exists()


def test_a_safety_snapshot_of_another_owner_s_backup_goes_with_the_restore_that_made_it(host: Host) -> None:
    host.restored("of-hv9", "kvm_vol1", "kvm_vol2", owner="hv9")
    assert told(host.recover()) == [("safety", "removed")]
    assert host.safeties() == {}


def test_a_safety_snapshot_that_another_host_took_before_restoring_this_one_s_backup_is_left_to_it(host: Host) -> None:
    host.restored("elsewhere", "kvm_vol1", on="another-host").unlink()
    host.sim.control.set_switches(clock_offset=31 * 86400)
    try:
        host.recover(volumes=host.records(), orphans="absent")
    finally:
        host.sim.control.reset_switches()
    assert host.safeties() == {"kvm_vol1": [f"{host.owner}-safety-elsewhere"]}


def test_a_safety_snapshot_that_a_killed_restore_asked_for_goes_when_that_has_ended(host: Host) -> None:
    host.restored("killed", "kvm_vol1", "kvm_vol2", days=0, done=False)
    known = restore_journal.load(host.catalog, "killed")
    assert known is not None
    asked = replace(known, safeties=(restore_journal.Safety(known.safeties[0].name, (), ()),))
    restore_journal.save(host.catalog, asked)
    assert told(host.recover(volumes=host.records())) == [("restore", None)], "it may yet go on"
    ended = {uuid: replace(progress, done=True) for uuid, progress in asked.guests.items()}
    restore_journal.save(host.catalog, replace(asked, guests=ended))
    assert host.recover(volumes=host.records(), safety_days=0)["leftovers"] == []
    result = host.recover(volumes=host.records())
    assert told(result) == [("snapshot", "removed")] * 2
    assert "made before restore killed, which ended without it" in result["leftovers"][0]["message"]
    assert host.safeties() == {}
    assert host.recover(volumes=host.records())["leftovers"] == []


def test_safety_snapshots_that_no_journal_knows_are_orphans_once_they_are_old(host: Host) -> None:
    path = host.restored("lost", "kvm_vol1")
    path.unlink()
    assert host.recover(volumes=host.records())["leftovers"] == [], "it is young"
    host.sim.control.set_switches(clock_offset=31 * 86400)
    try:
        result = host.recover(volumes=host.records())
        assert (result["changed"], told(result)) == (False, [("snapshot", None)])
        assert "before restore lost, and no journal knows it" in result["leftovers"][0]["message"]
        assert told(host.recover(volumes=host.records(), orphans="absent")) == [("snapshot", "removed")]
    finally:
        host.sim.control.reset_switches()
    assert host.safeties() == {}
