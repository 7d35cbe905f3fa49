# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's KVM host set up to come back by itself after a loss of power: storage, libvirt, and its guests."""

from __future__ import annotations

from collections.abc import Sequence

from kvmlab import topology
from kvmlab.errors import LabError
from kvmlab.lab import Lab
from kvmlab.process import wait_until

from .lab_restore import GUESTS_OPTIONS

BOOT_SECONDS = 600
SERVICES = ("iscsid", "open-iscsi", "multipathd", "libvirtd", "libvirt-guests")
LISTED = "/var/lib/libvirt/libvirt-guests"


class PowerCut:
    """Takes the host's power and gives it back; what the host was set up to do at its boot ends with its root."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def prepare(self) -> None:
        """Let the host mount its volumes, log in to its portals and start libvirt and its guests when it boots."""
        self.lab.ssh(
            "sed -i 's/,hard,noauto/,hard,_netdev,x-systemd.mount-timeout=600/' /etc/fstab"
            " && iscsiadm -m node -o update -n node.startup -v automatic"
            f" && systemctl unmask --quiet libvirt-guests && systemctl enable --quiet {' '.join(SERVICES)}"
            f" && echo ON_BOOT=start >> {GUESTS_OPTIONS} && systemctl daemon-reload && sync",
            timeout=600,
        )

    def list_for_boot(self, guests: Sequence[str]) -> None:
        """Let libvirt-guests start these guests at the next boot, as those that ran when the host went down."""
        uuids = [self.lab.virsh("domuuid", guest).strip() for guest in guests]
        self.lab.ssh(f"echo default {' '.join(uuids)} > {LISTED} && sync {LISTED}")

    def cut(self) -> None:
        """Take the power: nothing is written any more, nobody says goodbye."""
        self.lab.host.power_off()

    def boot(self) -> None:
        """Give the power back, and return when the host has done all that it does at its boot."""
        self.lab.host.power_on()
        wait_until(self.lab.host.answers, seconds=BOOT_SECONDS, what="the host's answer", pause=1.0)
        wait_until(self._has_booted, seconds=BOOT_SECONDS, what="the end of the host's boot", pause=1.0)

    def _has_booted(self) -> bool:
        """Say whether no job of the boot waits or runs any more; a host without its mounts has not booted."""
        mounts = " && ".join(f"mountpoint -q {mount.directory}" for mount in topology.MOUNTS)
        asked = f"systemctl list-jobs --no-legend | wc -l; {mounts} && echo mounted || true"
        try:
            return self.lab.ssh(asked, timeout=60).split() == ["0", "mounted"]
        except LabError:
            return False
