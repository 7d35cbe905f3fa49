# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a definition that is not this host's own may say: its elements, their attributes, and what each may hold. Pure.

One line per element: its path below ``<domain>``, then its attributes, then ``#`` and the kind of its text. A kind
stands behind ``=``; without one the value is *inert*: it has no slash, and names nothing outside of the guest. What
libvirt makes as many of as the definition says (vCPUs, controllers, queues) is a ``count``. Elements and attributes
that no line has are not allowed. Source: https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INERT = "inert"
ROOT = "."

_LINES = """
. type=domain_type
name #name
uuid #uuid
genid #inert
title #any
description #any
metadata
metadata/{os}libosinfo
metadata/{os}libosinfo/{os}os id=any
metadata/{copy}copy owner=any backup-id=any guest=any guest-uuid=any created=any
memory unit dumpCore #inert
currentMemory unit #inert
maxMemory unit slots=count #inert
vcpu placement current=count #count
vcpus
vcpus/vcpu id=count enabled hotpluggable order=count
os firmware=firmware
os/type arch machine #os_type
os/loader readonly secure type stateless format #firmware_file
os/nvram type=file format templateFormat template=firmware_file #nvram
os/nvram/source file=nvram
os/kernel #host_path
os/initrd #host_path
os/cmdline #command_line
os/boot dev
os/bootmenu enable timeout
os/smbios mode=smbios
os/bios useserial rebootTimeout
os/firmware
os/firmware/feature enabled name
features
features/acpi
features/apic eoi
features/pae
features/privnet
features/hap state
features/viridian
features/pvspinlock state
features/pmu state
features/vmport state
features/vmcoreinfo state
features/smm state
features/smm/tseg unit #inert
features/ioapic driver
features/gic version
features/htm state
features/nested-hv state
features/ccf-assist state
features/cfpc value
features/sbbc value
features/ibs value
features/hpt resizing
features/hpt/maxpagesize unit #inert
features/msrs unknown
features/ps2 state
features/ras state
features/kvm
features/kvm/hidden state
features/kvm/hint-dedicated state
features/kvm/poll-control state
features/kvm/pv-ipi state
features/hyperv mode
features/hyperv/relaxed state
features/hyperv/vapic state
features/hyperv/spinlocks state retries
features/hyperv/vpindex state
features/hyperv/runtime state
features/hyperv/synic state
features/hyperv/stimer state
features/hyperv/stimer/direct state
features/hyperv/reset state
features/hyperv/vendor_id state value
features/hyperv/frequencies state
features/hyperv/reenlightenment state
features/hyperv/tlbflush state
features/hyperv/tlbflush/direct state
features/hyperv/tlbflush/extended state
features/hyperv/ipi state
features/hyperv/evmcs state
features/hyperv/avic state
features/hyperv/emsr_bitmap state
features/hyperv/xmm_input state
cpu mode match check migratable deprecated_features
cpu/model fallback vendor_id #inert
cpu/vendor #inert
cpu/topology sockets=count dies=count clusters=count cores=count threads=count
cpu/feature name policy
cpu/cache level mode
cpu/maxphysaddr mode bits limit
cpu/numa
cpu/numa/cell id=count cpus memory unit discard
cpu/numa/cell/distances
cpu/numa/cell/distances/sibling id=count value=count
clock offset basis adjustment timezone=timezone start
clock/timer name present mode frequency tickpolicy track
clock/timer/catchup threshold slew limit
on_poweroff #event
on_reboot #event
on_crash #event
on_lockfailure #event
pm
pm/suspend-to-mem enabled
pm/suspend-to-disk enabled
sysinfo type=sysinfo
sysinfo/bios
sysinfo/bios/entry name #any
sysinfo/system
sysinfo/system/entry name #any
sysinfo/baseBoard
sysinfo/baseBoard/entry name #any
sysinfo/chassis
sysinfo/chassis/entry name #any
sysinfo/oemStrings
sysinfo/oemStrings/entry #any
devices
devices/emulator #emulator
devices/disk type=disk_type device=disk_device model snapshot=inert rawio=no sgio=filtered
devices/disk/driver name=qemu type=format cache io error_policy rerror_policy discard detect_zeroes copy_on_read \
ioeventfd event_idx queues=count queue_size=count iommu ats packed page_per_vq discard_no_unref
devices/disk/source file=disk dev=disk startupPolicy
devices/disk/target dev bus tray removable rotation_rate
devices/disk/boot order loadparm
devices/disk/readonly
devices/disk/shareable
devices/disk/serial #any
devices/disk/wwn #any
devices/disk/vendor #any
devices/disk/product #any
devices/disk/geometry cyls heads secs trans
devices/disk/blockio logical_block_size physical_block_size discard_granularity
devices/controller type index=count model ports=count vectors=count maxGrantFrames=count maxEventChannels=count
devices/controller/driver queues=count cmd_per_lun=count max_sectors ioeventfd iommu ats packed page_per_vq
devices/controller/master startport=count
devices/controller/model name
devices/controller/target chassis=count chassisNr=count port=count index=count busNr=count hotplug memReserve
devices/controller/target/node #inert
devices/controller/pcihole64 unit #inert
devices/interface type=interface
devices/interface/mac address type check
devices/interface/source network=network bridge=network portgroup
devices/interface/model type
devices/interface/driver name=net_driver txmode ioeventfd event_idx queues=count rx_queue_size=count \
tx_queue_size=count rss \
rss_hash_report iommu ats packed page_per_vq
devices/interface/driver/host csum gso tso4 tso6 ecn ufo mrg_rxbuf
devices/interface/driver/guest csum tso4 tso6 ecn ufo
devices/interface/link state
devices/interface/mtu size
devices/interface/port isolated
devices/interface/boot order loadparm
devices/interface/rom bar enabled
devices/serial type=port
devices/serial/source path=host_path append
devices/serial/target type port=count
devices/serial/target/model name
devices/console type=port
devices/console/source path=host_path append
devices/console/target type port=count
devices/parallel type=pty
devices/parallel/target port=count
devices/channel type=channel
devices/channel/target type=virtio name=channel_name
devices/channel/source channel
devices/channel/source/clipboard copypaste
devices/channel/source/mouse mode
devices/input type=input bus model
devices/input/driver iommu ats packed page_per_vq
devices/hub type
devices/graphics type=screen port tlsPort autoport keymap sharePolicy powerControl defaultMode connected
devices/graphics/listen type=loopback address=loopback
devices/graphics/channel name mode
devices/graphics/clipboard copypaste
devices/graphics/filetransfer enable
devices/graphics/mouse mode
devices/graphics/gl enable=no
devices/video
devices/video/model type vram vram64 ram vgamem heads=count primary blob edid
devices/video/model/acceleration accel3d accel2d
devices/video/model/resolution x y
devices/video/driver iommu ats packed page_per_vq
devices/sound model streams
devices/sound/codec type
devices/audio id type=audio
devices/watchdog model action=watchdog
devices/memballoon model autodeflate freePageReporting
devices/memballoon/stats period
devices/memballoon/driver iommu ats packed page_per_vq
devices/rng model
devices/rng/backend model=rng #random
devices/rng/driver iommu ats packed page_per_vq
devices/tpm model
devices/tpm/backend type=emulated version persistent_state
devices/tpm/backend/active_pcr_banks
devices/tpm/backend/active_pcr_banks/sha1
devices/tpm/backend/active_pcr_banks/sha256
devices/tpm/backend/active_pcr_banks/sha384
devices/tpm/backend/active_pcr_banks/sha512
devices/panic model
devices/iommu model
devices/iommu/driver intremap caching_mode eim iotlb aw_bits dma_translation xtsup pt
devices/vsock model
devices/vsock/cid auto=yes
devices/vsock/driver iommu ats packed page_per_vq
devices/memory model=dimm discard uuid
devices/memory/target
devices/memory/target/size unit #inert
devices/memory/target/node #inert
"""

ADDRESS = frozenset(
    ("type", "domain", "bus", "slot", "function", "multifunction", "controller", "target", "unit", "port", "base",
     "iobase", "irq", "reg", "cssid", "ssid", "devno", "uuid")
)  # fmt: skip
"""What ``<address>`` may say at any device: where it is inside of the guest."""

COUNTED = frozenset(("controller", "target", "unit", "port", "bus"))
"""Numbers in an ``<address>`` up to which libvirt makes whatever is missing: a controller for each."""

ADDRESSES = frozenset(
    ("pci", "drive", "virtio-serial", "ccid", "usb", "isa", "virtio-mmio", "virtio-s390", "ccw", "spapr-vio", "dimm",
     "unassigned")
)  # fmt: skip

NAMESPACES = {"{os}": "{http://libosinfo.org/xmlns/libvirt/domain/1.0}", "{copy}": "{urn:kvmsnap:copy:1}"}


@dataclass(frozen=True)
class AllowedElement:
    """What an element may have: attributes with the kind of their values, and the kind of its text, empty for none."""

    attributes: Mapping[str, str]
    text: str = ""


def _read(lines: str) -> dict[str, AllowedElement]:
    for short, full in NAMESPACES.items():
        lines = lines.replace(short, full)
    found = {}
    for line in lines.strip().splitlines():
        path, *words = line.split()
        text = next((word[1:] for word in words if word.startswith("#")), "")
        pairs = [word.partition("=") for word in words if not word.startswith("#")]
        found[path] = AllowedElement({name: kind or INERT for name, _equals, kind in pairs}, text)
    return found


GRAMMAR = _read(_LINES)
"""Each element that is allowed, by its path below ``<domain>``; ``.`` is the root itself."""
