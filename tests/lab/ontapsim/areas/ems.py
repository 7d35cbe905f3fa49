# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/support/ems/application-logs``."""

from __future__ import annotations

from .. import errors
from ..call import Answer, Call
from ..fields import Table, parse_body
from ..router import Route

LOG = Table(
    """
computer_name           string  post
event_source            string  post
app_version             string  post
event_id                integer post
category                string  post
event_description       string  post
severity                emergency|alert|error|notice post
autosupport_required    boolean post
""",
    key=(),
    default=(),
)


async def create_log(call: Call) -> Answer:
    """``POST /support/ems/application-logs``: all eight fields are needed; what came is kept in the request log."""
    call.only_params("return_records")
    values = parse_body(LOG, call.body, call.version, method="POST")
    for name in LOG.fields:
        if values.get(name) is None:
            raise errors.required(name)
    return Answer(201, None, {"Location": "/api/support/ems/application-logs"})


ROUTES = [
    Route("POST", "/support/ems/application-logs", create_log, "event generate-autosupport-log", since=(9, 11, 1))
]
