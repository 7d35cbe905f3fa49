# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of libvirt before a copy is made: what this host offers, and whether a network leads nowhere."""

from __future__ import annotations

from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host, NetworkState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import xml_root
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem


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
