# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network interfaces of a definition."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.interfaces import Interface, interfaces_of

MAC = "52:54:00:AA:BB:01"


def told(devices: str) -> tuple[Interface, ...]:
    """Return the interfaces of a definition with these devices."""
    head = "<name>web1</name><uuid>7d1b8c6e-0f3c-4f0e-9a53-0d6a2f6f0001</uuid>"
    return interfaces_of(f"<domain>{head}<devices>{devices}</devices></domain>")


@pytest.mark.parametrize(
    ("interface", "found"),
    [
        (f"<interface type='network'><mac address='{MAC}'/><source network='default'/></interface>", "default"),
        (f"<interface type='bridge'><mac address='{MAC}'/><source bridge='br0'/></interface>", "br0"),
        (f"<interface type='direct'><mac address='{MAC}'/><source dev='eth0' mode='bridge'/></interface>", "eth0"),
        (f"<interface type='user'><mac address='{MAC}'/></interface>", "user"),
        (f"<interface><mac address='{MAC}'/></interface>", "user"),
        ("<interface type='network'><source network='default'/></interface>", None),
        ("<interface type='network'><mac/><source network='default'/></interface>", None),
    ],
)
def test_an_interface_is_its_address_and_what_it_is_on(interface: str, found: str | None) -> None:
    assert told(interface) == ((Interface(MAC.lower(), found),) if found else ())


def test_several_come_in_their_order_and_as_a_discovery_tells_them() -> None:
    one, two = ({"mac": f"52:54:00:AA:BB:0{at}", "network": f"net{at}"} for at in (1, 2))
    devices = "".join(
        f"<interface type='network'><mac address='{each['mac']}'/><source network='{each['network']}'/></interface>"
        for each in (one, two)
    )
    assert told(devices) == (Interface.from_record(one), Interface.from_record(two))


def test_what_is_no_definition_is_refused() -> None:
    with pytest.raises(DomainXmlError):
        interfaces_of("<domain>")
