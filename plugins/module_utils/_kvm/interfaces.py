# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network interfaces of a guest's definition, as far as they tell guests apart. Pure; the XML is foreign data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import domain_element

_NETWORKS = ("network", "bridge", "dev")


@dataclass(frozen=True)
class Interface:
    """An interface: ``mac`` in lower case, ``network`` is what it is on (a network of libvirt, a bridge, a device)."""

    mac: str
    network: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Interface:
        """Read an interface as ``kvm_vm_discover`` returns it; raises KeyError and TypeError."""
        return cls(str(record["mac"]).lower(), str(record["network"]))


def interfaces_of(xml: str) -> tuple[Interface, ...]:
    """Return the interfaces that have a MAC address; raises ``DomainXmlError``."""
    found = []
    for element in domain_element(xml).findall("devices/interface"):
        mac, source = element.find("mac"), element.find("source")
        address = (mac.get("address") if mac is not None else None) or ""
        places = [source.get(key) for key in _NETWORKS] if source is not None else []
        if address:
            network = next((place for place in places if place), element.get("type", "user"))
            found.append(Interface(address.lower(), network))
    return tuple(found)
