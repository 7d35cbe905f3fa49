# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest on two LUNs of two volumes: one backup, both destroyed, both back as the LUNs that they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from world import STAMP

from kvmlab.evidence import unbroken
from kvmlab.lab import GuestSpec, LunSpec
from kvmlab.process import wait_until

HOST = "hv1"
GUEST, BOOT, DATA = "srest2", "/vol/kvm_san1/srest2", "/vol/kvm_san2/srest2-data"
LUNS = (BOOT, DATA)
DISKS = [LunSpec(BOOT, cache="writeback"), LunSpec(DATA, cache="writeback")]
BACKUP = f"hv1-twoluns_{STAMP}"
TEMPORARY = "kvmsnap-tmp-"


@pytest.fixture(scope="module", name="backup", autouse=True)
def _backup(lab: Any) -> Iterator[Any]:
    """A guest of its own, held for one backup of both its LUNs; guest and LUNs are gone afterwards."""
    lab.add_guest(GUEST, DISKS)
    play = lab.playbook("backup", extra_vars={"kvm_backup_guests": [GUEST], "kvm_backup_id": BACKUP})
    assert play.rc == 0, play.stdout
    yield play
    lab.remove_guest(GUEST)


def hashes(lab: Any, snapshot: str | None = None) -> dict[str, str]:
    """The hash of each LUN where the array keeps it."""
    found = {}
    for path in LUNS:
        volume, name = path.split("/")[2:]
        found[path] = str(lab.control.sha256("svm1", volume, name, snapshot=snapshot))
    return found


def identities(lab: Any) -> dict[str, Any]:
    """What must stay: each LUN with its serial, its maps, its map's name on the host; the guest's definition."""
    luns = {path: lab.luns.get(path) for path in LUNS}
    return {
        "luns": luns,
        "maps": {path: lab.luns.maps(lun) for path, lun in luns.items()},
        "devices": {path: lab.ssh(f"readlink -f {lun.device}") for path, lun in luns.items()},
        "definition": lab.virsh("dumpxml", "--inactive", GUEST),
    }


def test_both_luns_are_in_the_backup_at_one_point_in_time(lab: Any, backup: Any) -> None:
    made = backup.facts(HOST)["kvm_backup_result"]
    assert sorted(volume["volume"] for volume in made["volumes"]) == ["kvm_san1", "kvm_san2"]
    assert {volume["create_time_off"] for volume in made["volumes"]} == {0.0}
    (guest,) = made["guests"]
    assert (guest["method"], guest["consistency"]) == ("agent", "filesystem-consistent")
    first, second = (lab.storage_ticks(path, snapshot=BACKUP) for path in LUNS)
    assert 0 <= len(first) - len(second) <= 1, "the ticker writes to the first disk, then to the second one"
    assert not any(lab.needs_recovery(path, snapshot=BACKUP) for path in LUNS)


def test_both_are_back_byte_for_byte_and_are_the_same_luns(lab: Any) -> None:
    same, saved = identities(lab), [lab.storage_ticks(path, snapshot=BACKUP) for path in LUNS]
    lab.virsh("destroy", GUEST)
    for path in LUNS:
        device = lab.luns.get(path).device
        garbage = f"dd if=/dev/urandom of={device} bs=1M count=48 conv=notrunc,fsync status=none"
        lab.ssh(f"{garbage}; cat {device} > /dev/null")
    then = hashes(lab, BACKUP)
    assert not set(hashes(lab).values()) & set(then.values())
    wanted = {"kvm_restore_vm_list": GUEST, "kvm_restore_backup_id": BACKUP, "kvm_restore_id": f"two-luns-{STAMP}"}
    play = lab.playbook("restore", extra_vars={**wanted, "kvm_restore_power": "off"})
    assert play.rc == 0, play.stdout
    assert hashes(lab) == then
    for path in LUNS:
        read = lab.ssh(f"sha256sum {lab.luns.get(path).device}").split()[0]
        assert read == then[path], "the host's cache answers with bytes from before the restore"
    assert identities(lab) == same
    assert not [each.name for each in lab.luns.all() if TEMPORARY in each.name]
    lab.virsh("start", GUEST)
    lab.guests.wait([GuestSpec(GUEST, DISKS)])
    for directory, before in zip(("/data", "/data2"), saved):
        ticks = lab.ticks(GUEST, directory=directory)
        assert ticks[: len(before)] == before
        assert unbroken(ticks)
    assert any(lab.needs_recovery(path) for path in LUNS), "they are mounted, and this is how one tells"
    lab.virsh("shutdown", GUEST)
    wait_until(lambda: lab.virsh("domstate", GUEST).strip() == "shut off", seconds=60, what="the guest's end")
    assert not any(lab.needs_recovery(path) for path in LUNS)
