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
    "shared-multipath-device": Code(
        "error",
        "several guests of this host use one multipath device",
        "Give every guest a LUN of its own.",
    ),
    "unsupported-multipath-device": Code(
        "error",
        "the source is a multipath device (a LUN); this release saves images on NFS only",
        f"Move the disk to an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
    "unsupported-block-device": Code(
        "error",
        "the source is a block device of the host that is neither multipath nor a logical volume",
        f"Move the disk to an image on an NFS mount of an ONTAP volume, {_EXCLUDE}.",
    ),
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
        "a SCSI or USB disk of the host is passed through to the guest",
        "Save it by other means and leave it out by name (exclude_disks).",
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
        "Restore it only while every guest that uses it is off.",
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
        "the image lies in the root volume of the SVM, not in a data volume",
        "Move the image to a data volume, and mount the volume's junction on the host.",
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
        "error", "the volume of a mapping entry has no such file", "Correct the entry, or discover anew."
    ),
    "mapping-format-unknown": Code(
        "error",
        "without discovery, no disk that libvirt knows of the guest lies where a mapping entry says; the file's format"
        " is not known, so a backup of it could not be restored",
        "Correct the entry, or let libvirt tell: start its daemon, define the guest, mount its volume on this host.",
    ),
    "mapping-not-a-file": Code(
        "error",
        "the path of a mapping entry is a directory or a LUN; this release saves files on NFS only",
        "Correct the entry, or take it out of the mapping.",
    ),
}


def problem_of(code: str, message: str, *, guest: Optional[str] = None, disk: Optional[str] = None) -> Problem:
    """Return a finding of a known kind; ``message`` is the sentence about this one."""
    kind = CODES[code]
    return Problem(code, kind.severity, message, kind.remedy, guest, disk)
