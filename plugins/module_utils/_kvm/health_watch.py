# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a started guest until it is healthy or its time is over. Nothing is changed about it; every look ends."""

from __future__ import annotations

import ipaddress
import math
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    AGENT_UNRESPONSIVE,
    Domain,
    Host,
    LibvirtError,
    LibvirtUnavailableError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health import (
    AGENT,
    COMMAND,
    TCP,
    Condition,
    HealthObservation,
    assess_commands,
    assess_exit,
    assess_state,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

AGENT_SECONDS = 5
CONNECT_SECONDS = 5.0
MOST_ADDRESSES = 16
"""Addresses of a guest that are tried; its agent may tell of any number."""
_PAUSE = 0.5


@dataclass(frozen=True)
class Health:
    """What came of the looking: ``wanted`` is the condition as a clause, ``seen`` what was seen last."""

    healthy: bool
    condition: str
    wanted: str
    seen: str
    seconds: float


def wait_healthy(
    uuid: str, condition: Condition, *, connect: Callable[[], Host], clock: Optional[Clock] = None
) -> Health:
    """Return when the guest meets the condition, cannot any more, or its time is over; a last look may add 10 s to it.

    ``connect`` opens a connection to libvirt, and another one when that broke.
    """
    deadline = Deadline.after(condition.timeout, clock)
    began = deadline.clock.monotonic()
    watch = _Watch(uuid, condition, connect)
    try:
        while True:
            seen = watch.look(max(1, min(AGENT_SECONDS, math.ceil(deadline.remaining()))))
            if seen.healthy or seen.final or deadline.remaining() <= 0:
                seconds = round(deadline.clock.monotonic() - began, 1)
                return Health(seen.healthy, condition.kind, condition.text, seen.text, seconds)
            deadline.clock.sleep(min(_PAUSE, deadline.remaining()))
    finally:
        watch.close()


def reachable(addresses: Iterable[str]) -> list[str]:
    """Return the addresses that other machines can reach a guest at, each once; pure."""
    found = []
    for each in dict.fromkeys(addresses):
        try:
            address = ipaddress.ip_address(each)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast):
            found.append(each)
    return found


class _Watch:
    """One guest under a condition: its connection, the program that was started in it, and how the last one ended."""

    def __init__(self, uuid: str, condition: Condition, connect: Callable[[], Host]) -> None:
        self._uuid = uuid
        self._condition = condition
        self._connect = connect
        self._host: Optional[Host] = None
        self._pid: Optional[int] = None
        self._can_execute = False
        self._ended = ""

    def look(self, timeout: int) -> HealthObservation:
        """Look once; the agent is given ``timeout`` seconds."""
        seen = outcome_of(lambda: self._seen(timeout), what="look at it")
        return HealthObservation(False, seen.message) if isinstance(seen, KvmsnapError) else seen

    def close(self) -> None:
        """End the connection."""
        host, self._host = self._host, None
        if host is not None:
            host.close()

    def _seen(self, timeout: int) -> HealthObservation:
        domain = self._domain()
        if domain is None:
            return HealthObservation(False, "it is not defined on this host any more", final=True)
        return assess_state(domain.state()) or self._inside(domain, timeout)

    def _domain(self) -> Optional[Domain]:
        if self._host is not None and not self._host.alive:
            self.close()
        if self._host is None:
            self._host = self._connect()
        return self._host.domain(uuid=self._uuid)

    def _inside(self, domain: Domain, timeout: int) -> HealthObservation:
        kind = self._condition.kind
        if kind == TCP:
            return self._port(domain, timeout)
        if kind not in (AGENT, COMMAND):
            return HealthObservation(True, "it runs")
        if domain.agent.channel(parse_guest(domain.xml())) == "none":
            return HealthObservation(False, "it has no agent channel; use condition running or tcp", final=True)
        if kind == COMMAND:
            return self._command(domain, timeout)
        domain.agent.ping(timeout)
        return HealthObservation(True, "its agent answered")

    def _command(self, domain: Domain, timeout: int) -> HealthObservation:
        if not self._can_execute:
            hindrance = assess_commands(domain.agent.commands(timeout))
            if hindrance:
                return hindrance
            self._can_execute = True
        program = self._condition.command[0]
        try:
            if self._pid is None:
                self._pid = domain.agent.execute(self._condition.command, timeout)
            seen = assess_exit(program, domain.agent.executed(self._pid, timeout))
        except LibvirtError as exc:
            if exc.code != AGENT_UNRESPONSIVE:
                self._pid = None
            raise
        if seen is None:
            before = f", after {self._ended}" if self._ended else ""
            return HealthObservation(False, f"{program} was still running{before}")
        self._pid, self._ended = None, seen.text
        return seen

    def _port(self, domain: Domain, timeout: int) -> HealthObservation:
        address, port = self._condition.address, self._condition.port
        places = [address] if address else _addresses(domain, timeout)
        if not places:
            return HealthObservation(
                False, "no address of it is known, from its agent or from a lease of libvirt; give its address"
            )
        said: list[str] = []
        limit = Deadline.after(timeout + CONNECT_SECONDS)
        for place in places[:MOST_ADDRESSES]:
            if said and limit.remaining() <= 0:
                break
            fault = _refusal(place, port)
            if fault is None:
                return HealthObservation(True, f"TCP port {port} of {place} accepted a connection")
            said.append(f"{place}: {fault}")
        return HealthObservation(False, f"TCP port {port} accepted no connection ({'; '.join(said)})")


def _addresses(domain: Domain, timeout: int) -> list[str]:
    """Return where a guest can be reached, its agent's word first; a source that cannot tell is none."""
    found: list[str] = []
    sources: tuple[Callable[[], tuple[str, ...]], ...] = (
        lambda: domain.agent.addresses(timeout),
        domain.leased_addresses,
    )
    for ask in sources:
        try:
            found += ask()
        except LibvirtUnavailableError:
            raise
        except LibvirtError:
            continue
    return reachable(found)


def _refusal(address: str, port: int) -> Optional[str]:
    """Try a connection; return why there is none, also when the name of the guest cannot be found in time."""
    try:
        bounded(
            lambda: socket.create_connection((address, port), timeout=CONNECT_SECONDS).close(),
            seconds=CONNECT_SECONDS + 1,
            what=f"connect to {address}",
        )
    except (socket.timeout, OverdueError):
        return f"no answer within {CONNECT_SECONDS:g} s"
    except OSError as exc:
        return exc.strerror or str(exc)
    return None
