# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that share a uuid or a MAC address with a restored one are noted and hinder nothing; copies do not count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import found
import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import OURS
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import namesakes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestNow, KnownGuest, TwoGuests
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.other_hosts import guests_of

NEW = "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"
MAC = "52:54:00:AA:BB:01"
XML = (
    "<domain><name>web1</name><uuid>u</uuid><devices>"
    f"<interface type='network'><mac address='{MAC}'/><source network='lan'/></interface>"
    "<interface type='user'><mac address='52:54:00:aa:bb:09'/></interface>"
    "<interface type='direct'><source dev='eth0'/></interface>"
    "</devices></domain>"
)
MARKED = (
    f"<metadata><k:copy xmlns:k='{OURS}' owner='hv1' backup-id='b1' guest='web1' guest-uuid='u'"
    " created='2026-11-21T02:00:00+00:00'/></metadata>"
)
WEB = GuestNow("web1", samples.WEB, "shutoff", False, True, (), xml=XML)
ANEW = replace(WEB, uuid=NEW, two_guests=TwoGuests(KnownGuest("web1", samples.WEB, ()), KnownGuest("web1", NEW, ())))


def guest(uuid: str, mac: str = "", network: str = "dmz", **changes: Any) -> dict[str, Any]:
    """A guest as a discovery tells it."""
    interfaces = [{"mac": mac.lower(), "network": network}] if mac else []
    source = f"<mac address='{mac}'/><source network='{network}'/>"
    devices = f"<interface type='network'>{source}</interface>" if mac else ""
    marked = MARKED if changes.get("copy") else ""
    xml = f"<domain><name>other</name><uuid>{uuid}</uuid>{marked}<devices>{devices}</devices></domain>"
    row = {"name": "other", "uuid": uuid, "state": "shutoff", "interfaces": interfaces, "copy": False, "disks": []}
    return {**row, "xml": xml, **changes}


@pytest.mark.parametrize(
    ("now", "here", "elsewhere", "said"),
    [
        pytest.param(WEB, [guest(samples.WEB, MAC)], {}, [], id="itself"),
        pytest.param(WEB, [guest(samples.DB)], {"hv2": [guest(samples.DB)]}, [], id="others"),
        pytest.param(WEB, [], {"hv2": False, "hv3": None, "hv4": []}, [], id="nobody"),
        pytest.param(WEB, [], {"hv2": [guest(samples.WEB.upper())]}, ["hv2, too", "off there"], id="off elsewhere"),
        pytest.param(WEB, [], {"hv2": [guest(samples.WEB, state="running")]}, [], id="an obstacle, told elsewhere"),
        pytest.param(WEB, [], {"hv2": [guest(samples.WEB, MAC)]}, ["hv2, too"], id="its own address there"),
        pytest.param(WEB, [guest(samples.DB, MAC)], {}, ["on lan", "of this host", "on dmz"], id="its address here"),
        pytest.param(WEB, [guest(samples.DB, MAC, "lan")], {}, ["on lan, too"], id="same network"),
        pytest.param(WEB, [], {"hv2": [guest(samples.DB, MAC)]}, ["of host hv2, shutoff"], id="its address elsewhere"),
        pytest.param(WEB, [guest(samples.DB, MAC, copy=True)], {}, [], id="our copy here"),
        pytest.param(WEB, [], {"hv2": [guest(samples.DB, MAC, copy=True)]}, [], id="our copy elsewhere"),
        pytest.param(ANEW, [guest(NEW, MAC)], {"hv2": [guest(samples.WEB, MAC)]}, [samples.WEB], id="the old uuid off"),
        pytest.param(replace(WEB, forget=True), [guest(samples.DB, MAC)], {}, [], id="it is undefined"),
        pytest.param(replace(WEB, xml="<odd"), [guest(samples.DB, MAC)], {}, [], id="unreadable"),
        pytest.param(
            WEB, [], {"hv2": [{"name": "o", "uuid": samples.DB, "state": "off", "disks": []}]}, [], id="told less"
        ),
    ],
)
def test_what_is_noted(now: GuestNow, here: list[Any], elsewhere: dict[str, Any], said: list[str]) -> None:
    guests = [found.guest(each).guest for each in here]
    seen = namesakes.with_notes({now.uuid: now}, here=guests, elsewhere=guests_of(elsewhere))[now.uuid]
    assert len(seen.notes) == bool(said)
    assert all(word in seen.notes[0] for word in said)
    assert seen.obstacles == ()


def test_what_is_no_list_of_guests_is_refused() -> None:
    with pytest.raises(InputError, match="hv2 does not have a list of guests"):
        guests_of({"hv2": [{"name": "x"}]})
