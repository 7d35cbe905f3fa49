# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the attributes of the modules mean."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the attributes; a module says how far it supports each."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and tell what it would change without changing anything.
  diff_mode:
    description: Tells in diff mode what was changed, or in C(check_mode) what would be.
"""

    ACTIONGROUP_ONTAP = r"""
options: {}
attributes:
  action_group:
    description: Its connection options can be set once for all modules of the group, by C(module_defaults).
    support: full
    membership:
      - kvmsnap.ontap.ontap
"""
