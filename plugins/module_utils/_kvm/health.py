# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a started guest counts as healthy: what is asked for, and what an answer means. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.agent_answers import Executed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DomainState

RUNNING, AGENT, COMMAND, TCP = KINDS = ("running", "agent", "command", "tcp")
TIMEOUT = 300
TAIL = 200
"""Characters of a command's output that the result has."""

_NEEDS = {COMMAND: "command", TCP: "port"}
_BELONGS = {"command": COMMAND, "port": TCP, "address": TCP}
_KNOWN = ("condition", "timeout", *_BELONGS)
_EXECUTION = ("guest-exec", "guest-exec-status")


@dataclass(frozen=True)
class Condition:
    """What a guest is to show within ``timeout`` seconds of its start.

    ``command`` is a program of the guest with its arguments; ``address`` is empty when the guest's own are to be found.
    """

    kind: str = RUNNING
    timeout: int = TIMEOUT
    command: tuple[str, ...] = ()
    port: int = 0
    address: str = ""

    @property
    def text(self) -> str:
        """What must hold, as a clause."""
        if self.kind == AGENT:
            return "its agent answers"
        if self.kind == COMMAND:
            return f"{self.command[0]} ends with exit code 0 in it"
        if self.kind == TCP:
            return f"TCP port {self.port}{f' of {self.address}' if self.address else ''} accepts a connection"
        return "it runs"


@dataclass(frozen=True)
class HealthObservation:
    """What one look at a guest showed; ``final``: to look again is of no use."""

    healthy: bool
    text: str
    final: bool = False


def health_argument() -> dict[str, Any]:
    """Return the ``health`` option of a module's argument spec."""
    return {
        "type": "dict",
        "options": {
            "condition": {"type": "str", "choices": list(KINDS), "default": RUNNING},
            "timeout": {"type": "int", "default": TIMEOUT},
            "command": {"type": "list", "elements": "str"},
            "port": {"type": "int"},
            "address": {"type": "str"},
        },
    }


def condition_of(option: Optional[Mapping[str, Any]]) -> Condition:
    """Read the ``health`` option, None for a guest that is only to run; raises :class:`InputError`."""
    given = {key: value for key, value in (option or {}).items() if value not in (None, "", [])}
    kind = given.get("condition", RUNNING)
    faults = [f"{key!r} is not known" for key in given if key not in _KNOWN]
    if kind not in KINDS:
        faults.append(f"its condition is {kind!r}, and can be {', '.join(KINDS)}")
    faults += [f"condition {kind} needs {_NEEDS[kind]}"] if kind in _NEEDS and _NEEDS[kind] not in given else []
    faults += [f"{key} goes with condition {_BELONGS[key]}" for key in given if _BELONGS.get(key, kind) != kind]
    faults += _out_of_range(given, "timeout", range(1, 86401))
    faults += _out_of_range(given, "port", range(1, 65536))
    if not _are_words(given.get("command", ["word"])):
        faults.append("command is a list of words, a program of the guest and its arguments")
    if faults:
        raise InputError(f"Failed to read what health is: {'; '.join(faults)}. Nothing was touched", option="health")
    return Condition(
        kind=kind,
        timeout=given.get("timeout", TIMEOUT),
        command=tuple(given.get("command", ())),
        port=given.get("port", 0),
        address=str(given.get("address", "")),
    )


def assess_state(found: DomainState) -> Optional[HealthObservation]:
    """Return why a guest in this state cannot be healthy, None when it runs. One that is off does not start again."""
    if found.state == "running":
        return None
    return HealthObservation(
        False, f"it is {found.state} ({found.reason})", final=not found.active or found.state == "crashed"
    )


def assess_commands(offered: Collection[str]) -> Optional[HealthObservation]:
    """Return why an agent that has these commands enabled cannot run a program, None when it can."""
    missing = [name for name in _EXECUTION if name not in offered]
    if not missing:
        return None
    return HealthObservation(
        False,
        f"{' and '.join(missing)} not available: its agent has that switched off, as it is by default on RHEL. Use"
        " condition running, agent or tcp, or allow it in the guest (/etc/sysconfig/qemu-ga)",
        final=True,
    )


def assess_exit(program: str, found: Executed) -> Optional[HealthObservation]:
    """Return how a program ended, None while it runs."""
    if not found.exited:
        return None
    if found.code == 0:
        return HealthObservation(True, f"{program} ended with exit code 0")
    how = f"was ended by signal {found.signal}" if found.code is None else f"ended with exit code {found.code}"
    said = _tail(found.error) or _tail(found.output)
    return HealthObservation(False, f"{program} {how}{f': {said}' if said else ''}")


def _out_of_range(given: Mapping[str, Any], key: str, allowed: range) -> list[str]:
    value = given.get(key, allowed[0])
    fits = isinstance(value, int) and not isinstance(value, bool) and value in allowed
    return [] if fits else [f"{key} is {value!r}, and can be {allowed[0]} to {allowed[-1]}"]


def _are_words(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value) and bool(value[0].strip())


def _tail(encoded: str) -> str:
    """Return the end of what a program printed, as one line."""
    try:
        text = base64.b64decode(encoded).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
    line = "".join(each if each.isprintable() else " " for each in text).strip()
    return line if len(line) <= TAIL else f"...{line[-TAIL:]}"
