# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a copy of a guest: files on the array, side files and the definition on this host.

The record of all that a copy consists of is written first, so that ``clone_removal`` finds what a broken run has left.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import clone_record, store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.clone_record import (
    ClonedFile,
    ClonedLun,
    CloneRecord,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedFile, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key, Places
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.plan import chain_of, lun_label, sources_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.remove import telling
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import (
    copy_over,
    first_difference,
    look_anew,
    make_like,
    sample_offsets,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import RAW, image_info, point_to_backing
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_attach import San
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.snapshot_copy import in_host_snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import copy_mark_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import files, lun_clone, lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError, OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import LunNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import Igroup, wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_actor import file_size
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware_files import unpack_tpm
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

LUN_SAMPLE = 1 << 18
LUN_SAMPLES = 4


class CloneFailedError(KvmsnapError):
    """A copy was not made; the message says whether everything of it is gone again."""


@dataclass(frozen=True)
class CopiedFile:
    """One file of a copy: by which way it came, and what was compared."""

    target: str
    path: str
    host_path: str
    method: str
    verified: str


@dataclass
class Maker:
    """Makes one copy. ``timeout`` bounds what ONTAP is asked per file, in seconds; ``method`` is that of restores."""

    root: Path
    host: Host
    places: Places
    manifest: Manifest
    guest: SavedGuest
    method: str
    timeout: float
    mounts: Mapping[Key, HostVolume]
    san: San
    initiators: Sequence[str]
    refused: dict[str, set[str]] = field(default_factory=dict)

    def make(self, record: CloneRecord, xml: Callable[[CloneRecord], str]) -> tuple[CloneRecord, list[CopiedFile]]:
        """Make the copy and return its record as made; ``xml`` gives its definition.

        The record is on disk before the first file is there. Raises :class:`KvmsnapError`; what was made till then is
        still there.
        """
        clone_record.save(self.root, record)
        made = [self._clone(item) for item in record.files]
        for lun in record.luns:
            record, verified = self._attach(record, lun)
            made.append(
                CopiedFile(lun.target, lun_label(lun), sources_of(record)[lun.target].path, "lun_clone", verified)
            )
        record = self._stand_alone(record)
        clone_record.save(self.root, record)
        self._side_files(record)
        domain = self.host.define(xml(record))
        if domain.uuid != record.uuid or copy_mark_of(domain.xml(inactive=True)) != record.mark:
            raise KvmsnapError(f"Failed to mark copy {record.name}: libvirt did not keep the mark", guest=record.name)
        record = record.at("made")
        clone_record.save(self.root, record)
        return record, made

    def _clone(self, item: ClonedFile) -> CopiedFile:
        client, volume = self._place(item.key)
        seen = self._seen(item)
        way = self._by_any(item, client, volume, seen)
        if not os.path.exists(item.host_path):
            with telling(f"see {item.host_path}"):
                look_anew(item.host_path)
        return CopiedFile(
            item.target, item.storage.label, item.host_path, way, self._verified(item, client, volume, seen)
        )

    def _attach(self, record: CloneRecord, lun: ClonedLun) -> tuple[CloneRecord, str]:
        """Clone a LUN, show it to this host alone and wait for its map; each thing is noted before it is used."""
        client, volume = self._place(lun.key)
        made = lun_clone.clone_lun(
            client,
            volume,
            snapshot=self.manifest.backup_id,
            source=lun.source,
            path=lun.path,
            comment=record.comment_of(lun),
            deadline=self._deadline(),
        )
        if made.size != lun.size:
            raise KvmsnapError(f"Failed to check LUN {made.name}: it has {made.size} bytes, and had {lun.size} then")
        groups = lun_clone.list_igroups(client, lun.svm, deadline=self._deadline())
        igroup = self._igroup(groups, lun)
        number = self._number(client, igroup, groups)
        lun = replace(lun, serial=made.serial, number=number)
        record = self._noted(record, lun)
        lun_clone.map_clone(client, volume, made, igroup, number=number, deadline=self._deadline())
        device = self.san.attach(wwid=wwid_of(made.serial), number=number, size=made.size)
        record = self._noted(record, replace(lun, device=device))
        return record, self._compared(client, made, device)

    def _noted(self, record: CloneRecord, lun: ClonedLun) -> CloneRecord:
        record = record.with_lun(lun)
        clone_record.save(self.root, record)
        return record

    def _igroup(self, groups: Sequence[Igroup], lun: ClonedLun) -> Igroup:
        """Return the igroup of this host alone, as it is now: nobody else may see the copy."""
        found = lun_clone.own_igroup((each for each in groups if each.uuid == lun.igroup_uuid), self.initiators)
        if found is None:
            raise KvmsnapError(
                f"Failed to map LUN {lun.path}: igroup {lun.igroup} is not that of this host alone any more"
            )
        return found

    def _number(self, client: Client, igroup: Igroup, groups: Sequence[Igroup]) -> int:
        taken = lun_clone.numbers_taken(client, igroup, groups, deadline=self._deadline()) | self.san.numbers()
        number = lun_clone.free_number(taken, clone_record.last_number(self.root))
        if number is None:
            raise KvmsnapError(f"Failed to map a LUN to igroup {igroup.name}: none of its numbers is free")
        clone_record.save_number(self.root, number)
        return number

    def _compared(self, client: Client, lun: LunNow, device: str) -> str:
        """Compare what this host reads through the map with what the array says that the LUN holds."""
        try:
            for offset in sample_offsets(lun.size, length=LUN_SAMPLE, count=LUN_SAMPLES):
                length = min(LUN_SAMPLE, lun.size - offset)
                content = lun_restore.read_data(client, lun, offset, length=length, deadline=self._deadline())
                if content != self.san.read(device, offset, length=length):
                    raise KvmsnapError(f"Failed to check {device}: it differs from LUN {lun.name} at byte {offset}")
        except OntapDeniedError:
            return "size"
        return "size and sampled blocks"

    def _by_any(self, item: ClonedFile, client: Client, volume: Volume, seen: Optional[str]) -> str:
        refused = self._refused(client)
        while True:
            way = files.choose_method(self.method, client.version, refused)[0]
            try:
                self._by(way, item, client, volume, seen)
            except OntapError as exc:
                if not files.refuses_method(exc) or self.method != "auto":
                    raise
                refused.add(way)
                continue
            return way

    def _by(self, way: str, item: ClonedFile, client: Client, volume: Volume, seen: Optional[str]) -> None:
        snapshot, path = self.manifest.backup_id, item.storage.path
        if way == "copy":
            _copy(item, seen)
        elif way == "file_clone":
            files.clone_file(
                client,
                volume,
                snapshot=snapshot,
                source=item.source,
                destination=path,
                overwrite=False,
                deadline=self._deadline(),
            )
        else:
            restore: Callable[..., None] = files.restore_file_cli if way == "sfsr_cli" else files.restore_file_rest
            restore(
                client,
                volume,
                snapshot=snapshot,
                path=item.source,
                restore_path=path,
                begun=_sent_once,
                deadline=self._deadline(),
            )
            saved = self.manifest.volume_of(item.storage)
            files.wait_restored(
                client, volume, snapshot_uuid=(saved and saved.snapshot_uuid) or "", deadline=self._deadline()
            )

    def _verified(self, item: ClonedFile, client: Client, volume: Volume, seen: Optional[str]) -> str:
        """Compare the copy with the snapshot's file, past this host's caches, as far as the snapshot is to be seen."""
        sizes = [
            file_size(
                client, volume, item.source, snapshot=self.manifest.backup_id, seen_at=seen, deadline=self._deadline()
            ),
            file_size(
                client, volume, item.storage.path, snapshot=None, seen_at=item.host_path, deadline=self._deadline()
            ),
        ]
        if sizes[0] is None or sizes[0] != sizes[1]:
            raise KvmsnapError(
                f"Failed to check {item.host_path}: it has {sizes[1]} bytes, the snapshot's file {sizes[0]}",
                path=item.host_path,
            )
        if seen is None or not os.path.exists(seen):
            return "size"
        with telling(f"compare {item.host_path} with {seen}"):
            offset = first_difference(seen, item.host_path)
        if offset is not None:
            raise KvmsnapError(
                f"Failed to check {item.host_path}: it differs from {seen} at byte {offset}", path=item.host_path
            )
        return "size and sampled blocks"

    def _stand_alone(self, record: CloneRecord) -> CloneRecord:
        """Point each overlay to the copy of what lies below it, and note the formats that the chains record."""
        formats: dict[tuple[str, int], str] = {}
        for target in dict.fromkeys(item.target for item in record.files):
            chain = chain_of(record, target)
            image_format = chain[0].format
            for upper, lower in zip(chain, chain[1:]):
                image_format = _point(upper, lower, image_format)
                formats[(target, lower.layer)] = image_format
            _refuse_more(chain[-1], image_format)
        named = tuple(
            replace(item, format=formats.get((item.target, item.layer), item.format)) for item in record.files
        )
        return replace(record, files=named)

    def _side_files(self, record: CloneRecord) -> None:
        """Put UEFI variables and the state of the TPM, as they were in the backup, to places of the copy's own."""
        for saved in self.guest.files:
            place = {"nvram": record.nvram, "tpm": record.tpm}.get(saved.kind)
            if place is None:
                continue
            content = self._saved(saved)
            with telling(f"put {saved.kind} state to {place}"):
                if saved.kind == "nvram":
                    write_private(Path(place), content)
                else:
                    unpack_tpm(content, Path(place))

    def _saved(self, saved: SavedFile) -> bytes:
        path = store.backup_directory(self.root, self.manifest.backup_id) / saved.stored_as
        with telling(f"read {path}"):
            content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != saved.sha256:
            raise KvmsnapError(f"Failed to trust {path}: its checksum is not that of the backup", path=str(path))
        return content

    def _seen(self, item: ClonedFile) -> Optional[str]:
        """Return where this host sees the snapshot's file, None where it cannot."""
        mount = self.mounts.get(item.key)
        live = mount.on_host(item.source) if mount else None
        return in_host_snapshot(live, mount.mount_point, self.manifest.backup_id) if live and mount else None

    def _place(self, key: Key) -> tuple[Client, Volume]:
        place = self.places.get(key)
        if place is None:
            raise KvmsnapError(f"Failed to reach volume {key[1]} through the controllers given")
        return place.client, place.volume

    def _refused(self, client: Client) -> set[str]:
        if client.name not in self.refused:
            unlicensed = files.unlicensed_methods(client, deadline=self._deadline()) if self.method == "auto" else ()
            self.refused[client.name] = set(unlicensed)
        return self.refused[client.name]

    def _deadline(self) -> Deadline:
        return Deadline.after(self.timeout)


def _sent_once(_job: str) -> None:
    """Take the uuid of a restore's job: sent again, the first one could write under the copy when that runs."""


def _copy(item: ClonedFile, seen: Optional[str]) -> None:
    """Copy on the host out of the snapshot, into a file with the owner and the mode of the original."""
    if seen is None or not Path(seen).is_file():
        raise KvmsnapError(f"Failed to copy {item.source} out of its snapshot: this host does not see it there")
    with telling(f"copy {seen} to {item.host_path}"):
        make_like(seen, item.host_path)
        copy_over(seen, item.host_path)


def _point(upper: ClonedFile, lower: ClonedFile, image_format: str) -> str:
    """Point an overlay to the copy of the file that it names below it; return the format that it says that one has."""
    info = image_info(upper.host_path, image_format=image_format)
    if info.backing is None or os.path.basename(info.backing) != os.path.basename(lower.source):
        raise KvmsnapError(
            f"Failed to copy {upper.source}: it stands on {info.backing}, and the backup says {lower.source}",
            path=upper.host_path,
        )
    if info.backing_format is None:
        raise KvmsnapError(
            f"Failed to copy {upper.source}: it does not say in which format {info.backing} is, and nobody may guess",
            path=upper.host_path,
        )
    if info.data_files:
        raise KvmsnapError(
            f"Failed to copy {upper.source}: it keeps data in {info.data_files[0]}", path=upper.host_path
        )
    point_to_backing(
        upper.host_path, image_format=image_format, backing=lower.host_path, backing_format=info.backing_format
    )
    return info.backing_format


def _refuse_more(last: ClonedFile, image_format: str) -> None:
    """Refuse a last layer that stands on something the backup does not know of."""
    if image_format in RAW:
        return
    info = image_info(last.host_path, image_format=image_format)
    for other in (info.backing, *info.data_files):
        if other:
            raise KvmsnapError(
                f"Failed to copy {last.source}: it needs {other}, of which the backup does not know",
                path=last.host_path,
            )
