# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that hold guests, or must keep away from guests that are held."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``hold_dir``; AGENT has how long agents are waited for, DEADLINE how long a hold lasts."""

    DOCUMENTATION = r"""
options:
  hold_dir:
    description:
      - Directory of the hold records on the KVM host. Give the default, or the same to all modules of a host. With two
        directories they do not see each other's holds and locks, and the roles use the default.
      - The locks on guests lie beside it, in C(guests). A guest that a backup, a hold or another process of this
        collection works on is refused.
    type: path
    default: /run/kvmsnap/holds
"""

    AGENT = r"""
options:
  freeze_timeout:
    description: Seconds that an agent has for answering a freeze or a thaw.
    type: int
    default: 20
  agent_ping_timeout:
    description: Seconds that an agent has for answering a question. An agent that is silent is not asked to freeze.
    type: int
    default: 5
"""

    DEADLINE = r"""
options:
  hold_deadline:
    description:
      - Seconds that the hold may last, from the first freeze on. At that moment all guests are released, and a snapshot
        that is not known to exist by then fails the backup. At most 600.
    type: float
    default: 30
  vss_hold_deadline:
    description:
      - Seconds that a Windows guest is held, from the answer of its freeze on, and any other guest with an agent that
        does not say what it is. VSS thaws by itself after ten.
      - When not all snapshots exist by then, that guest is released and its level falls. The others are held on.
    type: float
    default: 8
  hold_margin:
    description: Seconds after O(hold_deadline) at which the dead-man timer fires, at most 60.
    type: float
    default: 0.5
  unquiesce_timeout:
    description: Seconds, as C(SC_AGENT_UNQUIESCE_TIMEOUT). It shortens O(hold_deadline) and never prolongs it.
    type: float
"""
