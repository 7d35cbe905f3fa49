#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: back up KVM guests in one process: hold them, take the snapshots, let them go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_backup
short_description: Back up KVM guests with ONTAP snapshots taken while the guests are held
version_added: 0.1.0
description:
  - Makes a backup in one process on the KVM host. All names are resolved, all connections opened and all agents asked
    before the first guest is held. Then all guests are frozen or suspended at once, all snapshots are taken at once,
    and once each of them is known to exist, or one cannot come to exist, all guests are thawed or resumed at once.
    Labels, expiry and manifests come after that.
  - The hold is bounded by O(hold_deadline), whatever ONTAP or an agent does. A dead-man timer on the host, armed before
    the first guest is held, ends it shortly after that when this module cannot.
  - All or nothing. A backup that breaks is taken back after the guests run again, and the message says whether all of
    it was. What could not be taken back stays in the catalog as started; run again with the same O(backup_id) to
    finish the roll-back.
  - A backup of the name that exists stays as it is.
  - A guest whose restore failed part-way through its disks is left out (C(guest-half-restored)), since they are neither
    old nor new, and so is one that another process of this collection works on (C(guest-locked)). The others are saved.
extends_documentation_fragment:
  - kvmsnap.ontap.ontap
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.attributes.actiongroup_ontap
  - kvmsnap.ontap.manifest_key
  - kvmsnap.ontap.backup_scope
  - kvmsnap.ontap.catalog
  - kvmsnap.ontap.hold
  - kvmsnap.ontap.hold.agent
  - kvmsnap.ontap.hold.deadline
  - kvmsnap.ontap.libvirt
  - kvmsnap.ontap.retry
attributes:
  check_mode:
    support: full
    details: Tells what would be saved and how each guest would be held. Agents are asked whether they answer.
  diff_mode:
    support: full
author:
  - The kvmsnap.ontap authors (@kvmsnap)
options:
  backup_id:
    description: Name of the backup and of its snapshots. Letters, digits and C(. _ + -), at most 200.
    type: str
    required: true
  owner:
    description: Whose backup it is, by convention the inventory name of the KVM host.
    type: str
    required: true
  guests:
    required: true
  volumes:
    required: true
  on_failure:
    description:
      - What to do when a guest cannot be held as asked.
      - V(fail) releases every guest and makes no backup.
      - V(continue) holds the others, and records the weaker consistency of that guest.
    type: str
    choices: [fail, continue]
    default: fail
  below_consistency:
    description:
      - What to do about a guest that did not reach O(consistency). Its level is recorded in any case.
      - V(fail_guest) names it in RV(guests_below_consistency) and keeps the backup, for the playbook to fail when all
        is done.
      - V(fail_run) takes the whole backup back and fails.
      - V(record) names it and nothing else.
    type: str
    choices: [fail_guest, fail_run, record]
    default: fail_guest
  consistency_groups:
    description:
      - Whether ONTAP's consistency groups make the snapshots. A group is what the storage administrator made; none is
        made or changed here. A volume is in one group at most, so the volumes tell which groups these are.
      - V(never) makes a snapshot of each volume by itself, all at once. Guests are held, so it is one point in time.
      - V(auto) uses the groups that the volumes are in, and makes the snapshots of other volumes by themselves.
      - V(require) uses the groups, and refuses the backup before anything is held when a volume has none, or one that
        cannot be used.
      - A group's snapshot is made in two phases once all guests are held, with the writes to all volumes of the group
        kept waiting in between, at most seven seconds. O(hold_deadline) must be at least seven seconds.
      - Volumes of a group that are not of the backup get the snapshot as well. They are named in RV(notes) and in
        RV(backup).
      - The account needs all rights on C(/api/application/consistency-groups).
    type: str
    choices: [never, auto, require]
    default: never
  snapmirror_label:
    description: SnapMirror label of the snapshots, set once the guests run again.
    type: str
  expiry_time:
    description: Time (ISO 8601 with offset) before which ONTAP deletes none of the snapshots, set last.
    type: str
  concurrency:
    description: What to do while another backup of this host is under way, V(wait) for its end or V(fail).
    type: str
    choices: [wait, fail]
    default: wait
  concurrency_timeout:
    description: Seconds to wait for the end of another backup.
    type: float
    default: 600
  timeout:
    description: Seconds that each step outside of the hold may take.
    type: int
    default: 120
  retry_count:
    description: How often a failed command that may be repeated safely is run again, inside the hold while it lasts.
  catalog_dir:
    description: Directory of the catalog on the KVM host; made with mode 0700.
  hold_dir:
    description:
      - Directory of the hold records. It must not outlive the host's boot, and nobody else may write there.
      - The lock that keeps two backups of a host apart lies beside it.
  uri:
    description: The libvirt connection.
requirements:
  - libvirt's Python binding, with the QEMU part (C(python3-libvirt))
seealso:
  - module: kvmsnap.ontap.kvm_vm_discover
  - module: kvmsnap.ontap.kvm_vm_quiesce
  - module: kvmsnap.ontap.kvm_backup_info
"""

EXAMPLES = r"""
- name: Find the guests and where their disks lie
  kvmsnap.ontap.kvm_vm_discover:
    guests: ["web*", db1]
    controllers: "{{ kvm_controllers }}"
  register: discovery

- name: Back them up
  kvmsnap.ontap.kvm_vm_backup:
    backup_id: hv1-daily_20261121020000
    owner: hv1
    policy: daily
    guests: "{{ discovery.guests }}"
    volumes: "{{ discovery.volumes }}"
    problems: "{{ discovery.problems }}"
    quiesce:
      db1: agent
    snapmirror_label: daily
    controllers: "{{ kvm_controllers }}"
"""

RETURN = r"""
backup:
  description: The backup as the manifest has it; the fields are those of M(kvmsnap.ontap.kvm_backup_info).
  returned: success
  type: dict
  sample: {backup_id: hv1-daily_20261121020000, phase: complete, owner: hv1}
guests:
  description:
    - How each guest was held, with all moments on the host's monotonic clock.
    - The fields are those of RV(kvmsnap.ontap.kvm_vm_quiesce#module:guests). Empty for a backup that existed.
  returned: success, and failure because of guests
  type: list
  elements: dict
snapshots:
  description: The snapshots; the fields are those of RV(kvmsnap.ontap.ontap_snapshot#module:snapshots).
  returned: success
  type: list
  elements: dict
timing:
  description: How long the parts took, in seconds; None for what was not done.
  returned: success
  type: dict
  contains:
    hold_seconds:
      description: The longest that a guest was held, from sending its freeze to the answer of its thaw.
      returned: success
      type: float
      sample: 0.41
    freeze_seconds:
      description: From sending the first freeze or suspend to the answer of the last.
      returned: success
      type: float
      sample: 0.07
    snapshot_seconds:
      description: From the first request for a snapshot to the moment when the last was known to exist.
      returned: success
      type: float
      sample: 0.24
    snapshot_call_seconds:
      description: The same for the slowest single snapshot.
      returned: success
      type: float
      sample: 0.23
    thaw_seconds:
      description: From sending the first thaw or resume to the answer of the last.
      returned: success
      type: float
      sample: 0.06
    run_seconds:
      description: The whole of the module's work.
      returned: success
      type: float
      sample: 2.9
guests_below_consistency:
  description: Names of the guests that did not reach O(consistency).
  returned: success
  type: list
  elements: str
notes:
  description: What is worth knowing and no reason to fail, such as a volume that could not take the manifest along.
  returned: success
  type: list
  elements: str
summary:
  description: The backup in lines for people.
  returned: success
  type: list
  elements: str
failure_kind:
  description: The kind of the failure that ended the backup, such as V(HoldError) or V(SnapshotSetError).
  returned: failure, after work had begun
  type: str
failures:
  description: What failed of the snapshots, for each volume where something did.
  returned: failure, when snapshots failed
  type: list
  elements: dict
left_behind:
  description: The volumes on which a snapshot may be left, since removing it failed.
  returned: failure, when snapshots failed
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BACKUP_SCOPE, BackupRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import key_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.group_plan import MODES, NEVER
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import controllers_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import (
    CATALOG,
    HOLD,
    HOLD_AGENT,
    HOLD_DEADLINE,
    LIBVIRT,
    RETRY,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    below = [run.FAIL_GUEST, run.FAIL_RUN, run.RECORD]
    return {
        "backup_id": {"type": "str", "required": True},
        "owner": {"type": "str", "required": True},
        **BACKUP_SCOPE,
        "guests": {**BACKUP_SCOPE["guests"], "required": True},
        "volumes": {**BACKUP_SCOPE["volumes"], "required": True},
        "on_failure": {"type": "str", "choices": ["fail", "continue"], "default": "fail"},
        "below_consistency": {"type": "str", "choices": below, "default": run.FAIL_GUEST},
        "consistency_groups": {"type": "str", "choices": list(MODES), "default": NEVER},
        "snapmirror_label": {"type": "str"},
        "expiry_time": {"type": "str"},
        **HOLD_DEADLINE,
        **HOLD_AGENT,
        "concurrency": {"type": "str", "choices": ["wait", "fail"], "default": "wait"},
        "concurrency_timeout": {"type": "float", "default": 600},
        "timeout": {"type": "int", "default": 120},
        **RETRY,
        **CATALOG,
        **HOLD,
        **LIBVIRT,
        "controllers": controllers_argument(),
        **key_argument(),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        result = run.back_up(BackupRequest.from_options(module.params), check=module.check_mode)
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())
    module.exit_json(**presentable(result))


if __name__ == "__main__":
    main()
