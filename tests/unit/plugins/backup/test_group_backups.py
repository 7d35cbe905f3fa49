# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole backups whose snapshots consistency groups make, on the simulated array; it is asked, not the module's word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any, Optional

import pytest
from backup_site import Site, two_guests
from hurried import Hurry

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import critical_section
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.run import BackupError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import STARTED, Manifest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import refs_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import snapshot_sets
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.group_plan import SHORTEST_FENCE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery import run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline
from ontapsim.testclient import Api

GROUPS = "/application/consistency-groups"
START, COMMIT = ("POST", f"{GROUPS}/[^/]+/snapshots$"), ("PATCH", f"{GROUPS}/[^/]+/snapshots/[^/]+$")
Grouping = Callable[..., str]


@pytest.fixture
def grouping(site: Site) -> Iterator[Grouping]:
    """Make consistency groups that go with the test; each call returns the path of one."""
    api = Api(site.sim)

    def make(name: str, *volumes: str, svm: str = "svm1") -> str:
        members = [{"name": each, "provisioning_options": {"action": "add"}} for each in volumes]
        api.change("POST", GROUPS, {"name": name, "svm": {"name": svm}, "volumes": members})
        (record,) = api.records(f"{GROUPS}?name={name}")
        path = f"{GROUPS}/{record['uuid']}"
        undo.callback(api.change, "DELETE", path)
        return path

    with ExitStack() as undo:
        yield make


def recorded(site: Site, path: str) -> list[str]:
    """Return the names of the snapshots that the array has of a group."""
    return [record["name"] for record in Api(site.sim).records(f"{path}/snapshots")]


def disturb(site: Site, phase: tuple[str, str], kind: str, **how: Any) -> None:
    """Let requests of one phase fail."""
    count = how.pop("count", 1)
    site.sim.control.add_fault(kind, match={"method": phase[0], "path": phase[1], "count": count}, **how)


def test_a_group_makes_the_snapshots_once_all_guests_are_held(site: Site, grouping: Grouping) -> None:
    two_guests(site)
    path = grouping("cg1", "kvm_vol1", "kvm_vol2")
    site.sim.control.clear_requests()
    result = site.back_up(consistency_groups="require", snapmirror_label="daily")
    assert site.left() == (["kvm_vol1", "kvm_vol2"], ["complete"], [])
    assert site.free()
    assert recorded(site, path) == [site.name]
    sent = [each["method"] for each in site.sim.control.requests() if each["method"] != "GET"]
    assert sent == ["POST", "PATCH", "PATCH", "PATCH"]
    frozen = max(row["freeze_answered"] for row in result["guests"])
    thawed = min(row["thaw_sent"] for row in result["guests"])
    for each in result["snapshots"]:
        assert each["absent_at"] < frozen <= each["requested_at"] < each["confirmed_at"] <= thawed
        assert (each["created"], each["snapmirror_label"]) == (True, "daily")
    levels = {guest["name"]: guest["consistency"] for guest in result["backup"]["guests"]}
    assert levels == {"web1": "filesystem-consistent", "sol1": "crash-consistent"}
    (group,) = result["backup"]["groups"]
    assert (group["name"], group["volumes"], group["foreign_volumes"]) == ("cg1", ["kvm_vol1", "kvm_vol2"], [])
    assert "  consistency group svm1:cg1: the snapshots of kvm_vol1, kvm_vol2" in result["summary"]
    again = site.back_up(consistency_groups="require", snapmirror_label="daily")
    assert (again["changed"], again["backup"]["exists"]) == (False, True)
    remove(site, manifest_of(site))
    assert recorded(site, path) == []


def manifest_of(site: Site) -> Manifest:
    """Return the backup as the catalog has it."""
    saved = store.load(site.root, site.name)
    assert saved is not None
    return saved


def remove(site: Site, manifest: Optional[Manifest] = None, *volumes: str) -> None:
    """Delete the snapshots of a backup, or of some volumes."""
    with site.access().connected(Deadline.after(30)) as clients:
        refs = [VolumeRef("svm1", volume) for volume in volumes]
        if manifest is not None:
            refs = refs_of(clients, manifest, deadline=Deadline.after(30))
        wanted = SnapshotRequest(site.name, owner="hv1")
        snapshot_sets.ensure_absent(clients, refs, wanted, check_mode=False, deadline=Deadline.after(30))


def test_other_volumes_of_a_group_are_named_and_go_with_the_backup(site: Site, grouping: Grouping) -> None:
    two_guests(site)
    path = grouping("cg1", "kvm_vol1", "kvm_vol2", "kvm_nested")
    planned = site.back_up(check=True, consistency_groups="auto")
    result = site.back_up(consistency_groups="auto")
    for told in (planned, result):
        assert any("it also holds kvm_nested, not of this backup" in note for note in told["notes"])
        assert told["backup"]["groups"][0]["foreign_volumes"] == ["kvm_nested"]
    assert {each["volume"] for each in result["snapshots"]} == {"kvm_vol1", "kvm_vol2"}
    assert site.snapshots() == ["kvm_nested", "kvm_vol1", "kvm_vol2"]
    remove(site, None, "kvm_vol1")
    assert (site.snapshots(), recorded(site, path)) == (["kvm_nested", "kvm_vol2"], [site.name])
    remove(site, manifest_of(site))
    assert (site.snapshots(), recorded(site, path)) == ([], [])


def test_volumes_of_no_group_are_held_and_made_beside_it(site: Site, grouping: Grouping) -> None:
    two_guests(site)
    grouping("cg1", "kvm_vol2")
    result = site.back_up(consistency_groups="auto")
    assert site.left() == (["kvm_vol1", "kvm_vol2"], ["complete"], [])
    assert any("svm1:kvm_vol1 is in no consistency group" in note for note in result["notes"])
    assert [group["volumes"] for group in result["backup"]["groups"]] == [["kvm_vol2"]]


@pytest.mark.parametrize("check", [True, False])
def test_what_a_group_cannot_do_is_refused_before_anything_is_held(site: Site, grouping: Grouping, check: bool) -> None:
    web, _sol = two_guests(site)
    grouping("cg1", "kvm_vol2", "kvm_nested")
    with pytest.raises(InputError, match="svm1:kvm_vol1 is in no consistency group; add it to one"):
        site.back_up(check=check, consistency_groups="require")
    site.sim.control.add_snapshot("svm1", "kvm_nested", site.name, comment="somebody else's")
    with pytest.raises(InputError, match="holds kvm_nested, which has a snapshot of that name"):
        site.back_up(check=check, consistency_groups="require")
    site.seconds = 6.0
    site.delete("kvm_nested")
    with pytest.raises(InputError, match=r"hold_deadline is 6 s; with consistency groups it must be 7 or more"):
        site.back_up(check=check, consistency_groups="auto")
    assert site.left() == ([], [], [])
    assert "freeze" not in site.guests.inside[web].journal


@pytest.mark.parametrize(
    ("phase", "kind", "how", "made"),
    [
        pytest.param(START, "drop_before", {}, True, id="start-lost-on-the-way"),
        pytest.param(START, "drop_after", {}, False, id="start-and-the-array-does-not-tell-its-uuid"),
        pytest.param(START, "status", {"status": 400, "code": "53411918", "message": "no"}, False, id="start-refused"),
        pytest.param(START, "burst", {"status": 503, "retry_after": 0}, True, id="start-when-busy"),
        pytest.param(COMMIT, "drop_before", {}, True, id="commit-lost-on-the-way"),
        pytest.param(COMMIT, "drop_after", {}, True, id="commit-answer-lost"),
        pytest.param(
            COMMIT, "status", {"status": 400, "code": "53411921", "message": "no"}, False, id="commit-refused"
        ),
        pytest.param(COMMIT, "status", {"status": 500, "count": None}, False, id="commit-broken"),
    ],
)
def test_what_happens_between_the_phases(
    site: Site,
    grouping: Grouping,
    request: pytest.FixtureRequest,
    phase: tuple[str, str],
    kind: str,
    how: dict[str, Any],
    made: bool,
) -> None:
    two_guests(site)
    path = grouping("cg1", "kvm_vol1", "kvm_vol2", "kvm_nested")
    disturb(site, phase, kind, **how)
    if made:
        site.back_up(consistency_groups="require")
        assert site.left() == (["kvm_nested", "kvm_vol1", "kvm_vol2"], ["complete"], [])
        assert recorded(site, path) == [site.name]
    else:
        hurry: Hurry = request.getfixturevalue("hurry")
        with pytest.raises(BackupError, match="What had been made of it was taken back"):
            site.back_up(consistency_groups="require")
        assert site.left() == ([], [], [])
        assert recorded(site, path) == []
        assert sum(hurry.slept) > SHORTEST_FENCE, "the fence is waited for, which nobody took down"
    assert site.free()
    assert sum(each["method"] == "POST" for each in site.sim.control.requests()) <= 4


def test_a_commit_that_comes_after_the_fence_leaves_nothing(site: Site, grouping: Grouping, hurry: Hurry) -> None:
    two_guests(site)
    path = grouping("cg1", "kvm_vol1", "kvm_vol2")
    site.seconds = 7.0
    disturb(site, COMMIT, "late", answer="drop", seconds=0.4, count=None)
    with pytest.raises(BackupError) as raised:
        site.back_up(consistency_groups="require")
    assert sum(hurry.slept) > SHORTEST_FENCE
    site.sim.control.settle()
    assert {each["status"] for each in site.sim.control.late()} == {400}, "there was nothing left to commit"
    assert site.left() == ([], [], [])
    assert recorded(site, path) == []
    assert site.free()
    assert raised.value.fields["consistency_group"] == "cg1"


def test_a_snapshot_that_was_committed_and_cannot_be_confirmed_goes_with_all_its_parts(
    site: Site, grouping: Grouping
) -> None:
    two_guests(site)
    path = grouping("cg1", "kvm_vol1", "kvm_vol2", "kvm_nested")
    kind = {"kind": "status", "volume": "kvm_vol2", "method": "GET", "status": 400, "code": "2", "message": "no"}
    original = critical_section.hold_all

    def held(*args: Any, **options: Any) -> Any:
        rows = original(*args, **options)
        site.fault(**kind)
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(critical_section, "hold_all", held)
        with pytest.raises(BackupError, match="What had been made of it was taken back"):
            site.back_up(consistency_groups="require")
    assert site.left() == ([], [], [])
    assert recorded(site, path) == []


def recover(site: Site, *, orphans: str = "present", volumes: Sequence[SavedVolume] = ()) -> dict[str, Any]:
    """Put right what runs that are over have left."""
    options = {
        **site.options(),
        "volumes": [asdict(each) for each in volumes],
        "grace_period": 0,
        "orphans": orphans,
        "safety_days": 30,
        "hold_dir": str(site.directory / "holds"),
        "uri": "test:///default",
        "freeze_timeout": 5,
        "agent_ping_timeout": 5,
    }
    return run.recover(run.RecoveryRequest.from_options(options), check=False)


def test_the_rest_of_a_run_that_broke_off_is_removed_with_the_group_s_other_volumes(
    site: Site, grouping: Grouping
) -> None:
    two_guests(site)
    path = grouping("cg1", "kvm_vol1", "kvm_vol2", "kvm_nested")
    site.back_up(consistency_groups="require")
    store.save(site.root, replace(manifest_of(site), phase=STARTED), origin=Origin.OWN_RUN)
    assert recover(site)["changed"] is True
    assert site.left() == ([], [], [])
    assert recorded(site, path) == []
    site.back_up(consistency_groups="require")
    store.save(site.root, replace(manifest_of(site), phase=STARTED), origin=Origin.OWN_RUN)
    assert site.back_up(consistency_groups="require")["changed"] is True
    assert recorded(site, path) == [site.name]


def test_a_snapshot_that_another_host_of_one_point_in_time_shares_outlives_the_rest_of_a_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_guests(site)
    site.back_up()
    known = manifest_of(site)
    (second,) = [volume for volume in known.volumes if volume.volume == "kvm_vol2"]
    started = replace(known, phase=STARTED, shared_with={second.volume_uuid: ("hv2",)})
    store.save(site.root, started, origin=Origin.OWN_RUN)
    assert store.load(site.root, site.name) == started
    assert "On svm1:kvm_vol2 it is that of hv2, too, and stays" in " ".join(recover(site)["summary"])
    assert site.left() == (["kvm_vol2"], [], [])
    monkeypatch.setattr(run, "hosts_of", lambda _name, _comments: {"hv1", "hv2"})
    assert "hv2 may have it as a backup, and it stays" in " ".join(
        recover(site, orphans="absent", volumes=known.volumes)["summary"]
    )
    assert site.left() == (["kvm_vol2"], [], [])
    monkeypatch.undo()
    recover(site, orphans="absent", volumes=known.volumes)
    assert site.left() == ([], [], [])


def test_an_account_without_the_right_is_told_which_it_lacks(site: Site, grouping: Grouping) -> None:
    two_guests(site)
    disturb(site, ("GET", f"{GROUPS}$"), "status", status=403, code="6", message="not authorized")
    with pytest.raises(KvmsnapError, match=f"its role needs readonly or more on /api{GROUPS}"):
        site.back_up(consistency_groups="auto")
    assert site.left() == ([], [], [])


def test_the_oldest_release_that_knows_two_phases(site: Site, grouping: Grouping) -> None:
    two_guests(site)
    path = grouping("cg1", "kvm_vol1", "kvm_vol2", "kvm_nested")
    site.sim.control.set_version("9.11.1")
    try:
        site.back_up(consistency_groups="require")
        assert recorded(site, path) == [site.name]
        remove(site, manifest_of(site))
        assert (site.snapshots(), recorded(site, path)) == ([], [])
    finally:
        site.sim.control.set_version("9.19.1")
