# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A KVM host on libvirt's test driver with guests on the simulated array, for whole backups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import samples
from virt import Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BackupRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import models
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import ensure_absent
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef, list_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline
from ontapsim.testing import Running

RUNNING = libvirt.VIR_DOMAIN_RUNNING


class Site:
    """A KVM host with guests on the array's volumes, and what one looks at after a run."""

    def __init__(self, sim: Running, guests: Guests, directory: Path, name: str) -> None:
        self.sim, self.guests, self.directory, self.name = sim, guests, directory, name
        self.root = directory / "catalog"
        self.seconds, self.vss_seconds, self.at_once = 30.0, 8.0, 16
        self.clock = Clock()
        self.found: list[dict[str, Any]] = []
        with self.access().connected(Deadline.after(30)) as clients:
            self._volumes = {item.name: item for item in list_volumes(clients[0], svms=["svm1"])}

    def add(self, name: str, *volumes: str, **how: Any) -> str:
        """Add a guest with a disk on each volume; return its uuid."""
        uuid = self.guests.add(name, **how)
        disks = [samples.disk(f"vd{'abc'[at]}", storage=self._storage(each, name)) for at, each in enumerate(volumes)]
        self.found.append(samples.guest(name, uuid, disks=disks))
        return uuid

    def back_up(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        """Run a backup as the module would."""
        request = BackupRequest.from_options({**self.options(), **changes})
        return run.back_up(replace(request, array=replace(request.array, clock=self.clock)), check=check)

    def options(self) -> dict[str, Any]:
        """The module's options."""
        names = {disk["storage"]["volume"] for guest in self.found for disk in guest["disks"]}
        return {
            "backup_id": self.name,
            "owner": "hv1",
            "policy": "daily",
            "guests": self.found,
            "volumes": [self._volume(name) for name in sorted(names)],
            "problems": [],
            "quiesce": {},
            "order": [],
            "filesystems": {},
            "vss_hold_deadline": self.vss_seconds,
            "on_failure": "fail",
            "consistency": "crash-consistent",
            "below_consistency": "fail_guest",
            "other_hosts": {},
            "consistency_groups": "never",
            "snapmirror_label": None,
            "expiry_time": None,
            "concurrency": "fail",
            "concurrency_timeout": 1,
            "timeout": 30,
            "retry_count": 1,
            "catalog_dir": str(self.root),
            "controllers": [self.controller()],
        }

    def controller(self) -> dict[str, Any]:
        """How to log in at the array."""
        login = {"username": "kvmsnap", "password": "lab-Kvmsnap1", "ca_path": self.sim.ca_pem}
        return {"hostname": "127.0.0.1", "port": self.sim.port, **login}

    def access(self) -> ArrayAccess:
        """The array, for sessions of the tests' own."""
        return ArrayAccess.from_options({"controllers": [self.controller()], "retry_count": 3, "timeout": 30})

    def delete(self, volume: str) -> None:
        """Delete the backup's snapshot of a volume, as an administrator would."""
        with self.access().connected(Deadline.after(30)) as clients:
            wanted = SnapshotRequest(self.name, allow_foreign=True)
            time_left = Deadline.after(30)
            ensure_absent(clients, [VolumeRef("svm1", volume)], wanted, check_mode=False, deadline=time_left)

    def settings(self) -> models.HoldSettings:
        """Where the hold is made."""
        boot = self.directory / "boot_id"
        boot.write_text("this-boot\n", encoding="ascii")
        return models.HoldSettings(
            self.directory / "holds",
            self.guests.connect,
            retry_count=1,
            hold_deadline=self.seconds,
            vss_deadline=self.vss_seconds,
            at_once=self.at_once,
            boot=str(boot),
            clock=self.clock,
        )

    def snapshots(self) -> list[str]:
        """The volumes on which the array has a snapshot of the backup's name."""
        return sorted(item["name"] for item in self.sim.control.volumes() if self.name in item["snapshots"])

    def left(self) -> tuple[list[str], list[str], list[str]]:
        """What is left: snapshots, manifests, holds."""
        phases = [str(entry.manifest and entry.manifest.phase) for entry in store.entries(self.root)]
        holds = self.directory / "holds"
        return self.snapshots(), phases, sorted(path.name for path in holds.glob("*")) if holds.exists() else []

    def free(self) -> bool:
        """Whether all guests run and none is frozen."""
        running = all(self.guests.state(uuid)[0] == RUNNING for uuid in self.guests.inside)
        return running and not any(inside.frozen for inside in self.guests.inside.values())

    def fault(self, kind: str, volume: str, *, method: str = "POST", count: int = 1, **how: Any) -> None:
        """Let requests about the snapshots of a volume fail."""
        path = f"/storage/volumes/{self._volumes[volume].uuid}/snapshots"
        self.sim.control.add_fault(kind, match={"method": method, "path": path, "count": count}, **how)

    def _storage(self, volume: str, guest: str) -> dict[str, Any]:
        place = self._volume(volume)
        names = ("controller", "svm", "svm_uuid", "volume", "volume_uuid")
        return {"kind": "nfs", "path": f"{guest}.img", **{name: place[name] for name in names}}

    def _volume(self, name: str) -> dict[str, Any]:
        item = self._volumes[name]
        place = samples.volume(name, svm=item.svm, volume_uuid=item.uuid, svm_uuid=item.svm_uuid)
        return {**place, "controller": item.controller, "mount_point": None}


def two_guests(site: Site) -> tuple[str, str]:
    """A guest with an agent on one volume, and one without on two."""
    return site.add("web1", "kvm_vol1", agent=Inside()), site.add("sol1", "kvm_vol1", "kvm_vol2")
