# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian packages that the lab needs on the machine itself.

None of them brings a service: NFS server, rpcbind, libvirt and the rest are only unpacked into the lab's images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .process import run
from .progress import step

NEEDED = (
    "busybox-static", "e2fsprogs", "ethtool", "iproute2", "mmdebstrap", "openssh-client", "qemu-system-x86",
    "qemu-utils", "util-linux", "xfsprogs",
)  # fmt: skip
LOCK = ("-o", "DPkg::Lock::Timeout=300")
LISTS = Path("/var/lib/apt/lists")


def missing(needed: Sequence[str] = NEEDED) -> list[str]:
    """Return the packages that are not installed."""
    said = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *needed], check=False)
    installed = {line.split()[0] for line in said.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in needed if package not in installed]


def install(needed: Sequence[str] = NEEDED) -> None:
    """Install what is missing, without recommendations and without questions."""
    wanted = missing(needed)
    if not wanted:
        return
    with step(f"installing {', '.join(wanted)}"):
        env = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
        if not list(LISTS.glob("*_Packages*")):
            run(["apt-get", "-qq", *LOCK, "update"], timeout=400, env=env)
        run(["apt-get", "-qq", "-y", *LOCK, "install", "--no-install-recommends", *wanted], timeout=900, env=env)
