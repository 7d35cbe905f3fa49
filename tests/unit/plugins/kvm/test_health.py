# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as healthy: how the option is read, and what states, agents and programs are judged to be."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.agent_answers import executed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DomainState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health import (
    TAIL,
    Condition,
    assess_commands,
    assess_exit,
    assess_state,
    condition_of,
)


@pytest.mark.parametrize(
    ("option", "wanted", "text"),
    [
        (None, Condition(), "it runs"),
        ({}, Condition(), "it runs"),
        ({"condition": "agent", "timeout": 9, "command": None}, Condition("agent", 9), "its agent answers"),
        (
            {"condition": "command", "command": ["/bin/check", "--fast"]},
            Condition("command", 300, ("/bin/check", "--fast")),
            "/bin/check ends with exit code 0 in it",
        ),
        (
            {"condition": "tcp", "port": 65535},
            Condition("tcp", 300, (), 65535),
            "TCP port 65535 accepts a connection",
        ),
        (
            {"condition": "tcp", "port": 22, "address": "web1"},
            Condition("tcp", 300, (), 22, "web1"),
            "TCP port 22 of web1 accepts a connection",
        ),
    ],
)
def test_the_option(option: Any, wanted: Condition, text: str) -> None:
    found = condition_of(option)
    assert (found, found.text) == (wanted, text)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"condition": "happy"}, "its condition is 'happy', and can be running, agent, command, tcp"),
        ({"condition": "agent", "ports": 22}, "'ports' is not known"),
        ({"condition": "tcp"}, "condition tcp needs port"),
        ({"condition": "command"}, "condition command needs command"),
        ({"condition": "command", "command": []}, "condition command needs command"),
        ({"condition": "command", "command": ["", "x"]}, "command is a list of words"),
        ({"condition": "command", "command": "/bin/true"}, "command is a list of words"),
        ({"condition": "tcp", "port": 0}, "port is 0, and can be 1 to 65535"),
        ({"condition": "tcp", "port": 65536}, "port is 65536"),
        ({"condition": "tcp", "port": "22"}, "port is '22'"),
        ({"condition": "tcp", "port": True}, "port is True"),
        ({"timeout": 0}, "timeout is 0, and can be 1 to 86400"),
        ({"condition": "agent", "port": 22}, "port goes with condition tcp"),
        ({"command": ["/bin/true"]}, "command goes with condition command"),
        ({"condition": "command", "command": ["x"], "address": "web1"}, "address goes with condition tcp"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(option: Any, said: str) -> None:
    with pytest.raises(InputError, match="Nothing was touched") as caught:
        condition_of(option)
    assert said in caught.value.message
    assert caught.value.fields == {"option": "health"}


@pytest.mark.parametrize(
    ("state", "said", "final"),
    [
        (DomainState("running", "booted", 3), None, False),
        (DomainState("paused", "I/O error", 3), "it is paused (I/O error)", False),
        (DomainState("shutoff", "crashed", None), "it is shutoff (crashed)", True),
        (DomainState("crashed", "panicked", 3), "it is crashed (panicked)", True),
    ],
)
def test_states(state: DomainState, said: str | None, final: bool) -> None:
    found = assess_state(state)
    assert (found and (found.healthy, found.text, found.final)) == (said and (False, said, final))


def test_an_agent_that_may_not_run_programs() -> None:
    assert assess_commands({"guest-ping", "guest-exec", "guest-exec-status"}) is None
    for offered in ((), ("guest-exec",), ("guest-exec-status",)):
        found = assess_commands(offered)
        assert found is not None
        assert "not available" in found.text
        assert "running, agent or tcp" in found.text
        assert found.final


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("answer", "healthy", "said"),
    [
        ({"exited": False}, None, ""),
        ({"exited": True, "exitcode": 0, "out-data": encoded(b"secret")}, True, "check ended with exit code 0"),
        ({"exited": True, "exitcode": 3}, False, "check ended with exit code 3"),
        ({"exited": True, "exitcode": 1, "out-data": encoded(b"a\tb\n")}, False, "check ended with exit code 1: a b"),
        (
            {"exited": True, "exitcode": 1, "out-data": encoded(b"out"), "err-data": encoded(b"err")},
            False,
            "check ended with exit code 1: err",
        ),
        ({"exited": True, "exitcode": 1, "err-data": "?"}, False, "check ended with exit code 1"),
        (
            {"exited": True, "exitcode": 1, "err-data": encoded(b"x" * 999)},
            False,
            f"check ended with exit code 1: ...{'x' * TAIL}",
        ),
        ({"exited": True, "signal": 9}, False, "check was ended by signal 9"),
    ],
)
def test_how_a_program_ended(answer: dict[str, Any], healthy: bool | None, said: str) -> None:
    found = assess_exit("check", executed(answer))
    assert (found and (found.healthy, found.text, found.final)) == (None if healthy is None else (healthy, said, False))
