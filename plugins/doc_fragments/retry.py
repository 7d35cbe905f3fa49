# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option of modules whose calls to ONTAP and libvirt may fail and be run again."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``retry_count``."""

    DOCUMENTATION = r"""
options:
  retry_count:
    description: How often a failed call that may be repeated safely is run again.
    type: int
    default: 3
"""
