# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the array refuses: codes by name, their HTTP status, and the error body."""

from __future__ import annotations

from typing import Any

DUPLICATE = "1"
NOT_SUPPORTED = "3"
NOT_FOUND = "4"
PERMISSION_DENIED = "6"
UNEXPECTED = "262145"
TOO_MANY_REQUESTS = "262160"
UNEXPECTED_ARGUMENT = "262179"
INVALID_VALUE = "262185"
CONFLICTING_FIELD = "262186"
TWICE = "262188"
MISSING_EXPRESSION = "262194"
NOT_SETTABLE = "262196"
INVALID_FIELD_VALUE = "262197"
BODY_NOT_ALLOWED = "262198"
INVALID_JSON = "262199"
NOT_PATCHABLE = "262203"
MISSING_REQUIRED = "262212"
JSON_TWICE = "262282"
CLI_NO_WILDCARD_FIELDS = "262220"
ARRAY_EXPECTED = "262254"
ARRAY_NOT_EXPECTED = "262255"
NOT_IN_ORDER_BY = "262268"
BRACES = "262286"

READ_ONLY_FILE_SYSTEM = "131102"
DIRECTORY_NOT_EMPTY = "131138"
JOB_TERMINAL = "458762"
JOB_NO_PAUSE = "458783"
JOB_NO_CANCEL = "458784"
JOB_NOT_RUNNING = "458776"
VOLUME_UNABLE = "524479"
VOLUME_LOCKED = "524481"
RENAME_NAME_INVALID = "524508"
RESTORE_FAILED = "524511"
SNAPSHOT_EXISTS = "525059"
SNAPSHOT_LIMIT = "525062"
FILE_OR_SNAPSHOT_MISSING = "542797"
SVM_NOT_FOUND = "2621462"
SVM_MISMATCH = "2621706"
SVM_MISSING = "2621707"
VOLUME_DUPLICATE = "917526"
VOLUME_NOT_OFFLINE = "917658"
VOLUME_OFFLINE_FILES = "917752"
RELATIVE_PATH = "917812"
NO_FILE_HANDLE = "917864"
BAD_RANGE = "917898"
VOLUME_IDENTIFIER_MISSING = "918232"
VOLUME_INVALID = "918235"
VOLUME_MISMATCH = "918236"
SNAPSHOT_MISMATCH = "918243"
RESTORE_VALUE = "918251"
NAS_PATH_INVALID = "918252"
COMMENT_FAILED = "1638455"
DP_CREATE = "1638461"
REFERENCE_RENAME = "1638476"
RESERVED_PREFIX = "1638477"
SNAPSHOT_NAME_INVALID = "1638518"
DP_DELETE = "1638521"
DP_RENAME = "1638522"
LABEL_FAILED = "1638523"
RESTORE_IN_PROGRESS = "1638532"
SNAPSHOT_OWNED = "1638543"
EXPIRY_FAILED = "1638554"
NOT_EXPIRED = "1638555"
EXPIRY_FLEXGROUP = "1638574"
SNAPSHOT_MISSING = "1638600"
NOT_ON_CREATE = "1638618"
EMS_FAILED = "983173"
FILE_RENAME_FAILED = "6488082"
FILE_EXISTS = "6488118"
NO_SUCH_FILE = "6684674"
NOT_ONLINE = "9437885"
NEWER_LOCKED = "9437886"
CLONE_FAILED = "13565952"
BACKUP_CLONE_RANGE = "13565988"
AUTODELETE_FLEXGROUP = "13565998"

_STATUS = {
    DUPLICATE: 409,
    NOT_SUPPORTED: 405,
    NOT_FOUND: 404,
    PERMISSION_DENIED: 403,
    TOO_MANY_REQUESTS: 429,
    UNEXPECTED: 500,
}


class ApiError(Exception):
    """A refusal. ``status`` defaults to what the code's table says, 400 where it says nothing."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        target: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or _STATUS.get(code, 400)
        self.target = target
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the JSON body; the code is a string there."""
        error: dict[str, Any] = {"message": self.message, "code": self.code}
        if self.target is not None:
            error["target"] = self.target
        return {"error": error}


def missing(target: str = "uuid") -> ApiError:
    """Return the answer for an entry that is not there."""
    return ApiError(NOT_FOUND, "entry doesn't exist", target=target)


def unknown_path() -> ApiError:
    """Return the answer for a path that is no API."""
    return ApiError(NOT_SUPPORTED, "API not found", status=404)


def unsupported_method() -> ApiError:
    """Return the answer for a method that a path does not have."""
    return ApiError(NOT_SUPPORTED, "The operation is not supported.", status=405)


def forbidden() -> ApiError:
    """Return the answer for what the role does not allow."""
    return ApiError(PERMISSION_DENIED, "not authorized for that command")


def unexpected_argument(name: str) -> ApiError:
    """Return the answer for a field or query parameter that is not known."""
    return ApiError(UNEXPECTED_ARGUMENT, f'Unexpected argument "{name}".', target=name)


def invalid_value(value: Any, name: str, kind: str) -> ApiError:
    """Return the answer for a value of the wrong kind."""
    return ApiError(INVALID_FIELD_VALUE, f'The value "{value}" is invalid for field "{name}" (<{kind}>)', target=name)


def required(name: str) -> ApiError:
    """Return the answer for a missing value."""
    return ApiError(MISSING_REQUIRED, f'The request is missing required value "{name}".', target=name)
