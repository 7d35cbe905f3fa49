# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``AnsibleModule`` that answers an old name of an option with the new one."""

from __future__ import annotations

from typing import Any

from ansible.module_utils import basic

from ansible_collections.kvmsnap.ontap.plugins.module_utils._renames import OPTIONS, sentences


class AnsibleModule(basic.AnsibleModule):  # type: ignore[misc]  # ansible-core has no types
    """What every module of the collection begins with."""

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        """Fail as usual; a message about options that the module does not have says the new names of old ones."""
        checked = getattr(self, "validation_result", None)
        unknown = checked.unsupported_parameters if checked is not None else ()
        new_names = OPTIONS.get(self._name.rpartition(".")[2], {})
        renamed = sentences(unknown, new_names)
        super().fail_json(". ".join([msg.rstrip("."), *renamed]) if renamed else msg, **kwargs)
