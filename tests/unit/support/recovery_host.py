# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a catalog and hold records of its own, whose array is the simulator."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal, store, volume_copies
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.safety_snapshots import comment_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import ensure_present
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef, list_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.run import RecoveryRequest, recover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from ontapsim.testing import Running

RUN = "0b1f6a5e-7d3c-4a51-9c80-2b6f7c1d9e11"
LONG_AGO = "2026-01-01T00:00:00+00:00"


class Host:
    """A host with a catalog and hold records of its own, whose array is the simulator."""

    def __init__(self, sim: Running, directory: Path, backup: str) -> None:
        self.sim, self.backup, self.owner = sim, backup, f"of-{backup}"
        self.catalog, self.holds = directory / "catalog", directory / "run" / "holds"
        self.mount = directory / "mnt"
        self.mount.mkdir()
        login = {"hostname": "127.0.0.1", "port": sim.port, "username": "kvmsnap", "password": "lab-Kvmsnap1"}
        self.controller = {**login, "ca_path": sim.ca_pem}

    def volumes(self) -> list[Volume]:
        with connect(Controller.from_option(self.controller), policy=RetryPolicy(0)) as client:
            return [each for each in list_volumes(client, svms=["svm1"]) if each.name in ("kvm_vol1", "kvm_vol2")]

    def manifest(self, **changes: Any) -> Manifest:
        volumes = tuple(
            SavedVolume(each.controller, each.svm, each.svm_uuid, each.name, each.uuid, mount_point=str(self.mount))
            for each in self.volumes()
        )
        started = replace(
            samples.manifest(), backup_id=self.backup, owner=self.owner, run_id=RUN, volumes=volumes, created=LONG_AGO
        )
        return replace(started, **changes)

    def start(self, **changes: Any) -> None:
        """Write a started manifest into the catalog, and into the volumes."""
        found = self.manifest(**changes)
        store.save(self.catalog, found, origin=Origin.OWN_RUN)
        copies = volume_copies.put_parts(found)
        volume_copies.put_index(found, copies.parts, owner=found.owner, run_id=RUN)
        assert copies.notes == ()

    def snapshot(self, *, comment: str = f"run {RUN}, 1 guests", volumes: tuple[str, ...] = ("kvm_vol1",)) -> None:
        wanted = SnapshotRequest.checked(name=self.backup, owner=self.owner, comment=comment)
        with connect(Controller.from_option(self.controller), policy=RetryPolicy(0)) as client:
            refs = [VolumeRef("svm1", name) for name in volumes]
            ensure_present([client], refs, wanted, check_mode=False, deadline=Deadline.after(30))

    def snapshots(self) -> list[str]:
        return sorted(each["name"] for each in self.sim.control.volumes() if self.backup in each["snapshots"])

    def restored(
        self, restore_id: str, *volumes: str, days: float = 31, done: bool = True, owner: str = "", on: str = ""
    ) -> Path:
        """Have a restore that ended so many days ago, with a safety snapshot and something set aside; its journal.

        ``owner`` is that of the backup, ``on`` the host that ran it; this host's without.
        """
        name = f"{self.owner}-safety-{restore_id}"
        comment = comment_of(restore_id, on or os.uname().nodename)
        wanted = SnapshotRequest.checked(name=name, owner=owner or self.owner, comment=comment)
        with connect(Controller.from_option(self.controller), policy=RetryPolicy(0)) as client:
            refs = [VolumeRef("svm1", each) for each in volumes]
            made = ensure_present([client], refs, wanted, check_mode=False, deadline=Deadline.after(30)).taken
        taken = tuple(map(restore_journal.SafetySnapshot.of, made))
        progress = restore_journal.GuestProgress("running", ("svm1:/vol/kvm_vol1/a",), written=True, done=done)
        known = restore_journal.Journal(
            restore_id, "b1", {"u1": progress}, (restore_journal.Safety(name, ("u1",), taken),)
        )
        restore_journal.save(self.catalog, known)
        for place in (
            restore_journal.kept_directory(self.catalog, restore_id),
            restore_journal.images_of(self.catalog, restore_id),
        ):
            place.mkdir(mode=0o700)
            (place / "u1.save").write_text("from before", encoding="ascii")
        path = self.catalog / "restores" / f"{restore_id}.json"
        self.age(path, days)
        return path

    @staticmethod
    def age(path: Path, days: float) -> None:
        """Let a file be written so many days ago."""
        then = time.time() - days * 86400
        os.utime(path, (then, then))

    def records(self) -> list[dict[str, Any]]:
        """The volumes, as a discovery tells of them."""
        return [asdict(each) for each in self.manifest().volumes]

    def safeties(self) -> dict[str, list[str]]:
        """The safety snapshots of this host, by volume."""
        found = {
            row["name"]: [each for each in row["snapshots"] if each.startswith(f"{self.owner}-safety-")]
            for row in self.sim.control.volumes()
        }
        return {volume: names for volume, names in found.items() if names}

    def copies(self) -> list[str]:
        return sorted(path.name for path in (self.mount / ".kvmsnap").glob("*"))

    def recover(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        options = {
            "controllers": [self.controller],
            "owner": self.owner,
            "volumes": [],
            "orphans": "keep",
            "safety_days": 30,
            "grace_period": 3600.0,
            "catalog_dir": str(self.catalog),
            "hold_dir": str(self.holds),
            "freeze_timeout": 20,
            "agent_ping_timeout": 5,
            "retry_count": 0,
            "timeout": 60,
            "uri": "test:///default",
        }
        return recover(RecoveryRequest.from_options({**options, **changes}), check=check)


def told(result: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(item["kind"], item["action"]) for item in result["leftovers"]]
