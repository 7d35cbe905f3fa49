# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore does to this host and to the array: power by libvirt, bytes by ONTAP, the check by direct reading."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import definition_actor, firmware_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.firmware import Aside, FileRestore, Look
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.image_look import look_of, put_look
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.info import Place, Places, locate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.journal import SafetySnapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.lun_actor import LunActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore import Overwritten, Verified
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import (
    ABSENT,
    DiskRestore,
    GuestRestore,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.safety_retention import comment_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import (
    copy_over,
    drop_cached,
    file_state,
    first_difference,
    is_there,
    make_like,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import INSPECTED, check_image
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.whole import compare_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import managed_save
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, Host, State
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.power import power_off, power_on
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import files, lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError, OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import segment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import ensure_present
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Wanted
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

SHARE_OF_CLONES = 100
"""A restored clone is reckoned to need a hundredth of its size anew."""


class CheckFailedError(KvmsnapError):
    """A restored disk does not hold what the snapshot holds; the guest was not started."""


@dataclass
class HostActor:
    """Carries out the steps of a restore.

    ``places`` is where each volume is now, ``method`` auto or one way of ``_ontap.files``; ``refused`` remembers, per
    controller, the ways the array would not go. Times are in seconds; ``timeout`` bounds what ONTAP is asked per disk.
    ``connect`` opens a connection to libvirt: at first, and again when libvirtd was restarted meanwhile. ``luns`` knows
    what is done otherwise when a disk is a LUN. ``images`` is the directory for managed-save images, ``kept`` that for
    what else is set aside. ``guests`` are the uuids of those that are restored: their disks are theirs, while off.
    """

    connect: Callable[[], Host]
    places: Places
    manifest: Manifest
    method: str
    graceful: bool
    stop_timeout: float
    start_timeout: float
    timeout: float
    restore_id: str
    luns: LunActor
    images: Path
    kept: Path
    guests: frozenset[str] = frozenset()
    refused: dict[str, set[str]] = field(default_factory=dict)
    looks: dict[str, Optional[Look]] = field(default_factory=dict)
    opened: list[Host] = field(default_factory=list)

    @property
    def host(self) -> Host:
        """The connection to libvirt, which stands."""
        if not self.opened or not self.opened[-1].alive:
            self.opened.append(self.connect())
        return self.opened[-1]

    def close(self) -> None:
        """End all connections."""
        for host in self.opened:
            host.close()

    def stop(self, guest: GuestRestore) -> None:
        """Bring the guest to ``shutoff``: asked to, or by force when it is to be or does not obey in time."""
        power_off(self._domain(guest), graceful=self.graceful, timeout=self.stop_timeout)

    def start(self, guest: GuestRestore, state: str) -> None:
        """Start the guest, paused when that is wanted."""
        wanted: State = "paused" if state == "paused" else "running"
        power_on(self._domain(guest), state=wanted, timeout=self.start_timeout)

    def state(self, guest: GuestRestore) -> str:
        """Ask libvirt what the guest is doing."""
        domain = self._known(guest)
        return domain.state().state if domain else ABSENT

    def persistent(self, guest: GuestRestore) -> bool:
        """Ask libvirt whether it knows the guest once it is off."""
        return self._domain(guest).persistent()

    def keep_definition(self, guest: GuestRestore) -> None:
        """Let libvirt know the guest once it is off."""
        self._domain(guest).keep_definition()

    def drop_definition(self, guest: GuestRestore) -> None:
        """Let the guest be transient again, unless it is off or is so already."""
        domain = self._known(guest)
        if domain and domain.state().active and domain.persistent():
            domain.drop_definition()

    def autostart(self, guest: GuestRestore) -> bool:
        """Ask libvirt whether the guest starts with this host."""
        domain = self._known(guest)
        return domain.autostart() if domain else False

    def set_autostart(self, guest: GuestRestore, wanted: bool) -> None:
        """Let the guest start with this host, or not; one that is not defined any more never does."""
        domain = self._known(guest)
        if domain:
            domain.set_autostart(wanted)

    def saved_image(self, guest: GuestRestore) -> Optional[str]:
        """Return a free place for the guest's managed-save image, None when it has none."""
        domain = self._known(guest)
        if domain is None or not managed_save.is_there(domain, managed_save.image_of(self.host.uri, domain.name)):
            return None
        places = (self.images / f"{guest.uuid}.{number}.save" for number in itertools.count(1))
        return str(next(place for place in places if not os.path.lexists(place)))

    def set_aside(self, guest: GuestRestore, place: str) -> None:
        """Move the guest's managed-save image to this place."""
        domain = self._domain(guest)
        managed_save.set_aside(domain, self._image(domain), Path(place))

    def bring_back(self, guest: GuestRestore, place: str) -> None:
        """Move the guest's managed-save image back from this place."""
        domain = self._domain(guest)
        managed_save.bring_back(domain, self._image(domain), Path(place))

    def secure(self, disks: Sequence[DiskRestore], name: str) -> tuple[SafetySnapshot, ...]:
        """Create a snapshot on every volume of these disks, all or none, where there is space for what it keeps."""
        places = {(place.volume.svm_uuid, place.volume.uuid): place for place in map(self._found, disks)}
        for key, place in places.items():
            here = [disk for disk in disks if (disk.storage.svm_uuid, disk.storage.volume_uuid) == key]
            self._refuse_full(place.client, place.volume, here)
        wanted = Wanted.checked(
            name=name, owner=self.manifest.owner, comment=comment_of(self.restore_id, os.uname().nodename)
        )
        refs = [
            VolumeRef(place.volume.svm, place.volume.name, uuid=place.volume.uuid, controller=place.client.name)
            for place in places.values()
        ]
        clients = list({place.client.name: place.client for place in places.values()}.values())
        made = ensure_present(clients, refs, wanted, check_mode=False, deadline=self._deadline())
        return tuple(SafetySnapshot.from_record(each) for each in made["snapshots"])

    def prepare(self, disk: DiskRestore) -> None:
        """Make sure that the disk may be overwritten now."""
        client, volume = self._place(disk)
        if disk.storage.lun:
            self.luns.prepare(client, volume, disk, deadline=self._deadline())
        else:
            self._refuse_in_use(disk)
            with _telling(f"look at {disk.host_path}"):
                self.looks[disk.label] = look_of(disk.host_path)

    def overwrite(self, disk: DiskRestore) -> Overwritten:
        """Overwrite the disk's file or LUN from the snapshot by the first way that the array goes."""
        if disk.remove:
            self.remove(disk)
            return Overwritten("removed")
        client, volume = self._place(disk)
        refused = self._refused(client)
        while True:
            way = self._ways(disk, client, refused)[0]
            try:
                notes = self._by(way, client, volume, disk)
            except OntapError as exc:
                if not files.refuses_method(exc) or self.method != "auto":
                    raise
                refused.add(way)
                continue
            self._forget_cached(disk)
            return Overwritten(way, (*notes, *self._look_given_back(disk)))

    def verify(self, disk: DiskRestore) -> Verified:
        """Compare the disk with what the snapshot holds, past this host's caches; look at the tables of an image."""
        client, volume = self._place(disk)
        if disk.remove:
            return self._verify_gone(client, volume, disk)
        verify = self._verify_lun if disk.storage.lun else self._verify_file
        found = verify(client, volume, disk)
        if disk.verify == "full" and not found.sha256:
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: all of it was to be compared, and only {found.what} was",
                path=disk.label,
            )
        return replace(found, notes=(*found.notes, *self._checked_image(disk)))

    def keep_file(self, guest: GuestRestore, file: FileRestore) -> Aside:
        """Set aside what is at the file's place."""
        return firmware_files.keep(self.kept, guest.uuid, file)

    def put_file(self, file: FileRestore, look: Optional[Look]) -> None:
        """Replace what is at the file's place."""
        firmware_files.put(file, look)

    def put_file_back(self, aside: Aside) -> None:
        """Bring back what was set aside."""
        firmware_files.put_back(self.kept, aside)

    def remove(self, disk: DiskRestore) -> None:
        """Remove a disk's file that the restore made."""
        with _telling(f"remove {disk.host_path}"):
            if is_there(disk.host_path):
                os.unlink(disk.host_path)

    def set_definition_aside(self, guest: GuestRestore) -> Aside:
        """Keep the guest's definition."""
        return definition_actor.keep(self.host, self.kept, guest)

    def define(self, guest: GuestRestore) -> None:
        """Give the guest its new definition, or forget it."""
        definition_actor.define(self.host, guest)

    def bring_definition_back(self, guest: GuestRestore, aside: Aside) -> None:
        """Define the guest as it was; one that was not defined is forgotten."""
        definition_actor.bring_back(self.host, self.kept, guest.uuid, aside)

    def _look_given_back(self, disk: DiskRestore) -> list[str]:
        """Give the image the owner, mode and label that it had just before; return what could not be."""
        look = self.looks.get(disk.label)
        if look is None:
            return []
        with _telling(f"look at {disk.host_path}"):
            note = put_look(disk.host_path, look)
        return [note] if note else []

    def _verify_gone(self, client: Client, volume: Volume, disk: DiskRestore) -> Verified:
        path = disk.storage.path
        left = file_size(client, volume, path, snapshot=None, seen_at=disk.host_path, deadline=self._deadline())
        if left is not None:
            raise CheckFailedError(f"Failed to remove {disk.label}: it is still there", path=disk.label)
        return Verified("gone")

    def _checked_image(self, disk: DiskRestore) -> tuple[str, ...]:
        """Let qemu-img look at an image whose format has tables; a raw one is never looked into."""
        if not disk.check_image or disk.format not in INSPECTED:
            return ()
        with _telling(f"check the image {disk.host_path}"):
            remark = check_image(disk.host_path, image_format=disk.format, timeout=self.timeout)
        return (remark,) if remark else ()

    def _verify_lun(self, client: Client, volume: Volume, disk: DiskRestore) -> Verified:
        differs = self.luns.difference(client, volume, disk, deadline=self._deadline())
        if differs:
            raise CheckFailedError(f"Failed to check restored LUN {disk.label}: {differs}", path=disk.label)
        lost = self.luns.settings_lost(client, volume, disk, deadline=self._deadline())
        return Verified(self.luns.compared(disk), self.luns.sha256(disk), lost)

    def _verify_file(self, client: Client, volume: Volume, disk: DiskRestore) -> Verified:
        """Compare size, and sampled blocks or all of them, with the snapshot's copy.

        Where ``.snapshot`` is not to be seen on the host, the array's word on the sizes has to do.
        """
        there = ((disk.snapshot, disk.host_source), (None, disk.host_path))
        sizes = [
            file_size(client, volume, disk.storage.path, snapshot=snapshot, seen_at=seen, deadline=self._deadline())
            for snapshot, seen in there
        ]
        if sizes[0] is None or sizes[0] != sizes[1]:
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: it has {sizes[1]} bytes, the snapshot's copy {sizes[0]}",
                path=disk.label,
            )
        source = disk.host_source
        if source is None or not os.path.exists(source):
            return Verified("size")
        with _telling(f"compare {disk.host_path} with {source}"):
            if disk.verify == "full":
                whole = compare_files(source, disk.host_path, stalled_after=self.timeout)
                offset, found = whole.difference, Verified("size and all content", whole.sha256)
            else:
                offset, found = first_difference(source, disk.host_path), Verified("size and sampled blocks")
        if offset is not None:
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: it differs from {disk.snapshot} at byte {offset}",
                path=disk.label,
            )
        return found

    def _refused(self, client: Client) -> set[str]:
        """Return the ways that this system does not go; with auto, those without a licence from the start."""
        if client.name not in self.refused:
            unlicensed = files.unlicensed_methods(client, deadline=self._deadline()) if self.method == "auto" else ()
            self.refused[client.name] = {*unlicensed, *lun_restore.lun_ways(unlicensed)}
        return self.refused[client.name]

    def _ways(self, disk: DiskRestore, client: Client, refused: set[str]) -> tuple[str, ...]:
        if disk.storage.lun:
            return lun_restore.choose_lun_method(self.method, refused)
        return files.choose_method(self.method, client.version, refused)

    def _forget_cached(self, disk: DiskRestore) -> None:
        """Make this host forget the old bytes, which a guest with a host page cache would read and write back."""
        if disk.storage.lun:
            self.luns.settle(disk)
            return
        with _telling(f"drop what this host cached of {disk.host_path}"):
            is_there(disk.host_path)
            drop_cached(disk.host_path)

    def _by(self, way: str, client: Client, volume: Volume, disk: DiskRestore) -> tuple[str, ...]:
        """Go one way; return what there is to say of it."""
        path = disk.storage.path
        if way == "lun_clone":
            return self.luns.clone_over(client, volume, disk, deadline=self._deadline())
        if way == "copy":
            source = disk.host_source
            if source is None or not Path(source).is_file():
                raise KvmsnapError(f"Failed to copy {disk.label} out of its snapshot: this host does not see {source}")
            with _telling(f"copy {source} over {disk.host_path}"):
                if not is_there(disk.host_path):
                    make_like(source, disk.host_path)
                copy_over(source, disk.host_path)
            return ()
        if way == "file_clone":
            with _telling(f"look for {disk.host_path}"):
                there = is_there(disk.host_path)
            files.clone_file(
                client,
                volume,
                snapshot=disk.snapshot,
                source=path,
                destination=path,
                overwrite=there,
                deadline=self._deadline(),
            )
            return ()
        restore: Callable[..., None] = files.restore_file_cli if way == "sfsr_cli" else files.restore_file_rest
        restore(client, volume, snapshot=disk.snapshot, path=path, deadline=self._deadline())
        files.wait_restored(client, volume, snapshot_uuid=disk.snapshot_uuid, deadline=self._deadline())
        return ()

    def _deadline(self) -> Deadline:
        return Deadline.after(self.timeout)

    def _refuse_full(self, client: Client, volume: Volume, disks: Sequence[DiskRestore]) -> None:
        """Refuse a volume without the space that the snapshot from before will keep from being freed.

        A clone shares its blocks with the backup's snapshot and needs next to none; a copy is written anew.
        """
        sizes = sum(disk.size or 0 for disk in disks)
        needed = sizes if self.method == "copy" else sizes // SHARE_OF_CLONES
        free = volume_space(client, volume, deadline=self._deadline())
        if free is not None and free < needed:
            raise KvmsnapError(
                f"Failed to keep what {volume.label} holds now: a safety snapshot needs up to {needed} bytes there, and"
                f" {free} are free. Make room, or restore without one (safety_snapshot)",
                svm=volume.svm,
                volume=volume.name,
            )

    def _found(self, disk: DiskRestore) -> Place:
        return Place(*self._place(disk))

    def _place(self, disk: DiskRestore) -> tuple[Client, Volume]:
        """Return the disk's volume under the names that it has now: some calls of the array know it by name only."""
        saved = self.manifest.volume_of(disk.storage)
        known = self.places.get(saved.key) if saved else None
        now = locate([known.client], [saved], deadline=self._deadline()) if known and saved else {}
        if saved is None or saved.key not in now:
            raise KvmsnapError(f"Failed to reach the volume of {disk.label} through any of the controllers given")
        return now[saved.key].client, now[saved.key].volume

    def _refuse_in_use(self, disk: DiskRestore) -> None:
        """Ask who uses the file just before the overwrite: a guest of another host may be running from it."""
        Gate(lambda: self.host).refuse_used(FileTarget(disk.label, disk.host_path, disk.locks), Claim(self.guests))

    def _image(self, domain: Domain) -> Path:
        image = managed_save.image_of(self.host.uri, domain.name)
        if image is None:
            raise KvmsnapError(
                f"Failed to find the managed-save image of guest {domain.name}: {self.host.uri} keeps it elsewhere",
                guest=domain.name,
            )
        return image

    def _known(self, guest: GuestRestore) -> Optional[Domain]:
        """Return the guest, None when libvirt need not know it and does not."""
        return self.host.domain(uuid=guest.uuid) if guest.may_be_absent else self._domain(guest)

    def _domain(self, guest: GuestRestore) -> Domain:
        domain = self.host.domain(uuid=guest.uuid)
        if domain is None:
            raise KvmsnapError(
                f"Guest {guest.name} ({guest.uuid}) is not defined on this host any more", guest=guest.name
            )
        return domain


def file_size(
    client: Client, volume: Volume, path: str, *, snapshot: Optional[str], seen_at: Optional[str], deadline: Deadline
) -> Optional[int]:
    """Return the size in bytes of a file of a volume, now or in a snapshot, None when it is not there.

    An account that may not list files over REST (one with a traditional role) is no obstacle: then the host looks at
    ``seen_at``, the same file below its mount.
    """
    try:
        stat = files.stat_file(client, volume, path, snapshot=snapshot, deadline=deadline)
    except OntapDeniedError:
        if seen_at is None:
            raise
        return file_state(seen_at)[0]
    return None if stat is None else stat.size


def volume_space(client: Client, volume: Volume, *, deadline: Deadline) -> Optional[int]:
    """Return how many bytes are free in a volume, None when the array does not say."""
    record = client.get(f"/storage/volumes/{segment(volume.uuid)}", {"fields": "space.available"}, deadline=deadline)
    free = (record.get("space") or {}).get("available")
    return None if free is None else int(free)


@contextmanager
def _telling(action: str) -> Iterator[None]:
    """Turn an operating system's error into a sentence of ours."""
    try:
        yield
    except OSError as exc:
        raise KvmsnapError(f"Failed to {action}: {exc.strerror or exc}") from exc
