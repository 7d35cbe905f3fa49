# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of libvirt before a copy is made: what this host offers, and whether a network leads nowhere."""

from __future__ import annotations

import os
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host, NetworkState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import domain_element, xml_root
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.host_fit import (
    DomainCapabilities,
    HostCapabilities,
    HostFacts,
    files_asked,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem


def facts_of(host: Host, xml: str) -> HostFacts:
    """Return what a host offers to a guest with this definition; raises ``LibvirtError``."""
    domain = domain_element(xml)
    system = domain.find("os/type")
    capabilities = HostCapabilities.from_xml(host.capabilities())
    emulator = domain.findtext("devices/emulator")
    told = None
    # libvirt runs the emulator to tell what it can do: none is named that it does not list by itself.
    if emulator is None or any(emulator in each.emulators for each in capabilities.machines):
        told = host.domain_capabilities(
            emulator=emulator,
            arch=system.get("arch") if system is not None else None,
            machine=system.get("machine") if system is not None else None,
            kind=domain.get("type"),
        )
    return HostFacts(
        capabilities=capabilities,
        domain=DomainCapabilities.from_xml(told) if told is not None else None,
        networks=frozenset(host.networks()),
        pools=frozenset(host.pools()),
        secrets=frozenset(secret.lower() for secret in host.secrets()),
        files=frozenset(path for path in files_asked(xml) if os.path.exists(path)),
    )


def network_problems(host: Host, network: Optional[str], *, guest: str) -> list[Problem]:
    """Return why a copy must not be on the network that is named; raises ``LibvirtError``."""
    reason = network_refusal(host.network(network)) if network is not None else None
    if reason is None:
        return []
    remedy = "Name an active network of libvirt without <forward>, or none at all."
    return [Problem("network-not-isolated", "error", f"network {network}: {reason}", remedy, guest=guest)]


def network_refusal(network: Optional[NetworkState]) -> Optional[str]:
    """Return why a copy must not be on a network, None when it leads nowhere; pure."""
    if network is None:
        return "libvirt knows no such network on this host"
    if not network.active:
        return "it is not active"
    root = xml_root(network.xml)
    forward = root.find("forward")
    mode = forward.get("mode", "nat") if forward is not None else "none"
    if mode != "none":
        return f"it is not isolated, it forwards ({mode})"
    if root.find("bridge[@zone]") is not None:
        return "its bridge is in a firewall zone, which may forward"
    return None
