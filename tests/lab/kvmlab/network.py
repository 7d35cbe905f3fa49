# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network: a namespace with the switches and one with the array's ports, none with a leg in the root one."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .places import Places
from .process import run, signal_all, wait_until
from .topology import FABRICS, MANAGEMENT, NAMES, PORTALS, Fabric, Portal

NAMESPACES = Path("/run/netns")
READY = "network.ready"
CLONE_NEWNET = 0x40000000
UNSPLIT = ("tso", "off", "gso", "off", "gro", "off", "tx", "off")


def inside(namespace: str, argv: Sequence[object]) -> list[str]:
    """Return the command that runs ``argv`` in a network namespace."""
    return ["nsenter", f"--net={NAMESPACES / namespace}", *(str(word) for word in argv)]


def connect(namespace: str, address: tuple[str, int], *, timeout: float) -> socket.socket:
    """Return a TCP connection made in a network namespace; only a thread of its own enters it, and ends there."""

    def connected() -> socket.socket:
        with (NAMESPACES / namespace).open("rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)
        return socket.create_connection(address, timeout=timeout)

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(connected).result()


@dataclass(frozen=True)
class Network:
    """Both namespaces of one lab."""

    places: Places

    @property
    def namespaces(self) -> tuple[str, str]:
        return (self.places.net_namespace, self.places.nas_namespace)

    @property
    def exists(self) -> bool:
        """True when any of the two namespaces is there."""
        return any((NAMESPACES / namespace).exists() for namespace in self.namespaces)

    @property
    def is_up(self) -> bool:
        """True when both namespaces are the ones that a complete ``up`` left."""
        try:
            return (self.places.run / READY).read_text() == self._identity()
        except FileNotFoundError:
            return False

    def up(self) -> None:
        """Build switches, cables and ports; leftovers of an unfinished attempt are removed first."""
        self.down()
        net, nas = self.namespaces
        for namespace in self.namespaces:
            run(["ip", "netns", "add", namespace])
            run(["ip", "-n", namespace, "link", "set", "lo", "up"])
        for fabric in FABRICS:
            _plug(fabric, net, nas)
        self.places.run.mkdir(parents=True, exist_ok=True)
        (self.places.run / READY).write_text(self._identity())

    def down(self) -> None:
        """Remove both namespaces with all that is in them, processes included: nothing but the lab's can be there."""
        (self.places.run / READY).unlink(missing_ok=True)
        for namespace in self.namespaces:
            if (NAMESPACES / namespace).exists():
                _empty(namespace)
                run(["ip", "netns", "delete", namespace])

    def set_portal(self, portal: Portal, *, up: bool) -> None:
        """Let a portal's address answer or not, as when its LIF goes down; connections to it are not told."""
        listed = run(["ip", "-n", self.namespaces[1], "-brief", "address"]).stdout
        there = f"{portal.address}/24" in listed.split()
        if there != up:
            port = _fabric(portal.fabric).array_port
            words = ["address", "add" if up else "delete", f"{portal.address}/24", "dev", port]
            run(["ip", "-n", self.namespaces[1], *words])

    def set_link(self, fabric: str, *, up: bool) -> None:
        """Plug or unplug the array on a fabric: data, REST and all; the KVM host stays reachable."""
        run(["ip", "-n", self.namespaces[0], "link", "set", _fabric(fabric).array_plug, "up" if up else "down"])

    def set_management(self, *, up: bool) -> None:
        """Let the KVM host be reached and reach the management LIFs, or neither; NFS and iSCSI go on."""
        net, nas = self.namespaces
        fabric = FABRICS[0]
        for namespace, sources in ((net, [fabric.switch]), (nas, [NAMES[name] for name in MANAGEMENT])):
            known = run(["ip", "-n", namespace, "rule", "list"]).stdout
            for source in sources:
                if (f"from {source} to {fabric.host} blackhole" in known) == up:
                    words = ["delete" if up else "add", "from", source, "to", fabric.host, "blackhole"]
                    run(["ip", "-n", namespace, "rule", *words])

    def heal(self) -> None:
        """Undo what `set_portal`, `set_link` and `set_management` took away."""
        self.set_management(up=True)
        for portal in PORTALS:
            self.set_link(portal.fabric, up=True)
            self.set_portal(portal, up=True)

    def processes(self) -> list[int]:
        """Return the pids inside the two namespaces."""
        return [pid for namespace in self.namespaces for pid in _pids(namespace)]

    def _identity(self) -> str:
        numbers = [(NAMESPACES / namespace).stat() for namespace in self.namespaces]
        return " ".join(f"{number.st_dev}:{number.st_ino}" for number in numbers)


def _fabric(name: str) -> Fabric:
    return next(fabric for fabric in FABRICS if fabric.name == name)


def _plug(fabric: Fabric, net: str, nas: str) -> None:
    in_net, in_nas = ["ip", "-n", net], ["ip", "-n", nas]
    run([*in_net, "link", "add", fabric.bridge, "type", "bridge", "forward_delay", "0"])
    run([*in_net, "address", "add", f"{fabric.switch}/24", "dev", fabric.bridge])
    run([*in_net, "link", "set", fabric.bridge, "up"])
    run([*in_net, "link", "add", fabric.array_plug, "type", "veth", "peer", "name", fabric.array_port, "netns", nas])
    run(inside(net, ["ip", "tuntap", "add", fabric.tap, "mode", "tap"]))
    for port in (fabric.array_plug, fabric.tap):
        run([*in_net, "link", "set", port, "master", fabric.bridge, "up"])
    run(inside(net, ["ethtool", "-K", fabric.array_plug, *UNSPLIT]))
    run(inside(nas, ["ethtool", "-K", fabric.array_port, *UNSPLIT]))
    for address in fabric.array:
        run([*in_nas, "address", "add", f"{address}/24", "dev", fabric.array_port])
    run([*in_nas, "link", "set", fabric.array_port, "up"])


def _pids(namespace: str) -> list[int]:
    if not (NAMESPACES / namespace).exists():
        return []
    said = run(["ip", "netns", "pids", namespace], check=False)
    if said.returncode != 0:
        raise LabError(f"Failed to list the processes of {namespace}: {said.stderr.strip()}")
    return [int(word) for word in said.stdout.split()]


def _empty(namespace: str) -> None:
    def emptied() -> bool:
        left = _pids(namespace)
        signal_all(left, signal.SIGKILL)
        return not left

    wait_until(emptied, seconds=10, what=f"{namespace} without processes")
