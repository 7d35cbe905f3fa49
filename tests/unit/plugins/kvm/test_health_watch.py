# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a guest's health, on libvirt's test driver; only the function that sends agent commands is replaced."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import libvirt
import libvirt_qemu
import pytest
from virt import URI, Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import health_watch
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Agent,
    LibvirtUnavailableError,
    connect,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import AgentState, GuestXml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health import Condition
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health_watch import (
    MOST_ADDRESSES,
    Health,
    reachable,
    wait_healthy,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

EXECUTION = {"supported_commands": [{"name": name, "enabled": True} for name in ("guest-exec", "guest-exec-status")]}
NO_EXECUTION = {"supported_commands": [{"name": "guest-exec", "enabled": False}]}
ENDED, FAILED, RUNNING = {"exited": True, "exitcode": 0}, {"exited": True, "exitcode": 2}, {"exited": False}
SILENT = object()


class Connected(Agent):
    """The test driver has no channels: this agent says that it is connected."""

    def channel(self, definition: GuestXml) -> AgentState:
        return "connected"


class Inside:
    """The answers of a guest's agent by command, one after the other; the last one stays."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = {name.replace("_", "-"): list(each) for name, each in answers.items()}
        self.asked: list[dict[str, Any]] = []

    def command(self, _domain: Any, text: str, timeout: int, _flags: int) -> str:
        assert 0 < timeout <= health_watch.AGENT_SECONDS
        asked = json.loads(text)
        self.asked.append(asked)
        answers = self.answers[asked["execute"]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is SILENT:
            raise unresponsive()
        return json.dumps({"return": answer})

    @property
    def names(self) -> list[str]:
        return [each["execute"].removeprefix("guest-") for each in self.asked]


def unresponsive() -> Exception:
    class Unresponsive(libvirt.libvirtError):  # type: ignore[misc]
        def get_error_code(self) -> int:
            return int(libvirt.VIR_ERR_AGENT_UNRESPONSIVE)

        def get_error_message(self) -> str:
            return "the agent is not connected"

    return Unresponsive("")


class Time:
    """A clock on which nobody waits; ``slept`` is called after each pause."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept()

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


@pytest.fixture
def time() -> Time:
    return Time()


Waited = Callable[..., Health]


@pytest.fixture
def waited(guests: Guests, time: Time, monkeypatch: pytest.MonkeyPatch) -> Waited:
    """Return what waits for a new guest with this inside."""

    def wait(condition: Condition, inside: Inside, *, running: bool = True, agent: type[Agent] = Connected) -> Health:
        monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", inside.command)
        uuid = guests.add("g", running=running)
        return wait_healthy(
            uuid, condition, connect=partial(connect, URI, retry_count=0, agent=agent), clock=time.clock
        )

    return wait


def test_a_guest_that_runs(waited: Waited) -> None:
    assert waited(Condition(), Inside()) == Health(True, "running", "it runs", "it runs", 0.0)


def test_a_guest_that_is_off_is_not_waited_for(waited: Waited) -> None:
    found = waited(Condition("agent"), Inside(), running=False)
    assert (found.healthy, found.seen, found.seconds) == (False, "it is shutoff (unknown)", 0.0)


def test_a_guest_that_ends_meanwhile(waited: Waited, guests: Guests, time: Time) -> None:
    time.slept = lambda: guests.connection.lookupByName("g").destroy()
    found = waited(Condition("agent"), Inside(guest_ping=[SILENT]))
    assert (found.healthy, found.seen, found.seconds) == (False, "it is shutoff (destroyed)", 0.5)


def test_an_agent_that_comes_late_is_waited_for(waited: Waited) -> None:
    inside = Inside(guest_ping=[SILENT, SILENT, {}])
    assert waited(Condition("agent"), inside) == Health(True, "agent", "its agent answers", "its agent answered", 1.0)


def test_an_agent_that_never_answers_ends_the_wait(waited: Waited) -> None:
    found = waited(Condition("agent", 7), Inside(guest_ping=[SILENT]))
    assert (found.healthy, found.seconds) == (False, 7.0)
    assert "the agent is not connected" in found.seen


def test_without_an_agent_channel_nobody_waits(waited: Waited) -> None:
    found = waited(Condition("agent"), Inside(), agent=Agent)
    assert (found.healthy, found.seconds) == (False, 0.0)
    assert found.seen == "it has no agent channel; use condition running or tcp"


COMMAND = Condition("command", 10, ("/bin/check", "-v"))


def test_a_program_that_ends_well(waited: Waited) -> None:
    inside = Inside(guest_info=[EXECUTION], guest_exec=[{"pid": 7}], guest_exec_status=[RUNNING, RUNNING, ENDED])
    assert waited(COMMAND, inside).healthy
    assert inside.names == ["info", "exec", "exec-status", "exec-status", "exec-status"]
    assert inside.asked[1]["arguments"] == {"path": "/bin/check", "arg": ["-v"], "capture-output": True}
    assert inside.asked[2]["arguments"] == {"pid": 7}


def test_a_program_that_fails_is_run_again(waited: Waited) -> None:
    inside = Inside(
        guest_info=[SILENT, EXECUTION], guest_exec=[{"pid": 7}, {"pid": 8}], guest_exec_status=[FAILED, ENDED]
    )
    assert waited(COMMAND, inside).healthy
    assert inside.names == ["info", "info", "exec", "exec-status", "exec", "exec-status"]
    assert inside.asked[-1]["arguments"] == {"pid": 8}


def test_a_program_that_never_ends_is_not_started_twice(waited: Waited) -> None:
    inside = Inside(guest_info=[EXECUTION], guest_exec=[{"pid": 7}], guest_exec_status=[RUNNING, SILENT, RUNNING])
    found = waited(COMMAND, inside)
    assert (found.healthy, found.seen, found.seconds) == (False, "/bin/check was still running", 10.0)
    assert inside.names.count("exec") == 1


def test_how_the_last_run_ended_is_told_when_another_is_under_way(waited: Waited) -> None:
    inside = Inside(guest_info=[EXECUTION], guest_exec=[{"pid": 7}], guest_exec_status=[FAILED, RUNNING])
    assert waited(COMMAND, inside).seen == "/bin/check was still running, after /bin/check ended with exit code 2"


def test_an_agent_that_runs_no_programs_is_told_at_once(waited: Waited) -> None:
    inside = Inside(guest_info=[NO_EXECUTION])
    found = waited(COMMAND, inside)
    assert (found.healthy, found.seconds, inside.names) == (False, 0.0, ["info"])
    assert found.seen.startswith("guest-exec and guest-exec-status not available")


@pytest.mark.parametrize("answer", [None, [], {"supported_commands": 7}, {"supported_commands": [{}]}])
def test_an_agent_that_answers_nonsense_is_not_believed(waited: Waited, answer: Any) -> None:
    found = waited(COMMAND, Inside(guest_info=[answer]))
    assert (found.healthy, found.seconds) == (False, 10.0)
    assert "its answer cannot be read" in found.seen


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_port_that_accepts(waited: Waited, port: int) -> None:
    found = waited(Condition("tcp", 5, (), port, "127.0.0.1"), Inside())
    assert (found.healthy, found.seen) == (True, f"TCP port {port} of 127.0.0.1 accepted a connection")


def test_a_port_that_nobody_serves(waited: Waited) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = int(server.getsockname()[1])
    found = waited(Condition("tcp", 5, (), free, "127.0.0.1"), Inside())
    assert (found.healthy, found.seconds) == (False, 5.0)
    assert found.seen == f"TCP port {free} accepted no connection (127.0.0.1: Connection refused)"


def test_a_guest_whose_addresses_nobody_knows(waited: Waited) -> None:
    inside = Inside(guest_network_get_interfaces=[[{"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1"}]}]])
    found = waited(Condition("tcp", 5, (), 22), inside)
    assert (found.healthy, found.seconds) == (False, 5.0)
    assert found.seen.startswith("no address of it is known")


def test_the_addresses_that_the_agent_tells_are_tried(waited: Waited, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, int]] = []

    def refusal(address: str, port: int) -> str | None:
        tried.append((address, port))
        return None if address == "192.0.2.8" else "Connection refused"

    monkeypatch.setattr(health_watch, "_refusal", refusal)
    nics = [{"name": "eth0", "ip-addresses": [{"ip-address": "192.0.2.7"}, {"ip-address": "192.0.2.8"}]}, {"name": "x"}]
    assert waited(Condition("tcp", 5, (), 22), Inside(guest_network_get_interfaces=[nics])).healthy
    assert tried == [("192.0.2.7", 22), ("192.0.2.8", 22)]


def test_an_agent_that_tells_of_a_thousand_addresses_keeps_nobody_waiting(
    waited: Waited, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def refusal(address: str, _port: int) -> str:
        tried.append(address)
        return "no answer"

    monkeypatch.setattr(health_watch, "_refusal", refusal)
    nics = [{"ip-addresses": [{"ip-address": f"192.0.{n // 250}.{n % 250}"} for n in range(1, 1000)]}]
    assert not waited(Condition("tcp", 1, (), 22), Inside(guest_network_get_interfaces=[nics] * 9)).healthy
    assert len(set(tried)) == MOST_ADDRESSES


def test_a_lease_of_libvirt_is_tried_where_there_is_no_agent(
    guests: Guests, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = guests.add("g", running=False)
    nic = "<interface type='network'><source network='default'/></interface></devices>"
    xml = guests.domain(uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    guests.connection.defineXML(xml.replace("</devices>", nic)).create()
    tried: list[str] = []
    monkeypatch.setattr(health_watch, "_refusal", lambda address, _port: tried.append(address))
    assert wait_healthy(uuid, Condition("tcp", 5, (), 22), connect=guests.connect, clock=time.clock).healthy
    (address,) = tried
    assert address.startswith("192.168.")


def test_addresses_that_others_cannot_reach_are_left_out() -> None:
    others = ["127.0.0.1", "::1", "fe80::1", "169.254.3.4", "0.0.0.0", "224.0.0.1", "no address"]
    assert reachable([*others, "192.0.2.1", "192.0.2.1", "2001:db8::1"]) == ["192.0.2.1", "2001:db8::1"]


def test_a_daemon_that_comes_back_is_asked_again(guests: Guests, time: Time) -> None:
    uuid = guests.add("g")
    tries: list[int] = []

    def flaky() -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise LibvirtUnavailableError("Failed to connect")
        return guests.connect()

    assert wait_healthy(uuid, Condition(), connect=flaky, clock=time.clock).healthy
    assert len(tries) == 3


def test_a_guest_that_is_gone(guests: Guests, time: Time) -> None:
    uuid = guests.add("g")
    guests.domain(uuid).destroy()
    guests.domain(uuid).undefine()
    found = wait_healthy(uuid, Condition("agent"), connect=guests.connect, clock=time.clock)
    assert (found.healthy, found.seen) == (False, "it is not defined on this host any more")
