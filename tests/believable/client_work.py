# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ordinary work with NetApp's own client, run by itself: ``python client_work.py PORT CA WORK``; prints JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from netapp_ontap import HostConnection, NetAppRestError
from netapp_ontap.resources import CLI, Cluster, FileClone, FileInfo, Igroup, IpInterface, Lun, Snapshot, Svm, Volume


def connect(port: int, ca: str, user: str = "admin", password: str = "lab-Admin1") -> HostConnection:
    """Return a connection that trusts the array's own authority."""
    connection = HostConnection(
        "127.0.0.1", port=port, username=user, password=password, verify=ca, poll_interval=1, poll_timeout=30
    )
    connection.session.trust_env = False
    return connection


def look() -> dict[str, Any]:
    """Look up cluster, SVMs, LIFs and volumes."""
    cluster = Cluster()
    cluster.get(fields="version,name")
    return {
        "version": f"{cluster.version.generation}.{cluster.version.major}.{cluster.version.minor}",
        "svms": sorted(item.name for item in Svm.get_collection()),
        "lifs": sorted(item.name for item in IpInterface.get_collection(services="data_nfs")),
        "volumes": sorted(item.name for item in Volume.get_collection(**{"svm.name": "svm1", "max_records": 2})),
        "count": Volume.count_collection(name="kvm_vol*"),
        "found": Volume.find(name="kvm_vol1", **{"svm.name": "svm1"}).name,
        "junction": next(iter(Volume.get_collection(fields="nas.path", name="kvm_nested"))).nas.path,
    }


def snapshots() -> dict[str, Any]:
    """Create, list, rename and delete snapshots."""
    volume = Volume.find(name="kvm_vol1", **{"svm.name": "svm1"})
    made = Snapshot(volume.uuid, name="one", comment="from the client", snapmirror_label="daily")
    made.post(hydrate=True)
    Snapshot(volume.uuid, name="two").post()
    listed = sorted(item.name for item in Snapshot.get_collection(volume.uuid))
    fast = sorted(item.name for item in Snapshot.fast_get_collection(volume.uuid, fields="name"))
    renamed = Snapshot.find(volume.uuid, name="one")
    renamed.name = "uno"
    renamed.patch()
    again = Snapshot(volume.uuid, uuid=renamed.uuid)
    again.get()
    try:
        Snapshot(volume.uuid, name="two").post()
        refused = None
    except NetAppRestError as exc:
        refused = str(exc)
    Snapshot.find(volume.uuid, name="two").delete()
    again.delete()
    left = [item.name for item in Snapshot.get_collection(volume.uuid)]
    return {
        "comment": made.comment,
        "listed": listed,
        "fast": fast,
        "renamed": again.name,
        "refused": refused,
        "label": again.snapmirror_label,
        "left": left,
    }


def files() -> dict[str, Any]:
    """Clone a file out of a snapshot, restore another through the CLI, and look at them."""
    volume = Volume.find(name="kvm_vol1", **{"svm.name": "svm1"})
    Snapshot(volume.uuid, name="base").post()
    FileClone.from_dict(
        {
            "volume": {"uuid": volume.uuid, "name": "kvm_vol1"},
            "source_path": ".snapshot/base/disk.img",
            "destination_path": "copy.img",
        }
    ).post()
    CLI().execute(
        "volume snapshot restore-file",
        body={
            "vserver": "svm1",
            "volume": "kvm_vol1",
            "snapshot": "base",
            "path": "/disk.img",
            "restore-path": "/cli.img",
        },
    )
    deadline = time.monotonic() + 20
    while True:
        names = sorted(item.name for item in FileInfo.get_collection(volume.uuid, "/", type="file"))
        if "cli.img" in names or time.monotonic() > deadline:
            return {"names": names}


def luns() -> dict[str, Any]:
    """Overwrite a LUN by a clone with settings sent along and without, and nest igroups."""
    lun = Lun.find(name="/vol/kvm_san1/luns/a")
    told: dict[str, Any] = {}
    settings = {
        "qos_policy": {"name": "gold"},
        "space": {"guarantee": {"requested": True}, "scsi_thin_provisioning_support_enabled": True},
    }
    for name, sent in (("with", settings), ("without", {})):
        made = {"svm": {"name": "svm1"}, "name": "/vol/kvm_san1/tmp", "clone": {"source": {"name": lun.name}}}
        temporary = Lun.from_dict(made)
        temporary.post(hydrate=True)
        over = Lun(uuid=lun.uuid)
        for key, value in {"clone": {"source": {"uuid": temporary.uuid}}, **sent}.items():
            setattr(over, key, value)
        over.patch()
        temporary.delete()
        lun.get(fields="*")
        seen, space = lun.to_dict(), lun.space
        policy = seen.get("qos_policy", {}).get("name")
        told[name] = [policy, space.guarantee.requested, space.scsi_thin_provisioning_support_enabled]
    spec = {"svm": {"name": "svm1"}, "name": "cluster", "os_type": "linux", "protocol": "iscsi"}
    cluster = Igroup.from_dict({**spec, "igroups": [{"name": "hv1"}, {"name": "other"}]})
    cluster.post(hydrate=True)
    told["initiators"] = [[each.name, each.igroup.name] for each in cluster.initiators]
    cluster.delete()
    return told


def pages() -> dict[str, Any]:
    """Walk through many small pages."""
    volume = Volume.find(name="kvm_vol2", **{"svm.name": "svm1"})
    return {"names": sorted(item.name for item in Snapshot.get_collection(volume.uuid, max_records=3))}


def denied(port: int, ca: str) -> dict[str, Any]:
    """Come in with a wrong password, and do what the role does not allow."""
    seen = []
    for user, password in (("admin", "wrong"), ("readonly", "lab-Readonly1")):
        with connect(port, ca, user, password):
            try:
                volume = Volume.find(name="kvm_vol1")
                Snapshot(volume.uuid, name="x").post()
            except NetAppRestError as exc:
                seen.append(exc.status_code)
    return {"statuses": seen}


def main() -> None:
    """Do one kind of work."""
    port, ca, work = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    if work == "denied":
        result = denied(port, ca)
    else:
        with connect(port, ca):
            result = {"look": look, "snapshots": snapshots, "files": files, "luns": luns, "pages": pages}[work]()
    print(json.dumps(result))


main()
