# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's addresses, names and places fit together."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from kvmlab import array_setup, topology
from kvmlab.domain import LunSpec
from kvmlab.errors import LabError
from kvmlab.guests import DEFAULTS, ON_REQUEST, Guests
from kvmlab.places import DEFAULT_ROOT, Places
from ontapsim import config

DOCUMENTATION = [ipaddress.ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]


def test_every_address_is_reserved_for_documentation() -> None:
    used = [*topology.NAMES.values()]
    for fabric in topology.FABRICS:
        used += [fabric.switch, fabric.host, *fabric.array]
    assert all(any(ipaddress.ip_address(address) in network for network in DOCUMENTATION) for address in used)


def test_every_name_of_the_array_has_a_port() -> None:
    ports = {address for fabric in topology.FABRICS for address in fabric.array}
    names = {name for name in topology.NAMES if not name.startswith(topology.HOST)}
    assert {topology.NAMES[name] for name in names} == ports


def test_the_simulator_takes_the_configuration() -> None:
    given = array_setup.configuration(Places(Path("/lab")), ["hook"], ["tgtadm"])
    taken = config.load(json.loads(json.dumps(given)))
    assert {listener.address for listener in taken.listeners} == {"198.51.100.10", "198.51.100.11", "198.51.100.12"}


def test_every_portal_is_a_port_of_its_fabric_and_a_lif() -> None:
    given = array_setup.configuration(Places(Path("/lab")), ["hook"], ["tgtadm"])
    lifs = {lif["address"]: lif for svm in given["svms"] for lif in svm["lifs"]}
    for portal in topology.PORTALS:
        (fabric,) = [fabric for fabric in topology.FABRICS if fabric.name == portal.fabric]
        assert portal.address in fabric.array
        assert (lifs[portal.address]["name"], "data_iscsi" in lifs[portal.address]["services"]) == (portal.name, True)


def test_every_disk_lies_on_a_mounted_volume_or_is_a_lun_of_the_array() -> None:
    guests = Guests(None, Places(Path("/lab")), None)  # type: ignore[arg-type]
    exported = {(export.svm, export.volume) for export in array_setup.exports()}
    volumes = {(svm, volume["name"]) for svm, found in array_setup.VOLUMES.items() for volume in found}
    for spec in (*DEFAULTS, *ON_REQUEST):
        for disk in spec.disks:
            path, known = (disk.lun, volumes - exported) if isinstance(disk, LunSpec) else (disk.path, exported)
            svm, volume, *_rest = guests.storage_path(path).relative_to("/lab/run/array/data/vols").parts
            assert (svm, volume) in known


def test_a_nested_volume_is_not_its_parent() -> None:
    guests = Guests(None, Places(Path("/lab")), None)  # type: ignore[arg-type]
    volumes = Path("/lab/run/array/data/vols")
    assert guests.storage_path("/mnt/kvm_vol1/nested/a/b.img") == volumes / "svm1/kvm_nested/a/b.img"
    assert guests.storage_path("/mnt/kvm_vol1/a/b.img") == volumes / "svm1/kvm_vol1/a/b.img"
    with pytest.raises(LabError, match="below none of the KVM host's NFS mounts"):
        guests.storage_path("/var/lib/libvirt/images/x.img")


def test_labs_in_different_directories_have_different_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KVMSNAP_LAB_DIR", raising=False)
    assert Places.from_environment().root == Path(DEFAULT_ROOT)
    assert Places.from_environment().net_namespace == "kvmsnap-net"
    monkeypatch.setenv("KVMSNAP_LAB_DIR", "/srv/other")
    assert Places.from_environment().net_namespace.startswith("kvmsnap-net-")
    monkeypatch.setenv("KVMSNAP_LAB_DIR", "/" + "x" * 80)
    with pytest.raises(LabError, match="too long for sockets"):
        Places.from_environment()
