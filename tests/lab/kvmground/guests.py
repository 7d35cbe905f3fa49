# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests of the private host, and what they are doing, asked over connections that no module uses.

Three flavours: `add_still` (a boot sector that waits; 16 MiB; to be suspended), `add_linux` (the lab's own guest with
qemu-ga), and `add_relayed` (the same kernel, whose agent channel leads to a `StandInAgent` of the test).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Optional

from kvmlab.domain import DiskSpec, GuestSpec, domain_xml
from kvmlab.errors import LabError
from kvmlab.evidence import Tick, needs_recovery, storage_ticks
from kvmlab.guests import PING, make_image
from kvmlab.process import wait_until

from . import relay
from .stand_in import StandInAgent

if TYPE_CHECKING:
    from .ground import Ground

READY_SECONDS = 120
STARTED_AT_ONCE = 4
# sti; hlt; jump back to the hlt: a machine that runs and does nothing.
WAITING = b"\xfb\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"
_STATES = ("no state", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")


@dataclass(frozen=True)
class GuestState:
    """What a guest is doing: libvirt's state, its reason's number, and the domain id of this run."""

    state: str
    reason: int
    domain_id: int


class GroundGuests:
    """The guests of one private host."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._connection: Any = None
        self._agents: dict[str, StandInAgent] = {}

    def add_still(self, name: str, *volumes: str, running: bool = True) -> None:
        """Define and start a guest without an operating system, with a disk of 1 MiB on each of the volumes."""
        disks = []
        for volume in volumes or ("kvm_vol1",):
            place = self.disk(name, volume)
            image = self._ground.seen(place)
            image.write_bytes(WAITING.ljust(1024 * 1024, b"\0"))
            disks.append(DiskSpec(str(place)))
        self._define(still_xml(name, disks), running=running)

    def add_linux(self, name: str, *volumes: str, agent: bool = True, wait: bool = True, memory_mib: int = 96) -> None:
        """Make and start a guest of the lab: it writes ticks to a disk on each of the volumes, at most two."""
        spec = GuestSpec(name, self._images(name, volumes), agent=agent, memory_mib=memory_mib)
        self._define(domain_xml(spec, assets=PurePosixPath(self._ground.guest_image)))
        if wait:
            self.wait_ready(name)

    def add_relayed(self, name: str, *volumes: str, os: str = "linux", wait: bool = True) -> StandInAgent:
        """Make and start a guest whose agent is returned: how it answers is up to the test."""
        agent = StandInAgent(self._ground.host / "agents" / f"{name}.sock", windows=os == "windows")
        agent.start()
        self._agents[name] = agent
        assets = relay.assets(self._ground.guest_image, self._ground.host / "relay")
        channel = relay.channel(agent.path)
        spec = GuestSpec(name, self._images(name, volumes), extra_devices=(channel,))
        self._define(relay.as_os(domain_xml(spec, assets=PurePosixPath(assets)), os))
        if wait:
            self.wait_ready(name)
        return agent

    def agent(self, name: str) -> StandInAgent:
        """Return the stand-in agent of a relayed guest."""
        return self._agents[name]

    def stand_ins(self) -> list[str]:
        """Return the names of the guests whose agents are stand-ins."""
        return sorted(self._agents)

    def stands_in(self, name: str) -> bool:
        """Whether a guest's agent is a stand-in."""
        return name in self._agents

    def wait_ready(self, *names: str) -> None:
        """Return when the agents of these guests answer."""
        for name in names:
            ready = partial(self._answers, name)
            wait_until(ready, seconds=READY_SECONDS, what=f"the agent of {name}", pause=0.2)

    def in_parallel(self, makers: Sequence[Any]) -> None:
        """Call the makers (functions without arguments), a few at a time."""
        with ThreadPoolExecutor(STARTED_AT_ONCE) as pool:
            for done in [pool.submit(maker) for maker in makers]:
                done.result()

    def remove(self, name: str) -> None:
        """End a guest at once and forget it; its images go too."""
        domain = self.domain(name)
        if domain.isActive():
            domain.destroy()
        domain.undefine()
        agent = self._agents.pop(name, None)
        if agent is not None:
            agent.stop()
        for volume in self._ground.volume_names:
            self._ground.seen(self.disk(name, volume)).unlink(missing_ok=True)

    def disk(self, name: str, volume: str) -> Path:
        """Return the path of a guest's image, as the private host sees it."""
        return self._ground.volume(volume) / f"{name}.img"

    def image(self, name: str, volume: str, *, snapshot: Optional[str] = None) -> Path:
        """Return a guest's image, live or in a snapshot, as anybody on the machine can open it."""
        root = self._ground.volume(volume)
        place = root / ".snapshot" / snapshot if snapshot else root
        return self._ground.seen(place / f"{name}.img")

    def needs_recovery(self, name: str, volume: str, *, snapshot: Optional[str] = None) -> bool:
        """True when the image's file system was neither unmounted nor frozen when its bytes were written."""
        return needs_recovery(self.image(name, volume, snapshot=snapshot))

    def ticks(self, name: str, volume: str, *, snapshot: Optional[str] = None) -> list[Tick]:
        """Return the ticks that an image holds."""
        return storage_ticks(self.image(name, volume, snapshot=snapshot))

    def names(self) -> list[str]:
        """Return the names of all guests."""
        return sorted(domain.name() for domain in self.connection.listAllDomains())

    def state(self, name: str) -> GuestState:
        """Return what a guest is doing now."""
        domain = self.domain(name)
        state, reason = domain.state()
        return GuestState(_STATES[state], reason, domain.ID())

    def frozen(self, name: str) -> bool:
        """Whether the guest's file systems are frozen: what its agent says, or a stand-in knows."""
        if name in self._agents:
            return self._agents[name].frozen
        return bool(self.ask(name, "guest-fsfreeze-status") == "frozen")

    def held(self, name: str) -> bool:
        """Whether a guest stands still: paused, or frozen. A guest that is off does not."""
        state = self.state(name).state
        if state == "paused":
            return True
        return state == "running" and (name in self._agents or self._has_agent(name)) and self.frozen(name)

    def ask(self, name: str, command: str, timeout: int = 5, **arguments: Any) -> Any:
        """Send a command to a guest's agent and return its answer."""
        import libvirt_qemu

        words = {"execute": command, **({"arguments": arguments} if arguments else {})}
        said = libvirt_qemu.qemuAgentCommand(self.domain(name), json.dumps(words), timeout, 0)
        return json.loads(said)["return"]

    def domain(self, name: str) -> Any:
        """Return libvirt's own object of a guest."""
        import libvirt

        try:
            return self.connection.lookupByName(name)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                raise LabError(f"there is no guest {name} on the private host") from exc
            self._connection = None
            return self.connection.lookupByName(name)

    @property
    def connection(self) -> Any:
        """A connection of the test's own, opened again when libvirtd was restarted."""
        import libvirt

        # What libvirt has to say stands in the exceptions.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        if self._connection is None or not self._connection.isAlive():
            deadline = time.monotonic() + 20
            while True:
                try:
                    self._connection = libvirt.open(self._ground.uri)
                    break
                except libvirt.libvirtError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
        return self._connection

    def disconnect(self) -> None:
        """End the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """End the connection and the stand-in agents."""
        for agent in self._agents.values():
            agent.stop()
        self._agents.clear()
        self.disconnect()

    def _define(self, xml: str, *, running: bool = True) -> None:
        domain = self.connection.defineXML(xml)
        if running:
            domain.create()

    def _images(self, name: str, volumes: Sequence[str]) -> list[DiskSpec]:
        disks = [DiskSpec(str(self.disk(name, volume))) for volume in volumes or ("kvm_vol1",)]
        for disk in disks:
            make_image(disk, self._ground.seen(Path(disk.path)))
        return disks

    def _has_agent(self, name: str) -> bool:
        return "org.qemu.guest_agent.0" in self.domain(name).XMLDesc()

    def _answers(self, name: str) -> bool:
        import libvirt
        import libvirt_qemu

        try:
            libvirt_qemu.qemuAgentCommand(self.domain(name), PING, 3, 0)
        except libvirt.libvirtError:
            return False
        return True


def still_xml(name: str, disks: Sequence[DiskSpec]) -> str:
    """Return the definition of a guest without an operating system, on files or block devices."""
    spec = GuestSpec(name, disks, agent=False)
    kinds = [("block", "dev") if disk.path.startswith("/dev/") else ("file", "file") for disk in disks]
    found = "".join(
        f"<disk type='{kinds[number][0]}' device='disk'><driver name='qemu' type='raw' cache='none'/>"
        f"<source {kinds[number][1]}='{disk.path}'/><target dev='vd{chr(ord('a') + number)}' bus='virtio'/></disk>"
        for number, disk in enumerate(disks)
    )
    return f"""<domain type='qemu'>
  <name>{name}</name>
  <uuid>{spec.uuid}</uuid>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {found}
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""
