#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: write down what a backup is to hold, and what it came to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_backup_manifest
short_description: Write the manifest of a backup of KVM guests
version_added: 0.1.0
description:
  - Writes into the catalog on the KVM host what a backup is to hold (V(started)) before the first guest is held, and
    what it came to (V(complete)) after the last was released. A backup exists only with its complete manifest.
  - Each NFS volume of the backup also gets the started manifest of the guests that have a disk there, without what may
    be secret, so that the snapshots carry it; it is taken out of the live volumes once the backup is complete. Copies
    of UEFI variables stay in the catalog.
  - An index beside these manifests has the SHA-256 of each, and the comment for the snapshots has that of the index.
  - A volume in which somebody else has put something where these files go is refused.
  - A guest whose restore failed part-way through its disks is left out (C(guest-half-restored)), since they are neither
    old nor new, and so is one that another process of this collection works on (C(guest-locked)). The others are saved.
  - The role P(kvmsnap.ontap.kvm_backup#role) calls it; a playbook of your own may do the same.
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.manifest_key
  - kvmsnap.ontap.backup_scope
  - kvmsnap.ontap.catalog
  - kvmsnap.ontap.hold
options:
  state:
    description:
      - V(started) decides from a discovery what the backup holds, and writes it down. A backup of that name must not be
        in the catalog.
      - V(indexed) binds a started one to the manifests of all hosts that make one point in time (O(parts)). It is
        needed before the snapshots of several hosts are made, and with the same O(parts) on each of them.
      - V(complete) adds the snapshots and the consistency that each guest reached. A complete one stays as it is.
      - V(withdrawn) marks one that was never completed as one that is taken back. The run that began it, should it
        live, cannot complete it any more, so that its snapshots may be removed.
      - V(absent) removes a manifest that was never completed.
    type: str
    choices: [started, indexed, complete, withdrawn, absent]
    required: true
  backup_id:
    description: Name of the backup, which is the name of its snapshots.
    type: str
    required: true
  owner:
    description: Whose backup it is, by convention the inventory name of the KVM host. Needed with O(state=started).
    type: str
  policy:
    description: Name of the policy that the backup was made by.
  guests:
    description: The C(guests) that M(kvmsnap.ontap.kvm_vm_discover) returned. Needed with O(state=started).
  volumes:
    description: The C(volumes) that M(kvmsnap.ontap.kvm_vm_discover) returned. Needed with O(state=started).
  order:
    description: Groups of guests that are held one after the other, as O(kvmsnap.ontap.kvm_vm_backup#module:order).
  filesystems:
    description: Mount points that alone are frozen, as O(kvmsnap.ontap.kvm_vm_backup#module:filesystems).
  holds:
    description:
      - The C(guests) that M(kvmsnap.ontap.kvm_vm_quiesce) returned with V(resumed). Needed with O(state=complete).
    type: list
    elements: dict
  snapshots:
    description: The C(snapshots) that M(kvmsnap.ontap.ontap_snapshot) returned. Needed with O(state=complete).
    type: list
    elements: dict
  parts:
    description:
      - The RV(parts) that O(state=started) returned on all hosts of one point in time. Needed with O(state=indexed).
    type: list
    elements: dict
  run_id:
    description:
      - The RV(run_id) of the host that names the snapshots. Needed with O(state=indexed).
      - With V(complete), V(withdrawn) and V(absent) of O(state) the RV(run_id) of this run. A backup of the same name
        that another run began is not completed, and stays as it is.
    type: str
  snapshot_owner:
    description: Who owns the snapshots, the O(owner) of that host. Needed with O(state=indexed).
    type: str
  consistency:
    description:
      - The level that every guest is to reach, strongest first. RV(guests_below_consistency) names those below it.
  catalog_dir:
    description: Directory of the catalog on the KVM host; made with mode 0700.
  hold_dir:
    description:
      - Directory of the hold records on the KVM host, the same for all modules of a host. The locks on guests lie
        beside it, in C(guests).
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Write down what is to be saved
  kvmsnap.ontap.kvm_backup_manifest:
    state: started
    backup_id: hv1-daily_20261121020000
    owner: hv1
    guests: "{{ discovery.guests }}"
    volumes: "{{ discovery.volumes }}"
    problems: "{{ discovery.problems }}"

- name: Write down what was reached
  kvmsnap.ontap.kvm_backup_manifest:
    state: complete
    backup_id: hv1-daily_20261121020000
    holds: "{{ released.guests }}"
    snapshots: "{{ taken.snapshots }}"
"""

RETURN = r"""
backup:
  description:
    - The backup as the manifest has it now; the fields are those of M(kvmsnap.ontap.kvm_backup_info).
    - None when it was removed.
  returned: success
  type: dict
  sample: {backup_id: hv1-daily_20261121020000, phase: complete, owner: hv1}
plan:
  description: What is to be done next.
  returned: with O(state=started)
  type: dict
  contains:
    holds:
      description: The guests to hold, for O(kvmsnap.ontap.kvm_vm_quiesce#module:guests).
      returned: success
      type: list
      elements: dict
    volumes:
      description: The volumes to snapshot, for O(kvmsnap.ontap.ontap_snapshot#module:volumes).
      returned: success
      type: list
      elements: dict
    comment:
      description: The comment for the snapshots, which names this run and has the SHA-256 of its index.
      returned: success
      type: str
    unprotected:
      description: Guests that are not part of the backup, with the codes of the problems that keep them out.
      returned: success
      type: list
      elements: dict
parts:
  description: What each volume carries of this host's manifest, for O(parts).
  returned: with O(state=started)
  type: list
  elements: dict
  contains:
    host:
      description: The O(owner).
      type: str
      returned: success
    svm_uuid:
      description: UUID of the volume's SVM.
      type: str
      returned: success
    volume_uuid:
      description: UUID of the volume.
      type: str
      returned: success
    volume:
      description: The volume with its SVM, for people.
      type: str
      returned: success
    sha256:
      description: SHA-256 of the manifest there, V(null) when the volume carries none.
      type: str
      returned: success
run_id:
  description: What names this run in the comment of its snapshots.
  returned: with O(state=started)
  type: str
notes:
  description: Volumes that could not take the manifest along, one sentence each.
  returned: success
  type: list
  elements: str
guests_below_consistency:
  description: Names of the guests that did not reach O(consistency).
  returned: with O(state=complete)
  type: list
  elements: str
summary:
  description: The backup in lines for people.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import manifest_writer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BACKUP_SCOPE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import key_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import CATALOG, HOLD
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable

STATES = ["started", "indexed", "complete", "withdrawn", "absent"]


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    records = {"type": "list", "elements": "dict"}
    return {
        "state": {"type": "str", "choices": STATES, "required": True},
        "backup_id": {"type": "str", "required": True},
        "owner": {"type": "str"},
        **BACKUP_SCOPE,
        "holds": records,
        "snapshots": records,
        "parts": records,
        "run_id": {"type": "str"},
        "snapshot_owner": {"type": "str"},
        **CATALOG,
        **HOLD,
        **key_argument(),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[
            ("state", "started", ("owner", "guests", "volumes")),
            ("state", "indexed", ("parts", "run_id", "snapshot_owner")),
            ("state", "complete", ("holds", "snapshots")),
        ],
        supports_check_mode=True,
    )
    try:
        request = manifest_writer.ManifestRequest.from_options(module.params)
        module.exit_json(**presentable(manifest_writer.write(request, check=module.check_mode)))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
