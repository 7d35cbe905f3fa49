# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions held against each other, and put together: what a restore does with the XML of a guest. Pure.

Format of the XML: https://libvirt.org/formatdomain.html. Every definition is foreign data and parsed as strictly as
``_kvm/domain_xml`` does; what comes out is text for libvirt to check once more.
"""

from __future__ import annotations

import copy
import difflib
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import REMOVABLE, domain_element

Policy = Literal["keep", "replace", "merge"]
POLICIES: tuple[Policy, ...] = ("keep", "replace", "merge")

LIBOSINFO = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"

USER_ALIAS = "ua-"
_PLACE_ATTRIBUTES = ("file", "dev", "dir", "name", "pool", "volume", "protocol", "namespace", "path")
_LIVE_NETWORK = ("portid", "bridge")
_MADE_TARGETS = ("vnet", "macvtap", "vif", "veth")
_MADE_CHANNELS = ("/var/lib/libvirt/qemu/channel/", "/run/libvirt/qemu/channel/", "/var/run/libvirt/qemu/channel/")

# What ``merge`` takes from the definition that exists: what the site decides and the guest does not notice.
SITE_PARTS = (
    "title",
    "description",
    "metadata",
    "resource",
    "seclabel",
    "blkiotune",
    "memtune",
    "cputune",
    "numatune",
)
SITE_DEVICES = ("interface", "graphics")

for _prefix, _uri in (("libosinfo", LIBOSINFO), ("qemu", QEMU)):
    ET.register_namespace(_prefix, _uri)


class DefinitionError(KvmsnapError):
    """Two definitions do not belong together, or one cannot be changed as asked."""


@dataclass(frozen=True)
class Edited:
    """A definition made out of others. ``notes`` are sentences for people: what was changed, and what was left out."""

    xml: str
    notes: tuple[str, ...]


def text_of(domain: ET.Element) -> str:
    """Return an element as indented XML text that ends in a newline."""
    shaped = copy.deepcopy(domain)
    for element in shaped.iter():
        element.tail = None
        if len(element) and not (element.text or "").strip():
            element.text = None
    ET.indent(shaped)
    return ET.tostring(shaped, encoding="unicode") + "\n"


def comparable(xml: str) -> str:
    """Return a definition as text without what libvirt adds to a running guest or allocates by itself.

    Left out: the domain's id, aliases that are not the user's, dynamic labels, addresses in the guest, backing chains
    and indexes, the host's side of interfaces, ports and ttys, generated channel paths, the agent's state.
    """
    domain = domain_element(xml)
    domain.attrib.pop("id", None)
    for parent in list(domain.iter()):
        for child in list(parent):
            if _is_noise(parent, child):
                parent.remove(child)
    for element in domain.iter():
        _quieten(element)
        element.text = (element.text or "").strip() or None
        element.attrib = dict(sorted(element.attrib.items()))
    for parent in list(domain.iter()):
        for child in parent.findall("source") + parent.findall("target"):
            if not (child.attrib or len(child)):
                parent.remove(child)
    return text_of(domain)


def changes(before: str, after: str) -> tuple[str, ...]:
    """Return the lines of a unified diff of two definitions, none when they differ in noise only."""
    pair = (comparable(before).splitlines(), comparable(after).splitlines())
    lines = difflib.unified_diff(*pair, fromfile="definition now", tofile="definition afterwards", lineterm="", n=2)
    return tuple(lines)


def merged(
    *,
    existing: Optional[str],
    saved: str,
    policy: Policy,
    targets: Optional[Collection[str]] = None,
    same_media: Collection[str] = (),
) -> Edited:
    """Return the definition that a restored guest gets; ``existing`` is None for a guest that is not defined.

    ``keep``: the definition that exists, in which the disks of the backup (those named in ``targets``, or all) have the
    sources that they had. ``replace``: the backup's, under the name that the guest has now. ``merge``: the backup's
    with SITE_PARTS and SITE_DEVICES of the one that exists. A medium of the backup comes back only into a drive that
    still holds it, or when its path is in ``same_media`` (known to be the same file). Raises :class:`DefinitionError`
    when the two are of different guests.
    """
    restored = domain_element(saved)
    if existing is None:
        return _edited(restored, _without_media(restored, same_media))
    current = domain_element(existing)
    if identity(current) != identity(restored):
        raise DefinitionError(
            f"Failed to put the definitions of guest {_name(current)} together: it is {identity(current)} now and was"
            f" {identity(restored)} in the backup, another guest",
            guest=_name(current),
        )
    if policy == "keep":
        return _edited(current, _with_disks_of(current, restored, targets))
    notes = _without_media(restored, {*same_media, *_media(current)})
    if _name(current) != _name(restored):
        notes.append(f"the guest keeps the name it has now; in the backup it was {_name(restored)}")
        _set(restored, "name", _name(current))
    if policy == "merge":
        _take_site_parts(restored, current)
    return _edited(restored, notes)


def with_paths(xml: str, paths: Mapping[str, str]) -> str:
    """Return a definition whose disks (by target) lie at these paths of the host; a pool's volume stays what it is."""
    domain = domain_element(xml)
    for disk in disks_of(domain):
        source = disk.find("source")
        key = {"file": "file", "block": "dev"}.get(disk.get("type", "file"))
        if source is not None and key is not None and target_of(disk) in paths:
            source.set(key, paths[target_of(disk)])
    return text_of(domain)


def with_uuid(xml: str, uuid: str) -> str:
    """Return a definition under another uuid, also where it stands again: in SMBIOS, and in places of firmware state.

    libvirt refuses a definition whose SMBIOS has another uuid than the guest. Raises ``DomainXmlError``.
    """
    domain = domain_element(xml)
    old = re.compile(re.escape(identity(domain)), re.IGNORECASE)
    _set(domain, "uuid", uuid)
    for entry in domain.findall("sysinfo/system/entry[@name='uuid']"):
        entry.text = uuid
    nvram = domain.find("os/nvram")
    if nvram is not None and nvram.text:
        nvram.text = old.sub(uuid, nvram.text)
    for source in (*domain.findall("os/nvram/source"), *domain.findall("devices/tpm/backend/source")):
        for key in ("file", "path"):
            if key in source.attrib:
                source.set(key, old.sub(uuid, source.attrib[key]))
    return text_of(domain)


def disks_of(domain: ET.Element) -> list[ET.Element]:
    """Return the disks that are no drives for media."""
    return [disk for disk in domain.findall("devices/disk") if disk.get("device", "disk") not in REMOVABLE]


def target_of(disk: ET.Element) -> str:
    """Return the disk's name in the guest, as ``_kvm/domain_xml`` tells it."""
    target = disk.find("target")
    return (target.get("dev", "") if target is not None else "") or "unnamed"


def place_of(disk: ET.Element) -> str:
    """Return where a disk's source points, for people and for comparisons; empty for a drive without a medium."""
    source = disk.find("source")
    if source is None:
        return ""
    named = [source.get(key, "") for key in _PLACE_ATTRIBUTES if source.get(key)]
    return " ".join(named)


def identity(domain: ET.Element) -> str:
    """Return the uuid in lower case."""
    return (domain.findtext("uuid") or "").strip().lower()


def drop(parent: ET.Element, *tags: str) -> bool:
    """Remove every child of these tags; return whether there was one."""
    found = [child for tag in tags for child in parent.findall(tag)]
    for child in found:
        parent.remove(child)
    return bool(found)


def _edited(domain: ET.Element, notes: Iterable[str]) -> Edited:
    return Edited(text_of(domain), tuple(notes))


def _name(domain: ET.Element) -> str:
    return domain.findtext("name") or ""


def _set(domain: ET.Element, tag: str, text: str) -> None:
    element = domain.find(tag)
    if element is None:
        element = ET.SubElement(domain, tag)
    element.text = text


def _is_noise(parent: ET.Element, child: ET.Element) -> bool:
    if child.tag == "alias":
        return not child.get("name", "").startswith(USER_ALIAS)
    if child.tag == "seclabel":
        return child.get("type", "dynamic") == "dynamic"
    if child.tag == "address":
        return parent.tag != "source"
    return child.tag in ("backingStore", "mirror")


def _quieten(element: ET.Element) -> None:
    attributes = element.attrib
    if element.tag == "source":
        attributes.pop("index", None)
        if "network" in attributes:
            for key in _LIVE_NETWORK:
                attributes.pop(key, None)
        if attributes.get("path", "").startswith(("/dev/pts/", *_MADE_CHANNELS)):
            del attributes["path"]
            attributes.pop("mode", None)
    elif element.tag == "target":
        attributes.pop("state", None)
        if attributes.get("dev", "").startswith(_MADE_TARGETS):
            del attributes["dev"]
    elif element.tag == "graphics" and attributes.get("autoport") == "yes":
        for key in ("port", "tlsPort"):
            attributes.pop(key, None)
    elif element.tag in ("console", "serial"):
        attributes.pop("tty", None)


def _media(domain: ET.Element) -> set[str]:
    drives = [disk for disk in domain.findall("devices/disk") if disk.get("device") in REMOVABLE]
    return {f"{target_of(drive)}={place_of(drive)}" for drive in drives if place_of(drive)}


def _without_media(domain: ET.Element, same: Collection[str]) -> list[str]:
    """Empty the drives whose medium is not known to be the same; ``same`` holds paths and ``target=path``."""
    notes = []
    for drive in domain.findall("devices/disk"):
        place = place_of(drive)
        if drive.get("device") not in REMOVABLE or not place:
            continue
        if place not in same and f"{target_of(drive)}={place}" not in same:
            eject(drive)
            notes.append(f"drive {target_of(drive)} is empty: whether {place} is still the medium of then is not known")
    return notes


def eject(drive: ET.Element) -> None:
    """Leave a drive without a medium."""
    drop(drive, "source", "backingStore", "mirror")
    drive.set("type", "file")


def _with_disks_of(current: ET.Element, restored: ET.Element, targets: Optional[Collection[str]]) -> list[str]:
    notes = []
    known = {target_of(disk): disk for disk in disks_of(current)}
    for disk in disks_of(restored):
        target = target_of(disk)
        if targets is not None and target not in targets:
            continue
        if target not in known:
            _add_disk(current, disk)
            notes.append(f"disk {target} is attached again at {place_of(disk)}")
        elif (place_of(known[target]), _format(known[target])) != (place_of(disk), _format(disk)):
            notes.append(f"disk {target} points to {place_of(disk)} again, no more to {place_of(known[target])}")
            _point(known[target], disk)
    return notes


def _format(disk: ET.Element) -> str:
    driver = disk.find("driver")
    return (driver.get("type") if driver is not None else None) or "raw"


def _add_disk(domain: ET.Element, disk: ET.Element) -> None:
    """Attach a disk of another definition; libvirt gives it an address that is free."""
    devices = domain.find("devices")
    if devices is None:
        devices = ET.SubElement(domain, "devices")
    added = copy.deepcopy(disk)
    drop(added, "address")
    devices.append(added)


def _point(disk: ET.Element, like: ET.Element) -> None:
    """Let a disk point to where another one points, in that one's format; all else of it stays."""
    drop(disk, "source", "backingStore", "mirror")
    disk.extend([copy.deepcopy(each) for tag in ("source", "backingStore") for each in like.findall(tag)])
    disk.set("type", like.get("type", "file"))
    driver = disk.find("driver")
    if driver is None:
        driver = ET.SubElement(disk, "driver", {"name": "qemu"})
    driver.set("type", _format(like))


def _take_site_parts(restored: ET.Element, current: ET.Element) -> None:
    for tag in SITE_PARTS:
        drop(restored, tag)
        restored.extend([copy.deepcopy(each) for each in current.findall(tag)])
    devices, kept = restored.find("devices"), current.find("devices")
    if devices is None or kept is None:
        return
    addresses = {_mac(each): each.find("address") for each in devices.findall("interface")}
    for tag in SITE_DEVICES:
        drop(devices, tag)
        for each in kept.findall(tag):
            device = copy.deepcopy(each)
            drop(device, "address")
            address = addresses.get(_mac(device)) if tag == "interface" else None
            if address is not None:
                device.append(copy.deepcopy(address))
            devices.append(device)


def _mac(interface: ET.Element) -> str:
    mac = interface.find("mac")
    return mac.get("address", "").lower() if mac is not None else ""
