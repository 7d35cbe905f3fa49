#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: keep a backup from being deleted while another host reads it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_backup_lease
short_description: Keep a backup from being deleted while another host reads it
version_added: 0.1.0
description:
  - Writes a lease on a backup into the catalog of the host that the task runs on. While it lasts no module of this
    collection deletes the backup's snapshots with that catalog.
  - A restore or copy on the host that owns the backup takes its own lease. One on another host cannot; the roles
    P(kvmsnap.ontap.kvm_restore#role) and P(kvmsnap.ontap.kvm_clone#role) call this module on the owner's host for it
    (C(kvm_restore_catalog_host), C(kvm_clone_catalog_host)), before they read and after they have read.
  - A lease ends when it is removed, or at its time. A backup that is being deleted gets none.
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.catalog
options:
  state:
    description: V(present) writes a lease, or renews the one that O(lease_id) names; V(absent) removes it.
    type: str
    choices: [present, absent]
    default: present
  backup_id:
    description: Name of the backup. With O(state=present) it must be in the catalog.
    type: str
    required: true
  lease_id:
    description: The lease, as RV(lease_id) named it. Needed with O(state=absent).
    type: str
  purpose:
    description: What the backup is read for. Needed with O(state=present).
    type: str
    choices: [restore, clone]
  identity:
    description: Which restore or copy reads it, for the message of whoever wants to delete it.
    type: str
    default: ""
  reader:
    description: Host on which it is read. Needed with O(state=present).
    type: str
  seconds:
    description:
      - After so many seconds the lease ends by itself, at most 604800 (a week). It has to outlast the reader, since
        nobody renews it while that runs.
    type: int
    default: 86400
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: A lease is no state of a guest or backup.
seealso:
  - module: kvmsnap.ontap.kvm_app_restore
  - module: kvmsnap.ontap.kvm_vm_clone
"""

EXAMPLES = r"""
- name: Keep hv1 from deleting a backup while this host reads it
  kvmsnap.ontap.kvm_backup_lease:
    backup_id: hv1-daily_20261121020000
    purpose: clone
    identity: web1-drill
    reader: "{{ inventory_hostname }}"
  delegate_to: hv1
  register: kept

- name: Let hv1 delete it again
  kvmsnap.ontap.kvm_backup_lease:
    state: absent
    backup_id: hv1-daily_20261121020000
    lease_id: "{{ kept.lease_id }}"
  delegate_to: hv1
"""

RETURN = r"""
lease_id:
  description: Name of the lease.
  returned: success
  type: str
  sample: 5f0c2f1d9a7b3e46
ends:
  description: When it ends by itself, ISO 8601, on this host's clock.
  returned: with O(state=present)
  type: str
  sample: "2026-11-22T02:00:00+00:00"
owner:
  description: Whose backup it is, as its manifest says.
  returned: with O(state=present)
  type: str
  sample: hv1
owned:
  description:
    - Whether this catalog is the one that the backup is deleted with. It is not where the backup was brought in from
      another host's catalog or out of snapshots.
  returned: with O(state=present)
  type: bool
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import backup_lease
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import CATALOG
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    return {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "backup_id": {"type": "str", "required": True},
        "lease_id": {"type": "str"},
        "purpose": {"type": "str", "choices": ["restore", "clone"]},
        "identity": {"type": "str", "default": ""},
        "reader": {"type": "str"},
        "seconds": {"type": "int", "default": 86400},
        **CATALOG,
    }


def main() -> None:
    """Run the module."""
    needed = [("state", "present", ["purpose", "reader"]), ("state", "absent", ["lease_id"])]
    module = AnsibleModule(argument_spec=argument_spec(), required_if=needed, supports_check_mode=True)
    try:
        request = backup_lease.LeaseRequest.from_options(module.params)
        module.exit_json(**presentable(backup_lease.run(request, check=module.check_mode)))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
