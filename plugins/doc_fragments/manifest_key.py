# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that write or read the manifests that a backup's snapshots carry."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``manifest_key``; with the part TRUST that of ``manifest_keys`` and ``manifest_require``."""

    DOCUMENTATION = r"""
options:
  manifest_key:
    description:
      - A key that signs the index of the manifests that the snapshots carry (HMAC-SHA256), and by which it is verified.
      - It is given with each run and written nowhere on the host. Keep it in Ansible Vault or in a credential of AWX.
    type: dict
    suboptions:
      id:
        description: Name of the key, 1 to 64 letters, digits and C(._-). It stands in the index.
        type: str
        required: true
      key:
        description: The key in base64, at least 16 bytes (C(openssl rand -base64 32)).
        type: str
        required: true
"""

    TRUST = r"""
options:
  manifest_keys:
    description: Older keys by which an index is verified, too, as O(manifest_key).
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Name of the key.
        type: str
        required: true
      key:
        description: The key in base64.
        type: str
        required: true
  manifest_require:
    description:
      - What a manifest must have when it is read out of a snapshot, because the catalog does not have the backup.
      - With V(hash), the comment of the snapshot names the index of the manifests by its SHA-256, and the index the
        manifest.
      - With V(signed), the index is signed with one of the keys given, too. A backup out of the catalog of another host
        is refused, since nothing of it is signed; this host's own catalog is not concerned.
      - With V(none), manifests of a version that wrote no index are accepted. Somebody who could write into the volume
        may have put them there. One that does not fit the comment of its snapshot is refused all the same.
    type: str
    choices: [signed, hash, none]
    default: hash
"""
