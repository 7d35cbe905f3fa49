# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option of every module that takes a backup out of another host's catalog."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``backup_from``."""

    DOCUMENTATION = r"""
options:
  backup_from:
    description:
      - A backup out of the catalog of another host, which takes the place of the catalog of this one. It is verified,
        and brought into this catalog before anything is done; a catalog that has another backup of its name refuses it.
      - The roles read it from the other host (C(kvm_restore_catalog_host), C(kvm_clone_catalog_host)).
    type: dict
    suboptions:
      manifest:
        description: Its C(manifest.json) as M(ansible.builtin.slurp) returns it, in base64.
        type: str
        required: true
      files:
        description:
          - What that catalog keeps beside it of the guests (UEFI variables, states of TPMs), in base64 by the name of
            the file. Each that the manifest names for the wanted guests is needed, unless this catalog has it.
        type: dict
        default: {}
      leased:
        description:
          - Whether a lease in the catalog of the host that owns the backup keeps it from being deleted until it was
            read (M(kvmsnap.ontap.kvm_backup_lease)). Without one the result says that it is not protected.
        type: bool
        default: false
"""
