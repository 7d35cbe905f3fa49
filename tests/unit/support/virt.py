# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's own test driver with guests of ours, and agents that behave as qemu-ga does (the driver has none)."""

from __future__ import annotations

import threading
import uuid as uuids
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import libvirt

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    AGENT_UNRESPONSIVE,
    OPERATION_INVALID,
    Agent,
    Host,
    LibvirtError,
    connect,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import AgentState, GuestXml

URI = "test:///default"
OTHER_ERROR = 1

XML = """<domain type='test'>
  <name>{name}</name><uuid>{uuid}</uuid>
  <metadata>
    <l:libosinfo xmlns:l='http://libosinfo.org/xmlns/libvirt/domain/1.0'><l:os id='{os}'/></l:libosinfo>
  </metadata>
  <memory>1024</memory><os><type>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='{cache}'/><source file='/{name}.img'/><target dev='vda' bus='virtio'/>
    </disk>
  </devices>
</domain>"""


@dataclass
class Inside:
    """What goes on inside one guest, and how its agent is to misbehave, call by call.

    ``freezes`` and ``thaws`` hold for each coming call ``ok``, ``error`` (refused, nothing done), ``disabled`` (the
    same, as switched off), ``lost`` (done, but the answer is lost), ``silent`` (nothing done, no answer) or ``nothing``
    (no file system was touched). ``bursts`` are raised by these calls once it was frozen, as by code that nobody
    thought of; ``burst_at_once`` before, too.
    """

    channel: AgentState = "connected"
    filesystems: int = 2
    frozen: bool = False
    silent: bool = False
    status_fails: int = 0
    freezes: list[str] = field(default_factory=list)
    thaws: list[str] = field(default_factory=list)
    mounts: Optional[tuple[FileSystem, ...]] = None
    mounts_fail: bool = False
    asked_for: list[list[str]] = field(default_factory=list)
    on_freeze: Optional[Callable[[], None]] = None
    journal: list[str] = field(default_factory=list)
    bursts: dict[str, BaseException] = field(default_factory=dict)
    burst_at_once: bool = False
    was_frozen: bool = False

    def burst(self, call: str) -> None:
        """Raise what this call is to raise, if anything."""
        if call in self.bursts and (self.was_frozen or self.burst_at_once):
            raise self.bursts[call]


class Guests:
    """Guests of the test driver that go with the test, each with its agent."""

    def __init__(self) -> None:
        self.connection = libvirt.open(URI)
        self.inside: dict[str, Inside] = {}
        self._made: list[str] = []
        self._lock = threading.Lock()

    def add(
        self, name: str, *, running: bool = True, cache: str = "none", os: str = "", agent: Optional[Inside] = None
    ) -> str:
        """Define a guest and return its uuid."""
        uuid = str(uuids.uuid4())
        domain = self.connection.defineXML(XML.format(name=name, uuid=uuid, cache=cache, os=os))
        self._made.append(uuid)
        self.inside[uuid] = agent or Inside(channel="none")
        if running:
            domain.create()
        return uuid

    def domain(self, uuid: str) -> Any:
        """Return the guest's domain."""
        return self.connection.lookupByUUIDString(uuid)

    def state(self, uuid: str) -> tuple[int, int]:
        """Return libvirt's state and reason."""
        state, reason = self.domain(uuid).state()[:2]
        return state, reason

    def connect(self) -> Host:
        """Open another connection to the same driver."""
        return connect(URI, retry_count=0, agent=self.agent)

    def agent(self, domain: Any, name: str) -> Agent:
        """Return the agent of a guest."""
        return FakeAgent(domain, name, self.inside.get(domain.UUIDString(), Inside(channel="none")))

    def close(self) -> None:
        """Remove what was made."""
        for uuid in self._made:
            try:
                domain = self.domain(uuid)
            except libvirt.libvirtError:
                continue
            if domain.isActive():
                domain.destroy()
            if domain.isPersistent():
                domain.undefine()
        self.connection.close()


class FakeAgent(Agent):
    """The agent of one guest. As with libvirt, nothing is sent to it while the guest does not run."""

    def __init__(self, domain: Any, guest: str, inside: Inside) -> None:
        super().__init__(domain, guest)
        self.inside = inside

    def channel(self, definition: GuestXml) -> AgentState:
        return self.inside.channel if self._domain.isActive() else definition.agent

    def limit(self, seconds: int) -> None:
        assert seconds > 0
        self.inside.journal.append("limit")
        super().limit(seconds)

    def ping(self, timeout: int) -> None:
        assert timeout > 0
        self._must_run()
        self.inside.journal.append("ping")
        self.inside.burst("ping")
        if self.inside.silent:
            raise _error("the guest agent is not responding", AGENT_UNRESPONSIVE)

    def status(self, timeout: int) -> Any:
        assert timeout > 0
        self._must_run()
        self.inside.journal.append("status")
        self.inside.burst("status")
        if self.inside.status_fails:
            self.inside.status_fails -= 1
            raise _error("the guest agent is not responding", AGENT_UNRESPONSIVE)
        return "frozen" if self.inside.frozen else "thawed"

    def filesystems(self) -> tuple[FileSystem, ...]:
        self._must_run()
        self.inside.journal.append("filesystems")
        if self.inside.mounts_fail:
            raise _error("the command guest-get-fsinfo has been disabled", OTHER_ERROR)
        if self.inside.mounts is not None:
            return self.inside.mounts
        return tuple(FileSystem(f"/{at}", f"vda{at}", "ext4", ("vda",)) for at in range(self.inside.filesystems))

    def freeze(self, mountpoints: Sequence[str] = ()) -> int:
        self.inside.journal.append("freeze")
        self.inside.asked_for.append(list(mountpoints))
        if self.inside.on_freeze:
            self.inside.on_freeze()
        self._must_run()
        if self.inside.frozen:
            raise _error("The command guest-fsfreeze-freeze has been disabled for this instance", OTHER_ERROR)
        fate = self.inside.freezes.pop(0) if self.inside.freezes else "ok"
        _refuse(fate)
        if fate == "nothing":
            return 0
        assert super().freeze() > 0
        self.inside.frozen = self.inside.was_frozen = True
        self.inside.burst("freeze")
        if fate == "lost":
            raise _error("the guest agent is not responding", AGENT_UNRESPONSIVE)
        return self.inside.filesystems

    def thaw(self) -> int:
        self._must_run()
        self.inside.journal.append("thaw")
        self.inside.burst("thaw")
        fate = self.inside.thaws.pop(0) if self.inside.thaws else "ok"
        _refuse(fate)
        super().thaw()
        count = self.inside.filesystems if self.inside.frozen else 0
        self.inside.frozen = False
        if fate == "lost":
            raise _error("the guest agent is not responding", AGENT_UNRESPONSIVE)
        return count

    def _must_run(self) -> None:
        if self._domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
            raise _error("domain is not running", OPERATION_INVALID)


def _refuse(fate: str) -> None:
    if fate == "disabled":
        raise _error("Command guest-fsfreeze-freeze has been disabled", OTHER_ERROR)
    if fate == "error":
        raise _error("the agent said no", OTHER_ERROR)
    if fate == "silent":
        raise _error("the guest agent is not responding", AGENT_UNRESPONSIVE)


def _error(message: str, code: int) -> LibvirtError:
    return LibvirtError(f"Failed: {message}", libvirt_code=code)
