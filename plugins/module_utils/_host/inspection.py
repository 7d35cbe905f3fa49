# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host says of every disk of its guests, before the array is asked and before anything is assessed."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import (
    SYSFS,
    pci_is_storage,
    scsi_disk,
    storage_marks,
    usb_is_storage,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import (
    INSPECTED,
    RAW,
    ImageError,
    ImageInfo,
    files_named,
    image_chain,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import (
    Daemon,
    LunPlace,
    ask_multipathd,
    holder_notes,
    path_findings,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import FileFacts, HostFiles, NfsPlace, Placed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host, LibvirtError, PoolVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DiskXml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem

Mode = Literal["all", "boot"]

_NOT_FILES: dict[str, tuple[Code, str]] = {
    "network": ("network-disk", "QEMU reaches it over the network"),
    "nvme": ("nvme-disk", "it is a passed-through NVMe namespace"),
    "vhostuser": ("vhost-disk", "another process of the host serves it"),
    "vhostvdpa": ("vhost-disk", "another process of the host serves it"),
    "dir": ("directory-disk", "it is a directory of the host"),
    "filesystem": ("shared-directory", "it is a directory of the host shared into the guest"),
}


@dataclass(frozen=True)
class Layer:
    """A file below a disk's image; ``placed`` tells where it is, or why that is unknown."""

    source: str
    placed: Placed
    identity: str
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskObservation:
    """One disk after the host was asked.

    ``skipped`` says why it is left out by choice, and is empty for one that is to be saved; ``matched`` are the entries
    of ``exclude_disks`` that name it. ``size`` is what the guest sees, in bytes. ``notes`` do not keep the disk from
    being saved. ``identity`` tells the same file or device apart from others, ``marks`` are what a device has in common
    with others on the same storage. ``outside`` are files that hold data of it without being layers.
    """

    disk: DiskXml
    skipped: str = ""
    matched: tuple[str, ...] = ()
    path: Optional[str] = None
    size: Optional[int] = None
    placed: Optional[Placed] = None
    identity: str = ""
    marks: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    outside: tuple[Layer, ...] = ()
    refusal: Optional[Problem] = None
    notes: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Which disks are to be saved: ``exclude`` holds ``guest:target``, targets, or globs of paths."""

    mode: Mode
    exclude: tuple[str, ...]


class DiskInspector:
    """Asks the host about guests' disks. ``host`` is None when libvirt does not answer."""

    def __init__(
        self,
        files: HostFiles,
        host: Optional[Host],
        *,
        sysfs: Path = SYSFS,
        chain: Callable[..., tuple[ImageInfo, ...]] = image_chain,
        multipathd: Callable[[], Daemon] = ask_multipathd,
    ) -> None:
        self._files = files
        self._host = host
        self._sysfs = sysfs
        self._chain = chain
        self._ask_multipathd = multipathd
        self._multipathd: Optional[Daemon] = None

    def look(self, guest: Guest, choice: Choice, *, images: bool) -> list[DiskObservation]:
        """Return the guest's disks; ``images`` tells whether qemu-img and multipathd are asked about them."""
        found = (self._look(guest, disk, choice, images=images) for disk in guest.definition.disks)
        return [observed for observed in found if observed is not None]

    def _look(self, guest: Guest, disk: DiskXml, choice: Choice, *, images: bool) -> Optional[DiskObservation]:
        if disk.removable:
            reason = "an empty drive" if disk.empty else "a medium in a drive is no part of the guest"
            matched = excluded_by(choice.exclude, guest, disk, None)
            return DiskObservation(disk, skipped=reason, matched=matched, marks=self._marks_of_medium(disk))
        if disk.kind == "hostdev":
            return self._passed_through(guest, disk, choice)
        observed = self._locate(disk)
        matched = excluded_by(choice.exclude, guest, disk, observed.path)
        observed = replace(observed, matched=matched, skipped=_skipped(disk, choice, matched))
        if observed.skipped or not images or not isinstance(observed.placed, (NfsPlace, LunPlace)):
            return observed
        if isinstance(observed.placed, LunPlace):
            observed = self._with_paths(observed, observed.placed)
        return observed if observed.refusal else self._inspect(observed)

    def _with_paths(self, observed: DiskObservation, place: LunPlace) -> DiskObservation:
        """Say how a LUN is reached; a device without a working path is not looked into, since it may never answer."""
        if self._multipathd is None and place.is_map:
            self._multipathd = self._ask_multipathd()
        refusal, notes = path_findings(place, self._multipathd or Daemon(), sysfs=self._sysfs)
        return replace(observed, refusal=refusal, notes=(*notes, *holder_notes(place, sysfs=self._sysfs)))

    def _locate(self, disk: DiskXml) -> DiskObservation:
        path = disk.path
        if disk.kind == "volume" and disk.protocol:
            return DiskObservation(disk, placed=_not_a_file("network", disk.source))
        if disk.kind == "volume":
            volume = self._pool_volume(disk)
            if isinstance(volume, Problem):
                return DiskObservation(disk, placed=volume)
            if volume.kind in _NOT_FILES:
                return DiskObservation(disk, placed=_not_a_file(volume.kind, volume.path))
            path = volume.path
        elif disk.kind in _NOT_FILES:
            return DiskObservation(disk, placed=_not_a_file(disk.kind, disk.source))
        elif disk.kind not in ("file", "block"):
            return DiskObservation(
                disk, placed=problem_of("unsupported-disk-type", f"its type {disk.kind!r} is not known")
            )
        if not path or not path.startswith("/"):
            return DiskObservation(disk, placed=problem_of("image-missing", "the definition names no file"))
        facts = self._files.look(path)
        if isinstance(facts, Problem):
            return DiskObservation(replace(disk, path=path), path=path, placed=facts)
        placed = self._files.place(facts)
        size = placed.size if isinstance(placed, LunPlace) else facts.size
        return DiskObservation(
            replace(disk, path=path),
            path=facts.realpath,
            size=size if disk.format in RAW else None,
            placed=placed,
            identity=_identity(facts),
            marks=self._marks(facts),
        )

    def _marks_of_medium(self, disk: DiskXml) -> tuple[str, ...]:
        """Return the marks of a device in a drive; an image file there is not looked at, no guest's disk is one."""
        path = disk.path
        if disk.kind == "volume" and not disk.protocol:
            volume = self._pool_volume(disk)
            path = volume.path if isinstance(volume, PoolVolume) else None
        if not path or not path.startswith("/dev/"):
            return ()
        facts = self._files.look(path)
        return () if isinstance(facts, Problem) else self._marks(facts)

    def _marks(self, facts: FileFacts) -> tuple[str, ...]:
        return storage_marks(facts.device, sysfs=self._sysfs) if facts.device else ()

    def _pool_volume(self, disk: DiskXml) -> Union[PoolVolume, Problem]:
        if self._host is None:
            return problem_of(
                "pool-volume-unresolved", "libvirt does not answer, and only it knows where pool volumes are"
            )
        try:
            return self._host.pool_volume(disk.pool or "", disk.volume or "")
        except LibvirtError as exc:
            return problem_of("pool-volume-unresolved", exc.message)

    def _inspect(self, observed: DiskObservation) -> DiskObservation:
        disk = observed.disk
        if disk.data_store:
            stored = self._layers(files_named(disk.data_store, image=disk.path or ""))
            return replace(observed, outside=stored, refusal=_outside_data(disk.data_store))
        if disk.format in RAW:
            return replace(observed, layers=self._layers([layer.source for layer in disk.backing]))
        if disk.format not in INSPECTED:
            return replace(observed, refusal=problem_of("unsupported-image-format", f"its format is {disk.format}"))
        try:
            chain = self._chain(disk.path, image_format=disk.format)
        except ImageError as exc:
            return replace(observed, refusal=problem_of("image-unreadable", exc.message))
        below = [layer.source for layer in disk.backing] if disk.backing_known else [info.backing for info in chain]
        outside = [name for info in chain for name in info.data_files]
        notes = [
            problem_of("internal-snapshots", f"its image holds internal snapshots: {', '.join(info.snapshots)}")
            for info in chain[:1]
            if info.snapshots
        ]
        return replace(
            observed,
            size=chain[0].virtual_size,
            layers=self._layers([name for name in below if name]),
            outside=self._layers(_not_layers(chain)),
            refusal=_outside_data(outside[0]) if outside else None,
            notes=(*observed.notes, *notes),
        )

    def _layers(self, sources: Sequence[str]) -> tuple[Layer, ...]:
        return tuple(self._layer(source) for source in sources)

    def _layer(self, source: str) -> Layer:
        if not source.startswith("/"):
            return Layer(source, problem_of("backing-file-outside", f"its backing file {source} is no file"), "")
        facts = self._files.look(source)
        if isinstance(facts, Problem):
            return Layer(source, facts, "")
        return Layer(source, self._files.place(facts), _identity(facts), self._marks(facts))

    def _passed_through(self, guest: Guest, disk: DiskXml, choice: Choice) -> Optional[DiskObservation]:
        matched = excluded_by(choice.exclude, guest, disk, None)
        observed = DiskObservation(disk, matched=matched, skipped=_skipped(disk, choice, matched))
        address = disk.address or ""
        if disk.device == "scsi":
            name = scsi_disk(address, sysfs=self._sysfs)
            refusal = problem_of("passed-through-disk", f"the SCSI disk {address} is passed through")
            return replace(observed, placed=refusal, marks=storage_marks(name, sysfs=self._sysfs) if name else ())
        if disk.device == "scsi_host":
            reason = f"the SCSI controller {address} is passed through"
            return replace(observed, placed=problem_of("passed-through-controller", reason))
        is_storage = (pci_is_storage if disk.device == "pci" else usb_is_storage)(address, sysfs=self._sysfs)
        if is_storage is False:
            return None
        if is_storage is None:
            note = problem_of(
                "unknown-passed-through-device", f"the {disk.device.upper()} device {address} is passed through"
            )
            return replace(observed, skipped=observed.skipped or "not known to be storage", notes=(note,))
        if disk.device == "pci":
            reason = f"the storage controller {address} is passed through"
            return replace(observed, placed=problem_of("passed-through-controller", reason))
        return replace(observed, placed=problem_of("passed-through-disk", f"the USB disk {address} is passed through"))


def excluded_by(entries: Sequence[str], guest: Guest, disk: DiskXml, path: Optional[str]) -> tuple[str, ...]:
    """Return the entries of ``exclude_disks`` that name a disk; the guest's part and paths may be globs."""
    return tuple(entry for entry in entries if _names_disk(entry, guest, disk, path))


def _names_disk(entry: str, guest: Guest, disk: DiskXml, path: Optional[str]) -> bool:
    if entry.startswith("/"):
        return any(fnmatch.fnmatchcase(each, entry) for each in (disk.source, path) if each)
    return entry == disk.target or (":" in entry and fnmatch.fnmatchcase(f"{guest.name}:{disk.target}", entry))


def _skipped(disk: DiskXml, choice: Choice, matched: Sequence[str]) -> str:
    if matched:
        return f"left out by exclude_disks ({matched[0]})"
    if choice.mode == "boot" and disk.role != "boot":
        return "not the boot disk, and only that is asked for (disks=boot)"
    return ""


def _not_a_file(kind: str, source: str) -> Problem:
    code, reason = _NOT_FILES[kind]
    return problem_of(code, f"{reason} ({source})")


def _not_layers(chain: Sequence[ImageInfo]) -> list[str]:
    """Return the files that images name without having them as layers: of data, and in other words than a path."""
    return [
        path
        for info in chain
        for name in (info.backing, *info.data_files)
        if name and (name != info.backing or not name.startswith("/"))
        for path in files_named(name, image=info.path)
    ]


def _outside_data(name: str) -> Problem:
    return problem_of("external-data-file", f"its image keeps data in {name}")


def _identity(facts: FileFacts) -> str:
    return f"device {facts.device}" if facts.device else facts.identity or facts.realpath
