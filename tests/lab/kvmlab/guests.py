# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests on the KVM host: their images, their definitions, their start and their end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from . import topology
from .domain import DiskSpec, GuestSpec, LunSpec, domain_xml
from .errors import LabError
from .host import Host
from .luns import lun_file, serial_of
from .places import Places
from .process import run
from .san import San

ASSETS = PurePosixPath(topology.GUEST_ASSETS_ON_HOST)
CONSOLES = PurePosixPath("/var/log/libvirt/qemu")
PING = '{"execute": "guest-ping"}'
MOUNTED = '{"execute": "guest-get-fsinfo"}'
READY_SECONDS = 600
"""A guest is waited for as long as a busy machine may need; one that hangs is found out by this."""
DEFAULTS = (
    GuestSpec("web1", [DiskSpec("/mnt/kvm_vol1/web1.img")]),
    GuestSpec(
        "db1",
        [
            DiskSpec("/mnt/kvm_vol1/db1.img"),
            DiskSpec("/mnt/kvm_vol2/db1-data.qcow2", format="qcow2"),
        ],
    ),
    GuestSpec("sol1", [DiskSpec("/mnt/kvm_vol2/sol1.img", cache="writeback")], agent=False, os="solaris"),
    GuestSpec("san1", [LunSpec("/vol/kvm_san1/san1")]),
)
ON_REQUEST = (
    GuestSpec("mix1", [LunSpec("/vol/kvm_san1/mix1"), DiskSpec("/mnt/kvm_vol1/mix1-data.img")]),
    GuestSpec("san2", [LunSpec("/vol/kvm_san1/san2-boot"), LunSpec("/vol/kvm_san2/san2-data")]),
)


@dataclass(frozen=True)
class Guests:
    """The guests of one KVM host."""

    host: Host
    places: Places
    san: San

    def storage_path(self, path: str) -> Path:
        """Return where the array keeps a file below one of the KVM host's NFS mounts, or a LUN (``/vol/...``)."""
        if path.startswith("/vol/"):
            return lun_file(self.places.volumes, path)
        wanted = PurePosixPath(path)
        for mount in topology.ALL_MOUNTS:
            if PurePosixPath(mount.directory) in wanted.parents:
                volume = self.places.volumes / mount.svm / mount.volume
                return volume / wanted.relative_to(mount.directory)
        raise LabError(f"Failed to find {path} on the array: it is below none of the KVM host's NFS mounts")

    def make_images(self, specs: Iterable[GuestSpec]) -> None:
        """Make the missing images and LUNs on the array, for a KVM host that has not mounted it yet."""
        for spec in specs:
            self.san.prepare(spec.luns)
            for disk in _files(spec):
                image = self.storage_path(disk.path)
                if not image.exists():
                    make_image(disk, image.with_name(f".{image.name}.new")).replace(image)

    def add(self, spec: GuestSpec) -> None:
        """Make the guest's missing disks, define it, start it and wait until it is ready."""
        self.san.prepare(spec.luns)
        for disk in _files(spec):
            self._make_disk(disk)
        self.start([spec])
        self.wait([spec])

    def start(self, specs: Sequence[GuestSpec]) -> None:
        """Define the guests, start those that are off and resume those that are paused.

        Disks and LUNs must have been made. Whoever paused a guest may have been killed before it let it go on. One that
        has lost its disks, as by a host that lost its locks with its power, is started anew.
        """
        paused = self.names("--state-paused")
        self._resume([spec for spec in specs if spec.name in paused])
        for spec in specs:
            if spec.agent and spec.name in self.names("--state-running") and self._lost_its_disks(spec.name):
                self.host.virsh("destroy", spec.name)
        running = self.names("--state-running")
        wanted = [spec for spec in specs if spec.name not in (*running, *paused)]
        luns = [self.san.luns.get(disk.lun) for spec in wanted for disk in spec.luns]
        if luns:
            self.san.attach(luns)
        for spec in wanted:
            definition = PurePosixPath("/run") / f"{spec.name}.xml"
            disks = [self.san.named(disk) if isinstance(disk, LunSpec) else disk for disk in spec.disks]
            self.host.ssh(f"cat > {definition}", stdin=domain_xml(replace(spec, disks=disks), assets=ASSETS))
            self.host.virsh(f"define {definition}; start {spec.name}", timeout=READY_SECONDS)

    def wait(self, specs: Sequence[GuestSpec]) -> None:
        """Return when every guest has mounted its disks and, where it has one, its agent answers."""
        lines = [
            f"end=$((SECONDS + {READY_SECONDS}))",
            "exec 3<> <(:)",
            "pause() { read -r -t 0.5 -u 3; [ $SECONDS -lt $end ]; }",
            "booted() { read -r -d '' said < $1; [[ $said == *'guest: ready'* ]]; }",
        ]
        for spec in specs:
            name, console = shlex.quote(spec.name), CONSOLES / f"{spec.name}-console.log"
            ping = f"virsh -q qemu-agent-command {name} {shlex.quote(PING)} --timeout 5 &> /dev/null"
            for ready in (f"booted {console}", *([ping] if spec.agent else [])):
                lines.append(
                    f"until {ready}; do pause || {{ echo {name} is not ready; tail -n 5 {console}; exit 1; }}; done"
                )
        self.host.ssh("\n".join(lines), timeout=READY_SECONDS + 30)

    @contextmanager
    def suspended(self, specs: Sequence[GuestSpec]) -> Iterator[None]:
        """Let running guests leave the processor to others meanwhile."""
        try:
            for spec in specs:
                self.host.virsh("suspend", spec.name)
            yield
        finally:
            self._resume(specs)

    def remove(self, name: str, *, with_disks: bool = False) -> None:
        """Stop the guest at once and undefine it; its files and LUNs go too when wanted. An unknown guest is fine."""
        if name not in self.names("--all"):
            return
        rows = [line.split(None, 3) for line in self.host.virsh("domblklist", name, "--details").splitlines()]
        self.host.ssh(f"virsh -q destroy {shlex.quote(name)} 2> /dev/null; virsh -q undefine {shlex.quote(name)}")
        if not with_disks:
            return
        files = [row[3] for row in rows if row[:2] == ["file", "disk"]]
        if files:
            self.host.ssh("rm -f " + " ".join(shlex.quote(file) for file in files))
        serials = [serial_of(wwid) for wwid in self.san.wwids_of([row[3] for row in rows if row[0] == "block"])]
        for lun in self.san.luns.all() if serials else []:
            if lun.serial in serials:
                self.san.discard(lun)

    def names(self, *filters: str) -> list[str]:
        """Return the guests' names, filtered by virsh's own words (``--all``, ``--state-running``, ...)."""
        return self.host.virsh("list", "--name", *filters).split()

    def states(self) -> dict[str, str]:
        """Return each guest's state in libvirt's words."""
        rows = [line.split(None, 2) for line in self.host.virsh("list", "--all").splitlines()]
        return {row[1]: row[2].strip() for row in rows if len(row) == 3}

    def _lost_its_disks(self, name: str) -> bool:
        """Say whether a guest's agent knows of no mounted file system; one that does not answer yet is starting."""
        ask = f"virsh -q qemu-agent-command {shlex.quote(name)} {shlex.quote(MOUNTED)} --timeout 5 2> /dev/null || true"
        return self.host.ssh(ask).strip() == json.dumps({"return": []}, separators=(",", ":"))

    def _resume(self, specs: Iterable[GuestSpec]) -> None:
        for spec in specs:
            self.host.virsh("resume", spec.name, timeout=READY_SECONDS)

    def _make_disk(self, disk: DiskSpec) -> None:
        place = PurePosixPath(disk.path)
        try:
            image = self.storage_path(disk.path)
        except LabError:
            grow = "" if disk.path.startswith("/dev/") else f"truncate -s {disk.size_mib}M {place} &&"
            self.host.ssh(f"blkid {place} || {{ {grow} mkfs.ext4 -q -F {place}; }}")
            return
        if not image.exists():
            draft = f".{image.name}.new"
            make_image(disk, image.with_name(draft))
            self.host.ssh(f"mv {shlex.quote(str(place.with_name(draft)))} {shlex.quote(disk.path)}")


def _files(spec: GuestSpec) -> list[DiskSpec]:
    return [disk for disk in spec.disks if isinstance(disk, DiskSpec)]


def make_image(disk: DiskSpec, target: Path) -> Path:
    """Make an empty ext4 file system in an image of the disk's format, on this machine, and return its path."""
    raw = target if disk.format == "raw" else target.with_name(f"{target.name}.raw")
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (raw, target):
        leftover.unlink(missing_ok=True)
    run(["truncate", "--size", f"{disk.size_mib}M", raw])
    run(["mkfs.ext4", "-q", "-F", raw])
    if raw != target:
        run(["qemu-img", "convert", "-q", "-f", "raw", "-O", disk.format, raw, target])
        raw.unlink()
    return target
