# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests on LUNs restored on the lab: bytes on the array and through multipath, identities, and breaks in between."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from world import world_of

from kvmlab.evidence import unbroken
from kvmlab.lab import DiskSpec, GuestSpec, LunSpec
from kvmlab.process import wait_until

HOST = "hv1"
GUEST, BOOT, DATA = "srest1", "/vol/kvm_san1/srest1", "/mnt/kvm_vol1/srest1-data.img"
DISKS = [LunSpec(BOOT, cache="writeback"), DiskSpec(DATA, cache="writeback")]
NEIGHBOUR, NEIGHBOUR_LUN = "san1", "/vol/kvm_san1/srest1-neighbour"
# A LUN that is made anew is another LUN, so each run has a backup and restores of its own.
RUN = f"{datetime.now(timezone.utc):%Y%m%d%H%M%S}"
BACKUP = f"hv1-stest_{RUN}"
TEMPORARY = "kvmsnap-tmp-"
# What holds the lock of this host's restores is the module, whatever its command line looks like.
KILL_RESTORE = "kill -9 $(lslocks --noheadings --output PID,PATH | awk '/restores.[.]lock/ {print $1}')"


@pytest.fixture(scope="module", name="lun", autouse=True)
def _lun(lab: Any) -> Iterator[Any]:
    """A guest that boots from a LUN and has its data on NFS, beside another guest's LUN and one that nobody uses.

    There is a backup of it; guest and LUN are gone afterwards.
    """
    lab.add_guest(GUEST, DISKS)
    neighbour = lab.luns.find(NEIGHBOUR_LUN) or lab.luns.create(NEIGHBOUR_LUN, 8)
    lab.luns.file(neighbour).write_bytes(b"neighbour" * ((8 << 20) // 9))
    play = lab.playbook("backup", extra_vars={"kvm_backup_guests": [GUEST], "kvm_backup_id": BACKUP})
    assert play.rc == 0, play.stdout
    yield lab.luns.get(BOOT)
    lab.control.clear_faults()
    lab.remove_guest(GUEST)
    lab.luns.delete(neighbour)


def sha256(lab: Any, snapshot: str | None = None, *, path: str = "srest1") -> str:
    """The hash of a LUN where the array keeps it."""
    found: str = lab.control.sha256("svm1", "kvm_san1", path, snapshot=snapshot)
    return found


def data_sha256(lab: Any, snapshot: str | None = None) -> str:
    """The hash of the guest's disk on NFS where the array keeps it."""
    found: str = lab.control.sha256("svm1", "kvm_vol1", "srest1-data.img", snapshot=snapshot)
    return found


def damage(lab: Any, lun: Any) -> None:
    """Stop the guest, read its disks through the host's caches, and overwrite them with garbage."""
    lab.ssh(f"virsh -q destroy {GUEST} 2> /dev/null || :")
    for path in (lun.device, DATA):
        lab.ssh(f"dd if=/dev/urandom of={path} bs=1M count=64 conv=notrunc,fsync status=none; cat {path} > /dev/null")
    assert sha256(lab) != sha256(lab, BACKUP)
    assert data_sha256(lab) != data_sha256(lab, BACKUP)


def identity(lab: Any, lun: Any) -> dict[str, Any]:
    """What must stay through a restore: the LUN and its maps on the array, the map and the definition on the host."""
    return {
        "lun": lab.luns.get(BOOT),
        "maps": lab.luns.maps(lun),
        "map": lab.ssh(f"readlink -f {lun.device}; cat /sys/block/$(basename $(readlink -f {lun.device}))/dm/uuid"),
        "paths": sorted((path.disk, path.works) for path in lab.san.paths(lun.wwid)),
        "definition": lab.virsh("dumpxml", "--inactive", GUEST),
        "neighbour": sha256(lab, path="srest1-neighbour"),
    }


def temporaries(lab: Any) -> list[str]:
    """The temporary LUNs on the array."""
    return [each.name for each in lab.luns.all() if TEMPORARY in each.name]


def asked(lab: Any, restore_id: str, **variables: Any) -> Any:
    """Run the restore playbook for the guest."""
    wanted = {"kvm_restore_vm_list": GUEST, "kvm_restore_backup_id": BACKUP, "kvm_restore_stop": "destroy"}
    wanted |= {"kvm_restore_id": f"{restore_id}-{RUN}", "kvm_restore_power": "off", **variables}
    return lab.playbook("restore", extra_vars=wanted)


def restored(lab: Any, restore_id: str, **variables: Any) -> Any:
    """Run the restore playbook, which must succeed."""
    play = asked(lab, restore_id, **variables)
    assert play.rc == 0, play.stdout
    return play


def kill_at(lab: Any, restore_id: str, method: str) -> None:
    """Kill a restore while the array works on its first request about LUNs of a method, which takes effect."""
    lab.control.clear_requests()
    lab.control.add_fault("delay", match={"method": method, "path": "/storage/luns", "count": 1}, seconds=8)

    def under_way() -> bool:
        return any(fault["hits"] for fault in lab.control.faults())

    def answered() -> bool:
        return any(each["method"] == method and "/storage/luns" in each["path"] for each in lab.control.requests())

    with ThreadPoolExecutor() as pool:
        play = pool.submit(asked, lab, restore_id)
        wait_until(under_way, seconds=400, what=f"the {method}", pause=0.2)
        lab.ssh(KILL_RESTORE)
        assert play.result().rc != 0
    wait_until(answered, seconds=30, what=f"the array's end of the {method}", pause=0.2)
    lab.control.settle()
    lab.control.clear_faults()


def refused(lab: Any, restore_id: str) -> str:
    """Run the restore playbook, which must be refused, and return what it says."""
    before, bytes_before = world_of(lab), (sha256(lab), data_sha256(lab))
    play = asked(lab, restore_id)
    assert play.rc != 0, play.stdout
    assert world_of(lab) == before
    assert (sha256(lab), data_sha256(lab)) == bytes_before
    assert temporaries(lab) == []
    return "\n".join(play.failures(HOST))


def test_a_check_shows_what_identifies_the_lun_and_touches_nothing(lab: Any, lun: Any) -> None:
    before, same = world_of(lab), identity(lab, lun)
    mark = max(entry["seq"] for entry in lab.control.journal())
    play = lab.playbook(
        "restore",
        extra_vars={"kvm_restore_vm_list": GUEST, "kvm_restore_backup_id": BACKUP},
        check=True,
        diff=True,
    )
    assert play.rc == 0, play.stdout
    for shown in (lun.serial, lun.wwid, f"svm1:{BOOT}", "svm1:/vol/kvm_vol1/srest1-data.img", f"snapshot {BACKUP}"):
        assert shown in play.stdout
    assert world_of(lab) == before
    assert identity(lab, lun) == same
    assert lab.control.journal(after=mark) == []


def test_a_destroyed_lun_is_back_byte_for_byte_and_is_the_same_lun(lab: Any, lun: Any) -> None:
    ticks, same = lab.ticks(NEIGHBOUR), identity(lab, lun)
    damage(lab, lun)
    mark = max(entry["seq"] for entry in lab.control.journal())
    play = restored(lab, "san-1")
    assert "by lun_clone" in play.stdout
    assert "identity and sampled blocks" in play.stdout
    assert (sha256(lab), data_sha256(lab)) == (sha256(lab, BACKUP), data_sha256(lab, BACKUP))
    through_the_map = lab.ssh(f"sha256sum {lun.device}").split()[0]
    assert through_the_map == sha256(lab, BACKUP), "the host's cache answers with bytes from before the restore"
    assert identity(lab, lun) == same
    assert temporaries(lab) == []
    done = [(entry["op"], entry["volume"], entry["path"]) for entry in lab.control.journal(after=mark)]
    written = {(volume, path) for op, volume, path in done if op != "snapshot_create" and TEMPORARY not in path}
    assert written == {("kvm_san1", "srest1")}, "the array wrote to a file that a guest has"
    now = lab.ticks(NEIGHBOUR)
    assert now[: len(ticks)] == ticks
    assert len(now) > len(ticks)
    assert unbroken(now)


def test_the_guest_runs_again_from_its_saved_state(lab: Any, lun: Any) -> None:
    saved = lab.storage_ticks(BOOT, snapshot=BACKUP)
    assert not lab.needs_recovery(BOOT, snapshot=BACKUP)
    again = restored(lab, "san-1")
    assert again.stats[HOST]["changed"] == 0
    healthy = {"condition": "agent", "timeout": 240}
    play = restored(lab, "san-2", kvm_restore_power="running", kvm_restore_verify="full", kvm_restore_health=healthy)
    (guest,) = next(entry["result"]["guests"] for entry in play.results if "restore_id" in entry["result"])
    assert guest["healthy"] is True
    boot, data = guest["disks"]
    assert (boot["verified"], data["verified"]) == ("identity and all content", "size and all content")
    assert (boot["sha256"], data["sha256"]) == (sha256(lab, BACKUP), data_sha256(lab, BACKUP))
    assert lab.virsh("domstate", GUEST).strip() == "running"
    lab.guests.wait([GuestSpec(GUEST, DISKS)])
    ticks = lab.ticks(GUEST)
    assert ticks[: len(saved)] == saved
    assert unbroken(ticks)
    assert lab.needs_recovery(BOOT), "it is mounted, and this is how one tells"
    lab.virsh("shutdown", GUEST)
    wait_until(lambda: lab.virsh("domstate", GUEST).strip() == "shut off", seconds=60, what="the guest's end")
    assert not lab.needs_recovery(BOOT)
    assert not lab.needs_recovery(DATA)


@pytest.mark.parametrize(
    ("method", "bytes_are_back", "left"),
    [
        pytest.param("POST", False, 1, marks=pytest.mark.long),
        ("PATCH", True, 1),
        pytest.param("DELETE", True, 0, marks=pytest.mark.long),
    ],
    ids=["while it clones", "while it overwrites", "while it removes the clone"],
)
def test_a_restore_that_was_killed_goes_on_and_leaves_nothing(
    lab: Any, lun: Any, method: str, bytes_are_back: bool, left: int
) -> None:
    damage(lab, lun)
    same = identity(lab, lun)
    restore_id = f"san-killed-{method}"
    kill_at(lab, restore_id, method)
    assert (sha256(lab) == sha256(lab, BACKUP)) is bytes_are_back
    assert len(temporaries(lab)) == left
    assert lab.virsh("domstate", GUEST).strip() == "shut off"
    restored(lab, restore_id)
    assert (sha256(lab), data_sha256(lab)) == (sha256(lab, BACKUP), data_sha256(lab, BACKUP))
    assert lab.ssh(f"sha256sum {lun.device}").split()[0] == sha256(lab, BACKUP)
    assert identity(lab, lun) == same
    assert temporaries(lab) == []


@pytest.mark.long
def test_recovery_removes_what_a_killed_restore_left_on_the_array(lab: Any, lun: Any) -> None:
    damage(lab, lun)
    kill_at(lab, "san-recovered", "POST")
    (left,) = temporaries(lab)
    same = identity(lab, lun)
    shown = lab.playbook("recover", check=True, diff=True)
    assert shown.rc == 0, shown.stdout
    assert f"lun svm1:{left}: a restore that broke off left it" in shown.stdout
    assert temporaries(lab) == [left]
    done = lab.playbook("recover")
    assert done.rc == 0, done.stdout
    assert temporaries(lab) == []
    assert identity(lab, lun) == same
    again = lab.playbook("recover")
    assert again.stats[HOST]["changed"] == 0
    restored(lab, "san-recovered")
    assert sha256(lab) == sha256(lab, BACKUP)


def test_a_guest_is_restored_wholly_or_not_at_all(lab: Any, lun: Any) -> None:
    damage(lab, lun)
    before, same = (sha256(lab), data_sha256(lab)), identity(lab, lun)
    fault = {"status": 400, "code": "5374866", "message": "The LUN's volume is offline."}
    lab.control.add_fault("status", match={"method": "PATCH", "path": "/storage/luns", "count": 1}, **fault)
    play = asked(lab, "san-half")
    lab.control.clear_faults()
    assert play.rc != 0
    assert "vda was put back from safety snapshot hv1-safety_" in "\n".join(play.failures(HOST))
    assert (sha256(lab), data_sha256(lab)) == before
    assert lab.ssh(f"sha256sum {lun.device}").split()[0] == before[0]
    assert identity(lab, lun) == same
    assert temporaries(lab) == []


def test_a_restore_is_undone_from_its_safety_snapshot(lab: Any, lun: Any) -> None:
    damage(lab, lun)
    before, same = (sha256(lab), data_sha256(lab)), identity(lab, lun)
    restored(lab, "san-undone")
    assert (sha256(lab), data_sha256(lab)) == (sha256(lab, BACKUP), data_sha256(lab, BACKUP))
    restored(lab, "san-undone", kvm_restore_state="undone")
    assert (sha256(lab), data_sha256(lab)) == before
    assert lab.ssh(f"sha256sum {lun.device}").split()[0] == before[0]
    assert identity(lab, lun) == same


@pytest.mark.long
def test_with_one_path_down_the_restore_goes_on_and_says_so(lab: Any, lun: Any) -> None:
    damage(lab, lun)
    lab.san.portal_down("b")
    try:
        lab.san.wait_paths(lun, 1)
        play = restored(lab, "san-one-path")
        assert "1 of its 2 paths fail" in play.stdout
        assert sha256(lab) == sha256(lab, BACKUP)
    finally:
        lab.san.portal_up("b")
    lab.san.wait_paths(lun)


@pytest.mark.long
def test_without_a_path_nothing_is_touched(lab: Any, lun: Any) -> None:
    damage(lab, lun)
    for fabric in ("a", "b"):
        lab.san.portal_down(fabric)
    try:
        lab.san.wait_paths(lun, 0)
        said = refused(lab, "san-no-path")
    finally:
        for fabric in ("a", "b"):
            lab.san.portal_up(fabric)
    lab.san.wait_paths(lun)
    assert "no path of its multipath device works" in said
    lab.virsh("destroy", NEIGHBOUR)
    lab.start_guest(NEIGHBOUR)


@pytest.mark.long
def test_without_multipathd_nothing_is_touched(lab: Any, lun: Any) -> None:
    damage(lab, lun)
    lab.san.stop_multipathd()
    try:
        said = refused(lab, "san-no-daemon")
    finally:
        lab.san.start_multipathd()
    lab.san.wait_paths(lun)
    assert "multipathd" in said


@pytest.mark.long
def test_a_lun_that_somebody_has_open_is_not_touched(lab: Any, lun: Any) -> None:
    damage(lab, lun)
    holder = lab.ssh(f"sleep 600 < {lun.device} > /dev/null 2>&1 & echo $!").strip()
    try:
        assert f"{lun.device} open" in refused(lab, "san-open")
    finally:
        lab.ssh(f"kill {holder}")


def test_a_lun_that_was_replaced_is_not_touched(lab: Any, lun: Any) -> None:
    damage(lab, lun)
    other = lab.luns.create("/vol/kvm_san1/srest1-other", lun.size >> 20)
    try:
        names = {lun.uuid: "/vol/kvm_san1/srest1-moved", other.uuid: BOOT}
        for uuid, name in names.items():
            lab.luns.api.request("PATCH", f"/storage/luns/{uuid}", {"name": name})
        said = refused(lab, "san-replaced")
        assert "srest1-moved" in said
    finally:
        for uuid, name in {other.uuid: other.name, lun.uuid: BOOT}.items():
            lab.luns.api.request("PATCH", f"/storage/luns/{uuid}", {"name": name})
        lab.luns.delete(lab.luns.get(other.name))
    restored(lab, "san-last")
    assert sha256(lab) == sha256(lab, BACKUP)
