# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest of the lab is, and its libvirt definition. Pure; good for any libvirtd, not only the KVM host's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Optional, Union
from xml.sax.saxutils import quoteattr

from .errors import LabError

AGENT_CHANNEL = "org.qemu.guest_agent.0"
_NAMESPACE = uuid.UUID("6b766d6c-6162-4000-a000-000000000000")
_COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 tsc=reliable lpj=5000000 random.trust_cpu=on mitigations=off selinux=0 audit=0 "
    "acpi=noirq noreplace-smp nokaslr cryptomgr.notests no_timer_check"
)
_OS_IDS = {"linux": "http://debian.org/debian/12", "solaris": "http://oracle.com/solaris/11.4"}


@dataclass(frozen=True)
class DiskSpec:
    """A disk of a guest. ``path`` is on the KVM host; ``size_mib`` counts only when the disk is made.

    With a ``pool`` the path is the name of one of that libvirt pool's volumes.
    """

    path: str
    format: str = "raw"
    cache: str = "none"
    size_mib: int = 64
    pool: Optional[str] = None


@dataclass(frozen=True)
class LunSpec:
    """A disk of a guest on a LUN of the array, by its name (``/vol/<volume>/<path>``); made when it is not there.

    ``form`` is how the guest's definition names the device, a key of `san.FORMS`.
    """

    lun: str
    form: str = "mapper"
    cache: str = "none"
    size_mib: int = 64


Disk = Union[DiskSpec, LunSpec]


@dataclass(frozen=True)
class GuestSpec:
    """A guest: up to two disks are mounted inside it, the first at /data, the second at /data2."""

    name: str
    disks: Sequence[Disk]
    agent: bool = True
    memory_mib: int = 96
    os: str = "linux"
    machine: str = "pc"
    extra_devices: Sequence[str] = field(default=())

    @property
    def uuid(self) -> str:
        """Return the guest's uuid, which follows from its name."""
        return str(uuid.uuid5(_NAMESPACE, self.name))

    @property
    def luns(self) -> list[LunSpec]:
        """Return those of its disks that lie on LUNs."""
        return [disk for disk in self.disks if isinstance(disk, LunSpec)]


def domain_xml(spec: GuestSpec, *, assets: PurePosixPath, emulator: str = "/usr/bin/qemu-system-x86_64") -> str:
    """Return the libvirt definition; ``assets`` is the directory with ``vmlinuz`` and ``initramfs``.

    Disks on LUNs must have been replaced by what the KVM host calls them.
    """
    devices = [_disk_xml(disk, number) for number, disk in enumerate(spec.disks)]
    if spec.agent:
        devices.append("<controller type='virtio-serial' index='0'/>")
        devices.append(f"<channel type='unix'><target type='virtio' name='{AGENT_CHANNEL}'/></channel>")
    devices += spec.extra_devices
    return f"""<domain type='qemu'>
  <name>{spec.name}</name>
  <uuid>{spec.uuid}</uuid>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>
      <libosinfo:os id='{_OS_IDS[spec.os]}'/>
    </libosinfo:libosinfo>
  </metadata>
  <memory unit='MiB'>{spec.memory_mib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{spec.machine}'>hvm</type>
    <kernel>{assets}/vmlinuz</kernel>
    <initrd>{assets}/initramfs</initrd>
    <cmdline>{_COMMAND_LINE}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
    {"".join(f"{device}{chr(10)}    " for device in devices)}<controller type='usb' model='none'/>
    <serial type='file'><source path='/var/log/libvirt/qemu/{spec.name}-console.log'/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def _disk_xml(disk: Disk, number: int) -> str:
    if isinstance(disk, LunSpec):
        raise LabError(f"Failed to define a guest: its LUN {disk.lun} has no device yet")
    block = disk.path.startswith("/dev/")
    kind, attribute = ("block", "dev") if block else ("file", "file")
    source = f"{attribute}={quoteattr(disk.path)}"
    if disk.pool is not None:
        kind, source = "volume", f"pool={quoteattr(disk.pool)} volume={quoteattr(disk.path)}"
    boot = "<boot order='1'/>" if number == 0 else ""
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='{disk.format}' cache='{disk.cache}'/>"
        f"<source {source}/><target dev='vd{chr(ord('a') + number)}' bus='virtio'/>"
        f"{boot}</disk>"
    )
