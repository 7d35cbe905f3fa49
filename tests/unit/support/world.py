# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the world looks like from outside: the array, the guests, the files of the host. Two looks can be compared."""

from __future__ import annotations

import time
from typing import Any

STAMP = time.strftime("%Y%m%d%H%M%S", time.gmtime())
"""One for each run of the tests, for names of backups: a lab that stays up can be tested again."""


def world_of(lab: Any) -> dict[str, Any]:
    """Return snapshots and the files' identities on the array, the guests' states and definitions, our files' content.

    The images of running guests change all the time, and qcow2 ones grow; names, inodes and raw sizes stay. The empty
    files by which runs keep others out stay for ever, and say nothing.
    """
    guests = lab.virsh("list", "--all", "--name").split()
    ours = "find /var/lib/kvmsnap /run/kvmsnap -type f ! -name .lock -exec sha256sum {} + 2> /dev/null || true"
    find = "find /mnt/kvm_vol1 /mnt/kvm_vol2 -path '*/.snapshot' -prune -o -type f"
    volumes = f"{{ {find} -name '*.img' -printf '%p %s %i %m %U\n'; {find} -printf '%p %i %m %U\n'; }} | sort"
    return {
        "snapshots": {(item["svm"], item["name"]): item["snapshots"] for item in lab.control.volumes()},
        "files": lab.ssh(volumes),
        "guests": {guest: lab.virsh("domstate", "--reason", guest) for guest in guests},
        "definitions": {guest: lab.virsh("dumpxml", "--inactive", guest) for guest in guests},
        "ours": lab.ssh(ours),
    }
