# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module run as Ansible runs it: in a process of its own, arguments in, one JSON object out."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

COLLECTIONS = Path(__file__).parents[3] / "build" / "collections"
MODULES = "ansible_collections.kvmsnap.ontap.plugins.modules"
SERVER = Path(__file__).with_name("module_server.py")
SECONDS = 60.0


@functools.cache
def server() -> subprocess.Popen[str]:
    """The process from which those of the modules are forked; it ends with the tests."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS), "PYTHONWARNINGS": "ignore"},
        text=True,
        start_new_session=True,
    )
    atexit.register(process.communicate)
    return process


def run(module: str, options: Mapping[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Run a module of the collection and return its result; its exit code must fit the result."""
    process = server()
    assert process.stdin is not None
    assert process.stdout is not None
    arguments = {**options, "_ansible_check_mode": check}
    request = {"module": f"{MODULES}.{module}", "arguments": arguments, "path": str(COLLECTIONS).split(":")}
    process.stdin.write(f"{json.dumps(request)}\n")
    process.stdin.flush()
    if not select.select([process.stdout], [], [], SECONDS)[0]:
        os.killpg(process.pid, signal.SIGKILL)
        server.cache_clear()
        raise AssertionError(f"{module} has not ended after {SECONDS:g} s")
    done = json.loads(process.stdout.readline())
    assert done["stdout"], done["stderr"]
    result: dict[str, Any] = json.loads(done["stdout"])
    assert (done["code"] == 0) is (not result.get("failed", False))
    return result


def undocumented(documentation: str, result: Mapping[str, Any]) -> list[str]:
    """Return the keys of a result that the module's RETURN text does not tell, with the path to each."""
    return list(_missing(yaml.safe_load(documentation), result, ""))


def _missing(documented: Mapping[str, Any], found: Mapping[str, Any], where: str) -> Any:
    for key, value in found.items():
        if key not in documented:
            yield f"{where}{key}"
            continue
        inner = documented[key].get("contains")
        for each in value if isinstance(value, list) else [value]:
            if inner and isinstance(each, dict):
                yield from _missing(inner, each, f"{where}{key}.")
