# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public names that changed. Whoever uses an old one gets a sentence with the new one; docs/upgrade.md has all of them.

Names of results and problem codes are in that page alone, since nobody hands them to the collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

GUIDE = "docs/upgrade.md"
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "kvm_app_restore": {
        "undo": "state: undone or restored",
        "other_hosts_off": "disks_unused_elsewhere",
        "cluster_off": "unmanaged_guests",
    },
    "kvm_leftovers": {"settle": "grace_period"},
}
"""The new name of each old option, by module."""
VARIABLES: Mapping[str, str] = {
    "kvm_hold_dir": "gone: hold records and the locks on guests lie in /run/kvmsnap on every host",
    "kvm_restore_undo": "kvm_restore_state: undone or restored",
    "kvm_restore_other_hosts_off": "kvm_restore_disks_unused_elsewhere",
    "kvm_restore_cluster_off": "kvm_restore_unmanaged_guests",
    "kvm_recover_settle": "kvm_recover_grace_period",
}
"""The new name of each old variable of the roles."""


def sentences(names: Iterable[object], new_names: Mapping[str, str]) -> list[str]:
    """Return one sentence for each of the names that is an old one."""
    old = sorted(name for name in names if isinstance(name, str) and name in new_names)
    return [f"{name} is now {new_names[name]} ({GUIDE})" for name in old]
