# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter that gives each guest of a restore to the one host that defines it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import parse_vm_list
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.assignment import assign, assign_into, defined_by
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._untrusted import untrusted


def kvm_restore_assignment(
    wanted: Any, defined: Mapping[str, Any], home: str = "", into: str = ""
) -> dict[str, list[str]]:
    """Return host -> guests to restore there; raise AnsibleFilterError when a guest is not on exactly one host."""
    try:
        names, hosts = parse_vm_list(wanted), defined_by(defined)
        shares = assign_into(names, hosts, into) if into else assign(names, hosts, home)
        found: dict[str, list[str]] = untrusted(shares)
        return found
    except KvmsnapError as exc:
        raise AnsibleFilterError(exc.message) from exc


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"kvm_restore_assignment": kvm_restore_assignment}
