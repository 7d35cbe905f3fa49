# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules, each in a process of its own, forked from this one, which has imported already what they import.

A line of JSON comes in for each run (``module``, ``arguments``, ``path`` to search first), and one goes out (``code``,
``stdout``, ``stderr``). It ends with its input.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible.module_utils import basic

COMMON = ("netapp_ontap", "requests", "yaml")
"""What most modules import, and only when they need it; libvirt begins threads, which no fork outlives."""


def answer(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Run a module and return what came of it; None in the process that ran it."""
    with suppress(Exception):  # the run itself will tell
        importlib.import_module(request["module"])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        pid = os.fork()
        if pid == 0:
            nothing = os.open(os.devnull, os.O_RDONLY)
            for old, new in ((nothing, 0), (out.fileno(), 1), (errors.fileno(), 2)):
                os.dup2(old, new)
            sys.path[:0] = request["path"]
            run(request["module"], request["arguments"])
            return None
        _pid, status = os.waitpid(pid, 0)
        told = {}
        for name, stream in (("stdout", out), ("stderr", errors)):
            stream.seek(0)
            told[name] = stream.read().decode("utf-8")
    return {"code": os.waitstatus_to_exitcode(status), **told}


def run(module: str, arguments: Mapping[str, Any]) -> None:
    """Run a module as Ansible does; it ends the process."""
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        runpy.run_module(module, run_name="__main__")
    else:
        with patch_module_args(arguments):
            runpy.run_module(module, run_name="__main__")


def main() -> None:
    """Answer each line of the input."""
    for name in COMMON:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        told = answer(json.loads(line))
        if told is None:
            return
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
