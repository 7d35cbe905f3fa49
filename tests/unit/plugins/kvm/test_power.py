# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests of libvirt's test driver are brought to a power state, which is looked at and never assumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import libvirt
import pytest
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import power
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, DomainState, LibvirtError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.power import PowerError, power_off, power_on

RUNNING, PAUSED, OFF = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_SHUTOFF
DESTROYED, SHUT_DOWN = libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN


@pytest.fixture
def uuid(guests: Guests) -> str:
    """A guest that runs."""
    return guests.add("web1")


@pytest.fixture
def domain(guests: Guests, uuid: str) -> Iterator[Domain]:
    """The guest, as this collection has it."""
    with closing(guests.connect()) as host:
        found = host.domain(uuid=uuid)
        assert found is not None
        yield found


def test_a_guest_shuts_down_when_asked_and_is_off_afterwards(guests: Guests, uuid: str, domain: Domain) -> None:
    power_off(domain, graceful=True, timeout=60)
    assert guests.state(uuid) == (OFF, SHUT_DOWN)
    power_off(domain, graceful=True, timeout=60)
    assert guests.state(uuid) == (OFF, SHUT_DOWN), "it was off"


@pytest.mark.parametrize(("graceful", "paused"), [(False, False), (False, True), (True, True)])
def test_a_guest_that_cannot_or_need_not_shut_down_is_powered_off(
    guests: Guests, uuid: str, domain: Domain, graceful: bool, paused: bool
) -> None:
    if paused:
        guests.domain(uuid).suspend()
    power_off(domain, graceful=graceful, timeout=60)
    assert guests.state(uuid) == (OFF, DESTROYED)


def test_a_guest_that_does_not_shut_down_in_its_time_is_powered_off(
    guests: Guests, uuid: str, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Domain, "shutdown", lambda each: asked.append(each.name))
    monkeypatch.setattr(power, "_PAUSE", 0.01)
    power_off(domain, graceful=True, timeout=0.05)
    assert asked == ["web1"]
    assert guests.state(uuid) == (OFF, DESTROYED)


def test_a_guest_that_stays_active_is_an_error(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Domain, "destroy", lambda _each: None)
    monkeypatch.setattr(power, "DESTROY_TIMEOUT", 0.05)
    monkeypatch.setattr(power, "_PAUSE", 0.01)
    with pytest.raises(PowerError, match=r"Failed to power off guest web1: it is still active 0\.05 s later"):
        power_off(domain, graceful=False, timeout=60)


def test_a_refused_power_off_counts_only_while_the_guest_is_active(
    guests: Guests, uuid: str, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_each: Any) -> None:
        raise LibvirtError("Failed to destroy")

    def go(_each: Any) -> None:
        guests.domain(uuid).destroy()
        refuse(_each)

    monkeypatch.setattr(Domain, "destroy", refuse)
    with pytest.raises(LibvirtError, match="Failed to destroy"):
        power_off(domain, graceful=False, timeout=60)
    monkeypatch.setattr(Domain, "destroy", go)
    power_off(domain, graceful=False, timeout=60)
    assert guests.state(uuid)[0] == OFF


@pytest.mark.parametrize(("state", "found"), [("running", RUNNING), ("paused", PAUSED)])
def test_a_guest_is_started_to_the_state_that_it_is_to_have(
    guests: Guests, uuid: str, domain: Domain, monkeypatch: pytest.MonkeyPatch, state: Any, found: int
) -> None:
    """The test driver cannot start a guest paused: only the one function that asks for it is stood in for."""

    def start(_each: Domain, *, paused: bool) -> None:
        guests.domain(uuid).create()
        if paused:
            guests.domain(uuid).suspend()

    monkeypatch.setattr(Domain, "start", start)
    guests.domain(uuid).destroy()
    power_on(domain, state=state, timeout=60)
    assert guests.state(uuid)[0] == found


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (DomainState("crashed", "panicked", None), r"it is crashed \(panicked\), not running"),
        (DomainState("paused", "ioerror", 3), r"it is paused \(ioerror\), not running"),
    ],
)
def test_a_guest_that_comes_to_another_state_is_an_error(
    guests: Guests, uuid: str, domain: Domain, monkeypatch: pytest.MonkeyPatch, now: DomainState, said: str
) -> None:
    guests.domain(uuid).destroy()
    monkeypatch.setattr(Domain, "state", lambda _each: now)
    with pytest.raises(PowerError, match=f"Failed to start guest web1: {said}"):
        power_on(domain, state="running", timeout=0)
