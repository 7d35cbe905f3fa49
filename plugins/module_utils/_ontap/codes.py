# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ONTAP error codes by name: decisions are taken on these, never on a message's text.

A code is a string here, as in an error body; a job's record carries the same number as an integer. Source: the error
tables of the ONTAP REST documentation.
"""

from __future__ import annotations

# Any endpoint
DUPLICATE_ENTRY = "1"
NOT_SUPPORTED = "3"
ENTRY_NOT_FOUND = "4"
PERMISSION_DENIED = "6"
RPC_TIMED_OUT = "65541"
RPC_FAILED = "65552"
RPC_INTERNAL = "65562"
TOO_MANY_REQUESTS = "262160"
ORDER_BY_TIMED_OUT = "262210"
NOT_AUTHORIZED = "6691623"
BAD_URL = "39387137"
NO_SUCH_VOLUME_UUID = "918235"

# Snapshots
SNAPSHOT_EXISTS = "525059"
SNAPSHOT_LIMIT = "525062"
SNAPSHOT_NAME_PREFIX = "1638477"
SNAPSHOT_CREATE_UNDETERMINED = "1638537"
SNAPSHOT_DELETE_UNDETERMINED = "1638538"
SNAPSHOT_RENAME_UNDETERMINED = "1638539"
SNAPSHOT_HAS_OWNER = "1638543"
SNAPSHOT_LOCKED = "1638555"
SNAPSHOT_GONE = "1638600"
SNAPSHOT_PLATFORM = "1638644"

# Consistency groups
GROUP_SNAPSHOT_NOT_PERMITTED = "53411918"
GROUP_NO_OPERATION = "53411925"

# Files
NO_SUCH_FILE = "6684674"
CLONE_START_FAILED = "13565952"

# LUNs
LUN_MAPPED = "1254197"
LUN_IN_RESTORE = "5374053"
LUN_IN_IMPORT = "5374480"
LUN_OVERWRITTEN_PARTLY_SET = "5374864"
LUN_AGGREGATE_OFFLINE = "5374865"
LUN_VOLUME_OFFLINE = "5374866"
LUN_NOT_FOUND = "5374875"
LUN_OR_SOURCE_NOT_FOUND = "5374876"
LUN_DESTINATION_OFFLINE = "5374904"
LUN_SNAPSHOT_NAME_TOO_LONG = "5376463"
NO_SUCH_MAP = "5374922"
LUN_OPERATIONS_LIMIT = "7018877"
LUN_COPY_UNDER_WAY = "7018919"

SNAPSHOT_MET = frozenset({SNAPSHOT_EXISTS, DUPLICATE_ENTRY})
"""There is a snapshot of this name."""

NO_SUCH_LUN = frozenset({ENTRY_NOT_FOUND, LUN_NOT_FOUND, LUN_OR_SOURCE_NOT_FOUND})
"""There is no LUN with this uuid."""

DENIALS = frozenset({PERMISSION_DENIED, NOT_AUTHORIZED})
"""The account lacks the right."""

OVERLOADS = frozenset({TOO_MANY_REQUESTS})
"""Nothing was processed; the same request may be sent again."""

UNSETTLED = frozenset(
    {
        RPC_TIMED_OUT,
        RPC_FAILED,
        RPC_INTERNAL,
        SNAPSHOT_CREATE_UNDETERMINED,
        SNAPSHOT_DELETE_UNDETERMINED,
        SNAPSHOT_RENAME_UNDETERMINED,
    }
)
"""A change with this answer may or may not have taken effect; a read with it may be repeated."""

UNDER_WAY = UNSETTLED | OVERLOADS | {LUN_COPY_UNDER_WAY, LUN_IN_RESTORE}
"""An overwriting change with this answer may have begun, or begin later: it must not be sent again."""

READ_AGAIN = UNSETTLED | OVERLOADS | {ORDER_BY_TIMED_OUT}
"""A read with this answer may be repeated."""

UNAVAILABLE = DENIALS | {NOT_SUPPORTED, BAD_URL, CLONE_START_FAILED}
"""The operation was refused before it began (right, licence, platform, load): another way to the same end may work."""
