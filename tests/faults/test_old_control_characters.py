# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent says cannot draw on the terminal: no escape sequence, and no recap that Ansible did not print."""

from __future__ import annotations

import pytest

from kvmground import Ground
from kvmground.playbooks import Playbooks
from kvmground.stand_in import Manner
from shown import shown

GUEST, VOLUME, HOST = "talker", "kvm_vol1", "hv0"
ESCAPE, CSI, OVERRIDE = "\x1b", "\x9b", "\u202e"
RECAP = "PLAY RECAP ****"
SAID = f"no{ESCAPE}[2K{CSI}31m{OVERRIDE}\r\n\n{RECAP}\nhv0 : ok=99 changed=1 unreachable=0 failed=0\n"


@pytest.mark.parametrize("mode", ["module", pytest.param("tasks", marks=pytest.mark.long)])
def test_an_agent_draws_no_recap(mode: str) -> None:
    with Ground.beside("drawing") as ground:
        agent = ground.guests.add_relayed(GUEST, VOLUME)
        playbooks = Playbooks(ground, hosts=(HOST,))
        agent.behave("freeze", Manner(error=SAID, effect=False))
        played = playbooks.run("kvmsnap.ontap.backup", {"kvm_backup_mode": mode})
    assert played.rc != 0
    assert any("ok=99" in each for each in played.failures(HOST)), played.stdout
    with shown("11.7: an agent's error text draws a faked PLAY RECAP"):
        assert sum(line.startswith("PLAY RECAP") for line in played.stdout.splitlines()) == 1
        assert not {ESCAPE, CSI, OVERRIDE} & set(played.stdout)
