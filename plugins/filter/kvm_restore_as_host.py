# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter that tells on which host a guest is brought back alongside the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import parse_vm_list
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.assignment import defined_by, host_of_copy
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._untrusted import untrusted


def kvm_restore_as_host(wanted: Any, defined: Mapping[str, Any], host: str = "") -> str:
    """Return the host that gets the guest; raise AnsibleFilterError when the hosts do not tell."""
    try:
        found: str = untrusted(host_of_copy(parse_vm_list(wanted), defined_by(defined), host))
        return found
    except KvmsnapError as exc:
        raise AnsibleFilterError(exc.message) from exc


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"kvm_restore_as_host": kvm_restore_as_host}
