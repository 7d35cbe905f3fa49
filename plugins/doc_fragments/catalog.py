# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option of every module that reads or writes the catalog of backups."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``catalog_dir``."""

    DOCUMENTATION = r"""
options:
  catalog_dir:
    description: Directory of the catalog on the KVM host.
    type: path
    default: /var/lib/kvmsnap
"""
