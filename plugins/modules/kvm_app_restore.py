#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: restore KVM guests in place from a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_app_restore
short_description: Restore KVM guests on ONTAP from a backup
version_added: 0.1.0
description:
  - Restores guests in place from a backup that P(kvmsnap.ontap.kvm_backup#role) made. Each file or LUN is overwritten
    on the array from the snapshot; nothing else on the volume is touched, and a whole volume is never reverted.
  - A LUN keeps its UUID, serial, maps and reservations, so that the host's multipath device stays valid. A guest may
    have disks of both kinds.
  - Decides first what is overwritten by what and proves that both are what they claim. A guest, disk, LUN, size, format
    or snapshot that does not fit stops the module before anything is touched, with both values named.
  - Leaves the definition of a guest as it is, and shows in the plan what changed in it since the backup.
  - Stops the guests, takes a safety snapshot of their volumes, overwrites the disks, compares them with the snapshot
    past the caches of the host, and starts the guests as they were. A guest's autostart is off from before its first
    disk is overwritten until all its disks are whole again.
  - A managed-save image of a guest is moved aside before its first disk is overwritten. It comes back with the disks
    when they are put back or the restore is undone, and is never resumed over restored disks. Where it cannot be moved
    the restore is refused.
  - UEFI variables and the state of an emulated TPM are restored with the disks, unless O(disks) are named. What was
    there is set aside, and put back when something of the guest fails or the restore is undone.
  - When a disk of a guest fails, the disks of that guest that were touched are put back from the safety snapshot, and
    the guest gets back the power state that it had.
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.ontap
  - kvmsnap.ontap.attributes
options:
  guests:
    description: Guests to restore, by name or UUID. Each must be in the backup and defined on this host.
    type: list
    elements: str
    required: true
  disks:
    description:
      - Disks of the guest to restore, by target (V(vdb)), by their path on the host at the time of the backup, or by
        their place (C(svm:/vol/volume/path)). Left empty, all disks of the backup are restored.
      - Only one guest can be named in O(guests) then. Its other disks stay as they are, so that the guest is a mix of
        two points in time; the plan names them.
      - A restore that goes on under its O(restore_id) keeps to the disks that it was begun for. An undo brings back
        those, and takes no O(disks).
    type: list
    elements: str
    default: []
  backup_id:
    description: The backup to restore from; V(latest) is the newest that holds the guests and has all its snapshots.
    type: str
    default: latest
  restore_id:
    description:
      - Name of this restore. Run again with the same name, it goes on where it broke, and leaves alone what it has
        brought back. A new name is a new decision and restores again.
      - Without a name, a restore of these guests from the same backup that broke off is gone on with; when there is
        none, a new one is begun and called C(restore_<time>).
      - A new restore of a guest whose earlier one broke off takes the place of that one. It brings all disks anew, and
        takes over the guest's state, its autostart and the safety snapshot from before the earlier one. The plan names
        the earlier one, which cannot be gone on with any more.
      - Needed with O(undo).
    type: str
  method:
    description:
      - How the array brings a file back. V(file_clone) clones it out of the snapshot (FlexClone licence), V(sfsr_cli)
        and V(sfsr) are single-file SnapRestore by CLI pass-through and by REST (SnapRestore licence), V(copy) copies on
        the host out of C(.snapshot).
      - For a LUN V(file_clone) is a temporary LUN that is cloned out of the snapshot beside it, cloned over it and
        removed. No host sees the LUNs inside a snapshot, so V(copy) is refused for them.
      - V(auto) tries V(file_clone), V(sfsr_cli) and V(copy), and goes to the next only when the array refuses the way
        as such.
    type: str
    choices: [auto, file_clone, sfsr_cli, sfsr, copy]
    default: auto
  safety_snapshot:
    description:
      - Whether a snapshot C(<prefix>-safety_<time>) of every volume of the guests is taken once they are off and before
        any of their disks is overwritten. The result names it. It stays until M(kvmsnap.ontap.kvm_leftovers) finds it
        old enough.
    type: bool
    default: true
  undo:
    description:
      - Undoes the restore O(restore_id), bringing the disks of the guests back to its safety snapshot. This is a
        restore of its own, called C(<restore_id>.undo), with a safety snapshot of its own.
      - O(backup_id) has no say then.
    type: bool
    default: false
  other_hosts_off:
    description:
      - Says that no guest of another host uses the LUNs of the guests to restore. Without it a restore is refused when
        a LUN is mapped to initiators that are not this host's, or when its maps cannot be read, since a guest may be
        running from it where this host cannot look.
    type: bool
    default: false
  other_hosts:
    description:
      - What the other hosts that may run the guests said, by the name of the host; a list of the UUIDs of the guests
        that are active there, or V(false) for a host that could not be asked.
      - A guest that is active on another host is refused, and so is every guest while a host could not be asked that
        O(hosts_off) does not name.
    type: dict
  hosts_off:
    description: Hosts of O(other_hosts) that could not be asked and are known to be off.
    type: list
    elements: str
    default: []
  power:
    description: State of the guests afterwards.
    type: str
    choices: [as_was, running, "off"]
    default: as_was
  stop:
    description: How a running guest is stopped; V(shutdown) powers it off when it has not obeyed in time.
    type: str
    choices: [shutdown, destroy]
    default: shutdown
  stop_timeout:
    description: Seconds that a guest may take to shut down.
    type: int
    default: 120
  start_timeout:
    description: Seconds that a guest may take to be running.
    type: int
    default: 120
  catalog_dir:
    description: Directory of the catalog on the KVM host.
    type: path
    default: /var/lib/kvmsnap
  config_dir:
    description: Directory of the guests' XML files on the KVM host.
    type: path
    default: /etc/libvirt/qemu
  uri:
    description: URI of libvirt on the KVM host.
    type: str
    default: qemu:///system
  retry_count:
    description: How often a failed call that may be repeated safely is run again.
    type: int
    default: 3
  timeout:
    description: Seconds that ONTAP may take for one disk, and for all that is asked before the first one.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Bring web1 back to the newest backup
  kvmsnap.ontap.kvm_app_restore:
    guests: [web1]
    restore_id: ticket-4711
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem

- name: Bring back its second disk alone
  kvmsnap.ontap.kvm_app_restore:
    guests: [web1]
    disks: [vdb]
    restore_id: ticket-4712
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem

- name: Undo the first restore
  kvmsnap.ontap.kvm_app_restore:
    guests: [web1]
    restore_id: ticket-4711
    undo: true
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem
"""

RETURN = r"""
restore_id:
  description: Name of the restore.
  returned: success
  type: str
backup_id:
  description: The backup that was restored from; of an undo, the safety snapshot.
  returned: success
  type: str
  sample: hv1-daily_20261121020000
plan:
  description: What is overwritten by what, for the guests that this restore had not brought back before.
  returned: success
  type: dict
guests:
  description:
    - What became of each guest, and how each disk was restored and compared. Empty in check mode.
    - A disk's C(notes) name what was left behind, such as a temporary LUN that could not be removed.
    - C(safety) is the snapshot that holds the guest as it was before.
    - C(autostart_off) is true while a guest that starts with its host is kept from it, since it is not brought back.
    - C(files) are the UEFI variables and the TPM's state that were replaced.
  returned: success and when a guest was not brought back
  type: list
  elements: dict
  sample:
    - name: web1
      restored: true
      safety: hv1-safety_20261122020000
      files: [/var/lib/libvirt/qemu/nvram/web1_VARS.fd]
      state_before: running
      state_after: running
      autostart_off: false
      disks:
        - target: vda
          path: svm1:/vol/kvm_vol1/web1.img
          method: file_clone
          verified: size and sampled blocks
          notes: []
summary:
  description: The restore in lines for people.
  returned: success and when a guest was not brought back
  type: list
  elements: str
problems:
  description: Why the restore was refused, each with its code and remedy.
  returned: when it was refused
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import restore_run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import controllers_argument


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    methods = ["auto", "file_clone", "sfsr_cli", "sfsr", "copy"]
    return {
        "controllers": controllers_argument(),
        "guests": {"type": "list", "elements": "str", "required": True},
        "disks": {"type": "list", "elements": "str", "default": []},
        "backup_id": {"type": "str", "default": "latest"},
        "restore_id": {"type": "str"},
        "method": {"type": "str", "choices": methods, "default": "auto"},
        "safety_snapshot": {"type": "bool", "default": True},
        "undo": {"type": "bool", "default": False},
        "other_hosts_off": {"type": "bool", "default": False},
        "other_hosts": {"type": "dict"},
        "hosts_off": {"type": "list", "elements": "str", "default": []},
        "power": {"type": "str", "choices": ["as_was", "running", "off"], "default": "as_was"},
        "stop": {"type": "str", "choices": ["shutdown", "destroy"], "default": "shutdown"},
        "stop_timeout": {"type": "int", "default": 120},
        "start_timeout": {"type": "int", "default": 120},
        "catalog_dir": {"type": "path", "default": "/var/lib/kvmsnap"},
        "config_dir": {"type": "path", "default": "/etc/libvirt/qemu"},
        "uri": {"type": "str", "default": "qemu:///system"},
        "retry_count": {"type": "int", "default": 3},
        "timeout": {"type": "int", "default": 600},
    }


def main() -> None:
    """Run the module."""
    needed = [("undo", True, ["restore_id"])]
    module = AnsibleModule(argument_spec=argument_spec(), required_if=needed, supports_check_mode=True)
    try:
        run = restore_run.undo if module.params["undo"] else restore_run.run
        module.exit_json(**run(module.params, check=module.check_mode))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
