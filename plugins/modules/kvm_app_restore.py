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
  - Leaves the definition of a guest as it is, unless O(definition) or O(moved_disks) say otherwise, and shows in the
    plan what changed in it since the backup, or what is to change.
  - A file of a guest that is gone is made anew in its old place. A guest that was deleted is defined again with
    O(define_missing).
  - Makes each file under a temporary name in the directory of the disk and compares it with the snapshot, past the
    caches of the host, while the guests still run. Then it stops the guests, takes a safety snapshot of their volumes,
    renames the files, and starts the guests as they were. LUNs, and files that this host may not rename, are
    overwritten in place by the array once the guest is off. A guest's autostart is off from before its first disk is
    overwritten until all its disks are whole again.
  - A managed-save image of a guest is moved aside before its first disk is overwritten. It comes back with the disks
    when they are put back or the restore is undone, and is never resumed over restored disks. Where it cannot be moved
    the restore is refused.
  - UEFI variables and the state of an emulated TPM are restored with the disks, unless O(disks) are named. What was
    there is set aside, and put back when something of the guest fails or the restore is undone.
  - A disk that guests share (C(<shareable/>)) is restored when all guests that use it are restored at once. It is
    overwritten once, when all of them are off; they all come back, or none does.
  - When a disk of a guest fails, the disks of that guest that were touched are put back from the safety snapshot, and
    the guest gets back the power state that it had.
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
  - kvmsnap.ontap.libvirt.files
  - kvmsnap.ontap.retry
options:
  state:
    description:
      - V(restored) restores the guests from the backup O(backup_id).
      - V(undone) undoes the restore O(restore_id). It brings the disks of the guests back to the safety snapshot of
        that restore. This is a restore of its own, called C(<restore_id>.undo), with a safety snapshot of its own.
        O(backup_id) is not used.
    type: str
    choices: [restored, undone]
    default: restored
  guests:
    description:
      - Guests to restore, by name or UUID. Each must be in the backup, and defined on this host unless
        O(define_missing) is set.
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
    description:
      - The backup to restore from; V(latest) is the newest that holds the guests and has all its snapshots.
      - The module looks for one that is named and not in the catalog in its snapshots, below every NFS mount of this
        host. The snapshots of its name on the array must confirm it. Its levels are unknown then, and side files that
        the catalog alone had stay as they are; the plan says so.
    type: str
    default: latest
  restore_id:
    description:
      - Name of this restore. A second run with the same name continues where the first broke off, and does not touch
        what it has restored. A new name starts a new restore.
      - Without a name, the module continues a restore of these guests from the same backup that broke off. When there
        is none, it starts a new one called C(restore_<time>).
      - A new restore of a guest whose earlier one broke off takes the place of that one. It brings all disks anew, and
        takes over the guest's state, its autostart and the safety snapshot from before the earlier one. The plan names
        the earlier one, which cannot be continued any more.
      - It has at most 100 characters and does not end in C(.undo), which is the name of an undo.
      - Needed with O(state=undone).
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
      - Whether a snapshot C(<prefix>-safety_<time>_<mark>) of every volume of the guests is taken once they are off and
        before any of their disks is overwritten. The result names it. It stays until M(kvmsnap.ontap.kvm_leftovers)
        finds it old enough.
    type: bool
    default: true
  into_uuid:
    description:
      - The UUID of a guest of this host that the one guest of O(guests) is restored into. It is that guest defined
        anew, with the same disks and another UUID than in the backup, such as by C(virsh undefine) and a new
        C(virt-install). O(guests) names it as the backup does, by the name or the UUID of then.
      - Without it such a restore is refused (C(guest-identity)), since by its UUID it is another guest. Look at the
        plan first (check mode), which shows both guests with their names, UUIDs and disks.
      - The guest of this host is the one that is stopped, kept from being started, put back, undone and started, and it
        keeps its UUID and its name. Unless O(definition) says otherwise it gets the definition of the backup under that
        UUID, with the MAC addresses of then; UEFI variables and the TPM's state go to where that definition and UUID
        have them. An undo brings back its own definition and what its disks held.
      - Refused are a UUID that this host does not have, a guest that has none of the disks to restore, and a host that
        has the guest of the backup, or another one of its name, as well.
      - A restore that goes on under its O(restore_id), and an undo, know it themselves.
    type: str
  definition:
    description:
      - What becomes of the definition of a guest that exists. V(keep) leaves it as it is. V(replace) brings back that
        of the backup, under the name that the guest has now. V(merge) brings back that of the backup with title,
        description, metadata, tuning, security labels, network interfaces and screens of the one that exists.
      - A medium comes back only into a drive that still holds it. Passwords of screens are in no backup; V(merge) keeps
        those that there are.
      - What the host lacks of the new definition (machine type, processor, firmware, networks, pools, secrets) refuses
        the restore. An undo brings back the definition of before.
      - The default is V(keep); with O(into_uuid), unless O(disks) are named, it is V(replace).
    type: str
    choices: [keep, replace, merge]
  moved_disks:
    description:
      - What to do about a disk that lies elsewhere now than at the time of the backup, or has another name in the
        guest. V(refuse) refuses the restore and names both places.
      - V(old_place) restores the disk in its old place and points the guest to it again. What lies in the new place
        stays, and nothing refers to it any more.
    type: str
    choices: [refuse, old_place]
    default: refuse
  define_missing:
    description:
      - Whether a guest of the backup that this host does not define is defined as it was in the backup, with its UUID,
        its MAC addresses, its UEFI variables and the state of its TPM. Its disks are restored in their old places;
        files that are gone are made anew. A LUN that is gone cannot get its serial again; copy the guest then
        (M(kvmsnap.ontap.kvm_vm_clone)).
      - Where this host has the volumes mounted elsewhere, or names the LUN's device otherwise, the definition says so.
      - An undo undefines the guest and removes the files that were made.
    type: bool
    default: false
  disks_unused_elsewhere:
    description:
      - Your word that no guest of another host uses the disks of the guests to restore, and that none begins to.
      - Without it a restore is refused when a LUN is mapped to initiators that are neither this host's nor known
        (O(other_hosts_initiators)), when it is reserved by initiators that are not this host's, when its maps cannot be
        read, or when a guest in O(other_hosts_guests) uses a disk, though it is off.
      - It does not help against a guest in O(other_hosts_guests) that uses a disk and is not off.
    type: bool
    default: false
  multipath_required:
    description:
      - Whether a LUN reached by a single path, without multipath, is refused.
      - The module sees whether this host has mounted such a LUN or built something on it. It does not see whether
        another process than a guest has it open.
    type: bool
    default: true
  other_hosts:
    description:
      - What the other hosts that may run the guests said, by the name of the host; a list of the UUIDs of the guests
        that are active there, or V(false) for a host that could not be asked.
      - A guest that is active on another host is refused, and so is every guest while a host could not be asked that
        O(hosts_off) does not name.
    type: dict
  other_hosts_guests:
    description:
      - The guests of the other hosts, by the name of the host; a list of C(guests) as M(kvmsnap.ontap.kvm_vm_discover)
        returns them. Their C(name), C(uuid), C(state) and C(disks) are needed; with C(interfaces) and C(copy) the plan
        notes MAC addresses that another guest has, too.
      - A file or LUN that a guest of another UUID uses there is refused while that guest is not off, and also while it
        is off unless O(disks_unused_elsewhere) is set. A guest with the same UUID is the same guest.
    type: dict
  other_hosts_initiators:
    description:
      - The initiators of hosts that reported all of their guests in O(other_hosts_guests), by the name of the host; a
        list of C(initiators) as M(kvmsnap.ontap.kvm_vm_discover) returns them. A LUN may be mapped to them.
      - Those of a host do not count while one of its guests has a device of which the host cannot tell which LUN it is.
    type: dict
  hosts_off:
    description: Hosts of O(other_hosts) that could not be asked and are known to be off.
    type: list
    elements: str
    default: []
  unmanaged_guests:
    description:
      - Guests, by name or UUID, that no Pacemaker cluster starts while they are restored, whatever its configuration
        says.
      - Without it a guest is refused that a resource C(VirtualDomain) of this host's cluster runs, unless the resource,
        the cluster or all its nodes are unmanaged or in maintenance; and so is every guest when the cluster's
        configuration cannot be read.
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
  on_failure:
    description:
      - What happens to the guests after one that could not be restored. V(continue) restores each on its own. V(stop)
        does not begin the others, and gives them back the power state that they had. The result says what happened to
        each.
    type: str
    choices: [continue, stop]
    default: continue
  stop_timeout:
    description: Seconds that a guest may take to shut down.
    type: int
    default: 120
  start_timeout:
    description: Seconds that a guest may take to be running.
    type: int
    default: 120
  verify:
    description:
      - How much of each restored disk is compared with the snapshot's copy before the guest starts, V(sampled) blocks
        or, with V(full), all of it. Then the result has the SHA-256 of the content, too.
      - V(full) reads all disks once on this host and once from the snapshot, below C(.snapshot) or, of a LUN, from the
        array over REST, which takes its time while the guest is off. Reading has no time limit while it gets on; it
        is given up when nothing comes for O(timeout) seconds.
      - V(full) is refused before anything is touched where the snapshot's copy cannot be read, since this host does not
        see C(.snapshot), the account may not read a LUN's data, or O(method) makes no temporary LUN.
      - Disks that are put back since the restore failed are compared by samples.
    type: str
    choices: [sampled, full]
    default: sampled
  health:
    description:
      - What a guest that is to run must show within its time after it was started. A guest that does not is left as it
        is, on its restored disks; the module fails, naming the guest, what was seen and how to undo the restore.
      - All guests are looked at together, once all disks are written. A guest that stays off or paused is not. One
        without an agent channel, of which its agent's answer is asked, is refused before anything is touched.
      - Run again under the same O(restore_id), guests that were brought back are looked at again unless the condition
        is V(running); nothing is restored again.
    type: dict
    suboptions:
      condition:
        description:
          - V(running) is the guest's state alone, V(agent) an answer of its agent, V(command) exit code 0 of a program
            that the agent runs in it, V(tcp) a TCP port that accepts a connection from this host.
          - V(command) needs C(guest-exec), which is off by default in the agent on RHEL; then the condition fails at
            once with 'not available'.
        type: str
        choices: [running, agent, command, tcp]
        default: running
      timeout:
        description: Seconds that a guest may take. A last look may add ten seconds.
        type: int
        default: 300
      command:
        description:
          - With V(command), the program and its arguments, run without a shell, again after it failed.
          - The result has at most 200 characters of what it prints, and only when it fails.
        type: list
        elements: str
      port:
        description: With V(tcp), the port.
        type: int
      address:
        description:
          - With V(tcp), name or address of the guest. Without it those addresses are tried that the agent tells, or a
            lease of libvirt's networks.
        type: str
  unknown_wait:
    description:
      - Seconds to look for the fate of an overwrite that the array did not answer. The guest stays off meanwhile. If
        nothing shows that the overwrite has ended, the module fails, names what it looked for, and leaves the guest
        off.
      - Files that this host can rename are never overwritten by the array, so that this is about LUNs, and files in
        exports that squash root.
    type: int
    default: 900
  accept_unknown:
    description:
      - The name (O(restore_id)) of a restore that failed because the fate of an overwrite is unknown. With it the
        restore continues as if the overwrite had ended, and records that.
      - Make sure on the array that nothing overwrites the file or LUN any more; it would overwrite the running guest.
    type: str
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

- name: Bring back a guest that was deleted
  kvmsnap.ontap.kvm_app_restore:
    guests: [web2]
    define_missing: true
    restore_id: ticket-4713
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem

- name: Bring web3, which was defined anew, back to a backup from before that
  kvmsnap.ontap.kvm_app_restore:
    guests: [web3]
    backup_id: hv1-daily_20261121020000
    into_uuid: 6f6ea1ab-1f2c-44c8-bd4c-6a1c1d4bd5ef
    restore_id: ticket-4715
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem

- name: Compare every byte, and wait until the web server answers
  kvmsnap.ontap.kvm_app_restore:
    guests: [web1]
    restore_id: ticket-4714
    verify: full
    health:
      condition: tcp
      port: 443
      timeout: 180
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem

- name: Undo the first restore
  kvmsnap.ontap.kvm_app_restore:
    guests: [web1]
    restore_id: ticket-4711
    state: undone
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
    - A disk's C(notes) name what was left behind, such as a temporary LUN that could not be removed, settings of a LUN
      (QoS policy, space reservation, SCSI thin provisioning) that did not outlast its overwrite, and leaked
      clusters that C(qemu-img check) found. Its C(sha256) is that of its content, after a full comparison.
    - C(healthy) is false for a guest that was brought back and did not become healthy, null for one that was not looked
      at. C(health) says what was wanted and seen, and after how many seconds.
    - C(safety) is the snapshot that holds the guest as it was before.
    - C(autostart_off) is true while a guest that starts with its host is kept from it, since it is not brought back.
    - C(files) are the UEFI variables and the TPM's state that were replaced.
  returned: success and when a guest was not brought back or is not healthy
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
          sha256: null
          notes: []
      healthy: true
      health:
        condition: agent
        wanted: its agent answers
        seen: its agent answered
        seconds: 21.5
leased:
  description:
    - Whether a lease keeps the backup from being deleted while it is read. It is false, with a warning, where the
      backup belongs to another host, and no lease in that host's catalog is known.
  returned: success, but not of an undo, which reads a safety snapshot of this host
  type: bool
summary:
  description: The restore in lines for people.
  returned: success and when a guest was not brought back or is not healthy
  type: list
  elements: str
problems:
  description: Why the restore was refused, each with its code and remedy.
  returned: when it was refused
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.imported_backup import backup_from_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import trust_arguments
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health import health_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import (
    controllers_argument,
    method_argument,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import CATALOG, HOLD, LIBVIRT, LIBVIRT_FILES, RETRY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import (
    FOREIGN_DEFINITION,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import RestoreRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.run import run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    return {
        "controllers": controllers_argument(),
        "state": {"type": "str", "choices": ["restored", "undone"], "default": "restored"},
        "guests": {"type": "list", "elements": "str", "required": True},
        "disks": {"type": "list", "elements": "str", "default": []},
        "backup_id": {"type": "str", "default": "latest"},
        "backup_from": backup_from_argument(),
        **trust_arguments(),
        "restore_id": {"type": "str"},
        "method": method_argument(),
        "safety_snapshot": {"type": "bool", "default": True},
        "into_uuid": {"type": "str"},
        "disks_unused_elsewhere": {"type": "bool", "default": False},
        "multipath_required": {"type": "bool", "default": True},
        "other_hosts": {"type": "dict"},
        "definition": {"type": "str", "choices": ["keep", "replace", "merge"]},
        "moved_disks": {"type": "str", "choices": ["refuse", "old_place"], "default": "refuse"},
        "define_missing": {"type": "bool", "default": False},
        **FOREIGN_DEFINITION,
        "other_hosts_guests": {"type": "dict"},
        "other_hosts_initiators": {"type": "dict"},
        "hosts_off": {"type": "list", "elements": "str", "default": []},
        "unmanaged_guests": {"type": "list", "elements": "str", "default": []},
        "power": {"type": "str", "choices": ["as_was", "running", "off"], "default": "as_was"},
        "stop": {"type": "str", "choices": ["shutdown", "destroy"], "default": "shutdown"},
        "on_failure": {"type": "str", "choices": ["continue", "stop"], "default": "continue"},
        "stop_timeout": {"type": "int", "default": 120},
        "start_timeout": {"type": "int", "default": 120},
        "verify": {"type": "str", "choices": ["sampled", "full"], "default": "sampled"},
        "health": health_argument(),
        **CATALOG,
        **HOLD,
        **LIBVIRT_FILES,
        **LIBVIRT,
        "unknown_wait": {"type": "int", "default": 900},
        "accept_unknown": {"type": "str"},
        **RETRY,
        "timeout": {"type": "int", "default": 600},
    }


def main() -> None:
    """Run the module."""
    needed = [("state", "undone", ["restore_id"])]
    module = AnsibleModule(argument_spec=argument_spec(), required_if=needed, supports_check_mode=True)
    try:
        module.exit_json(**presentable(run(RestoreRequest.from_options(module.params), check=module.check_mode)))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
