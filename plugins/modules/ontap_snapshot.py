#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Snapshots of one name over a set of ONTAP volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ontap_snapshot
short_description: Create or delete snapshots of one name over a set of ONTAP volumes
version_added: 0.1.0
description:
  - Creates snapshots of the same name on one or more volumes of one or more SVMs, in parallel, and sets their
    SnapMirror label and their expiry time once all of them exist.
  - All or nothing. When the snapshot of one volume cannot be created, those that this call created on the others are
    removed again.
  - Deletes such snapshots. Nothing is deleted when one of them must not be.
  - Only snapshots that O(owner) made are changed or deleted, unless O(allow_foreign=true). They are recognized by their
    comment, which begins with C(kvmsnap/), the owner and a colon.
extends_documentation_fragment:
  - kvmsnap.ontap.ontap
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.attributes.actiongroup_ontap
  - kvmsnap.ontap.retry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  state:
    description:
      - With V(present), the snapshots exist and have the properties that are given.
      - With V(absent), they do not exist.
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - Name of the snapshots, at most 255 characters.
      - The name of a new one may hold letters, digits and C(_.+:-), and begins with a letter or a digit.
    type: str
    required: true
  volumes:
    description:
      - The volumes. All of them must be online, writable FlexVol volumes.
    type: list
    elements: dict
    required: true
    suboptions:
      svm:
        description:
          - Name of the SVM.
        type: str
        required: true
      volume:
        description:
          - Name of the volume.
        type: str
        required: true
      volume_uuid:
        description:
          - UUID that the volume must have. The module fails when a volume of that name has another one.
        type: str
      controller:
        description:
          - The controller on which the volume is, where several in O(controllers) have one of that name.
          - This is its RV(snapshots[].controller), the host name, followed by a colon and the port if that is not 443.
        type: str
  comment:
    description:
      - Comment of the snapshots. It is stored behind the prefix that names O(owner).
      - If not given, a new snapshot has the prefix only, and the comment of an existing one is left as it is.
    type: str
  owner:
    description:
      - Who owns the snapshots. Different users of this collection on the same volumes should use different owners.
    type: str
    default: kvmsnap
  snapmirror_label:
    description:
      - SnapMirror label of the snapshots, 1 to 31 characters. If not given, that of an existing one is left as it is.
    type: str
  expiry_time:
    description:
      - Time until which ONTAP refuses to delete the snapshots, in ISO 8601 with an offset from UTC.
      - If not given, that of an existing one is left as it is.
    type: str
  allow_foreign:
    description:
      - Whether snapshots of that name which O(owner) did not make are accepted, changed and deleted like its own ones.
    type: bool
    default: false
  keep_foreign:
    description:
      - Whether O(state=absent) leaves snapshots of that name which O(owner) did not make alone, instead of failing.
      - With a O(comment), those of O(owner) that have another comment are left alone, too.
    type: bool
    default: false
  only_new:
    description:
      - Whether O(state=present) fails when there is a snapshot of that name already, one of O(owner) too, and leaves it
        as it is.
    type: bool
    default: false
  take_back:
    description:
      - Whether O(state=present) removes what it made when it cannot make the whole set.
      - With V(false) it stays, so that what waits for this call can go on first. Inside a hold of
        M(kvmsnap.ontap.kvm_vm_quiesce), release the guests, then remove it with O(state=absent), the same O(comment),
        O(keep_foreign=true) and O(unanswered).
    type: bool
    default: true
  unanswered:
    description:
      - With O(state=absent), the snapshots that may come to be later, as a failed call returned them in RV(unanswered).
      - They are waited for, by their jobs or for ten seconds, and removed when their comment is that of O(comment). The
        module fails when one may come still later.
    type: list
    elements: dict
    default: []
    suboptions:
      svm:
        description: Name of the SVM.
        type: str
        required: true
      volume:
        description: Name of the volume.
        type: str
        required: true
      volume_uuid:
        description: UUID of the volume.
        type: str
        required: true
      controller:
        description: The controller on which the volume is.
        type: str
      job:
        description: UUID of the job that makes it.
        type: str
      seen:
        description: Whether the system has shown that job.
        type: bool
        default: false
  timeout:
    description:
      - Seconds that everything may take. Removing a set of snapshots that is half-made may take a minute more.
    type: int
    default: 120
  not_after:
    description:
      - Moment at which everything must be over although O(timeout) has not passed, in seconds on the monotonic clock of
        the host that the module runs on. Nothing is begun after it, but what removes a set that is half-made.
      - Inside a hold of M(kvmsnap.ontap.kvm_vm_quiesce) it is RV(kvmsnap.ontap.kvm_vm_quiesce#module:timer.armed_at)
        plus RV(kvmsnap.ontap.kvm_vm_quiesce#module:timer.deadline).
    type: float
  retry_count:
    description:
      - How often a request is repeated after the first try. Only what is safe to repeat is repeated.
notes:
  - A request whose answer got lost is not simply sent again. The module looks first whether it took effect.
  - When snapshots of the name exist on some of the volumes only, O(state=present) fails. Snapshots of one name are of
    one moment.
  - The role of the user needs at least C(readonly) on C(/api/cluster), C(/api/cluster/jobs) and
    C(/api/storage/volumes), and C(all) on C(/api/storage/volumes/*/snapshots).
author:
  - The kvmsnap.ontap authors (@kvmsnap)
"""

EXAMPLES = r"""
- name: Snapshots of two volumes, kept for a week
  kvmsnap.ontap.ontap_snapshot:
    name: hv1-daily_20261121020000
    volumes:
      - svm: svm1
        volume: kvm_vol1
      - svm: svm1
        volume: kvm_vol2
    comment: before the update
    snapmirror_label: daily
    expiry_time: "2026-11-28T02:00:00+00:00"
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem

- name: The connection options can be set once for a play
  hosts: kvm_hosts
  module_defaults:
    group/kvmsnap.ontap.ontap:
      controllers: "{{ kvm_controllers }}"
  tasks:
    - name: Delete the snapshots again
      kvmsnap.ontap.ontap_snapshot:
        state: absent
        name: hv1-daily_20261121020000
        volumes:
          - svm: svm1
            volume: kvm_vol1
          - svm: svm1
            volume: kvm_vol2
"""

RETURN = r"""
snapshots:
  description:
    - With O(state=present), the snapshots as they are afterwards, or in check mode as they would be, one per volume.
    - Empty with O(state=absent).
  type: list
  elements: dict
  returned: success
  contains:
    controller:
      description: The controller through which the volume was found.
      type: str
      sample: cluster1.example.com
    svm:
      description: Name of the SVM.
      type: str
      sample: svm1
    svm_uuid:
      description: UUID of the SVM.
      type: str
      sample: 8139f958-3c6e-11e9-a45f-005056bbc848
    volume:
      description: Name of the volume.
      type: str
      sample: kvm_vol1
    volume_uuid:
      description: UUID of the volume.
      type: str
      sample: 0353dc05-405f-11e9-acb6-005056bbc848
    name:
      description: Name of the snapshot.
      type: str
      sample: hv1-daily_20261121020000
    uuid:
      description: UUID of the snapshot, V(null) for one that check mode would create.
      type: str
      sample: 343b5227-8c6b-4e79-a133-304bbf7537ce
    create_time:
      description: When the snapshot was created, by the clock of the system, V(null) for one not created yet.
      type: str
      sample: "2026-11-21T02:00:04+00:00"
    comment:
      description: The whole comment, as it is stored.
      type: str
      sample: "kvmsnap/kvmsnap: before the update"
    snapmirror_label:
      description: SnapMirror label, V(null) for none.
      type: str
      sample: daily
    expiry_time:
      description: Time until which the snapshot cannot be deleted, V(null) for none.
      type: str
      sample: "2026-11-28T02:00:00+00:00"
    created:
      description: Whether this call created it, or would do so.
      type: bool
    absent_at:
      description:
        - When the system was asked and had no snapshot of that name, in seconds on the monotonic clock of the host.
        - V(null) for one that this call did not create, as are the next two.
      type: float
      sample: 5021.137
    requested_at:
      description: When the request to create it was sent first, on the same clock.
      type: float
      sample: 5021.204
    confirmed_at:
      description: When the answer that it exists had arrived, on the same clock.
      type: float
      sample: 5021.391
    array_ahead:
      description:
        - By how many seconds the clock of the system, since the epoch, was ahead of the same clock of the host, least
          and most, as the C(Date) of its answer tells. It is what RV(snapshots[].create_time) is compared by.
        - V(null) for one that this call did not create, or when no answer had a C(Date).
      type: list
      elements: float
      sample: [1795220402.609, 1795220403.611]
error_kind:
  description: The kind of failure, such as V(InputError), V(OntapDeniedError) or V(SnapshotSetError).
  type: str
  returned: failure
  sample: SnapshotRefusedError
ontap_code:
  description: Error code of ONTAP, when it gave one.
  type: str
  returned: failure
  sample: "1638555"
http_status:
  description: HTTP status of the answer, when there was one.
  type: int
  returned: failure
  sample: 400
refusals:
  description: Why nothing may be done, for each volume where this is so.
  type: list
  elements: dict
  returned: failure, when the snapshots must not be created or deleted
  contains:
    controller:
      description: The controller of the volume.
      type: str
    svm:
      description: Name of the SVM.
      type: str
    volume:
      description: Name of the volume.
      type: str
    reason:
      description: Why.
      type: str
    owners:
      description: What uses the snapshot, in the words of ONTAP.
      type: list
      elements: str
    kept_until:
      description: Time until which the snapshot cannot be deleted, V(null) if that is not the reason.
      type: str
failures:
  description: What failed, for each volume where something did; V(msg) and the machine fields of the failure.
  type: list
  elements: dict
  returned: failure, after work had begun
removed:
  description: The volumes (C(svm:volume)) from which a snapshot that this call had created was removed again.
  type: list
  elements: str
  returned: failure, after work had begun
left_behind:
  description:
    - The volumes on which a snapshot of this call may be left, since removing it failed, or may come to be later; like
      RV(failures).
  type: list
  elements: dict
  returned: failure, after work had begun
unanswered:
  description: The volumes on which a snapshot that was asked for may come to be later, for O(unanswered).
  type: list
  elements: dict
  returned: failure, after work had begun
  contains:
    svm:
      description: Name of the SVM.
      type: str
    volume:
      description: Name of the volume.
      type: str
    volume_uuid:
      description: UUID of the volume.
      type: str
    controller:
      description: The controller of the volume.
      type: str
    job:
      description: UUID of the job that makes it, V(null) when the system did not tell one.
      type: str
    seen:
      description: Whether the system has shown that job.
      type: bool
"""

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import (
    controllers_argument,
    unanswered_argument,
    volume_options,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import (
    Unanswered,
    ensure_absent,
    ensure_present,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import RETRY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable

VOLUMES = {"type": "list", "elements": "dict", "required": True, "options": volume_options()}
WANTED = {
    "name": {"type": "str", "required": True},
    "comment": {"type": "str"},
    "owner": {"type": "str", "default": "kvmsnap"},
    "snapmirror_label": {"type": "str"},
    "expiry_time": {"type": "str"},
    "allow_foreign": {"type": "bool", "default": False},
    "keep_foreign": {"type": "bool", "default": False},
    "only_new": {"type": "bool", "default": False},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "volumes": VOLUMES,
            "timeout": {"type": "int", "default": 120},
            "not_after": {"type": "float"},
            "take_back": {"type": "bool", "default": True},
            "unanswered": unanswered_argument(),
            **RETRY,
            "controllers": controllers_argument(),
            **WANTED,
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        wanted = SnapshotRequest.checked(**{key: given[key] for key in WANTED})
        volumes = [VolumeRef.from_option(option) for option in given["volumes"]]
        deadline = Deadline.after(given["timeout"]).no_later(given["not_after"])
        if given["not_after"] is not None and not deadline.remaining():
            raise InputError(
                f"The time for snapshot {wanted.name} was over (not_after) before anything was done. Where that is the"
                " end of a hold, give the hold more time, or take less of it before"
            )
        with ArrayAccess.from_options(given).connected(deadline) as clients:
            how = {"check_mode": module.check_mode, "deadline": deadline}
            if given["state"] == "present":
                result = ensure_present(clients, volumes, wanted, take_back=given["take_back"], **how)
            else:
                unanswered = [Unanswered.from_option(each) for each in given["unanswered"]]
                result = ensure_absent(clients, volumes, wanted, unanswered=unanswered, **how)
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())
    module.exit_json(**presentable(result.as_result()))


if __name__ == "__main__":
    main()
