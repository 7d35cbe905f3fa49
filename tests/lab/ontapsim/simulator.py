# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array as a whole: state, engine, clock, jobs and the laboratory's handles, without any listener."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, TypeVar

from .clock import Clock
from .config import Config
from .engine import Engine
from .faults import Faults
from .fence import Fence
from .fields import Version, parse_version
from .jobs import Jobs
from .journal import Journal
from .late import Effect
from .model import Array, GroupSnapshot, Igroup, Job, Volume
from .rbac import Role
from .san import SanError, Target, Unit
from .seed import new_array, seed
from .storage import StorageError, VolumeRef
from .store import Store
from .switches import Switches

log = logging.getLogger("ontapsim")
Result = TypeVar("Result")
_HOOK_SECONDS = 60
_REQUESTS_KEPT = 100_000


@dataclass
class StartedSnapshot:
    """A two-phase snapshot of a consistency group between its phases; ``until`` is of the monotonic clock."""

    snapshot: GroupSnapshot
    until: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Simulator:
    """Everything behind the listeners. Made and used on one event loop; the engine works in threads."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = Clock()
        self.switches = Switches()
        self.set_switches(config.switches)
        self.faults = Faults()
        self.late: list[Effect] = []
        self._coming: dict[str, asyncio.Event] = {}
        self.requests: deque[dict[str, Any]] = deque(maxlen=_REQUESTS_KEPT)
        self.fence = Fence(config.fence_pidfiles)
        self._store = Store(config.state_dir)
        self.engine = Engine(
            config.state_dir, require_reflink=config.require_reflink, seal=config.seal_snapshots, fence=self.fence
        )
        self.journal = Journal(config.state_dir)
        self.engine.observe(self.journal.record)
        self.jobs = Jobs(self)
        self.busy: dict[tuple[str, str], Counter[str]] = {}
        self.locks: dict[str, asyncio.Lock] = {}
        self.ports: dict[str, int] = {}
        self.restoring: Counter[str] = Counter()
        self.copying: Counter[str] = Counter()
        self.san_trouble: str | None = None
        self.started: dict[str, StartedSnapshot] = {}
        saved = self._store.load()
        self.array = Array.from_dict(saved) if saved else new_array(config)
        self.array.version = config.version
        self._recover()
        seed(self.array, config, self.engine, self.clock)
        self.save()

    @property
    def version(self) -> Version:
        """Return the version that the array pretends to have."""
        return parse_version(self.array.version)

    def set_version(self, text: str) -> None:
        """Change the version; raises ``ValueError``."""
        parse_version(text)
        self.array.version = text

    def set_switches(self, values: Mapping[str, Any]) -> None:
        """Set switches; raises ``ValueError``."""
        self.switches.update(values)
        self.clock.offset = self.switches.clock_offset

    def comes(self, effect: Effect) -> None:
        """Know of a late effect that is to come."""
        self.late.append(effect)
        self._coming[effect.request] = asyncio.Event()

    async def until_due(self, effect: Effect, seconds: float) -> None:
        """Wait for as long as a late effect takes, or until :meth:`hasten`."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._coming[effect.request].wait(), seconds)
        del self._coming[effect.request]

    def hasten(self) -> None:
        """Let the late effects that are to come come now."""
        for now in self._coming.values():
            now.set()

    def reset_switches(self) -> None:
        """Set every switch to what the configuration says, or its default."""
        self.switches = Switches()
        self.set_switches(self.config.switches)

    def role(self, name: str) -> Role:
        """Return a role by name."""
        return next(role for role in self.config.roles if role.name == name)

    def save(self) -> None:
        """Write the state down."""
        self._store.save(self.array)

    def lock(self, volume: str) -> asyncio.Lock:
        """Return the lock under which a volume's state changes; ``volume`` is its uuid."""
        return self.locks.setdefault(volume, asyncio.Lock())

    async def work(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run an operation of the engine in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))

    async def exports_changed(self) -> None:
        """Run the configured hook with the volumes and their junctions as JSON on its standard input."""
        if self.config.export_hook:
            await self.work(self._run_hook)

    async def san_changed(self) -> None:
        """Serve the LUNs as they are mapped now; what fails is kept as ``san_trouble`` and tried again next time."""
        async with self.lock("san"):
            try:
                await self.work(self.config.san.reconcile, self.targets())
                self.san_trouble = None
            except (SanError, OSError) as exc:
                self.san_trouble = str(exc)
                log.warning("the SAN target does not follow: %s", exc)

    def targets(self) -> list[Target]:
        """Return what initiators are to see: a target for each igroup of a running SVM, with its mapped LUNs."""
        return [
            Target(
                self.array.target_name(igroup.svm, igroup.target),
                tuple(self.array.initiators(igroup)),
                tuple(self._units(igroup)),
            )
            for igroup in self.array.igroups.values()
            if igroup.protocol != "fcp" and self.array.svms[igroup.svm].state == "running"
        ]

    def _units(self, igroup: Igroup) -> Iterator[Unit]:
        numbers = {item.lun: item.number for item in self.array.lun_maps if item.igroup == igroup.uuid}
        for volume, lun in self.array.luns():
            if lun.uuid in numbers and volume.state == "online":
                file = f"{self.engine.volume_root(volume.ref)}/{lun.path}"
                yield Unit(numbers[lun.uuid], file, lun.serial, lun.enabled)

    def mark_busy(self, volume: str, snapshot: str, owner: str) -> None:
        """Note that running work owns a snapshot; arguments are uuids and an owner's name."""
        self.busy.setdefault((volume, snapshot), Counter())[owner] += 1

    def release(self, volume: str, snapshot: str, owner: str) -> None:
        """Take such a note back."""
        self.busy[volume, snapshot][owner] -= 1

    def owners(self, volume: str, snapshot: str) -> set[str]:
        """Return the owners that running work gives a snapshot."""
        return {owner for owner, count in self.busy.get((volume, snapshot), Counter()).items() if count}

    def log_request(self, entry: dict[str, Any]) -> None:
        """Note a request that has been answered."""
        self.requests.append(entry)

    async def stop(self) -> None:
        """End all work."""
        await self.jobs.stop()
        self.save()
        self.fence.close()

    def running_jobs(self) -> list[Job]:
        """Return the jobs that have not ended."""
        return [job for job in self.array.jobs.values() if job.ended is None]

    def _recover(self) -> None:
        self.fence.free()
        self.fence.start()
        for uuid, volume in list(self.array.volumes.items()):
            if volume.pending_name is not None:
                self._settle_volume(volume)
            if not self.engine.has_volume(volume.ref):
                del self.array.volumes[uuid]
        known: dict[VolumeRef, set[str]] = {}
        for volume in self.array.volumes.values():
            there = set(self.engine.snapshot_names(volume.ref))
            for snapshot in volume.snapshots:
                if snapshot.pending_name in there:
                    snapshot.name = str(snapshot.pending_name)
                snapshot.pending_name = None
            known[volume.ref] = {item.name for item in volume.snapshots}
        present = self.engine.recover(known)
        for volume in self.array.volumes.values():
            volume.snapshots = [item for item in volume.snapshots if item.name in present[volume.ref]]
            self._settle_luns(volume)
        self.array.drop_maps()
        self.jobs.recover()

    def _settle_luns(self, volume: Volume) -> None:
        """Drop the LUNs whose file is gone, and take the size of the others from it."""
        there = []
        for lun in volume.luns:
            if lun.pending_path is not None and not self.engine.has_file(volume.ref, lun.path):
                lun.path = lun.pending_path
            lun.pending_path = None
            with contextlib.suppress(StorageError):
                lun.size = self.engine.stat(volume.ref, lun.path).size
                there.append(lun)
        volume.luns = there

    def _settle_volume(self, volume: Volume) -> None:
        renamed = VolumeRef(volume.svm, str(volume.pending_name))
        if self.engine.has_volume(renamed):
            volume.name = renamed.name
        volume.pending_name = None

    def _run_hook(self) -> None:
        volumes = [
            {
                "svm": volume.svm,
                "volume": volume.name,
                "uuid": volume.uuid,
                "junction": volume.junction,
                "state": volume.state,
                "type": volume.type,
                "export_policy": volume.export_policy,
                "root": self.engine.volume_root(VolumeRef(volume.svm, volume.name)),
            }
            for volume in list(self.array.volumes.values())
        ]
        try:
            subprocess.run(
                self.config.export_hook,
                input=json.dumps({"volumes": volumes}),
                text=True,
                check=True,
                timeout=_HOOK_SECONDS,
            )
        except (OSError, subprocess.SubprocessError):
            log.exception("the export hook failed")
