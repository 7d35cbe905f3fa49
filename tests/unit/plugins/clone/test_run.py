# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies made and taken away: files on the simulated array, guests of libvirt's test driver, real qcow2 chains.

The array's volume stands for its own mount. A run is killed before each of its steps, and what it leaves is found.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import samples
from clone_bench import (
    BACKUP,
    NAME,
    THEN,
    UEFI,
    Bench,
)
from running_module import undocumented

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    from_snapshots,
    manifest,
    store,
    volume_copies,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import make, remove
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import run as clone_run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.make import CloneFailedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.plan import CloneRefusedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.remove import NotOursError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import copy_mark_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_vm_clone

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_a_copy_is_made_once_and_taken_away_once(bench: Bench) -> None:
    bench.back_up()
    before = bench.world()
    planned = bench.present(check=True)
    assert (planned["changed"], planned["clone"]["state"], planned["disks"]) == (True, "absent", [])
    assert planned["diff"]["before"] == f"copy {NAME}: absent\n"
    assert "web1" in planned["diff"]["after"]
    assert bench.world() == before
    made = bench.present()
    assert (made["changed"], made["clone"]["state"], made["clone"]["owner"]) == (True, "shutoff", "drill")
    (disk,) = made["disks"]
    assert (disk["method"], disk["verified"]) == ("file_clone", "size and sampled blocks")
    told = {key: value for key, value in made.items() if key not in ("changed", "diff")}
    assert undocumented(kvm_vm_clone.RETURN, told) == []
    assert bench.file(made).read_bytes() == THEN
    definition = parse_guest(bench.domain().XMLDesc(0))
    assert (definition.uuid, definition.disks[0].source) == (made["clone"]["uuid"], disk["host_path"])
    assert copy_mark_of(bench.domain().XMLDesc(0)) is not None
    assert not bench.domain().autostart()
    there = bench.world()
    for check in (True, False):
        again = bench.present(check=check)
        assert (again["changed"], again["clone"]["uuid"]) == (False, made["clone"]["uuid"])
    assert bench.world() == there
    assert bench.absent(check=True)["changed"] is True
    assert bench.world() == there
    gone = bench.absent()
    assert (gone["changed"], gone["clone"]) == (True, None)
    assert gone["diff"]["after"] == f"copy {NAME}: absent\n"
    assert bench.world() == before
    assert bench.absent()["changed"] is False


def test_the_original_is_not_touched_and_may_be_gone(bench: Bench) -> None:
    bench.back_up()
    (bench.volume / "web1.img").rename(bench.volume / "elsewhere")
    try:
        assert bench.file(bench.present()).read_bytes() == THEN
    finally:
        bench.absent()
        (bench.volume / "elsewhere").rename(bench.volume / "web1.img")


@contextmanager
def an_isolated_network(bench: Bench, name: str) -> Iterator[None]:
    network = bench.guests.connection.networkDefineXML(
        f"<network><name>{name}</name><ip address='10.9.0.1' netmask='255.255.255.0'/></network>"
    )
    network.create()
    try:
        yield
    finally:
        network.destroy()
        network.undefine()


def test_interfaces_go_to_an_isolated_network_or_nowhere(bench: Bench) -> None:
    bench.back_up(
        devices="<interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='br0'/></interface>"
    )
    bench.present()
    assert "<interface" not in bench.domain().XMLDesc(0)
    with pytest.raises(NotOursError, match="its network is none, not drillnet"):
        bench.present(network="drillnet")
    bench.absent()
    with an_isolated_network(bench, "drillnet"):
        bench.present(network="drillnet")
        xml = bench.domain().XMLDesc(0)
        assert "network='drillnet'" in xml
        assert "52:54:00:11:22:33" not in xml
        bench.absent()


def test_interfaces_of_the_original_are_kept_where_asked_with_new_addresses(bench: Bench) -> None:
    bench.back_up(
        devices="<interface type='network'><mac address='52:54:00:11:22:33'/><source network='default'/></interface>"
    )
    planned = bench.present(check=True, interfaces="original")
    assert "network: those of the original, with new addresses" in planned["diff"]["after"]
    made = bench.present(interfaces="original")
    assert (made["clone"]["network"], made["clone"]["interfaces"]) == (None, "original")
    xml = bench.domain().XMLDesc(0)
    assert "network='default'" in xml
    assert "52:54:00:11:22:33" not in xml
    assert bench.present(interfaces="original")["changed"] is False
    with pytest.raises(NotOursError, match="its choice of interfaces is original, not none"):
        bench.present()
    bench.absent()
    before = bench.world()
    with pytest.raises(InputError, match="network and interfaces=original exclude each other"):
        bench.present(interfaces="original", network="default")
    bench.back_up(devices="<interface type='network'><source network='nowhere'/></interface>")
    with pytest.raises(CloneRefusedError, match="refers to the network nowhere"):
        bench.present(interfaces="original")
    assert bench.world() == before


def test_a_copy_of_a_backup_that_the_catalog_lost_has_new_side_files(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.back_up(files=(bench.keep("nvram", UEFI),))
    found = store.load(bench.root, BACKUP)
    assert found is not None
    store.remove(bench.root, BACKUP)
    before = bench.world()
    mount = bench.side.parent / "mount"
    at = mount / ".snapshot" / BACKUP
    at.mkdir(parents=True)
    carrying = tuple(replace(each, mount_point=str(at) if each is found.volumes[0] else None) for each in found.volumes)
    started = replace(found, phase="started", completed=None, volumes=carrying)
    parts = volume_copies.put_parts(started).parts
    bound, _remarks = volume_copies.put_index(started, parts, owner=found.owner, run_id=RUN)
    monkeypatch.setattr(from_snapshots, "nfs_points", lambda: [str(mount)])
    monkeypatch.setattr(from_snapshots, "volumes_at", lambda *_asked: {str(mount): found.volumes[0].key})
    with pytest.raises(manifest.ManifestError, match="has the comment '', which no backup gave"):
        bench.present(backup_id=BACKUP)
    assert bench.world() == before
    for volume in found.volumes:
        bench.array.control.change_snapshot("svm1", volume.volume, BACKUP, comment=bound.stored_comment)
    try:
        made = bench.present(backup_id=BACKUP)
    finally:
        for volume in found.volumes:
            bench.array.control.change_snapshot("svm1", volume.volume, BACKUP, comment="")
    assert bench.file(made).read_bytes() == THEN
    assert "UEFI variables: kept in the catalog only, which is gone; the copy has new ones" in made["notes"]
    assert any("its manifest is the one in the snapshot of svm1:kvm_vol1" in note for note in made["notes"])
    assert list(bench.side.iterdir()) == []


def test_a_copy_is_made_from_the_catalog_of_another_host(bench: Bench) -> None:
    bench.back_up(files=(bench.keep("nvram", UEFI),))
    text = (store.backup_directory(bench.root, BACKUP) / "manifest.json").read_bytes()
    store.remove(bench.root, BACKUP)
    nvram = {f"{samples.WEB}.nvram": base64.b64encode(UEFI).decode()}
    option = {"manifest": base64.b64encode(text).decode(), "files": nvram}
    assert bench.present(check=True, backup_from=option)["changed"] is True
    assert store.entries(bench.root) == []
    made = bench.present(backup_from=option)
    assert "the backup was handed over from the catalog of another host" in made["notes"]
    assert (bench.side / f"kvmsnap-clone-{made['clone']['uuid']}_VARS.fd").read_bytes() == UEFI
    assert [entry.backup_id for entry in store.entries(bench.root)] == [BACKUP]


@pytest.mark.parametrize(
    ("network", "words"), [("default", "is not isolated, it forwards"), ("nowhere", "knows no such network")]
)
def test_a_network_that_leads_out_is_refused(bench: Bench, network: str, words: str) -> None:
    bench.back_up()
    with pytest.raises(CloneRefusedError, match=words):
        bench.present(network=network)


def test_a_copy_is_started_when_it_is_to_run_and_left_as_it_is_otherwise(bench: Bench) -> None:
    bench.back_up()
    assert bench.present(running=True)["clone"]["state"] == "running"
    assert bench.present(running=True)["changed"] is False
    assert bench.present(running=False)["clone"]["state"] == "running"
    bench.domain().destroy()
    assert bench.present(running=True, check=True)["changed"] is True
    assert bench.present(running=True)["clone"]["state"] == "running"
    bench.absent()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"owner": "somebody"}, "owner is drill, not somebody"),
        ({"backup_id": "hv1-daily_20200101000000"}, "backup is hv1-daily_20261121020000, not hv1-daily_2020"),
        ({"guest": "db1"}, "guest is web1, not db1"),
    ],
)
def test_another_copy_of_that_name_is_not_touched(bench: Bench, changes: dict[str, Any], words: str) -> None:
    bench.back_up()
    bench.present()
    before = bench.world()
    for act in (bench.present, bench.absent):
        with pytest.raises(NotOursError, match=words):
            act(**changes)
    assert bench.world() == before
    assert bench.absent(guest=samples.WEB, backup_id=BACKUP)["changed"] is True


def test_a_copy_that_lost_a_part_is_made_anew(bench: Bench) -> None:
    bench.back_up()
    first = bench.present()
    bench.file(first).unlink()
    second = bench.present()
    assert (second["changed"], bench.file(second).read_bytes()) == (True, THEN)
    assert second["clone"]["uuid"] != first["clone"]["uuid"]
    bench.domain().undefine()
    third = bench.present()
    assert bench.file(third).read_bytes() == THEN
    assert not bench.file(second).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guest": "ghost"}, "no backup that holds guest 'ghost'"),
        ({"guest": "ghost", "backup_id": BACKUP}, "Guest 'ghost' is not in backup"),
        ({"backup_id": "hv1-daily_20200101000000"}, "There is no backup"),
        ({"name": "../x"}, "name '../x' cannot be used"),
        ({"owner": "a b"}, "owner 'a b' cannot be used"),
        ({"network": ""}, "network is empty"),
        ({"guest": ""}, "guest is empty"),
        ({"controllers": []}, "the list of controllers is empty"),
    ],
)
def test_input_that_cannot_be_used_is_refused(bench: Bench, options: dict[str, Any], words: str) -> None:
    bench.back_up()
    before = bench.world()
    with pytest.raises(InputError, match=words):
        bench.present(**options)
    assert bench.world() == before


def test_a_guest_that_does_not_start_is_taken_away_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: Any, **_named: Any) -> None:
        raise KvmsnapError("Failed to start")

    bench.back_up()
    before = bench.world()
    monkeypatch.setattr(clone_run, "power_on", refused)
    with pytest.raises(CloneFailedError, match=r"Failed to start\. What was made"):
        bench.present(running=True)
    assert bench.world() == before


def test_when_taking_away_fails_too_the_message_says_how_to_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: Any, **_named: Any) -> None:
        raise KvmsnapError("Failed to reach the array")

    bench.back_up()
    with monkeypatch.context() as patched:
        patched.setattr(make, "first_difference", refused)
        patched.setattr(remove, "file_size", refused)
        with pytest.raises(CloneFailedError, match=r"half made, and taking it away failed too .*run state=absent"):
            bench.present()
    assert bench.absent()["changed"] is True


@pytest.mark.parametrize(("status", "late"), [(503, True), (403, False)])
def test_what_the_array_may_make_yet_is_said_only_where_it_did_not_refuse(
    bench: Bench, status: int, late: bool
) -> None:
    bench.back_up()
    match = {"method": "POST", "path": "/storage/file/clone"}
    bench.array.control.add_fault("status", match=match, status=status, code="6", message="no")
    with pytest.raises(CloneFailedError) as caught:
        bench.present(method="file_clone")
    bench.array.control.clear_faults()
    assert ("may make of it yet is taken away by the playbook recover" in caught.value.message) is late
    noted = list((bench.root / "clones").glob("late-*.json"))
    assert len(noted) == late
    for each in noted:
        each.unlink()


def test_an_igroup_that_other_hosts_are_in_never_serves(bench: Bench) -> None:
    bench.back_up(bench.lun())
    bench.probes = replace(bench.probes, initiators=lambda: ["iqn.2026-01.org.example:hv9"])
    before = bench.world()
    with pytest.raises(CloneRefusedError, match="has no igroup that holds initiators of this host and of no other"):
        bench.present()
    assert bench.world() == before
