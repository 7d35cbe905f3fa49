# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Off means off everywhere: what other hosts, locks and libvirt's jobs say against a restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import samples
import virt
from asked import restore_request
from image_users import make_image, qemu

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.pacemaker import Cluster, ClusterError, ClusterGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import host_guard
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskNow, GuestNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest

WEB = GuestNow("web1", samples.WEB, "shutoff", False, True, ())


@pytest.fixture
def guests() -> Iterator[virt.Guests]:
    """Guests that go with the test."""
    made = virt.Guests()
    yield made
    made.close()


def asked(tmp_path: Path) -> RestoreRequest:
    """A request to libvirt's test driver."""
    return restore_request(tmp_path, uri=virt.URI)


def codes(now: GuestNow) -> list[str]:
    return [problem.code for problem in now.obstacles]


@pytest.mark.parametrize(
    ("said", "hosts_off", "found"),
    [
        ({}, [], []),
        ({"hv2": []}, [], []),
        ({"hv2": [samples.DB]}, [], []),
        ({"hv2": [samples.WEB.upper()]}, [], ["guest-active-elsewhere"]),
        ({"hv2": [samples.WEB]}, ["hv2"], ["guest-active-elsewhere"]),
        ({"hv2": False}, [], ["host-unreachable"]),
        ({"hv2": None, "hv3": [samples.WEB]}, [], ["guest-active-elsewhere", "host-unreachable"]),
        ({"hv2": False}, ["hv2"], []),
        ({"hv2": False, "hv3": False}, ["hv2"], ["host-unreachable"]),
    ],
)
def test_what_the_other_hosts_said(
    tmp_path: Path, said: dict[str, Any], hosts_off: list[str], found: list[str]
) -> None:
    others = restore_request(tmp_path, other_hosts=said, hosts_off=hosts_off).others
    problems = host_guard.elsewhere(WEB, others.active, others.off)
    assert [problem.code for problem in problems] == found
    assert all(problem.guest == "web1" and problem.severity == "error" for problem in problems)


def test_the_host_is_named() -> None:
    (active,) = host_guard.elsewhere(WEB, {"hv2": [samples.WEB], "hv3": []}, [])
    assert active.message == f"guest web1 ({samples.WEB}) is active on host hv2"
    (silent,) = host_guard.elsewhere(WEB, {"hv2": None, "hv3": None}, ["hv2"])
    assert "hv3 of the play could not be asked" in silent.message


def image(tmp_path: Path, *, locks: bool) -> DiskNow:
    path = tmp_path / "web1.img"
    path.write_bytes(b"x")
    storage = Storage.from_record(samples.storage())
    return DiskNow("vda", "raw", str(path), str(tmp_path), 1, (), storage, locks=locks)


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
@pytest.mark.parametrize(
    ("state", "locks", "held", "found"),
    [
        ("shutoff", True, True, ["image-locked", "disk-in-use"]),
        ("shutoff", True, False, []),
        ("shutoff", False, True, ["image-locked", "disk-in-use"]),
        ("running", True, True, ["disk-in-use"]),
        ("absent", True, True, ["image-locked", "disk-in-use"]),
    ],
)
def test_an_image_that_a_qemu_holds(
    tmp_path: Path,
    guests: virt.Guests,
    state: str,
    locks: bool,
    held: bool,
    found: list[str],
    image_format: str,
) -> None:
    disk = replace(image(tmp_path, locks=locks), format=image_format)
    uuid = guests.add("web1", running=state == "running")
    now = replace(WEB, uuid=uuid, state=state, disks=(disk,))
    make_image(Path(disk.host_path), image_format=image_format)
    with qemu(Path(disk.host_path), image_format=image_format) if held else nullcontext():
        seen = host_guard.looked_at(asked(tmp_path), "r1", {uuid: now})[uuid]
    assert [each.code for each in seen.disks[0].obstacles] == found
    assert (host_guard.NO_LOCKS in seen.disks[0].notes) is not locks
    assert "guests of this host: nothing found" in seen.disks[0].notes[-1]


def test_an_image_that_another_guest_has(tmp_path: Path, guests: virt.Guests) -> None:
    disk = image(tmp_path, locks=True)
    mine, other = guests.add("web1", running=False), guests.add("web2", running=False)
    xml = guests.domain(other).XMLDesc().replace("/web2.img", disk.host_path)
    guests.connection.defineXML(xml)
    now = replace(WEB, uuid=mine, state="shutoff", disks=(disk,))
    seen = host_guard.looked_at(asked(tmp_path), "r1", {mine: now})[mine]
    (problem,) = seen.disks[0].obstacles
    assert problem.code == "disk-used-by-several-guests"
    assert f"guest web2 ({other}), shutoff, has it as its disk vda" in problem.message


def test_a_guest_on_which_libvirt_works(tmp_path: Path, guests: virt.Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = guests.add("web1")
    now = replace(WEB, uuid=uuid, state="running", disks=(image(tmp_path, locks=False),))
    assert codes(host_guard.looked_at(asked(tmp_path), "r1", {uuid: now})[uuid]) == []
    monkeypatch.setattr(Domain, "busy", lambda domain: domain.name == "web1")
    monkeypatch.setattr(Domain, "block_job", lambda domain, target: (domain.name, target) == ("web1", "vda"))
    seen = host_guard.looked_at(asked(tmp_path), "r1", {uuid: now})[uuid]
    assert [(problem.code, problem.disk) for problem in seen.obstacles] == [("guest-busy", None), ("guest-busy", "vda")]
    guests.domain(uuid).destroy()
    assert codes(host_guard.looked_at(asked(tmp_path), "r1", {uuid: replace(now, state="crashed")})[uuid]) == []


def test_a_managed_save_image_of_another_driver_stays_where_it_is(tmp_path: Path, guests: virt.Guests) -> None:
    uuid = guests.add("web1")
    guests.domain(uuid).managedSave(0)
    seen = host_guard.looked_at(asked(tmp_path), "r1", {uuid: replace(WEB, uuid=uuid)})[uuid]
    assert seen.managed_save
    assert "qemu:///system" in str(seen.save_hindrance)
    guests.domain(uuid).managedSaveRemove(0)
    assert not host_guard.looked_at(asked(tmp_path), "r1", {uuid: replace(WEB, uuid=uuid)})[uuid].managed_save


def test_a_guest_that_is_gone_is_left_to_the_plan(tmp_path: Path) -> None:
    assert host_guard.looked_at(asked(tmp_path), "r1", {samples.WEB: WEB}) == {samples.WEB: WEB}
    assert host_guard.looked_at(asked(tmp_path), "r1", {}) == {}


CLUSTER = Cluster((ClusterGuest("web1-vm", ("/etc/cluster/web1.xml",), (), True),), maintenance=False)


def in_cluster(cluster: Cluster | None, *off: str) -> GuestNow:
    """What a cluster means for web1."""
    return host_guard.in_cluster({WEB.uuid: WEB}, "qemu:///system", off, read=lambda: cluster)[WEB.uuid]


@pytest.mark.parametrize(
    ("off", "refused"), [((), True), (("db1",), True), (("web1",), False), ((samples.WEB,), False)]
)
def test_a_guest_of_a_cluster_takes_a_word_of_a_person(off: tuple[str, ...], refused: bool) -> None:
    now = in_cluster(CLUSTER, *off)
    assert codes(now) == (["cluster-managed"] if refused else [])
    assert len(now.notes) == (0 if refused else 1)


def test_a_word_about_one_guest_of_a_cluster_is_none_about_another_that_has_its_uuid_for_a_name() -> None:
    other = replace(WEB, uuid=samples.DB, name=samples.WEB)
    cluster = Cluster((ClusterGuest("vm", (f"/etc/cluster/{samples.WEB}.xml",), (), True),), maintenance=False)
    guests = {WEB.uuid: WEB, other.uuid: other}
    seen = host_guard.in_cluster(guests, "qemu:///system", [samples.WEB], read=lambda: cluster)
    assert codes(seen[other.uuid]) == ["cluster-managed"]


def test_a_cluster_that_is_none_or_cannot_be_read() -> None:
    def broken() -> Cluster | None:
        raise ClusterError("Failed to read it")

    assert in_cluster(None) == WEB
    seen = host_guard.in_cluster({WEB.uuid: WEB}, "qemu:///system", (), read=broken)[WEB.uuid]
    assert codes(seen) == ["cluster-unknown"]
    seen = host_guard.in_cluster({WEB.uuid: WEB}, "qemu:///system", ["web1"], read=broken)[WEB.uuid]
    assert codes(seen) == []
