#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: hold KVM guests still while snapshots are taken, and let them go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_quiesce
short_description: Hold KVM guests still while snapshots are taken
version_added: 0.1.0
description:
  - Freezes the file systems of guests by their QEMU guest agent, or suspends guests that have none, all at once, and
    later thaws and resumes exactly those that it held.
  - What is done to which guest is written to a hold record on the KVM host before it is done, so that a later task, or
    a later run after a crash, can undo it. Put the task with O(state=resumed) into the C(always) section of the block
    that holds the guests.
  - A guest that someone else froze or paused before is reported and left as it is. A guest that is off is reported and
    needs no hold. Each guest's result says which consistency a snapshot taken now has.
  - A guest that a restore or another process of this collection works on is left alone and reported
    (RV(guests[].locked)), whatever O(on_failure) says; what a snapshot has of it is not known, so leave it out of the
    backup. When there is no other guest the module fails.
  - A guest that migrated to another host, was saved to a file or is not defined any more while it was held cannot be
    released from here, so the release fails and keeps the hold. Thaw or resume that guest where it runs now, then
    release again, or remove the hold's record (O(hold_id) with C(.json) in O(hold_dir)) when nothing else is held by
    it.
  - A hold that is not released within O(hold_deadline) is released by its dead-man timer. O(state=resumed) then reports
    RV(fired), and when the timer thawed each guest (RV(guests[].thaw_sent)); what a snapshot taken later holds was
    not held. Where systemd runs the timer is a transient unit, elsewhere a process in a session of its own.
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.hold
  - kvmsnap.ontap.hold.agent
  - kvmsnap.ontap.hold.deadline
  - kvmsnap.ontap.libvirt
  - kvmsnap.ontap.retry
options:
  state:
    description:
      - V(quiesced) holds the O(guests). Guests that this hold already holds are left as they are. When an earlier run
        of the hold may have left one of them frozen or paused in a way that cannot be taken over, nothing is held and
        the module fails, whatever O(on_failure) says; release the hold first.
      - V(resumed) releases every guest of the hold and forgets it. A hold that does not exist is no change.
    type: str
    choices: [quiesced, resumed]
    required: true
  hold_id:
    description: The name of the hold, the same for both states. Letters, digits and C(. _ + -), at most 200.
    type: str
    required: true
  guests:
    description: The guests to hold. Required with O(state=quiesced).
    type: list
    elements: dict
    suboptions:
      uuid:
        description: The guest's UUID. It wins over O(guests[].name).
        type: str
      name:
        description: The guest's name, for when its UUID is not known.
        type: str
      method:
        description:
          - V(auto) freezes by the agent when one is connected, and suspends the guest when none is. A connected agent
            that does not answer or cannot freeze is a failure, not a reason to suspend.
          - V(agent) freezes by the agent; a guest without one is a failure.
          - V(suspend) suspends, whether there is an agent or not.
          - V(agent+suspend) freezes by the agent and then suspends, so that what no freeze holds stands still too.
          - V(none) does not hold the guest.
          - A guest that has devices of the host passed through is suspended only when that is asked for.
        type: str
        choices: [auto, agent, suspend, agent+suspend, none]
        default: auto
      filesystems:
        description: Mount points in the guest, which alone are frozen. Without it all file systems are.
        type: list
        elements: str
      order:
        description:
          - The place of the guest's group. Groups of a lower number are held first and released last.
          - Each group is held only when all guests of the one before are, so every group lengthens the hold.
        type: int
        default: 0
      disks:
        description:
          - Targets of the disks that the backup holds. Only their cache modes and file systems count for the
            consistency; without it those of all disks do.
        type: list
        elements: str
  on_failure:
    description:
      - What to do when a guest cannot be held as asked.
      - V(fail) releases every guest of the hold and fails.
      - V(continue) reports that guest as not held, which makes its backup crash-consistent at best, and holds the
        others. So it does with a guest, given by its UUID, that libvirt does not know any more.
    type: str
    choices: [fail, continue]
    default: fail
  refuse_vss:
    description:
      - Whether to hold nothing and fail, whatever O(on_failure) says, when a guest that is to be frozen has VSS, which
        thaws by itself after ten seconds. The guest's definition or its file systems tell.
    type: bool
    default: false
  retry_count:
    description:
      - How often a failed command is run again. A freeze is only repeated after a thaw that the agent confirmed, and
        not once O(freeze_timeout) has passed. One that was not answered is thawed when the hold ends.
  freeze_timeout:
    description: Seconds that the agent has for answering a freeze or a thaw.
  agent_ping_timeout:
    description: Seconds that the agent has for answering a question. An agent that is silent is not asked to freeze.
  hold_deadline:
    description:
      - Seconds that the hold may last. When it lasts longer, a dead-man timer on the host, armed before the first guest
        is held, thaws and resumes what this hold froze or suspended and nothing else, whoever died or hung meanwhile.
      - Holding again under the same O(hold_id) does not prolong it.
  vss_hold_deadline:
    description:
      - Seconds that a Windows guest is held, from the answer of its freeze on, and any other guest with an agent that
        does not say what it is. VSS thaws by itself after ten.
      - The timer releases such a guest then, and holds the others on.
  hold_margin:
    description:
      - Seconds after O(hold_deadline) at which the timer fires, and after O(vss_hold_deadline), so that a release in
        time is not disturbed.
  concurrency_timeout:
    description:
      - Seconds to wait while another hold has one of the guests, or is about to hold it. Nothing is held meanwhile, and
        the module fails when the guest is held still.
    type: float
    default: 0
  hold_dir:
    description: Directory of the hold records. It must not outlive the host's boot, and nobody else may write there.
  uri:
    description: The libvirt connection.
attributes:
  check_mode:
    support: full
    details: Tells how each guest would be held. Agents are asked whether they answer, nothing is held.
  diff_mode:
    support: none
requirements:
  - libvirt's Python binding, with the QEMU part (C(python3-libvirt))
notes:
  - libvirt keeps the response time of an agent that O(freeze_timeout) sets until the guest stops.
seealso:
  - module: kvmsnap.ontap.kvm_vm_discover
  - module: kvmsnap.ontap.ontap_snapshot
"""

EXAMPLES = r"""
- name: Snapshot two guests at one point in time
  block:
    - name: Hold them
      kvmsnap.ontap.kvm_vm_quiesce:
        state: quiesced
        hold_id: before-upgrade
        guests:
          - name: web1
          - name: sol1
            method: suspend

    - name: Snapshot their volumes
      kvmsnap.ontap.ontap_snapshot:
        name: before-upgrade
        volumes:
          - svm: svm1
            volume: kvm_vol1
        controllers: "{{ kvm_controllers }}"
  always:
    - name: Let them go
      kvmsnap.ontap.kvm_vm_quiesce:
        state: resumed
        hold_id: before-upgrade
      register: released
"""

RETURN = r"""
hold_id:
  description: The name of the hold.
  returned: success
  type: str
  sample: before-upgrade
fired:
  description: Whether the dead-man timer ended the hold, or that of a guest.
  returned: success
  type: bool
timer:
  description:
    - The dead-man timer of the hold; None when nothing was held, and in check mode before the hold.
    - Its moments are in seconds on the host's monotonic clock.
  returned: success
  type: dict
  contains:
    kind:
      description: V(systemd) for a transient unit, V(process) for a process in a session of its own.
      returned: success
      type: str
      sample: systemd
    unit:
      description: The unit's name, without its suffixes C(.timer) and C(.service).
      returned: success
      type: str
      sample: kvmsnap-hold-before-upgrade-1c9a6f2b
    pid:
      description: The process.
      returned: success
      type: int
    deadline:
      description: Seconds that the hold may last.
      returned: success
      type: float
      sample: 30.0
    margin:
      description: Seconds after that at which the timer fires.
      returned: success
      type: float
      sample: 0.5
    armed_at:
      description: When it was armed.
      returned: success
      type: float
    fires_at:
      description: When it fires.
      returned: success
      type: float
    fired:
      description: Whether it released guests, or tried to.
      returned: success
      type: bool
    fired_at:
      description: When it did.
      returned: success
      type: float
    wall_fired:
      description: The same, ISO 8601 in UTC by the host's clock.
      returned: success
      type: str
    remark:
      description: Why it is no systemd unit although systemd runs.
      returned: success
      type: str
    error:
      description: Why the timer could not release a guest when it last tried.
      returned: success
      type: str
guests:
  description:
    - The guests of the hold. When the module fails because of guests, it tells of them here too.
    - With O(state=resumed) these are all guests of the hold, also those that were not held.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The guest's name.
      returned: success
      type: str
      sample: web1
    uuid:
      description: The guest's UUID.
      returned: success
      type: str
      sample: 6695eb01-f6a4-8304-79aa-97f2502e193f
    requested_method:
      description: The method that was asked for.
      returned: success
      type: str
      sample: auto
    method:
      description: How the guest is held, V(agent), V(suspend), V(agent+suspend) or V(none).
      returned: success
      type: str
      sample: agent
    held:
      description: Whether it is held and, once released, whether it was until the hold was released.
      returned: success
      type: bool
    fired:
      description: Whether the dead-man timer released it. A snapshot confirmed before RV(guests[].thaw_sent) was held.
      returned: success
      type: bool
    state_before:
      description:
        - What the guest was doing, V(running), V(paused), V(shutoff), V(crashed), V(pmsuspended) or V(unknown).
      returned: success
      type: str
      sample: running
    consistency:
      description:
        - What a snapshot inside the hold has, for this guest alone, V(offline), V(application-consistent),
          V(filesystem-consistent), V(crash-consistent) or V(inconsistent).
        - For a guest that is not held V(crash-consistent) is true on one volume; on several it is inconsistent.
      returned: success
      type: str
      sample: filesystem-consistent
    reason:
      description: Why it is not stronger.
      returned: success
      type: str
      sample: "suspended: it has no guest agent"
    filesystems:
      description: How many file systems the agent froze.
      returned: success
      type: int
      sample: 2
    expected:
      description:
        - How many file systems the agent said before that can be frozen. A bind mount, a btrfs subvolume and what no
          freeze can hold (vfat, ISO images, swap) do not count. None when it does not tell.
      returned: success
      type: int
      sample: 2
    limit:
      description:
        - Seconds after which a snapshot can no longer be relied on, since VSS in a Windows guest thaws by itself. None
          for a guest that is known not to. It is released then when other guests are still being held.
      returned: success
      type: float
      sample: 8.0
    freeze_sent:
      description: When the freeze or suspend was sent, in seconds on the host's monotonic clock.
      returned: success
      type: float
    freeze_answered:
      description: When it was answered.
      returned: success
      type: float
    thaw_sent:
      description: When the thaw or resume was first sent.
      returned: success
      type: float
    thaw_answered:
      description: When it was answered.
      returned: success
      type: float
    held_seconds:
      description: Seconds from sending the freeze to the answer of the thaw; the guest stood still for no longer.
      returned: success
      type: float
      sample: 1.42
    wall_frozen:
      description: When the freeze was sent, ISO 8601 in UTC by the host's clock.
      returned: success
      type: str
      sample: "2026-11-21T02:00:07.311+00:00"
    wall_thawed:
      description: When the thaw was answered, ISO 8601 in UTC by the host's clock.
      returned: success
      type: str
    error:
      description: Why the guest could not be held or released as asked.
      returned: success
      type: str
    locked:
      description: Whether another process of this collection works on it, so that it has no part in the hold.
      returned: success
      type: bool
notes:
  description:
    - With O(state=quiesced) a sentence for each other hold whose end was long ago, though guests of it that are proven
      free were still named by it. Its record says so now, and they can be held again.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import quiesce
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.request import QuiesceRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import (
    HOLD,
    HOLD_AGENT,
    HOLD_DEADLINE,
    LIBVIRT,
    RETRY,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    guest = {
        "uuid": {"type": "str"},
        "name": {"type": "str"},
        "method": {
            "type": "str",
            "choices": ["auto", "agent", "suspend", "agent+suspend", "none"],
            "default": "auto",
        },
        "disks": {"type": "list", "elements": "str"},
        "filesystems": {"type": "list", "elements": "str"},
        "order": {"type": "int", "default": 0},
    }
    return {
        "state": {"type": "str", "choices": ["quiesced", "resumed"], "required": True},
        "hold_id": {"type": "str", "required": True},
        "guests": {"type": "list", "elements": "dict", "options": guest},
        "on_failure": {"type": "str", "choices": ["fail", "continue"], "default": "fail"},
        "refuse_vss": {"type": "bool", "default": False},
        **RETRY,
        **HOLD_AGENT,
        "concurrency_timeout": {"type": "float", "default": 0},
        **HOLD_DEADLINE,
        **HOLD,
        **LIBVIRT,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_if=[("state", "quiesced", ["guests"])],
    )
    act = quiesce.quiesce if module.params["state"] == "quiesced" else quiesce.resume
    try:
        request = QuiesceRequest.from_options(module.params)
        module.exit_json(**presentable(act(request, check=module.check_mode)))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
