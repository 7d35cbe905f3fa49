# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every code of a finding, its severity and what to do about it; docs/problem-codes.md is this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem, Severity

_EXCLUDE = "or leave the disk out by name (exclude_disks)"


@dataclass(frozen=True)
class Kind:
    """One kind of finding: when it is reported, and what to do about it."""

    severity: Severity
    meaning: str
    remedy: str


CODES: dict[Code, Kind] = {
    # the host and its guests
    "libvirt-unavailable": Kind(
        "warning",
        "libvirt's daemon did not answer; the guests were read from their XML files, and what runs is not known",
        "Start libvirt's daemon (libvirtd or virtqemud) and discover again; guests cannot be held without it.",
    ),
    "definition-unreadable": Kind(
        "error",
        "the definition of a guest is not readable XML",
        "Look at the file or at 'virsh dumpxml' of the guest and define it again.",
    ),
    "guest-unreadable": Kind(
        "error",
        "something about the guest cannot be examined; the other guests can",
        "Look at what the message names; exclude the guest until that is mended.",
    ),
    "no-guest-matches": Kind(
        "warning", "a glob in the list of guests matches none", "Correct the glob, or take it out of the list."
    ),
    "guest-not-found": Kind(
        "info",
        "this host does not have a guest that was asked for by name or UUID, and the run ignores such guests"
        " (unknown_guests=ignore)",
        "If another host has the guest, nothing has to be done; otherwise correct the name.",
    ),
    "exclusion-matches-nothing": Kind(
        "warning",
        "an entry of exclude_disks matches no disk of the chosen guests",
        "Correct the entry (guest:target, target, or a path glob), or take it out of the list.",
    ),
    "nothing-to-protect": Kind(
        "error", "the guest has no disk that would be saved", "Exclude the guest, or include one of its disks."
    ),
    "no-agent": Kind(
        "info",
        "the guest has no channel for the QEMU guest agent; it can be suspended, not frozen",
        "Add a channel org.qemu.guest_agent.0 and install qemu-guest-agent in the guest for file-system consistency.",
    ),
    "agent-disconnected": Kind(
        "warning",
        "the guest runs, but no agent is connected to its agent channel; it can be suspended, not frozen",
        "Install and start qemu-guest-agent in the guest.",
    ),
    "autostart": Kind(
        "info",
        "the guest starts with the host",
        "Nothing has to be done. Before a restore, remember that a boot of the host starts the guest.",
    ),
    "managed-save": Kind(
        "info",
        "the guest is off with a saved memory image that its next start would resume",
        "Start and shut down the guest for a clean state, or remove the image ('virsh managedsave-remove').",
    ),
    "transient-guest": Kind(
        "info",
        "the guest is transient: its definition is gone when it stops",
        "Define it ('virsh define') when it is meant to stay; the backup keeps its definition.",
    ),
    "guest-identity": Kind(
        "error",
        "a guest that is to be restored is not the one of the backup: another has its name, or the definition in the"
        " backup is another guest's",
        "Restore it under another name (kvm_restore_as); when it was defined anew with the same disks, restore into it"
        " (kvm_restore_into_uuid, into_uuid); or choose another backup.",
    ),
    "definition-not-allowed": Kind(
        "error",
        "the definition in a backup that this host's own runs did not write names something outside of the guest: a"
        " file, device, socket, user, command or network of the host",
        "Look at the definition before you trust it. Restore the disks alone, with definition=keep, into a guest that"
        " you define yourself; name networks and bridges that are allowed (allowed_networks), and files of this host as"
        " kernel, initrd or target of a serial port (allowed_paths).",
    ),
    "firmware-state": Kind(
        "error",
        "saved UEFI variables or TPM state of a guest are gone or altered, or would be put where they must not",
        "Bring the file back to what the backup says, choose another backup, or restore the disks by name (disks).",
    ),
    "guest-locked": Kind(
        "error",
        "another process of this collection works on the guest (a hold, a restore, an undo, a copy's removal)",
        "Wait for its end and run again; when its process is dead, run playbooks/recover.yml.",
    ),
    "guest-half-restored": Kind(
        "error",
        "a restore of the guest failed part-way through its disks, which are neither old nor new, so that a backup"
        " leaves it out",
        "Run that restore again (its restore_id, or the same backup without one), undo it, or restore another backup.",
    ),
    "restore-unfinished": Kind(
        "error",
        "a restore of the guest broke off, and this one would leave out a disk or file that it began",
        "Restore all that it began, run that restore again (its restore_id), or undo it.",
    ),
    # what keeps a guest from being restored now
    "guest-active-elsewhere": Kind(
        "error",
        "the guest is active on another host of the play",
        "Stop it there, and restore it on the host where it belongs.",
    ),
    "disk-used-elsewhere": Kind(
        "error",
        "a guest of another host of the play uses the file or LUN of the disk, too",
        "Stop that guest there; when it is off, say that it stays so (kvm_restore_disks_unused_elsewhere,"
        " disks_unused_elsewhere). Or restore the other disks alone (kvm_restore_disks, disks).",
    ),
    "host-unreachable": Kind(
        "error",
        "another host of the play could not be asked whether the guest is active there",
        "Bring the host back, or, when it is certainly off, name it (kvm_restore_hosts_off, hosts_off).",
    ),
    "guest-busy": Kind(
        "error",
        "a job of libvirt works on the guest or on one of its disks (block copy, commit, migration, save, backup)",
        "Wait for its end, or end it ('virsh blockjob --abort', 'virsh domjobabort').",
    ),
    "image-locked": Kind(
        "error",
        "the guest is off, and somebody holds a lock on the image, as QEMU does while it has it open, here or on"
        " another host",
        "Stop what uses the image, on whichever host it runs.",
    ),
    "disk-in-use": Kind(
        "error",
        "somebody other than its guest uses the disk: a process of this host, a loop device, a mount, swap, or what is"
        " built on the device",
        "End what uses it; the message names it.",
    ),
    "full-verify-impossible": Kind(
        "error",
        "all of a restored disk was to be compared with the snapshot's copy (verify=full), which cannot be read",
        "Let the host see .snapshot, give the role the LUNs' data (GET /api/storage/luns), use method auto, or use"
        " verify=sampled.",
    ),
    "health-impossible": Kind(
        "error",
        "the guest's agent is to show its health, and the guest's definition has no agent channel",
        "Use condition running or tcp for the guest, or add a channel org.qemu.guest_agent.0 to it.",
    ),
    "cluster-managed": Kind(
        "error",
        "a Pacemaker cluster manages the guest, and would start it while its disks are overwritten",
        "Take it out of the cluster's hands until it is back ('pcs resource unmanage RESOURCE', or the maintenance mode"
        " of the cluster); or say that no cluster starts it (kvm_restore_unmanaged_guests, unmanaged_guests).",
    ),
    "cluster-unknown": Kind(
        "error",
        "this host belongs to a Pacemaker cluster whose configuration cannot be read",
        "Start Pacemaker here, or let 'cibadmin --query --local' answer; or say that no cluster starts the guest"
        " (kvm_restore_unmanaged_guests, unmanaged_guests).",
    ),
    "media-attached": Kind(
        "warning",
        "a medium (an ISO or a floppy image) is in a drive of the guest; the guest is saved without it",
        "Eject the medium when it is not needed ('virsh change-media --eject').",
    ),
    # what a restore or a copy finds when it compares a backup with what is now
    "guest-not-in-backup": Kind(
        "error",
        "the backup does not hold a guest that was asked for",
        "Name one of its guests, or choose another backup.",
    ),
    "guest-not-defined": Kind(
        "error",
        "a guest that is to be restored is not defined on this host",
        "Run the restore on the host that defines it, or let this host define it (define_missing).",
    ),
    "no-disk-saved": Kind("error", "the backup holds no disk of the guest", "Choose another backup."),
    "manifest-incomplete": Kind(
        "error", "the backup does not say where a disk lies, or in which volume", "Choose another backup."
    ),
    "disk-moved": Kind(
        "error",
        "the disk lies elsewhere now than at the time of the backup",
        "Move it back, let the restore bring it there (moved_disks=old_place), or choose a backup from after the move.",
    ),
    "disk-swapped": Kind(
        "error",
        "a disk has another one's target now: the guest would find the two in each other's place",
        "Give the disks the targets that they had ('virsh edit'), or choose a backup from after the change.",
    ),
    "format-mismatch": Kind(
        "error",
        "the disk's format is another one than at the time of the backup",
        "Put the guest's definition right, or restore from a backup of the present format.",
    ),
    "size-mismatch": Kind(
        "error",
        "the disk, its LUN, or what the snapshot holds of it has another size than at the time of the backup",
        "Make sure that it is the same disk; resize it to what it was to go on.",
    ),
    "backing-chain-mismatch": Kind(
        "error",
        "overlays came or went since the backup: external snapshots were taken, or merged",
        "Bring the chain back to what it was (the message names the overlays), or restore the guest as a copy.",
    ),
    "backing-file-changed": Kind(
        "error",
        "a file below an overlay is missing, or is not what it was at the time of the backup",
        "Bring the file back first, from the snapshot of the same backup, or restore the guest as a copy.",
    ),
    "snapshot-missing": Kind(
        "error",
        "a volume has no snapshot of the backup's name",
        "Choose another backup, or give the controller that has the volume.",
    ),
    "snapshot-replaced": Kind(
        "error",
        "the snapshot of the backup's name is another one, by UUID or by time of creation",
        "Choose another backup: this snapshot is not the one that it made.",
    ),
    "file-not-in-snapshot": Kind(
        "error", "the snapshot does not hold the file or LUN of the disk", "Choose another backup."
    ),
    "lun-identity": Kind(
        "error",
        "the LUN at the disk's place has another UUID, serial or os_type than at the time of the backup, or its device"
        " on this host another WWID",
        "Put the LUN of the backup back in its place, or choose a backup of the present one.",
    ),
    "lun-in-use": Kind(
        "error", "the guest is off, and something on this host has its LUN open", "End what uses it, and restore again."
    ),
    "lun-device-missing": Kind(
        "error", "the device of the LUN is not there", "Log in to the array and look at 'multipath -ll'."
    ),
    "method-not-for-luns": Kind(
        "error",
        "the method cannot restore LUNs: no host sees them inside a snapshot",
        "Use auto, file_clone, sfsr_cli or sfsr.",
    ),
    "network-not-isolated": Kind(
        "error",
        "the network of libvirt for a copy is not isolated, or is not active",
        "Name an active network of libvirt without <forward>, or none at all.",
    ),
    "no-igroup-of-this-host": Kind(
        "error",
        "the array has no igroup with the initiators of this host alone, to which a copy's LUN could be mapped",
        "Make an igroup with the initiators of this host alone; one of a cluster never serves.",
    ),
    "volume-not-mounted": Kind(
        "error", "this host has not mounted a volume in which a copy is to be made", "Mount the volume on this host."
    ),
    # what a definition needs of the host that is to have it
    "architecture-missing": Kind(
        "error", "this host does not run guests of that architecture", "Choose a host of that architecture."
    ),
    "machine-type-missing": Kind(
        "error",
        "this host's QEMU does not know the machine type",
        "Choose a host whose QEMU has it, or change the machine type in the definition.",
    ),
    "domain-type-missing": Kind(
        "error",
        "this host does not offer that kind of virtualization (kvm, qemu)",
        "Switch hardware virtualization on, or choose another host.",
    ),
    "cpu-mode-missing": Kind(
        "error",
        "this host does not offer the mode of the guest's processor",
        "Choose another mode in the definition, or another host.",
    ),
    "cpu-model-missing": Kind(
        "error",
        "the model of the guest's processor cannot be used on this host",
        "Choose a model that both hosts have, or another host.",
    ),
    "firmware-missing": Kind(
        "error",
        "this host does not have firmware of the kind that the guest needs",
        "Install the firmware (edk2-ovmf, ovmf) on this host.",
    ),
    "emulator-missing": Kind(
        "error",
        "the emulator that the definition names is not on this host",
        "Install what provides it, or change the path in the definition.",
    ),
    "host-file-missing": Kind(
        "error",
        "a file of the host that the definition names (firmware, kernel) is not on this host",
        "Install what provides it, or change the path in the definition.",
    ),
    "network-missing": Kind(
        "error",
        "the definition refers to a network that libvirt does not know on this host",
        "Define the network on this host, or change the definition.",
    ),
    "storage-pool-missing": Kind(
        "error",
        "the definition refers to a storage pool that libvirt does not know on this host",
        "Define the storage pool on this host, or change the definition.",
    ),
    "secret-missing": Kind(
        "error",
        "the definition refers to a secret that libvirt does not know on this host",
        "Define the secret on this host, or change the definition.",
    ),
    # what is not storage that can be saved
    "local-file": Kind(
        "error",
        "the image is a file on a local file system of the host",
        f"Move the image to an ONTAP volume, {_EXCLUDE}.",
    ),
    "unsupported-file-system": Kind(
        "error",
        "the image is a file on a file system that is neither local nor NFS",
        f"Move the image to an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "image-on-san-file-system": Kind(
        "error",
        "the image is a file on a file system that lies on a LUN or another SAN device of the host",
        f"Move the image to an NFS mount of an ONTAP volume, or give the guest a LUN of its own, {_EXCLUDE}.",
    ),
    "logical-volume": Kind(
        "error",
        "the source is a logical volume (LVM) of the host",
        f"Give the guest a LUN of its own or an image on NFS, {_EXCLUDE}. LVM inside the guest's own disk is fine.",
    ),
    "unsupported-block-device": Kind(
        "error",
        "the source is a block device of the host that is neither a LUN nor a logical volume",
        f"Give the guest a LUN of its own or an image on NFS, {_EXCLUDE}.",
    ),
    # LUNs, as the host sees them
    "lun-partition": Kind(
        "error",
        "the source is a partition of a LUN, which only shares the LUN with whatever else is on it",
        f"Give the guest the whole LUN or an image on NFS, {_EXCLUDE}.",
    ),
    "single-path-device": Kind(
        "error",
        "the source is one path of a multipath device, or a LUN without multipath",
        "Give the guest /dev/mapper/NAME of the LUN and let multipathd run, or allow LUNs with a single path"
        " (kvm_multipath_required=false).",
    ),
    "not-a-netapp-device": Kind(
        "error",
        "the source is a SAN device, but by its WWID none of ONTAP",
        f"Save it by other means, {_EXCLUDE}.",
    ),
    "seven-mode-lun": Kind(
        "error",
        "the LUN is one of Data ONTAP 7-Mode, which has no REST API",
        f"Move it to a system that runs ONTAP, {_EXCLUDE}.",
    ),
    "e-series-device": Kind(
        "error",
        "the device is of a NetApp system without ONTAP (E-Series)",
        f"Save it by other means, {_EXCLUDE}.",
    ),
    "unresolvable-wwid": Kind(
        "error",
        "the device is NetApp's, but neither its WWID nor sanlun tells which LUN it is",
        "Let multipath use the default identifier (uid_attribute ID_SERIAL), or install the Linux Host Utilities.",
    ),
    "paths-disagree": Kind(
        "error",
        "the paths of a multipath device lead to another LUN than its WWID says, as after a LUN was replaced",
        "Flush the map and rescan: 'multipath -f NAME', delete the paths, 'rescan-scsi-bus.sh'.",
    ),
    "multipathd-not-running": Kind(
        "error",
        "multipathd does not answer, so it is not known whether the LUN can be reached",
        "Start it: 'systemctl start multipathd'.",
    ),
    "no-working-path": Kind(
        "error",
        "no path to the LUN works; a program that reads a device which queues without a path waits for ever",
        "Look at the paths ('multipath -ll'), the fabric and the LIFs of the SVM.",
    ),
    "path-failed": Kind(
        "warning",
        "not all paths to the LUN work, or there is only one",
        "Look at the paths ('multipath -ll'), the fabric and the LIFs of the SVM.",
    ),
    "lun-activated-on-host": Kind(
        "warning",
        "the host has made devices out of what is inside the guest's LUN (partitions, logical volumes); writing to them"
        " destroys the guest's data, and a restore is refused while they are active",
        "Remove them ('kpartx -d', 'vgchange -an'), set skip_kpartx in multipath.conf, and keep LVM away from the LUN"
        " by its devices file or a filter.",
    ),
    # LUNs, as the array sees them
    "lun-not-found": Kind(
        "error",
        "none of the given controllers has the LUN",
        "Add the controller of the LUN to 'controllers'.",
    ),
    "luns-unreadable": Kind(
        "error",
        "the LUN was not found, and the account's role on a controller allows no look at LUNs",
        "Give the role /api/storage/luns (readonly for a backup, all for a restore).",
    ),
    "ambiguous-lun": Kind(
        "error",
        "several LUNs of the given controllers have the serial, as in an active sync relationship",
        "Give only the controller whose copy is to be saved in 'controllers'.",
    ),
    "sanlun-disagrees": Kind(
        "error",
        "sanlun names another LUN for the device than its WWID leads to",
        "Rescan the host ('rescan-scsi-bus.sh', 'multipath -r') until 'sanlun lun show -p' agrees with the array.",
    ),
    "sanlun-unconfirmed": Kind(
        "error",
        "only sanlun tells which LUN the device is, and the serial of that LUN is not the one of the device",
        "Let multipath use the default identifier (uid_attribute ID_SERIAL), and rescan the host.",
    ),
    "sanlun-failed": Kind(
        "warning",
        "sanlun is installed and did not answer; what it would say was not compared",
        "Run 'sanlun lun show -p' by hand and follow what it says.",
    ),
    "sanlun-device-unknown": Kind(
        "warning",
        "sanlun is installed and does not name the device, so its word on the LUN was not compared",
        "Look for the device in 'sanlun lun show -p'; where it is missing, rescan the host or update the Linux Host"
        " Utilities.",
    ),
    "lun-outside-volume": Kind(
        "error",
        "the LUN lies in no volume, as on disaggregated systems (ASA r2); snapshots of those are made another way",
        f"Save it by other means, {_EXCLUDE}.",
    ),
    "unsupported-lun-class": Kind(
        "error", "the LUN belongs to VMware's virtual volumes", f"Save it by other means, {_EXCLUDE}."
    ),
    "lun-offline": Kind("error", "the LUN is not online", "Bring the LUN online."),
    "lun-read-only": Kind(
        "error",
        "the LUN allows only reading (the destination of a mirror)",
        "Break the mirror, or give the guest the LUN of the source volume.",
    ),
    "lun-size-differs": Kind(
        "error",
        "the LUN has another size on the array than on the host, as after it was grown",
        "Rescan its paths and resize the map ('multipathd resize map NAME').",
    ),
    "lun-used-by-several-guests": Kind(
        "error",
        "several guests use one LUN without marking it as shared, or one by a path, a partition or as a host device;"
        " restoring one guest would overwrite the other",
        "Give every guest a LUN of its own, mark a cluster's disk as shareable, or make it read-only.",
    ),
    "lun-mapped-elsewhere": Kind(
        "info",
        "the LUN is mapped to initiators that are not this host's; a guest may run on another host of the cluster",
        "For hosts of one cluster nothing has to be done; before a restore make sure that none of them uses the LUN.",
    ),
    "lun-reserved": Kind(
        "error",
        "another host, or an unknown one, holds a persistent reservation on the LUN; a guest may write there",
        "Make sure that no guest of another host uses the LUN, then say so (kvm_restore_disks_unused_elsewhere,"
        " disks_unused_elsewhere).",
    ),
    "lun-maps-unknown": Kind(
        "info",
        "to whom the LUN is mapped cannot be read, or its igroup shows no initiators, so other hosts that see it are"
        " not known",
        "Give the role /api/protocols/san/lun-maps and /api/protocols/san/igroups (readonly); unmap the LUN from an"
        " igroup that is empty.",
    ),
    # what QEMU or the host serves by other means
    "network-disk": Kind(
        "error",
        "QEMU itself reaches the disk over the network (RBD, iSCSI, NBD, Gluster, HTTP, ...)",
        f"Move the disk to an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "nvme-disk": Kind(
        "error",
        "the disk is an NVMe namespace that is passed to QEMU",
        f"Move the disk to an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "vhost-disk": Kind(
        "error",
        "another process of the host serves the disk (vhost-user, vhost-vdpa)",
        f"Move the disk to an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "directory-disk": Kind(
        "error",
        "the disk is a directory of the host shown as a FAT file system",
        f"Make it an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "unsupported-disk-type": Kind(
        "error", "the disk is of a type that is not known here", f"Make it an image on an NFS mount, {_EXCLUDE}."
    ),
    "shared-directory": Kind(
        "error",
        "a directory of the host is shared into the guest (virtiofs, 9p); what the guest keeps there is not saved",
        "Save the directory by other means and leave it out by name (exclude_disks).",
    ),
    "passed-through-controller": Kind(
        "error",
        "a storage controller of the host is passed through to the guest; the disks behind it cannot be seen",
        "Save what lies behind it by other means and leave it out by name (exclude_disks).",
    ),
    "passed-through-disk": Kind(
        "error",
        "a SCSI or USB disk of the host is passed through to the guest as a host device",
        "Attach a LUN as a disk of its multipath device (device='lun' passes SCSI commands on), or save it by other"
        " means and leave it out by name (exclude_disks).",
    ),
    "unknown-passed-through-device": Kind(
        "warning",
        "a device of the host is passed through to the guest, and the host cannot tell whether it is storage",
        "Look at the device; what is stored behind it is not saved.",
    ),
    "pool-volume-unresolved": Kind(
        "error",
        "the disk is a volume of a libvirt storage pool, and libvirt cannot tell where it is",
        f"Start and refresh the storage pool ('virsh pool-start', 'virsh pool-refresh'), {_EXCLUDE}.",
    ),
    # the image
    "image-missing": Kind(
        "error",
        "the file that the definition names does not exist",
        f"Mount its storage or correct the definition, {_EXCLUDE}.",
    ),
    "not-a-file": Kind(
        "error", "what the definition names as an image file is not a file", f"Correct the definition, {_EXCLUDE}."
    ),
    "inside-snapshot": Kind(
        "error",
        "the image lies inside a .snapshot directory, which is read-only and goes with its snapshot",
        "Copy the image out of the snapshot and let the guest use the copy.",
    ),
    "unsupported-image-format": Kind(
        "error",
        "the image's format is not one that can be inspected and restored as one file",
        f"Convert the image to raw or qcow2 (qemu-img convert), {_EXCLUDE}.",
    ),
    "image-unreadable": Kind(
        "error",
        "qemu-img cannot read the image in the format that the definition names, so what it depends on is not known",
        f"Check the image (qemu-img info) and its format in the definition, {_EXCLUDE}.",
    ),
    "external-data-file": Kind(
        "error",
        "the image keeps its data in other files",
        f"Convert the image to one that is a single file (qemu-img convert), {_EXCLUDE}.",
    ),
    "backing-file-outside": Kind(
        "error",
        "a backing file of the image lies outside the volumes that hold the guest's own disks, or is no file there",
        "Move the backing file to the guest's volume, or make the image independent (virsh blockpull).",
    ),
    "backing-file-shared": Kind(
        "warning",
        "several guests depend on one backing file; it is saved with the volume and never overwritten by a restore",
        "Nothing has to be done; keep the file as it is while guests depend on it.",
    ),
    "backing-chain": Kind(
        "info",
        "the image is an overlay over other files (an external snapshot or a linked clone)",
        "Merge overlays that are not needed (virsh blockcommit); a restore needs the same chain as the backup.",
    ),
    "internal-snapshots": Kind(
        "info",
        "the image holds internal snapshots; they are part of the backup and come back with a restore",
        "Delete the ones that are not needed ('virsh snapshot-delete').",
    ),
    "unsafe-cache": Kind(
        "warning",
        "the disk's cache mode is 'unsafe': what the guest has flushed may not be on the storage, held or not",
        "Set the cache mode to 'none' or 'writeback'.",
    ),
    "block-job-active": Kind(
        "warning",
        "a block job copies the disk to another place while the guest runs",
        "Wait for the end of the job, or end it ('virsh blockjob'), before relying on where the disk is.",
    ),
    "transient-disk": Kind(
        "warning",
        "the disk is transient: what the guest writes is dropped when it stops, and is not in the image",
        "Make the disk permanent, or leave it out by name (exclude_disks).",
    ),
    "shareable-disk": Kind(
        "warning",
        "the disk is marked as shared between guests",
        "Restore all guests that use it at once, or none of them.",
    ),
    "disk-used-by-several-guests": Kind(
        "error",
        "several guests use one image without marking it as shared; restoring one guest would overwrite the other",
        "Give every guest an image of its own, mark a cluster's disk as shareable, or make it read-only.",
    ),
    # from the mount to the volume
    "mount-not-responding": Kind(
        "error", "the file system that holds the image does not answer", "Look at the mount and its NFS server."
    ),
    "unresolvable-server": Kind(
        "error",
        "the name of the NFS server does not resolve on this host",
        "Add the name to /etc/hosts or to DNS.",
    ),
    "not-an-ontap-address": Kind(
        "error",
        "the NFS server's address is no data LIF of any of the given controllers",
        "Add the controller that owns the address to 'controllers', or correct the mount.",
    ),
    "ambiguous-address": Kind(
        "error",
        "the NFS server's address exists several times, in several IPspaces or on several controllers",
        "Give only the controller (or the SVM's management LIF) that serves this host in 'controllers'.",
    ),
    "no-volume-at-path": Kind(
        "error",
        "no volume of the SVM is mounted at the path that the host has mounted",
        "Look at the junction paths of the SVM, and remount the export on the host.",
    ),
    "volume-is-svm-root": Kind(
        "error",
        "the image or LUN lies in the root volume of the SVM, not in a data volume",
        "Move it to a data volume.",
    ),
    "flexgroup": Kind(
        "error",
        "the volume is a FlexGroup; single files of it cannot be restored the way this collection does",
        "Move the image to a FlexVol volume.",
    ),
    "flexcache": Kind(
        "error",
        "the volume is a FlexCache of another one",
        "Mount the origin volume, or move the image to a volume of its own.",
    ),
    "volume-offline": Kind("error", "the volume is not online", "Bring the volume online."),
    "volume-read-only": Kind(
        "error",
        "the volume is the destination of a mirror (dp) or a load-sharing copy (ls)",
        "Break the mirror, or mount the source volume.",
    ),
    # the stored mapping
    "mapping-drift": Kind(
        "warning",
        "a guest's disks lie elsewhere than the stored mapping says; what was discovered is used",
        "Store the new mapping (kvm_vm_mapping).",
    ),
    "mapping-unknown-guest": Kind(
        "warning",
        "the stored mapping names a guest that this host does not have",
        "Store the new mapping (kvm_vm_mapping).",
    ),
    "mapping-unwritable": Kind(
        "warning",
        "a guest's name or path holds ':' or ';', which the one-line mapping cannot hold; the list has it",
        "Use kvm_vm_mapping_list, or rename the guest or the image.",
    ),
    "mapping-unknown-controller": Kind(
        "error",
        "the controller of a mapping entry is neither an SVM of the given controllers nor the address of one",
        "Correct the entry, or add its controller to 'controllers'.",
    ),
    "mapping-unknown-volume": Kind(
        "error", "the SVM of a mapping entry has no volume of that name", "Correct the entry, or discover anew."
    ),
    "mapping-unknown-path": Kind(
        "error", "the volume of a mapping entry has no such file or LUN", "Correct the entry, or discover anew."
    ),
    "mapping-format-unknown": Kind(
        "error",
        "without discovery, no disk that libvirt knows of the guest lies where a mapping entry says; the file's format"
        " is not known, so a backup of it could not be restored",
        "Correct the entry, or let libvirt tell: start its daemon, define the guest, mount its volume on this host.",
    ),
    "mapping-not-a-file": Kind(
        "error",
        "the path of a mapping entry is a directory or something else that is neither a file nor a LUN",
        "Correct the entry, or take it out of the mapping.",
    ),
}


def problem_of(code: Code, message: str, *, guest: Optional[str] = None, disk: Optional[str] = None) -> Problem:
    """Return a finding of a known kind; ``message`` is the sentence about this one."""
    kind = CODES[code]
    return Problem(code, kind.severity, message, kind.remedy, guest, disk)
