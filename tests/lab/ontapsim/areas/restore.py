# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single-file SnapRestore and volume revert, as the REST query parameters and the private CLI ask for them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from .. import errors
from ..answers import in_job
from ..call import Answer, Call
from ..engine import BLOCK
from ..errors import ApiError
from ..model import Lun, Snapshot, Volume, lun_at, new_uuid, serial_of
from ..storage import Reason, StorageError
from . import snapshots

OWNER = "snap_restore"


def volume_path(volume: Volume, path: str, name: str) -> str:
    """Return the path inside the volume for ``/vol/<volume>/<rest>`` or ``/<rest>``; anything else is refused."""
    if not path.startswith("/"):
        raise errors.invalid_value(path, name, "full path in the volume")
    prefix = f"/vol/{volume.name}/"
    inner = path[len(prefix) :] if path.startswith(prefix) else path[1:]
    if not inner.strip("/"):
        raise errors.invalid_value(path, name, "full path in the volume")
    return inner


async def restore_by_query(call: Call, volume: Volume) -> Answer:
    """``PATCH /storage/volumes/{uuid}?restore_to...``: one file when ``restore_to.path`` is given, else the volume."""
    params = call.params
    allowed = ["return_timeout", "restore_to.snapshot.name", "restore_to.snapshot.uuid"]
    if call.version >= (9, 10, 1):
        allowed += [
            "restore_to.path",
            "restore_to.restore_path",
            "restore_to.start_byte",
            "restore_to.byte_count",
            "preserve_lun_ids",
        ]
    if call.version >= (9, 19, 1):
        allowed.append("restore_to.snapshot.force")
    call.only_params(*allowed)
    for name, value in params.items():
        if value == "":
            raise ApiError(errors.MISSING_EXPRESSION, f'The expression for "{name}" is missing a value', target=name)
    if call.body:
        raise ApiError(
            errors.RESTORE_VALUE,
            f'Specifying a value for "{next(iter(call.body))}" is not valid for a snapshot restore operation.',
        )
    snapshot = _snapshot(call, volume)
    if "restore_to.path" in params:
        return await _restore_file_by_query(call, volume, snapshot)
    if any(name in params for name in ("restore_to.restore_path", "restore_to.start_byte", "restore_to.byte_count")):
        raise errors.required("restore_to.path")
    forced = call.flag("restore_to.snapshot.force", default=False)
    preserve = call.flag("preserve_lun_ids", default=False)
    return await revert(call, volume, snapshot, forced=forced, preserve=preserve)


def _snapshot(call: Call, volume: Volume) -> Snapshot:
    name, uuid = call.params.get("restore_to.snapshot.name"), call.params.get("restore_to.snapshot.uuid")
    if name is None and uuid is None:
        raise errors.required("restore_to.snapshot.name")
    for snapshot in volume.snapshots:
        if name in (None, snapshot.name) and uuid in (None, snapshot.uuid):
            return snapshot
    if name is not None and uuid is not None and volume.snapshot(name):
        raise ApiError(
            errors.SNAPSHOT_MISMATCH, "The specified snapshot UUID is not correct for the specified snapshot name."
        )
    raise ApiError(errors.RESTORE_FAILED, f'Failed to restore snapshot "{name or uuid}": entry doesn\'t exist.')


async def _restore_file_by_query(call: Call, volume: Volume, snapshot: Snapshot) -> Answer:
    source = volume_path(volume, call.params["restore_to.path"], "restore_to.path")
    target_text = call.params.get("restore_to.restore_path", call.params["restore_to.path"])
    target = volume_path(volume, target_text, "restore_to.restore_path")
    part = _part(call)
    restore = FileRestore(call, volume, snapshot, source, target, errors.RESTORE_FAILED, part)
    return await in_job(call, check=restore.check, work=restore.work, svm=volume.svm)


def _part(call: Call) -> tuple[int, int] | None:
    texts = [call.params.get("restore_to.start_byte"), call.params.get("restore_to.byte_count")]
    if texts == [None, None]:
        return None
    numbers = []
    for name, text in zip(("restore_to.start_byte", "restore_to.byte_count"), texts):
        if text is None:
            raise errors.required(name)
        if not text.isdigit() or int(text) % BLOCK:
            raise errors.invalid_value(text, name, "multiple of 4096")
        numbers.append(int(text))
    return numbers[0], numbers[1]


@dataclass(frozen=True)
class FileRestore:
    """A single-file restore: ``source`` of a snapshot over ``target``, both inside the volume.

    ``part`` is (offset, length) in bytes when not the whole file; what the storage refuses gets ``code``. The work
    goes on in the background after it has returned: the snapshot is owned, and no new one can be made on the volume.
    """

    call: Call
    volume: Volume
    snapshot: Snapshot
    source: str
    target: str
    code: str
    part: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise ``ApiError`` for what the array's state forbids."""
        if not self.call.licensed("snaprestore"):
            raise ApiError(self.code, "The SnapRestore license is not installed.")
        if self.volume.state != "online":
            raise ApiError(errors.NOT_ONLINE, "The volume is not online.")
        if self.volume.type != "rw" or self.volume.full:
            raise ApiError(self.code, f"{self._failed()}: the volume cannot be written.")
        if self.snapshot not in self.volume.snapshots:
            raise ApiError(errors.SNAPSHOT_MISSING, "The snapshot does not exist.")
        over_file = self._live_lun() is None and self.call.simulator.engine.has_file(self.volume.ref, self.target)
        if (self._lun() is None and self._live_lun() is not None) or (self._lun() is not None and over_file):
            raise ApiError(self.code, f"{self._failed()}: a file and a LUN cannot take each other's place.")

    async def work(self) -> None:
        """Restore, and leave the background part running."""
        simulator = self.call.simulator
        async with simulator.lock(self.volume.uuid):
            self.check()
            try:
                await simulator.work(simulator.engine.stat, self.volume.ref, self.source, self.snapshot.name)
            except StorageError as exc:
                raise self._refusal(exc) from exc
            inode = None
            if simulator.switches.sfsr_bytes_at_end:
                inode = await self._placed()
            else:
                await self._write(self.target)
            lun = self._settle_lun()
            simulator.mark_busy(self.volume.uuid, self.snapshot.uuid, OWNER)
            if lun is not None:
                simulator.restoring[lun.uuid] += 1
            simulator.save()
            await simulator.san_changed()
        simulator.jobs.background(self._background(lun, inode))

    def _lun(self) -> Lun | None:
        return lun_at(self.snapshot.luns, self.source)

    def _live_lun(self) -> Lun | None:
        return self.volume.lun(self.target)

    def _settle_lun(self) -> Lun | None:
        """Let the restored file be a LUN when it was one: the one at its place, or the old or a new one."""
        old, live, simulator = self._lun(), self._live_lun(), self.call.simulator
        if old is None:
            return None
        if live is None:
            in_use = {lun.uuid for _volume, lun in self.call.array.luns()}
            live = old.copy()
            live.path = self.target.strip("/")
            if old.uuid in in_use or live.path != old.path:
                self._renew(live)
            self.volume.luns.append(live)
        elif not simulator.switches.sfsr_keeps_lun_identity:
            self._renew(live)
            self.call.array.drop_maps()
        self._take_size(live)
        return live

    def _take_size(self, lun: Lun) -> None:
        with contextlib.suppress(StorageError):
            lun.size = self.call.simulator.engine.stat(self.volume.ref, lun.path).size

    @staticmethod
    def _renew(lun: Lun) -> None:
        lun.uuid = new_uuid()
        lun.serial = serial_of(lun.uuid)

    async def _placed(self) -> int:
        """Make the file that the bytes will come into, where there is none, and return its inode."""
        simulator, volume = self.call.simulator, self.volume.ref
        try:
            if not await simulator.work(simulator.engine.has_file, volume, self.target):
                await simulator.work(
                    simulator.engine.create_file,
                    volume,
                    self.target,
                    0,
                    parents=False,
                    op="file_restore_begin",
                    detail={},
                    cause=self.call.cause,
                )
            placed = await simulator.work(simulator.engine.stat, volume, self.target)
        except StorageError as exc:
            raise self._refusal(exc) from exc
        return placed.inode

    async def _write(self, target: str) -> None:
        simulator, snapshot, live = self.call.simulator, self.snapshot.name, self._live_lun()
        keep = simulator.switches.sfsr_keeps_inode or live is not None
        detail = {"lun": live.uuid} if live else None
        try:
            if self.part is None:
                await simulator.work(
                    simulator.engine.clone_file,
                    self.volume.ref,
                    self.source,
                    target,
                    snapshot=snapshot,
                    overwrite=True,
                    keep_inode=keep,
                    op="file_restore",
                    cause=self.call.cause,
                    detail=detail,
                )
                return
            start, length = self.part
            await simulator.work(
                simulator.engine.clone_ranges,
                self.volume.ref,
                self.source,
                target,
                [(start, start, length)],
                snapshot=snapshot,
                keep_inode=keep,
                op="file_restore_part",
                cause=self.call.cause,
                detail=detail,
            )
        except StorageError as exc:
            raise self._refusal(exc) from exc

    async def _background(self, lun: Lun | None, inode: int | None) -> None:
        """Let the restore end; late bytes come into the file of ``inode``, by whatever name, and nowhere without it."""
        simulator = self.call.simulator
        try:
            await asyncio.sleep(simulator.switches.sfsr_seconds)
            if inode is not None:
                async with simulator.lock(self.volume.uuid):
                    target = await simulator.work(simulator.engine.path_of, self.volume.ref, inode)
                    if target is None:
                        return
                    await self._write(target)
                    if lun is not None:
                        self._take_size(lun)
                    simulator.save()
                    await simulator.san_changed()
        finally:
            if lun is not None:
                simulator.restoring[lun.uuid] -= 1
            simulator.release(self.volume.uuid, self.snapshot.uuid, OWNER)

    def _failed(self) -> str:
        return f'Failed to restore from snapshot "{self.snapshot.name}"'

    def _refusal(self, exc: StorageError) -> ApiError:
        if exc.reason is Reason.NOT_FOUND:
            return ApiError(errors.FILE_OR_SNAPSHOT_MISSING, f"The specified file or snapshot does not exist: {exc}.")
        return ApiError(self.code, f"{self._failed()}: {exc}.")


@dataclass(frozen=True)
class VolumeRevert:
    """Takes a whole volume back to a snapshot; the newer ones are lost, owned ones only when ``forced``.

    Its LUNs are those of the snapshot then, with their maps when ``preserve`` or the switch says so.
    """

    call: Call
    volume: Volume
    snapshot: Snapshot
    forced: bool
    preserve: bool

    def check(self) -> None:
        """Raise ``ApiError`` for what the array's state forbids."""
        call, volume, name = self.call, self.volume, self.snapshot.name
        if not call.licensed("snaprestore"):
            raise ApiError(errors.RESTORE_FAILED, "The SnapRestore license is not installed.")
        if volume.state != "online":
            raise ApiError(errors.NOT_ONLINE, "The volume is not online.")
        if volume.type != "rw" or snapshots.restoring(call, volume):
            raise ApiError(errors.RESTORE_FAILED, f'Failed to restore snapshot "{name}".')
        if any(snapshots.locked(call, item) for item in self._newer()):
            raise ApiError(
                errors.NEWER_LOCKED,
                "Volume snapshot restore failed because there are newer unexpired locked snapshots in the volume.",
            )
        if not self.forced and any(snapshots.owners(call, volume, item) for item in self._newer()):
            raise ApiError(
                "1638480",
                f'Failed to promote snapshot "{name}" because one or more newer snapshots'
                " are currently used as a reference snapshot for data protection operations.",
            )

    async def work(self) -> None:
        """Revert bytes, snapshots and LUNs."""
        call, volume = self.call, self.volume
        async with call.simulator.lock(volume.uuid):
            self.check()
            for item in self._newer():
                await snapshots.remove(call, volume, item)
            await call.simulator.work(call.simulator.engine.revert, volume.ref, self.snapshot.name, cause=call.cause)
            self._revert_luns()
            call.simulator.save()
            await call.simulator.san_changed()

    def _newer(self) -> list[Snapshot]:
        return [item for item in self.volume.snapshots if item.number > self.snapshot.number]

    def _revert_luns(self) -> None:
        array, volume = self.call.array, self.volume
        if not self.call.simulator.switches.revert_keeps_maps and not self.preserve:
            ours = {lun.uuid for lun in volume.luns}
            array.lun_maps = [item for item in array.lun_maps if item.lun not in ours]
        enabled = {lun.uuid: lun.enabled for lun in volume.luns}
        volume.luns = [lun.copy() for lun in self.snapshot.luns]
        for lun in volume.luns:
            lun.enabled = enabled.get(lun.uuid, lun.enabled)
        array.drop_maps()


async def revert(call: Call, volume: Volume, snapshot: Snapshot, *, forced: bool, preserve: bool) -> Answer:
    """Answer a request for a `VolumeRevert`."""
    change = VolumeRevert(call, volume, snapshot, forced, preserve)
    return await in_job(call, check=change.check, work=change.work, svm=volume.svm)
