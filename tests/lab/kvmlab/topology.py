# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab looks like: fabrics, addresses, names, volumes, users and mounts. Data only.

The addresses come from the ranges reserved for documentation and exist inside the lab's namespaces alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fabric:
    """One switch of the lab and who is plugged into it; addresses without their prefix length (always /24)."""

    name: str
    switch: str
    array: tuple[str, ...]
    host: str
    host_mac: str

    @property
    def bridge(self) -> str:
        return f"br-{self.name}"

    @property
    def tap(self) -> str:
        return f"tap-{self.name}"

    @property
    def array_port(self) -> str:
        return f"nas-{self.name}"

    @property
    def array_plug(self) -> str:
        return f"nas-{self.name}-sw"


@dataclass(frozen=True)
class Portal:
    """Where the array's iSCSI target listens; ``fabric`` is the name of the switch."""

    name: str
    fabric: str
    address: str
    port: int = 3260

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Mount:
    """An NFS mount of the KVM host: where from, where to and which volume it shows."""

    server: str
    export: str
    directory: str
    version: str
    svm: str
    volume: str


FABRICS = (
    Fabric(
        name="a",
        switch="198.51.100.1",
        array=(
            "198.51.100.10",
            "198.51.100.11",
            "198.51.100.12",
            "198.51.100.21",
            "198.51.100.22",
            "198.51.100.31",
        ),
        host="198.51.100.101",
        host_mac="52:54:00:51:64:65",
    ),
    Fabric(
        name="b",
        switch="203.0.113.1",
        array=("203.0.113.21", "203.0.113.31"),
        host="203.0.113.101",
        host_mac="52:54:00:71:13:65",
    ),
)

HOST = "hv1"
HOST_ADDRESS = FABRICS[0].host

NAMES: Mapping[str, str] = {
    "hv1": "198.51.100.101",
    "hv1-b": "203.0.113.101",
    "cluster1": "198.51.100.10",
    "svm1": "198.51.100.11",
    "svm2": "198.51.100.12",
    "svm1-nfs": "198.51.100.21",
    "svm1-nfs-b": "203.0.113.21",
    "svm2-nfs": "198.51.100.22",
    "svm1-iscsi-a": "198.51.100.31",
    "svm1-iscsi-b": "203.0.113.31",
}

MANAGEMENT = ("cluster1", "svm1", "svm2")
REST_PORT = 443
ONTAP_VERSION = "9.19.1"
REST_USER = "kvmsnap"
REST_PASSWORD = "lab-Kvmsnap1"
ADMIN_USER = "admin"
ADMIN_PASSWORD = "lab-Admin1"

PORTALS = (
    Portal("svm1_iscsi_a", "a", NAMES["svm1-iscsi-a"]),
    Portal("svm1_iscsi_b", "b", NAMES["svm1-iscsi-b"]),
)
SAN_SVM = "svm1"
INITIATOR = "iqn.2026-01.org.example:hv1"
IGROUP = "hv1"
FOREIGN_INITIATOR = "iqn.2026-01.org.example:elsewhere"
FOREIGN_IGROUP = "other"

MOUNTS = (
    Mount("svm1-nfs", "/kvm_vol1", "/mnt/kvm_vol1", "4.1", "svm1", "kvm_vol1"),
    Mount("svm1-nfs", "/kvm_vol2", "/mnt/kvm_vol2", "3", "svm1", "kvm_vol2"),
    Mount("svm2-nfs", "/kvm_vol3", "/mnt/kvm_vol3", "4.1", "svm2", "kvm_vol3"),
)
NESTED_MOUNTS = (Mount("svm1-nfs", "/kvm_vol1/nested", "/mnt/kvm_vol1/nested", "4.1", "svm1", "kvm_nested"),)
ALL_MOUNTS = (*NESTED_MOUNTS, *MOUNTS)

CA_ON_HOST = "/etc/kvmsnap/ca.pem"
PYTHON_ON_HOST = "/opt/kvmsnap/bin/python"
GUEST_ASSETS_ON_HOST = "/opt/kvmlab/guest"
