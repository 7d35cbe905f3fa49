# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a foreign definition may be defined on this host: an allow-list of elements and of what they name. Pure.

A definition that this host's own runs did not write (it was read out of a snapshot, or handed over) is foreign: whoever
can write into the volume may have made it. libvirt runs QEMU with what a definition names, and runs the emulator that
it names even to tell what that can do. So what is not on the list (``definition_grammar``) is refused by name; what
merely tunes the guest for the host that it came from is left out, with a note.
"""

from __future__ import annotations

import posixpath
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import (
    drop,
    eject,
    place_of,
    target_of,
    text_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_grammar import (
    ADDRESS,
    ADDRESSES,
    COUNTED,
    GRAMMAR,
    NAMESPACES,
    ROOT,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import REMOVABLE, domain_element
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import hides, visible

DEEPEST = 16
LONGEST_TEXT = 4096
LOOPBACK = "127.0.0.1"
USER = "user"
"""The kind of an interface whose traffic goes out as that of a process of this host."""
FIRMWARE_DIRECTORIES = (
    "/usr/share/AAVMF/",
    "/usr/share/OVMF/",
    "/usr/share/edk2/",
    "/usr/share/edk2-ovmf/",
    "/usr/share/ovmf/",
    "/usr/share/qemu/",
    "/usr/share/qemu-efi-aarch64/",
)
"""Where packages of distributions have firmware and the templates of UEFI variables; root alone writes there."""

_TUNING = (
    "memoryBacking", "memtune", "blkiotune", "cputune", "numatune", "resource", "iothreads", "iothreadids",
    "defaultiothread", "throttlegroups", "perf",
)  # fmt: skip
_TUNING_OF_DISK = ("iotune", "throttlefilters")
_TUNING_OF_INTERFACE = ("bandwidth", "tune", "coalesce")
_TUNING_OF_SCREEN = ("image", "jpeg", "zlib", "playback", "streaming")
_PORTS = ("serial", "console", "parallel")
_MADE_CHANNELS = ("/var/lib/libvirt/qemu/channel/", "/run/libvirt/qemu/channel/", "/var/run/libvirt/qemu/channel/")
_MADE_TARGET = re.compile(r"(vnet|macvtap|veth)[0-9]+")
_INERT = re.compile(r"[\w .:,;+@%=()\[\]-]{0,256}")
# libvirt makes as many vCPUs or controllers as the definition says, with all of the host's memory if need be. A USB
# port is 1.2.
_COUNT = re.compile(r"0x[0-9A-Fa-f]{1,3}|[0-9]{1,4}(\.[0-9]{1,4}){0,8}")
_SHOWN = 160


@dataclass(frozen=True)
class Site:
    """What of this host a foreign definition may name.

    ``disks``: where the backup's disks lie here. ``emulators``: those that libvirt lists by itself. ``networks``: names
    of networks and bridges. ``nvram``: where the guest's UEFI variables may lie. ``types``: the kinds
    of guests. ``firmware``: directories of firmware and of templates for UEFI variables. ``paths``: files of this host
    that a person allowed as a kernel, its initrd, or what a serial port writes to. ``user_network``: whether a guest
    may reach what this host reaches, its own loopback included.
    """

    disks: frozenset[str] = frozenset()
    emulators: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    nvram: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset(("kvm", "qemu"))
    firmware: tuple[str, ...] = FIRMWARE_DIRECTORIES
    paths: frozenset[str] = frozenset()
    user_network: bool = False


@dataclass(frozen=True)
class Checked:
    """A foreign definition without what tunes it, and sentences: what was left out, and what is not allowed."""

    xml: str
    notes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()


@dataclass
class _Edit:
    """The definition as it is cut down; ``notes`` grows."""

    domain: ET.Element
    notes: list[str] = field(default_factory=list)


def checked(xml: str, site: Site) -> Checked:
    """Return what of a foreign definition may be defined, with every reason why it may not.

    Raises ``DomainXmlError`` for what cannot be read.
    """
    edit = _Edit(domain_element(xml))
    deep = _too_deep(edit.domain)
    if deep:
        return Checked(xml, (), (f"elements inside of each other, more than {DEEPEST} deep, are not allowed",))
    for step in (_tuning, _noise, _drives, _ports, _interfaces, _screens, _small_devices):
        step(edit)
    refusals = tuple(dict.fromkeys(_refusals(edit.domain, site)))
    return Checked(text_of(edit.domain), tuple(edit.notes), refusals)


def _too_deep(domain: ET.Element) -> bool:
    level = [domain]
    for _depth in range(DEEPEST):
        level = [child for element in level for child in element]
        if not level:
            return False
    return True


def _tuning(edit: _Edit) -> None:
    """Leave out what ties a guest to its host for speed, and whatever refers to that."""
    domain = edit.domain
    domain.attrib.pop("id", None)
    dropped = [tag for tag in _TUNING if drop(domain, tag)]
    for vcpu in domain.findall("vcpu"):
        dropped += ["vcpu cpuset"] if vcpu.attrib.pop("cpuset", None) else []
    for cell in domain.findall("cpu/numa/cell"):
        dropped += ["memAccess"] if cell.attrib.pop("memAccess", None) else []
    for driver in domain.findall("devices/*/driver"):
        dropped += ["iothread"] if driver.attrib.pop("iothread", None) else []
        dropped += [tag for tag in ("iothreads", "metadata_cache") if drop(driver, tag)]
    for device, tags in (
        ("disk", _TUNING_OF_DISK),
        ("interface", _TUNING_OF_INTERFACE),
        ("graphics", _TUNING_OF_SCREEN),
        ("rng", ("rate",)),
    ):
        for element in domain.findall(f"devices/{device}"):
            dropped += [f"{device} {tag}" for tag in tags if drop(element, tag)]
    if dropped:
        edit.notes.append(f"what tunes it for the host it came from is left out: {', '.join(dict.fromkeys(dropped))}")
    for metadata in domain.findall("metadata"):
        foreign = [each for each in metadata if not each.tag.startswith(tuple(NAMESPACES.values()))]
        for each in foreign:
            metadata.remove(each)
        if foreign:
            names = ", ".join(visible(each.tag.partition("}")[2] or each.tag) for each in foreign)
            edit.notes.append(f"marks of other managers are left out: {names}")


def _noise(edit: _Edit) -> None:
    """Leave out what libvirt writes by itself: aliases, indexes, labels of its own choice, empty chains."""
    for parent in list(edit.domain.iter()):
        drop(parent, "alias")
        parent.text = (parent.text or "").strip() or None
    for label in edit.domain.findall("seclabel"):
        chosen = label.get("type") == "dynamic" and label.get("relabel", "yes") == "yes"
        if chosen and {child.tag for child in label} <= {"label", "imagelabel"}:
            edit.domain.remove(label)
    for disk in edit.domain.findall("devices/disk"):
        for chain in disk.findall("backingStore"):
            if not (chain.attrib or len(chain)):
                disk.remove(chain)
        for source in disk.findall("source"):
            source.attrib.pop("index", None)
    crash = edit.domain.find("on_crash")
    if crash is not None and (crash.text or "").strip().startswith("coredump"):
        crash.text = "destroy"
        edit.notes.append("its memory is not written to this host when it crashes")


def _drives(edit: _Edit) -> None:
    for drive in edit.domain.findall("devices/disk"):
        if drive.get("device") in REMOVABLE:
            place = place_of(drive)
            eject(drive)
            if place:
                edit.notes.append(f"drive {target_of(drive)} is empty; {visible(place)} is no part of the backup")


def _ports(edit: _Edit) -> None:
    """Let libvirt choose the terminals and the sockets that it makes by itself."""
    for tag in _PORTS:
        for port in edit.domain.findall(f"devices/{tag}"):
            if port.get("type") == "pty":
                port.attrib.pop("tty", None)
                drop(port, "source")
    for channel in edit.domain.findall("devices/channel"):
        for target in channel.findall("target"):
            target.attrib.pop("state", None)
        for source in channel.findall("source"):
            path = source.get("path", "")
            made = path == posixpath.normpath(path) and path.startswith(_MADE_CHANNELS)
            if channel.get("type") == "unix" and source.get("mode", "bind") == "bind" and (made or not path):
                drop(channel, "source")


def _interfaces(edit: _Edit) -> None:
    for interface in edit.domain.findall("devices/interface"):
        for source in interface.findall("source"):
            source.attrib.pop("portid", None)
            if "network" in source.attrib:
                source.attrib.pop("bridge", None)
        for target in interface.findall("target"):
            if set(target.attrib) <= {"dev"} and _MADE_TARGET.fullmatch(target.get("dev", "vnet0")):
                interface.remove(target)


def _screens(edit: _Edit) -> None:
    """Let screens listen on this host alone: no backup has the passwords that could guard them."""
    for screen in edit.domain.findall("devices/graphics"):
        places = screen.findall("listen")
        if screen.get("type") not in ("vnc", "spice") or any(each.get("type") == "socket" for each in places):
            continue
        for key in ("listen", "passwd", "passwdValidTo"):
            screen.attrib.pop(key, None)
        drop(screen, "listen")
        ET.SubElement(screen, "listen", {"type": "address", "address": LOOPBACK})
        if any(each.get("address", LOOPBACK) != LOOPBACK or each.get("type") == "network" for each in places):
            edit.notes.append(f"its {screen.get('type')} screen listens on {LOOPBACK} only")


def _small_devices(edit: _Edit) -> None:
    for watchdog in edit.domain.findall("devices/watchdog"):
        if watchdog.get("action") == "dump":
            watchdog.set("action", "none")
            edit.notes.append("its watchdog does nothing; it would write the memory to this host")
    for cid in edit.domain.findall("devices/vsock/cid"):
        if cid.get("auto") != "yes":
            edit.notes.append("its vsock address is one that this host chooses")
        cid.attrib = {"auto": "yes"}


def _refusals(domain: ET.Element, site: Site) -> Iterator[str]:
    yield from _refused_parts(domain, ROOT, site)
    level = [(child, child.tag) for child in domain]
    while level:
        below = []
        for element, path in level:
            if path.startswith("devices/") and element.tag == "address" and path.count("/") == 2:
                yield from _refused_address(element, path)
            elif path.startswith("devices/") and element.tag == "acpi" and path.count("/") == 2:
                continue
            elif path not in GRAMMAR:
                yield f"{_name(path)} is not allowed: {_shown(element)}"
            else:
                yield from _refused_parts(element, path, site)
                below += [(child, f"{path}/{child.tag}") for child in element]
        level = below


def _refused_parts(element: ET.Element, path: str, site: Site) -> Iterator[str]:
    rule = GRAMMAR[path]
    for key, value in element.attrib.items():
        kind = rule.attributes.get(key)
        if kind is None:
            yield f"{_name(path)} {_name(key)}={visible(value)[:_SHOWN]!r} is not allowed"
        elif not _KINDS[kind](value, site):
            yield f"{_name(path)} {key}={visible(value)[:_SHOWN]!r} {_WHY.get(kind, 'is not allowed')}"
    text = (element.text or "").strip()
    if text and not rule.text:
        yield f"{_name(path)} is not allowed to hold text: {visible(text)[:_SHOWN]!r}"
    elif text and not _KINDS[rule.text](text, site):
        yield f"{_name(path)} {visible(text)[:_SHOWN]!r} {_WHY.get(rule.text, 'is not allowed')}"


def _refused_address(element: ET.Element, path: str) -> Iterator[str]:
    odd = set(element.attrib) - ADDRESS or len(element) or not all(map(_INERT.fullmatch, element.attrib.values()))
    odd = odd or any(not _COUNT.fullmatch(element.get(key, "0")) for key in COUNTED)
    if odd or element.get("type") not in ADDRESSES:
        yield f"{_name(path)} is not allowed: {_shown(element)}"


def _name(path: str) -> str:
    path = "domain" if path == ROOT else path
    for short, full in (("os:", NAMESPACES["{os}"]), ("kvmsnap:", NAMESPACES["{copy}"])):
        path = path.replace(full, short)
    return visible(path)[:_SHOWN]


def _shown(element: ET.Element) -> str:
    text = visible(re.sub(r"[ \n\t]+", " ", text_of(element)).strip())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _one_of(*words: str) -> Callable[[str, Site], bool]:
    return lambda value, _site: value in words


def _like(pattern: str) -> Callable[[str, Site], bool]:
    return lambda value, _site: re.fullmatch(pattern, value) is not None


def _packaged(value: str, site: Site) -> bool:
    return value.startswith(site.firmware) and posixpath.normpath(value) == value


_KINDS: Mapping[str, Callable[[str, Site], bool]] = {
    "any": lambda value, _site: len(value) <= LONGEST_TEXT and not hides(value),
    "inert": lambda value, _site: _INERT.fullmatch(value) is not None,
    "count": lambda value, _site: _COUNT.fullmatch(value) is not None,
    "name": lambda value, _site: bool(value) and len(value) <= 255 and "/" not in value and not hides(value),
    "uuid": _like(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
    "domain_type": lambda value, site: value in site.types,
    "firmware": _one_of("bios", "efi"),
    "os_type": _one_of("hvm"),
    "smbios": _one_of("emulate", "sysinfo"),
    "sysinfo": _one_of("smbios"),
    "event": _one_of("destroy", "restart", "preserve", "rename-restart", "poweroff", "pause", "ignore"),
    "timezone": _like(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}"),
    "disk_type": _one_of("file", "block"),
    "file": _one_of("file"),
    "disk_device": _one_of("disk", "lun", "cdrom", "floppy"),
    "format": _one_of("raw", "qcow2"),
    "qemu": _one_of("qemu"),
    "no": _one_of("no"),
    "yes": _one_of("yes"),
    "filtered": _one_of("filtered"),
    "interface": lambda value, site: value in ("network", "bridge") or (value == USER and site.user_network),
    "net_driver": _one_of("vhost", "qemu"),
    "pty": _one_of("pty"),
    "port": _one_of("pty", "file"),
    "channel": _one_of("unix", "spicevmc", "qemu-vdagent"),
    "virtio": _one_of("virtio"),
    "channel_name": _one_of("org.qemu.guest_agent.0", "com.redhat.spice.0"),
    "input": _one_of("tablet", "mouse", "keyboard"),
    "screen": _one_of("vnc", "spice"),
    "loopback": _one_of("address", LOOPBACK),
    "audio": _one_of("none", "spice"),
    "watchdog": _one_of("reset", "shutdown", "poweroff", "pause", "none", "inject-nmi"),
    "rng": _one_of("random", "builtin"),
    "random": _one_of("/dev/urandom", "/dev/random"),
    "emulated": _one_of("emulator"),
    "dimm": _one_of("dimm"),
    "firmware_file": _packaged,
    "disk": lambda value, site: value in site.disks,
    "emulator": lambda value, site: value in site.emulators,
    "network": lambda value, site: value in site.networks,
    "nvram": lambda value, site: value in site.nvram,
    "host_path": lambda value, site: value in site.paths,
    "command_line": lambda value, site: bool(site.paths) and len(value) <= LONGEST_TEXT and not hides(value),
}

_WHY = {
    "count": "is no count up to 9999",
    "interface": f"is no kind of network that is allowed on this host (allowed_networks; {USER} only if it is named)",
    "disk": "is none of the places that the backup's disks have on this host",
    "emulator": "is none of the emulators that libvirt lists on this host",
    "network": "is none of the networks that are allowed on this host",
    "nvram": "is no place of this guest's own UEFI variables",
    "firmware_file": "is no firmware that a package of this host has",
    "host_path": "is no file of this host that is allowed (allowed_paths)",
    "command_line": "is not allowed without a kernel of this host that is allowed (allowed_paths)",
}
