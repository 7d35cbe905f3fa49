# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use a disk of the lab, each as a context: through another NFS client's mount, on a LUN, on the second host.

What lies on NFS is used "elsewhere": by a process in a mount namespace of its own, with the export mounted from the
array's other address, which the kernel takes for another file system. Only server's file system, file id and locks tell
that both are one file.
"""

from __future__ import annotations

import json
import shlex
import uuid as uuids
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from image_users import qemu

from kvmlab import topology
from kvmlab.domain import DiskSpec
from kvmlab.lab import Lab
from kvmlab.luns import Lun
from kvmlab.second import SecondHost

from .guests import still_xml
from .lab_host import LabHost

ELSEWHERE = "/run/kvmlab-elsewhere"
SCRIPT = f"{ELSEWHERE}.sh"
OVERLAY = "/run/kvmlab-overlay.qcow2"
MOUNT = "/run/kvmlab-mounted"
# usage: sh SCRIPT VERSION VOLUME COMMAND...; be another client of the volume, as which the command runs.
MOUNTED_ELSEWHERE = f"""\
version=$1 volume=$2
shift 2
mkdir -p {ELSEWHERE}
mount -t nfs -o vers=$version svm1-nfs-b:/$volume {ELSEWHERE} && exec "$@"
"""


@dataclass(frozen=True)
class FileAt:
    """An image in a volume that is mounted below /mnt by the volume's name; ``version`` is that of NFS."""

    volume: str
    inside: str
    image_format: str = "raw"
    version: str = "4.1"

    @property
    def path(self) -> str:
        """Where the KVM host has it."""
        return f"/mnt/{self.volume}/{self.inside}"

    @property
    def elsewhere(self) -> str:
        """Where another client has it."""
        return f"{ELSEWHERE}/{self.inside}"


@dataclass
class LabUses:
    """The users on one lab; ``options`` is what the role would tell a restore of them."""

    host: LabHost
    second: SecondHost

    def __post_init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.lab: Lab = self.host.lab
        self.lab.ssh(f"cat > {SCRIPT}", stdin=MOUNTED_ELSEWHERE)

    def away(self, file: FileAt, version: str = "") -> list[str]:
        """Return what runs a command as another client of the file's volume."""
        return ["unshare", "--mount", "--propagation", "private", "sh", SCRIPT, version or file.version, file.volume]

    @contextmanager
    def qemu(self, file: FileAt, *, version: str = "", **how: Any) -> Iterator[None]:
        """Run a QEMU elsewhere with the file as its disk."""
        start = [*self.lab.host.ssh_command(), *self.away(file, version)]
        with qemu(Path(file.path), image_format=file.image_format, start=start, seen_as=Path(file.elsewhere), **how):
            yield

    @contextmanager
    def overlay(self, file: FileAt) -> Iterator[None]:
        """Run a QEMU elsewhere on an overlay that has the file below it."""
        self.lab.ssh(f"qemu-img create -q -u -f qcow2 -b {file.elsewhere} -F {file.image_format} {OVERLAY} 8M")
        start = [*self.lab.host.ssh_command(), *self.away(file)]
        with qemu(Path(OVERLAY), image_format="qcow2", start=start):
            yield
        self.lab.ssh(f"rm -f {OVERLAY}")

    @contextmanager
    def nbd(self, file: FileAt, *, readonly: bool = False, locking: bool = True) -> Iterator[None]:
        """Let qemu-nbd serve the file elsewhere."""
        below = {"driver": "file", "filename": file.elsewhere, **({} if locking else {"locking": "off"})}
        node = {"driver": file.image_format, "file": below}
        with self._nbd(self.away(file), f"json:{json.dumps(node)}", readonly=readonly):
            yield

    @contextmanager
    def nbd_on_device(self, device: str) -> Iterator[None]:
        """Let qemu-nbd serve a device, by a node of its own as libvirt gives each QEMU one."""
        numbers = self.lab.ssh(f"lsblk --noheadings --nodeps --output MAJ:MIN {device}").strip().replace(":", " ")
        node = "/dev/kvmlab-node"
        self.lab.ssh(f"rm -f {node} && mknod {node} b {numbers}")
        with self._nbd([], node, "--format=raw"):
            yield
        self.lab.ssh(f"rm -f {node}")

    @contextmanager
    def _nbd(self, before: Sequence[str], what: str, *more: str, readonly: bool = False) -> Iterator[None]:
        pid = "/run/kvmlab-nbd.pid"
        words = ["qemu-nbd", "--fork", "--persistent", "--pid-file", pid, "--socket", "/run/kvmlab-nbd.sock", *more]
        words += ["--read-only"] if readonly else []
        self.lab.ssh(f"{shlex.join([*before, *words, what])} < /dev/null > /dev/null 2>&1")
        try:
            yield
        finally:
            self.lab.ssh(f"pid=$(cat {pid}) && kill $pid && while [ -e /proc/$pid ]; do sleep 0.1; done")

    @contextmanager
    def open(self, path: str, before: Sequence[str] = ()) -> Iterator[None]:
        """Let a process have something open."""
        held = shlex.join([*before, "sh", "-c", 'exec 3<"$1" && echo open && exec sleep 900 >&- 2>&-', "sh", path])
        said = f"/run/kvmlab-open-{uuids.uuid4().hex[:6]}"
        pid = self.lab.ssh(
            f"{{ {held}; }} > {said} 2>&1 < /dev/null & echo $!;"
            f" until grep -q open {said}; do sleep 0.1; done; rm {said}"
        ).split()[0]
        try:
            yield
        finally:
            self.lab.ssh(f"kill $(pgrep -P {pid}) {pid} 2> /dev/null; true")

    @contextmanager
    def loop(self, path: str) -> Iterator[None]:
        """Put a loop device over a file."""
        device = self.lab.ssh(f"modprobe loop && losetup --find --show {path}").strip()
        try:
            yield
        finally:
            self.lab.ssh(f"losetup --detach {device}")

    @contextmanager
    def guest(
        self, path: str, *, running: bool = False, on: Optional[SecondHost] = None, image_format: str = "raw"
    ) -> Iterator[None]:
        """Define another guest that has a file or device, here or on the second host."""
        place = on or self.lab
        name = f"other-{uuids.uuid4().hex[:6]}"
        xml = still_xml(name, [DiskSpec(path)]).replace("type='raw'", f"type='{image_format}'")
        system = on.host if on else self.lab.host
        system.ssh(f"cat > /run/{name}.xml && virsh -q define /run/{name}.xml", stdin=xml)
        if running:
            place.virsh("start", name)
        try:
            self.options = self._told() if on else {}
            yield
        finally:
            self.options = {}
            place.ssh(f"virsh -q destroy {name} 2> /dev/null; virsh -q undefine {name}; rm -f /run/{name}.xml")

    @contextmanager
    def guest_on_overlay(self, path: str, overlay: str, *, on: Optional[SecondHost] = None) -> Iterator[None]:
        """Define a guest, here or on the second host, whose overlay has the file or device below it."""
        (on or self.lab).ssh(f"qemu-img create -q -u -f qcow2 -b {path} -F raw {overlay} 8M")
        with self.guest(overlay, image_format="qcow2", on=on):
            yield
        (on or self.lab).ssh(f"rm -f {overlay}")

    @contextmanager
    def mounted(self, device: str) -> Iterator[None]:
        """Mount the file system on a device, which is made before."""
        self.lab.ssh(f"mkfs.ext4 -q -F {device} && mkdir -p {MOUNT} && mount -o ro {device} {MOUNT}")
        try:
            yield
        finally:
            self.lab.ssh(f"umount {MOUNT}")

    @contextmanager
    def swap(self, device: str) -> Iterator[None]:
        """Let the host swap to a device."""
        self.lab.ssh(f"mkswap -q {device} > /dev/null && swapon {device}")
        try:
            yield
        finally:
            self.lab.ssh(f"swapoff {device}")

    @contextmanager
    def volume_group(self, lun: Lun) -> Iterator[None]:
        """Have an active logical volume on a LUN."""
        self.lab.san.make_volume_group(lun)
        try:
            yield
        finally:
            self.lab.san.remove_volume_group(lun)

    @contextmanager
    def partition(self, lun: Lun, *, mounted: bool = False) -> Iterator[None]:
        """Have a partition of a LUN mapped, and mounted when asked."""
        part = self.lab.san.partition(lun)
        try:
            if mounted:
                with self.mounted(part):
                    yield
            else:
                yield
        finally:
            self.lab.san.unpartition(lun)

    @contextmanager
    def mapped(self, lun: Lun) -> Iterator[None]:
        """Map a LUN to another host's igroup, too."""
        self.lab.luns.map(lun, topology.FOREIGN_IGROUP)
        try:
            yield
        finally:
            self.lab.luns.unmap(lun, topology.FOREIGN_IGROUP)

    @contextmanager
    def reserved(self, lun: Lun) -> Iterator[None]:
        """Hold a reservation on a LUN, by one path; the lab's target does not tell whose it is."""
        ask, path = "sg_persist --no-inquiry --out", self.path_of(lun)
        register = f"{ask} --register --param-rk=%s --param-sark=%s {path} > /dev/null"
        self.lab.ssh(f"{register % (0, '0xabc')} && {ask} --reserve --param-rk=0xabc --prout-type=5 {path} > /dev/null")
        try:
            yield
        finally:
            self.lab.ssh(register % ("0xabc", 0))

    def path_of(self, lun: Lun) -> str:
        """Return the device of one path to a LUN."""
        return f"/dev/{self.lab.san.paths(lun.wwid)[0].disk}"

    def _told(self) -> dict[str, Any]:
        """Return what the role would tell a restore of the second host's guests."""
        found = LabHost(self.lab, self.second.host).module("kvm_vm_discover", guests=["*"])
        guests = [{key: each[key] for key in ("name", "uuid", "state", "disks")} for each in found["guests"]]
        name = self.second.host.name
        return {
            "other_hosts": {name: [each["uuid"] for each in guests if each["state"] != "shutoff"]},
            "other_hosts_guests": {name: guests},
            "other_hosts_initiators": {name: found["initiators"]},
        }
