# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the lab's array: SVMs, LIFs, volumes, users and roles. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import topology
from .exports import Export
from .places import Places

GIB = 1024**3
DISK_SIZE = "16G"

_MANAGEMENT_SERVICES = ["management_core", "management_https", "management_ssh"]
_DATA_SERVICES = ["data_core", "data_nfs"]
_SAN_SERVICES = ["data_core", "data_iscsi"]

VOLUMES: dict[str, list[dict[str, Any]]] = {
    "svm1": [
        {"name": "kvm_vol1", "junction": "/kvm_vol1", "size": 4 * GIB, "type": "rw"},
        {"name": "kvm_vol2", "junction": "/kvm_vol2", "size": 4 * GIB, "type": "rw"},
        {"name": "kvm_nested", "junction": "/kvm_vol1/nested", "size": 1 * GIB, "type": "rw"},
        {"name": "kvm_san1", "size": 4 * GIB, "type": "rw"},
        {"name": "kvm_san2", "size": 4 * GIB, "type": "rw"},
    ],
    "svm2": [{"name": "kvm_vol3", "junction": "/kvm_vol3", "size": 4 * GIB, "type": "rw"}],
}

_LIFS: dict[str, list[tuple[str, str, list[str]]]] = {
    "svm1": [
        ("svm1_mgmt", "svm1", _MANAGEMENT_SERVICES),
        ("svm1_nfs_a", "svm1-nfs", _DATA_SERVICES),
        ("svm1_nfs_b", "svm1-nfs-b", _DATA_SERVICES),
        ("svm1_iscsi_a", "svm1-iscsi-a", _SAN_SERVICES),
        ("svm1_iscsi_b", "svm1-iscsi-b", _SAN_SERVICES),
    ],
    "svm2": [("svm2_mgmt", "svm2", _MANAGEMENT_SERVICES), ("svm2_nfs_a", "svm2-nfs", _DATA_SERVICES)],
}

_IGROUPS = {
    topology.SAN_SVM: [
        {"name": name, "os_type": "linux", "protocol": "iscsi", "initiators": [initiator]}
        for name, initiator in (
            (topology.IGROUP, topology.INITIATOR),
            (topology.FOREIGN_IGROUP, topology.FOREIGN_INITIATOR),
        )
    ]
}

_USERS = [
    {"name": topology.ADMIN_USER, "password": topology.ADMIN_PASSWORD, "role": "admin"},
    {"name": topology.REST_USER, "password": topology.REST_PASSWORD, "role": "kvmsnap"},
    {"name": "vsadmin", "password": "lab-Vsadmin1", "role": "vsadmin", "svm": "svm1"},
    {"name": "readonly", "password": "lab-Readonly1", "role": "readonly"},
    {"name": "kvmsnap_cli", "password": "lab-Cli1", "role": "kvmsnap_cli"},
]

_ROLES = {
    "kvmsnap": {
        "/api/cluster": "readonly",
        "/api/cluster/jobs": "readonly",
        "/api/cluster/licensing/licenses": "readonly",
        "/api/svm/svms": "readonly",
        "/api/network/ip/interfaces": "readonly",
        "/api/storage/volumes": "readonly",
        "/api/storage/volumes/*/snapshots": "all",
        "/api/storage/volumes/*/files": "readonly",
        "/api/storage/file/clone": "read_create",
        "/api/storage/luns": "all",
        "/api/protocols/san/lun-maps": "all",
        "/api/protocols/san/igroups": "readonly",
        "/api/application/consistency-groups": "all",
        "/api/snapmirror/relationships": "readonly",
        "/api/snapmirror/policies": "readonly",
        "/api/support/ems/application-logs": "read_create",
    },
    "kvmsnap_cli": {
        "volume snapshot": "all",
        "volume show": "readonly",
        "volume file clone create": "all",
        "vserver show": "readonly",
        "network interface show": "readonly",
        "job show": "readonly",
        "version": "readonly",
    },
}


def exports() -> list[Export]:
    """Return the volumes that the array exports when it is new."""
    return [
        Export(svm, volume["name"], volume["junction"])
        for svm, volumes in VOLUMES.items()
        for volume in volumes
        if "junction" in volume
    ]


def configuration(places: Places, export_hook: Sequence[str], target_admin: Sequence[str]) -> dict[str, Any]:
    """Return the simulator's configuration file as a dictionary; ``target_admin`` is the command for ``tgtadm``."""
    return {
        "state_dir": str(places.array_data),
        "control_socket": str(places.control_socket),
        "listeners": [{"address": topology.NAMES[name], "port": topology.REST_PORT} for name in topology.MANAGEMENT],
        "tls": {"cert": str(places.tls / "cert.pem"), "key": str(places.tls / "key.pem")},
        "version": topology.ONTAP_VERSION,
        "cluster": {
            "name": "cluster1",
            "nodes": ["cluster1-01", "cluster1-02"],
            "lifs": [_lif("cluster_mgmt", "cluster1", _MANAGEMENT_SERVICES)],
        },
        "svms": [
            {
                "name": svm,
                "lifs": [_lif(*lif) for lif in _LIFS[svm]],
                "volumes": volumes,
                "igroups": _IGROUPS.get(svm, []),
            }
            for svm, volumes in VOLUMES.items()
        ],
        "users": _USERS,
        "roles": [
            {"name": name, "privileges": [{"path": path, "access": access} for path, access in privileges.items()]}
            for name, privileges in _ROLES.items()
        ],
        "fence_pidfiles": [str(places.ganesha_pidfile), str(places.target_pidfile)],
        "san": {
            "tgtadm": list(target_admin),
            "portals": [{"address": portal.address, "port": portal.port} for portal in topology.PORTALS],
        },
        "export_hook": list(export_hook),
        "require_reflink": True,
    }


def _lif(name: str, host: str, services: list[str]) -> dict[str, Any]:
    return {"name": name, "address": topology.NAMES[host], "netmask": "255.255.255.0", "services": services}
