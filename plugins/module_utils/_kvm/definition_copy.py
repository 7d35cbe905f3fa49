# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of a copy of a guest: a guest of its own that shares nothing with the original. Pure.

What could collide with the original, reach out of the copy or bind it to one host is renewed, made automatic or left
out, each with a sentence. What cannot be kept apart is refused.
"""

from __future__ import annotations

import copy
import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import (
    LIBOSINFO,
    QEMU,
    DefinitionError,
    Edited,
    disks_of,
    drop,
    eject,
    place_of,
    target_of,
    text_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import REMOVABLE, domain_element

OURS = "urn:kvmsnap:copy:1"
MAC_PREFIX = "52:54:00"
LOOPBACK = "127.0.0.1"
FILES = "file"
BLOCK = "block"

_MARK = f"{{{OURS}}}copy"
_HOST_DEVICES = ("hostdev", "filesystem", "shmem", "lease", "redirdev", "smartcard", "redirfilter")
_HOST_INPUTS = ("passthrough", "evdev")
_KEPT_INTERFACES = ("network", "bridge", "direct", "user")
_KEPT_IN_INTERFACE = (
    "source", "virtualport", "vlan", "bandwidth", "filterref", "model", "driver", "boot", "link", "mtu", "coalesce",
    "port", "address",
)  # fmt: skip
_KEPT_OF_NETWORK = ("network", "portgroup", "bridge", "dev", "mode")
_KEPT_CHARDEVS = ("pty", "null", "vc", "spicevmc", "spiceport", "qemu-vdagent")
_LOCAL_SCREENS = ("sdl", "desktop")
_HOST_AUDIO = ("alsa", "coreaudio", "file", "jack", "oss", "pipewire", "pulseaudio", "sdl")
_KEPT_IN_SOURCE = ("encryption", "slices")
_PINS = ("vcpupin", "emulatorpin", "iothreadpin", "vcpusched", "iothreadsched", "emulatorsched")
_CACHES = ("cachetune", "memorytune")
_NETWORK_NAME = re.compile(r"[^\s/][^\n/]*")

ET.register_namespace("kvmsnap", OURS)


@dataclass(frozen=True)
class CopyMark:
    """Who made a copy, of which guest, from which backup and when (ISO 8601); it rides in the copy's metadata."""

    owner: str
    backup_id: str
    guest: str
    guest_uuid: str
    created: str


@dataclass(frozen=True)
class NewSource:
    """Where a disk of the copy lies: ``kind`` is file or block; ``format`` is the image's."""

    kind: str
    path: str
    format: str


@dataclass(frozen=True)
class CopySpec:
    """What a copy is to be. ``network`` is the name of one of libvirt's networks for all interfaces, or None.

    Without one there are no interfaces, or with ``own_networks`` those of the original, with new addresses.
    ``sources`` maps the disk's target to its new place; a disk without one is left out. ``nvram`` is the path of the
    copy's own UEFI variables. ``taken_macs`` must not be given again.
    """

    name: str
    uuid: str
    mark: CopyMark
    sources: Mapping[str, NewSource]
    network: Optional[str] = None
    nvram: Optional[str] = None
    own_networks: bool = False
    taken_macs: Collection[str] = ()


def copy_mark_of(xml: str) -> Optional[CopyMark]:
    """Return the mark that a definition carries, None when it carries none (or one that is not whole)."""
    element = domain_element(xml).find(f"metadata/{_MARK}")
    if element is None:
        return None
    values = {key: element.get(key.replace("_", "-"), "") for key in CopyMark.__dataclass_fields__}
    return CopyMark(**values) if all(values.values()) else None


def copy_of(xml: str, spec: CopySpec) -> Edited:
    """Return the definition of a copy, and what of the original it lacks.

    Raises :class:`DefinitionError` when a disk that the guest boots from has no new place, when a source is not
    absolute, or when the definition is one that cannot be kept apart from the original.
    """
    domain = domain_element(xml)
    if spec.network is not None and not _NETWORK_NAME.fullmatch(spec.network):
        raise DefinitionError(f"Failed to use {spec.network!r} as the name of a network", guest=spec.name)
    edit = _Edit(domain, spec)
    steps: tuple[Callable[[], None], ...] = (
        edit.identity,
        edit.firmware,
        edit.host_bindings,
        edit.disks,
        edit.interfaces,
        edit.devices_of_the_host,
        edit.chardevs,
        edit.screens,
        edit.small_devices,
        edit.command_line,
    )
    for step in steps:
        step()
    return Edited(text_of(domain), tuple(edit.notes))


def new_macs(uuid: str, taken: Collection[str]) -> Iterator[str]:
    """Yield addresses that follow from the copy's uuid, under libvirt's prefix, none of which is in ``taken``."""
    used = {mac.lower() for mac in taken}
    for number in range(1 << 16):
        digest = hashlib.sha256(f"{uuid}/{number}".encode()).digest()
        mac = ":".join((MAC_PREFIX, *(f"{byte:02x}" for byte in digest[:3])))
        if mac not in used:
            used.add(mac)
            yield mac


class _Edit:
    """The steps from an original's definition to a copy's; ``notes`` grows as they go."""

    def __init__(self, domain: ET.Element, spec: CopySpec) -> None:
        self._domain = domain
        self._spec = spec
        self._original = domain.findtext("name") or ""
        devices = domain.find("devices")
        self._devices = devices if devices is not None else ET.SubElement(domain, "devices")
        self.notes: list[str] = []

    def identity(self) -> None:
        """New name, uuid and mark; what else could be taken for the original's identity goes."""
        domain, spec = self._domain, self._spec
        domain.attrib.pop("id", None)
        _set_text(domain, "name", spec.name)
        _set_text(domain, "uuid", spec.uuid)
        _set_text(domain, "title", f"copy of {self._original} from backup {spec.mark.backup_id}")
        for entry in domain.findall("sysinfo/system/entry[@name='uuid']"):
            entry.text = spec.uuid
        if drop(domain, "genid"):
            ET.SubElement(domain, "genid")
            self.notes.append("the generation id is a new one, so that the guest can tell that it is a copy")
        if drop(domain, "seclabel"):
            self.notes.append("the security labels are libvirt's own choice")
        metadata = domain.find("metadata")
        if metadata is None:
            metadata = ET.SubElement(domain, "metadata")
        foreign = [each for each in metadata if not each.tag.startswith(f"{{{LIBOSINFO}}}")]
        for each in foreign:
            metadata.remove(each)
        if foreign:
            self.notes.append(
                f"marks of other managers are left out: {', '.join(_plain(each.tag) for each in foreign)}"
            )
        ET.SubElement(
            metadata, _MARK, {key.replace("_", "-"): getattr(spec.mark, key) for key in CopyMark.__dataclass_fields__}
        )

    def firmware(self) -> None:
        """The copy's own UEFI variables; where it has no path for them, libvirt makes some from the template."""
        nvram = self._domain.find("os/nvram")
        if nvram is None:
            return
        for child in list(nvram):
            nvram.remove(child)
        nvram.attrib.pop("type", None)
        nvram.text = self._spec.nvram
        if self._spec.nvram is None:
            self.notes.append("the UEFI variables are new ones")

    def host_bindings(self) -> None:
        """What ties the guest to processors, memory nodes or devices of one host."""
        domain = self._domain
        vcpu = domain.find("vcpu")
        tune = domain.find("cputune")
        pinned = vcpu is not None and vcpu.attrib.pop("cpuset", None) is not None
        if tune is not None:
            pinned = drop(tune, *_PINS, *_CACHES) or pinned
        if drop(domain, "numatune") or pinned:
            self.notes.append("it is not bound to processors or memory nodes of the host")
        weights = domain.find("blkiotune")
        if weights is not None:
            drop(weights, "device")
        crash = domain.find("on_crash")
        if crash is not None and (crash.text or "").startswith("coredump"):
            crash.text = "destroy"

    def disks(self) -> None:
        """Each disk at its new place; a disk without one, and every medium, is left out."""
        drives = [disk for disk in self._devices.findall("disk") if disk.get("device") in REMOVABLE]
        for drive in drives:
            if place_of(drive):
                self.notes.append(f"drive {target_of(drive)} is empty; {place_of(drive)} is no part of the backup")
            eject(drive)
        boot = _boot_disk(self._domain)
        for disk in disks_of(self._domain):
            source = self._spec.sources.get(target_of(disk))
            if source is not None:
                self._place(disk, source)
                continue
            if disk is boot:
                raise DefinitionError(
                    f"Failed to copy guest {self._original}: its boot disk {target_of(disk)} is not in the backup",
                    guest=self._original,
                    disk=target_of(disk),
                )
            self._devices.remove(disk)
            self.notes.append(f"disk {target_of(disk)} ({place_of(disk)}) is left out: it is not in the backup")

    def interfaces(self) -> None:
        """No network, or every interface on the one named, with a new address and nothing else of the host's."""
        found = self._devices.findall("interface")
        macs = new_macs(self._spec.uuid, self._spec.taken_macs)
        if self._spec.own_networks and self._spec.network is None:
            self._interfaces_of_the_original(found, macs)
            return
        for old in found:
            self._devices.remove(old)
            kind = old.get("type", "")
            if self._spec.network is None:
                continue
            if kind in ("hostdev", "vdpa", "vhostuser"):
                self.notes.append(f"an interface of type {kind} is left out: it is a device of the host")
                continue
            new = ET.SubElement(self._devices, "interface", {"type": "network"})
            ET.SubElement(new, "mac", {"address": next(macs)})
            ET.SubElement(new, "source", {"network": self._spec.network})
            new.extend([copy.deepcopy(each) for tag in ("model", "boot", "address") for each in old.findall(tag)])
        if found and self._spec.network is None:
            self.notes.append(f"it has no network: {len(found)} interface(s) are left out")
        elif found:
            self.notes.append(f"its interfaces are on network {self._spec.network}, with new addresses")

    def _interfaces_of_the_original(self, found: Sequence[ET.Element], macs: Iterator[str]) -> None:
        """Each interface on the network that it had; what names a device, a program or a port of the host goes."""
        kept = 0
        for old in found:
            reason = _unkeepable(old)
            if reason is not None:
                self._devices.remove(old)
                self.notes.append(f"an interface of type {old.get('type', '')} is left out: {reason}")
                continue
            for child in list(old):
                if child.tag not in _KEPT_IN_INTERFACE:
                    old.remove(child)
            for source in old.findall("source"):
                source.attrib = {key: value for key, value in source.attrib.items() if key in _KEPT_OF_NETWORK}
                if "network" in source.attrib:
                    source.attrib.pop("bridge", None)
            for parameters in old.findall("virtualport/parameters"):
                for key in ("interfaceid", "instanceid"):
                    parameters.attrib.pop(key, None)
            old.attrib = {"type": old.get("type", "")}
            old.insert(0, ET.Element("mac", {"address": next(macs)}))
            kept += 1
        if kept:
            self.notes.append(
                f"it has {kept} interface(s) of the original on the networks that they had, with new addresses; host"
                " name and addresses inside of the guest are those of the original"
            )

    def devices_of_the_host(self) -> None:
        """Passed-through devices and what is shared with the host or with other guests."""
        for tag in _HOST_DEVICES:
            for device in self._devices.findall(tag):
                if tag == "redirdev" and device.get("type") == "spicevmc":
                    continue
                self._devices.remove(device)
                self.notes.append(
                    f"a {_kind(tag, device)} is left out: it belongs to the host or is shared with others"
                )
        for device in self._devices.findall("input"):
            if device.get("type") in _HOST_INPUTS:
                self._devices.remove(device)
                self.notes.append("an input device of the host is left out")
        for memory in self._devices.findall("memory"):
            if memory.find("source/path") is not None:
                raise DefinitionError(
                    f"Failed to copy guest {self._original}: it has persistent memory in"
                    f" {memory.findtext('source/path')}, which the copy would share with it",
                    guest=self._original,
                )
        for tpm in self._devices.findall("tpm"):
            backend = tpm.find("backend")
            if backend is None or backend.get("type") != "emulator":
                self._devices.remove(tpm)
                self.notes.append("a TPM of the host is left out")
                continue
            if drop(backend, "source"):
                self.notes.append("the emulated TPM keeps its state at a place of its own")

    def chardevs(self) -> None:
        """Serial ports, consoles and channels without files, ports and sockets that the original uses."""
        for tag in ("serial", "console", "parallel", "channel"):
            for device in self._devices.findall(tag):
                drop(device, "log")
                kind, source = device.get("type", "pty"), device.find("source")
                device.attrib.pop("tty", None)
                if kind in _KEPT_CHARDEVS:
                    if kind == "pty":
                        drop(device, "source")
                    continue
                if tag == "channel" and kind == "unix":
                    if source is not None:
                        source.attrib.pop("path", None)
                    continue
                if tag == "channel":
                    self._devices.remove(device)
                    self.notes.append(f"a channel of type {kind} is left out")
                    continue
                drop(device, "source", "protocol")
                device.set("type", "pty")
                self.notes.append(f"a {tag} port that was a {kind} is a pty")

    def screens(self) -> None:
        """Screens on free ports of this host alone: the backup holds no passwords that could guard them."""
        for screen in self._devices.findall("graphics"):
            kind = screen.get("type", "")
            if kind in _LOCAL_SCREENS:
                self._devices.remove(screen)
                self.notes.append(f"a screen of type {kind} is left out")
                continue
            if kind not in ("vnc", "spice", "rdp"):
                screen.attrib.pop("address", None)
                continue
            open_before = screen.get("listen", LOOPBACK) != LOOPBACK or any(
                each.get("type") != "socket" and each.get("address", LOOPBACK) != LOOPBACK
                for each in screen.findall("listen")
            )
            for key in ("port", "tlsPort", "websocket", "socket", "listen", "passwd", "passwdValidTo", "keymapfile"):
                screen.attrib.pop(key, None)
            screen.set("autoport", "yes")
            drop(screen, "listen")
            ET.SubElement(screen, "listen", {"type": "address", "address": LOOPBACK})
            if open_before:
                self.notes.append(f"its {kind} screen listens on {LOOPBACK} only, without a password")

    def small_devices(self) -> None:
        """Watchdogs that would act, ids and sockets of the host."""
        for watchdog in self._devices.findall("watchdog"):
            if watchdog.get("action", "reset") != "none":
                watchdog.set("action", "none")
                self.notes.append("its watchdog does nothing")
        for rng in self._devices.findall("rng"):
            backend = rng.find("backend")
            if backend is not None and backend.get("model") == "egd":
                rng.remove(backend)
                new = ET.SubElement(rng, "backend", {"model": "random"})
                new.text = "/dev/urandom"
        for cid in self._devices.findall("vsock/cid"):
            cid.attrib = {"auto": "yes"}
        for audio in self._devices.findall("audio"):
            if audio.get("type") in _HOST_AUDIO:
                for child in list(audio):
                    audio.remove(child)
                audio.attrib = {"id": audio.get("id", "1"), "type": "none"}

    def command_line(self) -> None:
        """Arguments given to QEMU past libvirt may open anything of the host."""
        if drop(self._domain, f"{{{QEMU}}}commandline"):
            self.notes.append("arguments given to QEMU past libvirt (qemu:commandline) are left out")

    def _place(self, disk: ET.Element, source: NewSource) -> None:
        if not source.path.startswith("/") or source.kind not in (FILES, BLOCK):
            raise DefinitionError(
                f"Failed to use {source.path!r} as a disk of {self._spec.name}", guest=self._spec.name
            )
        old = disk.find("source")
        kept = [each for tag in _KEPT_IN_SOURCE for each in old.findall(tag)] if old is not None else []
        drop(disk, "source", "backingStore", "mirror", "auth")
        if drop(disk, "shareable"):
            self.notes.append(f"disk {target_of(disk)} is shared with nobody")
        new = ET.SubElement(disk, "source", {"file" if source.kind == FILES else "dev": source.path})
        new.extend(kept)
        disk.set("type", source.kind)
        if disk.get("device", "disk") == "lun" and source.kind == FILES:
            disk.set("device", "disk")
        for key in ("rawio", "sgio"):
            if disk.get("device", "disk") != "lun":
                disk.attrib.pop(key, None)
        driver = disk.find("driver")
        if driver is None:
            driver = ET.SubElement(disk, "driver", {"name": "qemu"})
        driver.set("type", source.format)


def _boot_disk(domain: ET.Element) -> Optional[ET.Element]:
    """Return the disk that the guest boots from: lowest ``<boot order>``, else the first (as libvirt decides)."""
    disks = disks_of(domain)
    ordered = [disk for disk in disks if disk.find("boot") is not None]
    return min(ordered, key=_order) if ordered else next(iter(disks), None)


def _order(disk: ET.Element) -> int:
    boot = disk.find("boot")
    text = boot.get("order", "") if boot is not None else ""
    return int(text) if text.isascii() and text.isdigit() else 1 << 16


def _unkeepable(interface: ET.Element) -> Optional[str]:
    """Return why an interface cannot be that of a second guest, None when it can."""
    kind = interface.get("type", "")
    if kind not in _KEPT_INTERFACES:
        return "it is a device of the host, or leads to one socket"
    source = interface.find("source")
    if source is not None and source.get("mode") == "passthrough":
        return "it takes a device of the host for itself"
    return None


def _set_text(domain: ET.Element, tag: str, text: str) -> None:
    element = domain.find(tag)
    if element is None:
        element = ET.SubElement(domain, tag)
    element.text = text


def _kind(tag: str, device: ET.Element) -> str:
    words = {"hostdev": "passed-through device", "filesystem": "shared directory", "shmem": "shared memory"}
    kind = device.get("type")
    return f"{words.get(tag, tag)} ({kind})" if kind else words.get(tag, tag)


def _plain(tag: str) -> str:
    return tag.partition("}")[2] or tag
