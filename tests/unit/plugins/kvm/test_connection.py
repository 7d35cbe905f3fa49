# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to libvirt, on its own test driver and on daemons that do not answer."""

from __future__ import annotations

import builtins
import socket
import time
from pathlib import Path
from typing import Any

import libvirt
import pytest
from virt import URI, XML, Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import connection
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Agent,
    DomainState,
    LibvirtError,
    LibvirtMissingError,
    LibvirtUnavailableError,
    connect,
)


def test_no_daemon(tmp_path: Path) -> None:
    uri = f"qemu+unix:///system?socket={tmp_path}/none"
    with pytest.raises(LibvirtUnavailableError, match=r"Failed to connect to libvirt at .*No such file") as caught:
        connect(uri, retry_count=0)
    assert caught.value.code == libvirt.VIR_ERR_SYSTEM_ERROR


def test_a_connection_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    real = libvirt.open

    def flaky(uri: str) -> Any:
        tries.append(uri)
        return real(URI if len(tries) == 3 else f"qemu+unix:///system?socket={tmp_path}/none")

    monkeypatch.setattr(libvirt, "open", flaky)
    connect("any", retry_count=2).close()
    assert len(tries) == 3


def test_a_daemon_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "socket"))
        silent.listen(8)
        began = time.monotonic()
        with pytest.raises(LibvirtUnavailableError, match=r"no answer within 0\.5 s"):
            connect(f"qemu+unix:///system?socket={tmp_path}/socket", retry_count=3, timeout=0.5)
        assert time.monotonic() - began < 3


def test_without_the_python_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "libvirt":
            raise ImportError("No module named 'libvirt'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LibvirtMissingError, match="install libvirt's Python binding") as caught:
        connect(URI)
    assert caught.value.fields["library"] == "libvirt-python"
    assert "Traceback" in caught.value.fields["exception"]


def test_states(guests: Guests) -> None:
    uuid = guests.add("g")
    host = guests.connect()
    domain = host.domain(uuid=uuid)
    assert domain is not None
    raw = guests.domain(uuid)
    assert domain.state() == DomainState("running", "booted", raw.ID())
    domain.suspend()
    assert domain.state() == DomainState("paused", "user", raw.ID())
    domain.resume()
    assert domain.state().reason == "unpaused"
    raw.destroy()
    assert domain.state() == DomainState("shutoff", "destroyed", None)
    assert not domain.state().active
    raw.create()
    assert domain.state() == DomainState("running", "booted", guests.domain(uuid).ID())
    assert domain.persistent()
    assert not domain.autostart()
    domain.set_autostart(True)
    assert domain.autostart()
    domain.set_autostart(False)
    assert not domain.busy()
    assert not domain.block_job("vda")
    assert not domain.autostart()
    assert not domain.managed_save()
    host.close()


def test_every_state_and_reason_of_libvirt_has_its_word() -> None:
    names = ("NOSTATE", "RUNNING", "BLOCKED", "PAUSED", "SHUTDOWN", "SHUTOFF", "CRASHED", "PMSUSPENDED")
    assert [getattr(libvirt, f"VIR_DOMAIN_{name}") for name in names] == sorted(connection._STATES)
    for name in ("RUNNING", "PAUSED", "SHUTOFF", "CRASHED"):
        reasons = connection._STATES[getattr(libvirt, f"VIR_DOMAIN_{name}")][1]
        known = [value for key, value in vars(libvirt).items() if key.startswith(f"VIR_DOMAIN_{name}_")]
        assert max(known) < len(reasons)
    assert connection._STATES[libvirt.VIR_DOMAIN_PAUSED][1][libvirt.VIR_DOMAIN_PAUSED_USER] == "user"
    assert connection._STATES[libvirt.VIR_DOMAIN_PAUSED][1][libvirt.VIR_DOMAIN_PAUSED_IOERROR] == "I/O error"
    assert connection._STATES[libvirt.VIR_DOMAIN_SHUTOFF][1][libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN] == "shutdown"
    assert connection._STATES[libvirt.VIR_DOMAIN_SHUTOFF][1][libvirt.VIR_DOMAIN_SHUTOFF_SAVED] == "saved"
    assert connection.NO_DOMAIN == libvirt.VIR_ERR_NO_DOMAIN
    assert connection.NO_SUPPORT == libvirt.VIR_ERR_NO_SUPPORT
    assert connection.AGENT_UNRESPONSIVE == libvirt.VIR_ERR_AGENT_UNRESPONSIVE


def test_look_up(guests: Guests) -> None:
    uuid = guests.add("g")
    host = guests.connect()
    by_name = host.domain(name="g")
    assert by_name is not None
    assert by_name.uuid == uuid
    assert host.domain(name="nobody") is None
    assert host.domain(uuid="00000000-0000-0000-0000-000000000000") is None
    with pytest.raises(LibvirtError, match="Failed to look up guest no-uuid"):
        host.domain(uuid="no-uuid")
    assert [domain.name for domain in host.domains()] == ["g", "test"]
    assert host.alive
    host.close()


def test_a_failure_says_what_of_which_guest(guests: Guests) -> None:
    uuid = guests.add("g", running=False)
    host = guests.connect()
    domain = host.domain(uuid=uuid)
    assert domain is not None
    with pytest.raises(LibvirtError, match="Failed to suspend guest g: ") as caught:
        domain.suspend()
    assert caught.value.fields["guest"] == "g"
    assert isinstance(caught.value.code, int)
    host.close()


def test_pool_volumes(guests: Guests) -> None:
    pool = guests.connection.storagePoolLookupByName("default-pool")
    pool.createXML("<volume><name>v.img</name><capacity>4096</capacity></volume>")
    host = guests.connect()
    found = host.pool_volume("default-pool", "v.img")
    assert (found.kind, found.path) == ("file", "/default-pool/v.img")
    with pytest.raises(LibvirtError, match="Failed to find volume nothing of storage pool default-pool"):
        host.pool_volume("default-pool", "nothing")
    with pytest.raises(LibvirtError):
        host.pool_volume("no-pool", "v.img")
    pool.storageVolLookupByName("v.img").delete()
    host.close()


def test_agent_calls_of_the_driver(guests: Guests) -> None:
    """Freeze and thaw are libvirt's own; the response time is bounded where the driver can."""
    uuid = guests.add("g")
    agent = Agent(guests.domain(uuid), "g")
    agent.limit(5)
    assert agent.freeze() > 0
    assert agent.freeze() == 0
    assert agent.thaw() > 0
    guests.domain(uuid).destroy()
    with pytest.raises(LibvirtError, match="Failed to freeze guest g: "):
        agent.freeze()
    with pytest.raises(LibvirtError, match="Failed to thaw guest g: "):
        agent.thaw()


@pytest.mark.parametrize(
    ("reply", "status"), [('{"return":"frozen"}', "frozen"), ('{"return":"thawed"}', "thawed"), ('{"return":7}', None)]
)
def test_agent_commands(guests: Guests, monkeypatch: pytest.MonkeyPatch, reply: str, status: str | None) -> None:
    """The test driver has no agent commands: only the one function that sends them is stood in for."""
    import libvirt_qemu

    sent: list[tuple[str, int]] = []

    def send(_domain: Any, command: str, timeout: int, _flags: int) -> str:
        sent.append((command, timeout))
        return '{"return":{}}' if "ping" in command else reply

    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", send)
    agent = Agent(guests.domain(guests.add("g")), "g")
    agent.ping(3)
    if status is None:
        with pytest.raises(LibvirtError, match="the agent said 7"):
            agent.status(4)
    else:
        assert agent.status(4) == status
    assert sent == [('{"execute": "guest-ping"}', 3), ('{"execute": "guest-fsfreeze-status"}', 4)]


def test_agent_commands_that_the_driver_lacks(guests: Guests) -> None:
    agent = Agent(guests.domain(guests.add("g")), "g")
    with pytest.raises(LibvirtError, match="Failed to ask the agent of guest g") as caught:
        agent.ping(1)
    assert caught.value.fields["guest"] == "g"


def test_a_guest_is_defined_and_forgotten(guests: Guests) -> None:
    host = guests.connect()
    xml = XML.format(name="new", uuid="77777777-7777-4777-8777-777777777777", cache="none", os="")
    domain = host.define(xml)
    assert (domain.name, domain.persistent(), domain.autostart(), domain.state().active) == ("new", True, False, False)
    domain.undefine()
    assert host.domain(name="new") is None
    with pytest.raises(LibvirtError, match="define a guest on"):
        host.define("<domain/>")


def test_an_older_libvirt_is_asked_to_forget_less(guests: Guests) -> None:
    asked: list[int] = []

    class Older:
        """A guest's handle that knows no flag above 16."""

        def __init__(self, uuid: str) -> None:
            self._domain = guests.domain(uuid)

        def undefineFlags(self, flags: int) -> None:  # noqa: N802 - libvirt's name
            asked.append(flags)
            if flags > 31:
                _unsupported()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._domain, name)

    def _unsupported() -> None:
        error = libvirt.libvirtError("unsupported flags (0x20)")
        error.err = (8, 10, "unsupported flags (0x20)", 2, "", None, None, 0, 0)
        raise error

    connection.Domain(Older(guests.add("g", running=False))).undefine()
    assert asked == [libvirt.VIR_DOMAIN_UNDEFINE_TPM + 16 + 7, 16 + 7]
    asked.clear()
    connection.Domain(Older(guests.add("h", running=False))).undefine(with_state=False)
    kept = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM + 16 + 3
    assert asked == [libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM + kept, kept]


def test_what_the_host_offers(guests: Guests) -> None:
    host = guests.connect()
    assert "<capabilities>" in host.capabilities()
    assert host.domain_capabilities(emulator=None, arch="no such", machine=None, kind="no such") is None
    assert host.networks() == ["default"]
    assert host.pools() == ["default-pool"]
    assert host.secrets() == []
    found = host.network("default")
    assert found is not None
    assert found.active
    assert "<name>default</name>" in found.xml
    assert host.network("nowhere") is None
