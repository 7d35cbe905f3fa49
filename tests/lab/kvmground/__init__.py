# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A KVM host on the machine itself: a private libvirtd beside the ONTAP simulator, without SSH and without NFS.

Guests start in a second and modules run as plain processes, so that many cases can be looked at in a short time. What
the modules take for NFS mounts are directories of the simulator's disk: they are shown a mount table that says so.
"""

from .ground import CONTROLLER, VOLUMES, Ground
from .guests import GroundGuests, GuestState
from .modules import Outcome, Running

__all__ = ["CONTROLLER", "VOLUMES", "Ground", "GroundGuests", "GuestState", "Outcome", "Running"]
