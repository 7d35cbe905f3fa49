# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that define guests out of backups which another host's run wrote."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``allowed_networks`` and ``allowed_paths``."""

    DOCUMENTATION = r"""
options:
  allowed_networks:
    description:
      - The networks of libvirt and the bridges of this host that a guest may use when another host's run wrote its
        backup, or when the backup was read out of snapshots. The definition of such a guest is foreign. The module
        refuses whatever else of this host it names.
      - Left empty, these are the networks that libvirt knows on this host, and no bridge.
      - V(user) stands for interfaces in user mode, through which a guest reaches what this host reaches, services on
        its loopback included; they are refused unless it is named.
    type: list
    elements: str
    default: []
  allowed_paths:
    description:
      - Files of this host that the foreign definition of such a guest may name as kernel, initrd, or as what a serial
        port or console writes to. QEMU reads and writes them; name what you know.
    type: list
    elements: str
    default: []
"""
