# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for a guest's agent: what it answers, when, and how it is on Windows."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground.stand_in import Manner, StandInAgent
from kvmlab.process import wait_until


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[StandInAgent]:
    found = StandInAgent(tmp_path / "agent.sock", filesystems=2)
    found.start()
    yield found
    found.stop()


class Peer:
    """What libvirt is to the agent."""

    def __init__(self, agent: StandInAgent) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(1)
        self._socket.connect(str(agent.path))

    def ask(self, command: str, **arguments: Any) -> Any:
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        return json.loads(self._socket.recv(65536).replace(b"\xff", b""))


def test_a_good_agent_freezes_and_thaws(agent: StandInAgent) -> None:
    peer = Peer(agent)
    assert peer.ask("guest-sync", id=7) == {"return": 7}
    assert peer.ask("guest-fsfreeze-status") == {"return": "thawed"}
    assert peer.ask("guest-fsfreeze-freeze") == {"return": 2}
    assert agent.frozen
    assert "error" in peer.ask("guest-get-time"), "a frozen agent refuses what is not needed for thawing"
    assert peer.ask("guest-fsfreeze-thaw") == {"return": 2}
    assert peer.ask("guest-fsfreeze-thaw") == {"return": 0}
    assert not agent.frozen
    heard = agent.first("thaw"), agent.last("thaw")
    assert heard[0] is not None
    assert heard[1] is not None
    assert heard[0].at < heard[1].at


def test_on_windows_a_freeze_ends_by_itself_and_a_late_thaw_is_an_error(agent: StandInAgent) -> None:
    agent.windows, agent.vss_seconds = True, 0.05
    peer = Peer(agent)
    assert peer.ask("guest-fsfreeze-freeze") == {"return": 2}
    wait_until(lambda: not agent.frozen, seconds=2, what="a thaw that nobody asked for")
    assert "limited up to 10 seconds" in peer.ask("guest-fsfreeze-thaw")["error"]["desc"]
    assert peer.ask("guest-fsfreeze-thaw") == {"return": 0}


def test_manners_last_as_long_as_told(agent: StandInAgent) -> None:
    peer = Peer(agent)
    agent.behave("freeze", Manner(error="no", count=1))
    assert peer.ask("guest-fsfreeze-freeze")["error"]["desc"] == "no"
    assert peer.ask("guest-fsfreeze-freeze") == {"return": 2}
    agent.behave("ping", Manner(silent=True))
    with pytest.raises(TimeoutError):
        peer.ask("guest-ping")
    agent.recover()
    assert peer.ask("guest-ping") == {"return": {}}
    assert not agent.frozen
