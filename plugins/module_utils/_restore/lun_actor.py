# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore does about a disk that is a LUN: look at its map and its identity, overwrite, compare, all bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Pending
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate, LunFromSnapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, LunTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import lun_device
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import SAMPLE_BYTES, sample_offsets
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import MapState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import LunNow, StillOpenError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity, lun_maps
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import (
    CheckFailedError,
    FateUnknownError,
    Notes,
    Verified,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

PART_BYTES = 16 * lun_restore.BLOCK_LIMIT
"""Bytes of a LUN that are compared at a time when all of it is."""

Maps = frozenset[tuple[str, Optional[int]]]


@dataclass(frozen=True)
class Before:
    """A LUN just before its overwrite: its map, and what the array said of it.

    ``maps`` is None when the account may not read them.

    ``samples`` are the digests of the snapshot's content by offset, each of ``length`` bytes; ``blind`` says why there
    are none. ``sha256`` is that of all content, when they cover it.
    """

    state: MapState
    lun: LunNow
    maps: Optional[Maps]
    samples: dict[int, bytes] = field(default_factory=dict)
    blind: str = "the LUN was not restored through a clone"
    length: int = SAMPLE_BYTES
    sha256: Optional[str] = None


@dataclass
class LunActor:
    """Overwrites LUNs and compares them; remembers each LUN between the two.

    Times are in seconds: ``timeout`` bounds what ONTAP is asked for at once, ``unknown_wait`` how long the fate of an
    overwrite is looked for. ``gate`` asks anew who uses a LUN before it is overwritten, on behalf of the guests of
    ``claim``.
    """

    restore_id: str
    gate: Gate
    claim: Claim
    timeout: float
    unknown_wait: float
    settle_seconds: float = lun_restore.SETTLE

    def __post_init__(self) -> None:
        self._before: dict[str, Before] = {}

    def prepare(self, client: Client, volume: Volume, disk: DiskRestore) -> None:
        """Make sure that the LUN is the one planned for, that its map is healthy, and that nobody has it open.

        What this host has cached is written out now: later it would land on the restored content.
        """
        lun, deadline = _lun_of(disk), Deadline.after(self.timeout)
        for each in lun_device.obstacles(lun.device, wwid=lun.wwid, off=True):
            raise KvmsnapError(f"Failed to restore LUN {disk.label}: {each.message}. {each.remedy}", path=disk.label)
        now = _same(client, volume, disk, lun, deadline)
        with _of(disk, "flush"):
            state = lun_device.map_state(lun.device)
            lun_device.flush(state)
        self._before[disk.label] = Before(state, now, _maps(client, lun, deadline))

    def overwrite(
        self, client: Client, volume: Volume, disk: DiskRestore, notes: Notes, request: Pending
    ) -> tuple[str, ...]:
        """Overwrite the LUN through a temporary clone, and learn from that what it must hold; return what is left.

        The request is written down with its clone directly before it is sent. Raises :class:`FateUnknownError` when it
        may still be under way after ``unknown_wait``.
        """
        before, deadline = self._before[disk.label], Deadline.after(self.timeout)

        def sample(clone: LunNow) -> None:
            found = _read_whole(client, clone, before, deadline) if disk.verify == "full" else None
            self._before[disk.label] = found or _sampled(client, clone, before, deadline)

        source = LunFromSnapshot(
            client,
            volume,
            path=disk.storage.path,
            identity=_lun_of(disk),
            snapshot=disk.snapshot,
            snapshot_uuid=disk.snapshot_uuid,
            restore_id=self.restore_id,
            look=sample,
            sending=lambda clone: notes.pending(disk.label, replace(request, source=clone.uuid)),
            unknown_wait=self.unknown_wait,
            settle=self.settle_seconds,
        )
        try:
            note = self.gate.overwrite_lun(target_of(disk), self.claim, source, deadline=deadline)
        except StillOpenError as exc:
            raise self._unknown(disk, exc) from exc
        except KvmsnapError:
            notes.pending(disk.label, None)
            raise
        notes.pending(disk.label, None)
        return (note,) if note else ()

    def revoke(self, client: Client, disk: DiskRestore, request: Pending) -> None:
        """Make sure that an overwrite of an earlier run has ended, or cannot begin any more.

        Raises :class:`FateUnknownError` when that cannot be had.
        """
        try:
            lun_restore.revoke(
                client,
                request.source,
                target=str(target_of(disk).uuid),
                job=request.job or None,
                unknown_wait=self.unknown_wait,
                settle=self.settle_seconds,
            )
        except StillOpenError as exc:
            raise self._unknown(disk, exc) from exc

    def settle(self, disk: DiskRestore) -> None:
        """Make this host forget what it cached of the LUN, see its size, and have all paths that it had before."""
        lun, before = _lun_of(disk), self._before[disk.label].state
        with _of(disk, "settle"):
            lun_device.flush(before)
            lun_device.follow_size(lambda: lun_device.map_state(lun.device), size=lun.size)
            lun_device.wait_paths(lambda: lun_device.map_state(lun.device), before=before)

    def verify(self, client: Client, volume: Volume, disk: DiskRestore) -> Verified:
        """Compare the LUN with what it must hold; raises :class:`CheckFailedError`."""
        differs = self._difference(client, volume, disk)
        if differs:
            raise CheckFailedError(f"Failed to check restored LUN {disk.label}: {differs}", path=disk.label)
        before = self._before[disk.label]
        now = _same(client, volume, disk, _lun_of(disk), Deadline.after(self.timeout))
        if before.sha256:
            what = "identity and all content"
        elif before.samples:
            what = "identity and sampled blocks"
        else:
            what = f"identity; content not compared: {before.blind}"
        lost = lun_restore.settings_lost(before.lun, now)
        return Verified(what, before.sha256, lost).enough_for(disk)

    def _difference(self, client: Client, volume: Volume, disk: DiskRestore) -> Optional[str]:
        """Return what is not as it must be: identity, maps, or a block read through the map; None when all is."""
        lun, before, deadline = _lun_of(disk), self._before[disk.label], Deadline.after(self.timeout)
        _same(client, volume, disk, lun, deadline)
        maps = _maps(client, lun, deadline)
        if None not in (maps, before.maps) and maps != before.maps:
            return "it is mapped otherwise than before"
        with _of(disk, "read"):
            for offset, digest in before.samples.items():
                if _digest(lun_device.read_block(lun.device, offset, length=before.length)) != digest:
                    return f"it differs from {disk.snapshot} at byte {offset}"
        return None

    def _unknown(self, disk: DiskRestore, exc: StillOpenError) -> FateUnknownError:
        looked_for = "its temporary LUN, and the LUN's own settings"
        return FateUnknownError.of(disk, exc.message, looked_for, restore_id=self.restore_id)


def target_of(disk: DiskRestore) -> LunTarget:
    """Return the LUN as the gate knows it."""
    lun = _lun_of(disk)
    return LunTarget(disk.label, lun.uuid, lun.device, lun.wwid)


def _sampled(client: Client, clone: LunNow, before: Before, deadline: Deadline) -> Before:
    """Take samples of the clone's content from the array; a role that does not allow it is no obstacle."""
    try:
        samples = {
            offset: _digest(lun_restore.read_data(client, clone, offset, length=SAMPLE_BYTES, deadline=deadline))
            for offset in sample_offsets(clone.size)
        }
    except OntapError as exc:
        return replace(before, samples={}, blind=exc.message)
    return replace(before, samples=samples)


def _read_whole(client: Client, clone: LunNow, before: Before, deadline: Deadline) -> Before:
    """Read all of the clone's content from the array; each answer has as much time as all else has together."""
    samples, whole, patience = {}, hashlib.sha256(), deadline.remaining()
    for begin in range(0, clone.size, PART_BYTES):
        part = hashlib.sha256()
        for offset in range(begin, min(begin + PART_BYTES, clone.size), lun_restore.BLOCK_LIMIT):
            again = Deadline.after(patience, deadline.clock)
            data = lun_restore.read_data(client, clone, offset, length=lun_restore.BLOCK_LIMIT, deadline=again)
            part.update(data)
            whole.update(data)
        samples[begin] = part.digest()
    return replace(before, samples=samples, length=PART_BYTES, sha256=whole.hexdigest())


def _same(client: Client, volume: Volume, disk: DiskRestore, lun: LunIdentity, deadline: Deadline) -> LunNow:
    """Return the LUN as the array has it; raises unless it is the very LUN of the plan at its place."""
    now = lun_restore.read_lun(client, lun.uuid, deadline=deadline)
    if now is None:
        raise KvmsnapError(f"Failed to restore LUN {disk.label}: it is not there any more", path=disk.label)
    found = lun_restore.differences(lun, now)
    name = f"/vol/{volume.name}/{disk.storage.path}"
    if now.name != name:
        found.append(f"it is {now.name} now")
    if found:
        raise KvmsnapError(f"Failed to restore LUN {disk.label}: {', '.join(found)}", path=disk.label)
    return now


def _maps(client: Client, lun: LunIdentity, deadline: Deadline) -> Optional[Maps]:
    try:
        maps = lun_maps(client, [lun.uuid], deadline=deadline)
    except OntapError:
        return None
    return frozenset((each.igroup_uuid, each.logical_unit_number) for each in maps)


def _lun_of(disk: DiskRestore) -> LunIdentity:
    if disk.storage.lun is None:
        raise TypeError(f"{disk.label} is no LUN")
    return disk.storage.lun


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@contextmanager
def _of(disk: DiskRestore, verb: str) -> Iterator[None]:
    """Tell a device's error as one of the LUN."""
    try:
        yield
    except lun_device.DeviceError as exc:
        raise KvmsnapError(f"Failed to {verb} LUN {disk.label}: {exc.message}", path=disk.label) from exc
