# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that Pacemaker manages: it starts one that is off, on this host or on another, whatever anybody does with it.

The cluster's configuration (the CIB) is foreign data, read from ``cibadmin`` or, when the cluster does not answer here,
from the file that it keeps. What is not certain (a value that depends on a rule) counts as managed.
https://clusterlabs.org/projects/pacemaker/doc/ (Pacemaker Explained: resource meta-attributes, cluster options).
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.programs import (
    SYSTEM_DIRECTORIES,
    ProgramError,
    bytes_of,
    find_program,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import MAX_XML, DomainXmlError, xml_root
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

CIB = Path("/var/lib/pacemaker/cib/cib.xml")
# What a member of a cluster, or a remote node of one, has beside the programs.
SIGNS = (Path("/etc/corosync/corosync.conf"), Path("/etc/pacemaker/authkey"))
AGENT = "VirtualDomain"
TIMEOUT = 20.0

_TRUE = ("true", "on", "yes", "y", "1")
_FALSE = ("false", "off", "no", "n", "0")
_AROUND = ("group", "clone", "master", "bundle")


class ClusterError(KvmsnapError):
    """This host is part of a cluster whose configuration cannot be read."""


@dataclass(frozen=True)
class ClusterGuest:
    """A resource that runs a guest: its id, and all values that the guest's XML file and the hypervisor may have.

    ``managed``: the cluster starts and stops it, as far as the resource itself says.
    """

    resource: str
    configs: tuple[str, ...]
    hypervisors: tuple[str, ...]
    managed: bool


@dataclass(frozen=True)
class Cluster:
    """What a cluster says of guests; with ``maintenance`` (of the whole, or of all nodes) it touches none."""

    guests: tuple[ClusterGuest, ...]
    maintenance: bool


@dataclass(frozen=True)
class NamedGuest:
    """What the XML file of a resource calls its guest; ``uuid`` is empty when it says none."""

    name: str
    uuid: str


@dataclass(frozen=True)
class Verdict:
    """What a cluster means for the restore of one guest: why it is refused, or what there is to say."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def read_cluster(
    *, directories: Iterable[str] = SYSTEM_DIRECTORIES, cib: Path = CIB, signs: Sequence[Path] = SIGNS
) -> Optional[Cluster]:
    """Return what the cluster of this host says of guests, None when this host is in none.

    Raises :class:`ClusterError` when it is in one that cannot be read.
    """
    program = find_program("cibadmin", directories)
    failure = ""
    if program is not None:
        try:
            return parse_cib(bytes_of([program, "--query", "--local"], seconds=TIMEOUT))
        except ProgramError as exc:
            failure = exc.message
    content = _content(cib)
    if content is not None:
        return parse_cib(content)
    if failure and any(map(os.path.lexists, signs)):
        raise ClusterError(failure)
    return None


def parse_cib(xml: Any) -> Cluster:
    """Read a ``<cib>``; raises :class:`ClusterError` when it is none, or has a DOCTYPE. Pure."""
    try:
        root = xml_root(xml)
    except DomainXmlError as exc:
        raise ClusterError(f"Failed to read the configuration of the Pacemaker cluster: {exc.message}") from exc
    if root.tag != "cib":
        raise ClusterError(f"Failed to read the configuration of the Pacemaker cluster: it is a <{root.tag}>")
    return _Cib(root).cluster()


def definitions_of(cluster: Cluster) -> dict[str, Optional[NamedGuest]]:
    """Return whom the XML files of the resources name, None for a file that is not to be read here."""
    return {config: _named(config) for guest in cluster.guests for config in guest.configs}


def verdict(
    cluster: Cluster, named: Mapping[str, Optional[NamedGuest]], *, name: str, uuid: str, uri: str, off: bool = False
) -> Verdict:
    """Say what the cluster means for a guest of the libvirt at ``uri``; pure.

    ``named`` is :func:`definitions_of`; a file that could not be read counts by its own name. ``off``: somebody said
    that no cluster starts this guest.
    """
    mine = [
        guest
        for guest in cluster.guests
        if any(_is(config, named.get(config), name, uuid) for config in guest.configs)
        and (not guest.hypervisors or any(_driver(each) == _driver(uri) for each in guest.hypervisors))
    ]
    holding = [guest.resource for guest in mine if guest.managed and not cluster.maintenance]
    if holding and not off:
        what = (
            f"guest {name}: the Pacemaker cluster manages it (resource {', '.join(holding)}) and would start it, here"
            " or on another node, while its disks are overwritten"
        )
        return Verdict(problems=(problem_of("cluster-managed", what, guest=name),))
    if holding:
        return Verdict(notes=(f"Pacemaker manages it (resource {', '.join(holding)}), and you say that it is off",))
    if mine:
        names = ", ".join(guest.resource for guest in mine)
        return Verdict(notes=(f"resource {names} of Pacemaker is unmanaged; let it be managed again afterwards",))
    return Verdict()


def unreadable(exc: ClusterError, *, name: str, off: bool) -> Verdict:
    """Say what a cluster that cannot be read means for a guest; pure."""
    if off:
        return Verdict(notes=("the Pacemaker cluster of this host cannot be read, and you say that it is off",))
    what = f"guest {name}: whether the Pacemaker cluster of this host manages it is not known. {exc.message}"
    return Verdict(problems=(problem_of("cluster-unknown", what, guest=name),))


class _Cib:
    """One CIB while it is read: references to other elements are followed by their ids."""

    def __init__(self, root: ET.Element) -> None:
        self._root = root
        self._by_id = {element.get("id", ""): element for element in root.iter() if element.get("id")}

    def cluster(self) -> Cluster:
        resources = self._root.find("configuration/resources")
        return Cluster(
            tuple(self._guests(resources, ())) if resources is not None else (),
            self._in_maintenance(),
        )

    def _in_maintenance(self) -> bool:
        whole = self._root.findall("configuration/crm_config/cluster_property_set")
        if self._surely(whole, "maintenance-mode", _TRUE):
            return True
        nodes = [node for node in self._root.findall("configuration/nodes/node") if node.get("type") != "ping"]
        return bool(nodes) and all(
            self._surely(node.findall("instance_attributes"), "maintenance", _TRUE) for node in nodes
        )

    def _guests(self, parent: ET.Element, around: tuple[ET.Element, ...]) -> Iterator[ClusterGuest]:
        for element in parent:
            if element.tag in _AROUND:
                yield from self._guests(element, (element, *around))
            elif element.tag == "primitive":
                own = self._with_template(element)
                if any(each.get("type") == AGENT for each in own):
                    yield self._guest(element, own, around)

    def _with_template(self, element: ET.Element) -> tuple[ET.Element, ...]:
        template = self._by_id.get(element.get("template") or "")
        return (element,) if template is None else (element, template)

    def _guest(self, element: ET.Element, own: tuple[ET.Element, ...], around: tuple[ET.Element, ...]) -> ClusterGuest:
        return ClusterGuest(
            resource=element.get("id", ""),
            configs=self._values(own, "config"),
            hypervisors=self._values(own, "hypervisor"),
            managed=not (
                self._inherited((*own, *around), "is-managed", _FALSE)
                or self._inherited((*own, *around), "maintenance", _TRUE)
            ),
        )

    def _values(self, own: Sequence[ET.Element], name: str) -> tuple[str, ...]:
        found = (
            value
            for each in own
            for sets in each.findall("instance_attributes")
            for value, _ruled in self._said(sets, name)
        )
        return tuple(dict.fromkeys(found))

    def _inherited(self, levels: Sequence[ET.Element], name: str, wanted: Sequence[str]) -> bool:
        """Tell whether a meta attribute is surely one of these words at the nearest level that says anything."""
        defaults = self._root.findall("configuration/rsc_defaults/meta_attributes")
        for sets in (*(level.findall("meta_attributes") for level in levels), defaults):
            if any(True for each in sets for _found in self._said(each, name)):
                return self._surely(sets, name, wanted)
        return False

    def _surely(self, sets: Iterable[ET.Element], name: str, wanted: Sequence[str]) -> bool:
        """Tell whether all that is said is one of these words, and depends on no rule."""
        said = [found for each in sets for found in self._said(each, name)]
        return bool(said) and all(value.lower() in wanted and not ruled for value, ruled in said)

    def _said(self, block: ET.Element, name: str) -> Iterator[tuple[str, bool]]:
        """Yield each value of this name in a set of attributes, and whether it depends on a rule."""
        block = self._by_id.get(block.get("id-ref") or "", block)
        ruled = block.find("rule") is not None
        for pair in block.findall("nvpair"):
            referred = self._by_id.get(pair.get("id-ref") or "", pair)
            if (pair.get("name") or referred.get("name")) == name:
                yield (referred.get("value") or "").strip(), ruled


def _is(config: str, named: Optional[NamedGuest], name: str, uuid: str) -> bool:
    if named is None:
        return PurePosixPath(config).stem == name
    return named.name == name or (bool(named.uuid) and named.uuid == uuid)


def _driver(uri: str) -> str:
    """Return which hypervisor a URI of libvirt is about: ``qemu`` of ``qemu+ssh://host/system``."""
    return uri.partition(":")[0].partition("+")[0].lower()


def _named(config: str) -> Optional[NamedGuest]:
    """Return whom a definition names, None when there is none to be read."""
    try:
        root = xml_root(_content(Path(config)) or b"")
    except (ClusterError, DomainXmlError):
        return None
    name, uuid = root.findtext("name"), root.findtext("uuid")
    return NamedGuest(name.strip(), (uuid or "").strip().lower()) if name and name.strip() else None


def _content(path: Path) -> Optional[bytes]:
    """Return what a file holds, None when it is not there; raises :class:`ClusterError` when it cannot be read."""

    def read() -> bytes:
        with path.open("rb") as stream:
            return stream.read(MAX_XML + 1)

    try:
        return bounded(read, seconds=TIMEOUT, what=f"read {path}")
    except FileNotFoundError:
        return None
    except OverdueError as exc:
        raise ClusterError(exc.message) from exc
    except OSError as exc:
        raise ClusterError(f"Failed to read {path}: {exc.strerror or exc}") from exc
