# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second KVM host on the first one's system: a libvirtd and an SSH server in mount and UTS namespaces of their own.

It has guests, a catalog, holds and a dead-man timer (without systemd) of its own. It shares kernel, clock, addresses,
NFS mounts and multipath devices with the first: two hosts that see the same storage.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .domain import Disk, GuestSpec
from .guests import Guests
from .host import Host
from .inventory import host_entry
from .lab import Lab
from .process import wait_until

NAME = "hv2"
PORT = 2222
UNIT = f"kvmlab-{NAME}"
SCRIPT = Path(__file__).parent / "files" / "second.sh"
UP_SECONDS = 180


@dataclass(frozen=True)
class SecondHost:
    """The second KVM host of a lab; it ends with the first."""

    lab: Lab

    HANG_UP: ClassVar[str] = (
        "sh -c 'for pid in $(pgrep -x sshd); do"
        " [ $(readlink /proc/$pid/ns/uts) != $(readlink /proc/self/ns/uts) ] || kill -STOP $pid; done'"
    )
    """What makes its SSH server stop answering, said on the host itself: the connections hang."""

    @property
    def host(self) -> Host:
        """How it is reached."""
        return Host(self.lab.places, self.lab.sessions, self.lab.images, name=NAME, port=PORT)

    @property
    def guests(self) -> Guests:
        """Its guests."""
        return Guests(self.host, self.lab.places, self.lab.san)

    @property
    def inventory_entry(self) -> dict[str, Any]:
        """Its variables in an inventory."""
        return host_entry(self.host)

    def up(self) -> None:
        """Start it afresh."""
        self.down()
        script = f"/run/{UNIT}.sh"
        begin = ["systemd-run", "--quiet", "--collect", "--unit", UNIT, "--property", "Delegate=yes"]
        own = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", script, NAME, str(PORT)]
        self.lab.ssh(f"cat > {script} && {shlex.join([*begin, *own])}", stdin=SCRIPT.read_text(encoding="utf-8"))
        wait_until(self.host.answers, seconds=UP_SECONDS, what=f"{NAME} up")
        wait_until(self._has_libvirt, seconds=UP_SECONDS, what=f"libvirtd of {NAME} up")

    def down(self) -> None:
        """End it at once, with its guests; what it wrote goes too."""
        self.host.close_ssh()
        self.lab.ssh(
            f"systemctl stop {UNIT} 2> /dev/null; systemctl reset-failed {UNIT} 2> /dev/null; rm -rf /run/{NAME}"
        )

    def add_guest(self, name: str, disks: Sequence[Disk], **options: Any) -> GuestSpec:
        """Make, define and start a guest and wait until it is ready."""
        spec = GuestSpec(name, disks, **options)
        self.guests.add(spec)
        return spec

    def ssh(self, command: str, *, timeout: float = 60) -> str:
        """Run a shell command there."""
        return self.host.ssh(command, timeout=timeout)

    def virsh(self, *words: str) -> str:
        """Run virsh there."""
        return self.host.virsh(*words)

    def answer_again(self) -> None:
        """Let its SSH server answer again."""
        self.lab.ssh("pkill -CONT -x sshd")

    def _has_libvirt(self) -> bool:
        return self.host.ssh("virsh -q list > /dev/null 2>&1 && echo yes || true") != ""
