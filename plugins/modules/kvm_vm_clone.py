#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: make an isolated copy of a KVM guest out of a backup, and take it away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_clone
short_description: Make an isolated copy of a KVM guest out of a backup
version_added: 0.1.0
description:
  - Makes a copy of a guest alongside the original, as it was in a backup that P(kvmsnap.ontap.kvm_backup#role) made.
    Each disk is a clone of its own on the array, out of the snapshot; the original and its disks stay as they are and
    may run.
  - The copy has a new UUID, new MAC addresses, and no network or interfaces on an isolated one, unless it is to have
    those of the original. What could collide with
    the original or reach out of the copy is renewed or left out, and RV(notes) tells of each.
  - Everything that a copy consists of is written down on the host before it is made, and its definition carries a mark;
    O(state=absent) removes what carries the mark and was written down, also after a run that was killed half-way, and
    nothing else.
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.ontap
  - kvmsnap.ontap.imported_backup
  - kvmsnap.ontap.manifest_key
  - kvmsnap.ontap.manifest_key.trust
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.catalog
  - kvmsnap.ontap.foreign_definition
  - kvmsnap.ontap.hold
  - kvmsnap.ontap.libvirt
  - kvmsnap.ontap.retry
options:
  state:
    description: Whether the copy is to be there.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the copy. It may hold letters, digits and C(. _ + -).
    type: str
    required: true
  guest:
    description:
      - The guest of the backup to copy, by name or UUID. It need not exist any more.
      - With O(state=absent) a copy of another guest is refused; left out, any is removed that fits the other options.
    type: str
  backup_id:
    description:
      - The backup to copy from; V(latest) is the newest that holds the guest and has all its snapshots. A copy that is
        there already is that of its own backup.
      - One that is named and not in the catalog is looked for in its snapshots, as M(kvmsnap.ontap.kvm_app_restore)
        does. The copy has new UEFI variables and a new TPM then, when the catalog alone had the old ones.
      - With O(state=absent) a copy from another backup is refused; V(latest) fits any.
    type: str
    default: latest
  owner:
    description: On whose behalf the copy is made. A copy of another owner is never touched.
    type: str
    default: kvmsnap
  network:
    description:
      - A network of libvirt to put all interfaces of the copy on. It must be active and isolated (no C(<forward>)).
      - Left out, O(interfaces) has its say.
    type: str
  interfaces:
    description:
      - What becomes of the interfaces where no O(network) is named. V(none) leaves them out. V(original) keeps those on
        networks and bridges of this host, with new MAC addresses, so that the copy is on the network as its original
        is, with the host name and the addresses that its disks give it.
    type: str
    choices: [none, original]
    default: none
  running:
    description: Whether the copy is started. V(false) leaves a copy that is there in the state that it is in.
    type: bool
    default: false
  method:
    description:
      - How the array makes the files, as with M(kvmsnap.ontap.kvm_app_restore). V(auto) tries V(file_clone),
        V(sfsr_cli) and V(copy), and goes to the next only when the array refuses the way as such.
    type: str
    choices: [auto, file_clone, sfsr_cli, sfsr, copy]
    default: auto
  start_timeout:
    description: Seconds that the copy may take to be running.
    type: int
    default: 120
  timeout:
    description: Seconds that ONTAP may take for one file, and for all that is asked before the first one.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Look into web1 as it was last night, without a network
  kvmsnap.ontap.kvm_vm_clone:
    name: web1-look
    guest: web1
    running: true
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem

- name: Bring web1 back under another name, on the networks it had
  kvmsnap.ontap.kvm_vm_clone:
    name: web1-old
    guest: web1
    backup_id: hv1-daily_20261121020000
    interfaces: original
    running: true
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem

- name: Take it away again
  kvmsnap.ontap.kvm_vm_clone:
    name: web1-look
    state: absent
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem
"""

RETURN = r"""
clone:
  description: The copy that is there, or would be in check mode; null when there is none.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the copy.
      type: str
    uuid:
      description: UUID of the copy; in check mode of one that is not made yet, an example.
      type: str
    owner:
      description: On whose behalf it was made.
      type: str
    backup_id:
      description: The backup that it was made from.
      type: str
    guest:
      description: Name of the guest in the backup.
      type: str
    guest_uuid:
      description: UUID of the guest in the backup.
      type: str
    created:
      description: When it was made, in UTC.
      type: str
    network:
      description: The network that was named for its interfaces, null for none.
      type: str
    interfaces:
      description: What became of its interfaces where no network was named, V(none) or V(original).
      type: str
    state:
      description: What it is doing, a word of M(kvmsnap.ontap.kvm_vm_discover), or V(absent) before it is made.
      type: str
    disks:
      description: Its disks, each with its name in the guest and its place on the host and on the array.
      type: list
      elements: dict
      contains:
        target:
          description: Name of the disk in the guest.
          type: str
        path:
          description: The file on the host.
          type: str
        storage:
          description: The file on the array.
          type: str
          sample: "svm1:/vol/kvm_vol1/kvmsnap-clone-0d5a9c1e-6b0f-4f4e-9d0a-6c0a4b8c2f11-vda.img"
leased:
  description:
    - Whether a lease keeps the backup from being deleted while it is read. It is false, with a warning, where the
      backup belongs to another host, and no lease in that host's catalog is known.
  returned: when a copy is made
  type: bool
disks:
  description: The files that this run made, with the way that each came and what was compared with the snapshot.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: Name of the disk in the guest.
      type: str
    path:
      description: The file on the array.
      type: str
    host_path:
      description: The file on the host.
      type: str
    method:
      description: The way, one of O(method).
      type: str
    verified:
      description: What was compared.
      type: str
notes:
  description: What the copy lacks of the original or has anew, when it was made by this run.
  returned: success
  type: list
  elements: str
  sample: ["it has no network: 1 interface(s) are left out"]
problems:
  description: Why the copy was refused, each with its code and remedy.
  returned: when it was refused
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.imported_backup import backup_from_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import trust_arguments
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import (
    controllers_argument,
    method_argument,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import CATALOG, HOLD, LIBVIRT, RETRY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import (
    FOREIGN_DEFINITION,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    return {
        "controllers": controllers_argument(),
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "name": {"type": "str", "required": True},
        "guest": {"type": "str"},
        "backup_id": {"type": "str", "default": "latest"},
        "backup_from": backup_from_argument(),
        **trust_arguments(),
        "owner": {"type": "str", "default": "kvmsnap"},
        "network": {"type": "str"},
        "interfaces": {"type": "str", "choices": ["none", "original"], "default": "none"},
        **FOREIGN_DEFINITION,
        "running": {"type": "bool", "default": False},
        "method": method_argument(),
        "start_timeout": {"type": "int", "default": 120},
        **CATALOG,
        **HOLD,
        **LIBVIRT,
        **RETRY,
        "timeout": {"type": "int", "default": 600},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=argument_spec(), required_if=[("state", "present", ["guest"])], supports_check_mode=True
    )
    try:
        request = run.CloneRequest.from_options(module.params)
        module.exit_json(**presentable(run.run(request, check=module.check_mode)))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
