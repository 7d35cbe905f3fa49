#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: which backups of KVM guests exist."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_backup_info
short_description: List the backups of KVM guests on ONTAP
version_added: 0.1.0
description:
  - Reads the catalog of the KVM host and holds it against the snapshots that ONTAP has. A backup exists when its
    manifest is complete and every snapshot in it is there, recognised by its UUID.
  - Asks ONTAP once per volume, whatever the number of backups.
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.ontap
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.catalog
  - kvmsnap.ontap.retry
options:
  backup_id:
    description: Only the backup of this name. Without it all are listed.
    type: str
  guests:
    description: Only backups that hold one of these guests, by name or UUID.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds that all calls together may take.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The module changes nothing.
"""

EXAMPLES = r"""
- name: Which backups can web1 be restored from
  kvmsnap.ontap.kvm_backup_info:
    guests: [web1]
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem
  register: known
"""

RETURN = r"""
backups:
  description: The backups in the order of their names.
  returned: success
  type: list
  elements: dict
  contains:
    backup_id:
      description: Name of the backup and of its snapshots.
      returned: success
      type: str
      sample: hv1-daily_20261121020000
    phase:
      description: V(started) for one that was never completed, V(complete), or V(unreadable).
      returned: success
      type: str
      sample: complete
    exists:
      description: Whether it can be restored from.
      returned: success
      type: bool
    missing:
      description: Volumes (C(svm:volume)) on which its snapshot is gone or is another one.
      returned: success
      type: list
      elements: str
    origin:
      description:
        - Where its manifest came from, V(null) for one that cannot be read. V(own-run) was written by a run of this
          host, V(imported) was handed over from the catalog of another host, V(rebuilt) was read out of snapshots,
          V(adopted) was made for snapshots of another product.
        - The guests' definitions of all but V(own-run) count as foreign. It is kept beside the manifest by whoever
          writes the catalog, and never read out of a manifest. An entry of a version that kept none is V(own-run).
      returned: success
      type: str
      sample: own-run
    owner:
      description: Whose backup it is.
      returned: success
      type: str
    policy:
      description: The policy it was made by.
      returned: success
      type: str
    shared_with:
      description: The other hosts of one point in time that need snapshots of this backup, too.
      returned: success
      type: list
      elements: str
    created:
      description: When it was started, ISO 8601, on the KVM host's clock.
      returned: success
      type: str
    comment:
      description: Comment of its snapshots, which names the run that made them.
      returned: success
      type: str
    completed:
      description: When it was completed, ISO 8601, on the KVM host's clock.
      returned: success
      type: str
    guests:
      description: Its guests, with the consistency that each reached.
      returned: success
      type: list
      elements: dict
      contains:
        name:
          description: Name of the guest.
          returned: success
          type: str
        uuid:
          description: UUID of the guest.
          returned: success
          type: str
        state:
          description: What it was doing, a word of M(kvmsnap.ontap.kvm_vm_discover).
          returned: success
          type: str
        consistency:
          description: The level that it reached.
          returned: success
          type: str
        requested_consistency:
          description: The level that it was to reach.
          returned: success
          type: str
        method:
          description: How it was held, V(agent), V(suspend), V(agent+suspend) or V(none).
          returned: success
          type: str
        reason:
          description: Why its level is not stronger.
          returned: success
          type: str
        held_seconds:
          description: Seconds for which it was held.
          returned: success
          type: float
        frozen_at:
          description: When the freeze was sent, ISO 8601 in UTC by the host's clock.
          returned: success
          type: str
        thawed_at:
          description: When the thaw was answered, ISO 8601 in UTC by the host's clock.
          returned: success
          type: str
        disks:
          description: Its disks with their places on ONTAP, and why one is not in the backup.
          returned: success
          type: list
          elements: dict
    volumes:
      description:
        - Its volumes with the UUIDs of their snapshots.
        - C(create_time_off) is by how many seconds at least the system dates the snapshot (C(create_time)) before
          (below 0) or after what the host's clock says of it, the difference of both clocks taken into account. It is 0
          when both agree and null when they were not compared. No level rests on it.
      returned: success
      type: list
      elements: dict
    groups:
      description:
        - The consistency groups that made its snapshots, each with the names of its volumes of the backup (C(volumes))
          and of those that are not of the backup and got the snapshot as well (C(foreign_volumes)).
      returned: success
      type: list
      elements: dict
    unprotected:
      description: Guests that were asked for and are not in it, with the codes of the problems.
      returned: success
      type: list
      elements: dict
    error:
      description: Why the manifest cannot be read.
      returned: success
      type: str
summary:
  description: The backups in lines for people.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import presence
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import controllers_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import CATALOG, RETRY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    return {
        "controllers": controllers_argument(),
        "backup_id": {"type": "str"},
        "guests": {"type": "list", "elements": "str", "default": []},
        **CATALOG,
        **RETRY,
        "timeout": {"type": "int", "default": 300},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        module.exit_json(**presentable(presence.read(presence.PresenceRequest.from_options(module.params))))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
