# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which networks lead nowhere."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.network import network_refusal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import NetworkState


@pytest.mark.parametrize(
    ("xml", "active", "words"),
    [
        ("<network><name>n</name><bridge name='virbr9'/><ip address='10.0.0.1'/></network>", True, None),
        ("<network><forward mode='none'/></network>", True, None),
        ("<network/>", False, "not active"),
        ("<network><forward/></network>", True, "forwards (nat)"),
        ("<network><forward mode='route'/></network>", True, "forwards (route)"),
        ("<network><forward mode='bridge'/><bridge name='br0'/></network>", True, "forwards (bridge)"),
        ("<network><bridge name='virbr9' zone='public'/></network>", True, "firewall zone"),
    ],
)
def test_only_a_network_that_leads_nowhere_is_isolated(xml: str, active: bool, words: str | None) -> None:
    found = network_refusal(NetworkState("n", active, xml))
    assert (found is None) if words is None else (words in (found or ""))


def test_a_network_that_is_not_there_is_no_network() -> None:
    assert network_refusal(None) == "libvirt knows no such network on this host"
