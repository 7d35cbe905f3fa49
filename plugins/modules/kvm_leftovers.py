#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: put right what a crash left on a KVM host and on ONTAP."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_leftovers
short_description: Put right what crashed backups and restores left
version_added: 0.1.0
description:
  - Finds on a KVM host what a run left that died half-way, and puts it right. Guests that a dead hold froze or
    suspended are released, and its dead-man timer and lock removed; backups that were started and never completed are
    taken back with their snapshots; files that were never finished are removed. So are temporary LUNs of this host's
    restores that broke off, and copies that M(kvmsnap.ontap.kvm_vm_clone) never made or removed to the end. What
    restores kept from before them is removed once it is old enough (O(safety_days)).
  - Nothing is touched that is not provably ours, and nothing that may belong to a run that is alive. A hold is alive
    while a process has its lock or its deadline has not passed. A started backup may be alive for O(grace_period)
    seconds, unless the host was booted since.
  - Frozen guests that no hold of this host explains, records and manifests that cannot be read, snapshots without a
    manifest, temporary LUNs of other hosts, and restores that broke off are reported only; RV(leftovers[].message) says
    what to do.
  - The host comes first and does not wait for the array. With an empty list of O(controllers) only the host is looked
    at, not the backups.
  - Check mode with diff shows it all and touches nothing. A second run changes nothing.
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.ontap
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.catalog
  - kvmsnap.ontap.hold
  - kvmsnap.ontap.hold.agent
  - kvmsnap.ontap.libvirt
  - kvmsnap.ontap.retry
options:
  state:
    description: V(absent) puts right what was left.
    type: str
    choices: [absent]
    default: absent
  owner:
    description:
      - Whose snapshots count as this host's, by convention the inventory name of the KVM host. Only those whose comment
        begins with C(kvmsnap/) and this name are ever touched.
    type: str
    required: true
  volumes:
    description:
      - Volumes to look at beside those in the catalog, as RV(kvmsnap.ontap.kvm_vm_discover#module:volumes).
      - Without them snapshots are not seen on volumes that no manifest names.
    type: list
    elements: dict
    default: []
  orphans:
    description:
      - What to do with snapshots that a backup of O(owner) made and that no manifest in O(catalog_dir) knows.
      - V(keep) reports them. They are what is left of every backup when a catalog was lost.
      - V(absent) removes them.
    type: str
    choices: [keep, absent]
    default: keep
  safety_days:
    description:
      - Days for which what a restore kept from before it stays after that restore has ended. V(0) keeps it for ever.
      - After that the restore's safety snapshots are removed, and the files and managed-save images that it set aside.
        It cannot be undone any more then, and an undo says why. Its journal stays, so that the same name still changes
        nothing.
      - A restore that broke off keeps all of it, and so do those whose place it took and those it undoes. A snapshot
        that is busy, locked or has an expiry time to come stays, and all that belongs to it.
      - Safety snapshots as old that no journal in O(catalog_dir) knows are subject to O(orphans).
    type: int
    default: 30
  grace_period:
    description:
      - Seconds for which a backup that was started and not completed, and a hold without guests, may belong to a run
        that is alive. For as long, the array may still make what a killed run asked for a copy.
      - V(0) says that no run is alive. Then what is dated in the future counts as a leftover, too. Otherwise it stays,
        since its age is not known after a clock was set back.
    type: float
    default: 3600
  hold_dir:
    description: Directory of the hold records; the locks on guests lie beside it.
  freeze_timeout:
    description: Seconds that an agent has for answering a thaw.
  agent_ping_timeout:
    description: Seconds that an agent has for answering a question.
  timeout:
    description: Seconds that each step on ONTAP may take.
    type: int
    default: 300
  uri:
    description: The libvirt connection.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
requirements:
  - libvirt's Python binding, with the QEMU part (C(python3-libvirt))
seealso:
  - module: kvmsnap.ontap.kvm_vm_quiesce
  - module: kvmsnap.ontap.kvm_backup_info
  - module: kvmsnap.ontap.kvm_vm_clone
"""

EXAMPLES = r"""
- name: Put right what a crash left
  kvmsnap.ontap.kvm_leftovers:
    owner: "{{ inventory_hostname }}"
    controllers: "{{ kvm_controllers }}"

- name: Only release guests that a dead hold left frozen or suspended
  kvmsnap.ontap.kvm_leftovers:
    owner: "{{ inventory_hostname }}"
    controllers: []
"""

RETURN = r"""
leftovers:
  description: What was found, also when the module fails because not everything could be put right.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(hold), V(guest), V(file), V(restore), V(safety), V(backup), V(snapshot), V(lun) or V(clone).
      returned: success
      type: str
      sample: hold
    name:
      description: What it is called.
      returned: success
      type: str
      sample: hv1-daily_20261121020000
    message:
      description: What was found.
      returned: success
      type: str
      sample: it outlived its deadline and still holds web1
    action:
      description: What was done, or would be; None for what is left alone.
      returned: success
      type: str
      sample: released
    error:
      description: Why it could not be put right.
      returned: success
      type: str
summary:
  description: The same in lines for people.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import controllers_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import CATALOG, HOLD, HOLD_AGENT, LIBVIRT, RETRY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery import run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    return {
        "controllers": controllers_argument(),
        "state": {"type": "str", "choices": ["absent"], "default": "absent"},
        "owner": {"type": "str", "required": True},
        "volumes": {"type": "list", "elements": "dict", "default": []},
        "orphans": {"type": "str", "choices": ["keep", "absent"], "default": "keep"},
        "safety_days": {"type": "int", "default": 30},
        "grace_period": {"type": "float", "default": run.GRACE_PERIOD},
        **CATALOG,
        **HOLD,
        **HOLD_AGENT,
        **RETRY,
        "timeout": {"type": "int", "default": 300},
        **LIBVIRT,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        request = run.RecoveryRequest.from_options(module.params)
        module.exit_json(**presentable(run.recover(request, check=module.check_mode)))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
