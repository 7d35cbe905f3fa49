# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules that make a backup: what it holds, and how its guests are held."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of what a backup is to hold and to reach, as ``kvm_vm_backup`` has it."""

    DOCUMENTATION = r"""
options:
  policy:
    description: Name of the policy that the backup is made by.
    type: str
    default: manual
  guests:
    description: The C(guests) that M(kvmsnap.ontap.kvm_vm_discover) returned.
    type: list
    elements: dict
  volumes:
    description: The C(volumes) that M(kvmsnap.ontap.kvm_vm_discover) returned.
    type: list
    elements: dict
  problems:
    description: The C(problems) that M(kvmsnap.ontap.kvm_vm_discover) returned.
    type: list
    elements: dict
    default: []
  quiesce:
    description:
      - How guests are to be held, by name or UUID, V(*) for all others.
      - Values as O(kvmsnap.ontap.kvm_vm_quiesce#module:guests[].method).
    type: dict
    default: {}
  order:
    description:
      - Groups of guests, by name or UUID. The guests of the first group are held first and released last, such as a
        database before the applications that use it. Guests of no group are held last.
      - Each group is held only when all guests of the one before are, so every group lengthens the hold.
    type: list
    elements: list
    default: []
  filesystems:
    description:
      - Mount points that alone are frozen, by name or UUID of the guest. File systems of the backup that are left out
        lower the guest's consistency.
    type: dict
    default: {}
  consistency:
    description: The level that every guest is to reach, strongest first.
    type: str
    choices: [offline, application-consistent, filesystem-consistent, crash-consistent, inconsistent, unknown]
    default: crash-consistent
  other_hosts:
    description:
      - The UUIDs of the guests that are active on each other host, by the name of the host.
      - A guest that is off on this host and active on another is not V(offline), since its disks are written to there.
    type: dict
    default: {}
"""
