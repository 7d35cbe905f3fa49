# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module run as Ansible runs it: in a process of its own, arguments in, one JSON object out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

COLLECTIONS = Path(__file__).parents[3] / "build" / "collections"
MODULES = "ansible_collections.kvmsnap.ontap.plugins.modules"
RUN = """
import json, runpy, sys
name, arguments = sys.argv[1], json.load(sys.stdin)
try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:
    from ansible.module_utils import basic
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    runpy.run_module(name, run_name="__main__")
else:
    with patch_module_args(arguments):
        runpy.run_module(name, run_name="__main__")
"""


def run(module: str, options: Mapping[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Run a module of the collection and return its result; its exit code must fit the result."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, f"{MODULES}.{module}"],
        input=json.dumps({**options, "_ansible_check_mode": check}),
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) is (not result.get("failed", False))
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
