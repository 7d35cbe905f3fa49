# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what every task returned, and the recap, into the file that KVMSNAP_RECORD names: one JSON document a line."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: notification
short_description: Record what tasks return
description:
  - For tests that look at results and not at printed text.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """What Ansible loads."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[tuple[str, str], float] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Remember when a task began."""
        self._begun[(host.get_name(), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Record a task that went well."""
        self._task("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Record a task that failed."""
        self._task("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Record a host that was not reached."""
        self._task("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Record a task that was skipped."""
        self._task("skipped", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Record the recap."""
        self._write({"stats": {host: stats.summarize(host) for host in stats.processed}})

    def _task(self, status: str, result: Any) -> None:
        host, now = result._host.get_name(), time.monotonic()
        self._write(
            {
                "status": status,
                "host": host,
                "task": result._task.get_name(),
                "module": result._task.action,
                "seconds": round(now - self._begun.get((host, result._task._uuid), now), 3),
                "result": json.loads(self._dump_results(result._result)),
            }
        )

    @staticmethod
    def _write(entry: dict[str, Any]) -> None:
        with open(os.environ["KVMSNAP_RECORD"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
