# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter that sets one top-level key in the text of a YAML file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._yaml_text import set_key


def set_yaml_key(text: str, key: str, value: Any) -> str:
    """Return the text with the key set; raise AnsibleFilterError when that is not safe."""
    try:
        return set_key(str(text), str(key), value)
    except KvmsnapError as exc:
        raise AnsibleFilterError(exc.message) from exc


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"set_yaml_key": set_yaml_key}
