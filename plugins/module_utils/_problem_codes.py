# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every code that discovery may report, its severity and what to do about it; docs/problem-codes.md is this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem, Severity

_EXCLUDE = "or leave the disk out by name (exclude_disks)"


@dataclass(frozen=True)
class Code:
    """One kind of finding: when it is reported, and what to do about it."""

    severity: Severity
    meaning: str
    remedy: str


CODES: dict[str, Code] = {
    # the host and its guests
    "libvirt-unavailable": Code(
        "warning",
        "libvirt's daemon did not answer; the guests were read from their XML files, and what runs is not known",
        "Start libvirt's daemon (libvirtd or virtqemud) and discover again; guests cannot be held without it.",
    ),
    "unreadable-definition": Code(
        "error",
        "the definition of a guest is no XML that can be read",
        "Look at the file or at 'virsh dumpxml' of the guest and define it again.",
    ),
    "guest-unreadable": Code(
        "error",
        "something about the guest cannot be looked at; the other guests can",
        "Look at what the message names; exclude the guest until that is mended.",
    ),
    "no-guest-matches": Code(
        "warning", "a glob in the list of guests matches none", "Correct the glob, or take it out of the list."
    ),
    "guest-not-here": Code(
        "info",
        "a guest that was asked for by name or UUID is none of this host's, and such are to be ignored"
        " (unknown_guests=ignore)",
        "Nothing is to be done when another host has the guest; else correct the name.",
    ),
    "exclusion-matches-nothing": Code(
        "warning",
        "an entry of exclude_disks matches no disk of the chosen guests",
        "Correct the entry (guest:target, target, or a path glob), or take it out of the list.",
    ),
    "nothing-to-protect": Code(
        "error", "the guest has no disk that would be saved", "Exclude the guest, or include one of its disks."
    ),
    "no-agent": Code(
        "info",
        "the guest has no channel for the QEMU guest agent; it can be suspended, not frozen",
        "Add a channel org.qemu.guest_agent.0 and install qemu-guest-agent in the guest for file-system consistency.",
    ),
    "agent-disconnected": Code(
        "warning",
        "the guest runs, but no agent is connected to its agent channel; it can be suspended, not frozen",
        "Install and start qemu-guest-agent in the guest.",
    ),
    "autostart": Code(
        "info",
        "the guest starts with the host",
        "Nothing is to be done; before a restore know that the host's boot would start it.",
    ),
    "managed-save": Code(
        "info",
        "the guest is off with a saved memory image that its next start would resume",
        "Start and shut down the guest for a clean state, or remove the image ('virsh managedsave-remove').",
    ),
    "transient-guest": Code(
        "info",
        "the guest is transient: its definition is gone when it stops",
        "Define it ('virsh define') when it is meant to stay; the backup keeps its definition.",
    ),
    "guest-identity": Code(
        "error",
        "a guest that is to be restored is not the one of the backup: another has its name, or the definition in the"
        " backup is another guest's",
        "Restore it under another name (kvm_restore_as); when it was defined anew with the same disks, restore into it"
        " (kvm_restore_into_uuid, into_uuid); or choose another backup.",
    ),
    "definition-not-allowed": Code(
        "error",
        "the definition in a backup that this host's own runs did not write names something outside of the guest: a"
        " file, device, socket, user, command or network of the host",
        "Look at the definition before you trust it. Restore the disks alone, with definition=keep, into a guest that"
        " you define yourself; name networks and bridges that are allowed (allowed_networks), and files of this host as"
        " kernel, initrd or target of a serial port (allowed_paths).",
    ),
    "firmware-state": Code(
        "error",
        "saved UEFI variables or TPM state of a guest are gone or altered, or would be put where they must not",
        "Bring the file back to what the backup says, choose another backup, or restore the disks by name (disks).",
    ),
    "guest-locked": Code(
        "error",
        "another process of this collection works on the guest (a hold, a restore, an undo, a copy's removal)",
        "Wait for its end and run again; when its process is dead, run playbooks/recover.yml.",
    ),
    "guest-half-restored": Code(
        "error",
        "a restore of the guest broke off amid its disks, which are neither old nor new, so that a backup leaves it"
        " out",
        "Run that restore again (its restore_id, or the same backup without one), undo it, or restore another backup.",
    ),
    "restore-unfinished": Code(
        "error",
        "a restore of the guest broke off, and this one would leave out a disk or file that it began",
        "Restore all that it began, run that restore again (its restore_id), or undo it.",
    ),
    # what keeps a guest from being restored now
    "guest-active-elsewhere": Code(
        "error",
        "the guest is active on another host of the play",
        "Stop it there, and restore it on the host where it belongs.",
    ),
    "disk-used-elsewhere": Code(
        "error",
        "a guest of another host of the play uses the file or LUN of the disk, too",
        "Stop that guest there; when it is off, say that it stays so (kvm_restore_other_hosts_off, other_hosts_off). Or"
        " restore the other disks alone (kvm_restore_disks, disks).",
    ),
    "host-not-asked": Code(
        "error",
        "another host of the play could not be asked whether the guest is active there",
        "Bring the host back, or, when it is certainly off, name it (kvm_restore_hosts_off, hosts_off).",
    ),
    "guest-busy": Code(
        "error",
        "a job of libvirt works on the guest or on one of its disks (block copy, commit, migration, save, backup)",
        "Wait for its end, or end it ('virsh blockjob --abort', 'virsh domjobabort').",
    ),
    "image-locked": Code(
        "error",
        "the guest is off, and somebody holds a lock on the image, as QEMU does while it has it open, here or on"
        " another host",
        "Stop what uses the image, on whichever host it runs.",
    ),
    "disk-in-use": Code(
        "error",
        "somebody else than its guest uses the disk: a process of this host, a loop device, a mount, swap, or what is"
        " built on the device",
        "End what uses it; the message names it.",
    ),
    "full-check-impossible": Code(
        "error",
        "all of a restored disk was to be compared with the snapshot's copy (verify=full), which cannot be read",
        "Let the host see .snapshot, give the role the LUNs' data (GET /api/storage/luns), use method auto, or use"
        " verify=sampled.",
    ),
    "health-impossible": Code(
        "error",
        "health is to be seen by the guest's agent, and the guest's definition has no agent channel",
        "Use condition running or tcp for the guest, or add a channel org.qemu.guest_agent.0 to it.",
    ),
    "cluster-managed": Code(
        "error",
        "a Pacemaker cluster manages the guest, and would start it while its disks are overwritten",
        "Take it out of the cluster's hands until it is back ('pcs resource unmanage RESOURCE', or the maintenance mode"
        " of the cluster); or say that no cluster starts it (kvm_restore_cluster_off, cluster_off).",
    ),
    "cluster-unknown": Code(
        "error",
        "this host belongs to a Pacemaker cluster whose configuration cannot be read",
        "Start Pacemaker here, or let 'cibadmin --query --local' answer; or say that no cluster starts the guest"
        " (kvm_restore_cluster_off, cluster_off).",
    ),
    "media-attached": Code(
        "warning",
        "a medium (an ISO or a floppy image) is in a drive of the guest; the guest is saved without it",
        "Eject the medium when it is not needed ('virsh change-media --eject').",
    ),
    # what is not storage that can be saved
    "local-file": Code(
        "error",
        "the image is a file on a local file system of the host",
        f"Move the image to an ONTAP volume, {_EXCLUDE}.",
    ),
    "unsupported-file-system": Code(
        "error",
        "the image is a file on a file system that is neither local nor NFS",
        f"Move the image to an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "image-on-san-file-system": Code(
        "error",
        "the image is a file on a file system that lies on a LUN or another SAN device of the host",
        f"Move the image to an NFS mount of an ONTAP volume, or give the guest a LUN of its own, {_EXCLUDE}.",
    ),
    "logical-volume": Code(
        "error",
        "the source is a logical volume (LVM) of the host",
        f"Give the guest a LUN of its own or an image on NFS, {_EXCLUDE}. LVM inside the guest's own disk is fine.",
    ),
    "unsupported-block-device": Code(
        "error",
        "the source is a block device of the host that is neither a LUN nor a logical volume",
        f"Give the guest a LUN of its own or an image on NFS, {_EXCLUDE}.",
    ),
    # LUNs, as the host sees them
    "lun-partition": Code(
        "error",
        "the source is a partition of a LUN, which only shares the LUN with whatever else is on it",
        f"Give the guest the whole LUN or an image on NFS, {_EXCLUDE}.",
    ),
    "single-path-device": Code(
        "error",
        "the source is one path of a multipath device, or a LUN without multipath",
        "Give the guest /dev/mapper/NAME of the LUN and let multipathd run, or allow LUNs with a single path"
        " (kvm_multipath_required=false).",
    ),
    "not-a-netapp-device": Code(
        "error",
        "the source is a SAN device, but by its WWID none of ONTAP",
        f"Save it by other means, {_EXCLUDE}.",
    ),
    "seven-mode-lun": Code(
        "error",
        "the LUN is one of Data ONTAP 7-Mode, which has no REST API",
        f"Move it to a system that runs ONTAP, {_EXCLUDE}.",
    ),
    "e-series-device": Code(
        "error",
        "the device is of a NetApp system without ONTAP (E-Series)",
        f"Save it by other means, {_EXCLUDE}.",
    ),
    "unresolvable-wwid": Code(
        "error",
        "the device is NetApp's, but neither its WWID nor sanlun tells which LUN it is",
        "Let multipath use the default identifier (uid_attribute ID_SERIAL), or install the Linux Host Utilities.",
    ),
    "paths-disagree": Code(
        "error",
        "the paths of a multipath device lead to another LUN than its WWID says, as after a LUN was replaced",
        "Flush the map and rescan: 'multipath -f NAME', delete the paths, 'rescan-scsi-bus.sh'.",
    ),
    "multipathd-not-running": Code(
        "error",
        "multipathd does not answer, so it is not known whether the LUN can be reached",
        "Start it: 'systemctl start multipathd'.",
    ),
    "no-working-path": Code(
        "error",
        "no path to the LUN works; whoever reads a device that queues without a path waits for ever",
        "Look at the paths ('multipath -ll'), the fabric and the LIFs of the SVM.",
    ),
    "path-failed": Code(
        "warning",
        "not all paths to the LUN work, or there is only one",
        "Look at the paths ('multipath -ll'), the fabric and the LIFs of the SVM.",
    ),
    "lun-activated-on-host": Code(
        "warning",
        "the host has made devices out of what is inside the guest's LUN (partitions, logical volumes); writing to them"
        " destroys the guest's data, and a restore is refused while they are active",
        "Remove them ('kpartx -d', 'vgchange -an'), set skip_kpartx in multipath.conf, and keep LVM away from the LUN"
        " by its devices file or a filter.",
    ),
    # LUNs, as the array sees them
    "unknown-lun": Code(
        "error",
        "none of the given controllers has the LUN",
        "Add the controller of the LUN to 'controllers'.",
    ),
    "luns-not-readable": Code(
        "error",
        "the LUN was not found, and the account's role on a controller allows no look at LUNs",
        "Give the role /api/storage/luns (readonly for a backup, all for a restore).",
    ),
    "ambiguous-lun": Code(
        "error",
        "several LUNs of the given controllers have the serial, as in an active sync relationship",
        "Give only the controller whose copy is to be saved in 'controllers'.",
    ),
    "sanlun-disagrees": Code(
        "error",
        "sanlun names another LUN for the device than its WWID leads to",
        "Rescan the host ('rescan-scsi-bus.sh', 'multipath -r') until 'sanlun lun show -p' agrees with the array.",
    ),
    "sanlun-unconfirmed": Code(
        "error",
        "only sanlun tells which LUN the device is, and the serial of that LUN is not the one of the device",
        "Let multipath use the default identifier (uid_attribute ID_SERIAL), and rescan the host.",
    ),
    "sanlun-failed": Code(
        "warning",
        "sanlun is installed and did not answer; what it would say was not compared",
        "Run 'sanlun lun show -p' by hand and follow what it says.",
    ),
    "sanlun-silent": Code(
        "warning",
        "sanlun is installed and does not name the device, so its word on the LUN was not compared",
        "Look for the device in 'sanlun lun show -p'; where it is missing, rescan the host or update the Linux Host"
        " Utilities.",
    ),
    "lun-outside-volume": Code(
        "error",
        "the LUN lies in no volume, as on disaggregated systems (ASA r2); snapshots of those are made another way",
        f"Save it by other means, {_EXCLUDE}.",
    ),
    "unsupported-lun-class": Code(
        "error", "the LUN belongs to VMware's virtual volumes", f"Save it by other means, {_EXCLUDE}."
    ),
    "lun-offline": Code("error", "the LUN is not online", "Bring the LUN online."),
    "lun-read-only": Code(
        "error",
        "the LUN allows only reading (the destination of a mirror)",
        "Break the mirror, or give the guest the LUN of the source volume.",
    ),
    "lun-size-differs": Code(
        "error",
        "the LUN has another size on the array than on the host, as after it was grown",
        "Rescan its paths and resize the map ('multipathd resize map NAME').",
    ),
    "lun-used-by-several-guests": Code(
        "error",
        "several guests use one LUN without marking it as shared, or one by a path, a partition or as a host device;"
        " restoring one guest would overwrite the other",
        "Give every guest a LUN of its own, mark a cluster's disk as shareable, or make it read-only.",
    ),
    "lun-mapped-elsewhere": Code(
        "info",
        "the LUN is mapped to initiators that are not this host's; a guest may run on another host of the cluster",
        "Nothing is to be done for hosts of one cluster; before a restore make sure that none of them uses the LUN.",
    ),
    "lun-reserved": Code(
        "error",
        "another host, or one that cannot be told, holds a persistent reservation on the LUN; a guest may write there",
        "Make sure that no guest of another host uses the LUN, then say so (kvm_restore_other_hosts_off,"
        " other_hosts_off).",
    ),
    "lun-maps-unknown": Code(
        "info",
        "to whom the LUN is mapped cannot be read, or its igroup shows no initiators, so other hosts that see it are"
        " not known",
        "Give the role /api/protocols/san/lun-maps and /api/protocols/san/igroups (readonly); unmap the LUN from an"
        " igroup that is empty.",
    ),
    # what QEMU or the host serves by other means
    "network-disk": Code(
        "error",
        "QEMU itself reaches the disk over the network (RBD, iSCSI, NBD, Gluster, HTTP, ...)",
        f"Move the disk to an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "nvme-disk": Code(
        "error",
        "the disk is an NVMe namespace that is passed to QEMU",
        f"Move the disk to an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "vhost-disk": Code(
        "error",
        "another process of the host serves the disk (vhost-user, vhost-vdpa)",
        f"Move the disk to an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "directory-disk": Code(
        "error",
        "the disk is a directory of the host shown as a FAT file system",
        f"Make it an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "unsupported-disk-type": Code(
        "error", "the disk is of a type that is not known here", f"Make it an image on an NFS mount, {_EXCLUDE}."
    ),
    "shared-directory": Code(
        "error",
        "a directory of the host is shared into the guest (virtiofs, 9p); what the guest keeps there is not saved",
        "Save the directory by other means and leave it out by name (exclude_disks).",
    ),
    "passed-through-controller": Code(
        "error",
        "a storage controller of the host is passed through to the guest; the disks behind it cannot be seen",
        "Save what lies behind it by other means and leave it out by name (exclude_disks).",
    ),
    "passed-through-disk": Code(
        "error",
        "a SCSI or USB disk of the host is passed through to the guest as a host device",
        "Attach a LUN as a disk of its multipath device (device='lun' passes SCSI commands on), or save it by other"
        " means and leave it out by name (exclude_disks).",
    ),
    "unknown-passed-through-device": Code(
        "warning",
        "a device of the host is passed through to the guest, and the host cannot tell whether it is storage",
        "Look at the device; what is stored behind it is not saved.",
    ),
    "pool-volume-unresolved": Code(
        "error",
        "the disk is a volume of a libvirt storage pool, and libvirt cannot tell where it is",
        f"Start and refresh the storage pool ('virsh pool-start', 'virsh pool-refresh'), {_EXCLUDE}.",
    ),
    # the image
    "missing-file": Code(
        "error",
        "the file that the definition names does not exist",
        f"Mount its storage or correct the definition, {_EXCLUDE}.",
    ),
    "not-a-file": Code(
        "error", "what the definition names as an image file is none", f"Correct the definition, {_EXCLUDE}."
    ),
    "inside-snapshot": Code(
        "error",
        "the image lies inside a .snapshot directory, which is read-only and goes with its snapshot",
        "Copy the image out of the snapshot and let the guest use the copy.",
    ),
    "unsupported-image-format": Code(
        "error",
        "the image's format is not one that can be inspected and restored as one file",
        f"Convert the image to raw or qcow2 (qemu-img convert), {_EXCLUDE}.",
    ),
    "image-unreadable": Code(
        "error",
        "qemu-img cannot read the image in the format that the definition names, so what it depends on is not known",
        f"Check the image (qemu-img info) and its format in the definition, {_EXCLUDE}.",
    ),
    "external-data-file": Code(
        "error",
        "the image keeps its data in other files",
        f"Convert the image to one that is a single file (qemu-img convert), {_EXCLUDE}.",
    ),
    "backing-file-outside": Code(
        "error",
        "a backing file of the image lies outside the volumes that hold the guest's own disks, or is no file there",
        "Move the backing file to the guest's volume, or make the image independent (virsh blockpull).",
    ),
    "backing-file-shared": Code(
        "warning",
        "several guests depend on one backing file; it is saved with the volume and never overwritten by a restore",
        "Nothing is to be done; keep the file as it is while guests depend on it.",
    ),
    "backing-chain": Code(
        "info",
        "the image is an overlay over other files (an external snapshot or a linked clone)",
        "Merge overlays that are not needed (virsh blockcommit); a restore needs the same chain as the backup.",
    ),
    "internal-snapshots": Code(
        "info",
        "the image holds internal snapshots; they are part of the backup and come back with a restore",
        "Delete the ones that are not needed ('virsh snapshot-delete').",
    ),
    "unsafe-cache": Code(
        "warning",
        "the disk's cache mode is 'unsafe': what the guest has flushed may not be on the storage, held or not",
        "Set the cache mode to 'none' or 'writeback'.",
    ),
    "block-job-active": Code(
        "warning",
        "a block job copies the disk to another place while the guest runs",
        "Wait for the end of the job, or end it ('virsh blockjob'), before relying on where the disk is.",
    ),
    "transient-disk": Code(
        "warning",
        "the disk is transient: what the guest writes is dropped when it stops, and is not in the image",
        "Make the disk permanent, or leave it out by name (exclude_disks).",
    ),
    "shareable-disk": Code(
        "warning",
        "the disk is marked as shared between guests",
        "Restore all guests that use it at once, or none of them.",
    ),
    "disk-used-by-several-guests": Code(
        "error",
        "several guests use one image without marking it as shared; restoring one guest would overwrite the other",
        "Give every guest an image of its own, mark a cluster's disk as shareable, or make it read-only.",
    ),
    # from the mount to the volume
    "mount-not-responding": Code(
        "error", "the file system that holds the image does not answer", "Look at the mount and its NFS server."
    ),
    "unresolvable-server": Code(
        "error",
        "the name of the NFS server does not resolve on this host",
        "Add the name to /etc/hosts or to DNS.",
    ),
    "not-an-ontap-address": Code(
        "error",
        "the NFS server's address is no data LIF of any of the given controllers",
        "Add the controller that owns the address to 'controllers', or correct the mount.",
    ),
    "ambiguous-address": Code(
        "error",
        "the NFS server's address exists several times, in several IPspaces or on several controllers",
        "Give only the controller (or the SVM's management LIF) that serves this host in 'controllers'.",
    ),
    "no-volume-at-path": Code(
        "error",
        "no volume of the SVM is mounted at the path that the host has mounted",
        "Look at the junction paths of the SVM, and remount the export on the host.",
    ),
    "volume-is-svm-root": Code(
        "error",
        "the image or LUN lies in the root volume of the SVM, not in a data volume",
        "Move it to a data volume.",
    ),
    "flexgroup": Code(
        "error",
        "the volume is a FlexGroup; single files of it cannot be restored the way this collection does",
        "Move the image to a FlexVol volume.",
    ),
    "flexcache": Code(
        "error",
        "the volume is a FlexCache of another one",
        "Mount the origin volume, or move the image to a volume of its own.",
    ),
    "volume-offline": Code("error", "the volume is not online", "Bring the volume online."),
    "volume-read-only": Code(
        "error",
        "the volume is the destination of a mirror (dp) or a load-sharing copy (ls)",
        "Break the mirror, or mount the source volume.",
    ),
    # the stored mapping
    "mapping-drift": Code(
        "warning",
        "a guest's disks lie elsewhere than the stored mapping says; what was discovered is used",
        "Store the new mapping (kvm_vm_mapping).",
    ),
    "mapping-unknown-guest": Code(
        "warning",
        "the stored mapping names a guest that this host does not have",
        "Store the new mapping (kvm_vm_mapping).",
    ),
    "mapping-unwritable": Code(
        "warning",
        "a guest's name or path holds ':' or ';', which the one-line mapping cannot hold; the list has it",
        "Use kvm_vm_mapping_list, or rename the guest or the image.",
    ),
    "mapping-unknown-controller": Code(
        "error",
        "the controller of a mapping entry is neither an SVM of the given controllers nor the address of one",
        "Correct the entry, or add its controller to 'controllers'.",
    ),
    "mapping-unknown-volume": Code(
        "error", "the SVM of a mapping entry has no volume of that name", "Correct the entry, or discover anew."
    ),
    "mapping-unknown-path": Code(
        "error", "the volume of a mapping entry has no such file or LUN", "Correct the entry, or discover anew."
    ),
    "mapping-format-unknown": Code(
        "error",
        "without discovery, no disk that libvirt knows of the guest lies where a mapping entry says; the file's format"
        " is not known, so a backup of it could not be restored",
        "Correct the entry, or let libvirt tell: start its daemon, define the guest, mount its volume on this host.",
    ),
    "mapping-not-a-file": Code(
        "error",
        "the path of a mapping entry is a directory or something else that is neither a file nor a LUN",
        "Correct the entry, or take it out of the mapping.",
    ),
}


def problem_of(code: str, message: str, *, guest: Optional[str] = None, disk: Optional[str] = None) -> Problem:
    """Return a finding of a known kind; ``message`` is the sentence about this one."""
    kind = CODES[code]
    return Problem(code, kind.severity, message, kind.remedy, guest, disk)
