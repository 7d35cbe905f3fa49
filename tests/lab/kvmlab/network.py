# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network: a namespace with the switches and one with the array's ports, none with a leg in the root one."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .places import Places
from .process import run, signal_all, wait_until
from .topology import FABRICS, Fabric

NAMESPACES = Path("/run/netns")
READY = "network.ready"
UNSPLIT = ("tso", "off", "gso", "off", "gro", "off", "tx", "off")


def inside(namespace: str, argv: Sequence[object]) -> list[str]:
    """Return the command that runs ``argv`` in a network namespace."""
    return ["nsenter", f"--net={NAMESPACES / namespace}", *(str(word) for word in argv)]


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

    def processes(self) -> list[int]:
        """Return the pids inside the two namespaces."""
        return [pid for namespace in self.namespaces for pid in _pids(namespace)]

    def _identity(self) -> str:
        numbers = [(NAMESPACES / namespace).stat() for namespace in self.namespaces]
        return " ".join(f"{number.st_dev}:{number.st_ino}" for number in numbers)


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
