# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that ask libvirt about guests."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``uri``; with the part FILES that of ``config_dir``."""

    DOCUMENTATION = r"""
options:
  uri:
    description: URI of libvirt on the KVM host.
    type: str
    default: qemu:///system
"""

    FILES = r"""
options:
  config_dir:
    description: Directory of the guests' XML files on the KVM host.
    type: path
    default: /etc/libvirt/qemu
"""
