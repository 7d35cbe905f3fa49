# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to libvirt, on its own test driver and on daemons that do not answer."""

from __future__ import annotations

import builtins
import socket
import threading
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import libvirt
import pytest
from virt import URI, XML, Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import connection
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import workers as crew_module
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    Agent,
    DomainState,
    LibvirtError,
    LibvirtMissingError,
    LibvirtUnavailableError,
    connect,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import Worker, WorkerPool


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


def test_a_lane_opens_again_when_its_connection_broke(guests: Guests) -> None:
    uuid = guests.add("g")
    opened: list[Any] = []

    def open_one() -> Any:
        opened.append(guests.connect())
        return opened[-1]

    worker = Worker(open_one)
    assert worker.domain(uuid) is not None
    assert worker.domain(uuid) is not None
    assert len(opened) == 1
    opened[0]._connection = _Dead(opened[0]._connection)
    assert worker.domain(uuid) is not None
    assert len(opened) == 2
    worker.close()


def test_a_lane_asks_for_the_state_alone_where_it_knows_the_handle(guests: Guests) -> None:
    uuid, other = guests.add("g"), guests.add("h")
    opened: list[Any] = []

    def open_one() -> Any:
        opened.append(guests.connect())
        return opened[-1]

    worker = Worker(open_one)
    worker.learn([uuid])
    (host,) = opened
    lookups: list[str] = []
    look_up = host.domain
    host.domain = lambda *, uuid: lookups.append(uuid) or look_up(uuid=uuid)
    raw = guests.domain(uuid)
    for change in (raw.suspend, raw.destroy, raw.create):
        change()
        found = worker.seen(uuid)
        assert found is not None
        number = guests.domain(uuid).ID()
        assert (found[0].name, found[1].domain_id) == ("g", number if number >= 0 else None)
    assert lookups == []
    assert worker.seen(other) is not None
    assert worker.seen(other) is not None
    assert lookups == [other]
    raw.destroy()
    raw.undefine()
    assert worker.seen(uuid) is None
    assert worker.seen("77777777-7777-4777-8777-777777777777") is None
    host._connection = _Dead(host._connection)
    assert worker.seen(other) is not None
    assert len(opened) == 2, "a handle of a broken connection is no use"
    worker.close()


class _Dead:
    """A connection whose daemon went away."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def isAlive(self) -> int:  # noqa: N802 - libvirt's name
        return 0

    def close(self) -> None:
        self._real.close()


def test_an_interrupted_crew_lets_what_began_come_to_its_end(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go = threading.Event(), threading.Event()
    done: list[int] = []
    waits: list[Any] = []

    def work(_worker: Worker, number: int) -> None:
        began.set()
        go.wait(30)
        done.append(number)

    def interrupted(futures: Any) -> Any:
        waits.append(futures)
        if len(waits) == 1:
            began.wait(30)
            raise KeyboardInterrupt
        go.set()
        return wait(futures)

    monkeypatch.setattr(crew_module, "wait", interrupted)
    with WorkerPool(guests.connect, size=1) as pool, pytest.raises(KeyboardInterrupt):
        pool.each([1, 2, 3], work)
    assert done == [1]


def test_a_crew_does_all_work_before_it_raises(guests: Guests) -> None:
    uuids = [guests.add(f"g{n}", agent=Inside()) for n in range(5)]
    done: list[str] = []

    def work(worker: Worker, uuid: str) -> str:
        domain = worker.domain(uuid)
        assert domain is not None
        if domain.name == "g1":
            raise LibvirtError("no")
        done.append(domain.name)
        return domain.name

    with WorkerPool(guests.connect, size=3) as pool:
        with pytest.raises(LibvirtError, match="no"):
            pool.each(uuids, work)
        assert sorted(done) == ["g0", "g2", "g3", "g4"]
        assert pool.each(uuids[2:], work) == ["g2", "g3", "g4"]


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
