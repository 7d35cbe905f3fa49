#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: which guests a KVM host has, and where their disks lie on ONTAP."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_discover
short_description: Find the guests of a KVM host and where their disks lie on ONTAP
version_added: 0.1.0
description:
  - Reads the guests of the host from libvirt, follows each disk to the NFS mount or LUN and to the ONTAP volume that
    holds it, and tells which guests can be protected and what stands in the way of the others.
  - When libvirt does not answer, the guests are read from O(config_dir), and the result says so.
  - ONTAP is asked once per system for the addresses, the volumes and the LUNs, whatever the number of guests.
  - A LUN is found by the WWID of its multipath device. What C(sanlun) of the Linux Host Utilities says, where it is
    installed, must agree, or the guest is not protected. No device is read before one of its paths is known to work.
  - Everything about single guests and disks is a finding in RV(problems), with a stable code and what to do about it;
    the module fails only when it cannot look at all, or does not know a guest that it was asked for (see
    O(unknown_guests)).
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.ontap
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.attributes.actiongroup_ontap
  - kvmsnap.ontap.libvirt
  - kvmsnap.ontap.libvirt.files
  - kvmsnap.ontap.retry
options:
  guests:
    description:
      - The guests to look at, by name, glob or UUID. O(unknown_guests) says what a name or UUID means that no guest
        has.
    type: list
    elements: str
    default: ["*"]
  unknown_guests:
    description:
      - What to do about a name or UUID in O(guests) that no guest of this host has.
      - V(fail) fails, so that a mistyped name does not go unnoticed.
      - V(ignore) reports it in RV(problems) with the code C(guest-not-found), for a list that is meant for several
        hosts. Whether any of them has the guest is then for the caller to check.
    type: str
    choices: [fail, ignore]
    default: fail
  exclude:
    description: Guests to leave out, by name, glob or UUID.
    type: list
    elements: str
    default: []
  disks:
    description: Whether all disks of a guest are to be saved, or only the one that it boots from.
    type: str
    choices: [all, boot]
    default: all
  exclude_disks:
    description:
      - Disks to leave out. A guest is protected without them, and the result says so.
      - Each entry is C(guest:target) (globs are possible), a target such as V(vdb) for every guest, or, when it begins
        with C(/), a path or a glob of paths. Passed-through devices and shared directories are named as in
        RV(guests[].disks[].target).
    type: list
    elements: str
    default: []
  config_dir:
    description: Directory of the guests' XML files, read when libvirt does not answer.
  uri:
    description: The libvirt connection.
  timeout:
    description: Seconds that all calls to ONTAP together may take.
    type: int
    default: 300
  multipath_required:
    description: Whether a LUN reached by a single path, without multipath, keeps its guest from being protected.
    type: bool
    default: true
  mapping:
    description:
      - The stored mapping of guests to storage, as Snap Creator's one-line C(KVM_VM_MAPPING)
        (C(guest:controller:/vol/volume/path;)) or as a list of dictionaries with V(guest), V(controller) and V(path).
      - What is discovered wins; a difference is a finding.
    type: raw
    default: []
  auto_discovery:
    description:
      - With V(false) the O(mapping) is taken as it is and checked against ONTAP. The controller of an entry is an
        SVM's name, an address of one of its LIFs, or a name that this host resolves to one. O(disks) and
        O(exclude_disks) have no meaning then.
      - Format, size and backing files still come from the guest's definition, from its disk at that place. A guest with
        an entry for which libvirt tells of no disk is not protected, since its backup could not be restored.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The module changes nothing.
requirements:
  - libvirt's Python binding (C(python3-libvirt))
  - C(netapp-ontap)
  - C(qemu-img), for images that are not raw
  - C(multipathd), for guests on LUNs
seealso:
  - module: kvmsnap.ontap.kvm_vm_quiesce
"""

EXAMPLES = r"""
- name: Look at all guests but the test ones
  kvmsnap.ontap.kvm_vm_discover:
    exclude: ["test-*"]
    exclude_disks: ["db1:vdc"]
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem
  register: found

- name: Show what stands in the way
  ansible.builtin.debug:
    msg: "{{ found.problems | selectattr('severity', 'eq', 'error') | map(attribute='message') | list }}"
"""

RETURN = r"""
guests:
  description: The chosen guests.
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
      description: The guest's UUID, empty when libvirt does not know it.
      returned: success
      type: str
    state:
      description: V(running), V(paused), V(shutoff), V(crashed), V(pmsuspended) or V(unknown).
      returned: success
      type: str
      sample: running
    state_reason:
      description: Why it is in that state, in libvirt's words.
      returned: success
      type: str
      sample: booted
    persistent:
      description: Whether its definition outlives a shutdown.
      returned: success
      type: bool
    autostart:
      description: Whether it starts with the host.
      returned: success
      type: bool
    source:
      description: Where it was found, V(libvirt), V(config_dir) or V(mapping).
      returned: success
      type: str
      sample: libvirt
    agent:
      description: Whether a guest agent is V(connected) or V(disconnected), or the guest has V(none).
      returned: success
      type: str
      sample: connected
    os:
      description: V(linux), V(windows), V(solaris) or V(unknown), from the definition's libosinfo entry.
      returned: success
      type: str
      sample: linux
    protected:
      description: Whether a backup would hold everything of the guest that was asked for.
      returned: success
      type: bool
    xml:
      description: Its definition, without passwords.
      returned: success
      type: str
    nvram:
      description: The file of its UEFI variables.
      returned: success
      type: str
    tpm:
      description: Whether it has an emulated TPM.
      returned: success
      type: bool
    managed_save:
      description: Whether its next start would resume a saved memory image.
      returned: success
      type: bool
    interfaces:
      description: Its network interfaces that have a MAC address.
      returned: success
      type: list
      elements: dict
      contains:
        mac:
          description: The MAC address in lower case.
          returned: success
          type: str
          sample: "52:54:00:aa:bb:cc"
        network:
          description: The network of libvirt, the bridge or the device that it is on.
          returned: success
          type: str
          sample: default
    copy:
      description: Whether it is a copy that M(kvmsnap.ontap.kvm_vm_clone) made.
      returned: success
      type: bool
    disks:
      description: Its disks, drives, passed-through storage and shared directories.
      returned: success
      type: list
      elements: dict
      contains:
        target:
          description: The disk's name in the guest, or a name made from the address of what has none.
          returned: success
          type: str
          sample: vda
        bus:
          description: The bus it is attached by.
          returned: success
          type: str
          sample: virtio
        device:
          description: V(disk), V(lun), V(cdrom), V(floppy), or the kind of what is passed through or shared.
          returned: success
          type: str
          sample: disk
        role:
          description: V(boot) or V(data).
          returned: success
          type: str
          sample: boot
        type:
          description: libvirt's disk type (V(file), V(block), V(volume), V(network), ...), V(hostdev) or V(filesystem).
          returned: success
          type: str
          sample: file
        source:
          description: What the definition says.
          returned: success
          type: str
          sample: /mnt/kvm_vol1/web1.img
        path:
          description: The file or device with all symbolic links followed.
          returned: success
          type: str
          sample: /mnt/kvm_vol1/web1.img
        format:
          description:
            - The image's format by the definition, V(raw) where that says nothing. V(unknown) for an entry of a given
              mapping that no definition tells of.
          returned: success
          type: str
          sample: raw
        cache:
          description: The cache mode by the definition.
          returned: success
          type: str
          sample: none
        readonly:
          description: Whether the guest may not write to it.
          returned: success
          type: bool
        shareable:
          description: Whether it is marked as shared between guests.
          returned: success
          type: bool
        serial:
          description: The serial number that the guest sees.
          returned: success
          type: str
        backing:
          description: The files below the image, from the top down.
          returned: success
          type: list
          elements: str
        backing_storage:
          description: Where those of them that lie on ONTAP are, each as C(storage) of a disk.
          returned: success
          type: list
          elements: dict
        included:
          description: Whether a backup would hold it.
          returned: success
          type: bool
        reason:
          description: Why it is not included.
          returned: success
          type: str
        size:
          description: Bytes that the guest sees; unknown for what is not included.
          returned: success
          type: int
          sample: 67108864
        storage:
          description:
            - Where it lies on ONTAP; nothing when it does not, or when its place is unknown.
            - Its C(kind) is C(nfs) or C(lun). C(lun) is nothing for a file, and for a LUN a dictionary with C(uuid),
              C(serial), C(wwid), C(size) (bytes, as the array says), C(os_type) and the host's C(device).
          returned: success
          type: dict
          sample:
            kind: nfs
            controller: cluster1.example.com
            svm: svm1
            svm_uuid: 0d4bd0f0-6e0c-4d3a-a45f-0c7f3e1d2b11
            volume: kvm_vol1
            volume_uuid: 4e7b8a3c-3c9a-4b1f-8f35-1f3b0a9f6c22
            path: web1.img
            mount_point: /mnt/kvm_vol1
            nfs_source: 198.51.100.21:/kvm_vol1
            nfs_version: "4.1"
            locks: true
            lun: null
volumes:
  description: The volumes that hold included disks, each once.
  returned: success
  type: list
  elements: dict
  contains:
    controller:
      description: The controller through which it was found.
      returned: success
      type: str
    svm:
      description: Its SVM.
      returned: success
      type: str
      sample: svm1
    svm_uuid:
      description: The SVM's UUID.
      returned: success
      type: str
    volume:
      description: Its name.
      returned: success
      type: str
      sample: kvm_vol1
    volume_uuid:
      description: Its UUID.
      returned: success
      type: str
    junction:
      description: Its junction path in the SVM's namespace.
      returned: success
      type: str
      sample: /kvm_vol1
    mount_point:
      description: The host's directory of the volume's root, or of the directory RV(volumes[].mount_path) inside it.
      returned: success
      type: str
      sample: /mnt/kvm_vol1
    mount_path:
      description: The directory inside the volume that is mounted, empty for its root.
      returned: success
      type: str
    guests:
      description: Names of the guests with included disks on it.
      returned: success
      type: list
      elements: str
problems:
  description: The findings.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: What it is. All codes are in the collection's table of problem codes.
      returned: success
      type: str
      sample: local-file
    severity:
      description: V(error) when the guest is not protected, V(warning) or V(info).
      returned: success
      type: str
      sample: error
    guest:
      description: The guest it is about.
      returned: success
      type: str
      sample: web1
    disk:
      description: The disk's target.
      returned: success
      type: str
      sample: vdb
    message:
      description: What was found.
      returned: success
      type: str
    remedy:
      description: What to do about it.
      returned: success
      type: str
kvm_vm_mapping:
  description: The mapping of the included disks in one line.
  returned: success
  type: str
  sample: "web1:svm1:/vol/kvm_vol1/web1.img;"
kvm_vm_mapping_list:
  description: The same as a list of dictionaries with V(guest), V(controller) (the SVM) and V(path).
  returned: success
  type: list
  elements: dict
libvirt_available:
  description: Whether libvirt answered.
  returned: success
  type: bool
initiators:
  description: The iSCSI names and Fibre Channel port names under which the host reaches arrays.
  returned: success
  type: list
  elements: str
  sample: [iqn.2026-01.org.example:hv1]
ontap:
  description: The systems that were asked, with V(controller), V(cluster) and V(version).
  returned: success
  type: list
  elements: dict
  sample:
    - controller: cluster1.example.com
      cluster: cluster1
      version: 9.19.1
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import DiscoveryRequest, discover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import controllers_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import LIBVIRT, LIBVIRT_FILES, RETRY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    return {
        "controllers": controllers_argument(),
        "guests": {"type": "list", "elements": "str", "default": ["*"]},
        "unknown_guests": {"type": "str", "choices": ["fail", "ignore"], "default": "fail"},
        "exclude": {"type": "list", "elements": "str", "default": []},
        "disks": {"type": "str", "choices": ["all", "boot"], "default": "all"},
        "exclude_disks": {"type": "list", "elements": "str", "default": []},
        **LIBVIRT_FILES,
        **LIBVIRT,
        **RETRY,
        "timeout": {"type": "int", "default": 300},
        "multipath_required": {"type": "bool", "default": True},
        "mapping": {"type": "raw", "default": []},
        "auto_discovery": {"type": "bool", "default": True},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        module.exit_json(**presentable(discover(DiscoveryRequest.from_options(module.params)).as_result()))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
