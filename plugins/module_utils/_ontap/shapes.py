# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an answer must be of which type before anything of it is read. Pure.

Whoever answers in an array's place (a proxy, a faulty release, somebody else) may send anything that is JSON. The
fields that this collection reads are listed here with their types, wherever they stand; all others are left alone.
Some names have other types in other places (a cluster's location is text, a LUN's an object): ask for fields by name.
Source: the fields' types in ONTAP's own description of its REST API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

LARGEST_NUMBER = 2**63
LONGEST_TEXT = 1 << 20

_OBJECTS = frozenset(
    ("_links", "consistency_group", "error", "guarantee", "igroup", "ip", "ipspace", "job", "location", "lun", "nas",
     "next", "parent_consistency_group", "qos_policy", "space", "status", "svm", "version", "volume")
)  # fmt: skip
_LISTS_OF_OBJECTS = frozenset(("jobs", "missing_volumes", "records", "snapshot_volumes", "volumes"))
_LISTS = frozenset(("initiators", "owners", "services"))
_NUMBERS = frozenset(("available", "inode_number", "logical_unit_number", "size"))
_FLAGS = frozenset(
    ("enabled", "is_svm_root", "read_only", "requested", "scsi_thin_provisioning_support_enabled",
     "snapshot_locking_enabled")
)  # fmt: skip
_TEXTS = frozenset(
    ("address", "class", "comment", "container_state", "create_time", "expiry_time", "flexcache_endpoint_type", "href",
     "message", "modified_time", "name", "os_type", "path", "scope", "serial_number",
     "snaplock_expiry_time", "snapmirror_label", "state", "style", "type", "uuid")
)  # fmt: skip


def odd_shape(answer: Mapping[str, Any]) -> Optional[str]:
    """Return the first field of an answer that is not of its type, as a clause, None when all are; null always is."""
    todo: list[Mapping[str, Any]] = [answer]
    while todo:
        record = todo.pop()
        for key, value in record.items():
            if value is None:
                continue
            if key in _OBJECTS:
                if not isinstance(value, dict):
                    return f"{key} is no object"
                todo.append(value)
            elif key in _LISTS_OF_OBJECTS:
                if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
                    return f"{key} is no list of objects"
                todo.extend(value)
            elif not _fits(key, value):
                return f"{key} is not of its type"
    return None


def _fits(key: str, value: Any) -> bool:
    """Tell whether a field without further ones is of its type; one that nobody reads always is."""
    if key in _LISTS:
        return isinstance(value, list) and all(isinstance(each, (str, dict)) for each in value)
    if key in _NUMBERS:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER
    if key in _FLAGS:
        return isinstance(value, bool)
    if key in _TEXTS:
        return isinstance(value, str) and len(value) <= LONGEST_TEXT
    return True
