# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of files and LUNs, which travel as a multipart form with one entry."""

from __future__ import annotations

import re
import uuid

from . import errors
from .call import Answer, Call
from .errors import ApiError

LIMIT = 1 << 20
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_HEAD = 'Content-Disposition: form-data; name="data"\r\nContent-Type: application/octet-stream\r\n\r\n'


def answer(data: bytes) -> Answer:
    """Return an answer that carries data."""
    boundary = f"part-{uuid.uuid4().hex}"
    return Answer(
        200,
        f"--{boundary}\r\n{_HEAD}".encode() + data + f"\r\n--{boundary}--\r\n".encode(),
        content_type=f"multipart/form-data; boundary={boundary}",
    )


def received(call: Call) -> bytes:
    """Return the data of a request's form; raises ``ApiError`` when it has not exactly one entry, or too much data."""
    found = _BOUNDARY.search(call.headers.get("Content-Type", ""))
    parts = call.payload.split(b"--" + found[1].encode("latin-1")) if found else []
    if len(parts) != 3 or not parts[2].startswith(b"--") or b"\r\n\r\n" not in parts[1]:
        raise ApiError(errors.INVALID_JSON, "The form must have exactly one entry.")
    data = parts[1].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
    if len(data) > LIMIT:
        raise errors.invalid_value(len(data), "data", f"at most {LIMIT} bytes")
    return data
