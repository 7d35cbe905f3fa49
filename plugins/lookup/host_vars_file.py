# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup of the file that keeps a host's own variable."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_vars_file
author: The kvmsnap.ontap authors (@kvmsnap)
version_added: 0.1.0
short_description: Find the file that keeps a host's own variable
description:
  - Looks below a C(host_vars) directory of the control node for the file that holds a variable of a host, or that it
    should go to, by the rules Ansible itself reads these files with. A directory C(host_vars/<host>) comes before
    C(host_vars/<host>.yml), that before C(.yaml) and C(.json).
  - In a directory the file that has the variable is taken, else C(main.yml). Files that are encrypted with Ansible
    Vault are never decrypted.
  - A file in which the variable's value has a template in it is refused, unless the text has the tag C(!unsafe).
options:
  _terms:
    description: The names of variables.
    type: list
    elements: str
    required: true
  directory:
    description:
      - The C(host_vars) directory. It need not exist.
      - Left out or empty, it is the one beside the inventory source that the host comes from. The inventory of AWX and
        a host that comes from no file have none.
    type: str
    default: ""
  host:
    description: The name of the host in the inventory.
    type: str
    required: true
seealso:
  - plugin: kvmsnap.ontap.set_yaml_key
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show where the mapping is kept
  ansible.builtin.debug:
    msg: "{{ (lookup('kvmsnap.ontap.host_vars_file', 'kvm_vm_mapping', host=inventory_hostname)).path }}"
"""

RETURN = r"""
_raw:
  description: One dictionary per variable.
  type: list
  elements: dict
  contains:
    path:
      description: The file, which may not exist yet.
      type: str
    text:
      description: Its text, an empty string when it does not exist.
      type: str
    mode:
      description: Its mode as an octal string, or the one for a new file.
      type: str
    value:
      description: The value that the file holds, null without one.
      type: raw
"""

from pathlib import Path
from typing import Any, Optional

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._host_vars import HostVarsFile, find_file, inventory_home


class LookupModule(LookupBase):  # type: ignore[misc]
    """What Ansible loads."""

    def run(self, terms: list[str], variables: Optional[dict[str, Any]] = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return one dictionary per variable."""
        self.set_options(var_options=variables, direct=kwargs)
        directory, host = str(self.get_option("directory") or ""), str(self.get_option("host"))
        try:
            home = Path(directory).expanduser() if directory else inventory_home(variables or {})
            return [_as_dict(find_file(home, host=host, key=str(term))) for term in terms]
        except KvmsnapError as exc:
            raise AnsibleLookupError(exc.message) from exc


def _as_dict(found: HostVarsFile) -> dict[str, Any]:
    return {"path": str(found.path), "text": found.text, "mode": found.mode, "value": found.value}
