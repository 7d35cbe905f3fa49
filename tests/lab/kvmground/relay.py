# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that pass what comes on their agent channel on to a socket of the test, and back.

So the agent is whatever the test wants it to be, and is still inside the guest: a paused guest does not answer.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from xml.sax.saxutils import quoteattr

from kvmlab.process import run

PORT = "kvmground.stand-in"
_WINDOWS = "http://microsoft.com/win/2k22"
_UNKNOWN = "http://example.com/os/1"
_LINUX = "http://debian.org/debian/12"
_INIT = f"""\
#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
while read -r module; do insmod "/lib/modules/$module"; done < /etc/modules
tries=0
until [ -b /dev/vda ] || [ $tries -ge 50 ]; do sleep 0.1; tries=$((tries + 1)); done
for entry in /sys/class/virtio-ports/*; do
    case "$(cat "$entry/name" 2> /dev/null)" in
        org.qemu.guest_agent.0) agent=/dev/${{entry##*/}} ;;
        {PORT}) stand_in=/dev/${{entry##*/}} ;;
    esac
done
exec 3<> "$stand_in" 4<> "$agent"
# A port whose other end is not connected reads as ended: libvirtd may come later, and go and come.
while :; do cat <&4 >&3; sleep 0.1; done &
while :; do cat <&3 >&4; sleep 0.1; done &
echo "guest: ready"
while :; do sleep 3600; done
"""


def channel(socket: Path) -> str:
    """Return the device that leads to the socket of a stand-in agent, to which QEMU connects."""
    source = f"<source mode='connect' path={quoteattr(str(socket))}/>"
    return f"<channel type='unix'>{source}<target type='virtio' name='{PORT}'/></channel>"


def as_os(xml: str, os: str) -> str:
    """Return a definition that says which operating system the guest has (libosinfo), or one that nobody knows."""
    return xml.replace(_LINUX, {"windows": _WINDOWS, "unknown": _UNKNOWN}.get(os, _LINUX))


def assets(guest_image: Path, target: Path) -> Path:
    """Make ``target`` with the guests' kernel and an initramfs whose first process is the relay; return it."""
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "initramfs").exists():
            (target / "tree").mkdir(exist_ok=True)
            (target / "tree" / "init").write_text(_INIT)
            (target / "tree" / "init").chmod(0o755)
            run(["busybox", "cpio", "-o", "-H", "newc", "-F", target / "own"], stdin="init\n", cwd=target / "tree")
            shutil.copy(guest_image / "vmlinuz", target / "vmlinuz")
            # The kernel unpacks one archive after the other; the later file wins.
            whole = (guest_image / "initramfs").read_bytes() + (target / "own").read_bytes()
            (target / "draft").write_bytes(whole)
            (target / "draft").rename(target / "initramfs")
    return target
