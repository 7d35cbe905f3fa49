# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's definition, from libvirt's domain XML to frozen dataclasses. Pure; the XML is foreign data.

Format of the XML: https://libvirt.org/formatdomain.html. What is not about storage, boot or quiescing is left out.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError

AgentState = Literal["connected", "disconnected", "none"]
GuestOs = Literal["linux", "windows", "solaris", "unknown"]
Role = Literal["boot", "data"]

MAX_XML = 16 * 1024 * 1024
DEEPEST_XML = 500
"""libvirt follows a chain of at most 200 images, each an element inside of the one before."""
_MOST_DIGITS = 9
AGENT_CHANNEL = "org.qemu.guest_agent.0"
REMOVABLE = ("cdrom", "floppy")

_LINUX = (
    "almalinux.org",
    "alpinelinux.org",
    "altlinux.org",
    "amazon.com",
    "archlinux.org",
    "centos.org",
    "debian.org",
    "euro-linux.com",
    "fedoraproject.org",
    "gentoo.org",
    "libosinfo.org/linux",
    "linuxmint.com",
    "mageia.org",
    "nixos.org",
    "novell.com",
    "openeuler.org",
    "opensuse.org",
    "oracle.com/ol",
    "redhat.com",
    "rockylinux.org",
    "scientificlinux.org",
    "slackware.com",
    "suse.com",
    "ubuntu.com",
    "voidlinux.org",
)
_SOLARIS = ("oracle.com/solaris", "sun.com", "omnios.org", "openindiana.org", "illumos.org", "smartos.org")
_PASSWORD = re.compile(r"""(<graphics\b[^>]*?)\s+passwd\s*=\s*("[^"]*"|'[^']*')""")


class DomainXmlError(KvmsnapError):
    """A definition that cannot be read, or must not be."""


@dataclass(frozen=True)
class BackingXml:
    """One layer below a disk's own image, as the XML names it; ``path`` is None unless it is a file or a device."""

    kind: str
    format: Optional[str]
    path: Optional[str]
    source: str


@dataclass(frozen=True)
class DiskXml:
    """One disk of a guest.

    ``target`` is the name in the guest (``vda``); for passed-through devices and shared directories, which have none, a
    name made from their address (``hostdev-0000:3b:00.0``, ``filesystem-share``). ``kind`` is libvirt's disk type, or
    ``hostdev`` or ``filesystem``. ``source`` is what the XML says, readable by people; ``path`` is the file or device
    when that is what it is. ``format`` is what the XML says: a driver without a type is raw (libvirt does not probe).
    """

    target: str
    device: str
    kind: str
    source: str
    path: Optional[str] = None
    pool: Optional[str] = None
    volume: Optional[str] = None
    protocol: Optional[str] = None
    bus: Optional[str] = None
    format: str = "raw"
    cache: Optional[str] = None
    readonly: bool = False
    shareable: bool = False
    transient: bool = False
    serial: Optional[str] = None
    boot_order: Optional[int] = None
    role: Role = "data"
    backing: tuple[BackingXml, ...] = ()
    backing_known: bool = False
    data_store: Optional[str] = None
    block_job: Optional[str] = None
    address: Optional[str] = None

    @property
    def removable(self) -> bool:
        """Whether it is a medium in a drive, which is no part of the guest."""
        return self.device in REMOVABLE

    @property
    def empty(self) -> bool:
        """Whether it is a drive without a medium."""
        return self.removable and not self.source


@dataclass(frozen=True)
class GuestXml:
    """What a definition says of a guest. only the XML of a running guest says how ``agent`` is.

    ``passthrough`` names the host's devices that are the guest's own: they go on working while it is suspended.
    """

    name: str
    uuid: str
    os: GuestOs
    os_id: Optional[str]
    agent: AgentState
    disks: tuple[DiskXml, ...]
    nvram: Optional[str]
    tpm: bool
    passthrough: tuple[str, ...] = ()

    @property
    def unsafe_cache(self) -> tuple[str, ...]:
        """Targets of the disks whose cache mode ignores every flush of the guest (``cache='unsafe'``)."""
        return tuple(disk.target for disk in self.disks if disk.cache == "unsafe" and not disk.readonly)


class _NoDoctype(ET.TreeBuilder):
    """A tree builder that stops at a DOCTYPE, before any entity of it is read, and where elements lie too deep."""

    _depth = 0

    def start(self, tag: str, attrs: dict[str, str]) -> ET.Element:
        """Called by the parser when an element begins."""
        self._depth += 1
        if self._depth > DEEPEST_XML:
            raise DomainXmlError(f"Refused to read the definition: its elements lie more than {DEEPEST_XML} deep")
        return super().start(tag, attrs)

    def end(self, tag: str) -> ET.Element:
        """Called by the parser when an element ends."""
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, *_ids: Optional[str]) -> None:
        """Called by the parser when a DOCTYPE begins."""
        raise DomainXmlError(f"Refused to read the definition: it has a DOCTYPE ({name}), which libvirt never writes")


def parse_guest(xml: Any) -> GuestXml:
    """Read a ``<domain>``, also inside the ``<domstatus>`` of /run/libvirt; ``xml`` is text or bytes.

    Raises :class:`DomainXmlError` when it is no XML, has a DOCTYPE, is larger than 16 MiB or is no domain.
    """
    domain = domain_element(xml)
    name, uuid = _child_text(domain, "name") or "", _child_text(domain, "uuid") or ""
    os_id = _os_id(domain)
    disks = [_disk(element) for element in domain.findall("devices/disk")]
    return GuestXml(
        name=name,
        uuid=uuid.lower(),
        os=os_family(os_id),
        os_id=os_id,
        agent=_agent(domain),
        disks=(*_with_roles(disks), *_hostdevs(domain), *_filesystems(domain)),
        nvram=_nvram(domain),
        tpm=domain.find("devices/tpm/backend[@type='emulator']") is not None,
        passthrough=tuple(_passthrough(domain)),
    )


def domain_element(xml: Any) -> ET.Element:
    """Return the ``<domain>`` of a definition, which has a name and a uuid; raises as :func:`parse_guest`."""
    root = xml_root(xml)
    domain = root if root.tag == "domain" else root.find("domain")
    if domain is None:
        raise DomainXmlError(f"Failed to read the definition: it is a <{root.tag}>, not a <domain>")
    name, uuid = _child_text(domain, "name"), _child_text(domain, "uuid")
    if not name or not uuid:
        raise DomainXmlError("Failed to read the definition: it lacks a name or a uuid", guest=name)
    return domain


def dropped_when_missing(xml: Any) -> frozenset[str]:
    """Return the targets of the disks without whose files libvirt may start the guest all the same; pure.

    Source: ``startupPolicy`` of a disk's ``<source>``.
    """
    disks = domain_element(xml).iterfind("./devices/disk")
    return frozenset(
        target.get("dev", "")
        for source, target in ((disk.find("source"), disk.find("target")) for disk in disks)
        if source is not None and target is not None and source.get("startupPolicy", "mandatory") != "mandatory"
    )


def without_passwords(xml: str) -> str:
    """Return the definition without the passwords of its graphics (a file under /etc/libvirt holds them in clear)."""
    return _PASSWORD.sub(r"\1", xml)


def os_family(os_id: Optional[str]) -> GuestOs:
    """Tell the family from a libosinfo id such as ``http://redhat.com/rhel/9.4``."""
    where = (os_id or "").lower().partition("://")[2]
    if where.startswith("microsoft.com/win"):
        return "windows"
    if where.startswith(_SOLARIS):
        return "solaris"
    if where.startswith(_LINUX):
        return "linux"
    return "unknown"


def refuse_doctype(xml: str) -> None:
    """Refuse a definition with a DOCTYPE, whose entities may name files of the host; raises :class:`DomainXmlError`."""
    if "<!DOCTYPE" in xml:
        xml_root(xml)


def xml_root(xml: Any) -> ET.Element:
    """Return the root of any XML of libvirt's, parsed as foreign data; raises :class:`DomainXmlError`."""
    if len(xml) > MAX_XML:
        raise DomainXmlError(f"Refused to read the definition: it is larger than {MAX_XML} bytes")
    parser = ET.XMLParser(target=_NoDoctype())
    try:
        parser.feed(xml)
        root: ET.Element = parser.close()
    except (ET.ParseError, ValueError) as exc:
        raise DomainXmlError(f"Failed to read the definition: it is no well-formed XML ({exc})") from exc
    return root


def _child_text(element: ET.Element, path: str) -> Optional[str]:
    found = element.findtext(path)
    return found if found else None


def _disk(element: ET.Element) -> DiskXml:
    kind = element.get("type", "file")
    source = element.find("source")
    driver = element.find("driver")
    target = element.find("target")
    mirror = element.find("mirror")
    place = _source(kind, source)
    disk = DiskXml(
        target=(target.get("dev", "") if target is not None else "") or "unnamed",
        device=element.get("device", "disk"),
        kind=kind,
        source=place.source,
        path=place.path,
        bus=target.get("bus") if target is not None else None,
        readonly=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        transient=element.find("transient") is not None,
        serial=_child_text(element, "serial"),
        boot_order=_order(element.find("boot")),
        block_job=mirror.get("job", "copy") if mirror is not None else None,
    )
    if source is not None:
        disk = replace(
            disk,
            pool=source.get("pool"),
            volume=source.get("volume"),
            protocol=_protocol(kind, source),
            data_store=_data_store(source),
        )
    if driver is not None:
        disk = replace(disk, format=driver.get("type") or "raw", cache=driver.get("cache"))
    layers, complete = _backing(element)
    return replace(disk, backing=tuple(layers), backing_known=complete)


@dataclass(frozen=True)
class _Place:
    path: Optional[str]
    source: str


def _source(kind: str, source: Optional[ET.Element]) -> _Place:
    """Tell where a <source> points, for people and, when it is a file or a device, for the file system."""
    if source is None:
        return _Place(None, "")
    if kind == "file":
        return _at(source.get("file"))
    if kind == "block":
        return _at(source.get("dev"))
    if kind == "dir":
        return _at(source.get("dir"))
    if kind == "volume":
        return _Place(None, f"{source.get('pool', '')}/{source.get('volume', '')}")
    if kind == "network":
        hosts = ",".join(_host(host) for host in source.findall("host"))
        return _Place(None, f"{source.get('protocol', 'network')}://{hosts}/{source.get('name', '').lstrip('/')}")
    if kind == "nvme":
        return _Place(None, f"nvme {_address(source)} namespace {source.get('namespace', '?')}")
    return _Place(None, source.get("dev") or source.get("path") or kind)


def _protocol(kind: str, source: ET.Element) -> Optional[str]:
    """Tell how QEMU itself reaches a disk; an iSCSI pool's volume with ``mode='direct'`` is no device of the host."""
    if kind == "volume":
        return "iscsi" if source.get("mode") == "direct" else None
    return source.get("protocol") if kind == "network" else None


def _data_store(source: ET.Element) -> Optional[str]:
    """Tell where a qcow2 image keeps its data outside of itself."""
    store = source.find("dataStore")
    return None if store is None else _source(store.get("type", "file"), store.find("source")).source


def _at(path: Optional[str]) -> _Place:
    return _Place(path or None, path or "")


def _host(host: ET.Element) -> str:
    name = host.get("name") or host.get("socket") or "localhost"
    name = f"[{name}]" if ":" in name else name
    port = host.get("port")
    return f"{name}:{port}" if port else name


def _backing(element: ET.Element) -> tuple[list[BackingXml], bool]:
    """Return the layers below and whether the XML names all of them (an empty <backingStore/> ends the chain)."""
    layers: list[BackingXml] = []
    store = element.find("backingStore")
    while store is not None:
        kind = store.get("type")
        if kind is None:
            return layers, True
        place = _source(kind, store.find("source"))
        form = store.find("format")
        layer_format = form.get("type") if form is not None else None
        layers.append(BackingXml(kind=kind, format=layer_format, path=place.path, source=place.source))
        store = store.find("backingStore")
    return layers, False


def _with_roles(disks: list[DiskXml]) -> Iterator[DiskXml]:
    """Mark the disk that the guest boots from: lowest <boot order>, else the first disk (as libvirt itself decides)."""
    fixed = [disk for disk in disks if not disk.removable]
    ordered = sorted((disk for disk in fixed if disk.boot_order is not None), key=lambda disk: disk.boot_order or 0)
    boot = next(iter(ordered or fixed), None)
    for disk in disks:
        yield replace(disk, role="boot") if disk is boot else disk


def _order(boot: Optional[ET.Element]) -> Optional[int]:
    order = boot.get("order", "") if boot is not None else ""
    return int(order) if order.isascii() and order.isdigit() and len(order) <= _MOST_DIGITS else None


def _hostdevs(domain: ET.Element) -> Iterator[DiskXml]:
    """Passed-through devices; whether a PCI or USB device is storage is for the host to say (its class)."""
    for element in domain.findall("devices/hostdev"):
        kind = element.get("type", "")
        if kind in ("scsi", "scsi_host", "pci", "usb"):
            address = _address(element)
            yield DiskXml(
                target=f"hostdev-{address}",
                device=kind,
                kind="hostdev",
                source=f"{kind} {address}",
                readonly=element.find("readonly") is not None,
                shareable=element.find("shareable") is not None,
                boot_order=_order(element.find("boot")),
                address=address,
            )


def _passthrough(domain: ET.Element) -> Iterator[str]:
    for element in domain.findall("devices/hostdev"):
        yield f"{element.get('type', 'device')} {_address(element)}"
    for element in domain.findall("devices/interface[@type='hostdev']"):
        yield f"network {_address(element)}"


def _filesystems(domain: ET.Element) -> Iterator[DiskXml]:
    """Directories of the host shared into the guest (virtiofs, 9p)."""
    for element in domain.findall("devices/filesystem"):
        source, target = element.find("source"), element.find("target")
        tag = target.get("dir", "") if target is not None else ""
        shared = (source.get("dir") or source.get("socket") or source.get("file") or "") if source is not None else ""
        driver = element.find("driver")
        yield DiskXml(
            target=f"filesystem-{tag}",
            device=(driver.get("type") if driver is not None else None) or "9p",
            kind="filesystem",
            source=shared,
            readonly=element.find("readonly") is not None,
        )


def _address(element: ET.Element) -> str:
    """Return the address of a device of the host: PCI, USB, SCSI or the WWPN of a vhost controller."""
    source = element if element.tag == "source" else element.find("source")
    if source is None:
        return "unknown"
    address = source.find("address")
    if source.get("protocol") == "iscsi":
        return f"iscsi:{source.get('name', '')}"
    if source.get("wwpn"):
        return str(source.get("wwpn"))
    adapter = source.find("adapter")
    if adapter is not None and address is not None:
        steps = (address.get(key, "0") for key in ("bus", "target", "unit"))
        return ":".join([adapter.get("name", "scsi"), *steps])
    if address is not None and address.get("slot") is not None:
        domain, bus, slot, function = (_number(address.get(key)) for key in ("domain", "bus", "slot", "function"))
        return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"
    if address is not None and address.get("uuid"):
        return str(address.get("uuid"))
    if address is not None:
        return f"{address.get('bus', '?')}-{address.get('device', '?')}"
    vendor, product = source.find("vendor"), source.find("product")
    if vendor is not None and product is not None:
        return f"{_number(vendor.get('id')):04x}:{_number(product.get('id')):04x}"
    return "unknown"


def _number(text: Optional[str]) -> int:
    try:
        return int(text or "0", 0)
    except ValueError:
        return 0


def _agent(domain: ET.Element) -> AgentState:
    for target in domain.findall("devices/channel/target"):
        if target.get("name") == AGENT_CHANNEL:
            return "connected" if target.get("state") == "connected" else "disconnected"
    return "none"


def _nvram(domain: ET.Element) -> Optional[str]:
    nvram = domain.find("os/nvram")
    if nvram is None:
        return None
    source = nvram.find("source")
    if source is not None:
        return source.get("file") or source.get("dev")
    return nvram.text.strip() if nvram.text and nvram.text.strip() else None


def _os_id(domain: ET.Element) -> Optional[str]:
    """Find libosinfo's id in the metadata (its namespace is versioned, so the local name decides)."""
    metadata = domain.find("metadata")
    for element in metadata.iter() if metadata is not None else ():
        if element.tag.startswith("{http://libosinfo.org/") and element.tag.endswith("}os"):
            return element.get("id")
    return None
