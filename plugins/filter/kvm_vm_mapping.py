# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""KVM_VM_MAPPING between the plug-in's one-line string and a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import format_mapping, parse_mapping
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._untrusted import untrusted


def to_list(mapping: Any) -> list[dict[str, str]]:
    """Return the mapping, in either form, as a list of ``{guest, controller, path}``."""
    try:
        entries: list[dict[str, str]] = untrusted([entry.as_dict() for entry in parse_mapping(mapping)])
        return entries
    except InputError as exc:
        raise AnsibleFilterError(exc.message) from exc


def to_string(mapping: Any) -> str:
    """Return the mapping, in either form, as the one-line string."""
    try:
        text: str = untrusted(format_mapping(parse_mapping(mapping)))
        return text
    except InputError as exc:
        raise AnsibleFilterError(exc.message) from exc


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[[Any], Any]]:
        """Return them by name."""
        return {"kvm_vm_mapping_to_list": to_list, "kvm_vm_mapping_to_string": to_string}
